"""Admission of trials under a budget, with a real study in SQLite and without workers."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tuner.config.composition import Source
from tuner.study import create, plan
from tuner.study.attempts import FIXED
from tuner.study.budget import Budget
from tuner.study.next_trial import listed
from tuner.study.queue import Item
from tuner.study.seed_noise import REPEAT
from tuner.study.study import Study
from tuner.worker.proposal import Proposer

SPACE = ["space=none", "model.width=int(interval(8,64))", "model.dropout=interval(0,0.5)"]


class Bench:
    """A study, and one worker that claims and ends its trials."""

    def __init__(self, directory: Path, budget: Budget, *overrides: str) -> None:
        url = f"storage.url='sqlite:///{directory}/s.db'"
        self.plan = plan.load(Source(), [url, *SPACE, "sampler=random", *overrides]).require()
        self.study: Study = create.open_study(self.plan)
        self.proposer = Proposer(self.plan, self.study)
        self.budget = budget
        self.study.join("w", "cpu")

    def claim(self) -> optuna.Trial | None:
        claimed = self.study.claim("w", budget=self.budget, max_retries=3)
        if claimed is None:
            return None
        trial = self.proposer.open(claimed)
        self.plan.space.suggest(trial)
        return trial

    def run(self, value: float = 0.5, epochs: int = 0, pruned: bool = False) -> optuna.Trial | None:
        """Claim a trial and end it; None if there is none to be had."""
        trial = self.claim()
        if trial is not None:
            for epoch in range(1, epochs + 1):
                trial.report(value, epoch)
            state = TrialState.PRUNED if pruned else TrialState.COMPLETE
            trial.study.tell(trial, None if pruned else value, state=state)
        return trial

    def ended(self) -> str:
        return self.study.ended(self.budget) or ""


def test_no_configuration_is_begun_that_the_epochs_would_not_let_finish(tmp_path):
    bench = Bench(tmp_path, Budget(epochs=25, length=10))
    first, second = bench.claim(), bench.claim()
    assert first is not None
    assert second is not None
    assert bench.claim() is None, "5 epochs are left beside the 20 promised"
    assert bench.ended() == "", "but a prune may free some"
    first.report(0.1, 1)
    first.study.tell(first, state=TrialState.PRUNED)
    third = bench.claim()
    assert third is not None, "1 + 10 + 10 fit into 25"
    for trial in (second, third):
        for epoch in range(1, 11):
            trial.report(0.5, epoch)
        trial.study.tell(trial, 0.5)
    assert bench.claim() is None
    assert bench.ended() == (
        "budget.epochs: 21 of 25; the remaining 4 are too few for another configuration of 10"
    )
    bench.budget = Budget(epochs=31, length=10)
    assert bench.claim() is not None, "a larger budget goes on"


def test_an_interrupted_trial_needs_only_the_epochs_that_are_left(tmp_path):
    bench = Bench(tmp_path, Budget(epochs=10, length=10))
    trial = bench.claim()
    assert trial is not None
    for epoch in range(1, 8):
        trial.report(0.5, epoch)
    bench.study.requeue(trial._trial_id, "SIGTERM")
    assert bench.study.spent().epochs == 7, "its curve is counted once"
    assert bench.ended() == ""
    bench.budget = Budget(epochs=9, length=10)
    assert bench.claim() is None, "3 more are needed"
    assert "7 of 9; the remaining 2 are too few for another configuration of 3" in bench.ended()
    bench.budget = Budget(epochs=10, length=10)
    assert bench.claim() is not None


def test_of_unknown_length_each_epoch_is_asked_for(tmp_path):
    bench = Bench(tmp_path, Budget(epochs=4))
    one, two = bench.claim(), bench.claim()
    assert one is not None
    assert two is not None
    one.report(0.5, 1)
    two.report(0.5, 1)
    assert bench.study.may_go_on(bench.budget), "2 reported, 2 begun"
    one.report(0.5, 2)
    assert not bench.study.may_go_on(bench.budget), "3 reported: the fourth is the other's"
    assert bench.claim() is None
    one.study.tell(one, 0.5)
    assert bench.study.may_go_on(bench.budget)


def test_who_asks_for_an_epoch_waits_for_a_claim_that_counted_before_its_report(
    tmp_path, monkeypatch
):
    bench = Bench(tmp_path, Budget(epochs=2))
    one = bench.claim()
    assert one is not None
    one.report(0.5, 1)
    bench.study.join("v", "cpu")
    locked = bench.study.storage.locked

    def after_the_other(study_id: int):
        monkeypatch.undo()
        counted_before = Budget(epochs=3)  # as if the first epoch had not been reported
        assert bench.study.claim("v", budget=counted_before, max_retries=3) is not None
        return locked(study_id)

    monkeypatch.setattr(bench.study.storage, "locked", after_the_other)
    assert not bench.study.may_go_on(bench.budget), "the second epoch is the other's"


def test_when_time_is_over_what_waits_stays_paused(tmp_path):
    bench = Bench(tmp_path, Budget(hours=1.0))
    trial = bench.claim()
    assert trial is not None
    bench.study.requeue(trial._trial_id, "budget")
    clock = bench.study.clock
    now = clock.start("gpu").since
    assert now is not None
    clock.book({"": 1}, now - 3601, at_most=10**6)
    assert bench.claim() is None
    assert bench.ended() == "budget.hours: 1 of 1"
    assert bench.study.unfinished() == 1
    bench.budget = Budget(hours=2.0)
    assert bench.claim() is not None


def flat(k: int) -> float:
    """Scores that differ a little, as seeds do."""
    return 0.9 + 0.001 * (k * 7 % 11)


def test_a_search_that_gains_less_than_the_noise_measures_it_and_stops(tmp_path):
    bench = Bench(tmp_path, Budget(stop_when="gain_below_noise", repeats=3))
    for k in range(20):
        bench.run(flat(k), epochs=1, pruned=k % 4 == 3)
    attempts = bench.study.attempts()
    best = max((t for t in attempts if t.values and t.state.name == "COMPLETE"),
               key=lambda t: (t.values[0], -t.number))  # fmt: skip
    for value in (0.89, 0.90, 0.91):
        trial = bench.run(value)
        assert trial is not None
        assert trial.params == best.params
        frozen = bench.study.storage.get_trial(trial._trial_id)
        assert (frozen.system_attrs[REPEAT], frozen.system_attrs[FIXED]) == (
            best.number, best.params,
        )  # fmt: skip
    assert bench.claim() is None
    assert "less than the seed-to-seed noise, 0.01" in bench.ended()
    bench.budget = Budget(n_trials=24)
    assert bench.claim() is not None


def test_a_search_that_still_gains_goes_on(tmp_path):
    bench = Bench(tmp_path, Budget(stop_when="gain_below_noise", noise=0.001))
    for k in range(24):
        bench.run(k / 24)
    assert bench.claim() is not None
    quiet = Bench(tmp_path, Budget(stop_when="gain_below_noise", noise=0.5), "study.name=quiet")
    for k in range(20):
        assert quiet.run(k / 24) is not None
    assert quiet.run() is None


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_is_repeated_in_either_direction(tmp_path, direction):
    asked = [f"study.direction={direction}", "study.metric=auroc"]
    bench = Bench(tmp_path, Budget(stop_when="gain_below_noise"), *asked)
    for k in range(20):
        bench.run(k / 20)
    trial = bench.run()
    assert trial is not None
    repeated = bench.study.storage.get_trial(trial._trial_id).system_attrs[REPEAT]
    assert repeated == (19 if direction == "maximize" else 0)


def test_the_queue_comes_first_within_the_budget_and_each_item_once(tmp_path):
    bench = Bench(tmp_path, Budget(n_trials=3))
    items = [Item({"model.width": 9}, "a"), Item({"model.width": 10, "model.dropout": 0.25}, "b")]

    def claim() -> optuna.Trial | None:
        found = bench.study.claim("w", budget=bench.budget, max_retries=3, queue=listed(items))
        if found is None:
            return None
        trial = bench.proposer.open(found)
        bench.plan.space.suggest(trial)
        return trial

    first = claim()
    assert first is not None
    bench.study.requeue(first._trial_id, "SIGTERM")
    drawn = [trial for _ in range(4) if (trial := claim()) is not None]
    assert [t.params["model.width"] for t in drawn[:2]] == [9, 10]
    assert drawn[1].params["model.dropout"] == 0.25
    assert len(drawn) == 3, "the queue is part of the budget, and a retry is not"
    assert drawn[1].user_attrs["origin"] == "b"
    items.append(Item({"model.width": 11}, "c"))
    bench.budget = Budget(n_trials=5)
    added = claim()
    assert added is not None
    assert added.params["model.width"] == 11, "one added on resuming comes next"
