"""Use a user's Hydra application as the objective: its own configuration and its own ``main``.

``--app FILE[:FUNCTION]`` names it. A trial composes the application's configuration with the
trial's overrides, and runs the function as Hydra's own launcher would, with the trial's directory
as its output directory. Overrides of the sections that configure the search are tuner's, all others
are the application's.
"""

import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.utils import run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from packaging.version import Version

from tuner.config import composition, override_parser, search_path
from tuner.config.composition import Source
from tuner.config.lookup import OPERATIONAL
from tuner.config.override_text import quote
from tuner.config.program import Main, load
from tuner.config.signatures import lacking
from tuner.errors import ConfigError


@contextmanager
def _behaving(base: Version) -> Iterator[None]:
    """Set the application's Hydra behaviour, which is global to a process, and restore tuner's."""
    instance = VersionBase.instance()
    ours = instance.getbase()
    instance.setbase(base)
    try:
        yield
    finally:
        if isinstance(ours, Version):
            instance.setbase(ours)


@contextmanager
def _hydra(main: Main, config_dirs: Sequence[Path]) -> Iterator[Hydra]:
    """Return Hydra as ``main`` would start it."""
    with composition.HYDRA, _behaving(main.base):
        GlobalHydra.instance().clear()
        path = create_automatic_config_search_path(str(main.file), None, main.config_path)
        for directory in config_dirs:
            anchor = SearchPathQuery(provider="schema")
            path.prepend("command-line", f"file://{directory}", anchor)
        try:
            yield Hydra.create_main_hydra2(main.file.stem, path)
        finally:
            GlobalHydra.instance().clear()


def _compose(
    running: Hydra, main: Main, config_name: str | None, overrides: Sequence[str]
) -> DictConfig:
    name = config_name or main.config_name
    return running.compose_config(name, list(overrides), RunMode.RUN, from_shell=False)


def run(
    *,
    app: str,
    config_dirs: list[str],
    config_name: str | None,
    overrides: list[str],
    run_dir: Path,
    report: Callable[..., None],
) -> Any:
    """Run the application once, in ``run_dir``, and return what its main returns.

    The application may call ``tuner.objective.report``.
    """
    del report  # tuner.objective has it already
    main = load(app)
    named = [f"--config-name={config_name}"] if config_name else []
    options = [*(f"--config-dir={directory}" for directory in config_dirs), *named]
    placed = [*overrides, f"hydra.run.dir={quote(str(run_dir))}"]
    with _hydra(main, list(map(Path, config_dirs))) as running:
        cfg = _compose(running, main, config_name, placed)
        context = HydraContext(config_loader=running.config_loader, callbacks=Callbacks(cfg))
    cfg.hydra.mode = RunMode.RUN
    try:
        with _behaving(main.base), _as_script(main, [*options, *placed]):
            return run_job(main.function, cfg, "hydra.run.dir", None, context).return_value
    except OmegaConfBaseException as error:
        if mistake := lacking(error):
            raise ConfigError([mistake]) from error
        raise


@contextmanager
def _as_script(main: Main, arguments: Sequence[str]) -> Iterator[None]:
    """Set ``sys.argv`` to the application's command line, which Lightning runs for each rank."""
    program = sys.modules["__main__"]
    argv, spec = sys.argv, program.__spec__
    sys.argv, program.__spec__ = [str(main.file), *arguments], None
    try:
        yield
    finally:
        sys.argv, program.__spec__ = argv, spec


@dataclass(frozen=True)
class ApplicationSource(Source):
    """The configuration of an application, and tuner's sections.

    If the application has a section with the name of one of tuner's, it is kept, but cannot be
    searched.
    """

    app: str = ""
    open_ended: ClassVar[bool] = True

    def compose_with_choices(
        self, overrides: Sequence[str]
    ) -> tuple[DictConfig, Mapping[str, str | None]]:
        """Compose both; the choices are the application's.  Raises as ``Source`` does."""
        theirs = [text for text in overrides if not self._is_ours(text)]
        ours = [text for text in overrides if self._is_ours(text) or text.startswith("seed=")]
        main = load(self.app)
        stem = quote(main.file.stem)
        service = self._service.compose([f"study.name={stem}", "space=none", *ours])
        if service.worker.concurrency != 1:
            raise ConfigError(
                f"{service.worker.concurrency}: Hydra runs one application per process",
                key="worker.concurrency",
                hint="use launch.workers, which starts processes",
            )
        root, choices = self._application(theirs)
        if not isinstance(root.get("seed"), int):
            root.seed = service.seed
        for name in OPERATIONAL & set(map(str, service)):
            root[name] = service._get_node(name)
        root.objective = {
            "_target_": f"{__name__}.{run.__name__}",
            "app": main.name,
            "config_dirs": [str(d) for d in self.config_dirs],
            "config_name": self.config_name or main.config_name,
            "overrides": [text.replace("${", "\\${") for text in theirs],
        }
        OmegaConf.set_struct(root, True)
        return root, choices

    @functools.cache  # noqa: B019  a Source is frozen, and a process knows one or two
    def options(self, group: str) -> list[str]:
        """Return the options of a group, tuner's or the application's."""
        if "." in group:
            return []
        if self._is_ours(f"{group}=x"):
            return self._service.options(group)
        return self._list(group, ObjectType.CONFIG)

    def argv(self) -> list[str]:
        """Return the same source as options of the command line."""
        name = [f"--config-name={self.config_name}"] if self.config_name else []
        return [f"--app={self.app}", *(f"--config-dir={d}" for d in self.config_dirs), *name]

    def groups(self) -> list[str]:
        return self._list("", ObjectType.GROUP)

    def _list(self, group: str, kind: ObjectType) -> list[str]:
        with _hydra(load(self.app), self.config_dirs) as running:
            return sorted(running.config_loader.get_group_options(group, kind))

    @functools.cached_property
    def _service(self) -> Source:
        """tuner's source, which also finds a `space` in the application's directory."""
        own = load(self.app).config_dir
        there = (own,) if own is not None and own.is_dir() else ()
        return Source((*self.config_dirs, *there))

    def _is_ours(self, text: str) -> bool:
        top = re.split(r"[./@=]", text.lstrip("+~"), maxsplit=1)[0]
        return top in OPERATIONAL or (top == "seed" and not self._has_seed())

    @functools.cache  # noqa: B019
    def _has_seed(self) -> bool:
        return "seed" in self._application(())[0]

    def _application(self, overrides: Sequence[str]) -> tuple[DictConfig, Mapping[str, str | None]]:
        main = load(self.app)
        try:
            with _hydra(main, self.config_dirs) as running:
                cfg = _compose(running, main, self.config_name, overrides)
        except (HydraException, OmegaConfBaseException) as error:
            told = override_parser.explained(error)
            if "/sweeper/optuna'" in told.problem:
                told = replace(told, hint="use hydra/sweeper: tuner instead")
            raise ConfigError([told]) from error
        own = [main.config_dir] if main.config_dir else []
        choices = dict(cfg.hydra.runtime.choices)
        named = {"": self.config_name or main.config_name, **choices}
        search_path.refuse_marks([*self.config_dirs, *own], named)
        # A copy of the nodes, which the types of a structured configuration do not close.
        root = OmegaConf.create({k: cfg._get_node(k) for k in cfg if k != "hydra"})
        return root, choices
