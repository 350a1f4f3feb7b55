"""Search spaces in both grammars: a space that holds what it says, or mistakes in words."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import canary
from tests.fuzz.harness import JSON, examples, harmless, outcome
from tuner.config import override_parser
from tuner.config.composition import Source
from tuner.space import grammar
from tuner.study import plan

NUMBERS = st.one_of(
    st.integers(-100, 100).map(str),
    st.floats().map(str),
    st.sampled_from(["0", "1e-3", "1e400", "-1e400", "1" * 400, "inf", "nan", "0x10", "1_000"]),
)
WORDS = st.sampled_from(
    ["a", "null", "true", "''", "'a b'", '"x"', "[1,2]", "{a:1}", "a-b", "???", "*", "${seed}", ""]
)
FUNCTIONS = [
    "interval", "range", "choice", "glob", "shuffle", "sort", "tag", "int", "float", "str", "bool",
    "json_str", "extend_list", canary.NAME, "eval",
]  # fmt: skip


def _calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arguments = st.lists(inner, max_size=4).map(",".join)
    named = st.sampled_from(["", "", "", "log,", "step=", "reverse=true,", "start=0,", "tag,"])
    return st.builds("{}({}{})".format, st.sampled_from(FUNCTIONS), named, arguments)


SWEEPS = st.one_of(
    st.recursive(NUMBERS | WORDS, _calls, max_leaves=5),
    st.lists(NUMBERS | WORDS, min_size=2, max_size=4).map(",".join),
    st.builds("tag(log, interval({}, {}))".format, NUMBERS, NUMBERS),
    st.builds("int(interval({}, {}))".format, NUMBERS, NUMBERS),
    st.builds("range({}, {}, {})".format, NUMBERS, NUMBERS, NUMBERS),
    st.text(max_size=20),
)
PATHS = st.sampled_from(
    ["model.width", "optimizer.lr", "optimizer", "seed", "+new.key", "++new", "~seed", "a@b", ""]
) | st.text(max_size=8)
OPTIONS = PATHS | st.integers() | st.floats() | st.booleans() | st.none()
WRITTEN = st.dictionaries(
    PATHS | OPTIONS,
    st.recursive(
        SWEEPS | JSON,
        lambda inner: st.dictionaries(OPTIONS, inner | st.none(), max_size=3),
        max_leaves=4,
    ),
    max_size=3,
)
TYPED = st.lists(st.builds("{}={}".format, PATHS, SWEEPS) | st.text(max_size=20), max_size=3)


def used(written: Mapping[Any, Any], words: Sequence[str]) -> None:
    """Everything that a search does with a space."""
    parsed = [outcome(functools.partial(override_parser.parse, word))[0] for word in words]
    overrides = [override for override in parsed if override is not None]
    space, mistakes = grammar.build(written, overrides, override_parser.parse, Source().options)
    assert all(map(str, mistakes))
    assert canary.SECRET not in str(mistakes)
    space.rows()
    if mistakes:
        return
    list(space.contexts())
    for edge in itertools.islice(space.edges({}, every=True), 20):
        assert not any(override_parser.parse(text).is_sweep_override() for text in edge)
    trial = Drawn()
    drawn = space.suggest(trial)
    assert space.overrides(trial.params) == drawn
    assert not any(override_parser.parse(text).is_sweep_override() for text in drawn)


class Drawn:
    """A trial that takes the first of everything, and holds it to be what Optuna would take."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    def _keep(self, name: str, kind: optuna.distributions.BaseDistribution, value: Any) -> Any:
        assert kind._contains(kind.to_internal_repr(value))
        optuna.distributions.distribution_to_json(kind)
        self.params[name] = value
        return value

    def suggest_float(self, name: str, low: float, high: float, *, step: Any, log: bool) -> Any:
        kind = optuna.distributions.FloatDistribution(low, high, step=step, log=log)
        return self._keep(name, kind, low)

    def suggest_int(self, name: str, low: int, high: int, *, step: Any, log: bool) -> Any:
        kind = optuna.distributions.IntDistribution(low, high, step=step, log=log)
        return self._keep(name, kind, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._keep(name, optuna.distributions.CategoricalDistribution(choices), choices[0])


@examples(200)
@given(WRITTEN, TYPED)
def test_a_space_is_of_use_or_refused_in_words(written: dict[Any, Any], words: list[str]) -> None:
    with harmless((written, words)):
        used(written, words)


TAGS = ["!!python/name:os.system", f"!!python/object/apply:{canary.NAME}", "!x", "&a", "*a", "%"]
TEXTS = st.one_of(
    WRITTEN.map(lambda written: yaml.safe_dump(written, allow_unicode=True)),
    st.builds("model.width: {} [x]\n".format, st.sampled_from(TAGS)),
    st.builds("model.width: {}\noptimizer:\n  sgd: {}\n".format, SWEEPS, SWEEPS),
    st.lists(st.sampled_from([*TAGS, *"a:-{[?\n ", "- ", ": ", "<<"])).map("".join),
    st.text(max_size=40),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("conf")
    (made / "space").mkdir()
    return made


@examples(30)
@given(TEXTS)
def test_a_file_of_a_space_is_of_use_or_refused_in_words(directory: Path, text: str) -> None:
    (directory / "space" / "fuzz.yaml").write_bytes(text.encode(errors="surrogateescape"))
    with harmless(text):
        outcome(lambda: plan.load(Source((directory,)), ["space=fuzz"], validate=False).require())
