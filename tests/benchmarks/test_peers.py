"""The schedulers of other libraries, where installed; tuner does not depend on them."""

import warnings

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks import search
from benchmarks.curves import Task
from benchmarks.peers import PEERS, Peer
from benchmarks.peers.ray import Controller
from benchmarks.simulator import simulate

SPACE = {"x": FloatDistribution(0, 1), "n": IntDistribution(1, 64, log=True)}


def curve(params):
    return 100 * (1 - (params["x"] - 0.3) ** 2 - params["n"] / 640) * np.arange(1, 28) / 27


TASK = Task("toy", SPACE, 27, curve, best=100.0, scale=100.0)
ABSENT = Peer(lambda task, seed: None, ("no_such_module",), "no-such-package")


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_searches_stops_early_and_resumes(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, of parts that they share with others
        if why := PEERS[name].missing():
            pytest.skip(why)
        trace = simulate(TASK, PEERS[name].make(TASK, 0), budget=300, workers=4, seed=0)
    assert trace.jobs > 300 / 27
    assert trace.completed
    assert trace.best[-1] > 80


def test_a_peer_that_is_not_installed_says_what_to_install():
    assert ABSENT.missing() == "No module named 'no_such_module'; hint: pip install no-such-package"


def test_a_missing_peer_ends_the_benchmark_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setitem(PEERS, "absent", ABSENT)
    monkeypatch.setattr("sys.argv", ["search", "--cache", str(tmp_path / "c"), "--only", "absent"])
    with pytest.raises(SystemExit, match=r"absent: .*hint: pip install no-such-package"):
        search.main()
    assert not (tmp_path / "c").exists()


class Halving:
    """A scheduler like Ray's that pauses at the first epoch and goes on with the better of two."""

    def __init__(self):
        self.paused, self.pauses, self.ready, self.ended = [], [], [], []

    def choose_trial_to_run(self, controller):
        return self.ready.pop() if self.ready else None

    def on_trial_add(self, controller, trial):
        assert trial.status == "PENDING"

    def on_trial_remove(self, controller, trial):
        self.ended.append(trial.job.number)

    def on_trial_complete(self, controller, trial, result):
        self.ended.append(trial.job.number)

    def on_trial_result(self, controller, trial, result):
        assert trial.status == "RUNNING"
        if result["training_iteration"] == TASK.epochs:
            return "STOP"
        if result["training_iteration"] > 1:
            return "CONTINUE"
        self.paused.append((result["value"], trial))
        if len(self.paused) < 2:
            self.pauses.append((trial.trial_id, 1))
            return "PAUSE"
        (_, worse), (_, better) = sorted(self.paused, key=lambda pair: pair[0])
        self.paused = []
        self.ready += [better] if better is not trial else []
        if worse is not trial:
            controller.stop_trial(worse)
            return "CONTINUE"
        return "STOP"


class Uniform:
    """A searcher like Ray's that remembers what it is told."""

    def __init__(self):
        self.stream = np.random.default_rng(0)
        self.results, self.completed = [], []

    def suggest(self, trial_id):
        return {"x": self.stream.uniform(), "n": 1}

    def on_trial_result(self, trial_id, result):
        self.results.append((trial_id, result["training_iteration"]))

    def on_trial_complete(self, trial_id, result=None):
        self.completed.append(trial_id)


def test_the_controller_pauses_goes_on_and_stops_as_ray_does():
    search, scheduler = Uniform(), Halving()
    trace = simulate(TASK, Controller(search, scheduler), budget=120, workers=2, seed=0)
    assert trace.completed >= 2
    assert len(set(search.completed)) == len(search.completed)  # each ends once
    assert {int(key) for key in search.completed} == set(scheduler.ended)
    # What stops a trial is told by its completion alone, as in Ray.
    assert not any(epoch == TASK.epochs for _, epoch in search.results)
    resumed = [key for key, epoch in search.results if epoch == 2]
    assert resumed
    assert set(scheduler.pauses) <= set(search.results)  # what is paused is told
