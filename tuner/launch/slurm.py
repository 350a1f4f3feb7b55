"""Run workers as the tasks of a Slurm job array, with the scheduler's own commands.

submitit would add pickled Python functions, which ``tuner worker`` does not need, and one class per
job. The required operations (validating a job before submission, requeueing a task from within,
cancelling pending tasks, finding an array again) are single calls of sbatch, squeue, scontrol and
scancel.
"""

import re
import shlex
import shutil
from collections.abc import Sequence
from importlib.resources import files

from tuner.config.bounds import Count, Whole
from tuner.config.types import validate_arguments
from tuner.environment import GAVE_WAY
from tuner.errors import ConfigError
from tuner.launch.base import Order, worker_environment
from tuner.launch.restarts import RestartPolicy
from tuner.launch.slurm_array import Array, slurm_command
from tuner.log import log

COMMANDS = ("sbatch", "squeue", "scancel")


class Slurm:
    """The launcher ``launch=slurm``: a job array on a Slurm cluster."""

    spread = True

    @validate_arguments("launch")
    def __init__(
        self,
        workers: Count,
        partition: str | None,
        account: str | None,
        gpus_per_worker: Whole | None,
        cpus_per_worker: Count,
        memory: str | None,
        time_limit: str | int | None,
        notice: Whole,
        max_restarts: Whole,
        setup: list[str],
        python: str | None,
        sbatch: list[str],
        poll: float,
        detach: bool,
    ) -> None:
        self.workers = workers
        self.cpus_per_worker = cpus_per_worker
        self.notice = notice
        self.max_restarts = max_restarts
        self.setup = setup
        self.python = python
        self.extra = sbatch
        self.poll = poll
        self.detach = detach
        self.asked = {
            "partition": partition,
            "account": account,
            "gres": f"gpu:{gpus_per_worker}" if gpus_per_worker else None,
            "cpus-per-task": cpus_per_worker,
            "mem": memory,
            "time": time_limit,
        }

    def describe(self) -> str:
        """Describe the tasks, such as ``4 tasks of a Slurm job array``, and the estimated start."""
        missing = [name for name in COMMANDS if shutil.which(name) is None]
        if missing:
            raise ConfigError(
                f"launch=slurm: {', '.join(missing)} not found",
                hint="run the command on a machine of the cluster that may "
                "submit jobs, or use launch=local",
            )
        estimate = slurm_command(["sbatch", "--test-only", *self.options()], "#!/bin/sh\n").stderr
        when = re.search(r"to start at \S+", estimate)
        tasks = f"{self.workers} task{'s' * (self.workers > 1)} of a Slurm job array"
        return f"{tasks}, the first {when[0]}" if when else tasks

    def options(self) -> list[str]:
        """Return the options of sbatch."""
        return [
            "--parsable",
            "--requeue",
            "--open-mode=append",
            "--nodes=1",
            "--ntasks=1",
            f"--array=0-{self.workers - 1}",
            f"--signal=B:USR1@{self.notice}",
            *(f"--{name}={value}" for name, value in self.asked.items() if value is not None),
            *self.extra,
        ]

    def start(self, order: Order) -> Array:
        """Submit the array, or attach to the one of an earlier command that still runs."""
        name = f"tuner-{re.sub(r'[^A-Za-z0-9._-]', '_', order.name)}"
        found = slurm_command(
            ["squeue", "--noheader", "--me", f"--name={name}", "--format=%F"]
        ).stdout
        if found:
            job = found.split()[0]
            log.info("Slurm job %s already runs this study: submitting no new job", job)
            return Array(job, order, self.poll)
        order.log_dir.mkdir(parents=True, exist_ok=True)
        pattern = str(order.log_dir.absolute()).replace("%", "%%")
        output = f"--output={pattern}/worker-%a.log"
        submit = ["sbatch", *self.options(), f"--job-name={name}", output]
        job = slurm_command(submit, self.script(order.command)).stdout.strip().split(";")[0]
        return Array(job, order, self.poll)

    def script(self, command: Sequence[str]) -> str:
        """Return the script of each task; it is piped to sbatch, so no copy is left behind."""
        python = [self.python or command[0], *command[1:]]
        tunables = "${GLIBC_TUNABLES:+$GLIBC_TUNABLES:}"  # of the node, after the set-up
        variables = worker_environment(self.cpus_per_worker, tunables)
        said = [shlex.quote(f"error: launch.setup failed: {line}") for line in self.setup]
        values = {
            "SETUP": "\n".join(
                f"{line} || {{ echo {error} >&2; exit 1; }}"
                for line, error in zip(self.setup, said, strict=True)
            ),
            "COMMAND": shlex.join(python),
            "ENVIRONMENT": " ".join(f'{name}="{value}"' for name, value in variables.items()),
            "PYTHON": shlex.quote(python[0]),
            "PAUSE": f"{RestartPolicy().longest:g}",
            "MAX_RESTARTS": str(self.max_restarts),
            "GAVE_WAY": str(GAVE_WAY),
        }
        text = files("tuner.launch").joinpath("slurm.sh").read_text()
        return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], text)
