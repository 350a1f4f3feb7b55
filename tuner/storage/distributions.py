"""The distributions of a study's parameters, which Optuna requires to be the same in all trials."""

from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from sqlalchemy import Engine

from tuner.storage import attributes, writes
from tuner.storage.tables import params, trials


class Distributions:
    """The distributions in all studies of a database; each is read once and never changes."""

    def __init__(self, single: Engine) -> None:
        self.single = single
        self.studies: dict[int, int] = {}
        """The study's id for each trial's id."""
        self.known: dict[tuple[int, str], BaseDistribution] = {}
        """The distributions by study and parameter."""

    def check(self, trial_id: int, name: str, new: BaseDistribution) -> None:
        """Check that a trial may sample a parameter from a distribution.

        The first distribution of a parameter in a study is always accepted.

        Raises:
            ValueError: The distribution is not compatible with that of other trials.
            KeyError: There is no such trial.
            UpdateFinishedTrialError: The trial has ended and the distribution is not compatible.
        """
        key = self._study(trial_id), name
        known = self._known(*key)
        if known is None:
            self.known[key] = new
            return
        try:
            check_distribution_compatibility(known, new)
        except ValueError:
            with self.single.connect() as connection:
                writes.refuse(connection, [trial_id])
            raise

    def forget(self, study_id: int) -> None:
        """Forget a deleted study and the studies of all trials, whose ids may be reused."""
        self.studies.clear()
        self.known = {key: found for key, found in self.known.items() if key[0] != study_id}

    def _study(self, trial_id: int) -> int:
        if trial_id not in self.studies:
            query = sa.select(trials.c.study_id).where(trials.c.trial_id == trial_id)
            found: int | None = self._asked(query)
            if found is None:
                raise KeyError(f"there is no trial of id {trial_id}")
            self.studies[trial_id] = found
        return self.studies[trial_id]

    def _known(self, study_id: int, name: str) -> BaseDistribution | None:
        """Return the parameter's distribution in some trial of the study, None if there is none."""
        if (study_id, name) not in self.known:
            query = sa.select(params.c.distribution_json).select_from(params.join(trials))
            query = query.where(trials.c.study_id == study_id, params.c.param_name == name)
            text = self._asked(query.order_by(params.c.param_id).limit(1))
            if text is None:
                return None
            try:
                self.known[study_id, name] = attributes.distribution(text)
            except ValueError:  # written by another program, malformed
                return None
        return self.known[study_id, name]

    def _asked(self, query: sa.Select[Any]) -> Any:
        with self.single.connect() as connection:
            return connection.scalar(query)
