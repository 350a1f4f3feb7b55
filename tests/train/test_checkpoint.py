import functools
import io
import logging
import resource
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from tests.recipes import CPU, MODEL, settings
from tuner.errors import ConfigError
from tuner.train.checkpoint import checkpoint, checksummed_file, snapshot
from tuner.train.data.augment import Augment
from tuner.train.model.cnn import cnn

RECIPE = {"model.depth": 2, "seed": 1}
HERE = checkpoint.fingerprint(CPU, "auto")


def save(path, whole):
    checkpoint.write(path, snapshot.take(whole))


def state(**extra):
    return {"recipe": RECIPE, "fingerprint": HERE, **extra}


def test_what_was_saved_is_loaded_also_from_an_ugly_path(tmp_path):
    path = tmp_path / "a 'b' é" / "checkpoint.pt"
    save(path, state(x=torch.arange(3), epoch=2))
    loaded = checkpoint.load(path, RECIPE, HERE)
    assert loaded["epoch"] == 2
    assert loaded["x"].tolist() == [0, 1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


def test_there_may_be_none(tmp_path):
    assert checkpoint.load(tmp_path / "checkpoint.pt", RECIPE, HERE) is None


def test_a_save_that_dies_halfway_leaves_the_old_one_whole(tmp_path):
    class Dies:
        def __reduce__(self):
            raise SystemExit

    path = tmp_path / "checkpoint.pt"
    save(path, state(epoch=1))
    with pytest.raises(SystemExit):
        save(path, state(epoch=2, x=torch.zeros(100_000), y=Dies()))
    assert checkpoint.load(path, RECIPE, HERE)["epoch"] == 1


def test_a_checkpoint_runs_no_code(tmp_path, capsys, caplog):
    path = tmp_path / "checkpoint.pt"
    save(path, state(x=functools.partial(print, "run")))
    assert checkpoint.load(path, RECIPE, HERE) is None
    assert capsys.readouterr().out == ""
    assert "it is not a checkpoint (UnpicklingError: Weights only load failed" in caplog.text


def test_another_recipe_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save(path, state())
    with pytest.raises(ConfigError, match=r"model.depth: 2 then, 3 now.*hint: use another run_dir"):
        checkpoint.load(path, RECIPE | {"model.depth": 3}, HERE)
    with pytest.raises(ConfigError, match="new: None then, 1 now"):
        checkpoint.load(path, RECIPE | {"new": 1}, HERE)
    with pytest.raises(ConfigError, match="seed: 1 then, None now"):
        checkpoint.load(path, {"model.depth": 2}, HERE)


def test_another_machine_is_told_that_the_bits_may_differ(tmp_path, caplog):
    path = tmp_path / "checkpoint.pt"
    save(path, state() | {"fingerprint": {"threads": 64, "torch": "1", "device": "x"}})
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load(path, RECIPE, HERE) is not None
    assert "results may differ" in caplog.text


def test_a_recipe_is_flat_plain_and_the_same_on_every_machine():
    def recipe(root: str, depth: int) -> checkpoint.Recipe:
        return checkpoint.describe(
            data=functools.partial(print, root=root, augment=Augment(shift=2)),
            model=functools.partial(cnn, **MODEL | {"depth": depth, "kernel_size": [3, 5]}),
            trainer=settings(),
            loss=Augment,
            seed=3,
        )

    here = recipe("/here", 2)
    assert here["model"] == "tuner.train.model.cnn.cnn"
    assert here["model.depth"] == 2
    assert here["model.kernel_size"] == [3, 5]
    assert here["data.augment.shift"] == 2
    assert here["trainer.epochs"] == 3
    assert here["loss"] == "tuner.train.data.augment.Augment"
    assert here["seed"] == 3
    assert here == recipe("/there", 2)
    assert here != recipe("/here", 3)


def flip(content: bytes) -> bytes:
    """One bit of one weight: `torch.load` itself would not see it."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1 :]


def whole(saved: object) -> bytes:
    """Another file than a checkpoint, with a seal that is right."""
    content = io.BytesIO()
    torch.save(saved, content)
    return seal(content.getvalue())


def seal(content: bytes) -> bytes:
    return content + checksummed_file.SEAL.pack(
        checksummed_file.MAGIC, len(content), zlib.crc32(content)
    )


TREE = {"recipe": RECIPE, "fingerprint": {}}
PIECE = [torch.zeros(3)]
OTHERS = {
    "text": seal(b"a text"),
    "a list": whole([1, 2]),
    "a state_dict": whole({"weight": torch.zeros(3)}),
    "no recipe": whole({"tree": {"epoch": 1}, "pieces": []}),
    "a recipe of another type": whole({"tree": TREE | {"recipe": 3}, "pieces": []}),
    "a tree that is none": whole({"tree": 5, "pieces": []}),
    "no such piece": whole({"tree": TREE | {"x": (snapshot.MARK, 7, 0, (3,), (1,))}, "pieces": []}),
    "beyond a piece": whole(
        {"tree": TREE | {"x": (snapshot.MARK, 0, 1, (9,), (9,))}, "pieces": PIECE}
    ),
}
"""Files of other kinds, sealed."""

HARM = {
    **{name: lambda content, other=other: other for name, other in OTHERS.items()},
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "half": lambda content: content[: len(content) // 2],
    "its seal is missing": lambda content: content[: -checksummed_file.SEAL.size],
    "all but a byte": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "a flipped bit": flip,
    "something else": lambda content: b"{}" * 200,
}


@pytest.mark.parametrize("harm", HARM)
def test_of_a_damaged_file_the_one_before_takes_the_place(tmp_path, harm, caplog):
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2, 3):
        save(path, state(epoch=epoch, weights=torch.ones(1000)))
    path.write_bytes(HARM[harm](path.read_bytes()))
    assert checkpoint.load(path, RECIPE, HERE)["epoch"] == 2
    assert "is damaged" in caplog.text
    assert path.with_suffix(".damaged").exists(), "set aside, for a person to look at"

    save(path, state(epoch=4))
    assert checkpoint.load(path, RECIPE, HERE)["epoch"] == 4
    path.unlink()
    assert checkpoint.load(path, RECIPE, HERE)["epoch"] == 2, "the damaged one replaced no good one"


@pytest.mark.parametrize("harm", HARM)
def test_where_none_is_whole_the_training_starts_anew_and_says_so(tmp_path, harm, caplog):
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2):
        save(path, state(epoch=epoch))
    for file in (path, checksummed_file.previous(path)):
        file.write_bytes(HARM[harm](file.read_bytes()))
    assert checkpoint.load(path, RECIPE, HERE) is None
    assert "the training starts from the beginning" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


def test_a_death_between_the_two_renames_costs_one_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save(path, state(epoch=1))
    path.replace(checksummed_file.previous(path))
    assert checkpoint.load(path, RECIPE, HERE)["epoch"] == 1


def test_a_file_that_cannot_be_read_is_left_where_it_is(tmp_path, monkeypatch, caplog):
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2):
        save(path, state(epoch=epoch))
    verify = checksummed_file.verify

    def fails(file):
        if file == path:
            raise OSError(5, "Input/output error")
        verify(file)

    monkeypatch.setattr(checksummed_file, "verify", fails)
    assert checkpoint.load(path, RECIPE, HERE)["epoch"] == 1
    assert "cannot be read" in caplog.text
    assert path.exists()


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1000, 100_000, 400_000])
def test_a_full_disk_is_an_error_of_the_system_and_leaves_all_as_it_was(tmp_path, room):
    path = tmp_path / "checkpoint.pt"
    save(path, state(epoch=1))
    with small_disk(room), pytest.raises(OSError, match="File too large"):
        save(path, state(epoch=2, weights=torch.ones(100_000)))
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert checkpoint.load(path, RECIPE, HERE)["epoch"] == 1


def test_a_writer_goes_on_when_the_disk_is_full_and_when_it_no_longer_is(tmp_path, caplog):
    path = tmp_path / "checkpoint.pt"
    (tmp_path / ".checkpoint.pt.0123").write_bytes(b"of a process that was killed")
    writer = checkpoint.Writer(path, lambda taken: None)
    places = []
    for epoch, room in ((1, 10**9), (2, 1000), (3, 10**9)):
        with small_disk(room):
            writer.submit(state(epoch=epoch, weights=torch.ones(1000)), (epoch, 0))
            writer.wait()
        places.append(writer.place[0])
    assert places == [1, 1, 3], "what is not on the disk does not count as saved"
    assert "checkpoint of epoch 2 not saved: [Errno 27]" in caplog.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]
