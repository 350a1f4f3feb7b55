"""The order in which the trainings of a final are given out."""

from datetime import datetime, timedelta

from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.config.settings import FinalSettings
from tuner.final.agenda import FIRST_OF_RACE, Agenda, AgendaTrials, Entrant
from tuner.study.next_trial import QUEUED

SETTINGS = FinalSettings(finalists=3, race_seeds=3, error=0.1, seeds=2, overrides=[])
AGENDA = Agenda(
    [Entrant(k, {"x": float(k)}, {"race": "a", "final": "b"}) for k in (10, 11, 12)],
    SETTINGS,
    maximize=True,
)


def trained(number: int, seed: int, seconds: float) -> FrozenTrial:
    """A complete training of the race that took so many seconds."""
    item = AgendaTrials(AGENDA, []).item("race", number, seed)
    trial = create_trial(value=0.5, system_attrs={QUEUED: item.key, **item.attrs})
    began = datetime(2026, 1, 1)
    trial.datetime_start, trial.datetime_complete = began, began + timedelta(seconds=seconds)
    assert trial.state == TrialState.COMPLETE
    return trial


def test_of_a_round_the_longest_training_starts_first():
    first = [trained(k, FIRST_OF_RACE, seconds) for k, seconds in [(10, 2), (11, 9), (12, 5)]]
    following = [item.origin for item in AGENDA.needed(first)]
    second = FIRST_OF_RACE + 1
    assert following == [f"race of #{number}, seed {second}" for number in (11, 12, 10)]


def test_an_earlier_round_goes_before_a_longer_training():
    two = [trained(10, FIRST_OF_RACE, 2), trained(11, FIRST_OF_RACE, 9)]
    assert [item.origin for item in AGENDA.needed(two)] == [
        f"race of #12, seed {FIRST_OF_RACE}",
        f"race of #11, seed {FIRST_OF_RACE + 1}",
        f"race of #10, seed {FIRST_OF_RACE + 1}",
    ]
