"""Write a command with the name of a study instead of the overrides of its search."""

import argparse
import shlex

from tuner.cli.command_lines import command_line
from tuner.config.override_text import text_of
from tuner.masking import has_secret
from tuner.study import location, recorded
from tuner.study.plan import Plan


def line(args: argparse.Namespace, asked: Plan, command: str) -> str:
    """Return a command on the study of a plan, to paste into a shell.

    It is short, ``tuner final digits``, where the search was recorded on this machine, and else has
    the options and overrides of ``args``.
    """
    known = args.study is not None or recorded.words(location.of(asked).directory) is not None
    words = _words(asked) if known else None
    return command_line(args, command) if words is None else shlex.join(["tuner", command, *words])


def _words(asked: Plan) -> list[str] | None:
    """Return the study's name and where it is unless that is usual; None if that has a secret."""
    place = location.of(asked)
    if "=" in place.name or place.name.startswith(("-", "~", "+")):  # it would be an override
        return None
    usual, words = location.named(place.name), [place.name]
    given = [text for text in asked.overrides if text.startswith(("storage=", "storage.url="))]
    if place.url != usual.url or any("${" in text for text in given):
        if not given and has_secret(place.url):
            return None
        words += given or [f"storage.url={text_of(place.url)}"]
    if place.directory != usual.directory:
        words.append(f"study.dir={text_of(str(place.directory))}")
    return words
