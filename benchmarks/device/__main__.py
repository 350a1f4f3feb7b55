"""Runs all tests and benchmarks that need a GPU, within minutes.

    make gpu
    python -m benchmarks.device --seconds 460 --out DIR
    python -m benchmarks.device --parts smoke tests --out DIR
    python -m benchmarks.device --device cpu --out DIR    # tiny sizes, to test the parts

DIR gets results.json, summary.md (tables for RESULTS.md) and output.log.  Each part is a separate
process with its own time limit; if one fails, the next one still runs.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.device import summary
from benchmarks.device.runner import FIGURES, ROOT, Part, Result, read, run

TOLD = 1_500
"""Characters that are printed from the end of a failed part's output."""


def module(name: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.{name}", *options, "--json", FIGURES)


def trainer(device: str, *options: str) -> tuple[str, ...]:
    """benchmarks/trainer.py at the sizes of Fashion-MNIST and CIFAR-10; tiny on a CPU."""
    script = (sys.executable, str(ROOT / "benchmarks" / "trainer.py"), "--device", device)
    if device == "cpu":
        sizes = ("--data", "digits", "cifar-noise", "--quick", "--limit", "256")
    else:
        sizes = ("--data", "fashion-noise", "cifar-noise", "--precision", "bf16")
    return (*script, *sizes, *options, "--json", FIGURES)


def plan(device: str) -> list[Part]:
    """The parts with their time limits in seconds, the least important last; tiny on a CPU."""
    tiny = device == "cpu"
    on = ("--device", device)
    search = ("--trials", "4", "--epochs", "20") if tiny else ()
    arms = ("--processes", "2", "--fused", "2", "--abreast", "2", "--sizes", "digits")
    if not tiny:
        arms = ("--processes", "4", "8", "--fused", "16", "32", "--abreast", "4")
    shapes = ("--trials", "1", "--images", "256", "--rounds", "1") if tiny else ()
    return [
        Part("machine", module("device.machine", *on), 60),
        Part("smoke", module("device.smoke", *on), 60),
        Part("tests", module("device.gpu_tests", "-k", "not compiled"), 180),
        Part("search", module("device.interrupted", *on, *search), 90),
        Part("paired", trainer(device, "--parts", "paired", *_epochs(device, 20, 3)), 45),
        Part("gap", trainer(device, "--parts", "gap", "--rounds", "3"), 40),
        Part("checkpoints", trainer(device, "--parts", "checkpoints", *_epochs(device, 20, 1)), 40),
        Part("ladder", trainer(device, "--parts", "ladder", *_epochs(device, 10, 3)), 45),
        Part("trials", module("fused", *on, "--quick", *arms, "--seconds", "110"), 135),
        Part("allocator", module("device.allocator", *on, *shapes), 75),
        Part("dataloader", trainer(device, "--parts", "alone", "--rounds", "1"), 90),
        Part(
            "compile",
            trainer(device, "--parts", "compile", *_epochs(device, 10, 1)),
            120,
            {"TORCHINDUCTOR_CACHE_DIR": f"{FIGURES}.cache"},  # nothing is compiled there yet
        ),
        Part("compiled tests", module("device.gpu_tests", "-k", "compiled"), 90),
    ]


def relaxed(part: Part) -> Part:
    """The part with three times its limit: a CPU run only shows that all parts work."""
    return replace(part, limit=3 * part.limit)


def _epochs(device: str, epochs: int, rounds: int) -> tuple[str, ...]:
    """Options for a GPU, where an epoch takes a tenth of a second, so that more are needed."""
    return () if device == "cpu" else ("--epochs", str(epochs), "--rounds", str(rounds))


def commit() -> str:
    """The commit of the checkout, with ``+`` if it has changes; ``unknown`` without git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def tell(part: Part, result: Result) -> None:
    """Print a line about the part, and the end of its output if it did not succeed."""
    print(
        f"{part.name}: {result.outcome}, {result.seconds:.0f} of {result.limit:.0f} s", flush=True
    )
    if result.outcome in ("failed", "stopped at its limit"):
        print("  | " + "\n  | ".join(result.tail[-TOLD:].splitlines()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in plan("cuda")]
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for tiny parts")
    parser.add_argument("--seconds", type=float, default=460, help="for all parts together")
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--commit", default=None, help="where the checkout has no .git")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    if asked.device != "cpu" and shutil.which("nvidia-smi") is None:
        parser.error("no NVIDIA GPU is here (no nvidia-smi); hint: --device cpu for tiny parts")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the part that is running
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    parts = [part for part in plan(asked.device) if part.name in asked.parts]
    if asked.device == "cpu":
        parts = [relaxed(part) for part in parts]
    about: dict[str, Any] = {
        "commit": asked.commit or commit(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "device": asked.device,
        "command": " ".join(sys.argv[1:]),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("CUDA", "PYTORCH"))},
    }
    failures = 0
    for part, result in run(parts, asked.seconds, asked.out, about):
        tell(part, result)
        failures += result.outcome != "done"
        text = summary.markdown(read(asked.out / "results.json"))
        (asked.out / "summary.md").write_text(text)
    print(f"\n{text}")
    sys.exit(min(failures, 1))


if __name__ == "__main__":
    main()
