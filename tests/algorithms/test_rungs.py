"""Successive halving on fractions of the schedule, in memory and with real workers."""

import json
import math

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tests.conftest import Project
from tuner.algorithms.pruners import score_error
from tuner.algorithms.pruners.audit import AUDIT
from tuner.algorithms.pruners.rungs import Rungs
from tuner.errors import ConfigError
from tuner.launch import restarts
from tuner.study.attempts import FIRST, following
from tuner.study.fidelity import LENGTH
from tuner.study.seed_noise import REPEAT


def rungs(**changes: object) -> Rungs:
    return Rungs(**{"rungs": [1 / 9, 1 / 3], "keep": 1 / 3, "audited": 0.0, **changes})  # type: ignore[arg-type]


class Bench:
    """A study in memory whose trials are run an epoch at a time."""

    def __init__(self, direction: str = "maximize", **changes: object) -> None:
        self.study = optuna.create_study(direction=direction, pruner=rungs(**changes))

    def run(
        self,
        curve: list[float],
        length: int | None = 9,
        state: TrialState | None = None,
        examples: int | None = None,
        repeats: int | None = None,
    ):
        """Report until the pruner stops it; the number of epochs that it got."""
        known = {LENGTH: length, score_error.EXAMPLES: examples, REPEAT: repeats}
        attrs = {key: value for key, value in known.items() if value is not None}
        self.study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=attrs))
        trial = self.study.ask()
        for epoch, value in enumerate(curve, start=1):
            trial.report(value, epoch)
            if repeats is None and trial.should_prune():
                self.study.tell(trial, state=TrialState.PRUNED)
                return epoch
        if state != TrialState.RUNNING:
            self.study.tell(trial, curve[-1])
        return len(curve)


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_the_best_third_rounded_up_goes_on(direction, sign):
    bench = Bench(direction)
    runs = [bench.run([sign * level] * 9) for level in (0.5, 0.4, 0.6, 0.55, 0.56, 0.1)]
    # alone; 2nd of 2; best of 3; 2nd of 4, then 2nd of 3; 2nd of 5, then 2nd of 4; last of 6
    assert runs == [9, 1, 9, 3, 9, 1]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_tie_is_not_behind(direction):
    bench = Bench(direction)
    assert [bench.run([0.5] * 9) for _ in range(4)] == [9] * 4


def test_between_the_rungs_and_at_the_end_nobody_is_judged():
    bench = Bench()
    bench.run([0.5] * 9)
    assert bench.run([0.6, 0.1, 0.6, *[0.0] * 6]) == 9


def test_trials_of_other_lengths_meet_at_the_same_fraction():
    bench = Bench()
    bench.run([0.1 * epoch for epoch in range(1, 10)])
    slow = [0.1 * (epoch // 10) for epoch in range(1, 91)]
    assert bench.run([value + 0.001 for value in slow], 90) == 90, "ahead at its own tenth epoch"
    assert bench.run([value - 0.001 for value in slow], 90) == 10


def test_reports_that_skip_a_rung_are_judged_at_the_next():
    bench = Bench()
    bench.run([0.5] * 9)
    bench.study.add_trial(create_trial(state=TrialState.WAITING, system_attrs={LENGTH: 9}))
    trial = bench.study.ask()
    trial.report(0.1, 2)
    assert trial.should_prune()


def test_who_came_first_is_judged_again_until_it_has_come_twice_as_far():
    """By its value at the rung, whatever it has reached since."""
    bench = Bench(rungs=[1 / 3])

    def begin() -> optuna.Trial:
        bench.study.add_trial(create_trial(state=TrialState.WAITING, system_attrs={LENGTH: 9}))
        return bench.study.ask()

    first, settled = begin(), begin()
    for epoch in range(1, 7):
        settled.report(0.5, epoch)
        assert not settled.should_prune(), "alone"
    for epoch in range(1, 5):
        first.report(0.5, epoch)
        assert not first.should_prune(), "a tie"
    assert bench.run([0.6] * 9) == 9
    for epoch in (5, 6):
        first.report(0.9, epoch)
        assert first.should_prune(), "one of two was better at the third epoch"
    settled.report(0.1, 7)
    assert not settled.should_prune(), "it had come twice as far before anybody was"


def test_of_sparse_reports_the_first_after_a_rung_is_judged():
    bench = Bench(rungs=[1 / 9])
    bench.run([0.5] * 9)
    bench.study.add_trial(create_trial(state=TrialState.WAITING, system_attrs={LENGTH: 9}))
    trial = bench.study.ask()
    trial.report(0.1, 5)
    assert trial.should_prune()


def test_running_trials_are_competitors_and_failed_values_are_none():
    bench = Bench()
    bench.run([0.9] * 2, state=TrialState.RUNNING)
    assert bench.run([0.5] * 9) == 1
    other = Bench()
    assert other.run([math.nan] * 9) == 1
    assert other.run([0.5] * 9) == 9, "what diverged is no measure"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_divergence_ends_a_trial_at_once(value):
    assert Bench().run([0.5, value, 0.5]) == 2


def test_an_unknown_length_is_that_of_the_longest_complete():
    bench = Bench()
    assert bench.run([0.1] * 5, None, TrialState.RUNNING) == 5, "nothing is known yet"
    bench.run([0.5] * 9, None)
    assert bench.run([0.1] * 9, None) == 1
    bench.run([0.7] * 18, None)
    assert bench.run([0.1] * 18, None) == 2


def test_an_audited_trial_lives_and_is_no_measure_beyond_where_it_was_rejected():
    bench = Bench(audited=1.0)
    for level in (0.5, 0.1, 0.1, 0.1):
        assert bench.run([level] * 9) == 9
    marks = [trial.system_attrs.get(AUDIT) for trial in bench.study.trials]
    assert marks == [None, 1, 1, 3], "marked at the rung that rejected it, once"
    best = bench.study.trials[0]
    standings = bench.study.pruner.standings.updated(bench.study)
    assert standings.others(0, best) == ([0.1, 0.1, 0.1, 0.5], [])
    assert standings.others(1, best) == ([0.1, 0.5], []), "the last had come there by itself"


def test_attempts_at_a_configuration_count_once_and_repeats_of_the_best_not_at_all():
    bench = Bench()
    for attrs in ({}, {FIRST: 0}, {REPEAT: 0}):
        waiting = {"state": TrialState.WAITING, "system_attrs": {LENGTH: 9, **attrs}}
        bench.study.add_trial(create_trial(**waiting, intermediate_values={1: 0.8}))
    standings = bench.study.pruner.standings
    asking = create_trial(state=TrialState.WAITING)
    asking.number = 7
    lost, again, repeat = (bench.study.ask() for _ in range(3))
    again.report(0.7, 3)
    assert standings.updated(bench.study).others(0, asking) == ([], [0.8])
    bench.study.tell(lost, state=TrialState.FAIL)
    assert standings.updated(bench.study).others(1, asking) == ([], [0.7]), "the attempt that runs"
    bench.study.tell(again, 0.5)
    bench.study.tell(repeat, 0.5)
    assert standings.updated(bench.study).others(0, asking) == ([0.8], [])


def test_a_study_is_read_once_and_then_what_is_new(monkeypatch):
    bench = Bench()
    for level in range(6):
        bench.run([float(level)] * 9)
    read = []
    values = bench.study.pruner.standings._values
    monkeypatch.setattr(bench.study.pruner.standings, "_values",
                        lambda trial: read.append(trial.number) or values(trial))  # fmt: skip
    bench.run([9.0] * 9)
    assert set(read) == {5, 6}, "the one that had not been seen to end, and the new one"


@pytest.mark.parametrize("bad", [[], [0.3, 0.1], [0.1, 0.1]])
def test_rungs_must_ascend(bad):
    with pytest.raises(ConfigError, match=r"expected ascending fractions.*hint: \[0.1, 0.3\]"):
        rungs(rungs=bad)


@pytest.fixture
def replaced(monkeypatch):
    """Workers that die are replaced at once."""
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.0)


def test_real_workers_prune_by_the_default_and_a_killed_trial_is_judged_as_if_it_had_lived(
    project: Project, replaced
):
    args = ["pruner=rungs", "objective.epochs=8", "study.n_trials=8", "launch.workers=2"]
    project.call("tune", *args, "objective.fate=choice(none,die)")
    ended = project.study().attempts()
    assert {trial.system_attrs[LENGTH] for trial in ended} == {8}
    assert any(len(trial.system_attrs.get("retry_history", [])) for trial in ended)
    lengths = {trial.state: set() for trial in ended}
    for trial in ended:
        lengths[trial.state].add(trial.last_step)
    assert lengths[TrialState.COMPLETE] == {8}
    assert lengths[TrialState.PRUNED] <= {1, 2, 3, 4}, "from a ninth to twice a quarter of 8 epochs"
    best = max(t.values[0] for t in ended if t.state == TrialState.COMPLETE)
    floor = max((t.intermediate_values[t.last_step] * 8 / t.last_step
                 for t in ended if t.state == TrialState.PRUNED), default=0.0)  # fmt: skip
    assert floor < best
    assert json.loads(project.call("status", "--json"))["epochs_saved_fraction"] > 0


def test_an_audited_trial_outlives_its_worker_and_the_audit_is_told(project: Project, replaced):
    """All that are rejected are audited, killed after it, and go on to their end."""
    args = ["pruner=rungs", "pruner.audited=1", "objective.epochs=8", "study.n_trials=4"]
    project.call("tune", *args, "launch.workers=1", "objective.fate=die")
    ended = project.study().attempts()
    assert {(trial.state, trial.last_step) for trial in ended} == {(TrialState.COMPLETE, 8)}
    marked = [trial for trial in ended if AUDIT in trial.system_attrs]
    assert any(trial.system_attrs.get("retry_history") for trial in marked)
    told = json.loads(project.call("status", "--json"))["pruning"]
    assert (told["pruned_or_audited"], told["audited"], told["false_prunings"]) == (
        len(marked),
        len(marked),
        0,
    )


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_nothing_is_pruned_for_a_difference_within_the_standard_error(direction, sign):
    """Near a score of 0.8, the difference of two on 30 images has a standard error of 0.10."""
    bench = Bench(direction)
    level = 0.5 + sign * 0.3
    for _ in range(4):
        bench.run([level + sign * 0.09] * 9)
    assert bench.run([level] * 9) == 1, "the precision is unknown"
    assert bench.run([level] * 9, examples=30) == 9
    assert bench.run([level - sign * 0.05] * 9, examples=30) == 1
    assert bench.run([level] * 9, examples=300) == 1


def test_a_metric_that_is_no_fraction_has_no_known_error():
    bench = Bench()
    bench.run([80.0] * 9)
    assert bench.run([79.9] * 9, examples=30) == 1


def test_nobody_is_judged_before_enough_have_reached_the_rung():
    bench = Bench(n_min_trials=4)
    assert [bench.run([level] * 9) for level in (0.9, 0.3, 0.2, 0.1)] == [9, 9, 9, 1]


def test_the_spread_over_seeds_is_given_or_that_of_the_repeats():
    told = Bench(noise=0.1)
    assert [told.run([level] * 9) for level in (0.8, 0.7, 0.6)] == [9, 9, 1]
    measured = Bench()
    for value in (0.85, 0.95):  # 0.07, and 0.1 of a difference
        measured.run([value] * 9, repeats=0)
    assert [measured.run([level] * 9) for level in (0.8, 0.71, 0.6)] == [9, 9, 1]


def test_a_retry_knows_how_precise_its_scores_are():
    again = following(create_trial(value=0.8, system_attrs={score_error.EXAMPLES: 30}), 0)
    assert score_error.examples(again) == 30


def test_the_first_judgement_is_described():
    pruner = rungs(n_min_trials=4)
    told = "at epoch 2 of 15, against at least 3 others; "
    assert (
        pruner.describe_first_decision(15, None) == told + "the precision of the scores is unknown"
    )
    assert pruner.describe_first_decision(15, 1000) == (
        told + "scores rest on 1,000 examples, so differences below 0.013 do not count "
        "(near a score of 0.9)"
    )
    assert rungs(noise=0.01).describe_first_decision(None, 1000) == (
        "after 11% of a trial, against at least 1 other; differences below 0.014 do not count"
    )
