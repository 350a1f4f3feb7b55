"""Optuna's CMA-ES, its state made of what the study's trials scored.

Optuna's own keeps the state as a pickle in the attributes of trials, and to unpickle is to run what
it says: code of anybody who can write to the database.  Here the state is replayed: the evolution
is a function of its start and of the solutions that it was told, generation by generation, and
those are the trials.
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
"""What CMA-ES with margin notes of a trial: the point that it is to be told as."""


class CmaEs(CmaEsSampler):
    """As its base, which chooses the trials and asks; nothing is unpickled, and nothing pickled."""

    _space: Mapping[str, BaseDistribution] = MappingProxyType({})
    _ended: Sequence[FrozenTrial] = ()

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._space = search_space
        return super().sample_relative(study, trial, search_space)

    def _get_trials(self, study: Study) -> list[FrozenTrial]:
        """In the order in which they ended, so that a late one joins no generation of the past."""
        found = [trial for trial in super()._get_trials(study) if self._is_sound(trial)]
        return sorted(found, key=lambda t: (t.datetime_complete or datetime.max, t.number))

    def _is_sound(self, trial: FrozenTrial) -> bool:
        """Whether it can be told: others may write to the database."""
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
        """Nothing, whatever the trials hold: ``_init_optimizer`` makes it anew of these."""
        self._ended = completed_trials

    def _init_optimizer(self, trans: _SearchSpaceTransform, direction: StudyDirection) -> Any:
        """The state after all generations that are whole."""
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
