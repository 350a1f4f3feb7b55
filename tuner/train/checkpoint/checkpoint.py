"""Checkpoints that survive a killed process, and are resumed only with the same recipe."""

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
from tuner.train.checkpoint import checksummed_file, snapshot
from tuner.train.checkpoint.snapshot import Snapshot
from tuner.train.device import hardware
from tuner.train.device.hardware import Precision

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
"""Settings that are not part of a recipe: where a run is trained, and together with which others.

They may differ between the machines of one study, and may change when a run is resumed.
"""


LENGTH = {"trainer.epochs", "trainer.patience"}
"""Settings that may change when a training is continued for more epochs."""


def write(path: Path, taken: Snapshot) -> None:
    """Write a state such that ``path`` holds either the old content or all of the new.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    whole = {"tree": taken.tree, "pieces": taken.pieces}
    checksummed_file.write(path, lambda file: torch.save(whole, file))


class Writer:
    """Writes checkpoints in the background, one at a time.

    ``submit`` copies the state and returns; on a GPU the copy is queued among the kernels. Until
    ``wait`` has returned, the file may still be the previous one. If ``check`` raises for a state,
    it is not written. A disk that is full or missing only causes a warning, so that a run of days
    does not fail for a checkpoint.
    """

    def __init__(self, path: Path, check: Callable[[Snapshot], None]) -> None:
        self.path, self.check = path, check
        self.place = 0, 0
        """Epoch and steps of the checkpoint that is on the disk, or being written."""
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.seconds = 0.0
        """CPU time of the writing of the last checkpoint."""
        checksummed_file.clear(path)

    def submit(self, state: Mapping[str, Any], place: tuple[int, int]) -> None:
        """Start to write.

        Raises:
            Exception: The error of the previous checkpoint.
        """
        self.wait()
        before, self.place = self.place, place
        self.thread = threading.Thread(target=self._write, args=(snapshot.take(state), before))
        self.thread.start()

    def ready(self) -> bool:
        """Return whether ``wait`` would return at once."""
        return self.thread is None or not self.thread.is_alive()

    def wait(self) -> None:
        """Wait until the submitted state is on the disk, or cannot be written.

        Raises:
            Exception: Any other error of the checkpoint.
        """
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def remove_previous(self) -> None:
        """Remove the previous checkpoint to free disk space: a complete run is not resumed."""
        with suppress(OSError):
            checksummed_file.previous(self.path).unlink(missing_ok=True)

    def _write(self, taken: Snapshot, before: tuple[int, int]) -> None:
        try:
            taken.wait()
            self.check(taken)
            write(self.path, taken)
        except OSError as error:
            logger.warning(
                "checkpoint of epoch %d not saved: %s; trying again later", self.place[0], error
            )
            self.place = before
        except BaseException as error:  # raised by wait(), because a thread has no caller
            self.error = error
        self.seconds = time.thread_time()


def load(path: Path, recipe: Recipe, here: Fingerprint) -> dict[str, Any] | None:
    """Return the saved state with its tensors on the CPU; None without an intact checkpoint.

    A damaged checkpoint is replaced by the previous one. A fingerprint other than ``here`` causes a
    warning.

    Raises:
        ConfigError: The checkpoint was written with another recipe.
    """
    candidates = [p for p in (path, checksummed_file.previous(path)) if p.exists()]
    state = next((state for p in candidates if (state := _whole(p)) is not None), None)
    if state is None:
        if candidates:
            logger.error(
                "no valid checkpoint in %s: the training starts from the beginning", path.parent
            )
        return None
    theirs = state["recipe"]
    if (more := recipe.get("trainer.epochs", 0)) > (few := theirs.get("trainer.epochs", more)):
        logger.warning(
            "training up to epoch %d instead of %d: the learning-rate schedule becomes longer, so "
            "the learning rate is at first higher than at the end of the trial",
            more,
            few,
        )
        theirs = theirs | {key: recipe.get(key) for key in LENGTH}
    keys = sorted(key for key in theirs | recipe if theirs.get(key) != recipe.get(key))
    if keys:
        differences = ", ".join(f"{k}: {theirs.get(k)} then, {recipe.get(k)} now" for k in keys)
        raise ConfigError(
            f"{path} belongs to another configuration: {differences}",
            hint="use another run_dir, or delete it; trainer.initial=… loads only its weights",
        )
    if state["fingerprint"] != here:
        logger.warning(
            "resuming on %s a run that began on %s: results may differ in the last digits",
            here,
            state["fingerprint"],
        )
    return state


def _whole(path: Path) -> dict[str, Any] | None:
    """Return the saved state; set a damaged file aside and return None, with a warning."""
    try:
        return read(path)
    except checksummed_file.Damaged as error:
        logger.warning("%s is damaged: %s", path, error)
        with suppress(OSError):  # leaving it there does no harm
            path.replace(path.with_suffix(".damaged"))
    except OSError as error:
        logger.warning("%s cannot be read: %s", path, error)
    return None


def read(path: Path) -> dict[str, Any]:
    """Return what was saved, whatever its recipe, without executing code in it.

    Raises:
        checksummed_file.Damaged: The file is damaged, or intact but not a checkpoint.
        OSError: The file cannot be read.
    """
    checksummed_file.verify(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Any] = snapshot.restore(saved["tree"], saved["pieces"])
        if not (isinstance(state["recipe"], dict) and isinstance(state["fingerprint"], dict)):
            raise TypeError("it has no recipe or no fingerprint")
    except Exception as error:  # other kinds of files may raise anything here
        if isinstance(error, OSError | MemoryError) or "can't allocate memory" in str(error):
            raise
        said = str(error).partition("\n")[0].partition("\x1b")[0]
        raise checksummed_file.Damaged(
            f"it is not a checkpoint ({type(error).__name__}: {said})"
        ) from error
    return state


def fingerprint(device: torch.device, precision: Precision) -> Fingerprint:
    """Return everything besides the recipe on which the bits of a result depend."""
    return {
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": hardware.actual(device, precision),  # the recipe may leave it to the device
    }


def describe(**parts: Any) -> Recipe:
    """Return the settings of a run by dotted name, as plain values: ``{"model.depth": 3, …}``.

    Partials appear with their callable's name as ``model`` and their keywords below it.
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
