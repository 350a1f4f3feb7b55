"""``launch=local``: devices and threads are pinned, the dead are replaced, none is left behind."""

import os
import signal

import pytest
from optuna.trial import TrialState

from tests.conftest import Project
from tests.test_worker import wait_for
from tuner.launch import local
from tuner.launch.local import Local


def slots(monkeypatch, visible: str, **change: int | None) -> list[dict[str, str]]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    asked = {"workers": None, "workers_per_device": 1, "threads": 1, "max_restarts": 0} | change
    launcher = Local(**asked)
    return [launcher._environment(k) for k in range(launcher.workers)]


def test_one_worker_a_gpu_or_two_on_a_cpu(monkeypatch):
    assert [s["CUDA_VISIBLE_DEVICES"] for s in slots(monkeypatch, "2,3")] == ["2", "3"]
    assert len(slots(monkeypatch, "")) == 2
    packed = slots(monkeypatch, "2,3", workers_per_device=2)
    assert [s["CUDA_VISIBLE_DEVICES"] for s in packed] == ["2", "3", "2", "3"]
    assert packed[0]["TUNER_SHARED"] == packed[2]["TUNER_SHARED"] != packed[1]["TUNER_SHARED"]
    assert "TUNER_SHARED" not in slots(monkeypatch, "2,3")[0]


def test_threads_are_pinned_before_torch_is_imported(monkeypatch):
    (first, _) = slots(monkeypatch, "", threads=3)
    assert (first["OMP_NUM_THREADS"], first["OMP_WAIT_POLICY"]) == ("3", "passive")


def test_a_launcher_without_workers_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"launch\.workers must be at least 1, got 0"):
        slots(monkeypatch, "", workers=0)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "no GPU is here" in local.missing("cuda:0")[0]
    assert local.missing("cpu") == local.missing(None) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert local.missing("cuda:0") == []


@pytest.mark.slow
def test_workers_leave_and_requeue_when_their_supervisor_is_killed(project: Project):
    args = ["study.n_trials=4", "objective.epochs=40", "objective.seconds=0.1"]
    tune = project.start("tune", *args)
    wait_for(lambda: len({pid for _, _, pid in project.journal()}) == 2)
    tune.send_signal(signal.SIGKILL)
    wait_for(lambda: project.study().workers() == [], 20)
    states = [t.state for t in project.study().optuna.get_trials()]
    assert sorted(s.name for s in states) == ["FAIL", "FAIL", "WAITING", "WAITING"]
    assert TrialState.RUNNING not in states


@pytest.mark.slow
def test_a_worker_that_keeps_dying_ends_the_launch(project: Project):
    (project.directory / "toy.py").write_text(
        "import os\n"
        "def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *, report):\n"
        "    os._exit(9)\n"
    )
    args = ["launch.workers=1", "launch.max_restarts=1", "worker.max_retries=9"]
    tune = project.start("tune", *args)
    _, err = tune.communicate(timeout=60)
    assert tune.returncode == 1
    assert "died once more (exit 9)" in err
    assert not [w for w in project.study().workers() if w.alive]
    assert os.path.exists(project.directory / "runs/toy/logs/worker-0.log")
