"""Parse the command line, without importing the commands."""

import argparse
import importlib
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from tuner import __version__
from tuner.cli.argument_errors import Parser
from tuner.cli.options import BARE, add_options
from tuner.cli.study_arguments import take_names
from tuner.config.types import closest, nearest
from tuner.errors import Mistake
from tuner.masking import remember

COMMANDS = {
    "init": "create a small example project, or the configuration of a small Slurm cluster",
    "completion": "print shell code that enables tab completion of commands, options and keys",
    "tune": "create or resume a study, start its workers, show progress and write the report",
    "worker": "start one worker on this machine and join a study",
    "train": "train a single configuration without a study",
    "final": "retrain the best configurations with new seeds, test and export the winner",
    "status": "show workers, trial counts, throughput and the best value of one study or all",
    "best": "show the best trial and the command that repeats it",
    "trials": "list the trials of a study, sorted and filtered, as a table, CSV or JSON",
    "trial": "show one trial: settings, curves, outcome, log and files",
    "compare": "compare two studies: results and differences, as a table and one HTML page",
    "report": "write the report of a study as one HTML page, Markdown or an image",
    "export": "export the model of tuner final with its configuration and a model card",
    "predict": "classify images with an exported model",
    "dashboard": "serve optuna-dashboard for all studies of the database",
    "study": "list, rename, delete or copy studies",
    "clean": "show the disk space of studies and remove checkpoints of finished trials",
    "check": "validate configuration, search space, storage and devices without running anything",
}
"""Command → its summary; the module of its name in ``tuner.cli.commands`` runs it."""


EPILOG = """\
Overrides have Hydra's syntax, group=option or key=value.  In tune and worker,
a plain override pins a key, and a sweep override searches it:
model.width='int(interval(16, 64))', optimizer='choice(sgd,adamw)'.
"""
WORKER_CODES = """\
Additional exit codes: 70, an error outside of the objective; 75, a broken
device.  The trial is requeued for another worker, which tuner tune starts
by itself.
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse options and overrides in any order, which argparse alone does not support."""
    words = list(sys.argv[1:] if argv is None else argv)
    for text in [*words, *os.environ.values()]:
        remember(text)
    parser, commands = _parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks; nothing is run
        importlib.import_module("tuner.cli.completion").serve(parser, commands)
    if not words:
        parser.print_help(sys.stderr)
        sys.exit(2)
    named = next((word for word in words if not re.match("-(?![0-9])", word)), None)
    if named is not None and named in commands and words[0] not in ("-h", "--help", "--version"):
        words.remove(named)
        words.insert(0, named)
    elif named is not None and named not in commands:
        parser.error(f"unknown command {named!r}", _command_meant(named, words, list(commands)))
    args, rest = parser.parse_known_args(words)
    if args.command is None and not rest:
        parser.error("missing command", ", ".join(commands))
    given = [*getattr(args, "overrides", ()), *rest]  # none without a command
    if unknown := [text for text in given if text.startswith("-")]:
        _refuse(unknown, commands[named] if named is not None else parser)
    args.overrides = given
    take_names(args, commands.get(args.command, parser))
    return args


def _command_meant(named: str, words: Sequence[str], commands: Sequence[str]) -> str:
    if "=" in named or words[0] != named:
        command = next((word for word in words if word in commands), "tune")
        first = [command, *(word for word in words if word != command)]
        return f"put the command first: tuner {shlex.join(first)}"
    meant = closest(named, commands)
    return f"did you mean {meant!r}?" if meant else "tuner --help lists them"


def _refuse(unknown: Sequence[str], parser: Parser) -> NoReturn:
    known = [flag for action in parser._actions for flag in action.option_strings]
    parser.refuse([_no_option(text, known) for text in unknown])


def _no_option(text: str, known: Sequence[str]) -> Mistake:
    """Return the error for an unknown option, without its value, which may be a secret."""
    flag, given, _ = text.partition("=")
    if given and "." in flag:
        return Mistake(
            "", f"unknown option {flag}", f"write an override without dashes: {flag.lstrip('-')}=…"
        )
    takes_overrides = "--config-dir" in known and not closest(flag, known)
    settings = "; settings are overrides without dashes: key=value" * takes_overrides
    return Mistake("", f"unknown option {flag}", nearest(flag, known) + settings)


def _parser() -> tuple[Parser, Mapping[str, Parser]]:
    """Return the parser of the whole command line with all commands."""
    parser = Parser(
        prog="tuner",
        description="Hyperparameter optimisation for PyTorch CNNs and any Python callable.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.formatter_class = argparse.RawDescriptionHelpFormatter  # keeps lines of the epilog
        if name not in BARE:
            command.epilog = f"{EPILOG}\n{WORKER_CODES}" if name == "worker" else EPILOG
        add_options(name, command)
    return parser, commands.choices
