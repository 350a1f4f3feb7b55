"""The options and arguments of each command."""

import argparse
from collections.abc import Callable
from pathlib import Path

from tuner.cli.argument_errors import whole

EPILOG = """\
An override is Hydra's: group=option or key=value.  With tune and worker a plain override pins,
and a sweep override searches: model.width='int(interval(16, 64))', optimizer='choice(sgd,adamw)'.
"""
WORKER_CODES = """\
Further exit codes: 70 the worker itself failed, 75 its device broke. Its trial is queued again, and
another worker can go on: start one, as tuner tune does by itself.
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
        parser.add_argument("study", nargs="?", help="its name; default: that of the configuration")
    if command in OPTIONS:
        OPTIONS[command](parser)
    if command in BARE:
        parser.set_defaults(overrides=[])
        return
    parser.epilog = f"{EPILOG}\n{WORKER_CODES}" if command == "worker" else EPILOG
    parser.add_argument("overrides", nargs="*", metavar="override")
    parser.add_argument(
        "--config-dir", action="append", type=Path, default=[], help="a directory of your own"
    )
    parser.add_argument("--config-name", help="the primary configuration")
    parser.add_argument(
        "--app", metavar="FILE[:FUNCTION]", help="a @hydra.main program of your own, as it is"
    )


def _flag(parser: argparse._ActionsContainer, name: str, help: str) -> None:
    parser.add_argument(name, action="store_true", help=help)


def _json(parser: argparse._ActionsContainer) -> None:
    _flag(parser, "--json", "for programs")


def _yes(parser: argparse.ArgumentParser) -> None:
    _flag(parser, "--yes", "do not ask")


def _trust(parser: argparse.ArgumentParser) -> None:
    _flag(
        parser,
        "--trust",
        "import the network's class even if it is not tuner's: this runs its code",
    )


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, help="new, or empty")


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def _worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--join", metavar="UID", help="only the study of this uid, which tuner tune has made"
    )
    _flag(parser, "--final", "run trainings that tuner final has begun")


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--continue",
        dest="continued",
        metavar="TRIAL",
        help="train a trial of the study further, by number or `best`, to trainer.epochs=…",
    )
    parser.add_argument(
        "--run-dir", type=Path, help="where files go; one that has a checkpoint is resumed"
    )


def _status(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    _flag(parser, "--all", "every study there is")
    _flag(parser, "--watch", "until the study has ended")


def _best(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    parser.add_argument(
        "--overrides",
        action="store_true",
        dest="as_overrides",
        help="print only its overrides, for a shell: tuner train $(tuner best --overrides)",
    )
    _flag(parser, "--pareto", "list the Pareto-optimal trials")


def _trials(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sort",
        metavar="KEY",
        default="number",
        help="number, state, value (best first), epochs, seconds, finished, or the name of an"
        " objective, a metric or a setting (default: %(default)s)",
    )
    _flag(parser, "--reverse", "the other way round")
    parser.add_argument(
        "--state", action="append", choices=STATES, help="only these; may be repeated"
    )
    form = parser.add_mutually_exclusive_group()
    _flag(form, "--csv", "a table for other programs")
    _json(form)


def _trial(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tuner trial [options] N [study] [override ...]"
    parser.add_argument("words", nargs="*", metavar="N [study]", help="the trial's number")
    _json(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tuner compare [options] A B [override ...]"
    parser.add_argument("words", nargs="*", metavar="A B", help="the names of two studies")
    parser.add_argument("--output", type=Path, help="default: compare-B.html in A's directory")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, help="default: report.html, .md or .png in study.dir"
    )
    parser.add_argument(
        "--format",
        choices=("html", "md", "png"),
        help="one page, Markdown, or a picture of the page (needs Chromium); default: as --output"
        " ends, else html",
    )


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, help="default: export in study.dir")
    parser.add_argument(
        "--format",
        action="append",
        dest="formats",
        choices=("pt2", "onnx"),
        help="a form of the model beside its safetensors: torch.export's, or ONNX; default: both",
    )
    _trust(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="the directory that `tuner export` wrote")
    parser.add_argument("images", nargs="*", metavar="image", help="files of any size and mode")
    parser.add_argument(
        "--top",
        type=whole(1),
        default=1,
        help="number of classes to print, the likeliest first (default: %(default)s)",
    )
    _flag(parser, "--json", "a line of JSON an image")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: %(default)s)")
    _trust(parser)


def _dashboard(parser: argparse.ArgumentParser) -> None:
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
    _flag(parser, "--login", "ask for the token on this machine too")
    _flag(parser, "--read-only", "nothing can be changed")


def _study(parser: argparse.ArgumentParser) -> None:
    ways = " | ".join(" ".join([action, *names]) for action, names in ACTIONS.items())
    parser.usage = f"tuner study {{{ways}}} [options] [override ...]"
    parser.add_argument("action", nargs="?", choices=ACTIONS, help="what to do")
    parser.add_argument("words", nargs="*", metavar="name", help="the study, and what it needs")
    _flag(parser, "--json", "of list: for programs")
    _flag(parser, "--files", "of delete: the files of its trials as well")
    _yes(parser)


def _clean(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", help="its name; default: every study there is")
    _flag(parser, "--dry-run", "show what is there, and no more")
    parser.add_argument(
        "--keep",
        type=whole(0),
        default=1,
        help="number of best trials of each study that keep their checkpoints (default:"
        " %(default)s)",
    )
    _yes(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    told = "for programs: what would run, and the mistakes (key, problem, hint, when)"
    _flag(form, "--json", told)
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
