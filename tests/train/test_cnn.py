import itertools

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.recipes import network
from tuner.config.composition import Source
from tuner.errors import ConfigError, Infeasible
from tuner.train.model.cnn import ACTIVATIONS, feature_sizes


def build(in_shape=(1, 8, 8), classes=10, **changes) -> nn.Sequential:
    with torch.device("meta"):
        return network(**changes)(in_shape, classes)


def logits_shape(model: nn.Module, in_shape: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple(model.eval()(torch.zeros(2, *in_shape, device="meta")).shape)


def values(text: str) -> list:
    """What a distribution of the space can draw: all choices, an integer range, or its ends."""
    sweep = OverridesParser.create().parse_override(f"x={text}")._value
    if hasattr(sweep, "list"):
        return [getattr(value, "text", value) for value in sweep.list]
    if "int(" in text and "log" not in text:
        return list(range(int(sweep.start), int(sweep.end) + 1))
    return [sweep.start, sweep.end]


def draws(space: dict) -> list[dict]:
    """Every combination of the ``model`` keys of a space, branch by branch."""
    sets: list[list[dict]] = []
    for key, entry in space.items():
        name = key.removeprefix("model.")
        if isinstance(entry, dict):
            options = [
                {name: option, **rest} for option, below in entry.items() for rest in draws(below)
            ]
            sets.append(options if key.startswith("model.") else [{}])
        elif key.startswith("model."):
            sets.append([{name: value} for value in values(str(entry))])
    return [
        {key: value for part in parts for key, value in part.items()}
        for parts in itertools.product(*sets)
    ]


# What changes no shape is built once for each value (below), not in every combination.
SHAPELESS = {"width", "growth", "batch_norm", "activation", "dropout", "initialisation"}


def test_every_network_of_the_digits_space_builds_or_says_why_not():
    space = to_dict(Source().compose(["space=digits"]).space)
    reasons, built = [], 0
    for draw in draws(
        {k: e for k, e in space.items() if k.removeprefix("model.") not in SHAPELESS}
    ):
        try:
            model = build(**draw)
        except Infeasible as error:
            reasons.append(str(error))
            continue
        built += 1
        assert logits_shape(model, (1, 8, 8)) == (2, 10), draw
    assert all("leaves nothing of its" in reason for reason in reasons)
    assert 0 < len(reasons) < built
    assert built > 150


def to_dict(space: dict) -> dict:
    return {key: to_dict(e) if hasattr(e, "items") else e for key, e in space.items()}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("initialisation", ["kaiming", "xavier", "default"])
def test_every_activation_learns_from_every_initialisation(activation, initialisation):
    torch.manual_seed(0)
    model = network(activation=activation, initialisation=initialisation)((1, 8, 8), 10)
    model(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.get_submodule("block1.0").weight.grad.abs().sum() > 0


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 33), st.integers(1, 33)),
    kernels=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    convs=st.integers(1, 2),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    pooling=st.sampled_from(["max", "avg", "none"]),
    channels=st.integers(1, 4),
)
def test_the_arithmetic_is_what_the_layers_do(
    size, kernels, convs, stride, padding, pooling, channels
):
    try:
        sizes = feature_sizes(size, kernels, convs, stride, padding, pooling)
    except Infeasible:
        assume(False)
    model = build(
        (channels, *size), 3, depth=len(kernels), kernel_size=kernels, convs=convs, stride=stride,
        padding=padding, pooling=pooling, head="flatten",
    )  # fmt: skip
    features = torch.zeros(2, channels, *size, device="meta")
    for block, expected in enumerate(sizes, start=1):
        features = model.eval().get_submodule(f"block{block}")(features)
        assert tuple(features.shape[2:]) == expected
    assert logits_shape(model, (channels, *size)) == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 4}, "block 4 of 4 leaves nothing of its 1x1 feature map"),
        ({"padding": "valid", "kernel_size": 9}, "block 1 of 2 leaves nothing of its 8x8"),
        ({"padding": "valid", "convs": 3}, "3 convolution.s. of kernel_size=3"),
        ({"padding": "valid", "kernel_size": [3, 7]}, "block 2 of 2 .*3x3.*kernel_size=7"),
    ],
)
def test_a_feature_map_that_vanishes_names_block_and_sizes(changes, message):
    with pytest.raises(Infeasible, match=message):
        build(**changes)


def test_what_is_refused_would_not_run():
    """The rule is not stricter than need be: the layers themselves refuse the same networks."""
    assert feature_sizes((3, 3), [3], 1, 1, "valid", "none") == [(1, 1)]
    with pytest.raises(Infeasible):
        feature_sizes((2, 3), [3], 1, 1, "valid", "none")
    with pytest.raises(RuntimeError, match=r"[Kk]ernel size"):
        nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 2, 3))
    with pytest.raises(RuntimeError, match="too small"):
        nn.MaxPool2d(2)(torch.zeros(1, 1, 1, 3))


def kernels(model: nn.Module) -> list[tuple[int, int]]:
    """(kernel size, kernels) of each convolution."""
    convs = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    return [(conv.kernel_size[0], conv.out_channels) for conv in convs]


def test_widths_grow_or_are_listed():
    shape = (3, 32, 32)
    assert kernels(build(shape, depth=3, width=8, growth=1.5)) == [(3, 8), (3, 12), (3, 18)]
    listed = build(shape, depth=3, widths=[4, 5, 6], convs=2)
    assert kernels(listed) == [(3, 4), (3, 4), (3, 5), (3, 5), (3, 6), (3, 6)]


def test_kernel_sizes_may_be_mixed_and_start_over():
    sizes = [size for size, _ in kernels(build((1, 32, 32), depth=3, kernel_size=[3, 5]))]
    assert sizes == [3, 5, 3]


def test_the_head_has_the_layers_that_were_asked_for():
    def dense(**changes) -> list[tuple[int, int]]:
        linears = [m for m in build(**changes).modules() if isinstance(m, nn.Linear)]
        return [(layer.in_features, layer.out_features) for layer in linears]

    assert dense(head="average") == [(8, 10)]
    assert dense(head="flatten") == [(8 * 2 * 2, 10)]
    assert dense(head="flatten", hidden=7) == [(8 * 2 * 2, 7), (7, 10)]


def test_batch_norm_takes_the_biases_place():
    layers = list(build(batch_norm=True).modules())
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) == 2
    assert all(layer.bias is None for layer in layers if isinstance(layer, nn.Conv2d))
    layers = list(build(batch_norm=False).modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
    assert all(layer.bias is not None for layer in layers if isinstance(layer, nn.Conv2d))


def test_initialisations_have_their_variances():
    torch.manual_seed(0)
    spread = {
        scheme: network(width=64, initialisation=scheme, batch_norm=False)((1, 8, 8), 10)
        .get_submodule("block2.0")
        .weight.var()
        .item()
        for scheme in ("kaiming", "xavier", "default")
    }
    inputs, outputs = 64 * 9, 128 * 9
    assert spread["kaiming"] == pytest.approx(2 / inputs, rel=0.05)
    assert spread["xavier"] == pytest.approx(2 / (inputs + outputs), rel=0.05)
    assert spread["default"] == pytest.approx(1 / (3 * inputs), rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": [4, 5, 6]}, r"3 entries, model.depth=2; hint: model.depth=3"),
        ({"depth": 0}, "model.depth: expected int of 1 or more, got 0"),
        ({"width": 1, "growth": 0.1}, "raise model.width"),
        ({"kernel_size": []}, "model.kernel_size"),
    ],
)
def test_settings_that_contradict_each_other_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        build(**changes)
