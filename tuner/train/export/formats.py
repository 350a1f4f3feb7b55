"""Export a trained model to other formats, each of which is compared with the model."""

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.export import Dim

from tuner.errors import TunerError
from tuner.train.export.inference_module import Deployed

TOLERANCE = 1e-4
"""Maximum difference of a probability, or relative difference of a number, by float32 rounding."""
NEEDED = {"pt2": (), "onnx": ("onnx", "onnxscript", "onnxruntime")}
"""Format → the modules that it needs besides torch."""

Run = Callable[[np.ndarray], np.ndarray]


def _any_batch() -> dict[str, Any]:
    """Return the shape of an input of any batch size; creating it imports SymPy for 0.3 s."""
    return {"images": {0: Dim("batch")}}


def missing(form: str) -> list[str]:
    """Return the modules that a format needs and that are not installed."""
    return [name for name in NEEDED[form] if importlib.util.find_spec(name) is None]


def write(module: Deployed, form: str, path: Path, examples: Path) -> float:
    """Write one format of the model to ``path`` and compare it on real images.

    ``examples`` is the ``examples.safetensors`` that was written when the model was trained. The
    input is ``images`` uint8 [batch, H, W, C] of any batch size, the output float32 [batch, k].

    Returns:
        The largest difference.

    Raises:
        TunerError: The difference is above TOLERANCE; no file is left.
    """
    known = load_file(examples)
    images, outputs = known["images"].numpy(), known["outputs"].numpy()
    with torch.inference_mode():
        compare("the network with its weights", module(known["images"]).numpy(), outputs)
    traced = torch.zeros(2, *images.shape[1:], dtype=torch.uint8)
    with _quiet():
        run = {"pt2": _pt2, "onnx": _onnx}[form](module, traced, path)
        # Also with batches of other sizes than the two images of the export.
        found = np.concatenate([run(images[:1]), run(images)[1:]])
    try:
        return compare(path.name, found, outputs)
    except TunerError:
        path.unlink()
        raise


def compare(name: str, found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the largest difference.

    Raises:
        TunerError: It is above TOLERANCE.
    """
    difference = np.abs(found - wanted) / np.maximum(1, np.abs(wanted))
    largest = float(difference.max(initial=0.0))
    if not largest <= TOLERANCE or not np.isfinite(found).all():
        raise TunerError(
            f"{name} differs from the trained model: outputs on {len(wanted)} real images differ "
            f"by up to {largest:.2g}, more than {TOLERANCE:g}",
            hint="please report this",
        )
    return largest


def _pt2(traced: Deployed, images: Tensor, path: Path) -> Run:
    program = torch.export.export(traced, (images,), dynamic_shapes=_any_batch())
    torch.export.save(program, path)
    module = torch.export.load(path).module()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: Tensor = module(torch.from_numpy(images))
        return found.numpy()

    return run


def _onnx(traced: Deployed, images: Tensor, path: Path) -> Run:
    import onnxruntime  # an extra, and slow to import

    name = "numbers" if traced.regression else "probabilities"
    torch.onnx.export(
        traced, (images,), path, dynamo=True, dynamic_shapes=_any_batch(),
        input_names=["images"], output_names=[name], external_data=False, verbose=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run([name], {"images": images})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporters' warnings about their internals."""
    before = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(before)
