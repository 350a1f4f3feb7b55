"""Compose a configuration with Hydra."""

import functools
import os
import pickle
import threading
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tuner.config import override_parser, packaged_files, resolvers, search_path
from tuner.config.override_text import quote
from tuner.config.signatures import accepts
from tuner.errors import ConfigError

HYDRA = threading.RLock()
"""Lock: Hydra has one configuration loader per process, and trials may run in threads."""

resolvers.register()


CONF = packaged_files.directory("conf")
"""The directory of the built-in configurations."""


@dataclass(frozen=True)
class Source:
    """Where configurations come from: the built-in directory and the user's own.

    A user's primary configuration (``config_name``) may be in any of the directories; a
    ``config.yaml`` without that option does not replace the built-in one.
    """

    config_dirs: tuple[Path, ...] = ()
    config_name: str = "config"
    reading: object = field(init=False, default_factory=object, compare=False, repr=False)
    """Files of the user's, who may edit them, are read once for each of these: by a command."""
    open_ended: typing.ClassVar[bool] = False
    """Whether the objective may read any key, so that no signature declares which ones it reads."""

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Compose the configuration.

        Raises:
            ConfigError: It cannot be composed; the message is Hydra's own for the first error.
        """
        return self.compose_with_choices(overrides)[0]

    def compose_with_choices(
        self, overrides: Sequence[str]
    ) -> tuple[DictConfig, Mapping[str, str | None]]:
        """Compose the configuration; return it and the chosen option of each group."""
        try:
            parsed = [override_parser.parse(text) for text in overrides]
            search_path.refuse_marks(
                self._roots()[:-1], {o.key_or_group: o.value() for o in parsed}
            )
            rest, values = self._parted(parsed)
            reading = None if self._roots() == (CONF,) else self.reading
            composed, choices = _composed(self, rest, reading)
            cfg = pickle.loads(composed)
            for value in values:  # in order: _target_ says which keys there are
                ConfigLoaderImpl._apply_overrides_to_config([_known(value, cfg)], cfg)
        # The last two are Hydra's of a group that is given no name: optimizer=1, space=[1].
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError) as error:
            raise ConfigError([override_parser.explained(error)]) from error
        if isinstance(cfg.get("study"), DictConfig) and _is_unnamed(cfg.study):
            OmegaConf.set_struct(cfg, False)
            cfg.study.name = _study_name(choices)
            OmegaConf.set_struct(cfg, True)
        return cfg, choices

    def _parted(self, overrides: Sequence[Override]) -> tuple[tuple[str, ...], list[Override]]:
        """Those that say what Hydra reads, and those that it sets in what it has read."""
        rest, values = [], []
        for override in overrides:
            key = override.key_or_group
            chooses = any(os.path.isdir(root / key) for root in self._roots())
            if (
                (chooses and not isinstance(override.value(), dict))
                or key.startswith("hydra")
                or override.package is not None
                or override.is_sweep_override()
            ):
                rest.append(str(override.input_line))
            else:
                values.append(override)
        return tuple(rest), values

    @functools.cache  # noqa: B019  a Source is frozen, and a process knows one or two
    def options(self, group: str) -> list[str]:
        """Return the options of a configuration group, empty if ``group`` is none."""
        if "." in group:
            return []
        return sorted(
            {path.stem for root in self._roots() for path in (root / group).glob("*.yaml")}
        )

    def argv(self) -> list[str]:
        """Return the same source as options of the command line."""
        name = [] if self.config_name == "config" else [f"--config-name={self.config_name}"]
        return [*(f"--config-dir={d}" for d in self.config_dirs), *name]

    def groups(self) -> list[str]:
        """Return the names of the configuration groups."""
        return sorted({d.name for root in self._roots() for d in root.iterdir() if d.is_dir()})

    @functools.cache  # noqa: B019
    def _roots(self) -> tuple[Path, ...]:
        declared = search_path.declared(self._primary() / f"{self.config_name}.yaml")
        return (*self.config_dirs, *declared, CONF)

    def _primary(self) -> Path:
        if self.config_name == "config":
            return CONF
        directories = (*self.config_dirs, CONF)
        for directory in directories:
            if (directory / f"{self.config_name}.yaml").is_file():
                return directory
        looked = ", ".join(map(str, directories))
        raise ConfigError(
            f"no {self.config_name}.yaml in {looked}",
            key=f"--config-name {self.config_name}",
            hint="name a file in one of the --config-dir directories, without .yaml",
        )

    def _searchpath(self) -> list[str]:
        rest = [d for d in self._roots() if d.resolve() != self._primary().resolve()]
        if not rest:
            return []
        quoted = ",".join(quote(f"file://{d.resolve()}") for d in rest)
        return [f"hydra.searchpath=[{quoted}]"]

    @contextmanager
    def _hydra(self) -> Iterator[None]:
        for directory in self._roots():
            if not directory.is_dir():
                meant = search_path.beside(directory)
                hint = f"did you mean {meant!r}?" if meant else "name an existing directory"
                key = f"--config-dir {directory}"
                raise ConfigError("no such directory", key=key, hint=hint)
        primary = str(self._primary().resolve())
        with HYDRA, _own_store():
            GlobalHydra.instance().clear()
            with hydra.initialize_config_dir(primary, job_name="tuner", version_base="1.3"):
                yield


@functools.lru_cache(maxsize=256)
def _composed(
    source: Source, overrides: tuple[str, ...], _reading: object
) -> tuple[bytes, Mapping[str, str | None]]:
    """Return Hydra's configuration, pickled, and the choices; composing takes 0.1 s per trial.

    ``copy.deepcopy`` takes 6 ms instead of 1, and detaches nodes from their parents meanwhile,
    which another thread may see.
    """
    with source._hydra():
        cfg = hydra.compose(
            source.config_name, [*source._searchpath(), *overrides], return_hydra_config=True
        )
    choices = dict(cfg.hydra.runtime.choices)
    search_path.refuse_marks(source._roots()[:-1], choices)
    search_path.refuse_marks([source._primary()], {"": source.config_name})
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    return pickle.dumps(cfg), choices


@contextmanager
def _own_store() -> Iterator[None]:
    """Hide what applications have stored in code, which Hydra would confuse with tuner's."""
    store = ConfigStore.instance()
    theirs = store.repo
    store.repo = {"hydra": theirs.get("hydra", {})}
    try:
        yield
    finally:
        store.repo = {**store.repo, **theirs}


def _known(override: Override, cfg: DictConfig) -> Override:
    """Accept a keyword with a default as if the YAML contained it."""
    if override.type is OverrideType.CHANGE and accepts(cfg, override.key_or_group):
        return replace(override, type=OverrideType.FORCE_ADD)
    return override


def _is_unnamed(study: DictConfig) -> bool:
    return OmegaConf.is_missing(study, "name") or study._get_node("name") in (None, "")


def _study_name(choices: Mapping[str, str | None]) -> str:
    """Return the default name: the experiment, else the data set or the objective."""
    if experiment := choices.get("experiment"):
        return str(experiment).replace("/", "-")
    objective = choices.get("objective")
    name = choices.get("data") if objective == "cnn" else objective
    return str(name or "study").replace("/", "-")
