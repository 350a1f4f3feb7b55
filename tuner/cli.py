"""The command line: one function a subcommand; data to stdout, logs and progress to stderr.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 130 / 143 interrupted.  Whatever is
heavy is imported by the subcommand that needs it, so that ``tuner --help`` answers at once.
"""

import argparse
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuner import __version__
from tuner.errors import Infeasible, TunerError

if TYPE_CHECKING:
    from rich.console import Console

    from tuner.config import Source
    from tuner.plan import Plan
    from tuner.report.summary import Row, Summary
    from tuner.study import Study

COMMANDS = {
    "tune": "create or resume the study, start the workers, show progress, end with the report",
    "worker": "one worker on this machine, joining the study",
    "train": "train one configuration, without a study",
    "final": "retrain the best over several seeds, score once on test, export the model",
    "status": "workers, counts and the best so far",
    "best": "the best trial: its value and overrides",
    "report": "write the study as one HTML page",
    "export": "write the best configuration as an experiment, beside its trained model",
    "dashboard": "optuna-dashboard on this study's database",
    "check": "validate configuration, space, storage and devices without running",
}

EPILOG = """\
An override is Hydra's: group=option or key=value.  With tune and worker a plain override pins,
and a sweep override searches: model.width='int(interval(16, 64))', optimizer='choice(sgd,adamw)'.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    args = _parse(argv)
    sys.path.insert(0, os.getcwd())  # a module beside the command can be named by _target_
    try:
        return int(globals()[f"_{args.command}"](args))
    except TunerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Infeasible as error:
        print(f"error: {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options and overrides in any order, which argparse alone does not take."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if unknown := [text for text in rest if text.startswith("-")]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    args.overrides = [*args.overrides, *rest]
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tuner",
        description="Hyperparameter optimisation for PyTorch CNNs and any callable of yours.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        _options(commands.add_parser(name, help=summary, description=summary, epilog=EPILOG))
    options = {name: commands.choices[name] for name in COMMANDS}
    for name in ("best", "status", "check"):
        options[name].add_argument("--json", action="store_true", help="for programs")
    options["best"].add_argument(
        "--overrides",
        action="store_true",
        dest="as_overrides",
        help="only the overrides: tuner train $(tuner best --overrides)",
    )
    options["train"].add_argument(
        "--run-dir", type=Path, help="where files go; one that has a checkpoint is resumed"
    )
    options["report"].add_argument("--output", type=Path, help="default: report.html in study.dir")
    options["export"].add_argument("--output", type=Path, help="default: export in study.dir")
    options["dashboard"].add_argument("--host", default="127.0.0.1")
    options["dashboard"].add_argument("--port", type=int, default=8080)
    return parser


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="override")
    parser.add_argument(
        "--config-dir", action="append", type=Path, default=[], help="a directory of your own"
    )
    parser.add_argument("--config-name", default="config", help="the primary configuration")


def _source(args: argparse.Namespace) -> "Source":
    from tuner.config import Source

    return Source(tuple(d.resolve() for d in args.config_dir), args.config_name)


def _plan(args: argparse.Namespace, *, judge: bool = True) -> "Plan":
    """What was asked for; raises ``ConfigError`` with all of its mistakes."""
    from tuner import log, plan, search
    from tuner.launch import local

    log.to_stderr()
    found = plan.load(_source(args), args.overrides, judge=judge)
    if not judge:
        return found.require()
    device = found.cfg.worker.get("device")
    return found.require([*search.mistakes(found), *local.missing(device)])


def _stored(args: argparse.Namespace) -> tuple["Plan", "Study"]:
    """The plan, and the study that it names, which must exist."""
    from tuner import log, plan, study

    log.to_stderr()
    asked = plan.load(_source(args), args.overrides, judge=False).require()
    return asked, study.load(
        asked.storage.url,
        asked.study.name,
        grace=asked.worker.grace,
        patience=asked.storage.patience,
    )


def _tune(args: argparse.Namespace) -> int:
    from tuner import config, log, provenance, search
    from tuner.launch.base import Order

    plan = _plan(args)
    study = provenance.open_study(plan)
    directory = Path(plan.study.dir)
    launcher = config.instantiate(plan.cfg.launch)
    command = [sys.executable, "-m", "tuner", "worker", *plan.source.argv(), *plan.overrides]
    log.log.info("study %r: workers log to %s", study.name, directory / "logs")
    job = launcher.start(Order(command, directory / "logs", study.leases.expire))
    from tuner.report import live, page, summary  # while the workers start

    console = _console(stderr=True)
    with _forwarding(job) as received:
        live.follow(
            lambda: summary.summarise(study.optuna),
            lambda: _alive(job, received),
            console=console,
            n_trials=search.budget(plan),
            epochs=_epochs(plan),
        )
    found = summary.summarise(study.optuna)
    written = page.write_page(study.optuna, directory / "report.html")
    _close(found, written, args)
    if received:
        log.log.warning("interrupted; the same command goes on with the study")
        return 128 + received[0]
    if job.failure:
        raise TunerError(job.failure)
    return 0


def _alive(job: object, received: list[int]) -> bool:
    """Poll the job; a minute after a signal, workers that do not leave are ended."""
    running = bool(job.poll())  # type: ignore[attr-defined]
    if running and received and time.monotonic() > received[1]:
        job.kill()  # type: ignore[attr-defined]
    return running


class _forwarding:
    """Passes SIGINT and SIGTERM on to the workers; a second one ends everything at once."""

    PATIENCE = 60

    def __init__(self, job: object) -> None:
        self.job = job
        self.received: list[int] = []

    def __enter__(self) -> list[int]:
        self.before = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self.received

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if self.received:
            self.job.kill()  # type: ignore[attr-defined]
            return
        self.received[:] = [number, int(time.monotonic()) + self.PATIENCE]
        self.job.stop(number)  # type: ignore[attr-defined]


def _close(found: "Summary", written: Path, args: argparse.Namespace) -> None:
    from tuner.report import live

    console = _console()
    console.print(live.table(found, top=10))
    if found.best is None:
        console.print("no configuration was completed")
        return
    same = shlex.join([*_flags(args), *args.overrides])
    print(f"best:      {_train_line(args, found.best)}")
    print(f"report:    {written}")
    print(f"final:     tuner final {same}".rstrip())
    print(f"dashboard: tuner dashboard {same}".rstrip())


def _train_line(args: argparse.Namespace, row: "Row") -> str:
    """The command that repeats a trial, to paste into a shell."""
    return shlex.join(["tuner", "train", *_flags(args), *row.overrides])


def _flags(args: argparse.Namespace) -> list[str]:
    flags = [f"--config-dir={d}" for d in args.config_dir]
    return flags if args.config_name == "config" else [*flags, f"--config-name={args.config_name}"]


def _worker(args: argparse.Namespace) -> int:
    from tuner import log, provenance, worker

    # A supervisor has judged the same command line; the second time costs the first epoch 1 s.
    plan = _plan(args, judge=worker.SUPERVISOR not in os.environ)
    study = provenance.open_study(plan)
    try:
        return worker.work(plan, study)
    except TunerError:
        raise
    except Exception:
        log.log.exception("the worker itself failed")
        return worker.CRASHED


def _train(args: argparse.Namespace) -> int:
    from tuner import log, plan, trial

    log.to_stderr()
    asked = plan.load(_source(args), args.overrides, search=False).require()
    run_dir = args.run_dir or Path("runs/train") / time.strftime("%Y%m%d-%H%M%S")

    def report(step: int, /, **metrics: float) -> None:
        shown = " ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        log.log.info("epoch %d  %s", step, shown)

    value = trial.run(asked.cfg, run_dir=run_dir, report=report, device=asked.worker.device)
    print(json.dumps({asked.study.metric: value, "run_dir": str(run_dir)}))
    return 0


def _final(args: argparse.Namespace) -> int:
    from tuner import log
    from tuner.report import final, summary

    plan, study = _stored(args)
    best = _best_row(summary.summarise(study.optuna))
    out_dir = Path(plan.study.dir) / "final"
    result = final.run_final(
        plan.source,
        list(best.overrides),
        seeds=range(plan.final.seeds),
        final_overrides=_read_by_objective(plan),
        out_dir=out_dir,
        device=plan.worker.device,
        log=log.log.info,
    )
    same = shlex.join([*_flags(args), *args.overrides])
    print(f"best:      {_train_line(args, best)}")
    print(result.line(plan.study.metric))
    print(f"model:     {out_dir}")
    print(f"report:    {Path(plan.study.dir) / 'report.html'}")
    print(f"dashboard: tuner dashboard {same}".rstrip())
    return 0


def _read_by_objective(plan: "Plan") -> list[str]:
    """``final.overrides``, less what this objective has no parameter for."""
    from tuner import binding, log

    fields = binding.reachable(plan.cfg)
    kept = [text for text in plan.final.overrides if text.split("=")[0] in fields]
    for text in set(plan.final.overrides) - set(kept):
        log.log.warning("final.overrides: the objective does not read %s; left out", text)
    return kept


def _status(args: argparse.Namespace) -> int:
    from tuner.report import live, summary

    plan, study = _stored(args)
    found = summary.summarise(study.optuna)
    workers = [w for w in study.workers() if w.alive]
    if args.json:
        best = None if found.best is None else summary.best_of(found)
        rows = [
            {"id": w.id, "host": w.host, "device": w.device, "trial": w.trial_number}
            for w in workers
        ]
        data = {
            "study": found.name,
            "n_trials": plan.study.n_trials,
            "counts": found.counts,
            "epochs": found.epochs,
            "share_saved": found.share_saved,
        }
        print(json.dumps({**data, "best": best, "workers": rows}))
        return 0
    counts = ", ".join(f"{n} {state}" for state, n in found.counts.items() if n)
    print(f"{found.name}: {counts or 'nothing has run yet'}, of {plan.study.n_trials}")
    for w in workers:
        doing = "idle" if w.trial_number is None else f"trial {w.trial_number}"
        print(f"  {w.id} on {w.host} ({w.device}): {doing}")
    _console().print(live.table(found, top=10))
    return 0


def _best(args: argparse.Namespace) -> int:
    from tuner.report import summary

    _, study = _stored(args)
    found = summary.summarise(study.optuna)
    row = _best_row(found)
    if args.as_overrides:
        print(" ".join(row.overrides))
    elif args.json:
        print(json.dumps(summary.best_of(found)))
    else:
        print(f"trial {row.number}: {found.metric} {row.value}")
        print(_train_line(args, row))
    return 0


def _report(args: argparse.Namespace) -> int:
    from tuner.report import page

    plan, study = _stored(args)
    print(page.write_page(study.optuna, args.output or Path(plan.study.dir) / "report.html"))
    return 0


def _export(args: argparse.Namespace) -> int:
    from tuner.report import export, summary

    plan, study = _stored(args)
    row = _best_row(summary.summarise(study.optuna))
    directory = Path(plan.study.dir)
    for path in export.write(
        plan.source, row, final_dir=directory / "final", out_dir=args.output or directory / "export"
    ):
        print(path)
    return 0


def _dashboard(args: argparse.Namespace) -> int:
    from tuner.report import dashboard

    plan, study = _stored(args)
    dashboard.serve(
        study.storage, Path(plan.study.dir) / "artifacts", host=args.host, port=args.port
    )
    return 0


def _check(args: argparse.Namespace) -> int:
    from tuner import config, storage
    from tuner.report import check

    plan = _plan(args)
    launch = config.instantiate(plan.cfg.launch).describe()
    storage.connect(plan.storage.url).remove_session()
    print((check.as_json if args.json else check.as_text)(plan, launch))
    return 0


def _best_row(found: "Summary") -> "Row":
    if found.best is None:
        raise TunerError(
            f"study {found.name!r} has no completed trial yet; hint: tuner status shows its state"
        )
    return found.best


def _epochs(plan: "Plan") -> int | None:
    """The length of a full training, for progress bars; None if the objective has its own."""
    from omegaconf import OmegaConf

    epochs = OmegaConf.select(plan.cfg, "trainer.epochs")
    return epochs if isinstance(epochs, int) else None


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr)
