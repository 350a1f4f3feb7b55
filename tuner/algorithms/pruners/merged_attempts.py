"""Show configurations to pruners instead of the attempts that the database stores.

Otherwise, a pruner would count an interrupted attempt in addition to the one that resumes it. If
machines are preempted often, a rung of successive halving would fill with copies of the longest
trial, and Hyperband would move a trial to another bracket at each retry, because it derives the
bracket from the trial's number. Runs that repeat the best trial to measure the noise are hidden as
well: they are not competitors.
"""

import copy
import threading
from collections.abc import Container
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from tuner.study.attempts import FIRST, first_number, last
from tuner.study.seed_noise import REPEAT

PRUNER_LOCK = threading.Lock()
"""Lock around pruners, which are not thread-safe: Hyperband creates its brackets at the first call.
"""


class _Configurations:
    """A storage that lists the last attempt of each configuration, numbered as the first."""

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


class TrialPruner:
    """Calls a trial's pruner."""

    def __init__(self, trial: Trial) -> None:
        self.trial_id = trial._trial_id
        self.study = copy.copy(trial.study)  # a new one would query the database again
        if not getattr(self.study.pruner, "merges_attempts", False):
            storage: Any = _Configurations(self.study._storage)
            self.study._storage = storage

    def should_prune(self) -> bool:
        """Return whether to prune the trial, like ``Trial.should_prune``."""
        trial = _renumbered(self.study._storage.get_trial(self.trial_id))
        with PRUNER_LOCK:
            return self.study.pruner.prune(self.study, trial)


def _renumbered(trial: FrozenTrial) -> FrozenTrial:
    renumbered = copy.copy(trial)
    renumbered.number = first_number(trial)
    return renumbered
