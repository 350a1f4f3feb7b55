"""``launch=local``: devices and threads are pinned, dead workers restarted, none left over."""

import os
import signal
import tempfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.conftest import Project, wait_for
from tuner.environment import SHARED
from tuner.errors import ConfigError, LaunchError
from tuner.launch import gpus, local, restarts
from tuner.launch.base import Order
from tuner.launch.gpu_packing import Packer, mps
from tuner.launch.local import Local
from tuner.launch.worker_logs import Log
from tuner.worker import device_lock

DEFAULTS = {
    "workers": None,
    "workers_per_device": 1,
    "mps": False,
    "threads": 1,
    "max_restarts": 0,
}


def slots(monkeypatch, visible: str, **change: int | None) -> list[dict[str, str]]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    launcher = Local(**(DEFAULTS | change))
    log = Log(0, Path(), BytesIO())
    return [dict(launcher.slot(k, log).environment) for k in range(launcher.workers)]


def test_one_worker_a_gpu_or_two_on_a_cpu(monkeypatch):
    assert [s["CUDA_VISIBLE_DEVICES"] for s in slots(monkeypatch, "2,3")] == ["2", "3"]
    assert len(slots(monkeypatch, "")) == 2
    packed = slots(monkeypatch, "2,3", workers_per_device=2)
    assert [s["CUDA_VISIBLE_DEVICES"] for s in packed] == ["2", "3", "2", "3"]
    assert packed[0]["TUNER_SHARED"] == packed[2]["TUNER_SHARED"] != packed[1]["TUNER_SHARED"]
    assert packed[0]["TUNER_MEMORY_FRACTION"] == "0.475"
    assert not {"TUNER_SHARED", "TUNER_MEMORY_FRACTION"} & set(slots(monkeypatch, "2,3")[0])


def test_numbers_mean_what_they_mean_to_whoever_gave_them(tmp_path, monkeypatch):
    """nvidia-smi counts by bus, CUDA by speed unless it is told to."""
    machine = Machine(tmp_path, monkeypatch)
    machine.command("nvidia-smi", "printf '0\\n1\\n'")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    asked = [slot.environment for slot in both(Local(**DEFAULTS))]
    assert [env["CUDA_VISIBLE_DEVICES"] for env in asked] == ["0", "1"]
    assert {env["CUDA_DEVICE_ORDER"] for env in asked} == {"PCI_BUS_ID"}
    assert all("CUDA_DEVICE_ORDER" not in env for env in slots(monkeypatch, "0,1"))


def both(launcher: Local) -> list[local.Slot]:
    return [launcher.slot(k, Log(k, Path(), BytesIO())) for k in range(2)]


def test_the_lock_of_a_partitioned_gpu_is_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (env, _) = slots(monkeypatch, "MIG-GPU-0a1b/1/0", workers=2)
    monkeypatch.setenv(SHARED, env[SHARED])
    with device_lock.hold(lambda: None):
        assert len(list(tmp_path.iterdir())) == 2


def test_an_nvidia_smi_that_hangs_is_named(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch)
    machine.command("nvidia-smi", "exec sleep 60")
    monkeypatch.setattr(gpus, "PATIENCE", 0.2)
    with pytest.raises(LaunchError, match=r"nvidia-smi has not listed .*; hint: set CUDA_"):
        Local(**DEFAULTS)
    assert gpus.loads() == {}, "of a search that is under way nothing ends"


class Machine:
    """A machine with GPUs, as far as its command-line tools tell: the boundary we ask at."""

    def __init__(self, directory: Path, monkeypatch) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        self.directory = directory
        self.command("nvidia-smi", f"cat {directory}/loads")
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def command(self, name: str, script: str) -> None:
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def loads(self, *rows: str) -> None:
        (self.directory / "loads").write_text("\n".join(rows) + "\n")


def test_a_device_with_room_takes_another_worker(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch)
    machine.loads(
        "0, GPU-a, 10000, 80000, 40", "1, GPU-b, 10000, 80000, 97", "2, GPU-c, 50000, 80000, 10"
    )
    packer = Packer(limit=5)
    workers = Counter("012")
    assert packer.room(workers, now=100.0) == [], "nothing is known yet"
    assert packer.room(workers, now=101.0) == []
    assert packer.room(workers, now=130.0) == ["0"], "1 is busy, 2 would not hold two of them"
    workers["0"] += 1
    assert packer.room(workers, now=133.0) == [], "measured anew with the new worker"
    assert packer.room(workers, now=160.0) == ["0"]
    workers["0"] += 1
    assert packer.room(workers, now=220.0) == [], "a core for each worker"


def test_devices_may_be_named_by_uuid_and_may_not_tell(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch)
    machine.loads("0, GPU-a, 10000, 80000, 40", "1, GPU-b, 10000, 80000, [N/A]")
    packer, workers = Packer(limit=5), {"GPU-a": 1, "GPU-b": 1}
    assert packer.room(workers, now=10.0) == []
    assert packer.room(workers, now=40.0) == ["GPU-a"]
    machine.command("nvidia-smi", "exit 9")
    assert packer.room(workers, now=80.0) == [], "a driver that fails ends no search"


@pytest.mark.parametrize(
    ("named", "visible", "order", "known"),
    [
        ("GPU-a1", "GPU-a1", None, True),
        ("GPU-a", "GPU-a", None, False),  # two begin so
        ("GPU-b", "GPU-b", None, True),
        ("MIG-GPU-a1b2/1/0", "MIG-GPU-a1b2/1/0", None, False),
        ("1", None, None, True),
        ("1", "1", "PCI_BUS_ID", True),
        ("1", "1", None, False),  # CUDA's second is another one
    ],
)
def test_a_device_that_nvidia_smi_does_not_know_is_said_once(
    tmp_path, monkeypatch, caplog, named, visible, order, known
):
    machine = Machine(tmp_path, monkeypatch)
    machine.loads(
        "0, GPU-a1b2, 10, 80000, 9", "1, GPU-a3c4, 10, 80000, 9", "2, GPU-b5d6, 10, 24000, 9"
    )
    for name, value in (("CUDA_VISIBLE_DEVICES", visible), ("CUDA_DEVICE_ORDER", order)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    packer = Packer(limit=5)
    room = [packer.room({named: 1}, now) for now in (10.0, 40.0, 70.0)]
    assert room == [[], [named] if known else [], [named] if known else []]
    said = [text for text in caplog.messages if "does not tell how full it is" in text]
    assert len(said) == (not known)


def test_a_peak_of_memory_counts_not_the_moment(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch)
    packer = Packer(limit=8)
    for now, row in ((10.0, "0, GPU-a, 60000, 80000, 5"), (40.0, "0, GPU-a, 1000, 80000, 5")):
        machine.loads(row)
        room = packer.room({"0": 1}, now)
    assert room == []


def test_mps_serves_the_workers_and_ends_with_them(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch)
    machine.command(
        "nvidia-cuda-mps-control",
        f'exec >> {tmp_path}/calls\necho "$CUDA_MPS_PIPE_DIRECTORY $@"\n[ "$1" ] || cat\n'
        'echo "sees ${CUDA_VISIBLE_DEVICES-all}"',
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")  # which it would call 0 and 1
    with mps(True) as environment:
        pipes = environment["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(pipes).is_dir()
    assert (tmp_path / "calls").read_text() == (f"{pipes} -d\nsees all\n{pipes} \nquit\nsees all\n")
    with mps(False) as environment:
        assert environment == {}


def test_mps_that_is_not_installed_is_said_and_done_without(monkeypatch, caplog):
    monkeypatch.setenv("PATH", "/nowhere")
    with mps(True) as environment:
        assert environment == {}
    assert "not installed" in caplog.text


def test_mps_that_does_not_start_is_said_and_done_without(tmp_path, monkeypatch, caplog):
    Machine(tmp_path, monkeypatch).command("nvidia-cuda-mps-control", "exit 1")
    with mps(True) as environment:
        assert environment == {}
    assert "returned non-zero exit status 1" in caplog.text


def test_a_launcher_without_workers_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"launch\.workers: expected int of 1 or more"):
        slots(monkeypatch, "", workers=0)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="this machine has no GPU"):
        gpus.require("cuda:0")
    gpus.require("cpu")
    gpus.require(None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    gpus.require("cuda:0")


def test_workers_leave_and_requeue_when_their_supervisor_is_killed(project: Project):
    tune = project.start("tune", "study.n_trials=4", "objective.fate=wait", "launch.workers=2")
    project.wait_until_held(2)
    tune.send_signal(signal.SIGKILL)
    study = project.study()
    wait_for(lambda: study.workers() == [])
    states = [t.state for t in study.optuna.get_trials()]
    assert sorted(s.name for s in states) == ["FAIL", "FAIL", "WAITING", "WAITING"]
    assert TrialState.RUNNING not in states


def test_a_worker_that_keeps_dying_ends_the_launch(project: Project, monkeypatch):
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.0)
    (project.directory / "toy.py").write_text(
        "import os\n"
        "def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *, report):\n"
        "    os._exit(9)\n"
    )
    args = ["launch.workers=1", "launch.max_restarts=1", "worker.max_retries=9"]
    project.call("tune", *args, code=1)
    assert "died once more (exit 9)" in project.stderr
    assert not [w for w in project.study().workers() if w.alive]
    assert os.path.exists(project.directory / "runs/toy/logs/worker-0.log")


def test_a_worker_that_was_reaped_already_does_not_keep_the_others_alive(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ended: list[str] = []
    order = Order(["sleep", "600"], tmp_path, lambda worker: ended.append(worker) or True, "mine")
    job = Local(**DEFAULTS | {"workers": 2}).start(order)
    first, second = (slot.process for slot in job.slots)
    first.kill()
    first.wait()  # as ``stop`` reaps a worker that has just died
    job.kill()
    assert second.returncode == -signal.SIGKILL
    assert len(ended) == 2


def test_the_pause_before_a_restart_depends_on_how_long_the_worker_lived(tmp_path, monkeypatch):
    """A worker that dies once an hour is not kept out for days in the end."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    now = [0.0]
    monkeypatch.setattr(local.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(restarts.random, "random", lambda: 0.0)
    launcher = Local(**DEFAULTS | {"workers": 1, "max_restarts": 100})
    job = launcher.start(Order(["false"], tmp_path, lambda worker: True, "mine"))
    (slot,) = job.slots
    pauses = []

    def die(after: float) -> None:
        slot.process.wait()
        now[0] += after
        job._ended(slot, 9)
        pauses.append(slot.restart_at - now[0])
        now[0] = slot.restart_at
        slot.start(job.order, {})

    for after in [5.0, 5.0, 3600.0, 5.0]:
        die(after)
    slot.process.wait()
    assert pauses == [1, 2, 1, 2]
    job.held.close()
