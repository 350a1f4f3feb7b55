"""Remove checkpoints that are no longer needed.

A hundred trials of 140 MB, each twice, would fill a disk.
"""

import shutil
from pathlib import Path

import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from tuner.config import directories
from tuner.log import log
from tuner.storage.writes import trials, values
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker.mirror_snapshots import Pushes

PATTERN = "checkpoint*"
"""Names of the files to remove, directly in a run directory; an objective's other files are kept.
"""
WINDOW = 8
"""Trials after the best ones that are checked too, as this many workers may finish at once."""


def spent(study: Study, ended: FrozenTrial, keep: int, *, maximize: bool) -> list[FrozenTrial]:
    """Return the trials whose checkpoints are no longer needed, now that ``ended`` has ended.

    A configuration keeps its checkpoints while it may be resumed (it runs, waits, or was
    interrupted), and while it is one of the best ``keep`` completed ones. A configuration that was
    pruned, or failed by itself, keeps none.
    """
    if ended.state in (TrialState.PRUNED, TrialState.FAIL):
        return [ended]
    order = values.c.value.desc() if maximize else values.c.value.asc()
    query = (
        sa.select(trials.c.trial_id)
        .join(values, values.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study.id, values.c.objective == 0)
        .where(trials.c.state == TrialState.COMPLETE)
        .order_by(order, trials.c.number)
        .offset(keep)
        .limit(WINDOW)
    )
    with study.storage.single.connect() as connection:
        found = list(connection.execute(query).scalars())
    return [study.storage.get_trial(trial_id) for trial_id in found]


def tidy(study: Study, plan: Plan, trial_id: int) -> None:
    """Remove what a trial that has just ended makes superfluous; a failure is only logged."""
    if (keep := plan.study.keep_checkpoints) is None:
        return
    try:
        ended = study.storage.get_trial(trial_id)
        if ended.state == TrialState.COMPLETE and len(plan.aims.objectives) > 1:
            return  # of several objectives each on the front is somebody's best
        for trial in spent(study, ended, keep, maximize=plan.study.direction == "maximize"):
            run_dir = directories.of_run(Path(plan.study.dir), trial.user_attrs.get("run_dir"))
            if run_dir is not None:
                remove(plan, run_dir)
    except Exception as error:  # a driver of a mirror may raise anything
        log.warning("checkpoints of trials that ended were not removed: %s", error)


def remove(plan: Plan, run_dir: Path) -> None:
    """Remove the checkpoints in a run directory, and its whole copy in the mirror.

    The copy serves only to resume the trial.
    """
    for path in run_dir.glob(PATTERN):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if plan.study.mirror is not None:
        Pushes(plan.study.mirror, run_dir.name, 0).remove()
