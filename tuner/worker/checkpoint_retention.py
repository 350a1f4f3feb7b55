"""Remove checkpoints that are no longer needed.

A hundred trials of 140 MB, each twice, would fill a disk.
"""

from pathlib import Path

import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from tuner.config import directories
from tuner.log import log
from tuner.storage.tables import trials, values
from tuner.study import run_files
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker.mirror_snapshots import Snapshots

WINDOW = 8
"""Number of trials after the best ones to check as well: several workers may finish at once."""


def unneeded(study: Study, ended: FrozenTrial, keep: int, *, maximize: bool) -> list[FrozenTrial]:
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
    """Remove checkpoints that are not needed since a trial has ended; a failure is only logged."""
    keep = plan.study.keep_checkpoints
    try:
        ended = study.storage.get_trial(trial_id)
        if (run_dir := _run_dir(plan, ended)) is not None:
            run_files.remove(run_dir.glob(run_files.PREVIOUS))
        if keep is None:
            return
        if ended.state == TrialState.COMPLETE and len(plan.aims.objectives) > 1:
            return  # with several objectives, each trial on the front may be the one to use
        for trial in unneeded(study, ended, keep, maximize=plan.study.direction == "maximize"):
            if (run_dir := _run_dir(plan, trial)) is not None:
                remove(plan, run_dir)
    except Exception as error:  # a driver of a mirror may raise anything
        log.warning("checkpoints of trials that ended were not removed: %s", error)


def _run_dir(plan: Plan, trial: FrozenTrial) -> Path | None:
    return directories.of_run(Path(plan.study.dir), trial.user_attrs.get("run_dir"))


def remove(plan: Plan, run_dir: Path) -> None:
    """Remove the checkpoints in a run directory, and its whole copy in the mirror.

    The copy is only used to resume the trial.
    """
    run_files.remove(run_dir.glob(run_files.CHECKPOINTS))
    if plan.study.mirror is not None:
        Snapshots(plan.study.mirror, run_dir.name, 0).remove()
