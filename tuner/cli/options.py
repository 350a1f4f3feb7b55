"""The options and arguments of each command."""

import argparse
from collections.abc import Callable
from pathlib import Path

from tuner.cli.argument_errors import whole

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
BARE = {"init", "completion", "predict"}
"""Commands without a configuration, and thus without overrides."""


def add_options(command: str, parser: argparse.ArgumentParser) -> None:
    """Add what a command takes beside ``--help``: its own options, then those of all commands."""
    if command in OF_A_STUDY:
        parser.add_argument(
            "study", nargs="?", help="name of the study; default: study.name of the configuration"
        )
    if command in OPTIONS:
        OPTIONS[command](parser)
    if command in BARE:
        parser.set_defaults(overrides=[])
        return
    parser.epilog = f"{EPILOG}\n{WORKER_CODES}" if command == "worker" else EPILOG
    parser.add_argument(
        "overrides", nargs="*", metavar="override", help="group=option or key=value; see below"
    )
    parser.add_argument(
        "--config-dir",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="directory with your own configuration groups and options; may be repeated",
    )
    parser.add_argument(
        "--config-name", metavar="NAME", help="your own primary configuration, in --config-dir"
    )
    parser.add_argument(
        "--app",
        metavar="FILE[:FUNCTION]",
        help="use an unchanged @hydra.main program as the objective",
    )


def _flag(parser: argparse._ActionsContainer, name: str, help: str) -> None:
    parser.add_argument(name, action="store_true", help=help)


def _path(parser: argparse.ArgumentParser, name: str, metavar: str, help: str) -> None:
    parser.add_argument(name, type=Path, metavar=metavar, help=help)


def _json(parser: argparse._ActionsContainer) -> None:
    _flag(parser, "--json", "print JSON")


def _yes(parser: argparse.ArgumentParser) -> None:
    _flag(parser, "--yes", "do not ask for confirmation")


def _trust(parser: argparse.ArgumentParser) -> None:
    _flag(
        parser,
        "--trust",
        "import the network's class even if it is not one of tuner's; this runs its code",
    )


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=Path, help="directory to create; an existing one must be empty"
    )


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="your shell")


def _worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--join", metavar="UID", help="join the study with this unique id; never create one"
    )
    _flag(parser, "--final", "run the trainings of a tuner final in progress")


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--continue",
        dest="continued",
        metavar="TRIAL",
        help="train a trial further, up to trainer.epochs=…; TRIAL is its number, or `best`",
    )
    _path(
        parser,
        "--run-dir",
        "DIR",
        "output directory; if it contains a checkpoint, the training is resumed",
    )


def _status(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    _flag(parser, "--all", "list all studies of the database")
    _flag(parser, "--watch", "refresh until the study has finished")


def _best(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    parser.add_argument(
        "--overrides",
        action="store_true",
        dest="as_overrides",
        help="print only the overrides, for use in a shell: tuner train $(tuner best --overrides)",
    )
    _flag(parser, "--pareto", "list the Pareto-optimal trials")


def _trials(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sort",
        metavar="KEY",
        default="number",
        help="sort by number, state, value (best first), epochs, seconds, finished, or the name of"
        " an objective, a metric or a setting (default: %(default)s)",
    )
    _flag(parser, "--reverse", "reverse the order")
    parser.add_argument(
        "--state",
        action="append",
        choices=STATES,
        help="list only trials in this state; may be repeated",
    )
    form = parser.add_mutually_exclusive_group()
    _flag(form, "--csv", "print CSV")
    _json(form)


def _trial(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tuner trial [options] N [study] [override ...]"
    parser.add_argument("words", nargs="*", metavar="N [study]", help="number of the trial")
    _json(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tuner compare [options] A B [override ...]"
    parser.add_argument("words", nargs="*", metavar="A B", help="names of two studies")
    _path(parser, "--output", "FILE", "page to write; default: compare-B.html in A's directory")


def _report(parser: argparse.ArgumentParser) -> None:
    _path(
        parser, "--output", "FILE", "file to write; default: report.html, .md or .png in study.dir"
    )
    parser.add_argument(
        "--format",
        choices=("html", "md", "png"),
        help="HTML page, Markdown, or image of the page (needs Chromium or Chrome); default: from"
        " the suffix of --output, else html",
    )


def _export(parser: argparse.ArgumentParser) -> None:
    _path(parser, "--output", "DIR", "directory to write; default: export in study.dir")
    parser.add_argument(
        "--format",
        action="append",
        dest="formats",
        choices=("pt2", "onnx"),
        help="additional format besides safetensors: torch.export (pt2) or ONNX; may be repeated;"
        " default: both",
    )
    _trust(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="directory written by `tuner final` or `tuner export`"
    )
    parser.add_argument(
        "images", nargs="*", metavar="image", help="image files of any size and mode"
    )
    parser.add_argument(
        "--top",
        type=whole(1),
        default=1,
        help="number of classes to print, most likely first (default: %(default)s)",
    )
    _flag(parser, "--json", "print one line of JSON per image")
    parser.add_argument(
        "--device", default="cpu", help="device to run on, such as cuda (default: %(default)s)"
    )
    _trust(parser)


def _dashboard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine only); any other address,"
        " such as 0.0.0.0, requires the token",
    )
    parser.add_argument(
        "--port",
        type=whole(0, 65535),
        default=8080,
        help="port; 0: any free one (default: %(default)s)",
    )
    _path(
        parser,
        "--token-file",
        "FILE",
        "file with the token; default: TUNER_DASHBOARD_TOKEN, else one is generated and shown",
    )
    _flag(parser, "--login", "require the token on this machine too")
    _flag(parser, "--read-only", "refuse requests that change anything")


def _study(parser: argparse.ArgumentParser) -> None:
    ways = " | ".join(" ".join([action, *names]) for action, names in ACTIONS.items())
    parser.usage = f"tuner study {{{ways}}} [options] [override ...]"
    parser.add_argument("action", nargs="?", choices=ACTIONS, help="action")
    parser.add_argument(
        "words", nargs="*", metavar="name", help="name of the study, and the argument of the action"
    )
    _flag(parser, "--json", "list: print JSON")
    _flag(parser, "--files", "delete: also remove the files of the trials")
    _yes(parser)


def _clean(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", help="name of the study; default: all studies")
    _flag(parser, "--dry-run", "only show the sizes, remove nothing")
    parser.add_argument(
        "--keep",
        type=whole(0),
        default=1,
        help="number of best trials per study whose checkpoints are kept (default: %(default)s)",
    )
    _yes(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    _flag(form, "--json", "print as JSON what would run, and all errors")
    _flag(form, "--config", "print the configuration of the objective as YAML")


OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "init": _init,
    "completion": _completion,
    "worker": _worker,
    "train": _train,
    "status": _status,
    "best": _best,
    "trials": _trials,
    "trial": _trial,
    "compare": _compare,
    "report": _report,
    "export": _export,
    "predict": _predict,
    "dashboard": _dashboard,
    "study": _study,
    "clean": _clean,
    "check": _check,
}
"""Commands with options of their own, in the order of ``--help``."""
