"""The running workers of ``launch=slurm``: the tasks of a job array, polled with squeue."""

import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import ConfigError, LaunchError
from tuner.launch.base import Order, last_line
from tuner.log import log

AWAY = ("Unable to contact slurm controller", "Socket timed out", "Zero Bytes were transmitted")
"""Messages with which Slurm's commands report that the controller does not answer."""

AT_WORK = {"CONFIGURING", "RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "SUSPENDED"}
WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
"""States of tasks that may still run; in all others, but for AT_WORK, a task is over."""


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

    def __init__(self, job: str, order: Order, every: float) -> None:
        self.job = job
        self.order = order
        self.every = every
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
            self.due = time.monotonic() + self.every
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
        found = slurm_command(asked, forgotten_is_empty=True).stdout
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
            slurm_command(["scancel", "--quiet", *options, self.job])
        except (LaunchError, ConfigError) as error:
            log.warning("%s", error)

    def _place(self, k: int) -> str:
        return f"slurm-{self.job}-{k}"

    def _log(self, k: int) -> Path:
        return self.order.log_dir / f"worker-{k}.log"


def slurm_command(
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
