"""An objective reports in the same way in a search, ``tuner train`` and ``tuner final``."""

import numpy as np
import pytest
import torch

from tests.study.test_next_trial import Bench
from tests.worker.test_outcome import Attempt
from tuner import objective
from tuner.algorithms.pruners import score_error
from tuner.errors import Fenced, TunerError
from tuner.study.budget import Budget
from tuner.worker import metrics_log


def test_scalars_of_numpy_and_torch_are_stored_as_pythons(tmp_path):
    attempt = Attempt(Bench(tmp_path, Budget(n_trials=1)))
    attempt.report.run_dir = tmp_path
    attempt.report(np.int64(1), accuracy=np.float32(0.5), loss=torch.tensor(2))
    attempt.report(torch.tensor(2), accuracy=torch.tensor([0.75]), loss=np.bool_(True))
    attempt.report.note(size=np.int64(3), name=np.str_("x"), flag=torch.tensor(True), share=0.5)
    attempt.finish()
    stored = attempt.study.storage.get_trial(attempt.trial._trial_id)
    assert stored.intermediate_values == {1: 0.5, 2: 0.75}
    assert stored.user_attrs["metrics"] == {"accuracy": 0.75, "loss": 1.0}
    facts = {"size": 3, "name": "x", "flag": True, "share": 0.5}
    assert stored.user_attrs["facts"] == facts
    assert list(metrics_log.read(tmp_path)) == [1, 2]


@pytest.mark.parametrize("step", [-1, 1.5, float("nan"), float("inf"), "1", None, np.float64(0.5)])
def test_a_step_that_is_no_whole_number_is_refused(step):
    with pytest.raises(TunerError, match="a step is a whole number; hint: the epoch, from 1"):
        objective.measured(step, {})


@pytest.mark.parametrize("count", [360, np.int64(360), torch.tensor(360)])
def test_the_number_of_validation_examples_is_stored_for_the_pruner_at_once(tmp_path, count):
    attempt = Attempt(Bench(tmp_path, Budget(n_trials=1)))
    attempt.report.note(validation_examples=count)
    stored = attempt.study.storage.get_trial(attempt.trial._trial_id)
    assert score_error.examples(stored) == 360
    again = attempt.again()
    again.report.note(validation_examples=count)
    again.finish()
    stored = attempt.study.storage.get_trial(again.trial._trial_id)
    assert score_error.examples(stored) == stored.user_attrs["facts"]["validation_examples"] == 360


@pytest.mark.parametrize("count", [0, -1, 0.5, True, "many", 2**31])
def test_what_is_no_number_of_examples_is_only_a_fact(tmp_path, count):
    attempt = Attempt(Bench(tmp_path, Budget(n_trials=1)))
    attempt.report.note(validation_examples=count)
    stored = attempt.study.storage.get_trial(attempt.trial._trial_id)
    assert score_error.examples(stored) is None
    assert attempt.report.facts == {"validation_examples": count}


def test_who_has_lost_the_trial_notes_nothing(tmp_path):
    attempt = Attempt(Bench(tmp_path, Budget(n_trials=1)))
    attempt.study.requeue(attempt.trial._trial_id, "worker w was lost")
    with pytest.raises(Fenced):
        attempt.report.note(validation_examples=360)
