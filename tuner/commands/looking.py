"""Commands that read a study, or show what would become one."""

import argparse
import time
from pathlib import Path

from tuner import config, directories, storage
from tuner import study as studies
from tuner.budget import Budget
from tuner.commands import asking
from tuner.errors import (
    ConfigError,
    StorageAway,
    StorageMissing,
    StudyError,
    StudyMissing,
    TunerError,
)
from tuner.final import export as exporting
from tuner.log import log, say
from tuner.plan import Plan
from tuner.report import check as checking
from tuner.report import live, pareto, summary, wording
from tuner.report import status as state
from tuner.report.final_record import is_of, read_final
from tuner.report.picture import pareto_table
from tuner.report.repeat import Repeats
from tuner.report.rows import Row
from tuner.report.summary import Repeat
from tuner.report.write import write_page
from tuner.study import Study
from tuner.typos import NO_TRIAL

FORMATS = ("html", "md", "png")
WATCH_EVERY = 2.0
"""Seconds between two updates of ``status --watch``."""


def status(args: argparse.Namespace) -> int:
    """Show workers, counts, throughput, cost and the best trial, of one study or of all."""
    if args.all:
        return _overview(args)
    plan = asking.readable(args)
    study = _awaited(plan) if args.watch else asking.loaded(plan)
    repeat = Repeats(plan).known
    budget = state.budget_of(study)
    if not args.watch:
        ended = study.ended(budget)
        found = state.look(study)
        if args.json:
            say(state.as_json(found, budget, ended, repeat))
        else:
            console = asking.console()
            console.print(state.as_picture(found, budget, ended, width=console.width))
        return 0
    if args.json:
        return _watch_as_json(study, budget, repeat)
    live.follow(
        lambda: state.look(study),
        lambda: study.ended(budget) is None,
        console=asking.console(),
        n_trials=budget.n_trials,
        epochs=budget.length,
        every=WATCH_EVERY,
        whole=lambda found, width, rows: state.as_picture(
            found, budget, None, width=width, rows=rows
        ),
    )
    return 0


def _awaited(plan: Plan) -> Study:
    """Wait until the study exists.  The first reason to wait is logged, once."""
    told = False
    while True:
        try:
            study = asking.loaded(plan)
            if not told or "budget" in study.attrs:  # stored last when a study is created
                return study
        except (StorageAway, StorageMissing, StudyMissing) as error:
            if not told:
                log.warning("waiting for it: %s", error)
            told = True
        time.sleep(WATCH_EVERY)


def _watch_as_json(study: Study, budget: Budget, repeat: Repeat) -> int:
    """Print a line whenever something has changed, until the study is finished."""
    before, ended = "", None
    while ended is None:
        ended = study.ended(budget)
        line = state.as_json(state.look(study), budget, ended, repeat)
        if line != before:
            say(line)
        before = line
        time.sleep(0 if ended else WATCH_EVERY)
    return 0


def _overview(args: argparse.Namespace) -> int:
    """Print every study of the database, one line each."""
    asked = asking.readable(args)
    url, grace, patience = asked.storage.url, asked.worker.grace, asked.storage.patience
    found = []
    for name in studies.names(storage.connect(url, write=False)):
        try:
            study = studies.load(url, name, grace=grace, patience=patience)
        except StudyError as error:  # the others are shown
            log.warning("%s", error)
            continue
        summary_ = state.look(study)
        if args.json:
            budget = state.budget_of(study)
            repeat = Repeats(asked).known
            say(state.as_json(summary_, budget, study.ended(budget), repeat))
        found.append(summary_)
    if not args.json:
        asking.console().print(state.overview(found) if found else "no study yet")
    return 0


def best(args: argparse.Namespace) -> int:
    """Print the best configuration, as text, JSON or overrides."""
    try:
        plan, study = asking.stored(args)
        found = summary.summarise(study.optuna)
        row = asking.best_row(args, plan, found)
        words = Repeats(plan).overrides(row) if args.as_overrides else []
    except TunerError:
        if args.as_overrides:
            say(NO_TRIAL)
        raise
    repeat = Repeats(plan).known
    if args.pareto:
        if args.json:
            say(wording.as_json(pareto.data(found, repeat)))
        else:
            asking.console().print(pareto_table(found))
    elif args.as_overrides:
        words = [*asking.flags(args), *map(config.spaceless, words)]
        if any(len(text.split()) != 1 for text in words):
            log.warning("an override holds spaces, which $(…) splits; `tuner best` quotes them")
        say(" ".join(words))
    elif args.json:
        say(wording.as_json(summary.best_of(found, lambda row: asking.overrides(plan, row))))
    else:
        say(f"#{row.number}: {found.metric} {wording.metric(row.value)}")
        say(asking.train_line(args, plan, row))
    return 0


def _form(output: Path | None) -> str:
    """Return the report's format by the suffix of its file."""
    ending = output.suffix.lstrip(".").lower() if output else ""
    if ending in ("", "htm"):
        return FORMATS[0]
    if ending not in FORMATS:
        raise ConfigError(
            f"expected a name that ends with .html, .md or .png, got {str(output)!r}",
            key="--output",
            hint="or say --format=html",
        )
    return ending


def report(args: argparse.Namespace) -> int:
    """Write the report and print its path to stdout."""
    form = args.format or _form(args.output)
    plan, study = asking.stored(args)
    directory = Path(plan.study.dir)
    output = args.output or directory / f"report.{form}"
    if output.is_dir():
        raise ConfigError(f"{output} is a directory", key="--output", hint="name a file in it")
    directories.probe([("--output", output.parent)])
    shown = state.look(study)
    say(str(write_page(study.optuna, output, directory, form, shown, Repeats(plan))))
    return 0


def export(args: argparse.Namespace) -> int:
    """Write the best configuration and its model, and print the paths to stdout."""
    plan, study = asking.ours(args)
    found = summary.summarise(study.optuna)
    directory = Path(plan.study.dir)
    row = _champion(args, plan, found, directory)
    overrides = Repeats(plan).overrides(row)
    out_dir = args.output or directory / "export"
    directories.probe(("--output", out_dir / name) for name in ("", "experiment"))
    for path in exporting.write(plan.source, overrides, out_dir):
        say(str(path))
    forms = args.formats or list(exporting.FORMS)
    trained = directory / "final"
    for path in exporting.write_model(found, row, trained, out_dir, forms, trust=args.trust):
        say(str(path))
    return 0


def _champion(args: argparse.Namespace, plan: Plan, found: summary.Summary, directory: Path) -> Row:
    """Return the configuration that ``tuner final`` has trained; else the best trial."""
    final = read_final(directory)
    trained = [row for row in found.ranking if final and is_of(final, row)]
    return trained[0] if trained else asking.best_row(args, plan, found)


def dashboard(args: argparse.Namespace) -> int:
    """Serve optuna-dashboard, for all studies of the database, until interrupted."""
    from tuner.dashboard import server  # optuna-dashboard takes a second to import

    plan = asking.readable(args)
    access = server.access(
        args.host,
        args.port,
        token_file=args.token_file,
        login=args.login,
        read_only=args.read_only,
    )
    database = storage.connect(plan.storage.url, create=False, write=not args.read_only)
    server.serve(database, Path(plan.storage.artifacts), access, plan)
    return 0


def check(args: argparse.Namespace) -> int:
    """Show what would run, having judged all of it; with ``--json`` mistakes go to stdout too."""
    try:
        plan, _, launch = asking.launched(args)
    except TunerError as error:
        if not args.json:
            raise
        say(checking.refused(error.mistakes))
        return error.exit_code
    say((checking.as_json if args.json else checking.as_text)(plan, launch))
    return 0
