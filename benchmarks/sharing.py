"""Measure how studies share a real Slurm cluster by fair share and QOS, with ``worker.turn``.

    python -m benchmarks.sharing                 # eleven minutes on a quiet machine
    python -m benchmarks.sharing --minutes 3

Needs root and Debian's packages slurm-wlm, slurmdbd, munge and mariadb-server. A cluster with four
places starts here. Account ``large`` has two shares and two studies, account ``small`` one share
and one study; each study asks for four workers and has more configurations than there is time for.
After 40 % of the time a fourth study with a QOS of higher priority asks for one worker. An epoch
sleeps for a second and writes a line, so epochs count the time of places; Slurm's own count, in CPU
seconds, also includes the starts of workers.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial

from tests import clusters, servers
from tests.clusters import SlurmCluster
from tests.launched import new_database
from tuner.study import study
from tuner.study.attempts import REQUEUE, first_number

OBJECTIVE = '''
import time


def train(x: float, *, run_dir, report) -> float:
    """Report 20 epochs of one second, and go on after an interruption."""
    saved = run_dir / "epoch"
    done = int(saved.read_text()) if saved.exists() else 0
    if done:
        report(done, accuracy=x)
    for epoch in range(done + 1, 21):
        time.sleep(1)
        with open("epochs.txt", "a") as file:
            file.write(f"{run_dir.parent.parent.name} {run_dir.name} {epoch} {time.time()}\\n")
        saved.with_suffix(".new").write_text(str(epoch))
        saved.with_suffix(".new").rename(saved)
        report(epoch, accuracy=x)
    return x
'''
STUDIES = {"one": "large", "two": "large", "three": "small"}
URGENT = "urgent"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--turn", type=float, default=0.5, help="minutes, as worker.turn")
    args = parser.parse_args()
    with (
        servers.mariadb_server() as accounts,
        servers.postgresql() as server,
        tempfile.TemporaryDirectory() as directory,
        clusters.slurm(accounts.socket) as cluster,
    ):
        _grant(cluster)
        slurm = ("launch=slurm", "launch.cpus_per_worker=2", f"worker.turn={args.turn:g}")
        project = Project(Path(directory), new_database(server), cluster.env, slurm)
        running = [
            project.tune(name, f"launch.account={of}", "launch.workers=4")
            for name, of in STUDIES.items()
        ]
        time.sleep(60 * args.minutes * 0.4)
        asked = time.time()
        options = ("launch.workers=1", "study.n_trials=2", "launch.sbatch=['--qos=high']")
        urgent = project.tune(URGENT, "launch.account=small", *options)
        time.sleep(60 * args.minutes * 0.6)
        print(cluster("sshare", "--all", "--format=account,user,rawshares,rawusage"))
        end(running)
        if urgent.wait():
            print((project.directory / f"{URGENT}.log").read_text())
        _tell(project, asked)


def _grant(cluster: SlurmCluster) -> None:
    """Create the two accounts and the QOS."""
    for words in (
        "add qos high priority=10",
        "add account large fairshare=2",
        "add account small fairshare=1",
        "add user root account=large",
        "add user root account=small",
        "modify user root set qos=normal,high",
    ):
        cluster("sacctmgr", "-i", *words.split())


@dataclass
class Project:
    """A directory with the objective, from which studies are started on a cluster."""

    directory: Path
    url: str
    env: dict[str, str]
    launch: Sequence[str]
    """Overrides of all studies."""

    def __post_init__(self) -> None:
        (self.directory / "job.py").write_text(OBJECTIVE)

    def tune(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a study whose workers need a quarter of the cluster each."""
        given = (
            "storage=postgresql", "objective=function", "space=none", "sampler=random",
            "pruner=none", "objective._target_=job.train", "+objective.x=interval(0, 1)",
            f"study.name={name}", "study.n_trials=10000", *self.launch, *options,
        )  # fmt: skip
        path = f"{Path.cwd()}:{self.directory}"
        env = {"PYTHONPATH": path, "TUNER_STORAGE_URL": self.url, **self.env}
        with (self.directory / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tuner", "tune", *given],
                cwd=self.directory, env={**os.environ, **env}, stdout=log, stderr=log,
            )  # fmt: skip

    def epochs(self) -> list[tuple[str, str, str, float]]:
        """Return study, run directory, epoch and time of each epoch so far."""
        path = self.directory / "epochs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(*line.split()[:3], float(line.split()[3])) for line in lines]  # type: ignore[misc]

    def tell_faults(self, names: Iterable[str]) -> None:
        """Print what was run twice or lost."""
        seen = Counter(line[:3] for line in self.epochs())
        print(f"epochs run twice: {sum(n > 1 for n in seen.values())}")
        for name in names:
            print(f"{name}: {_whole(self.url, name)}")


def end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt commands, and wait until their workers have left."""
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        process.wait()


def _tell(project: Project, asked: float) -> None:
    """Print the epochs of each study, and what was lost, repeated or waited for."""
    lines = project.epochs()
    epochs = Counter(name for name, *_ in lines)
    shared = sum(epochs[name] for name in STUDIES)
    for name, account in STUDIES.items():
        print(f"{name} ({account}): {epochs[name]} epochs, {epochs[name] / shared:.0%}")
    large = shared - epochs["three"]
    print(f"large to small: {large / epochs['three']:.2f} to 1")
    _tell_minutes([(STUDIES.get(name, URGENT), at) for name, *_, at in lines])
    first = min((at for name, *_, at in lines if name == URGENT), default=float("nan"))
    print(f"{URGENT}: its first epoch {first - asked:.0f} s after the command")
    project.tell_faults([*STUDIES, URGENT])


def _tell_minutes(epochs: Sequence[tuple[str, float]]) -> None:
    """Print the epochs of each account in each minute, from their accounts and times."""
    begin = min(at for _, at in epochs)
    counts = Counter((account, int(at - begin) // 60) for account, at in epochs)
    last = max(minute for _, minute in counts)
    for account in ("large", "small", URGENT):
        print(f"{account}, by minute:", *(counts[account, minute] for minute in range(last + 1)))


def _whole(url: str, name: str) -> str:
    """Count configurations, retries and complete trials of a study, and check their reports."""
    trials = study.load(url, name, grace=60, patience=5).optuna.get_trials()
    configurations = {first_number(trial) for trial in trials}
    turns = sum(REQUEUE in trial.system_attrs for trial in trials)
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    whole = _all_once(done)
    return (
        f"{len(configurations)} configurations in {len(trials)} trials, {turns} requeued;"
        f" {len(done)} complete, {'all' if whole else 'NOT all'} with 20 epochs, each once"
    )


def _all_once(done: Sequence[FrozenTrial]) -> bool:
    numbers = [first_number(trial) for trial in done]
    whole = all(sorted(trial.intermediate_values) == [*range(1, 21)] for trial in done)
    return whole and len(set(numbers)) == len(numbers)


if __name__ == "__main__":
    main()
