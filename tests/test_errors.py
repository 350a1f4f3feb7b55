"""Mistakes are values that become text where they are shown, and errors carry them."""

import pickle

import pytest

from tuner.errors import ConfigError, Infeasible, Mistake, TunerError, section


@pytest.mark.parametrize(
    ("mistake", "text"),
    [
        (Mistake("a.b", "expected int, got 1.5"), "a.b: expected int, got 1.5"),
        (Mistake("a", "missing", "a=1"), "a: missing; hint: a=1"),
        (Mistake("", "no study", "create one"), "no study; hint: create one"),
        (
            Mistake("space.a", "unknown key", "b", ("optimizer=sgd", "data=digits")),
            "space.a: unknown key (when optimizer=sgd, data=digits); hint: b",
        ),
        (Mistake("", "none left\n  1 of 2\n  2 of 2", "more"),
         "none left; hint: more\n  1 of 2\n  2 of 2"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_with_its_hint_at_the_end_of_the_first_line(mistake, text):
    assert str(mistake) == text


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("model.width", "model"),
        ("+model.width=8", "model"),
        ("~model", "model"),
        ("model/block", "model"),
        ("optimizer@objective.other=sgd", "optimizer"),
        ("study.enqueue[0]", "study"),
        ("", ""),
    ],
)
def test_the_section_of_a_key_or_an_override(key, first):
    assert section(key) == first


def test_an_error_counts_its_mistakes():
    one, other = Mistake("a", "missing"), Mistake("b", "missing", "b=1")
    assert str(ConfigError([one])) == "a: missing"
    assert str(ConfigError([one, other])) == "2 errors:\na: missing\nb: missing; hint: b=1"
    assert ConfigError([one, other]).mistakes == [one, other]
    assert TunerError("missing", key="b", hint="b=1").mistakes == [other]


def test_errors_reach_other_processes_whole():
    error = pickle.loads(pickle.dumps(ConfigError([Mistake("a", "x"), Mistake("b", "y", "z")])))
    assert error.mistakes == [Mistake("a", "x"), Mistake("b", "y", "z")]
    assert str(error).startswith("2 errors:\n")
    refused = pickle.loads(pickle.dumps(Infeasible("too deep", hint="depth=2")))
    assert (refused.reason, refused.hint) == ("too deep", "depth=2")
    assert str(refused) == "too deep; hint: depth=2"
