"""Compose a configuration with Hydra, and find the mistakes in its overrides."""

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
from tuner.config.lookup import has_key, keys
from tuner.config.override_text import quote, text_of
from tuner.config.signatures import accepts
from tuner.config.suggestions import nearest_key
from tuner.config.types import nearest
from tuner.errors import ConfigError, Mistake, section

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

    def mistakes(self, overrides: Sequence[str]) -> dict[str, Mistake | None]:
        """Override → what keeps it from composing, with its cure; empty if all compose.

        None for a key that the unknown option of its group may have had.
        """
        try:
            self.compose(overrides)
        except ConfigError as error:
            return self.blame(overrides, error)
        return {}

    def blame(self, overrides: Sequence[str], error: ConfigError) -> dict[str, Mistake | None]:
        """Return ``mistakes`` of overrides that were just composed and raised ``error``."""
        return self._single_mistakes(overrides) or {overrides[-1]: error.mistakes[0]}

    def argv(self) -> list[str]:
        """Return the same source as options of the command line."""
        name = [] if self.config_name == "config" else [f"--config-name={self.config_name}"]
        return [*(f"--config-dir={d}" for d in self.config_dirs), *name]

    def _single_mistakes(self, overrides: Sequence[str]) -> dict[str, Mistake | None]:
        """Compose each override alone with the groups, because Hydra stops at its first error."""
        parsed = {text: override_parser.parse(text) for text in overrides}
        selects = {
            text: o
            for text, o in parsed.items()
            if self.options(o.key_or_group) and not isinstance(o.value(), dict)
        }
        found: dict[str, Mistake | None] = {
            text: m for text, o in selects.items() if (m := self._bad_option(o))
        }
        named = [t for t, o in parsed.items() if o.key_or_group == "objective._target_"]
        groups = [*(text for text in selects if text not in found), *named]
        base = self.compose(groups)
        lost = {parsed[text].key_or_group for text in found}
        for text in [text for text in parsed if text not in groups and text not in found]:
            override = parsed[text]
            if mistake := self._bad_value(text, override, base, groups):
                # An experiment, which is no section, has its say in all of them.
                owned = section(text) in lost or not lost <= set(map(str, base))
                known = has_key(base, override.key_or_group)
                found[text] = None if owned and not known else mistake
        return found

    def _bad_option(self, override: Override) -> Mistake | None:
        group, value = override.key_or_group, override.value()
        options = self.options(group)
        if override.is_delete() or (isinstance(value, str | list) and str(value) in options):
            return None
        written = text_of(value)
        if written in options:  # Hydra reads a number, or a truth
            return Mistake(group, f"{written} is no name to Hydra", f"\"{group}='{written}'\"")
        named = repr(value) if isinstance(value, str) else written
        there = search_path.holding(f"{group}/{written}.yaml")
        hint = f"--config-dir={there} has it" if there else nearest(written, options)
        return Mistake(group, f"the group has no option {named}", hint)

    def _bad_value(
        self, text: str, override: Override, base: DictConfig, groups: Sequence[str]
    ) -> Mistake | None:
        try:
            self.compose([*groups, text])
        except ConfigError as error:
            key = override.key_or_group
            if has_key(base, key) or override.is_add() or override.is_force_add():
                return error.mistakes[0].at(key)
            owners = self.owners(key)
            hint = f"it belongs to {owners}" if owners else self._meant(base, key)
            return Mistake(key, "unknown key", hint)
        return None

    def _meant(self, base: DictConfig, key: str) -> str:
        """Return a hint for a key that no option has."""
        above, _, name = key.rpartition(".")
        if above and has_key(base, above) and OmegaConf.select(base, above) is None:
            return f"{above} is null, give it whole: '{above}={{{name}: …}}'"
        return nearest_key(keys(base), key.replace("/", "."), self._groups())

    def owners(self, key: str) -> str:
        """Return the options of a group that have the key, as ``a=b or a=c``."""
        group = key.split(".")[0]
        choices = [f"{group}={option}" for option in self.options(group)]
        owners = [choice for choice in choices if has_key(self.compose([choice]), key)]
        return " or ".join(owners)

    def _groups(self) -> list[str]:
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
                hint = f"did you mean {meant!r}?" if meant else "name one that is there"
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
