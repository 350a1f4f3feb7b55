"""The command line: parsing, options and exit codes; data to stdout, the rest to stderr.

Exit codes: 0 success, 1 failure, 2 refused before any work (usage, configuration, or an unusable
database or directory), 130 / 143 interrupted. A command is imported only when it is run, so that
``tuner --help`` is fast.
"""

import gc
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from tuner.cli.parser import parse
from tuner.config.uncollected import uncollected
from tuner.errors import Infeasible, TunerError
from tuner.log import printable
from tuner.masking import has_secret, masked

BEGINS = {
    "tune": "checking the configuration",
    "check": "checking the configuration",
    "train": "checking the configuration",
    "final": "reading the study",
    "export": "reading the study",
    "report": "reading the study, and drawing its figures",
    "dashboard": "starting the dashboard",
    "predict": "loading the model",
}
"""Command that imports libraries for seconds → what it says before."""


def run() -> int:
    """Run a command in a process that ends afterwards; return its exit code."""
    try:
        return main()
    finally:
        # The interpreter searches for garbage before it exits, a quarter of the time of commands
        # that import PyTorch; all memory is released then anyway.
        gc.freeze()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # unsupported characters must not raise an error
        sys.stdout.reconfigure(errors="replace")
    sys.path.insert(0, os.getcwd())  # a module beside the command can be named by _target_
    try:
        args = parse(argv)
        if args.command in BEGINS:
            _print_error(f"{BEGINS[args.command]} …")
        if any(text.startswith("hydra.searchpath=") for text in args.overrides):
            importlib.import_module("tuner.cli.context").take_searchpath(args)
        if any(map(has_secret, args.overrides)):
            importlib.import_module("tuner.cli.secret_arguments").take_secrets(args)
        with uncollected():
            command = importlib.import_module(f"tuner.cli.commands.{args.command}")
        gc.freeze()  # modules are never garbage: searching them took a tenth of `tuner status`
        return int(command.run(args))
    except TunerError as error:
        _print_error(f"error: {error}")
        return error.exit_code
    except Infeasible as error:
        _print_error(f"error: {args.command}: {error}")
        return 1
    except KeyboardInterrupt as stop:
        _print_error("; ".join(["interrupted", *map(str, stop.args)]))
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        lost = _lost(error)
        if lost is None:
            sys.excepthook = _print_traceback
            raise
        _print_error(f"error: {lost}")
        return lost.exit_code


def _print_error(text: str) -> None:
    """Print a line to stderr, without passwords and terminal control sequences."""
    print(printable(masked(text)), file=sys.stderr)


def _print_traceback(
    _kind: type[BaseException], error: BaseException, _frames: TracebackType | None
) -> None:
    _print_error("".join(traceback.format_exception(error)).rstrip())


def _lost(error: Exception) -> TunerError | None:
    """Return the error to show if a study's database has failed; None for any other error."""
    # Takes a second to import, and not all commands need it.
    outages: Any = sys.modules.get("tuner.storage.outages")
    return outages.lost(error) if outages is not None and outages.is_ours(error) else None
