"""Files that others have made or altered: archives, exported models, checkpoints, weights."""

import copy
import io
import json
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tuner
from tests.config.test_exported_json import altered
from tests.fuzz import canary
from tests.fuzz.harness import SCALARS, examples, harmless, mutated, outcome
from tests.recipes import Curve, settings, train
from tuner.train.checkpoint import checkpoint, checksummed_file
from tuner.train.data import npz

IMAGES = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
ARRAYS: dict[str, Any] = {"images": IMAGES, "targets": np.arange(6) % 3, "names": ["a", "b", "c"]}
DESCRIPTIONS = st.sampled_from([
    "|u1", "<i8", "<f8", "|O", "<U5", "|S3", "|V8", "<M8[ns]", "<m8[s]", ">c16", "|b1", "<u8", "",
    "nonsense", [("a", "|u1")], [("a", "|O"), ("b", "<i8", (2,))], None, 7,
])  # fmt: skip
SIZES = st.sampled_from([0, 1, 3, 4, 6, 16, -1, 2**20, 2**31, 2**40, 2**62, 2**63, 10**30])
SHAPES = st.lists(SIZES, max_size=4).map(tuple) | st.sampled_from([(6, 4, 4), (6,), None, [6]])
HEADERS = st.one_of(
    st.fixed_dictionaries(
        {"descr": DESCRIPTIONS, "fortran_order": st.booleans() | SCALARS, "shape": SHAPES}
    ).map(repr),
    st.sampled_from([f"__import__({canary.__name__!r}).sing()", "{" * 999, "{}", "()", "[]"]),
    st.text(max_size=40),
)
CONTENTS = st.binary(max_size=99) | st.just(pickle.dumps(canary.Pickled(), protocol=2))


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """A member of an archive: a right one, an altered one, or one with a header of its own."""
    if draw(st.booleans()):
        file = io.BytesIO()
        np.save(file, np.asarray(ARRAYS[draw(st.sampled_from(sorted(ARRAYS)))]))
        content = file.getvalue()
        return content if draw(st.booleans()) else draw(mutated(content))
    header = draw(HEADERS).encode(errors="replace") + b"\n"
    version = draw(st.sampled_from([b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\4\0", b"\0\0"]))
    size = len(header).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + size + header + draw(CONTENTS)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """A file of NumPy's, with some members altered, or with bytes of its own altered."""
    members = {name: draw(arrays()) for name in draw(st.sets(st.sampled_from(sorted(ARRAYS))))}
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in ARRAYS.items() if name not in members})
    with zipfile.ZipFile(file, "a") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    content = file.getvalue()
    return draw(mutated(content)) if draw(st.integers(0, 3)) == 0 else content


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The run directory of a training, with a checkpoint and a model."""
    made = tmp_path_factory.mktemp("files")
    train(made, Curve(), trainer=settings(protocol="final", epochs=1))
    yield made
    shutil.rmtree(made)


@examples(150)
@given(archives())
def test_an_archive_is_read_or_refused_in_words(directory: Path, content: bytes) -> None:
    path = directory / "a.npz"
    path.write_bytes(content)
    with harmless(content):
        looked, unseen = outcome(lambda: npz.overview(root=str(directory), name=path.name))
        read, refused = outcome(lambda: npz.read(path))
    assert read is not None or str(path) in refused
    assert looked is not None or str(path) in unseen
    if read is not None:
        assert looked is not None, unseen
        assert (looked.classes, looked.images) == (read.classes, len(read.labels))


CARDS = st.sampled_from([canary.NAME, "evil.train", "os.system", "tuner.train.model.cnn", "..", ""])


@examples(30)
@given(data=st.data())
def test_a_model_is_loaded_or_refused_in_words(directory: Path, data: st.DataObject) -> None:
    path = directory / "altered"
    path.mkdir(exist_ok=True)
    card = json.loads((directory / "model.json").read_text())
    content = (directory / "model.safetensors").read_bytes()
    match data.draw(st.sampled_from(["card", "text", "code", "weights"])):
        case "card":
            card = data.draw(altered(card))
        case "code":
            card["recipe"]["model"] = data.draw(CARDS)
        case "weights":
            content = data.draw(mutated(content))
    text = json.dumps(card).encode()
    text = data.draw(mutated(text)) if data.draw(st.integers(0, 3)) == 0 else text
    (path / "model.json").write_bytes(text)
    (path / "model.safetensors").write_bytes(content)
    with harmless((text, content[:99])):
        _, said = outcome(lambda: tuner.load(path)(IMAGES[0]))
    assert not said or str(path) in said or "not one of tuner's networks" in said


def sealed_as(path: Path, content: bytes) -> None:
    seal = checksummed_file.SEAL.pack(checksummed_file.MAGIC, len(content), zlib.crc32(content))
    path.write_bytes(content + seal)


def saved(state: object) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@st.composite
def checkpoints(draw: st.DrawFn, whole: dict[str, Any]) -> bytes:
    """A checkpoint's content, altered as a state, as a pickle or as bytes."""
    match draw(st.sampled_from(["state", "state", "pickle", "legacy", "bytes"])):
        case "state":
            return saved(draw(altered(whole)))
        case "pickle":
            state = copy.deepcopy(whole)
            state[draw(st.sampled_from(["tree", "pieces", "x"]))] = canary.Pickled()
            return saved(state)
        case "legacy":
            return pickle.dumps(canary.Pickled(), protocol=draw(st.integers(0, 4)))
        case _:
            return draw(mutated(saved(whole)))


@examples(150)
@given(data=st.data())
def test_a_checkpoint_is_read_or_passed_over(directory: Path, data: st.DataObject) -> None:
    whole = torch.load(directory / "checkpoint.pt", weights_only=True)
    state = checkpoint.read(directory / "checkpoint.pt")
    path = directory / "altered" / "checkpoint.pt"
    path.parent.mkdir(exist_ok=True)
    content = data.draw(checkpoints(whole))
    if data.draw(st.integers(0, 9)):
        sealed_as(path, content)
    else:
        path.write_bytes(content)
    with harmless(content[:99]):
        found, said = outcome(lambda: checkpoint.load(path, state["recipe"], state["fingerprint"]))
    assert not said or str(path) in said
    recipe = state["recipe"]
    # A setting that is not there is one that is null.
    assert found is None or all(found["recipe"].get(key) == recipe[key] for key in recipe)
