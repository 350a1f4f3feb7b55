"""The real schedulers of others, where they are installed: they are no dependencies of ours."""

import importlib

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.curves import Task
from benchmarks.peers import LIMITS, PEERS
from benchmarks.simulator import simulate

SPACE = {"x": FloatDistribution(0, 1), "n": IntDistribution(1, 64, log=True)}
NEEDS = {"Ray Tune (ASHA, Optuna)": "ray.tune", "SMAC3 (multi-fidelity)": "smac"}


def curve(params):
    return (1 - (params["x"] - 0.3) ** 2 - params["n"] / 640) * np.arange(1, 28) / 27


TASK = Task("toy", SPACE, 27, curve, best=1.0, scale=1.0)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_searches_stops_early_and_resumes(name):
    try:
        importlib.import_module(NEEDS[name])
    except ImportError as error:
        pytest.skip(f"{NEEDS[name]} is not installed: {error}")
    trace = simulate(TASK, PEERS[name](TASK, 0), epochs=300, workers=4, seed=0)
    assert trace.jobs > 300 / 27
    assert trace.best[-1] > 0.8


def test_every_peer_has_a_limit():
    assert LIMITS.keys() == PEERS.keys() == NEEDS.keys()
