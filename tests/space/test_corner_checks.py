"""Incompatible settings are found at the corners of the space before the first trial."""

import pytest

from tuner.space import corner_checks
from tuner.space.distributions import Categorical, Int
from tuner.space.tree import Branch, Parameter, Space
from tuner.study import plan


def test_edges_take_every_option_and_every_end():
    space = Space(
        Branch((
            Parameter("a", Int(1, 9)),
            Parameter("b", Categorical(("x", "y", "z"), ("x", "y", "z")),
                      branches={"y": Branch((Parameter("c", Int(2, 3), (("b", "y"),)),))}),
        ))
    )  # fmt: skip
    assert list(space.edges({}, every=True)) == [
        ["a=1", "b=x"], ["a=9", "b=x"], ["a=1", "b=y", "c=2"], ["a=9", "b=y", "c=3"],
        ["a=1", "b=z"], ["a=9", "b=z"],
    ]  # fmt: skip
    assert list(space.edges({"b": "z"}, every=False)) == [["a=1", "b=z"], ["a=9", "b=z"]]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["optimizer=sgd", "optimizer.momentum=interval(0,0.9)"], "optimizer: Nesterov momentum"),
        (["model.widths=[8,16]", "model.depth=int(interval(2,3))"], "model.widths: [8, 16] has 2"),
        (["model.block=choice(residual,plain)", "model.drop_path=interval(0,0.2)"],
         "model.drop_path: 0.2 skips residual blocks"),
        (["loss.class_weights=choice(balanced,[1.0,2.0])"], "does not fit 10 classes"),
        (["data.augment.shift=int(interval(0,8))"], "data.augment.shift: 8 leaves no pixels"),
        (["study.metric=mse", "study.direction=minimize"], "study.metric: mse is not reported"),
        (["study.objectives={paramters:minimize}"], "request; hint: did you mean 'par"),
        (["study.constraints={mse:1}"], "the built-in trainer does not report mse"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(source, overrides, expected):
    found = plan.load(source, ["space=none", "model.dropout=interval(0,0.5)", *overrides]).mistakes
    assert [mistake for mistake in found if expected in str(mistake)], found


def test_what_cannot_be_trained_is_left_to_the_search(source):
    asked = ["space=none", "model.padding=valid", "model.depth=int(interval(1,5))"]
    assert plan.load(source, asked).mistakes == ()


CONTEXTS = [
    (f"schedule={s}", f"optimizer={o}") for s in ("cosine", "step") for o in ("sgd", "adam")
]


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (CONTEXTS, ()),
        ([c for c in CONTEXTS if "optimizer=sgd" in c], ("optimizer=sgd",)),
        (CONTEXTS[:1], ("schedule=cosine", "optimizer=sgd")),
        ([()], ()),
    ],
)
def test_a_mistake_names_the_options_that_it_needs(at, told):
    assert corner_checks.where(at, CONTEXTS) == told


def test_a_key_that_one_option_lacks_is_one_mistake(source):
    found = plan.load(source, ["optimizer.eps=1e-7"]).mistakes
    assert [(mistake.key, mistake.when) for mistake in found] == [
        ("optimizer.eps", ("optimizer=sgd",))
    ]
