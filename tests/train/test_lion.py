import functools

import pytest
import torch
from torch import nn

from tests.recipes import Curve, train
from tuner.errors import ConfigError
from tuner.train.optim.lion import Lion

SETTINGS = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}


def descend(steps: int, lr=0.01) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights after ``steps`` on fixed gradients, by the optimiser and by the paper's listing."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
    plain, momentum = weight.detach().clone(), torch.zeros(4, 3, dtype=torch.float64)
    optimizer = Lion([weight], **SETTINGS)
    optimizer.param_groups[0]["lr"] = lr
    for _ in range(steps):
        weight.grad = torch.randn(4, 3, generator=generator, dtype=torch.float64)
        update = torch.sign(0.9 * momentum + 0.1 * weight.grad)
        plain = plain - 0.01 * (update + 0.1 * plain)
        momentum = 0.99 * momentum + 0.01 * weight.grad
        optimizer.step()
    return weight.detach(), plain


@pytest.mark.parametrize("lr", [0.01, torch.tensor(0.01, dtype=torch.float64)])
def test_lion_is_its_formula_with_the_rate_as_number_or_tensor(lr):
    ours, plain = descend(7, lr)
    torch.testing.assert_close(ours, plain)


def test_a_weight_without_a_gradient_stays():
    weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    weights[0].grad = torch.ones(2)
    optimizer = Lion(weights, **SETTINGS)
    optimizer.step()
    assert weights[0].tolist() != [1, 1]
    assert weights[1].tolist() == [1, 1]


def test_a_run_with_lion_learns_and_resumes_to_the_same_bits(tmp_path):
    change = {"optimizer": functools.partial(Lion, **SETTINGS)}
    whole, before, after = Curve(), Curve(leave_in=2), Curve()
    train(tmp_path / "whole", whole, **change)
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", before, **change)
    train(tmp_path / "killed", after, **change)
    assert before.points | after.points == whole.points
    assert whole.points[3]["train_loss"] < whole.points[1]["train_loss"]


@pytest.mark.parametrize("change", [{"lr": 0.0}, {"betas": (0.9, 1.0)}, {"weight_decay": -1.0}])
def test_impossible_settings_are_named(change):
    with pytest.raises(ConfigError, match=rf"optimizer\.{next(iter(change))}: expected"):
        Lion([nn.Parameter(torch.ones(1))], **SETTINGS | change)
