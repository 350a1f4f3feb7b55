import functools

import pytest
import torch
from torch import nn

from tests import recipes
from tests.recipes import Curve, network, settings, train
from tuner.errors import ConfigError
from tuner.train.data import dataset
from tuner.train.data.augment import Augment
from tuner.train.model import blocks
from tuner.train.model.cnn import feature_sizes

PLAIN = {
    "convs": 2, "kernel": 3, "stride": 1, "padding": "same", "norm": True, "activation": "relu",
    "squeeze": 0, "drop": 0.0,
}  # fmt: skip


def block(kind: str, channels: int = 4, out: int = 8, **changes) -> nn.Sequential:
    torch.manual_seed(0)
    return blocks.block(kind, channels, out, **PLAIN | changes)


@pytest.mark.parametrize("kind", ["plain", "residual", "depthwise"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("squeeze", [0, 4])
def test_all_kinds_have_the_sizes_that_the_arithmetic_says(kind, stride, padding, kernel, squeeze):
    layers = block(kind, stride=stride, padding=padding, kernel=kernel, squeeze=squeeze)
    maps = layers(torch.randn(2, 4, 25, 22))
    (expected,) = feature_sizes((25, 22), [kernel], 2, stride, padding, "none")
    assert maps.shape == (2, 8, *expected)


def test_a_residual_block_is_shortcut_plus_body():
    layers = block("residual", channels=8).eval()
    maps = torch.randn(2, 8, 6, 6)
    body = layers[0].body
    assert [type(layer) for layer in body] == [
        nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d
    ]  # fmt: skip
    torch.testing.assert_close(layers(maps), torch.relu(maps + body(maps)))


def test_another_width_or_stride_is_projected():
    assert isinstance(block("residual", channels=8)[0].shortcut, nn.Identity)
    for changes in ({"channels": 4}, {"channels": 8, "stride": 2}):
        projection = block("residual", **changes)[0].shortcut
        assert projection[0].kernel_size == (1, 1)
        assert isinstance(projection[1], nn.BatchNorm2d)


def test_without_padding_the_shortcut_loses_the_same_border():
    layers = block("residual", channels=8, padding="valid").eval()
    maps = torch.randn(1, 8, 9, 9)
    expected = torch.relu(maps[:, :, 2:-2, 2:-2] + layers[0].body(maps))
    torch.testing.assert_close(layers(maps), expected)


def test_a_depthwise_block_is_separable():
    convs = [layer for layer in block("depthwise").modules() if isinstance(layer, nn.Conv2d)]
    assert [(c.groups, c.kernel_size[0]) for c in convs] == [(4, 3), (1, 1), (8, 3), (1, 1)]
    assert sum(c.weight.numel() for c in convs) == 4 * 9 + 4 * 8 + 8 * 9 + 8 * 8


def test_stochastic_depth_leaves_samples_out_in_training_only():
    layers = block("residual", channels=8, drop=0.25)
    residual = layers[0]
    maps = torch.randn(1, 8, 6, 6).expand(2000, -1, -1, -1)
    residual.body.eval()
    kept, body = residual(maps), residual.body(maps[:1])
    left_out = torch.isclose(kept, maps).flatten(1).all(1)
    assert left_out.float().mean().item() == pytest.approx(0.25, abs=0.04)
    scaled = maps[:1] + body / 0.75
    assert torch.isclose(kept[~left_out], scaled, atol=1e-5).all()
    layers.eval()
    torch.testing.assert_close(residual(maps[:1]), maps[:1] + body)


def test_stochastic_depth_rises_to_the_last_block():
    model = network(block="residual", depth=3, drop_path=0.3)((1, 16, 16), 10)
    rates = [model.get_submodule(f"block{n}.0.drop").p for n in (1, 2, 3)]
    assert rates == pytest.approx([0.1, 0.2, 0.3])


def test_squeeze_and_excitation_scales_channels_by_their_means():
    layers = block("plain", squeeze=4)
    excite = layers[-1]
    assert excite.fc1.out_channels == 2
    maps = torch.randn(2, 8, 5, 5)
    inner = torch.relu(excite.fc1(maps.mean((2, 3), keepdim=True)))
    torch.testing.assert_close(excite(maps), maps * torch.sigmoid(excite.fc2(inner)))
    assert type(block("residual", squeeze=4)[0].body[-1]) is type(excite), "before the sum"


@pytest.mark.parametrize("kind", ["residual", "depthwise"])
def test_a_network_of_such_blocks_learns(tmp_path, kind):
    curve = Curve()
    drop = 0.1 if kind == "residual" else 0.0
    model = network(block=kind, width=24, drop_path=drop)
    plain = functools.partial(dataset.digits, augment=Augment(), **recipes.DATA)
    train(tmp_path, curve, model=model, data=plain, trainer=settings(epochs=8))
    assert curve.points[8]["train_loss"] < 0.8 * curve.points[1]["train_loss"]


def test_stochastic_depth_resumes_to_the_same_bits(tmp_path):
    change = {"model": network(block="residual", drop_path=0.3)}
    whole, before, after = Curve(), Curve(leave_in=2), Curve()
    train(tmp_path / "whole", whole, **change)
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", before, **change)
    train(tmp_path / "killed", after, **change)
    assert before.points | after.points == whole.points


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop_path": 0.1}, r"model\.block=plain has none; hint: set model\.block=residual"),
        ({"block": "residual", "drop_path": 1.0}, r"from 0 to below 1"),
        ({"squeeze": -1}, r"model\.squeeze: expected int of 0 or more, got -1"),
    ],
)
def test_settings_that_contradict_each_other_are_named(changes, message):
    build = functools.partial(network(**changes), (1, 8, 8), 10)
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("activation", sorted(blocks.ACTIVATIONS))
def test_pooling_before_the_activation_changes_no_number(activation):
    """Values and gradients, for rising activations; the others keep their order."""
    torch.manual_seed(0)
    images = torch.randn(4, 3, 9, 9)
    results = []
    for early in (True, False):
        torch.manual_seed(1)
        layers = nn.Sequential(nn.Conv2d(3, 8, 3), blocks.ACTIVATIONS[activation]())
        pool = nn.MaxPool2d(2)
        network = blocks.pooled(layers, pool) if early else nn.Sequential(*layers, pool)
        out = network(images)
        out.square().sum().backward()
        results.append((out.detach(), layers[0].weight.grad))
    (out, gradient), (plain, plain_gradient) = results
    assert torch.equal(out, plain)
    assert torch.allclose(gradient, plain_gradient, rtol=1e-5, atol=1e-6)
    last = blocks.pooled(nn.Sequential(nn.Conv2d(3, 8, 3), blocks.ACTIVATIONS[activation]()), pool)
    assert (last[-1] is pool) == (activation in ("prelu", "gelu", "silu"))
