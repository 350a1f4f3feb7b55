"""Arguments of the commands on studies: their names, and what else is no override."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from tuner.cli.argument_errors import Parser, whole

OF_A_STUDY = {"status", "best", "trials", "report", "final", "export", "dashboard"}
"""Commands on a study that exists; they take its name as an argument."""
ACTIONS: dict[str, tuple[str, ...]] = {
    "list": (),
    "rename": ("OLD", "NEW"),
    "delete": ("NAME",),
    "copy": ("NAME", "URL"),
}
"""Actions of ``tuner study`` and their arguments."""
STATES = ("complete", "pruned", "infeasible", "failed", "running", "queued")
"""States of trials, as ``tuner.report.configurations`` has them."""


def add(name: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that are no overrides."""
    if name in OF_A_STUDY:
        parser.add_argument("study", nargs="?", help="its name; default: that of the configuration")
    if options := OPTIONS.get(name):
        options(parser)


def take(args: argparse.Namespace, parser: Parser) -> None:
    """Move the words that are no overrides to ``args.study``, ``args.number`` and ``args.words``.

    ``args.study`` is None without a name.
    """
    first = [*filter(None, [getattr(args, "study", None)]), *getattr(args, "words", ())]
    words = [*first, *args.overrides]
    names = [word for word in words if not _is_override(word)]
    args.overrides = [word for word in words if _is_override(word)]
    args.study, args.words = None, names
    if args.command == "study" and args.action is None:
        parser.error(f"expected {', '.join(ACTIONS)}", "tuner study list")
    if args.command == "study":
        _refuse_others(args, parser)
    if args.command in ("study", "compare"):
        _require(args, parser, ("A", "B") if args.command == "compare" else ACTIONS[args.action])
        return
    if args.command == "trial":
        _take_number(args, parser)
    _take_name(args, parser)


def _is_override(word: str) -> bool:
    """Return whether a word sets or deletes a key; a URL may have options, which set none."""
    return word.startswith("~") or "=" in word.partition("://")[0]


def _refuse_others(args: argparse.Namespace, parser: Parser) -> None:
    """Refuse an option of another action, which would do nothing."""
    for option, action in {"json": "list", "files": "delete", "yes": "delete"}.items():
        if getattr(args, option) and args.action != action:
            parser.error(f"--{option} belongs to tuner study {action}", "leave it out")


def _require(args: argparse.Namespace, parser: Parser, wanted: Sequence[str]) -> None:
    """Refuse another number of words than there are names in ``wanted``."""
    if len(args.words) == len(wanted):
        return
    command = " ".join([args.command, *filter(None, [getattr(args, "action", None)])])
    got = " ".join(args.words) or "nothing"
    parser.error(
        f"expected {' '.join(wanted) or 'no name'}, got {got}",
        " ".join(["tuner", command, *wanted]),
    )


def _take_number(args: argparse.Namespace, parser: Parser) -> None:
    numbers = [word for word in args.words if re.fullmatch(r"#?\d{1,9}", word, re.ASCII)]
    if not numbers:
        got = " ".join(args.words) or "none"
        parser.error(f"expected the number of a trial, got {got}", "tuner trials lists them")
    args.number = int(numbers[0].lstrip("#"))
    args.words.remove(numbers[0])


def _take_name(args: argparse.Namespace, parser: Parser) -> None:
    names = args.words
    args.study = next(iter(names), None)
    if len(names) > 1:
        parser.error(f"expected one study, got {' and '.join(names[:2])}", "a command for each")
    twice = any(word.lstrip("+").startswith("study.name=") for word in args.overrides)
    if names and (twice or getattr(args, "all", False)):
        other = "study.name" if twice else "--all"
        parser.error(f"both {other} and the study {names[0]!r}", "leave out one of them")


def _trials(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sort",
        metavar="KEY",
        default="number",
        help="number, state, value (best first), epochs, seconds, finished, or the name of an"
        " objective, a metric or a setting (default: %(default)s)",
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument(
        "--state", action="append", choices=STATES, help="only these; may be repeated"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="a table for other programs")
    form.add_argument("--json", action="store_true", help="for programs")


def _trial(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tuner trial [options] N [study] [override ...]"
    parser.add_argument("words", nargs="*", metavar="N [study]", help="the trial's number")
    parser.add_argument("--json", action="store_true", help="for programs")


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tuner compare [options] A B [override ...]"
    parser.add_argument("words", nargs="*", metavar="A B", help="the names of two studies")
    parser.add_argument("--output", type=Path, help="default: compare-B.html in A's directory")


def _study(parser: argparse.ArgumentParser) -> None:
    ways = " | ".join(" ".join([action, *names]) for action, names in ACTIONS.items())
    parser.usage = f"tuner study {{{ways}}} [options] [override ...]"
    parser.add_argument("action", nargs="?", choices=ACTIONS, help="what to do")
    parser.add_argument("words", nargs="*", metavar="name", help="the study, and what it needs")
    parser.add_argument("--json", action="store_true", help="of list: for programs")
    parser.add_argument(
        "--files", action="store_true", help="of delete: the files of its trials as well"
    )
    _yes(parser)


def _clean(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", help="its name; default: every study there is")
    parser.add_argument("--dry-run", action="store_true", help="show what is there, and no more")
    parser.add_argument(
        "--keep",
        type=whole(0),
        default=1,
        help="number of best trials of each study that keep their checkpoints (default:"
        " %(default)s)",
    )
    _yes(parser)


def _yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


OPTIONS = {
    "trials": _trials, "trial": _trial, "compare": _compare, "study": _study, "clean": _clean,
}  # fmt: skip
"""Commands with options or arguments of their own."""
COMMANDS = OF_A_STUDY | OPTIONS.keys()
"""All commands on studies that exist."""
