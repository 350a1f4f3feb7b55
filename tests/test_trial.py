"""What an objective may return."""

import pytest
import torch
from omegaconf import OmegaConf

from tuner import trial
from tuner.errors import TunerError

RETURNED = {
    "text": "good",
    "several": torch.zeros(3),
    "whole": torch.tensor(2),
    "nothing": None,
    "both": (1, torch.tensor(2)),
    "list": [0.5, 3],
    "mixed": (1, "good"),
    "none": (),
}


def objective(what: str) -> object:
    return RETURNED[what]


@pytest.mark.parametrize(
    ("what", "value"),
    [("whole", 2.0), ("nothing", None), ("both", (1.0, 2.0)), ("list", (0.5, 3.0))],
)
def test_a_value_is_a_number_or_several_or_nothing(tmp_path, what, value):
    assert _run(tmp_path, what) == value


@pytest.mark.parametrize(("what", "told"), [
    ("text", "'good' (str)"), ("several", "(Tensor)"), ("mixed", "(1, 'good')"), ("none", "(tuple)")
])  # fmt: skip
def test_what_is_no_number_is_named(tmp_path, what, told):
    with pytest.raises(TunerError, match=r"the objective returned .*; hint: return the final") as e:
        _run(tmp_path, what)
    assert told in str(e.value)


def _run(directory, what):
    asked = {"_target_": "tests.test_trial.objective", "what": what}
    cfg = OmegaConf.create({"objective": asked, "seed": 0})
    return trial.run(cfg, run_dir=directory / "run", report=print)
