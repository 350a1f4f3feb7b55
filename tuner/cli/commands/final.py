"""``tuner final``: race the best, retrain the winner over several seeds, score it on test."""

import argparse
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from tuner.api import preflight, supervision
from tuner.cli import context, short_form
from tuner.cli.command_lines import command_line
from tuner.config import directories, exported_json
from tuner.errors import TunerError
from tuner.final import export, retrain
from tuner.final.trainings import NAME, open_trainings
from tuner.launch.fork_server import ForkServer
from tuner.log import brief, say
from tuner.log import log as logger
from tuner.report import summary
from tuner.report.configurations import Row
from tuner.report.final_record import FinalResult
from tuner.report.reproduce import Repeats
from tuner.report.terminal import status
from tuner.report.write import write_page
from tuner.study.plan import Plan
from tuner.study.study import Study


def run(args: argparse.Namespace) -> int:
    """Race the finalists, train the winner over several seeds, and then score it once on test."""
    try:
        with ForkServer() as server:
            return _final(args, server)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_goes_on(args)) from None


def _goes_on(args: argparse.Namespace) -> str:
    return f"to resume: {command_line(args, 'final')}"


def _final(args: argparse.Namespace, server: ForkServer) -> int:
    asked, study = context.ours(args)
    server.begin(asked.cfg)
    found = summary.summarise(study.optuna)
    directories.probe([("study.dir", Path(asked.study.dir) / NAME)])
    rows = _finalists(args, asked, found)
    launcher, described = preflight.launcher_of(asked)
    trainings = open_trainings(asked, study, rows, maximize=found.maximize)
    failure = None
    if not trainings.over():
        job = supervision.start(trainings.plan, trainings.study, launcher, described, server.fork)
        if launcher.detach:
            args.overrides = [o for o in args.overrides if not o.startswith("launch.detach=")]
            say(f"result:    {command_line(args, 'final')} launch.detach=false")
            return 0
        stop = supervision.follow(trainings.plan, trainings.study, job)
        if stop.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.signal is not None:
            logger.warning("interrupted; %s", _goes_on(args))
            return 128 + stop.signal
        failure = job.failure
    if failure and not trainings.over():
        raise TunerError(failure)
    for left in trainings.standing().said:
        logger.info("%s", left)
    return _tell(args, asked, study, found, retrain.result(trainings))


def _tell(
    args: argparse.Namespace,
    asked: Plan,
    study: Study,
    found: summary.Summary,
    result: FinalResult,
) -> int:
    """Print the result, write the report, and export the model."""
    directory = Path(asked.study.dir)
    best = next(row for row in found.ranking if row.number == result.number)
    if result.race is not None:
        say(result.race.line())
    say(f"best:      {context.view_of(args, asked).train_line(best)}")
    say(result.line(found.metric))
    if told := result.images_line():
        say(told)
    output, shown = directory / "report.html", status.summary_of(study)
    written = write_page(study.optuna, output, summary=shown, commands=Repeats(asked))
    say(f"report:    {written}")
    say(f"dashboard: {short_form.line(args, asked, 'dashboard')}")
    _export_winner(args, asked, found, best, Repeats(asked).overrides(best))
    return 0


def _export_winner(
    args: argparse.Namespace,
    asked: Plan,
    found: summary.Summary,
    row: Row,
    words: Sequence[str],
) -> None:
    """Export the winner and show how to use it; errors do not affect the recorded score."""
    final_dir, out_dir = (Path(asked.study.dir) / name for name in ("final", "export"))
    network = export.network(final_dir)
    if network is None:
        return
    trust = [] if network in exported_json.OWN else ["--trust"]
    again = " ".join([short_form.line(args, asked, "export"), *trust])
    try:
        export.export_winner(asked.source, found, row, words, final_dir, out_dir)
    except Exception as error:
        reason = brief(f"{type(error).__name__}: {error}", 200)
        logger.warning(
            "the model was not exported: %s; hint: correct this, then run %s", reason, again
        )
        return
    say(f"model:     {out_dir}")
    say(f"predict:   {shlex.join(['tuner', 'predict', str(out_dir), *trust])} IMAGE…")
    say(f"export:    {again} --format pt2 --format onnx")


def _finalists(args: argparse.Namespace, asked: Plan, found: summary.Summary) -> list[Row]:
    """Return the best configurations of the search, each with other parameters."""
    repeats = Repeats(asked)
    best = context.view_of(args, asked).best_row(found)
    repeats.overrides(best)  # refuses a study that this command would not have made
    rows = [best]
    for row in found.ranking:
        if len(rows) == asked.final.finalists or any(row.params == r.params for r in rows):
            continue
        if repeats.known(row) is None:
            logger.warning(
                "trial %d cannot be a finalist, because it does not belong to this search",
                row.number,
            )
            continue
        rows.append(row)
    return rows
