"""``tuner export``: the best configuration and its trained model."""

import argparse
from pathlib import Path

from tuner.cli import context
from tuner.cli.view import View
from tuner.config import directories
from tuner.final import export as exporting
from tuner.log import say
from tuner.report import summary
from tuner.report.configurations import Row
from tuner.report.final_record import is_of, read_final


def run(args: argparse.Namespace) -> int:
    """Write the best configuration and its model, and print the paths to stdout."""
    plan, study = context.ours(args)
    view = context.view_of(args, plan)
    found = summary.summarise(study.optuna)
    directory = Path(plan.study.dir)
    row = _champion(view, found, directory)
    overrides = view.repeats.overrides(row)
    out_dir = args.output or directory / "export"
    directories.probe(("--output", out_dir / name) for name in ("", "experiment"))
    for path in exporting.write(plan.source, overrides, out_dir):
        say(str(path))
    forms = args.formats or list(exporting.FORMS)
    trained = directory / "final"
    for path in exporting.write_model(found, row, trained, out_dir, forms, trust=args.trust):
        say(str(path))
    return 0


def _champion(view: View, found: summary.Summary, directory: Path) -> Row:
    """Return the configuration that ``tuner final`` has trained; else the best trial."""
    final = read_final(directory)
    trained = [row for row in found.ranking if final and is_of(final, row)]
    return trained[0] if trained else view.best_row(found)
