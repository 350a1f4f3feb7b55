"""``tuner best``: the best configuration."""

import argparse

from tuner.cli.study_views import open_view
from tuner.cli.view import View
from tuner.config.suggestions import NO_TRIAL
from tuner.errors import ConfigError, TunerError
from tuner.log import log, say
from tuner.report import configurations, formatting, summary
from tuner.report.analysis import pareto
from tuner.report.terminal.screen import console
from tuner.report.terminal.view import pareto_table
from tuner.report.trial_table import files


def run(args: argparse.Namespace) -> int:
    """Print the best configuration, as text, JSON or overrides."""
    if not args.as_overrides:
        return _show(args, open_view(args, compose=args.json))
    try:
        if args.pareto or args.json:
            told = "cannot be combined with --json or --pareto"
            raise ConfigError(told, key="--overrides", hint="use only one of them")
        return _show_overrides(open_view(args, compose=True))
    except TunerError:
        say(NO_TRIAL)
        raise


def _show(args: argparse.Namespace, view: View) -> int:
    found = summary.summarise(view.load().optuna)
    row = view.best_row(found)
    if args.pareto:
        if args.json:
            say(formatting.as_json(pareto.data(found, view.repeats.known)))
        else:
            console().print(pareto_table(found))
    elif args.json:
        known = configurations.as_data(row, view.overrides)
        say(formatting.as_json({**known, **files(row, view.location.directory)}))
    else:
        say(f"#{row.number}: {found.metric} {formatting.metric(row.value)}")
        if view.plan is None:
            for key, value in row.settings.items():
                shown = formatting.word(value) if isinstance(value, bool | None) else value
                say(f"  {key}={shown}")
        say(view.train_line(row))
    return 0


def _show_overrides(view: View) -> int:
    found = summary.summarise(view.load().optuna)
    words = view.shell_words(view.best_row(found))
    if any(len(text.split()) != 1 for text in words):
        log.warning(
            "an override contains spaces, at which $(…) splits it; hint: tuner best quotes it"
        )
    say(" ".join(words))
    return 0
