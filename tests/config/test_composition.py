"""Configurations are composed as Hydra composes them, reading each file once per command."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra.errors import HydraException

from tuner.config import composition, override_mistakes, override_parser, signatures
from tuner.config.composition import Source
from tuner.errors import ConfigError


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=adamw", "optimizer.lr=0.5", "seed=3", "study.name=mine"],
        ["study.name=mine", "optimizer.lr=0.5", "optimizer={lr: 0.2}", "model.width=${seed}"],
        ["study.name=mine", "+objective.more={a: [1, 2]}", "+objective.more.b=x", "~model.width"],
        ["study.name=mine", "launch=ray", "hydra.run.dir=x", "~objective.more", "trainer=null"],
        ["study.name=mine", "optimizer@objective.other=sgd", "data.root='a b'", "model.widht=3"],
    ],
)
def test_values_are_set_as_hydra_sets_them(source: Source, overrides: list[str]) -> None:
    """Hydra is given all of them at once: the first mistake is the same too."""

    def told(compose: Callable[[], object]) -> object:
        try:
            return compose()
        except ConfigError as error:
            return str(error)
        except (HydraException, ValueError) as error:
            return str(override_parser.explained(error))

    by_hydra = told(lambda: pickle.loads(composition._composed(source, tuple(overrides), None)[0]))
    assert told(lambda: source.compose(overrides)) == by_hydra


def test_what_was_composed_is_the_callers_own(source: Source) -> None:
    source.compose([]).optimizer.lr = 7
    assert source.compose([]).optimizer.lr != 7
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda k: source.compose([f"seed={k}"]), range(40)))
    assert [cfg.seed for cfg in found] == list(range(40))


def test_a_command_reads_files_of_the_users_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data/mine.yaml"
    file.write_text("defaults: [digits, _self_]\nlimit: 1\n")
    first = Source((tmp_path,))
    assert first.compose(["data=mine", "seed=1"]).data.limit == 1
    file.write_text("defaults: [digits, _self_]\nlimit: 2\n")
    assert first.compose(["data=mine", "seed=2"]).data.limit == 1
    assert Source((tmp_path,)).compose(["data=mine"]).data.limit == 2


def test_a_function_is_named_by_overrides_alone(
    source: Source, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "mine_here.py").write_text("def train(lr=1.0, *, report): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    named = ["objective=function", "objective._target_=mine_here.train", "objective.lr=0.5"]
    assert source.compose(named).objective == {"_target_": "mine_here.train", "lr": 0.5}
    (mistake,) = signatures.check(source.compose(named[:1]))
    assert mistake.problem == "no objective to call"
    assert "objective._target_=module.name" in mistake.hint


def test_a_mistake_is_told_beside_a_mapping_and_a_named_function(
    source: Source, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "mine_there.py").write_text("def train(lr=1.0, *, report): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    right = ["objective=function", "objective._target_=mine_there.train", "objective.lr=0.5",
             "+space={objective.lr: 'interval(0, 1)'}"]  # fmt: skip
    assert list(override_mistakes.mistakes(source, [*right, "sampler=tpee"])) == ["sampler=tpee"]
