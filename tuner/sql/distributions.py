"""What the parameters of a study are drawn from, in which Optuna lets no two trials differ."""

from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from sqlalchemy import Engine

from tuner.sql import attributes, writes
from tuner.sql.writes import params, trials


class Distributions:
    """Those of all studies of a database.  Each is read once, for it stays what it is."""

    def __init__(self, single: Engine) -> None:
        self.single = single
        self.studies: dict[int, int] = {}
        """Of trials, by their ids."""
        self.known: dict[tuple[int, str], BaseDistribution] = {}
        """By study and parameter."""

    def check(self, trial_id: int, name: str, new: BaseDistribution) -> None:
        """Whether a trial may draw a parameter from this; the first of a study always may.

        Raises: ``ValueError`` if it differs from the others', ``KeyError`` if there is no such
        trial, ``UpdateFinishedTrialError`` if it has ended, which is the better reason.
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
        """The study is no more, and its trials' ids may be given again."""
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
        """What some trial of the study drew the parameter from, None if none has."""
        if (study_id, name) not in self.known:
            query = sa.select(params.c.distribution_json).select_from(params.join(trials))
            query = query.where(trials.c.study_id == study_id, params.c.param_name == name)
            text = self._asked(query.order_by(params.c.param_id).limit(1))
            if text is None:
                return None
            try:
                self.known[study_id, name] = attributes.distribution(text)
            except ValueError:  # somebody has written it by hand
                return None
        return self.known[study_id, name]

    def _asked(self, query: sa.Select[Any]) -> Any:
        with self.single.connect() as connection:
            return connection.scalar(query)
