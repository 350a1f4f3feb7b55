"""What every command asks first: the configuration, the plan, the study, its best trial."""

import argparse
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tuner import (
    config,
    edges,
    log,
    mandatory,
    nodes,
    plan,
    provenance,
    search,
    searchpath,
    storage,
    study,
    targets,
    urls,
)
from tuner.application import ApplicationSource
from tuner.commands import places
from tuner.config import Source
from tuner.errors import ConfigError, RowRefused, TunerError
from tuner.launch import gpus
from tuner.launch.base import Launcher
from tuner.mistakes import Mistake
from tuner.plan import Plan
from tuner.report import fruitless
from tuner.report.repeat import Repeats
from tuner.report.rows import Row
from tuner.report.summary import Summary
from tuner.study import Study


def source(args: argparse.Namespace) -> Source:
    directories = tuple(dict.fromkeys(d.resolve() for d in args.config_dir))
    if args.app is not None:
        return ApplicationSource(directories, args.config_name or "", app=args.app)
    return Source(directories, args.config_name or "config")


def take_searchpath(args: argparse.Namespace) -> None:
    """Turn ``hydra.searchpath=[…]`` into as many ``--config-dir``, which do the same."""
    for text in [text for text in args.overrides if text.startswith(f"{searchpath.KEY}=")]:
        args.overrides.remove(text)
        entries = config.parse(text).value()
        args.config_dir += searchpath.directories(entries if isinstance(entries, list) else [])


def planned(args: argparse.Namespace, *, judge: bool = True) -> Plan:
    """What was asked for; raises ``ConfigError`` with all of its mistakes."""
    if not judge:
        return readable(args)
    log.to_stderr()
    asked = plan.load(source(args), args.overrides)
    makes = {
        "launch": lambda: config.instantiate(asked.cfg.launch),
        "storage": lambda: urls.judge(asked.storage.url),
        "device": lambda: _judge_device(asked),
    }
    return required(asked, places.mistakes(asked, makes))


def launched(args: argparse.Namespace) -> tuple[Plan, Launcher, str]:
    """… and what starts the workers, and what it would start.

    Its engine and the database have been asked.
    """
    log.to_stderr()
    asked = plan.load(source(args), args.overrides)
    found: list[tuple[Launcher, str]] = []

    def launch() -> None:
        launcher: Launcher = config.instantiate(asked.cfg.launch)
        found.append((launcher, ""))
        found.append((launcher, launcher.describe()))

    makes = {
        "launch": launch,
        "storage": lambda: storage.probe(asked.storage.url),
        "device": lambda: None if _is_elsewhere(asked) else _judge_device(asked),
    }
    more = places.mistakes(asked, makes)
    url = nodes.text_at(asked.cfg, "storage.url") or ""
    if found and found[0][0].spread and url.startswith("sqlite"):
        told = "SQLite serves one machine, but this launcher's workers may come to lie on several"
        more.append(Mistake("storage.url", told, "storage=postgresql, or launch=local"))
    if not (asked.mistakes or more):
        more = search.refusals({"study": lambda: provenance.judge_prior(asked)})
    return required(asked, more), *found[-1]


def _judge_device(asked: Plan) -> None:
    gpus.require(nodes.text_at(asked.cfg, "worker.device"))


def _is_elsewhere(asked: Plan) -> bool:
    """Whether the workers may come to lie on other machines, whatever is wrong with ``launch``."""
    target = nodes.text_at(asked.cfg, "launch._target_")
    with suppress(ConfigError):
        return target is not None and getattr(targets.locate(target), "spread", False) is True
    return False


def required(asked: Plan, more: Sequence[Mistake] = ()) -> Plan:
    """The plan without mistakes; what may have been meant otherwise is a warning."""
    asked.require(more)
    unset = mandatory.doubts(asked.source, asked.cfg, asked.space)
    for doubt in [*edges.fractions(asked.cfg, asked.space), *unset]:
        log.log.warning("%s", doubt)
    return asked


def readable(args: argparse.Namespace) -> Plan:
    """The plan of a command that only reads: the objective need not be importable here."""
    log.to_stderr()
    asked = plan.load(source(args), args.overrides, judge=False)
    url = nodes.text_at(asked.cfg, "storage.url")
    makes = {} if url is None else {"storage": lambda: urls.judge(url)}
    return asked.require(search.refusals(makes))


def stored(args: argparse.Namespace) -> tuple[Plan, Study]:
    """The plan, and the study that it names, which must exist."""
    asked = readable(args)
    return asked, loaded(asked)


def loaded(asked: Plan) -> Study:
    """The study that a plan names, which must exist."""
    grace, patience = asked.worker.grace, asked.storage.patience
    return study.load(asked.storage.url, asked.study.name, grace=grace, patience=patience)


def ours(args: argparse.Namespace) -> tuple[Plan, Study]:
    """The same of a study that tuner has made: what else would be trained or exported?"""
    asked, found = stored(args)
    provenance.require_ours(found.name, found.attrs)
    return asked, found


def best_row(args: argparse.Namespace, asked: Plan, found: Summary) -> Row:
    """The best trial; ``TunerError`` if none is complete, with the causes if none will be."""
    if found.best is None:
        told = f"study {found.name!r} has no completed trial yet (got {found.tally or 'none'})"
        none = Mistake("", told, "tuner status shows its state")
        raise TunerError([in_vain(args, asked, found) or none])
    return found.best


def in_vain(args: argparse.Namespace, asked: Plan, found: Summary) -> Mistake | None:
    """Why a study that has ended has no value at all; None while there is one, or may be."""

    def command(row: Row) -> str:
        return train_line(args, asked, row) if Repeats(asked).known(row) is not None else ""

    return fruitless.told(found, command)


def overrides(asked: Plan, row: Row) -> list[str] | None:
    """The overrides that repeat a trial; None, and a warning of why, where this command would not.

    See ``tuner.vetting``.
    """
    try:
        return Repeats(asked).overrides(row)
    except RowRefused as error:
        log.log.warning("no command is shown that would repeat it:\n%s", error)
        return None


def train_line(args: argparse.Namespace, asked: Plan, row: Row) -> str:
    """The command that repeats a trial, to paste into a shell; else a comment in its place."""
    words = overrides(asked, row)
    if words is None:
        return f"# configuration {row.number}"
    return shlex.join(["tuner", "train", *flags(args), *words])


def same(args: argparse.Namespace, command: str) -> str:
    """Another command on the same study, to paste into a shell."""
    return shlex.join(["tuner", command, *flags(args), *args.overrides])


class Screen(Console):
    """A terminal that is told nothing but what was meant for it: see ``tuner.log.printable``."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else log.printable(text), style, control)


def console(*, stderr: bool = False) -> Console:
    return Screen(stderr=stderr)


def flags(args: argparse.Namespace) -> list[str]:
    """The options that find the configuration, as they were given."""
    app = [f"--app={args.app}"] if args.app else []
    name = [f"--config-name={args.config_name}"] if args.config_name else []
    return [*app, *(f"--config-dir={d}" for d in args.config_dir), *name]
