"""Machines for tests: namespaces, each with its own host name, address, daemons and /etc/slurm."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "machines.sh"
NEEDED = ("unshare", "nsenter", "ip", "munged", "slurmctld", "slurmd")


@dataclass
class Machines:
    """A network of machines, which share all directories that a package does not own."""

    directory: Path
    pid: int

    def run(self, machine: str, script: str, directory: Path, **env: str) -> str:
        """Run a bash script on a machine; returns what it wrote to stdout."""
        path = f"{self.directory}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        enter = ["nsenter", f"--target={self.pid}", "--pid", "--mount", "ssh", machine]
        done = subprocess.run(
            [*enter, "exec bash -eu"],
            input=f"cd '{directory}'\n{script}",
            env={**os.environ, "PATH": path, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@contextmanager
def machines(directory: Path, *names: str, gpus: int) -> Iterator[Machines]:
    """Start machines that run Debian's packages; skip with the reason if that is not possible."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
    if os.getuid() != 0 or subprocess.run([*namespaces, "true"], check=False).returncode:
        pytest.skip("namespaces can be made as root only, and not in every container")
    directory.mkdir()
    process = subprocess.Popen(
        [*namespaces, "--kill-child", str(SCRIPT), str(directory), str(gpus), *names],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        first = subprocess.check_output(["pgrep", "--parent", str(process.pid)], text=True)
        yield Machines(directory, int(first))
    finally:
        process.send_signal(signal.SIGKILL)  # unshare ignores SIGTERM
        process.communicate()
