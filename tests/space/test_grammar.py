"""The search-space language: parsing, errors, and lossless round trips."""

import re

import optuna
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tuner.config import override_parser
from tuner.config.override_text import quote, text_of
from tuner.space import grammar
from tuner.space.distributions import Categorical, Float, Int
from tuner.space.tree import Space

OPTIMIZER = {
    "sgd": {"optimizer.lr": "tag(log, interval(1e-3, 1))", "optimizer.momentum": "interval(0,1)"},
    "adamw": {"optimizer.lr": "tag(log, interval(1e-5, 1e-2))"},
    "adam": None,
}


def read(written, *overrides) -> Space:
    space, mistakes = grammar.build(
        written, [override_parser.parse(o) for o in overrides], override_parser.parse
    )
    assert mistakes == []
    return space


def refused(written, *overrides) -> str:
    _, mistakes = grammar.build(
        written, [override_parser.parse(o) for o in overrides], override_parser.parse
    )
    return "\n".join(map(str, mistakes))


def names(space: Space) -> list[str]:
    return [p.name for p in space.parameters()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0, 1)", Float(0.0, 1.0)),
        ("interval(1, 4)", Float(1.0, 4.0)),
        ("tag(log, interval(1e-3, 1))", Float(1e-3, 1.0, log=True)),
        ("int(interval(1, 4))", Int(1, 4)),
        ("int(tag(log, interval(16, 128)))", Int(16, 128, log=True)),
        ("range(1, 9, 2)", Int(1, 7, step=2)),
        ("range(0.1, 0.5, 0.1)", Float(0.1, 0.4, step=0.1)),
        ("range(0, 2.1, 0.7)", Float(0.0, 1.4, step=0.7)),
        ("range(1, 0, -0.25)", Float(0.25, 1.0, step=0.25)),
        ("choice(3, 5)", Categorical((3, 5), ("3", "5"))),
        ("choice(true, false)", Categorical((True, False), ("true", "false"))),
        ("null,1", Categorical((None, 1), ("null", "1"))),
        ("choice(null, a)", Categorical((None, "a"), ("null", "a"))),
        ("int(interval(0.5, 3.7))", Int(1, 3)),
        ("int(tag(log, interval(0.5, 8.5)))", Int(1, 8, log=True)),
        ("int(interval(-3.7, -0.5))", Int(-3, -1)),
        ("choice(3, [3,5])", Categorical((3, "[3,5]"), ("3", "[3,5]"))),
        ("choice('a b', c)", Categorical(("a b", "c"), ("'a b'", "c"))),
        ("choice('1', '')", Categorical(("1", ""), ("'1'", "''"))),
    ],
)
def test_a_sweep_becomes_a_distribution(text, expected):
    (parameter,) = read({"a.b": text}).parameters()
    assert parameter.distribution == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("tag(log, interval(0, 1))", "above 0"),
        ("interval(2, 1)", "empty"),
        ("int(interval(3, 3))", "empty"),
        ("int(interval(0.2, 1.5))", "fewer than two integers from 0.2 to 1.5"),
        ("int(range(0.5, 3.7))", "int() cannot be applied to a range of fractions"),
        ("range(5, 5)", "empty"),
        ("choice(1, 1)", "twice"),
        ("choice(1, 1.0)", "twice"),
        ("tag(linear, interval(0, 1))", "unknown tag 'linear'"),
        ("tag(log, choice(1, 2))", "only an interval"),
        ("interval(0, inf)", "not finite"),
        ("range(0, inf)", "not finite"),
        ("range(0, 1, 0.0)", "other than 0"),
        ("interval(-1.7e308, 1.7e308)", "too wide for floating point"),
        ("int(interval(0, 1e16))", "beyond 2^53"),
        ("range(0, 9007199254740994)", "beyond 2^53"),
        ("range(0, 1e28)", "more digits than a float has"),
        ("range(0, -1.802136179204793e+16, -4)", "more digits than a float has"),
        ("choice(a\udcff, b)", "is not valid UTF-8"),
        ("interval(0", "cannot be parsed"),
        ([1, 2], "choice(1, 2)"),
    ],
)
def test_an_impossible_distribution_is_refused(text, what):
    message = refused({"model.width": text})
    assert what in message
    assert "model.width" in message


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("range(0, 1, 0.1)", [f"0.{k}" for k in range(10)]),
        ("range(0.1, 0.75, 0.1)", [f"0.{k}" for k in range(1, 8)]),
        ("range(-5.5, -4, step=0.5)", ["-5.5", "-5.0", "-4.5"]),
        ("range(0, 4e-5, 1e-5)", ["0.0", "1e-05", "2e-05", "3e-05"]),
    ],
)
def test_a_grid_is_told_in_the_decimals_that_it_was_written_in(text, values):
    """What Optuna draws of it, 0.1 + 2 · 0.1, is 0.30000000000000004."""
    (parameter,) = read({"x": text}).parameters()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    told = {
        parameter.distribution.text(parameter.distribution.suggest(study.ask(), "x"))
        for _ in range(100)
    }
    assert sorted(told, key=float) == values


def test_all_mistakes_are_found_together():
    message = refused(
        {"a": "interval(2, 1)", "b": {"x": {"c": "choice(1, 1)"}}}, "d=tag(log,interval(0,1))"
    )
    assert len(message.splitlines()) == 3


def test_a_mapping_is_a_conditional_branch():
    space = read({"optimizer": OPTIMIZER})
    assert names(space) == [
        "optimizer",
        "optimizer.lr@sgd",
        "optimizer.momentum@sgd",
        "optimizer.lr@adamw",
    ]
    assert space.overrides({"optimizer": "adamw", "optimizer.lr@adamw": 0.001}) == [
        "optimizer=adamw",
        "optimizer.lr=0.001",
    ]
    assert space.overrides({"optimizer": "adam"}) == ["optimizer=adam"]


def test_a_plain_override_pins_and_its_branch_stays():
    space = read({"optimizer": OPTIMIZER, "model.width": "choice(1, 2)"}, "optimizer=adamw")
    assert names(space) == ["optimizer.lr@adamw", "model.width"]
    assert names(read({"optimizer": OPTIMIZER}, "optimizer.lr=0.1")) == [
        "optimizer",
        "optimizer.momentum@sgd",
    ]


def test_a_sweep_override_replaces_adds_and_narrows():
    narrowed = read({"optimizer": OPTIMIZER}, "optimizer=choice(adamw,adam)")
    assert names(narrowed) == ["optimizer", "optimizer.lr@adamw"]
    swept = read({"optimizer": OPTIMIZER}, "optimizer.lr=interval(1,2)")
    changed = {p.name: p.distribution for p in swept.parameters()}
    assert changed["optimizer.lr@sgd"] == changed["optimizer.lr@adamw"] == Float(1.0, 2.0)
    assert names(read({}, "model.width=int(interval(1,4))")) == ["model.width"]


def test_options_that_look_alike_keep_their_types():
    space = read({"a": {"1": {"b": "interval(0,1)"}, 1: {}, "true": {}, "null": {}, "x,y": {}}})
    (a, b) = space.parameters()
    assert a.distribution == Categorical(
        ("1", 1, "true", None, "x,y"), ("'1'", "1", "'true'", "null", "'x,y'")
    )
    assert space.overrides({"a": "1", b.name: 0.5}) == ["a='1'", "b=0.5"]


def test_hydras_plus_is_kept_for_overrides_and_is_no_part_of_a_name():
    space = read({"+a": "choice(1, 2)", "b": "choice(1, 2)"}, "+c=interval(0,1)", "++b=choice(3)")
    assert names(space) == ["a", "b", "c"]
    assert space.overrides({"a": 1, "b": 3, "c": 0.5}) == ["+a=1", "++b=3", "+c=0.5"]
    assert names(read({"+a": "choice(1, 2)", "b": "choice(1, 2)"}, "+a=1")) == ["b"]
    branches = read({"+a": {"x": {"+b": "choice(1, 2)", "+c": 3}, "y": {}}})
    assert names(branches) == ["a", "b@x"]
    assert branches.overrides({"a": "x", "b@x": 1}) == ["+a=x", "+c=3", "+b=1"]
    assert [p.name for p in branches.active(["+a=x"])] == ["a", "b@x"]


def test_constants_hold_in_their_branch_only():
    space = read({"optimizer": {"sgd": {"optimizer.nesterov": True}, "adam": {}}})
    assert space.overrides({"optimizer": "sgd"}) == ["optimizer=sgd", "optimizer.nesterov=true"]
    assert space.overrides({"optimizer": "adam"}) == ["optimizer=adam"]


def test_a_plain_override_replaces_the_constant_of_that_key_alone():
    space = read({"objective.step": 1, "objective.steps": 2}, "objective.step=3")
    assert space.overrides({}) == ["objective.steps=2"], "the rest is in the command's overrides"


def test_one_key_searched_in_two_places_is_refused():
    message = refused({"optimizer": OPTIMIZER, "optimizer.lr": "interval(0, 1)"})
    assert "searched both unconditionally and for optimizer=sgd" in message


def test_a_list_is_refused_without_its_values_which_may_come_from_the_environment():
    message = refused({"model.width": ["hunter22"]})
    assert "model.width: " in message
    assert "hunter22" not in message


def test_null_takes_a_key_out_of_the_space():
    assert names(read({"a": None, "b": "choice(1, 2)"})) == ["b"]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
)


keys = st.one_of(st.booleans(), st.integers(0, 9), st.text("ab()[]{}:=, \t\\./-").map("k{}".format))


def yaml_text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return quote(value) if isinstance(value, str) else str(value).replace(" ", "")


def option_name(value: object) -> object:
    """How a mapping's key is written to mean the value."""
    if isinstance(value, str):
        other = re.fullmatch(r"\s*(null|[\[{'\"].*)\s*", value, re.IGNORECASE | re.DOTALL)
        return quote(value) if other else value
    return text_of(value) if value is None or isinstance(value, list) else value


@given(st.lists(scalars, min_size=1, max_size=4, unique_by=lambda value: (str(value), repr(value))))
@settings(max_examples=150, deadline=None)
def test_an_option_of_a_mapping_means_what_yaml_says(options):
    """Through YAML, OmegaConf and Hydra, whatever the option is."""
    written = OmegaConf.create({"a": {option_name(value): {} for value in options}})
    written = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(written)))
    assume(len(written["a"]) == len(options))  # 0 and false are one key of a Python mapping
    space, mistakes = grammar.build(written, [], override_parser.parse)
    if mistakes:
        assert "twice" in mistakes[0].problem, "1 and 1.0 and true are equal"
        return
    (parameter,) = space.parameters()
    received = [override_parser.parse(f"a={text}").value() for text in parameter.distribution.texts]
    assert list(map(repr, received)) == list(map(repr, options))
    assert [override_parser.parse(f"a={text}").value() for text in parameter.branches] == received


@given(st.recursive(scalars, lambda inner: st.dictionaries(keys, inner, max_size=3)))
@settings(max_examples=150, deadline=None)
def test_a_value_survives_the_text_of_an_override(value):
    read_back = override_parser.parse(f"a={text_of(value)}").value()
    assert (read_back, repr(read_back)) == (value, repr(value))


class Drawn:
    """A trial that takes what hypothesis draws."""

    def __init__(self, data) -> None:
        self.data, self.params = data, {}

    def _keep(self, name, value):
        self.params[name] = value
        return value

    def suggest_float(self, name, low, high, *, step, log):
        return self._keep(name, self.data.draw(st.floats(low, high)))

    def suggest_int(self, name, low, high, *, step, log):
        return self._keep(name, self.data.draw(st.integers(low, high)))

    def suggest_categorical(self, name, choices):
        return self._keep(name, self.data.draw(st.sampled_from(choices)))


@given(data=st.data(), choices=st.lists(scalars, min_size=2, max_size=4, unique_by=repr))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_params_to_overrides_to_values_is_the_identity(data, choices):
    """What the sampler chose is what the objective receives, to the last bit."""
    texts = [yaml_text(choice) for choice in choices]
    swept, mistakes = grammar.build(
        {
            "branch": {
                text: {"inner": "interval(0, 1)", "n": "int(interval(1, 9))"} for text in texts
            }
        },
        [],
        override_parser.parse,
    )
    if mistakes:  # 1 and 1.0 and true are equal; Hydra's grammar has no empty key
        assert re.search("twice|parsed", mistakes[0].problem)
        return
    trial = Drawn(data)
    overrides = swept.suggest(trial)
    assert swept.overrides(trial.params) == overrides
    received = {(o := override_parser.parse(text)).key_or_group: o.value() for text in overrides}
    chosen = trial.params["branch"]
    if isinstance(received["branch"], list):
        assert received["branch"] in choices  # a list is stored as its text
    else:
        assert (type(received["branch"]), received["branch"]) == (type(chosen), chosen)
    inner = {name.split("@")[0]: value for name, value in trial.params.items()}
    assert received["inner"] == inner["inner"]
    assert received["n"] == inner["n"]
