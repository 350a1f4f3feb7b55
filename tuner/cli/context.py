"""Load what commands need: the configuration, the plan, the study, its best trial."""

import argparse
import shlex

from tuner import log
from tuner.api import preflight, search_checks
from tuner.config import composition, lookup, search_path
from tuner.config.application import ApplicationSource
from tuner.config.composition import Source
from tuner.config.override_text import text_of
from tuner.errors import Mistake, RowRefused, TunerError
from tuner.launch.base import Launcher
from tuner.report.analysis import no_result
from tuner.report.configurations import Row
from tuner.report.reproduce import Repeats
from tuner.report.summary import Summary
from tuner.report.terminal import screen
from tuner.storage import urls
from tuner.study import create, location, plan
from tuner.study.plan import Plan
from tuner.study.study import Study

console = screen.console


def source(args: argparse.Namespace) -> Source:
    directories = tuple(dict.fromkeys(d.resolve() for d in args.config_dir))
    if args.app is not None:
        return ApplicationSource(directories, args.config_name or "", app=args.app)
    return Source(directories, args.config_name or "config")


def take_searchpath(args: argparse.Namespace) -> None:
    """Convert ``hydra.searchpath=[…]`` to options ``--config-dir`` of the same effect."""
    for text in [text for text in args.overrides if text.startswith(f"{search_path.KEY}=")]:
        args.overrides.remove(text)
        entries = composition.parse(text).value()
        args.config_dir += search_path.directories(entries if isinstance(entries, list) else [])


def planned(args: argparse.Namespace, *, judge: bool = True) -> Plan:
    """Return the requested plan.

    Raises:
        ConfigError: It has errors, all of which are reported.
    """
    if not judge:
        return readable(args)
    log.to_stderr()
    return preflight.planned(plan.load(source(args), args.overrides))


def launched(args: argparse.Namespace) -> tuple[Plan, Launcher, str]:
    """Load the plan and build its launcher; see ``preflight.launched``."""
    log.to_stderr()
    return preflight.launched(plan.load(source(args), args.overrides))


def readable(args: argparse.Namespace) -> Plan:
    """Return the plan of a command that only reads; the objective need not be importable here."""
    log.to_stderr()
    named = [] if args.study is None else [f"study.name={text_of(args.study)}"]
    asked = plan.load(source(args), [*args.overrides, *named], judge=False)
    url = lookup.text_at(asked.cfg, "storage.url")
    makes = {} if url is None else {"storage": lambda: urls.judge(url)}
    return asked.require(search_checks.refusals(makes))


def ours(args: argparse.Namespace) -> tuple[Plan, Study]:
    """Return the study of a plan, which tuner must have created, to train or export from."""
    asked = readable(args)
    found = location.of(asked).load()
    create.require_ours(found.name, found.attrs)
    return asked, found


def best_row(args: argparse.Namespace, asked: Plan | None, found: Summary) -> Row:
    """Return the best trial.

    Raises:
        TunerError: No trial is complete; the message has the causes if none will be.
    """
    if found.best is None:
        told = f"study {found.name!r} has no completed trial yet (got {found.tally or 'none'})"
        none = Mistake("", told, "tuner status shows its state")
        raise TunerError([in_vain(args, asked, found) or none])
    return found.best


def in_vain(args: argparse.Namespace, asked: Plan | None, found: Summary) -> Mistake | None:
    """Explain why a finished study has no value at all; None while there is or may be one."""

    def command(row: Row) -> str:
        return train_line(args, asked, row) if Repeats(asked).known(row) is not None else ""

    return no_result.told(found, command)


def overrides(asked: Plan | None, row: Row) -> list[str] | None:
    """Return the overrides that repeat a trial; None, with a warning, if they are refused.

    See ``tuner.study.vetting``.
    """
    try:
        return Repeats(asked).overrides(row)
    except RowRefused as error:
        log.log.warning("no command is shown that would repeat it:\n%s", error)
        return None


def train_line(args: argparse.Namespace, asked: Plan | None, row: Row) -> str:
    """Return the command that repeats a trial, to paste into a shell, or else a comment.

    Without a plan it is that of the best trial, which another command looks up.
    """
    if asked is None:
        return f"tuner train $({same(args, 'best')} --overrides)"
    words = overrides(asked, row)
    if words is None:
        return f"# configuration {row.number}"
    return shlex.join(["tuner", "train", *flags(args), *words])


def same(args: argparse.Namespace, command: str) -> str:
    """Return another command on the same study, to paste into a shell."""
    study = [] if args.study is None else [args.study]
    return shlex.join(["tuner", command, *study, *flags(args), *args.overrides])


def flags(args: argparse.Namespace) -> list[str]:
    """Return the options that find the configuration, as given."""
    app = [f"--app={args.app}"] if args.app else []
    name = [f"--config-name={args.config_name}"] if args.config_name else []
    return [*app, *(f"--config-dir={d}" for d in args.config_dir), *name]
