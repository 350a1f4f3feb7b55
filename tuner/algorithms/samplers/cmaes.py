"""Optuna's CMA-ES, with its state recomputed from the study's trials.

Optuna stores the state as a pickle in the attributes of trials. Unpickling it would run the code of
anybody who can write to the database. The state depends only on the initial state and on the
solutions of each generation. These are stored as trials, so the state is recomputed from them.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from optuna import Study
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.samplers import CmaEsSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

MARGIN = "x_for_tell"
"""System attribute of CMA-ES with margin: the point that is passed to ``tell``."""


class CmaEs(CmaEsSampler):
    """Optuna's ``CmaEsSampler``, except that it neither pickles nor unpickles its state."""

    _space: Mapping[str, BaseDistribution] = MappingProxyType({})
    _ended: Sequence[FrozenTrial] = ()

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._space = search_space
        return super().sample_relative(study, trial, search_space)

    def _get_trials(self, study: Study) -> list[FrozenTrial]:
        """Return usable trials by completion time, so that generations never change."""
        found = [trial for trial in super()._get_trials(study) if self._is_sound(trial)]
        return sorted(found, key=lambda t: (t.datetime_complete or datetime.max, t.number))

    def _is_sound(self, trial: FrozenTrial) -> bool:
        """Return whether ``tell`` can use the trial; its row in the database may be malformed."""
        noted, space = trial.system_attrs.get(MARGIN), self._space
        born = self._attr_key_generation in trial.system_attrs
        return (
            len(trial.values or ()) == 1
            and math.isfinite(trial.values[0])
            and all(name in trial.params for name in space)
            and all(d._contains(d.to_internal_repr(trial.params[n])) for n, d in space.items())
            and (not (born and self._with_margin) or _is_point(noted, len(space)))
        )

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> None:
        """Restore nothing: ``_init_optimizer`` recomputes the state from ``completed_trials``."""
        self._ended = completed_trials

    def _init_optimizer(self, trans: _SearchSpaceTransform, direction: StudyDirection) -> Any:
        """Return an optimizer in the state after all complete generations."""
        optimizer = super()._init_optimizer(trans, direction)
        sign = 1.0 if direction == StudyDirection.MINIMIZE else -1.0
        size = optimizer.population_size
        while len(born := self._get_solution_trials([*self._ended], optimizer.generation)) >= size:
            solutions = [(self._point(trans, t), sign * t.values[0]) for t in born[:size]]
            optimizer.tell(solutions)
        return optimizer

    def _point(self, trans: _SearchSpaceTransform, trial: FrozenTrial) -> np.ndarray:
        if self._with_margin:
            return np.array(trial.system_attrs[MARGIN])
        return trans.transform(trial.params)


def _is_point(noted: Any, size: int) -> bool:
    return isinstance(noted, list) and len(noted) == size and all(map(math.isfinite, noted))
