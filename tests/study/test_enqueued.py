"""The first trials: defaults, enqueued overrides, and the errors in them."""

import pytest

from tuner.api import search_checks
from tuner.space.distributions import Categorical, Float, Int
from tuner.study import limits, plan
from tuner.study.enqueued import locate
from tuner.study.plan import Plan


def planned(source, *overrides: str) -> Plan:
    return plan.load(source, overrides)


def enqueue(*texts: str) -> str:
    return "study.enqueue=[[" + ",".join(f'"{text}"' for text in texts) + "]]"


def test_the_configuration_as_it_is_comes_first(source):
    (item,) = planned(source).require().queue
    assert item.origin == "the defaults"
    assert item.params["optimizer"] == "adamw"
    assert item.params["model.depth@same"] == 2
    assert not any(name.endswith("@sgd") for name in item.params)
    assert planned(source, "study.enqueue_defaults=false").require().queue == ()


def test_the_defaults_are_repeated_to_the_last_value(source):
    found = planned(source).require()
    overrides = found.space.overrides(found.queue[0].params)
    assert config_of(source, overrides) == config_of(source, [])


def config_of(source, overrides):
    cfg = source.compose(overrides)
    return {key: cfg[key] for key in ("model", "optimizer", "schedule", "loss", "trainer")}


def test_a_default_outside_the_space_is_left_to_the_sampler(source):
    (item,) = planned(source, "model.width=int(interval(64,128))").require().queue
    assert "model.width" not in item.params
    assert item.params["model.convs"] == 2


def test_a_list_need_not_be_whole_and_takes_the_options_own_defaults(source):
    asked = enqueue("optimizer=sgd", "model.kernel_size=[3,5]", "seed=7")
    _, item = planned(source, asked).require().queue
    assert item.origin == "study.enqueue[0]"
    own = source.compose(["optimizer=sgd"]).optimizer
    assert item.params["optimizer.lr@sgd"] == own.lr
    assert item.params["optimizer.momentum@sgd"] == own.momentum
    assert item.params["model.kernel_size@same"] == "[3,5]"
    assert "optimizer.lr@adamw" not in item.params


def test_a_pasted_line_is_a_list(source):
    line = 'study.enqueue=["data=digits optimizer=sgd optimizer.lr=0.05 seed=123"]'
    _, item = planned(source, line).require().queue
    assert item.params["optimizer.lr@sgd"] == 0.05


def test_the_same_configuration_is_tried_once(source):
    assert len(planned(source, enqueue("optimizer=adamw")).require().queue) == 1


def test_where_a_pasted_line_finds_its_configuration_is_known_already(source):
    line = 'study.enqueue=["--config-dir=conf --config-name=main optimizer=sgd"]'
    _, item = planned(source, line).require().queue
    assert item.params["optimizer"] == "sgd"


def test_all_mistakes_come_together_each_with_its_cure(source):
    asked = enqueue(
        "model.width=512", "optimizer.momentum=0.9", "data.limit=100", "modl.width=16",
        "model.convs=choice(1,2)", "optimizer=sgdd", "model.growth=(",
    )  # fmt: skip
    found = planned(source, asked).mistakes
    for expected in (
        "study.enqueue[0]: data.limit=100 is not searched; hint: pin it",
        "study.enqueue[0]: unknown key 'modl.width'; hint: did you mean",
        "study.enqueue[0]: model.convs=choice(1,2) is a sweep, expected a value",
        "study.enqueue[0]: optimizer=sgdd is not an option; hint: known options: adam",
        "study.enqueue[0]: model.growth=(",
    ):
        assert any(expected in str(mistake) for mistake in found), found
    found = planned(source, enqueue("model.width=512", "optimizer.momentum=0.9")).mistakes
    assert "model.width=512 is outside int 16 to 32, log" in [m.problem for m in found]
    assert "it requires optimizer=sgd" in [m.hint for m in found]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["optimizer=adamw", enqueue("optimizer=sgd")], "optimizer=sgd is not searched"),
        (["study.enqueue=[3]"], "study.enqueue: expected list"),
        (['study.enqueue=["a=\'b"]'], "No closing quotation"),
        (["study.prior_best=0"], "study.prior_best: expected int of 1 or more"),
    ],
)
def test_a_queue_that_makes_no_sense_is_refused(source, overrides, expected):
    found = planned(source, "space=none", "loss.l2=interval(0,1)", *overrides).mistakes
    assert any(expected in str(mistake) for mistake in found)


def test_a_grid_has_no_queue(source):
    grid = ["sampler=grid", "space=none", "model.depth=range(1,4)"]
    assert limits.queue(planned(source, *grid).require()) == ()
    asked = planned(source, *grid, enqueue("model.depth=2"))
    assert [mistake.key for mistake in search_checks.mistakes(asked)] == ["study.enqueue"]


@pytest.mark.parametrize(
    ("distribution", "value", "stored"),
    [
        (Float(0.0, 1.0), 1, 1.0),
        (Float(0.0, 1.0, step=0.25), 0.5, 0.5),
        (Int(8, 64, step=8), 16, 16),
        (Categorical((0.0, 0.2), ("0.0", "0.2")), 0, 0.0),
        (Categorical((None, "a"), ("null", "a")), None, None),
        (Categorical(("[3,5]", 3), ("[3,5]", "3")), [3, 5], "[3,5]"),
        (Categorical(("[3,5]", 3), ("[3,5]", "3")), "[3,5]", "[3,5]"),
    ],
)
def test_values_are_stored_as_the_sampler_would(distribution, value, stored):
    found = locate(distribution, value)
    assert (found, type(found)) == (stored, type(stored))


@pytest.mark.parametrize(
    ("distribution", "value"),
    [
        (Float(0.0, 1.0), 1.5),
        (Float(0.0, 1.0), True),
        (Float(0.0, 1.0, step=0.25), 0.3),
        (Int(8, 64), 8.5),
        (Int(8, 64), "16"),
        (Categorical((0, 1), ("0", "1")), True),
        (Categorical((True, False), ("true", "false")), 1),
    ],
)
def test_what_lies_outside_is_refused(distribution, value):
    with pytest.raises(ValueError, match=str(value)):
        locate(distribution, value)
