"""What the launchers share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import wait_for
from tests.launch import test_local, test_slurm
from tuner.launch.base import Order
from tuner.launch.local import Local
from tuner.launch.ray_supervisor import Keeper
from tuner.launch.slurm import Slurm

TELL = "import json, os; print(json.dumps(dict(os.environ)))"
COMMAND = [sys.executable, "-c", TELL]


def by_local(directory: Path) -> str:
    launcher = Local(**test_local.DEFAULTS | {"workers": 1, "threads": 3})
    job = launcher.start(Order(COMMAND, directory, lambda worker: False, "mine"))
    wait_for(lambda: not job.poll())
    return (directory / "worker-0.log").read_text()


def by_ray(directory: Path) -> str:
    return Keeper("here", COMMAND, {}, 3, str(directory), "worker.log", 0).wait()[1]


def by_slurm(directory: Path) -> str:
    script = Slurm(**test_slurm.KEYS | {"cpus_per_worker": 3}).script(COMMAND)
    test_slurm.command(directory, "scancel", "")
    env = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash"], input=script, env=env, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("launched", [by_local, by_ray, by_slurm])
def test_a_worker_has_the_same_environment_on_every_engine(
    tmp_path, monkeypatch, launched: Callable[[Path], str]
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    expected = {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "OMP_WAIT_POLICY": "passive",
        "MALLOC_ARENA_MAX": "1",
    }
    for before, tunables in [("", ""), ("glibc.malloc.check=0", "glibc.malloc.check=0:")]:
        monkeypatch.setenv("GLIBC_TUNABLES", before)
        expected["GLIBC_TUNABLES"] = f"{tunables}glibc.malloc.hugetlb=1"
        directory = tmp_path / (before or "unset")
        directory.mkdir()
        environment = json.loads(launched(directory))
        assert {name: environment.get(name) for name in expected} == expected
