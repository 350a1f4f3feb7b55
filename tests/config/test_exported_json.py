"""Altered files of an exported model cause clear errors, whatever they contain."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import tuner
from tests.final.test_export import winner
from tests.report.test_comparison import RACE, three
from tests.samples import final_record
from tests.train.test_predictor import trained
from tuner import cli
from tuner.config import exported_json
from tuner.errors import TunerError
from tuner.final import export
from tuner.report.analysis import comparison
from tuner.report.final_record import FinalResult, final_of, read_record
from tuner.report.summary import summarise

__all__ = ["trained"]

FUZZ = settings(  # 40 ms an example, most of it torch's
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8)
    | st.sampled_from([0, 1, -1, 3, 10**6, 10**9, 2**63, 10**400, "model.depth", "null"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)  # fmt: skip
IMAGE = np.zeros((8, 8), np.uint8)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a document with a key or index in it."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield document, key
        if isinstance(value, dict | list):
            yield from places(value)


@st.composite
def altered(draw: st.DrawFn, document: dict[str, Any]) -> object:
    """The document with one or two of its parts replaced by anything, or taken away."""
    made = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        known = list(places(made))
        if not known:
            break
        inside, key = draw(st.sampled_from(known))
        if draw(st.booleans()):
            inside[key] = draw(JSON)
        else:
            del inside[key]
    return made


def refused(act: Callable[[], Any]) -> tuple[str, Any]:
    """What a TunerError says, or what came out; any other error is a fault."""
    try:
        return "", act()
    except TunerError as error:
        return str(error), None


@pytest.fixture(scope="module")
def copied(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(trained, tmp_path_factory.mktemp("altered") / "seed-0"))


@FUZZ
@given(data=st.data())
def test_an_altered_model_is_refused_in_words_or_of_use(trained, copied, data):
    card = json.loads((trained / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps(data.draw(altered(card))))
    said, found = refused(lambda: tuner.load(copied)(IMAGE))
    if found is None:
        assert str(copied) in said or "not one of tuner's networks" in said
    else:
        assert len(found.scores) == 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "expected an object, got list"),
        ("[" * 100_000, "its nesting is too deep"),
        ("{}", "classes: missing; in_shape: missing"),
        ('{"recipe": ', "Expecting value"),
    ],
)
def test_a_file_that_is_no_model_is_named(copied, text, said):
    (copied / "model.json").write_text(text)
    with pytest.raises(TunerError, match=said):
        tuner.load(copied)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": [str(k) for k in range(7)]}, "head.2.bias is (10,) and should be (7,)"),
        ({"classes": ["a"] * 10}, "classes: 10 class names, which are not all different"),
        ({"mean": [1.0, 2.0]}, "mean: of 2, std of 1 and in_shape of 1 channels"),
        ({"std": [0.0]}, "std: expected list[float above 0], got [0.0]"),
        ({"in_shape": [1, 10**5, 10**5]}, "images of 100000x100000 pixels"),
        ({"recipe": {}}, "recipe: contains no model"),
        ({"model.depth": 10**9}, "model.depth=1000000000, but"),
        ({"model.width": 10**9}, "Storage size calculation overflowed"),
        ({"model.width": 10**5}, "should be (100000, 1, 3, 3)"),
        ({"model.width": None}, "model.width: expected int of 1 or more, got None"),
        ({"model.other": 1}, "got an unexpected keyword argument 'other'"),
    ],
)
def test_what_does_not_belong_together_is_said(trained, copied, change, said):
    card = json.loads((trained / "model.json").read_text())
    recipe = card["recipe"] | {k: v for k, v in change.items() if k.startswith("model.")}
    card |= {"recipe": recipe} | {k: v for k, v in change.items() if "." not in k}
    (copied / "model.json").write_text(json.dumps(card))
    with pytest.raises(TunerError) as caught:
        tuner.load(copied)
    assert said in str(caught.value)
    assert "hint: " in str(caught.value)


class Stubborn(torch.nn.Linear):
    """Somebody's network, which tells of three classes whatever it is asked for."""

    def __init__(self, in_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(64, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.flatten(1))


def test_ones_own_network_of_other_classes_is_told(trained, copied):
    card = json.loads((trained / "model.json").read_text())
    card["recipe"] = {"model": f"{__name__}.Stubborn"}
    (copied / "model.json").write_text(json.dumps(card))
    weights = load_file(copied / "model.safetensors")
    save_file(Stubborn((1, 8, 8), 10).state_dict(), copied / "model.safetensors")
    try:
        with pytest.raises(TunerError, match=r"shape \[3\] per image, .* 10 classes"):
            tuner.load(copied, trust=True)(IMAGE)
    finally:
        save_file(weights, copied / "model.safetensors")


@pytest.mark.parametrize("device", ["cuda:7", "meta", "nonsense", ""])
def test_a_device_that_cannot_be_used_is_told_before_any_work(tmp_path, capsys, device):
    assert cli.main(["predict", "--device", device, str(tmp_path), "a.png"]) == 1
    assert f"error: device {device!r} cannot be used: " in capsys.readouterr().err


FINAL = final_record(
    values=[0.9, 0.94], mean=0.92, sd=0.02, interval=[0.87, 1.02], race=RACE, number=1, images=50
)


def test_what_was_written_is_as_it_should_be():
    assert exported_json.mistakes(FINAL, FinalResult) == []
    nan = {**RACE, "finalists": [{"number": 1, "overrides": [], "values": [None, 0.5]}]}
    assert exported_json.mistakes(FINAL | {"race": nan}, FinalResult) == [], (
        "null is how JSON has NaN"
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return winner(tmp_path_factory.mktemp("study"))


@FUZZ
@given(data=st.data())
def test_an_altered_final_is_passed_over_or_of_use(trained, copied, study, tmp_path, data):
    (copied / "model.json").write_text((trained / "model.json").read_text())
    (copied.parent / "final.json").write_text(json.dumps(data.draw(altered(FINAL))))
    summary, row = study
    final = read_record(copied.parent)
    comparison.sentences(summary, comparison.noise(summary, final), final)
    export.write_model(summary, row, copied.parent, tmp_path, [], trust=False)


@FUZZ
@given(data=st.data())
def test_an_altered_model_is_exported_with_its_card_or_refused(
    trained, copied, study, tmp_path, data
):
    card = json.loads((trained / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps(data.draw(altered(card))))
    (copied.parent / "final.json").write_text(json.dumps(FINAL))
    summary, row = study
    said, _ = refused(
        lambda: export.write_model(summary, row, copied.parent, tmp_path, [], trust=False)
    )
    assert not said or str(copied) in said


def test_a_final_of_other_types_is_passed_over_with_a_warning(tmp_path, caplog):
    (tmp_path / "final").mkdir()
    summary = summarise(three(tmp_path))
    for changed in ({"mean": "high"}, {"race": {"finalists": 3}}, {"seeds": ["../../etc"]}):
        (tmp_path / "final" / "final.json").write_text(json.dumps(FINAL | changed))
        assert final_of(summary, tmp_path) == {}
    assert (
        "mean: expected float finite, got 'high' (str); hint: run tuner final again" in caplog.text
    )
    assert "race.finalists: expected list[Finalist], got 3 (int)" in caplog.text
