"""Other optimisers with their own schedulers, fed from the same curves by ``search.py``.

Each decides by itself what to try, how far to train it and when to go on with it; ours are the
curves, the eight workers and the clock.  They are no dependencies of the project: each runs in an
environment of its own, beside what ``search.py`` needs, and is imported when it is made.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.curves import Task
from benchmarks.peers import neps, ray, smac, syne_tune
from benchmarks.simulator import Strategy


@dataclass(frozen=True)
class Peer:
    """How a peer is made, what it needs, and how long it may search."""

    make: Callable[[Task, int], Strategy]
    modules: Sequence[str]
    install: str
    """What ``pip install`` needs to be told."""
    full_trainings: int = 100
    """After which it is stopped, where its proposals take long."""

    def missing(self) -> str:
        """Why it can't run here, or nothing."""
        try:
            for module in self.modules:
                importlib.import_module(module)
        except ImportError as error:
            return f"{error}; hint: pip install {self.install}"
        return ""


_RAY = ("ray.tune",), "'ray[tune]'"
_BOHB = ("ray.tune", "hpbandster", "ConfigSpace"), "'ray[tune]' hpbandster ConfigSpace"
_SYNE = ("syne_tune",), "syne-tune"

PEERS: dict[str, Peer] = {
    "Ray Tune (ASHA, Optuna)": Peer(ray.asha, *_RAY),
    "Ray Tune (HyperBand)": Peer(ray.hyperband, *_RAY),
    "Ray Tune (BOHB)": Peer(ray.bohb, *_BOHB, full_trainings=40),
    "Syne Tune (ASHA)": Peer(syne_tune.make("ASHA"), *_SYNE),
    "Syne Tune (BOHB)": Peer(syne_tune.make("BOHB"), *_SYNE, full_trainings=40),
    "Syne Tune (ASHA, CQR)": Peer(syne_tune.make("ASHACQR"), *_SYNE, full_trainings=10),
    "NePS (PriorBand)": Peer(neps.make("priorband"), ("neps",), "neural-pipeline-search"),
    "SMAC3 (multi-fidelity)": Peer(smac.MultiFidelity, ("smac",), "smac", full_trainings=10),
}
