"""The end of an attempt is stored once, by the worker that still holds the trial."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
import torch
from optuna.trial import TrialState

from tests.study.test_next_trial import Bench
from tests.worker.test_failures import Gpu
from tuner.errors import Diverged, Fenced, Infeasible, Pruned
from tuner.storage.reason_kind import Kind
from tuner.study.attempts import CRASHES, HISTORY, REQUEUE, Reason
from tuner.study.budget import Budget
from tuner.worker import outcome as fate
from tuner.worker.outcome import AttemptEnd, Outcome
from tuner.worker.reporter import Context, Report

HALVING = (
    "pruner=successive_halving", "pruner.min_resource=2", "pruner.reduction_factor=2",
)  # fmt: skip


class Attempt:
    """A worker in the middle of a trial."""

    def __init__(self, bench: Bench, trial: optuna.Trial | None = None) -> None:
        self.bench, self.study = bench, bench.study
        claimed = trial or bench.claim()
        assert claimed is not None
        self.trial = claimed
        self.context = Context(
            plan=bench.plan, study=bench.study, proposer=bench.proposer, worker="w", host="h",
            device=None, budget=bench.budget, preempted=lambda: None, lost=lambda: False,
        )  # fmt: skip
        self.report = Report(self.context, self.trial)

    def finish(self, value: float = 0.5) -> AttemptEnd:
        return self._end(Outcome([value]))

    def prune(self) -> AttemptEnd:
        return self._end(Outcome(reason=Reason(Kind.PRUNED)))

    def _end(self, outcome: Outcome) -> AttemptEnd:
        return fate.finish(self.report, outcome)

    def again(self) -> "Attempt":
        """The next attempt, after this one was given up."""
        self.study.requeue(self.trial._trial_id, "SIGTERM")
        return Attempt(self.bench)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, Budget(n_trials=20), *HALVING)


def meanwhile(monkeypatch, storage: object, name: str, act: Callable[[], object], turn: int = 1):
    """Do something just after the storage's method has been called for the nth time."""
    method, calls = getattr(storage, name), []

    def wrapped(*args, **kwargs):
        found = method(*args, **kwargs)
        calls.append(name)
        if len(calls) == turn:
            act()
        return found

    monkeypatch.setattr(storage, name, wrapped)


def cut_off() -> None:
    raise sa.exc.OperationalError("commit", {}, Exception("the connection was lost"))


def test_an_end_whose_answer_was_lost_is_stored_once(bench, monkeypatch):
    attempt = Attempt(bench)
    attempt.report(1, accuracy=0.25, loss=1.0)
    storage = bench.study.storage
    meanwhile(monkeypatch, storage, "set_trial_state_values", cut_off)
    assert attempt.finish() is AttemptEnd.FINISHED
    (only,) = bench.study.optuna.get_trials()
    assert (only.state, only.value) == (TrialState.COMPLETE, 0.5)
    assert "reason_kind" not in only.user_attrs
    assert only.user_attrs["metrics"] == {"accuracy": 0.25, "loss": 1.0}
    assert only.user_attrs["epochs"] == 1


def test_attributes_whose_answer_was_lost_are_stored_again_with_the_end(bench, monkeypatch):
    attempt = Attempt(bench)
    commits = bench.study.storage.commits
    meanwhile(monkeypatch, commits, "_store", cut_off)
    assert attempt.finish() is AttemptEnd.FINISHED
    (only,) = bench.study.optuna.get_trials()
    assert (only.state, only.user_attrs["epochs"]) == (TrialState.COMPLETE, 0)


@pytest.mark.parametrize("turn", [1, 2], ids=["before the look", "between the look and the end"])
def test_who_lost_the_trial_ends_nothing(bench, monkeypatch, turn):
    attempt = Attempt(bench)
    attempt.report(1, accuracy=0.25, loss=1.0)

    def take_away() -> None:
        bench.study.requeue(attempt.trial._trial_id, "worker w was lost")

    meanwhile(monkeypatch, bench.study.storage, "get_trial", take_away, turn)
    with pytest.raises((Fenced, optuna.exceptions.UpdateFinishedTrialError)):
        attempt.finish()
    first, second = bench.study.optuna.get_trials()
    assert (first.state, first.value, REQUEUE in first.system_attrs) == (
        TrialState.FAIL, None, True,
    )  # fmt: skip
    assert (second.state, second.intermediate_values) == (TrialState.WAITING, {1: 0.25})
    assert "reason" not in second.user_attrs


def test_two_who_end_one_trial_leave_one_fate(bench):
    attempt = Attempt(bench)
    other = Attempt(bench, attempt.trial)
    assert attempt.prune() is AttemptEnd.FINISHED
    with pytest.raises(Fenced, match="it is PRUNED"):
        other.finish(0.75)
    (only,) = bench.study.optuna.get_trials()
    assert (only.state, only.user_attrs["reason_kind"]) == (TrialState.PRUNED, "pruned")


def test_without_a_return_value_the_last_report_counts_not_the_best(bench):
    attempt = Attempt(bench)
    for step, accuracy in ((1, 0.9), (2, 0.25)):
        attempt.report(step, accuracy=accuracy)
    assert fate.outcome_of(attempt.report, None) == Outcome([0.25])


def run_others(bench: Bench, value: float, epochs: int) -> None:
    for _ in range(3):
        attempt = Attempt(bench)
        for step in range(1, epochs + 1):
            attempt.report(step, accuracy=value)
        attempt.finish(value)


@pytest.mark.parametrize("noted", [True, False], ids=["after the note", "before it"])
def test_a_worker_that_died_before_the_verdict_leaves_it_to_the_next(bench, noted, monkeypatch):
    """It had reported the epoch of a rung, and perhaps noted its value there, but not ended it."""
    run_others(bench, 0.9, epochs=3)
    attempt = Attempt(bench)
    attempt.report(1, accuracy=0.1)
    if noted:
        with pytest.raises(Pruned):
            attempt.report(2, accuracy=0.2)
        note = bench.study.storage.get_trial_system_attrs(attempt.trial._trial_id)
        assert note["completed_rung_0"] == 0.2
    else:
        attempt.trial.report(0.2, 2)
    again = attempt.again()
    assert again.report.values == {1: 0.1, 2: 0.2}
    with pytest.raises(Pruned):
        again.report(2, accuracy=0.3)  # from the checkpoint; what is stored stays
    again.prune()
    last = bench.study.optuna.get_trials()[-1]
    assert last.intermediate_values == {1: 0.1, 2: 0.2}
    assert last.system_attrs[HISTORY] == [3]


def test_an_epoch_that_was_judged_is_not_judged_twice(bench, monkeypatch):
    run_others(bench, 0.5, epochs=3)
    attempt = Attempt(bench)
    for step in (1, 2, 3):
        attempt.report(step, accuracy=0.9)
    again = attempt.again()
    asked: list[int] = []
    judge = again.report.pruner
    monkeypatch.setattr(judge, "should_prune", lambda: asked.append(1))
    for step in (1, 2, 3, 3, 4):
        again.report(step, accuracy=0.9)
    assert len(asked) == 2, "the third, at which it may have died, and the fourth"


def test_a_failure_behind_which_the_device_is_lost_is_tried_again_elsewhere(bench, monkeypatch):
    attempt = Attempt(bench)
    plain = RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED")
    gpu = Gpu(monkeypatch)
    gpu.error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    found = fate.classify(attempt.report, plain)
    assert found is AttemptEnd.BROKEN_DEVICE
    (only,) = bench.study.optuna.get_trials()
    assert only.state == TrialState.RUNNING, "until the next claim takes it from its worker"
    bench.study.join("v", "cpu")
    taken = bench.study.claim("v", budget=bench.budget, max_retries=3)
    assert bench.study.storage.get_trial(taken).system_attrs[CRASHES] == 1


def test_a_lack_of_memory_beside_the_allocator_is_no_failure(bench):
    attempt = Attempt(bench)
    error = torch.AcceleratorError("CUDA error: out of memory")
    found = fate.classify(attempt.report, error)
    assert found is AttemptEnd.FINISHED
    (only,) = bench.study.optuna.get_trials()
    assert only.state == TrialState.PRUNED
    assert only.user_attrs["reason_kind"] == "out_of_memory"
    assert only.user_attrs["reason"] == "out of memory: CUDA error: out of memory"


def test_a_hint_of_the_objectives_own_is_kept_beside_the_reason(bench):
    attempt = Attempt(bench)
    error = Infeasible("block 3 leaves nothing", hint="model.padding=same")
    fate.classify(attempt.report, error)
    (only,) = bench.study.optuna.get_trials()
    told = {k: text for k, text in only.user_attrs.items() if k.startswith("reason")}
    assert told == {
        "reason_kind": "infeasible",
        "reason": "block 3 leaves nothing",
        "reason_hint": "model.padding=same",
    }


class Bare(Infeasible):
    """Somebody's own, which does not call ours."""

    def __init__(self, size: int) -> None:
        self.size = size


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Infeasible("no room"), Reason(Kind.INFEASIBLE, "no room")),
        (Infeasible(), Reason(Kind.INFEASIBLE, "Infeasible")),
        (Bare(3), Reason(Kind.INFEASIBLE, "3")),
        (Diverged("loss is nan"), Reason(Kind.DIVERGED, "loss is nan")),
    ],
)
def test_what_an_objective_says_is_classified_by_its_type(error, reason):
    assert fate.infeasible(error) == reason


def test_what_an_objective_says_is_stored_without_colours_and_secrets(bench, caplog):
    coloured, link = "\x1b[1;31mno\x1b[0m answer of", "\x1b]8;;http://a\x07"
    said = f"{coloured} {link}db://me:it's se\x9b1mcret@host\x1b]8;;\x07"
    attempt = Attempt(bench)
    fate.classify(attempt.report, ValueError(said))
    (only,) = bench.study.optuna.get_trials()
    assert only.user_attrs["reason"] == "ValueError: no answer of db://me:***@host"
    assert "no answer of db://me:***@host" in only.user_attrs["traceback"]
    assert "[1;31m" not in str(only.user_attrs)
    assert "cret" not in str(only.user_attrs)
