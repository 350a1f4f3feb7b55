"""``tuner final``: race the best, retrain the winner over several seeds, score it on test."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from tuner.cli import context
from tuner.config import directories, exported_json, lookup, signatures
from tuner.final import export, retrain
from tuner.log import brief, say
from tuner.log import log as logger
from tuner.report import summary
from tuner.report.configurations import Row
from tuner.report.final_record import Finalist, Race
from tuner.report.reproduce import Repeats
from tuner.report.terminal import status
from tuner.report.write import write_page
from tuner.study.plan import Plan

FIRST_OF_RACE = 1000
"""First seed of a race; differs from those of the final trainings, so that luck is not inherited.
"""


def run(args: argparse.Namespace) -> int:
    """Race the finalists, train the winner over several seeds, and then score it once on test."""
    try:
        return _final(args)
    except KeyboardInterrupt:
        again = context.same(args, "final")
        raise KeyboardInterrupt(f"this goes on where it stopped: {again}") from None


def _final(args: argparse.Namespace) -> int:
    asked, study = context.ours(args)
    found = summary.summarise(study.optuna)
    directory = Path(asked.study.dir)
    directories.probe([("study.dir", directory / "final")])
    best, won = _winner(args, asked, found, directory / "final" / "race")
    words = Repeats(asked).overrides(best)
    result = retrain.run_final(
        asked.source,
        words,
        seeds=range(asked.final.seeds),
        final_overrides=_read_by_objective(asked),
        out_dir=directory / "final",
        device=asked.worker.device,
        log=logger.info,
        name=found.metric,
        number=best.number,
        won=won,
    )
    if won is not None:
        say(won.line())
    say(f"best:      {context.train_line(args, asked, best)}")
    say(result.line(found.metric))
    if told := result.images_line():
        say(told)
    output, shown = directory / "report.html", status.look(study)
    written = write_page(study.optuna, output, summary=shown, repeats=Repeats(asked))
    say(f"report:    {written}")
    say(f"dashboard: {context.same(args, 'dashboard')}")
    _take_home(args, asked, found, best, words)
    return 0


def _take_home(
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
    again = " ".join([context.same(args, "export"), *trust])
    try:
        export.take_home(asked.source, found, row, words, final_dir, out_dir)
    except Exception as error:
        reason = brief(f"{type(error).__name__}: {error}", 200)
        logger.warning("the model is not exported: %s; hint: once mended, %s", reason, again)
        return
    say(f"model:     {out_dir}")
    say(f"predict:   {shlex.join(['tuner', 'predict', str(out_dir), *trust])} IMAGE…")
    say(f"export:    {again} --format pt2 --format onnx")


def _winner(
    args: argparse.Namespace, asked: Plan, found: summary.Summary, out_dir: Path
) -> tuple[Row, Race | None]:
    """Return the best trial or the winner of the race, and the race."""
    repeats = Repeats(asked)
    best = context.best_row(args, asked, found)
    words = {best.number: repeats.overrides(best)}
    rows = [best]
    for row in found.ranking:
        if len(rows) == asked.final.finalists or any(row.params == r.params for r in rows):
            continue
        if (known := repeats.known(row)) is None:
            logger.warning("trial %d is no finalist: it is not of this search", row.number)
            continue
        words[row.number] = known
        rows.append(row)
    if len(rows) == 1:
        return best, None
    won = retrain.hold_race(
        asked.source,
        [Finalist(row.number, words[row.number]) for row in rows],
        seeds=range(FIRST_OF_RACE, FIRST_OF_RACE + asked.final.race_seeds),
        error=asked.final.error,
        maximize=found.maximize,
        out_dir=out_dir,
        device=asked.worker.device,
        log=logger.info,
    )
    return next(row for row in rows if row.number == won.winner), won


def _read_by_objective(asked: Plan) -> list[str]:
    """Return ``final.overrides`` without those for which this objective has no parameter."""
    fields = signatures.reachable(asked.cfg)

    def read(key: str) -> bool:
        return key in fields or (asked.source.open_ended and lookup.has_key(asked.cfg, key))

    kept = [text for text in asked.final.overrides if read(text.split("=")[0])]
    for text in [text for text in asked.final.overrides if text not in kept]:
        logger.warning("final.overrides: the objective does not read %s; left out", text)
    return kept
