"""The commands ``tuner train`` and ``tuner final``: train one configuration, once or over seeds."""

import argparse
import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tuner import binding, directories, log, nodes, objective, plan, trial
from tuner.commands import asking
from tuner.final import export, retrain
from tuner.log import brief, say
from tuner.log import log as logger
from tuner.plan import Plan
from tuner.report import status, summary, wording
from tuner.report.final_record import Finalist, Race
from tuner.report.repeat import Repeats
from tuner.report.rows import Row
from tuner.report.write import write_page

FIRST_OF_RACE = 1000
"""First seed of a race; differs from those of the final trainings, so that luck is not inherited.
"""


def train(args: argparse.Namespace) -> int:
    """Train one configuration and print its value to stdout as JSON."""
    log.to_stderr()
    asked = asking.required(plan.load(asking.source(args), args.overrides, search=False))
    parent = Path("runs/train")
    directories.probe([("--run-dir", args.run_dir or parent)])
    run_dir = args.run_dir or _fresh_directory(parent)

    def report(step: int, /, **metrics: float) -> None:
        step, told = objective.measured(step, metrics)
        shown = " ".join(f"{name} {value:.6g}" for name, value in told.items())
        logger.info("epoch %d  %s", step, shown)

    try:
        returned = trial.run(asked.cfg, run_dir=run_dir, report=report, device=asked.worker.device)
    except KeyboardInterrupt:
        if not any(run_dir.glob("checkpoint*")):
            raise
        again = f"{asking.same(args, 'train')} {shlex.join(['--run-dir', str(run_dir)])}"
        raise KeyboardInterrupt(f"this goes on from its checkpoint: {again}") from None
    values = {asked.study.metric: None, **asked.aims.named(returned)}
    say(wording.as_json({**values, "run_dir": str(run_dir)}))
    return 0


def _fresh_directory(parent: Path) -> Path:
    """Create a directory for this run; several runs may start in one second."""
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))


def final(args: argparse.Namespace) -> int:
    """Race the finalists, train the winner over several seeds, and then score it once on test."""
    try:
        return _final(args)
    except KeyboardInterrupt:
        again = asking.same(args, "final")
        raise KeyboardInterrupt(f"this goes on where it stopped: {again}") from None


def _final(args: argparse.Namespace) -> int:
    asked, study = asking.ours(args)
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
    say(f"best:      {asking.train_line(args, asked, best)}")
    say(result.line(found.metric))
    if told := result.images_line():
        say(told)
    output, shown = directory / "report.html", status.look(study)
    written = write_page(study.optuna, output, summary=shown, repeats=Repeats(asked))
    say(f"report:    {written}")
    say(f"dashboard: {asking.same(args, 'dashboard')}")
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
    trust = [] if network in export.OWN else ["--trust"]
    again = " ".join([asking.same(args, "export"), *trust])
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
    best = asking.best_row(args, asked, found)
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
    fields = binding.reachable(asked.cfg)

    def read(key: str) -> bool:
        return key in fields or (asked.source.open_ended and nodes.has_key(asked.cfg, key))

    kept = [text for text in asked.final.overrides if read(text.split("=")[0])]
    for text in set(asked.final.overrides) - set(kept):
        logger.warning("final.overrides: the objective does not read %s; left out", text)
    return kept
