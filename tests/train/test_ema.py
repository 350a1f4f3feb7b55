import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests import recipes
from tests.recipes import Curve, settings, train
from tuner.train.checkpoint import checkpoint
from tuner.train.optim.ema import Average


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def test_the_average_is_its_formula_with_a_short_memory_at_first():
    model = network()
    average = Average(model, decay=0.5)
    expected = model[0].weight.detach().clone()
    for update in range(12):
        nn.init.normal_(model[0].weight)
        average.update(update)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(average.network[0].weight, expected)


def test_statistics_of_norms_are_averaged_and_counters_copied():
    model = network()
    average = Average(model, decay=0.9)
    for _ in range(3):
        model(torch.randn(4, 1, 5, 5) + 5)
        average.update(1000)
    mine, theirs = average.network[1], model[1]
    assert mine.num_batches_tracked == theirs.num_batches_tracked == 3
    assert (mine.running_mean.abs() < theirs.running_mean.abs()).all()
    assert (mine.running_mean != 0).all()


def test_the_network_itself_is_left_alone():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    average = Average(model, decay=0.9)
    average.network[0].weight.add_(1)
    average.update(0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model[0].weight.requires_grad
    assert not average.network[0].weight.requires_grad


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_with_an_average_resumes_to_the_same_bits(tmp_path, epoch):
    change = {"trainer": settings(ema=0.9)}
    whole, before, after = Curve(), Curve(leave_in=epoch), Curve()
    value = train(tmp_path / "whole", whole, **change)
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", before, **change)
    assert train(tmp_path / "killed", after, **change) == value
    assert before.points | after.points == whole.points
    states = [
        checkpoint.read(tmp_path / name / "checkpoint.pt")["learner"]["average"]
        for name in ("whole", "killed")
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_average_is_what_is_scored_and_exported(tmp_path):
    change = {"trainer": settings(ema=0.9, protocol="final")}
    value = train(tmp_path, Curve(), **change)
    state = checkpoint.read(tmp_path / "checkpoint.pt")["learner"]
    exported = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(exported[name], state["average"][name]) for name in exported)
    assert not torch.equal(exported["block1.0.weight"], state["network"]["block1.0.weight"])

    digits = recipes.digits()
    model = recipes.network()(digits.in_shape, 10)
    model.load_state_dict(exported)
    guesses = model.eval()(digits.normalise(digits.test.images)).argmax(1)
    assert (guesses == digits.test.labels).float().mean().item() == pytest.approx(value)
