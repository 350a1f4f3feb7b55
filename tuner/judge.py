"""What a pruner is to see: configurations, where the database holds attempts at them.

Left to itself a pruner counts an interrupted attempt beside the one that goes on with it.  Where
machines are preempted often, a rung of successive halving fills with copies of whatever has run
longest, and Hyperband moves a trial to another bracket whenever it is tried again, for it derives
the bracket from the trial's number.  Runs that repeat the best, to measure the noise, are no
competitors either.
"""

import copy
import threading
from collections.abc import Container
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from tuner.attempts import FIRST, first_number, last
from tuner.noise import REPEAT

JUDGING = threading.Lock()
"""Pruners are not made for threads: Hyperband builds its brackets as it is first asked."""


class _Configurations:
    """A storage whose list of trials has the last attempt at each, numbered as the first was."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        found = last(self._storage.get_all_trials(study_id, deepcopy, states))
        counted = (t for t in found if REPEAT not in t.system_attrs)
        return [_renumbered(t) if FIRST in t.system_attrs else t for t in counted]


class Judge:
    """Asks a trial's pruner."""

    def __init__(self, trial: Trial) -> None:
        self.trial_id = trial._trial_id
        self.study = copy.copy(trial.study)  # to make one anew asks the database for what is known
        if not getattr(self.study.pruner, "merges_attempts", False):
            storage: Any = _Configurations(self.study._storage)
            self.study._storage = storage

    def should_prune(self) -> bool:
        """As ``Trial.should_prune``."""
        trial = _renumbered(self.study._storage.get_trial(self.trial_id))
        with JUDGING:
            return self.study.pruner.prune(self.study, trial)


def _renumbered(trial: FrozenTrial) -> FrozenTrial:
    renumbered = copy.copy(trial)
    renumbered.number = first_number(trial)
    return renumbered
