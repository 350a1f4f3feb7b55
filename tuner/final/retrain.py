"""Collect the result of a final: the race, and the scores of the winner's trainings."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuner import files
from tuner.config import directories, exported_json
from tuner.errors import TunerError
from tuner.final.agenda import FIRST_OF_RACE, AgendaTrials, Protocol
from tuner.final.trainings import Trainings
from tuner.report.analysis.intervals import interval_of
from tuner.report.final_record import FinalResult
from tuner.report.formatting import SHARES, strict
from tuner.study import vetting
from tuner.worker import checkpoint_retention
from tuner.worker.mirror import Mirror

WEIGHTS = "model.safetensors"  # an objective may write it to its run directory


def result(trainings: Trainings) -> FinalResult:
    """Return the result of a final whose trainings have ended, and write ``final.json``.

    Raises:
        TunerError: Every finalist, or a final training, ended without a value.
    """
    known, plan = trainings.known(), trainings.plan
    race = trainings.standing().race
    if race is None:
        raise TunerError(
            f"no finalist of the race has a value; {_why(known, 'race')}",
            hint="run `tuner train` to see its epochs; final.finalists=1 skips the race",
        )
    _remove_checkpoints(trainings, known)
    seeds = range(plan.final.seeds)
    trials = [known.trial("final", race.winner, seed) for seed in seeds]
    scored = [t for t in trials if t is not None and t.state == TrialState.COMPLETE and t.values]
    if len(scored) < len(seeds):
        raise TunerError(
            f"a final training has no value: {_why(known, 'final', race.winner)}",
            hint="the objective must return or report it; run `tuner train` to see its epochs",
        )
    run_dirs = [_run_dir(trainings, trial) for trial in scored]
    found = _result(trainings, scored, run_dirs)
    number = race.winner
    found = replace(found, number=number, race=race if len(race.finalists) > 1 else None)
    write(Path(plan.study.dir) / "final.json", asdict(found))
    return found


def _result(
    trainings: Trainings, scored: Sequence[FrozenTrial], run_dirs: Sequence[Path]
) -> FinalResult:
    plan = trainings.plan
    values, name = [trial.values[0] for trial in scored], plan.aims.metric
    sd = statistics.stdev(values) if len(values) > 1 else None
    models = [path for run_dir in run_dirs if (path := run_dir / WEIGHTS).exists()]
    first = scored[0]
    own = vetting.overrides(plan, first.number, first.params)
    return FinalResult(
        seeds=list(range(plan.final.seeds)),
        values=values,
        mean=statistics.fmean(values),
        sd=sd,
        interval=None if sd is None else interval_of(values, share=name in SHARES),
        metrics=[
            {**trial.user_attrs.get("metrics", {}), name: value}
            for trial, value in zip(scored, values, strict=True)
        ],
        models=[str(path) for path in models],
        overrides=[*own, *plan.final.overrides],
        images=_images(run_dirs[0]) if name == "accuracy" else None,
        run_dirs=[str(run_dir) for run_dir in run_dirs],
    )


def _images(run_dir: Path) -> int | None:
    count = read(run_dir / "model.json").get("scored_on")
    return count if isinstance(count, int) and count > 0 else None


def _run_dir(trainings: Trainings, trial: FrozenTrial) -> Path:
    """Return a training's directory, copied from the mirror if another machine has it."""
    study = trainings.plan.study
    run_dir = directories.of_run(Path(study.dir), trial.user_attrs.get("run_dir"))
    if run_dir is None:
        raise TunerError(f"trial {trial.number} of {study.name!r} has no run directory")
    if study.mirror is not None and not run_dir.is_dir():
        Mirror(study.mirror, run_dir.absolute(), trial.number).fetch()
    return run_dir


def _remove_checkpoints(trainings: Trainings, known: AgendaTrials) -> None:
    """Remove the checkpoints of the race, which are useless once it has ended."""
    settings = trainings.agenda.settings
    for number in known.entrants:
        for seed in range(FIRST_OF_RACE, FIRST_OF_RACE + settings.race_seeds):
            trial = known.trial("race", number, seed)
            if trial is not None and (run_dir := _run_dir_here(trainings, trial)):
                checkpoint_retention.remove(trainings.plan, run_dir)


def _run_dir_here(trainings: Trainings, trial: FrozenTrial) -> Path | None:
    return directories.of_run(Path(trainings.plan.study.dir), trial.user_attrs.get("run_dir"))


def _why(known: AgendaTrials, protocol: Protocol, number: int | None = None) -> str:
    """Return the reason of the first training without a value."""
    settings = known.agenda.settings
    first, count = (
        (FIRST_OF_RACE, settings.race_seeds) if protocol == "race" else (0, settings.seeds)
    )
    for seed in range(first, first + count):
        for entrant in known.entrants if number is None else [number]:
            trial = known.trial(protocol, entrant, seed)
            if trial is not None and trial.state != TrialState.COMPLETE:
                reason = trial.user_attrs.get("reason") or f"it is {trial.state.name.lower()}"
                return f"#{entrant}, seed {seed}: {reason}"
    return "it was not run to completion"


def read(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if it is missing, truncated or no object."""
    try:
        return exported_json.read(path)
    except (OSError, ValueError):
        return {}


def write(path: Path, data: object) -> None:
    text = json.dumps(strict(data), indent=2, allow_nan=False)  # a race may hold NaN
    files.replace(path, f"{text}\n")
