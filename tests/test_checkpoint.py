import functools
import logging
import pickle

import pytest
import torch

from tests.recipes import CPU, MODEL, settings
from tuner.errors import ConfigError
from tuner.train import checkpoint
from tuner.train.augment import Augment
from tuner.train.model import cnn

RECIPE = {"model.depth": 2, "seed": 1}


def state(**extra):
    return {"recipe": RECIPE, "fingerprint": checkpoint.fingerprint(CPU), **extra}


def test_what_was_saved_is_loaded_also_from_an_ugly_path(tmp_path):
    path = tmp_path / "a 'b' é" / "checkpoint.pt"
    checkpoint.save(path, state(x=torch.arange(3), epoch=2))
    loaded = checkpoint.load(path, RECIPE, CPU)
    assert loaded["epoch"] == 2
    assert loaded["x"].tolist() == [0, 1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


def test_there_may_be_none(tmp_path):
    assert checkpoint.load(tmp_path / "checkpoint.pt", RECIPE, CPU) is None


def test_a_save_that_dies_halfway_leaves_the_old_one_whole(tmp_path):
    class Dies:
        def __reduce__(self):
            raise SystemExit

    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state(epoch=1))
    with pytest.raises(SystemExit):
        checkpoint.save(path, state(epoch=2, x=torch.zeros(100_000), y=Dies()))
    assert checkpoint.load(path, RECIPE, CPU)["epoch"] == 1


def test_a_checkpoint_runs_no_code(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state(x=functools.partial(print, "run")))
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(path, RECIPE, CPU)


def test_another_recipe_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state())
    with pytest.raises(ConfigError, match=r"model.depth: 2 then, 3 now.*hint: another run_dir"):
        checkpoint.load(path, RECIPE | {"model.depth": 3}, CPU)
    with pytest.raises(ConfigError, match="new: None then, 1 now"):
        checkpoint.load(path, RECIPE | {"new": 1}, CPU)


def test_another_machine_is_told_that_the_bits_may_differ(tmp_path, caplog):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state() | {"fingerprint": {"threads": 64, "torch": "1", "device": "x"}})
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load(path, RECIPE, CPU) is not None
    assert "not to the bit" in caplog.text


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
    assert here["model"] == "tuner.train.model.cnn"
    assert here["model.depth"] == 2
    assert here["model.kernel_size"] == [3, 5]
    assert here["data.augment.shift"] == 2
    assert here["trainer.epochs"] == 3
    assert here["loss"] == "tuner.train.augment.Augment"
    assert here["seed"] == 3
    assert here == recipe("/there", 2)
    assert here != recipe("/here", 3)


@pytest.mark.parametrize("size", [0, 1, 100, 0.5, 0.99])
def test_a_torn_file_is_set_aside_and_the_training_starts_anew(tmp_path, size, caplog):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"recipe": {}, "fingerprint": {}, "weights": torch.ones(1000)})
    content = path.read_bytes()
    path.write_bytes(content[: int(size * len(content)) if isinstance(size, float) else size])
    assert checkpoint.load(path, {}, torch.device("cpu")) is None
    assert "is damaged" in caplog.text
    assert not path.exists()
    assert path.with_suffix(".damaged").exists()
