"""Load what commands need: the configuration, the plan, the study, its best trial."""

import argparse
import gc
import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from tuner import log
from tuner.api import preflight, search_checks
from tuner.cli import parser
from tuner.cli.command_lines import flags
from tuner.cli.view import View
from tuner.config import lookup, override_parser, search_path, targets
from tuner.config.application import ApplicationSource
from tuner.config.composition import Source
from tuner.config.override_text import text_of
from tuner.errors import ConfigError, RowRefused
from tuner.launch.base import Launcher
from tuner.report.configurations import Row
from tuner.report.reproduce import Repeats
from tuner.report.summary import Summary
from tuner.storage import urls
from tuner.study import create, location, plan, recorded
from tuner.study.plan import Plan
from tuner.study.study import Study


def source(args: argparse.Namespace) -> Source:
    directories = tuple(dict.fromkeys(d.resolve() for d in args.config_dir))
    if args.app is not None:
        return ApplicationSource(directories, args.config_name or "", app=args.app)
    return Source(directories, args.config_name or "config")


def take_searchpath(args: argparse.Namespace) -> None:
    """Convert ``hydra.searchpath=[…]`` to options ``--config-dir`` of the same effect."""
    for text in [text for text in args.overrides if text.startswith(f"{search_path.KEY}=")]:
        args.overrides.remove(text)
        entries = override_parser.parse(text).value()
        named = search_path.directories(entries if isinstance(entries, list) else [])
        args.config_dir = [*args.config_dir, *named]  # whose default all parsers share


def planned(args: argparse.Namespace, *, validate: bool = True) -> Plan:
    """Return the requested plan.

    Raises:
        ConfigError: Lists all errors in it.
    """
    if not validate:
        return readable(args)
    log.to_stderr()
    return preflight.planned(plan.load(source(args), args.overrides))


def launched(
    args: argparse.Namespace, composed: Callable[[DictConfig], object] = lambda _: None
) -> tuple[Plan, Launcher, str]:
    """Load the plan and build its launcher; see ``plan.load`` and ``preflight.launched``."""
    log.to_stderr()

    def import_objective(cfg: DictConfig) -> None:
        composed(cfg)
        with suppress(ConfigError):  # which the plan reports
            targets.locate(lookup.text_at(cfg, "objective._target_") or "")
        gc.freeze()  # a collection would traverse all of PyTorch's modules

    asked = plan.load(source(args), args.overrides, composed=import_objective)
    return preflight.launched(asked)


def readable(args: argparse.Namespace) -> Plan:
    """Return the plan of a command that only reads; the objective need not be importable here.

    If the command has the name of a study, it is the plan of its search on this machine.
    """
    log.to_stderr()
    args = args if args.study is None else _as_searched(args)
    asked = plan.load(source(args), args.overrides, validate=False)
    url = lookup.text_at(asked.cfg, "storage.url")
    makes = {} if url is None else {"storage": lambda: urls.validate(url)}
    return asked.require(search_checks.refusals(makes))


def _as_searched(args: argparse.Namespace) -> argparse.Namespace:
    """Return the command line with the options and overrides of the study's search."""
    given, _ = location.places(args.overrides)
    known = recorded.words(location.named(args.study, given).directory) or []
    found = parser.parse(["train", *known])
    own = args.config_dir or args.config_name or args.app
    name = f"study.name={text_of(args.study)}"
    return argparse.Namespace(
        config_dir=args.config_dir if own else found.config_dir,
        config_name=args.config_name if own else found.config_name,
        app=args.app if own else found.app,
        overrides=[*found.overrides, *args.overrides, name],
    )


def ours(args: argparse.Namespace) -> tuple[Plan, Study]:
    """Return the study of a plan for training or export; it must have been created by tuner."""
    asked = readable(args)
    found = location.of(asked).load()
    create.require_ours(found.name, found.attrs)
    return asked, found


def planned_view(args: argparse.Namespace) -> "Planned":
    """Return the view of the study of a command line's configuration."""
    return view_of(args, readable(args))


def view_of(args: argparse.Namespace, asked: Plan) -> "Planned":
    return Planned(args, location.of(asked), asked)


@dataclass(frozen=True)
class Planned(View):
    """A study with its plan, from which the commands that repeat its trials are built."""

    plan: Plan

    @property
    def repeats(self) -> Repeats:
        return Repeats(self.plan)

    def commands(self, _found: Summary) -> Repeats:
        return self.repeats

    def overrides(self, row: Row) -> list[str] | None:
        try:
            return self.repeats.overrides(row)
        except RowRefused as error:
            log.log.warning("the command that repeats the trial is not shown:\n%s", error)
            return None

    def shell_words(self, row: Row) -> list[str]:
        own = map(override_parser.spaceless, self.repeats.overrides(row))
        return [*self._options(), *own]

    def train_line(self, row: Row) -> str:
        """Return the command that repeats a trial, to paste into a shell, or else a comment."""
        words = self.overrides(row)
        if words is None:
            return f"# configuration {row.number}"
        return shlex.join(["tuner", "train", *self._options(), *words])

    def again(self, row: Row) -> str:
        return self.train_line(row) if self.repeats.known(row) is not None else ""

    def _options(self) -> list[str]:
        """Return the options that find the configuration: as given, or as in the search."""
        if self.args.study is None:
            return flags(self.args)
        here = f"--config-dir={Path.cwd()}{os.sep}"  # a shell splits a path that has spaces
        return [text.replace(here, "--config-dir=", 1) for text in self.plan.source.argv()]
