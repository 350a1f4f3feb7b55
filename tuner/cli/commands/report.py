"""``tuner report``: a study as a file to read."""

import argparse
import os
from pathlib import Path

from tuner.cli.look import look
from tuner.config import directories
from tuner.config.directories import LONGEST_NAME
from tuner.errors import (
    ConfigError,
)
from tuner.log import say
from tuner.report.reproduce import Repeats
from tuner.report.terminal import status as state
from tuner.report.write import write_page

FORMATS = ("html", "md", "png")


def _form(output: Path | None) -> str:
    """Return the report's format by the suffix of its file."""
    ending = output.suffix.lstrip(".").lower() if output else ""
    if ending in ("", "htm"):
        return FORMATS[0]
    if ending not in FORMATS:
        raise ConfigError(
            f"expected a name that ends with .html, .md or .png, got {str(output)!r}",
            key="--output",
            hint="or say --format=html",
        )
    return ending


def run(args: argparse.Namespace) -> int:
    """Write the report and print its path to stdout."""
    form = args.format or _form(args.output)
    found = look(args)
    study, directory = found.load(), found.location.directory
    output = args.output or directory / f"report.{form}"
    if (size := len(os.fsencode(output.name))) > LONGEST_NAME:
        told, most = f"its name has {size} bytes", f"at most {LONGEST_NAME}"
        raise ConfigError(told, key="--output", hint=most)
    if output.is_dir():
        raise ConfigError(f"{output} is a directory", key="--output", hint="name a file in it")
    if output.exists() and not output.is_file():
        told = f"{output} is a pipe or a device, which a file would replace"
        raise ConfigError(told, key="--output", hint="name a file")
    directories.probe([("--output", output.parent)])
    shown = state.look(study)
    say(str(write_page(study.optuna, output, directory, form, shown, Repeats(found.plan))))
    return 0
