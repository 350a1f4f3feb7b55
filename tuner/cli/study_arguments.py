"""Arguments of the commands on studies: their names, and what else is no override."""

import argparse
import re
from collections.abc import Sequence

from tuner.cli.argument_errors import Parser
from tuner.cli.options import ACTIONS, OPTIONS, STUDY

COMMANDS = {"trial", "compare", "study", "clean", *(c for c, o in OPTIONS.items() if STUDY in o)}
"""Commands on studies that exist."""


def take_names(args: argparse.Namespace, parser: Parser) -> None:
    """Move the words that are no overrides to ``args.study``, ``args.number`` and ``args.words``.

    ``args.study`` is None without a name, and for commands that are not on studies.
    """
    if args.command not in COMMANDS:
        args.study = None
        return
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
            parser.error(f"--{option} is an option of tuner study {action} only", "leave it out")


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
        parser.error(
            f"expected one study, got {' and '.join(names[:2])}", "run the command for each of them"
        )
    twice = any(word.lstrip("+").startswith("study.name=") for word in args.overrides)
    if names and (twice or getattr(args, "all", False)):
        other = "study.name" if twice else "--all"
        parser.error(f"got both {other} and the study {names[0]!r}", "use only one of them")
