"""Parse the command line, without importing what the commands need."""

import argparse
import importlib
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tuner import __version__
from tuner.cli import study_arguments
from tuner.cli.argument_errors import Parser, whole
from tuner.config.types import closest, nearest
from tuner.errors import Mistake
from tuner.masking import remember

COMMANDS = {
    "init": "write a small project of your own to a new directory",
    "completion": "print the shell code for tab completion of commands, keys and options",
    "tune": "create or resume the study, start the workers, show progress, end with the report",
    "worker": "one worker on this machine, joining the study",
    "train": "train one configuration, without a study",
    "final": "retrain the best over several seeds, score once on test, export the model",
    "status": "workers, counts, pace and the best so far, of one study or of all",
    "best": "the best trial: its value and overrides",
    "trials": "all trials of a study, sorted and filtered: a table, CSV or JSON",
    "trial": "one trial: settings, curves, outcome, log and files",
    "compare": "two studies: what they reached and what differs, as a table and one HTML page",
    "report": "write the study as one HTML page, Markdown or a picture",
    "export": "write the best configuration and its trained model to a directory",
    "predict": "classify images with an exported model",
    "dashboard": "optuna-dashboard on this study's database",
    "study": "list, rename, delete or copy studies",
    "clean": "what studies hold on disk; removes checkpoints of ended trials",
    "check": "validate configuration, space, storage and devices without running",
}
"""Command → its summary; the module of its name in ``tuner.cli.commands`` runs it."""

EPILOG = """\
An override is Hydra's: group=option or key=value.  With tune and worker a plain override pins,
and a sweep override searches: model.width='int(interval(16, 64))', optimizer='choice(sgd,adamw)'.
"""

WORKER_CODES = """\
Further exit codes: 70 the worker itself failed, 75 its device broke. Its trial is queued again, and
another worker can go on: start one, as tuner tune does by itself.
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
        parser.error(f"no command {named!r}", _command_meant(named, words, list(commands)))
    args, rest = parser.parse_known_args(words)
    if args.command is None and not rest:
        parser.error("no command", ", ".join(commands))
    given = [*getattr(args, "overrides", ()), *rest]  # none without a command
    if unknown := [text for text in given if text.startswith("-")]:
        _refuse(unknown, commands[named] if named is not None else parser)
    args.overrides = given
    if args.command in study_arguments.COMMANDS:
        study_arguments.take(args, commands[args.command])
    else:
        args.study = None
    return args


def _command_meant(named: str, words: Sequence[str], commands: Sequence[str]) -> str:
    if "=" in named or words[0] != named:
        command = next((word for word in words if word in commands), "tune")
        first = [command, *(word for word in words if word != command)]
        return f"a command comes first, as in: tuner {shlex.join(first)}"
    meant = closest(named, commands)
    return f"did you mean {meant!r}?" if meant else "tuner --help lists them"


def _refuse(unknown: Sequence[str], parser: Parser) -> NoReturn:
    known = [flag for action in parser._actions for flag in action.option_strings]
    parser.refuse([_no_option(text, known) for text in unknown])


def _no_option(text: str, known: Sequence[str]) -> Mistake:
    """The mistake of an unknown option, without its value, which may be a secret."""
    flag, given, _ = text.partition("=")
    if given and "." in flag:
        return Mistake("", f"no option {flag}", f"an override has no dashes, {flag.lstrip('-')}=…")
    return Mistake("", f"no option {flag}", nearest(flag, known))


def _parser() -> tuple[Parser, Mapping[str, Parser]]:
    """Return the parser of the whole command line with all commands."""
    parser = Parser(
        prog="tuner",
        description="Hyperparameter optimisation for PyTorch CNNs and any callable of yours.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        study_arguments.add(name, command)
        BARE.get(name, _options)(command)
    options = {name: commands.choices[name] for name in COMMANDS}
    for name in ("best", "status"):
        options[name].add_argument("--json", action="store_true", help="for programs")
    form = options["check"].add_mutually_exclusive_group()
    form.add_argument(
        "--json",
        action="store_true",
        help="for programs: what would run, and the mistakes (key, problem, hint, when)",
    )
    form.add_argument(
        "--config", action="store_true", help="print the configuration of the objective as YAML"
    )
    options["status"].add_argument("--all", action="store_true", help="every study there is")
    options["status"].add_argument("--watch", action="store_true", help="until the study has ended")
    options["best"].add_argument(
        "--overrides",
        action="store_true",
        dest="as_overrides",
        help="print only its overrides, for a shell: tuner train $(tuner best --overrides)",
    )
    options["best"].add_argument(
        "--pareto", action="store_true", help="list the Pareto-optimal trials"
    )
    options["worker"].epilog = f"{EPILOG}\n{WORKER_CODES}"
    options["worker"].add_argument(
        "--join", metavar="UID", help="only the study of this uid, which tuner tune has made"
    )
    options["worker"].add_argument(
        "--final", action="store_true", help="run trainings that tuner final has begun"
    )
    options["train"].add_argument(
        "--continue",
        dest="continued",
        metavar="TRIAL",
        help="train a trial of the study further, by number or `best`, to trainer.epochs=…",
    )
    options["train"].add_argument(
        "--run-dir", type=Path, help="where files go; one that has a checkpoint is resumed"
    )
    options["report"].add_argument(
        "--output", type=Path, help="default: report.html, .md or .png in study.dir"
    )
    options["report"].add_argument(
        "--format",
        choices=("html", "md", "png"),
        help="one page, Markdown, or a picture of the page (needs Chromium); default: as --output"
        " ends, else html",
    )
    _export_options(options["export"])
    _dashboard_options(options["dashboard"])
    return parser, options


def _dashboard_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (default: %(default)s, this machine alone); any other asks"
        " for the token, as in 0.0.0.0 for all",
    )
    parser.add_argument(
        "--port", type=whole(0, 65535), default=8080, help="default: %(default)s; 0: a free one"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        help="a file with the token; default: TUNER_DASHBOARD_TOKEN, else one is made and shown",
    )
    parser.add_argument(
        "--login", action="store_true", help="ask for the token on this machine too"
    )
    parser.add_argument("--read-only", action="store_true", help="nothing can be changed")


def _export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, help="default: export in study.dir")
    parser.add_argument(
        "--format",
        action="append",
        dest="formats",
        choices=("pt2", "onnx"),
        help="a form of the model beside its safetensors: torch.export's, or ONNX; default: both",
    )
    _trust_option(parser)


def _trust_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust",
        action="store_true",
        help="import the network's class even if it is not tuner's: this runs its code",
    )


def _predict_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="the directory that `tuner export` wrote")
    parser.add_argument("images", nargs="*", metavar="image", help="files of any size and mode")
    parser.add_argument(
        "--top",
        type=whole(1),
        default=1,
        help="number of classes to print, the likeliest first (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON an image")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: %(default)s)")
    _trust_option(parser)
    parser.set_defaults(overrides=[])


def _init_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, help="new, or empty")
    parser.set_defaults(overrides=[])


def _options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("overrides", nargs="*", metavar="override")
    parser.add_argument(
        "--config-dir", action="append", type=Path, default=[], help="a directory of your own"
    )
    parser.add_argument("--config-name", help="the primary configuration")
    parser.add_argument(
        "--app", metavar="FILE[:FUNCTION]", help="a @hydra.main program of your own, as it is"
    )


def _completion_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(overrides=[])


BARE = {"init": _init_options, "completion": _completion_options, "predict": _predict_options}
"""Commands without a configuration, and thus without overrides."""
