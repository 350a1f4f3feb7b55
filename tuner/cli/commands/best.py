"""``tuner best``: the best configuration."""

import argparse

from tuner.cli import context
from tuner.cli.look import look
from tuner.config import composition
from tuner.config.suggestions import NO_TRIAL
from tuner.errors import ConfigError, TunerError
from tuner.log import log, say
from tuner.report import formatting, summary
from tuner.report.analysis import pareto
from tuner.report.reproduce import Repeats
from tuner.report.terminal.view import pareto_table
from tuner.report.trial_table import files


def run(args: argparse.Namespace) -> int:
    """Print the best configuration, as text, JSON or overrides."""
    try:
        if args.as_overrides and (args.pareto or args.json):
            told = "prints the overrides alone, and not with --json or --pareto"
            raise ConfigError(told, key="--overrides", hint="leave out one of them")
        looked = look(args, compose=args.as_overrides or args.json)
        plan, study = looked.plan, looked.load()
        found = summary.summarise(study.optuna)
        row = context.best_row(args, plan, found)
        words = Repeats(plan).overrides(row) if args.as_overrides else []
    except TunerError:
        if args.as_overrides:
            say(NO_TRIAL)
        raise
    repeat = Repeats(plan).known
    if args.pareto:
        if args.json:
            say(formatting.as_json(pareto.data(found, repeat)))
        else:
            context.console().print(pareto_table(found))
    elif args.as_overrides:
        words = [*context.flags(args), *map(composition.spaceless, words)]
        if any(len(text.split()) != 1 for text in words):
            log.warning("an override holds spaces, which $(…) splits; `tuner best` quotes them")
        say(" ".join(words))
    elif args.json:
        known = summary.as_data(row, lambda row: context.overrides(plan, row))
        say(formatting.as_json({**known, **files(row, looked.location.directory)}))
    else:
        say(f"#{row.number}: {found.metric} {formatting.metric(row.value)}")
        if plan is None:
            for key, value in row.settings.items():
                say(f"  {key}={value}")
        say(context.train_line(args, plan, row))
    return 0
