"""Workers that are forked: what they are given, how they end, and when there are none."""

import os
import signal
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.conftest import wait_for
from tuner.launch import fork_server
from tuner.launch.base import Process
from tuner.launch.fork_server import COMMAND, ForkServer, modules, suits

STAND_IN = """
import os, signal, sys, time
import tuner.cli

def run():
    parent = os.environ["TUNER_SUPERVISOR_PID"] == str(os.getppid())
    leads = os.getsid(0) == os.getpid()
    usual = signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    print(*sys.argv[1:], os.environ["MARK"], parent, leads, usual, flush=True)
    if sys.argv[1] == "wait":
        time.sleep(600)
    return int(sys.argv[1])

tuner.cli.run = run
"""
CFG = {
    "launch": {"_target_": "tuner.launch.local.Local", "threads": 1},
    "objective": {"_target_": "tuner.train.engine.train", "model": {"_target_": "mine.Net"}},
    "data": {"_target_": "tuner.train.data.dataset.digits"},
    "sampler": {"_target_": "optuna.samplers.RandomSampler"},
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server whose processes print what they are, and end as their first word says."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setattr(fork_server, "suits", lambda _: True)
    monkeypatch.setattr(fork_server, "modules", lambda _: ["stand_in", "there_is_none"])
    with ForkServer() as started:
        started.begin(OmegaConf.create(CFG))
        yield started


def forked(server: ForkServer, path: Path, *words: str) -> Process:
    with path.open("ab") as log:
        process = server.fork([*COMMAND, *words], {**os.environ, "MARK": path.name}, log)
    assert process is not None
    return process


def test_a_process_has_its_command_environment_and_log_and_tells_its_code(server, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    processes = [forked(server, first, "7", "a b"), forked(server, second, "0")]
    assert [process.wait() for process in processes] == [7, 0]
    assert [process.poll() for process in processes] == [7, 0]
    assert first.read_text() == "7 a b first True True True\n"
    assert second.read_text() == "0 second True True True\n"


def test_a_signal_ends_one_process_and_no_other(server, tmp_path):
    one, other = (forked(server, tmp_path / name, "wait") for name in ("one", "other"))
    wait_for(lambda: (tmp_path / "one").read_text())
    os.killpg(one.pid, signal.SIGKILL)
    assert one.wait() == -signal.SIGKILL
    assert other.poll() is None
    other.send_signal(signal.SIGTERM)
    assert other.wait() == -signal.SIGTERM
    other.send_signal(signal.SIGTERM)  # nobody else's process by now


def test_without_the_server_its_processes_are_ended_and_others_are_started_as_usual(
    server, tmp_path
):
    process = forked(server, tmp_path / "log", "wait")
    os.kill(server.process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with (tmp_path / "log").open("ab") as log:
        assert server.fork([*COMMAND, "0"], dict(os.environ), log) is None


def test_a_context_leaves_no_server_behind(server):
    pid = server.process.pid
    server.__exit__()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nothing_is_forked_unless_it_was_begun_nor_a_program_of_another_kind(server, tmp_path):
    with (tmp_path / "log").open("ab") as log, ForkServer() as idle:
        assert idle.fork([*COMMAND, "0"], {}, log) is None
        assert server.fork(["sh", "-c", "exit 0"], {}, log) is None


@pytest.mark.parametrize(
    ("key", "value", "gpus", "expected"),
    [
        ("launch.threads", 2, "", True),
        ("launch.threads", 1, "0", False),
        ("launch._target_", "tuner.launch.slurm.Slurm", "", False),
        ("objective._target_", "mine.train", "", False),
    ],
)
def test_workers_of_the_trainer_are_forked_on_this_machines_cpu(
    monkeypatch, key, value, gpus, expected
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setattr(sys, "platform", "linux")
    cfg = OmegaConf.create(CFG)
    OmegaConf.update(cfg, key, value)
    assert suits(cfg) is expected


def test_only_modules_of_tuner_are_imported_for_them():
    named = modules(OmegaConf.create(CFG))
    assert {"tuner.train.engine", "tuner.train.data.dataset"} <= set(named)
    assert not {"mine", "optuna.samplers"} & set(named)
