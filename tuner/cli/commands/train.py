"""``tuner train``: train one configuration, without a study."""

import argparse
import shlex
import tempfile
import time
from pathlib import Path

from tuner import log, objective
from tuner.api import preflight
from tuner.cli import context, continued
from tuner.cli.command_lines import command_line
from tuner.config import directories
from tuner.log import log as logger
from tuner.log import say
from tuner.report import formatting
from tuner.study import plan
from tuner.worker import trial


def run(args: argparse.Namespace) -> int:
    """Train one configuration, or continue a trial, and print its value to stdout as JSON."""
    log.to_stderr()
    checkpoint = None
    if args.continued is not None:
        args.overrides, checkpoint = continued.of(args)
    asked = preflight.required(plan.load(context.source(args), args.overrides, search=False))
    parent = Path("runs/train")
    directories.probe([("--run-dir", args.run_dir or parent)])
    run_dir = args.run_dir or _fresh_directory(parent)
    if checkpoint is not None:
        continued.copy(checkpoint, run_dir)

    def report(step: int, /, **metrics: float) -> None:
        step, told = objective.measured(step, metrics)
        shown = " ".join(f"{name} {value:.6g}" for name, value in told.items())
        logger.info("epoch %d  %s", step, shown)

    try:
        returned = trial.run(asked.cfg, run_dir=run_dir, report=report, device=asked.worker.device)
    except KeyboardInterrupt:
        if not any(run_dir.glob("checkpoint*")):
            raise
        again = f"{command_line(args, 'train')} {shlex.join(['--run-dir', str(run_dir)])}"
        raise KeyboardInterrupt(f"to resume from the checkpoint: {again}") from None
    values = {asked.study.metric: None, **asked.aims.named(returned)}
    say(formatting.as_json({**values, "run_dir": str(run_dir)}))
    return 0


def _fresh_directory(parent: Path) -> Path:
    """Create a directory for this run; several runs may start in one second."""
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
