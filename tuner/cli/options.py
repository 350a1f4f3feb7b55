"""The options and arguments of each command."""

import argparse
from pathlib import Path
from typing import Any

from tuner.cli.argument_errors import whole

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
Option = tuple[tuple[str, ...], dict[str, Any]]
"""Names and settings of an option or argument: the arguments of argparse's ``add_argument``."""


def _option(*names: str, **settings: Any) -> Option:
    return names, settings


def _flag(name: str, help: str, **settings: Any) -> Option:
    return _option(name, action="store_true", help=help, **settings)


def _path(name: str, metavar: str, help: str) -> Option:
    return _option(name, type=Path, metavar=metavar, help=help)


STUDY = _option(
    "study", nargs="?", help="name of the study; default: study.name of the configuration"
)
JSON = _flag("--json", "print JSON")
YES = _flag("--yes", "do not ask for confirmation")
TRUST = _flag(
    "--trust", "import the network's class even if it is not one of tuner's; this runs its code"
)
OPTIONS: dict[str, list[Option | list[Option]]] = {
    "init": [
        _option("directory", type=Path, help="directory to create; an existing one must be empty"),
        _option(
            "--cluster",
            nargs="+",
            metavar="HOST",
            help="write the configuration of a Slurm cluster of these machines instead of a"
            " project; the first one is the controller",
        ),
        _path(
            "--nodes",
            "FILE",
            "with --cluster: file with the line that `slurmd -C` prints on each machine, and"
            " Gres=gpu:N at its end for N GPUs",
        ),
    ],
    "completion": [_option("shell", choices=("bash", "zsh", "fish"), help="your shell")],
    "worker": [
        [
            _option(
                "--join", metavar="UID", help="join the study with this unique id; never create one"
            ),
            _flag(
                "--wait",
                "wait until a study of the database that this configuration has needs a worker,"
                " join it, and exit at its end",
            ),
        ],
        _flag("--final", "run the trainings of a tuner final in progress"),
    ],
    "train": [
        _option(
            "--continue",
            dest="continued",
            metavar="TRIAL",
            help="train a trial further, up to trainer.epochs=…; TRIAL is its number, or `best`",
        ),
        _path(
            "--run-dir",
            "DIR",
            "output directory; if it contains a checkpoint, the training is resumed",
        ),
    ],
    "status": [
        STUDY,
        JSON,
        _flag("--all", "list all studies of the database"),
        _flag("--watch", "refresh until the study has finished"),
    ],
    "best": [
        STUDY,
        JSON,
        _flag(
            "--overrides",
            "print only the overrides, for use in a shell: tuner train $(tuner best --overrides)",
            dest="as_overrides",
        ),
        _flag("--pareto", "list the Pareto-optimal trials"),
    ],
    "trials": [
        STUDY,
        _option(
            "--sort",
            metavar="KEY",
            default="number",
            help="sort by number, state, value (best first), epochs, seconds, finished, or the name"
            " of an objective, a metric or a setting (default: %(default)s)",
        ),
        _flag("--reverse", "reverse the order"),
        _option(
            "--state",
            action="append",
            choices=STATES,
            help="list only trials in this state; may be repeated",
        ),
        [_flag("--csv", "print CSV"), JSON],
    ],
    "trial": [_option("words", nargs="*", metavar="N [study]", help="number of the trial"), JSON],
    "compare": [
        _option("words", nargs="*", metavar="A B", help="names of two studies"),
        _path("--output", "FILE", "page to write; default: compare-B.html in A's directory"),
    ],
    "report": [
        STUDY,
        _path("--output", "FILE", "file to write; default: report.html, .md or .png in study.dir"),
        _option(
            "--format",
            choices=("html", "md", "png"),
            help="HTML page, Markdown, or image of the page (needs Chromium or Chrome); default:"
            " from the suffix of --output, else html",
        ),
    ],
    "final": [STUDY],
    "export": [
        STUDY,
        _path("--output", "DIR", "directory to write; default: export in study.dir"),
        _option(
            "--format",
            action="append",
            dest="formats",
            choices=("pt2", "onnx"),
            help="additional format besides safetensors: torch.export (pt2) or ONNX; may be"
            " repeated; default: both",
        ),
        TRUST,
    ],
    "predict": [
        _option("model", type=Path, help="directory written by `tuner final` or `tuner export`"),
        _option("images", nargs="*", metavar="image", help="image files of any size and mode"),
        _option(
            "--top",
            type=whole(1),
            default=1,
            help="number of classes to print, most likely first (default: %(default)s)",
        ),
        _flag("--json", "print one line of JSON per image"),
        _option(
            "--device", default="cpu", help="device to run on, such as cuda (default: %(default)s)"
        ),
        TRUST,
    ],
    "dashboard": [
        STUDY,
        _option(
            "--host",
            default="127.0.0.1",
            help="address to listen on (default: %(default)s, this machine only); any other"
            " address, such as 0.0.0.0, requires the token",
        ),
        _option(
            "--port",
            type=whole(0, 65535),
            default=8080,
            help="port; 0: any free one (default: %(default)s)",
        ),
        _path(
            "--token-file",
            "FILE",
            "file with the token; default: TUNER_DASHBOARD_TOKEN, else one is generated and shown",
        ),
        _flag("--login", "require the token on this machine too"),
        _flag("--read-only", "refuse requests that change anything"),
    ],
    "study": [
        _option("action", nargs="?", choices=ACTIONS, help="action"),
        _option(
            "words",
            nargs="*",
            metavar="name",
            help="name of the study, and the argument of the action",
        ),
        _flag("--json", "list: print JSON"),
        _flag("--files", "delete: also remove the files of the trials"),
        YES,
    ],
    "clean": [
        _option("study", nargs="?", help="name of the study; default: all studies"),
        _flag("--dry-run", "only show the sizes, remove nothing"),
        _option(
            "--keep",
            type=whole(0),
            default=1,
            help="number of best trials per study whose checkpoints are kept (default:"
            " %(default)s)",
        ),
        YES,
    ],
    "check": [
        [
            _flag("--json", "print as JSON what would run, and all errors"),
            _flag("--config", "print the configuration of the objective as YAML"),
        ],
    ],
}
"""Command → its own options and arguments; those in a nested list are mutually exclusive."""
COMMON = (
    _option(
        "overrides", nargs="*", metavar="override", help="group=option or key=value; see below"
    ),
    _option(
        "--config-dir",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="directory with your own configuration groups and options; may be repeated",
    ),
    _option(
        "--config-name", metavar="NAME", help="your own primary configuration, in --config-dir"
    ),
    _option(
        "--app",
        metavar="FILE[:FUNCTION]",
        help="use an unchanged @hydra.main program as the objective",
    ),
)
"""Options and arguments of all commands that read a configuration."""
WAYS = " | ".join(" ".join([action, *names]) for action, names in ACTIONS.items())
USAGES = {
    "trial": "[options] N [study]",
    "compare": "[options] A B",
    "study": f"{{{WAYS}}} [options]",
}
"""Command → its positional arguments, which argparse would describe in another order."""


def add_options(command: str, parser: argparse.ArgumentParser) -> None:
    """Add a command's options and arguments besides ``--help``: its own, then the common ones."""
    for option in OPTIONS.get(command, []):
        if isinstance(option, list):
            group = parser.add_mutually_exclusive_group()
            for names, settings in option:
                group.add_argument(*names, **settings)
        else:
            names, settings = option
            parser.add_argument(*names, **settings)
    if command in USAGES:
        parser.usage = f"tuner {command} {USAGES[command]} [override ...]"
    if command in BARE:
        parser.set_defaults(overrides=[])
        return
    for names, settings in COMMON:
        parser.add_argument(*names, **settings)
