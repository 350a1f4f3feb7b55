"""Absurd numbers are refused together before any work, as values and as ends of ranges."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import pytest
import torch

from tuner.config.bounds import BELOW_ONE, BelowOne, Bounds, Count, Positive, Share
from tuner.config.types import conforms, type_name, validate_arguments
from tuner.errors import ConfigError
from tuner.study import plan

ABSURD = {
    "trainer.epochs": 0, "trainer.batch_size": 0, "trainer.eval_batch_size": -1,
    "trainer.threads": 0, "trainer.devices": 0, "trainer.fused": 0, "trainer.accumulate": 0,
    "trainer.clip": -1.0, "trainer.ema": 1.0, "trainer.checkpoint_every.seconds": 0.0,
    "data.validation": 1.0, "data.test": 0.0, "data.limit": 0, "data.split_seed": -1,
    "data.augment.shift": -1, "data.augment.cutout": -1, "data.augment.mixup": -0.1,
    "data.augment.cutmix": -0.1, "model.depth": 0, "model.width": 0, "model.growth": 0.0,
    "model.kernel_size": "[3,0]", "model.stride": 0, "model.hidden": -1, "model.dropout": 1.0,
    "model.squeeze": -1, "model.drop_path": 1.0, "loss.label_smoothing": 2, "loss.l1": -1,
    "loss.l2": -1, "schedule.warmup": 2, "schedule.final": -0.1, "optimizer.lr": -1,
    "optimizer.weight_decay": -0.1, "optimizer.betas": "[0.9,1.0]", "optimizer.eps": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (Bounds(1), [1, 1e9], [0, math.inf, math.nan]),
        (Bounds(0, above=True), [1e-9], [0, -1]),
        (BELOW_ONE, [0, 0.5, (0.9, 0.99)], [1, -0.1, [0.9, 1.0]]),
    ],
)
def test_bounds_hold_what_they_say(bounds, inside, outside):
    assert all(map(bounds.hold, inside))
    assert not any(map(bounds.hold, outside))


def test_an_annotation_is_judged_and_named_with_its_bounds():
    kind = list[Count] | Share | None
    assert all(conforms(value, kind) for value in ([1, 2], 0.5, 1, None))
    assert not any(conforms(value, kind) for value in ([0], 1.5, "a"))
    assert type_name(Share | None) == "float from 0 to 1 | null"
    assert type_name(Annotated[float, BELOW_ONE]) == "float from 0 to below 1"
    assert type_name(list[Count] | None) == "list[int of 1 or more] | null"
    assert type_name(Positive) == "float above 0"
    assert type_name(Annotated[BelowOne, BELOW_ONE]) == "float from 0 to below 1"
    pair = tuple[float | torch.Tensor, float | torch.Tensor]
    assert type_name(Annotated[pair, BELOW_ONE]) == "[float, float] from 0 to below 1"
    assert type_name(tuple[Count, ...]) == type_name(Sequence[Count]) == "list[int of 1 or more]"
    assert type_name(dict[str, Positive]) == "dict[str, float above 0]"


def test_a_builder_refuses_all_at_once():
    @validate_arguments("loss")
    def build(width: Count, share: Share = 2.0) -> Any:
        raise AssertionError("it is not called")

    with pytest.raises(ConfigError) as caught:
        build(0)
    assert [mistake.key for mistake in caught.value.mistakes] == ["loss.width", "loss.share"]


def test_every_absurd_value_of_a_configuration_is_named(source):
    asked = [f"{key}={value}" for key, value in ABSURD.items()]
    found = plan.load(source, asked, search=False).mistakes
    named = {mistake.key: mistake.problem for mistake in found}
    assert named.keys() == ABSURD.keys()
    assert named["loss.label_smoothing"] == "expected float from 0 to below 1, got 2 (int)"


def test_absurd_ends_of_searched_ranges_are_named(source):
    found = plan.load(
        source,
        ["optimizer=sgd", "optimizer.lr=interval(-1,1)", "optimizer.momentum=interval(0.5,1)",
         "loss.label_smoothing=interval(0,2)", "model.width=int(interval(0,8))",
         "trainer.batch_size=choice(0,32)", "schedule=cosine", "schedule.warmup=interval(0,2)",
         "data.augment.mixup=choice(-0.1,0.2)"],
    ).mistakes  # fmt: skip
    assert {mistake.key for mistake in found} == {
        "optimizer.lr", "optimizer.momentum", "loss.label_smoothing", "model.width",
        "trainer.batch_size", "schedule.warmup", "data.augment.mixup",
    }  # fmt: skip


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "nadam", "rmsprop", "lion"])
def test_every_optimiser_refuses_an_absurd_rate(source, optimizer):
    asked = [f"optimizer={optimizer}", "optimizer.lr=-1", "optimizer.weight_decay=-1"]
    found = plan.load(source, asked, search=False).mistakes
    assert {mistake.key for mistake in found} == {"optimizer.lr", "optimizer.weight_decay"}
