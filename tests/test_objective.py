"""An objective reports in the same way in a search, ``tuner train`` and ``tuner final``."""

import numpy as np
import pytest
import torch

from tests.study.test_next_trial import Bench
from tests.worker.test_outcome import Attempt
from tuner import objective
from tuner.errors import TunerError
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
