"""Checkpoints that a killed process leaves whole, and that only their own recipe resumes."""

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch

from tuner.errors import ConfigError
from tuner.train import hardware, sealed, snapshot
from tuner.train.hardware import Precision
from tuner.train.snapshot import Snapshot

logger = logging.getLogger(__name__)

Recipe = dict[str, Any]
Fingerprint = dict[str, str | int]

ELSEWHERE = {
    "data.root",
    "data.download",
    "data.workers",
    "trainer.fused",
    "trainer.fused_wait",
    "trainer.devices",
    "trainer.graph",
    "trainer.checkpoint_every",
}
"""Settings that are no part of a recipe: where and beside whom a run is trained.

They may differ between the machines of one study, and a run may be resumed under others.
"""


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Writes ``state`` so that ``path`` holds either the old content or all of the new.

    Raises: OSError, such as for a full disk.
    """
    _write(path, snapshot.take(state))


def _write(path: Path, taken: Snapshot) -> None:
    whole = {"tree": taken.tree, "pieces": taken.pieces}
    sealed.write(path, lambda file: torch.save(whole, file))


class Writer:
    """Writes checkpoints beside the training, one at a time.

    ``submit`` takes a copy of the state and returns; on a GPU the copy is made in its turn among
    the kernels.  Until ``wait`` has returned the file may still be the one before.  What ``check``
    raises of a state that has arrived is raised in place of writing it.  A disk that is full or
    gone is warned of and no more: a run of days should not die for want of a checkpoint.
    """

    def __init__(self, path: Path, check: Callable[[Snapshot], None]) -> None:
        self.path, self.check = path, check
        self.place = 0, 0
        """Epoch and steps of the checkpoint that is on the disk, or on its way there."""
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.seconds = 0.0
        """CPU time that the last one took beside the training."""
        sealed.clear(path)

    def submit(self, state: Mapping[str, Any], place: tuple[int, int]) -> None:
        """Begins to write.  Raises: what went wrong with the one before."""
        self.wait()
        before, self.place = self.place, place
        self.thread = threading.Thread(target=self._write, args=(snapshot.take(state), before))
        self.thread.start()

    def ready(self) -> bool:
        """Whether ``wait`` would return at once."""
        return self.thread is None or not self.thread.is_alive()

    def wait(self) -> None:
        """Returns once what was submitted is on the disk, or cannot be written there.

        Raises: what else went wrong with it.
        """
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def _write(self, taken: Snapshot, before: tuple[int, int]) -> None:
        try:
            taken.wait()
            self.check(taken)
            _write(self.path, taken)
        except OSError as error:
            logger.warning("no checkpoint of epoch %d: %s; later again", self.place[0], error)
            self.place = before
        except BaseException as error:  # a thread has nobody to raise to
            self.error = error
        self.seconds = time.thread_time()


def load(path: Path, recipe: Recipe, here: Fingerprint) -> dict[str, Any] | None:
    """What was saved, its tensors on the CPU; None where there is no checkpoint that is whole.

    Of one that is damaged the one before takes the place.  Another fingerprint than ``here`` is
    warned of.

    Raises: ConfigError where the checkpoint was made by another recipe.
    """
    candidates = [p for p in (path, sealed.previous(path)) if p.exists()]
    state = next((state for p in candidates if (state := _whole(p)) is not None), None)
    if state is None:
        if candidates:
            logger.error("no checkpoint in %s is whole: the training starts anew", path.parent)
        return None
    theirs = state["recipe"]
    keys = sorted(key for key in theirs | recipe if theirs.get(key) != recipe.get(key))
    if keys:
        differences = ", ".join(f"{k}: {theirs.get(k)} then, {recipe.get(k)} now" for k in keys)
        raise ConfigError(
            f"{path} belongs to another configuration: {differences}",
            hint="another run_dir, or delete the checkpoint",
        )
    if state["fingerprint"] != here:
        logger.warning(
            "resuming on %s what began on %s: the result is much the same, but not to the bit",
            here,
            state["fingerprint"],
        )
    return state


def _whole(path: Path) -> dict[str, Any] | None:
    """What was saved; None, and a warning, of a file that is damaged, which is set aside."""
    try:
        return read(path)
    except sealed.Damaged as error:
        logger.warning("%s is damaged: %s", path, error)
        with suppress(OSError):  # it is in nobody's way
            path.replace(path.with_suffix(".damaged"))
    except OSError as error:
        logger.warning("%s cannot be read: %s", path, error)
    return None


def read(path: Path) -> dict[str, Any]:
    """What was saved, whatever its recipe; no code in it is run.

    Raises: sealed.Damaged, also for one that is whole but no checkpoint; OSError.
    """
    sealed.verify(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Any] = snapshot.restore(saved["tree"], saved["pieces"])
        if not (isinstance(state["recipe"], dict) and isinstance(state["fingerprint"], dict)):
            raise TypeError("it says of no recipe and machine")
    except Exception as error:  # whatever a file of another kind makes of either
        if isinstance(error, OSError | MemoryError) or "can't allocate memory" in str(error):
            raise
        said = str(error).partition("\n")[0].partition("\x1b")[0]
        raise sealed.Damaged(f"it is no checkpoint ({type(error).__name__}: {said})") from error
    return state


def fingerprint(device: torch.device, precision: Precision) -> Fingerprint:
    """What the bits of a result depend on beside the recipe."""
    return {
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": hardware.actual(device, precision),  # which the recipe may leave to the device
    }


def describe(**parts: Any) -> Recipe:
    """The settings of a run by dotted name, as plain values: ``{"model.depth": 3, …}``.

    Partials give their callable's name as ``model`` and their keywords below it.
    """
    flat: Recipe = {}
    for name, part in parts.items():
        match part:
            case functools.partial():
                flat |= {name: _name(part.func)}
                flat |= describe(**{f"{name}.{key}": value for key, value in part.keywords.items()})
            case _ if is_dataclass(part) and not isinstance(part, type):
                flat |= describe(**{f"{name}.{key}": value for key, value in asdict(part).items()})
            case bool() | int() | float() | str() | None | list() | tuple():
                flat[name] = list(part) if isinstance(part, tuple) else part
            case _:
                flat[name] = _name(part if callable(part) else type(part))
    return {key: value for key, value in flat.items() if not key.startswith(tuple(ELSEWHERE))}


def _name(target: Any) -> str:
    return f"{target.__module__}.{getattr(target, '__qualname__', type(target).__qualname__)}"
