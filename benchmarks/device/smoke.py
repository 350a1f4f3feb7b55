"""Smoke test: three epochs with each notation of the device and each precision.

python -m benchmarks.device.smoke --device cuda --json smoke.json
"""

import argparse
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from benchmarks.device import runner
from tests import recipes

EPOCHS = 3

Case = tuple[str | None, dict[str, Any]]
"""What ``engine.train`` is given as its device, and the trainer's settings."""


def cases(device: str) -> dict[str, Case]:
    """The cases by name; ``device`` is ``cuda`` or ``cpu``."""
    first = "cuda:0" if device.startswith("cuda") else device
    found: dict[str, Case] = {
        "device=null": (None, {}),
        f"device={device}": (device, {}),
        f"device={first}": (first, {}),
        "deterministic": (first, {"deterministic": True}),
        "final": (first, {"protocol": "final"}),
        "fp32": (first, {"precision": "fp32"}),
        "tf32": (first, {"precision": "tf32"}),
        "captured": (first, {"graph": "graph"}),
    }
    if device == "cpu":
        del found["captured"], found["tf32"]
    return found


class Report(recipes.Curve):
    """A curve, and the facts that a run notes."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: dict[str, Any] = {}

    def note(self, **facts: Any) -> None:
        self.facts |= facts


def smoke(given: str | None, changes: dict[str, Any]) -> dict[str, Any]:
    """Train once.  Raises: AssertionError for a wrong device or result, and what the run raises."""
    report, began = Report(), time.perf_counter()
    trainer = recipes.settings(epochs=EPOCHS, **changes)
    with tempfile.TemporaryDirectory() as directory:
        value = recipes.train(Path(directory), report, device=given, trainer=trainer)
        exported = (Path(directory) / "model.safetensors").exists()
    best = "cuda" if torch.cuda.is_available() else "cpu"
    wanted, used = torch.device(given or best).type, str(report.facts["device"])
    assert used.startswith(wanted), f"asked for {wanted}, trained on {used}"
    final = changes.get("protocol") == "final"
    assert exported == final, "the final protocol leaves a model, and a search none"
    assert list(report.points) == ([EPOCHS] if final else list(range(1, EPOCHS + 1)))
    return {"seconds": round(time.perf_counter() - began, 2), "accuracy": value, **report.facts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, case in cases(asked.device).items():
        try:
            found[name] = smoke(*case)
        except Exception as error:  # the next case may work
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        print(f"{name}: {found[name]}", flush=True)
        runner.write(asked.json, found)
    raise SystemExit(any("error" in case for case in found.values()))


if __name__ == "__main__":
    main()
