"""Workers as actors of a Ray cluster; each looks after one ``tuner worker`` on its node.

Actors, not tasks: they are found again by name, go on without the command that made them
(``launch.detach``), and Ray makes them anew on another node when theirs dies.

ray is imported late: it is an extra, and takes a second.
"""

import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

from tuner.errors import ConfigError, LaunchError
from tuner.launch.base import Order, at_least
from tuner.launch.keeper import Keeper
from tuner.launch.packing import HEADROOM
from tuner.log import log
from tuner.sharing import MEMORY_FRACTION

NAMESPACE = "tuner"
LINGER = 30.0
"""Seconds that an actor whose worker has ended waits for somebody to ask how."""

KNOCK = 5.0
"""Seconds to wait for a connection; Ray itself would try for half a minute and then abort."""


class Actor(Keeper):
    """A keeper that gives its place back when nobody looks after it any more."""

    def _keep(self) -> None:
        super()._keep()
        time.sleep(LINGER)
        import ray

        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


class Ray:
    """``launch=ray``."""

    spread = True

    def __init__(
        self,
        workers: int,
        address: str,
        cpus_per_worker: float,
        gpus_per_worker: float | None,
        resources: dict[str, float],
        max_restarts: int,
        working_dir: str | None,
        runtime_env: dict[str, Any],
        detach: bool,
    ) -> None:
        self.workers = workers
        self.address = address
        self.cpus = cpus_per_worker
        self.gpus = gpus_per_worker
        self.resources = resources
        self.max_restarts = max_restarts
        self.working_dir = working_dir
        self.runtime_env = runtime_env
        self.detach = detach
        at_least(1, workers=workers)
        at_least(0, max_restarts=max_restarts, cpus_per_worker=cpus_per_worker)
        at_least(0, gpus_per_worker=gpus_per_worker or 0)

    def describe(self) -> str:
        """Such as ``4 Ray actors of CPU 1, GPU 0.5 on 2 nodes``.

        Raises ConfigError if the package is missing, LaunchError if no cluster answers.
        """
        ray = self._connect()
        need = self._need(ray)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        each = ", ".join(f"{name} {amount:g}" for name, amount in need.items() if amount)
        shown = f"{self.workers} Ray actor{'s' * (self.workers > 1)} of {each or 'no resources'}"
        shown += f" on {len(nodes)} node{'s' * (len(nodes) > 1)}"
        if not any(all(node.get(k, 0) >= v for k, v in need.items()) for node in nodes):
            shown += ", none of which has so much: they wait until one does"
        return shown

    def start(self, order: Order) -> "Actors":
        """Make the actors, or find those of an earlier command that are still there."""
        ray = self._connect()
        here = re.compile(rf"{re.escape(order.name)}-(\d+)")
        found = {
            int(match[1]): ray.get_actor(name)
            for name in ray.util.list_named_actors()
            if (match := here.fullmatch(name))
        }
        if found:
            log.info("%d Ray actors are at work on this study: no new ones are made", len(found))
        return Actors(found or {k: self._actor(order, k) for k in range(self.workers)}, order)

    def _actor(self, order: Order, k: int) -> Any:
        ray = self._connect()
        made = ray.remote(Actor).options(
            name=f"{order.name}-{k}",
            lifetime="detached" if self.detach else None,
            num_cpus=self.cpus,
            num_gpus=self._need(ray)["GPU"],
            resources=self.resources,
            max_restarts=self.max_restarts,
            max_task_retries=-1,  # whoever waits for the worker goes on waiting for the next one
            max_concurrency=8,  # waiting must not keep a stop out
            scheduling_strategy="SPREAD",  # a lost node costs fewest workers
        )
        home = str(Path.cwd())
        command = list(order.command)
        if self.working_dir is not None:  # paths below here are below the copy there
            command = [text.replace(f"--config-dir={home}/", "--config-dir=") for text in command]
        return made.remote(
            place=place(order, k),
            command=command,
            environment=self._environment(),
            directory=None if self.working_dir is not None else home,
            log=str(order.log_dir / f"worker-{k}.log"),
            max_restarts=self.max_restarts,
        )

    def _environment(self) -> dict[str, str]:
        """What the workers need of this command's environment, passwords among it.

        Arguments of an actor travel encrypted where Ray does and are shown nowhere, which the
        variables of a ``runtime_env`` are.
        """
        threads = str(max(1, int(self.cpus)))
        found = {k: v for k, v in os.environ.items() if k.startswith(("TUNER_", "PG"))}
        found |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        found["OMP_WAIT_POLICY"] = "passive"
        if self.gpus is not None and 0 < self.gpus < 1:
            found[MEMORY_FRACTION] = f"{HEADROOM * self.gpus:.3f}"
        return found

    def _need(self, ray: Any) -> dict[str, float]:
        """The resources of one worker; a GPU by default where the cluster has any."""
        gpus = self.gpus if self.gpus is not None else float("GPU" in ray.cluster_resources())
        return {"CPU": self.cpus, "GPU": gpus, **self.resources}

    def _connect(self) -> Any:
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                f"launch=ray: {error}; hint: pip install 'tuner[ray]', or take launch=local"
            ) from error
        if ray.is_initialized():
            return ray
        knock(self.address)
        environment = dict(self.runtime_env)
        if self.working_dir is not None:
            environment["working_dir"] = self.working_dir
        elif "excludes" in environment:  # has a meaning only for what is shipped
            del environment["excludes"]
        try:
            ray.init(
                self.address,
                namespace=NAMESPACE,
                runtime_env=environment,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise LaunchError(
                f"launch.address: {self.address}: {str(error).splitlines()[0]}; hint: ray start "
                "--head begins a cluster, ray status shows one"
            ) from error
        return ray


class Actors:
    """The running workers of ``launch=ray``."""

    def __init__(self, actors: dict[int, Any], order: Order) -> None:
        self.actors = actors
        self.order = order
        self.where = f"Ray actors {order.name}-*, logs in {order.log_dir} on their nodes"
        self.failure: str | None = None
        self.starts = {actor.where.remote(): k for k, actor in actors.items()}
        self.ends = {actor.wait.remote(): k for k, actor in actors.items()}
        self.signal: int | None = None
        self.stopping = self.killing = False

    def poll(self) -> bool:
        """False once every actor's worker has ended for good."""
        # Not in the signal's handler, which may have interrupted Ray's own work.
        if self.signal is not None:
            self._tell(self.signal)
            self.signal = None
        if self.killing:
            for k in list(self.actors):
                self._drop(k)
        for k, said in _answers(self.starts):
            if isinstance(said, str):
                log.info("worker %d: %s", k, said)
        for k, said in _answers(self.ends):
            self._ended(k, said)
        return bool(self.ends)

    def stop(self, signal_number: int) -> None:
        """The next poll passes the signal on."""
        self.stopping = True
        self.signal = signal_number

    def kill(self) -> None:
        """The next poll ends the actors; a worker without one leaves at its next sign of life."""
        self.stopping = self.killing = True

    def _tell(self, signal_number: int) -> None:
        self._drop_unplaced()
        for actor in self.actors.values():
            actor.stop.remote(signal_number)

    def _drop_unplaced(self) -> None:
        for k in list(self.starts.values()):
            self._drop(k)

    def _drop(self, k: int) -> None:
        """Give an actor's place back; a trial that is still held is requeued."""
        import ray

        ray.kill(self.actors.pop(k), no_restart=True)
        for asked in (self.starts, self.ends):
            for ref in [ref for ref, of in asked.items() if of == k]:
                del asked[ref]
        self.order.on_end(place(self.order, k))

    def _ended(self, k: int, said: object) -> None:
        code, line = said if isinstance(said, tuple) else (None, f"its actor died: {said}")
        self._drop(k)
        if code == 0:
            self._drop_unplaced()  # nobody needs more workers
        elif not self.stopping:
            self.failure = f"worker {k} gave up; {line}"
            self.stop(signal.SIGTERM)


def place(order: Order, k: int) -> str:
    """The id of worker ``k``'s place; the end of the study's name makes it unique, and 64 fit."""
    return f"ray-{order.name[-36:]}-{k}"


def knock(address: str) -> None:
    """LaunchError if nothing listens where a cluster is said to be."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address)
    if found is None:  # auto, local
        return
    try:
        socket.create_connection((found[1], int(found[2])), KNOCK).close()
    except OSError as error:
        raise LaunchError(
            f"launch.address: no Ray cluster answers at {address} ({error}); hint: the address "
            "that ray start --head printed, or auto on one of the cluster's machines"
        ) from error


def _answers(asked: dict[Any, int]) -> list[tuple[int, object]]:
    """What has been answered by now, or the error in its place; it is not asked again."""
    import ray

    if not asked:
        return []
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0)
    found: list[tuple[int, object]] = []
    for ref in ready:
        k = asked.pop(ref)
        try:
            found.append((k, ray.get(ref)))
        except ray.exceptions.RayError as error:
            found.append((k, str(error).strip().splitlines()[0]))
    return found
