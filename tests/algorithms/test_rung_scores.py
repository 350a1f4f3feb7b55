import copy
from datetime import datetime, timedelta

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from tuner.algorithms.rung_scores import Scoreboard, is_bad
from tuner.algorithms.samplers.encoding import of_distributions
from tuner.study import fidelity
from tuner.study.attempts import HISTORY
from tuner.study.fidelity import LENGTH

ENCODE = of_distributions({"x": FloatDistribution(0, 1)})
NAN = float("nan")


def add(
    study, x, curve, state=TrialState.COMPLETE, *, length=None, value=None, user=None, **system
):
    values = list(curve)
    given = value if value is not None else (values[-1] if values else 0.0)
    study.add_trial(
        create_trial(
            state=state,
            value=given if state == TrialState.COMPLETE else None,
            params={} if x is None else {"x": x},
            distributions={} if x is None else {"x": FloatDistribution(0, 1)},
            intermediate_values=dict(enumerate(values, 1)),
            user_attrs=user or {},
            system_attrs={LENGTH: length, **system} if length else system,
        )
    )


@pytest.fixture
def study():
    return optuna.create_study(direction="maximize")


def test_rungs_are_fractions_of_the_trials_own_schedule(study):
    add(study, 0.1, range(1, 28), length=27)
    add(study, 0.2, range(1, 4), TrialState.RUNNING, length=9)
    add(study, 0.3, range(1, 31), TrialState.PRUNED, length=90)
    table = Scoreboard().table(study, ENCODE)
    assert np.array_equal(table.scores[0], [1, 3, 9, 27])
    assert np.array_equal(table.scores[1], [1, 1, 3, NAN], equal_nan=True)
    assert np.array_equal(table.scores[2], [4, 10, 30, NAN], equal_nan=True)
    assert table.points[:, 0] == pytest.approx([0.1, 0.2, 0.3])
    assert table.over.tolist() == [True, False, True]


def test_a_value_that_was_not_reported_at_the_rung_is_the_next(study):
    trial = create_trial(
        value=5.0, params={}, distributions={}, intermediate_values={2: 0.2, 10: 1.0, 12: 1.2},
        system_attrs={LENGTH: 27},
    )  # fmt: skip
    study.add_trial(trial)
    assert Scoreboard().table(study, ENCODE).scores[0].tolist() == [0.2, 1.0, 1.0, 5.0]


def test_minimised_values_change_their_sign_and_what_is_not_finite_is_none():
    study = optuna.create_study(direction="minimize")
    add(study, 0.1, [3.0, NAN, float("inf")], TrialState.RUNNING, length=3)
    assert np.array_equal(
        Scoreboard().table(study, ENCODE).scores[0], [-3.0, -3.0, -3.0, NAN], equal_nan=True
    )
    add(study, 0.2, [NAN, 2.0], TrialState.PRUNED, length=3)
    assert np.isnan(Scoreboard().table(study, ENCODE).scores[1]).all()


def test_a_length_that_nobody_noted_is_that_of_the_longest_completed(study):
    board = Scoreboard()
    add(study, 0.1, range(1, 10), TrialState.PRUNED)
    assert np.isnan(board.table(study, ENCODE).scores).all()
    add(study, 0.2, range(1, 10))
    assert board.table(study, ENCODE).scores[0].tolist()[:3] == [1, 1, 3]
    add(study, 0.3, range(1, 28))
    assert np.array_equal(board.table(study, ENCODE).scores[0], [1, 3, 9, NAN], equal_nan=True)
    assert board.table(study, ENCODE).scores[1].tolist() == [1, 3, 9, 9]


def test_a_retry_takes_the_place_of_the_attempts_before_it(study):
    add(study, 0.1, [1.0, 2.0], TrialState.FAIL, length=9)
    board = Scoreboard()
    assert board.table(study, ENCODE).live.tolist() == [True]
    add(study, 0.1, [1.0, 2.0, 3.0], TrialState.RUNNING, length=9, **{HISTORY: [0]})
    table = board.table(study, ENCODE)
    assert table.live.tolist() == [False, True]
    assert table.reached(2).tolist() == [False, True]


@pytest.mark.parametrize(
    ("state", "curve", "user", "bad"),
    [
        (TrialState.COMPLETE, [0.5], {}, False),
        (TrialState.PRUNED, [0.5], {}, False),
        (TrialState.PRUNED, [0.5], {"reason": "of a study that stores no kinds"}, True),
        (TrialState.PRUNED, [0.5], {"reason_kind": "diverged"}, True),
        (TrialState.PRUNED, [0.5], {"reason_kind": "pruned", "reason": "by the objective"}, False),
        (TrialState.PRUNED, [], {}, True),
        (TrialState.FAIL, [0.9], {}, True),
        (TrialState.RUNNING, [], {}, False),
    ],
)
def test_what_could_not_work_is_bad_whatever_it_had_scored(study, state, curve, user, bad):
    add(study, 0.1, curve, state, user=user)
    assert is_bad(study.trials[0]) is bad


def test_a_broken_constraint_is_bad(study):
    trial = study.ask({"x": FloatDistribution(0, 1)})
    trial.set_constraint("parameters", 1.0)
    study.tell(trial, 1.0)
    table = Scoreboard().table(study, ENCODE)
    assert table.bad.tolist() == [True]
    assert table.highest(1) is None


def test_it_is_kept_up_and_equals_one_that_reads_anew(study):
    board = Scoreboard()
    rng = np.random.default_rng(0)
    running = []
    for _ in range(60):
        running.append(study.ask({"x": FloatDistribution(0, 1)}))
        study._storage.set_trial_system_attr(running[-1]._trial_id, LENGTH, 9)
        for trial in list(running):
            step = len(study._storage.get_trial(trial._trial_id).intermediate_values) + 1
            trial.report(float(rng.random()), step)
            if step == 9 or rng.random() < 0.2:
                state = TrialState.COMPLETE if step == 9 else TrialState.PRUNED
                study.tell(trial, step if step == 9 else None, state=state)
                running.remove(trial)
        kept, anew = board.table(study, ENCODE), Scoreboard().table(study, ENCODE)
        for name in ("points", "scores", "over", "bad", "live"):
            assert np.array_equal(getattr(kept, name), getattr(anew, name), equal_nan=True)


def test_what_is_over_is_not_read_again(study):
    for k in range(50):
        add(study, k / 50, [1.0], length=3)
    read = []

    def encode(trials):
        read.extend(trial.number for trial in trials)
        return ENCODE(trials)

    board = Scoreboard()
    board.table(study, encode)
    read.clear()
    study.ask({"x": FloatDistribution(0, 1)})
    board.table(study, encode)
    assert read == [50]


def test_lengths_are_guessed_without_reading_a_study_twice(study):
    for k in range(5):
        add(study, k / 5, range(1, 10))
    read = []

    def encode(trials):
        read.extend(trial.number for trial in trials)
        return ENCODE(trials)

    board = Scoreboard()
    assert board.table(study, encode).scores[0].tolist() == [1, 1, 3, 9]
    assert read == [*range(5)]
    add(study, 0.9, range(1, 28))  # nine epochs were not the whole of a schedule
    assert board.table(study, encode).scores[0].tolist() == [1, 3, 9, 9]


def test_another_study_or_space_is_read_from_the_beginning(study):
    board = Scoreboard()
    add(study, 0.5, [1.0], length=3)
    add(study, 0.6, [1.0], length=3)
    board.table(study, ENCODE)
    wider = of_distributions({"x": FloatDistribution(0, 2)})
    assert board.table(study, wider).points[:, 0] == pytest.approx([0.25, 0.3])
    other = optuna.create_study(direction="maximize")
    add(other, 0.9, [1.0], length=3)
    add(other, 0.8, [1.0], length=3)
    assert board.table(other, wider).points[:, 0] == pytest.approx([0.45, 0.4])
    assert len(board.table(optuna.create_study(), wider).points) == 0


def test_studies_of_one_name_in_two_databases_are_two():
    board = Scoreboard()
    for x in (0.25, 0.75):
        same = optuna.create_study(study_name="s", direction="maximize")
        for _ in range(2):
            add(same, x, [1.0], length=3)
        assert board.table(same, ENCODE).points[:, 0].tolist() == [x, x]


def test_trials_that_are_no_more_are_forgotten(study):
    """As where a study is deleted and made anew, or a standby lacks the last commits."""
    board = Scoreboard()
    for x in (0.1, 0.2, 0.3):
        add(study, x, [], TrialState.RUNNING, length=3)
    board.table(study, ENCODE)
    trials = study.get_trials(deepcopy=False)
    study.get_trials = lambda **_: trials[:2]
    assert board.table(study, ENCODE).points[:, 0] == pytest.approx([0.1, 0.2])
    other = copy.copy(trials[0])
    other._trial_id, other.params = 99, {"x": 0.9}
    study.get_trials = lambda **_: [trials[0], other, trials[2]]
    assert board.table(study, ENCODE).points[:, 0] == pytest.approx([0.1, 0.9, 0.3])


def test_the_place_of_a_trial_is_the_share_of_all_that_it_beats(study):
    """Of eight: three end at a third of their epochs, four go on, and one diverges."""
    for value in (1, 2, 2):
        add(study, 0.1, [value] * 3, TrialState.PRUNED, length=9, user={"reason_kind": "pruned"})
    for value in (3, 4):
        add(study, 0.1, [value] * 9, length=9)
    for value in (9, 5):
        add(study, 0.1, [value] * 4, TrialState.RUNNING, length=9)
    add(study, 0.1, [50], TrialState.PRUNED, length=9, user={"reason_kind": "diverged"})
    add(study, 0.1, [], TrialState.RUNNING, length=9)
    places = Scoreboard().table(study, ENCODE).places()
    # At the third, 1 beats the diverged one and is tied with itself; the two that ended are
    # compared at the end only, where nothing else has been.
    assert places[:8] * 8 == pytest.approx([1.5, 3, 3, 6.5, 7.5, 7.5, 6.5, 0])
    assert np.isnan(places[8])


def test_what_is_derived_is_kept_until_another_study_is_read(study):
    scoreboard, made = Scoreboard(), []

    def derived(key, name="model"):
        return scoreboard.derived(name, key, lambda: made.append(key) or len(made))

    add(study, 0.1, [1.0])
    scoreboard.table(study, ENCODE)
    assert [derived("a"), derived("a"), derived("b"), derived("a")] == [1, 1, 2, 3]
    assert [derived("a", "other"), derived("a"), derived("a", "other")] == [4, 3, 4]
    scoreboard.table(optuna.create_study(), ENCODE)
    assert derived("a") == 5


def test_the_cost_of_a_schedule_is_known_when_a_trial_has_ended(study):
    start = datetime(2026, 1, 1)

    def cost(curve, seconds, length=None, **user):
        ended = start + timedelta(seconds=seconds) if seconds is not None else None
        trial = create_trial(
            state=TrialState.PRUNED,
            intermediate_values=dict(enumerate(curve, 1)),
            user_attrs=user,
            system_attrs={LENGTH: length} if length else {},
        )
        trial.datetime_start, trial.datetime_complete = start, ended
        return fidelity.costs(trial)

    assert cost([1, 2], 10, length=9) == (9, 45)
    assert cost([1, 2, 3], 10, length=9, epochs=1) == (9, 90)  # two are of an earlier attempt
    for unknown in (
        cost([1], None, 9),
        cost([], 10, 9),
        cost([1], -5, 9),
        cost([1], 5, 9, epochs="x"),
    ):
        assert unknown == (9, pytest.approx(NAN, nan_ok=True))
    assert cost([1, 2], 10) == (pytest.approx(NAN, nan_ok=True), 5)
