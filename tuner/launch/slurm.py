"""Run workers as the tasks of a Slurm job array, with the scheduler's own commands.

submitit would add pickled Python functions, which ``tuner worker`` does not need, and one class per
job. The required operations (validating a job before submission, requeueing a task from within,
cancelling pending tasks, finding an array again) are single calls of sbatch, squeue, scontrol and
scancel.
"""

import re
import shlex
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tuner.config.bounds import Count, Whole
from tuner.config.types import judged
from tuner.environment import GAVE_WAY
from tuner.errors import ConfigError, LaunchError
from tuner.launch.base import Order, last_line, worker_environment
from tuner.launch.restarts import RestartPolicy
from tuner.log import log

COMMANDS = ("sbatch", "squeue", "scancel")
AWAY = ("Unable to contact slurm controller", "Socket timed out", "Zero Bytes were transmitted")
"""Messages with which Slurm's commands report that the controller does not answer."""

AT_WORK = {"CONFIGURING", "RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "SUSPENDED"}
WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
"""States of tasks that may still run; in all states not listed here or in AT_WORK, a task is over.
"""


class Slurm:
    """The launcher ``launch=slurm``: a job array on a Slurm cluster."""

    spread = True

    @judged("launch")
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
        """Describe the tasks, such as ``4 tasks of a Slurm job array``, and the estimated start.

        Raises:
            ConfigError: Slurm is not available or would reject the job.
            LaunchError: Slurm's controller does not answer.
        """
        missing = [name for name in COMMANDS if shutil.which(name) is None]
        if missing:
            raise ConfigError(
                f"launch=slurm: {', '.join(missing)} not found",
                hint="run the command on a machine of the cluster that may "
                "submit jobs, or take launch=local",
            )
        estimate = _slurm(["sbatch", "--test-only", *self.options()], "#!/bin/sh\n").stderr
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

    def start(self, order: Order) -> "Array":
        """Submit the array, or attach to the one of an earlier command that still runs."""
        name = f"tuner-{re.sub(r'[^A-Za-z0-9._-]', '_', order.name)}"
        found = _slurm(["squeue", "--noheader", "--me", f"--name={name}", "--format=%F"]).stdout
        if found:
            job = found.split()[0]
            log.info("Slurm job %s is at work on this study: nothing new is submitted", job)
            return Array(job, order, self)
        order.log_dir.mkdir(parents=True, exist_ok=True)
        pattern = str(order.log_dir.absolute()).replace("%", "%%")
        output = f"--output={pattern}/worker-%a.log"
        submit = ["sbatch", *self.options(), f"--job-name={name}", output]
        job = _slurm(submit, self.script(order.command)).stdout.strip().split(";")[0]
        return Array(job, order, self)

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


@dataclass
class Task:
    """One task of the array, as last reported by squeue."""

    state: str
    reason: str = ""

    @property
    def over(self) -> bool:
        return self.state not in AT_WORK | WAITING


class Array:
    """The submitted workers of ``launch=slurm``, polled by one squeue per ``launch.poll`` s."""

    def __init__(self, job: str, order: Order, launcher: Slurm) -> None:
        self.job = job
        self.order = order
        self.launcher = launcher
        self.where = f"Slurm job {job}, logs in {order.log_dir}"
        self.tasks: dict[int, Task] = {}
        self.shown = ""
        self.due = 0.0
        self.running = True
        self.stopping = False
        self.killed = False

    def poll(self) -> bool:
        """Return False once every task is over; query Slurm only every ``launch.poll`` seconds."""
        if self.running and time.monotonic() >= self.due:
            try:
                self._look()
            except LaunchError as error:
                log.warning("%s", error)
            self.due = time.monotonic() + self.launcher.poll
        return self.running

    def stop(self, signal_number: int) -> None:
        """Run scancel: pending tasks are removed; workers get SIGTERM and Slurm's KillWait."""
        self.stopping = True
        self._cancel()
        self.due = 0.0

    def kill(self) -> None:
        """Send SIGKILL to the remaining tasks."""
        if not self.killed:
            self.killed = self.stopping = True
            self._cancel("--full", "--signal=KILL")
            for k in self.tasks:
                self.order.on_end(self._place(k))

    @property
    def failure(self) -> str | None:
        """Why the job failed: a task that gave up, or the tasks' states if none succeeded."""
        for k, task in sorted(self.tasks.items()):
            if task.state == "FAILED":
                return f"Slurm task {self.job}_{k} gave up; {last_line(self._log(k))}"
        states = {task.state for task in self.tasks.values()}
        if self.running or self.stopping or "COMPLETED" in states or not states:
            return None
        return f"Slurm job {self.job}: all tasks are over: {', '.join(sorted(states))}"

    def _look(self) -> None:
        fields = "--Format=ArrayTaskID:16,State:24,ReasonList:64"
        asked = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={self.job}", fields]
        found = _slurm(asked, forgotten_is_empty=True).stdout
        before = self.tasks
        rows = [line.split(None, 2) for line in found.splitlines()]
        # Slurm forgets tasks minutes after they have ended, and the job after its last task.
        self.tasks = before | {int(k): Task(state, *rest) for k, state, *rest in rows}
        if not rows:
            self.tasks = {k: t if t.over else Task("FORGOTTEN") for k, t in self.tasks.items()}
        for k, task in self.tasks.items():
            if task.over and not (k in before and before[k].over):
                self.order.on_end(self._place(k))
        self.running = any(not task.over for task in self.tasks.values())
        if self.stopping and self.running:
            self._cancel()
        self._tell()

    def _tell(self) -> None:
        """Log the number of tasks in each state when it has changed."""
        counts = Counter(task.state.lower() for task in self.tasks.values())
        text = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
        reasons = {t.reason.strip() for t in self.tasks.values() if t.state == "PENDING"} - {""}
        text += f" {' '.join(sorted(reasons))}" if reasons else ""
        if text != self.shown:
            self.shown = text
            log.info("Slurm job %s: %s", self.job, text or "over")

    def _cancel(self, *options: str) -> None:
        try:
            _slurm(["scancel", "--quiet", *options, self.job])
        except (LaunchError, ConfigError) as error:
            log.warning("%s", error)

    def _place(self, k: int) -> str:
        return f"slurm-{self.job}-{k}"

    def _log(self, k: int) -> Path:
        return self.order.log_dir / f"worker-{k}.log"


def _slurm(
    command: Sequence[str], text: str = "", *, forgotten_is_empty: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands.

    Raises:
        ConfigError: Slurm rejects the command.
        LaunchError: Slurm's controller does not answer.
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode == 0 or (forgotten_is_empty and "Invalid job id" in done.stderr):
        return done
    said = "; ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
    if any(sign in said for sign in AWAY):
        raise LaunchError(f"launch=slurm: {command[0]}: {said}", hint="scontrol ping, sinfo")
    raise ConfigError(
        f"launch=slurm: {command[0]} refuses: {said or f'exit {done.returncode}'}",
        hint="sinfo -s lists partitions, sacctmgr show associations accounts; "
        "see launch.* and launch.sbatch",
    )
