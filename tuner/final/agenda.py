"""The trainings of a final: which are needed next, in which order, and their values.

A final is a separate study, ``NAME/final``, whose trials are the trainings. Therefore, any worker
can run them, and the training of a lost worker is resumed. Each worker derives the needed trainings
from the finished trials, under the study's lock: first those of the race, then those of the winner.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from tuner.config.settings import FinalSettings
from tuner.final import race
from tuner.report.final_record import Finalist, Race
from tuner.space.distributions import Scalar
from tuner.storage.reason_kind import Kind
from tuner.study.attempts import TRAINING, kind
from tuner.study.next_trial import QUEUED, Books
from tuner.study.queue import Item

Protocol = Literal["race", "final"]

FIRST_OF_RACE = 1000
"""First seed of a race. The final trainings use other seeds: a finalist that won the race with
lucky seeds must not benefit from them again.
"""
REPEATED = {Kind.ERROR, Kind.LOST, Kind.OUT_OF_MEMORY, Kind.SET_ASIDE}
"""Reasons for a training without a value that may not occur again, so that it is repeated."""


@dataclass(frozen=True)
class Entrant:
    """A configuration of the search that takes part in a final."""

    number: int
    params: Mapping[str, Scalar]
    """Parameters by their names in the study."""
    digests: Mapping[str, str]
    """Protocol → digest of the whole configuration without the seed. If a configuration file has
    changed, a training has another digest and is run again."""


@dataclass(frozen=True)
class Agenda:
    """The trainings of a final; ``since`` is the number of trials that earlier commands have run.

    Failures of earlier commands that may not occur again are repeated; those of this command are
    not.
    """

    entrants: Sequence[Entrant]
    settings: FinalSettings
    maximize: bool
    since: int = 0

    @classmethod
    def read(cls, stored: Mapping[str, Any], settings: FinalSettings, maximize: bool) -> "Agenda":
        """Return the agenda from the data of ``as_data`` that are stored with the study."""
        entrants = [Entrant(**each) for each in stored["entrants"]]
        return cls(entrants, settings, maximize, stored["since"])

    def as_data(self) -> dict[str, Any]:
        return {"since": self.since, "entrants": [asdict(entrant) for entrant in self.entrants]}

    @property
    def breadth(self) -> int:
        """The maximum number of trainings that are needed at the same time."""
        return max(len(self.entrants), self.settings.seeds)

    def queue(self, books: Books) -> Sequence[Item]:
        """Return the trainings that are needed now and have no value yet."""
        return self.needed(books.attempts())

    def needed(self, trials: Sequence[FrozenTrial]) -> Sequence[Item]:
        """Return the trainings that are needed now and have no value yet.

        If a final training has ended without a value, no others are needed: there will be no
        result.
        """
        known = AgendaTrials(self, trials)
        standing = self.standing(trials)
        if standing.needed:
            first = sorted(standing.needed, key=known.urgency)
            return [known.item("race", *training) for training in first]
        if standing.race is None:
            return []
        winner, seeds = standing.race.winner, range(self.settings.seeds)
        values = {seed: known.value("final", winner, seed) for seed in seeds}
        if any(value is not None and math.isnan(value) for value in values.values()):
            return []
        return [known.item("final", winner, seed) for seed in seeds if values[seed] is None]

    def standing(self, trials: Sequence[FrozenTrial]) -> race.Standing:
        """Return the standing of the race; a single finalist wins without any training."""
        finalists = [Finalist(entrant.number, []) for entrant in self.entrants]
        if len(finalists) == 1:
            return race.Standing([], Race(finalists, finalists[0].number, None), [])
        known = AgendaTrials(self, trials)
        return race.standing(
            finalists,
            seeds=range(FIRST_OF_RACE, FIRST_OF_RACE + self.settings.race_seeds),
            error=self.settings.error,
            maximize=self.maximize,
            value=lambda number, seed: known.value("race", number, seed),
        )


class AgendaTrials:
    """The trainings of an agenda among the trials of its study."""

    def __init__(self, agenda: Agenda, trials: Sequence[FrozenTrial]) -> None:
        self.agenda = agenda
        self.entrants = {entrant.number: entrant for entrant in agenda.entrants}
        self.trials = {t.system_attrs[QUEUED]: t for t in trials if QUEUED in t.system_attrs}

    def value(self, protocol: Protocol, number: int, seed: int) -> float | None:
        """Return the value of a training: NaN if it ended without one, None if it has not ended."""
        trial = self.trial(protocol, number, seed)
        if trial is None or not trial.state.is_finished():
            return None
        complete = trial.state == TrialState.COMPLETE and trial.values
        return trial.values[0] if complete else math.nan

    def trial(self, protocol: Protocol, number: int, seed: int) -> FrozenTrial | None:
        """Return the trial of a training, None if it was not started."""
        return self.trials.get(self.item(protocol, number, seed).key)

    def urgency(self, training: race.Training) -> tuple[int, float]:
        """Sort key of a training: earlier rounds first, then finalists that train for longer.

        A long training that starts last would keep the other workers of a round waiting.
        """
        number, seed = training
        before = self.trial("race", number, FIRST_OF_RACE)
        duration = before.duration if before is not None else None
        return seed, -duration.total_seconds() if duration else -math.inf

    def item(self, protocol: Protocol, number: int, seed: int) -> Item:
        """Return the queue's item for a training, skipping failed attempts that are repeated."""
        entrant = self.entrants[number]
        training = {"protocol": protocol, "seed": seed, "digest": entrant.digests[protocol]}
        origin = f"{protocol} of #{number}, seed {seed}"
        again = 0
        while True:
            item = Item(entrant.params, origin, {TRAINING: {**training, "again": again}})
            found = self.trials.get(item.key)
            if found is None or not self._is_repeated(found):
                return item
            again += 1

    def _is_repeated(self, trial: FrozenTrial) -> bool:
        return trial.number < self.agenda.since and kind(trial) in REPEATED
