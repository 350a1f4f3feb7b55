"""Run workers as actors of a Ray cluster; each actor supervises one ``tuner worker`` on its node.

They are actors and not tasks: actors are found again by name, outlive the command that created them
(``launch.detach``), and Ray recreates them on another node if theirs dies.

ray is imported late: it is an optional dependency, and its import takes a second.
"""

import os
import re
import socket
from pathlib import Path
from typing import Any

from tuner.config import extras
from tuner.config.bounds import Count, NonNegative, Whole
from tuner.config.types import validate_arguments
from tuner.environment import MEMORY_FRACTION
from tuner.errors import ConfigError, LaunchError
from tuner.launch.base import Order
from tuner.launch.gpu_packing import HEADROOM
from tuner.launch.ray_actors import Actor, Actors, place
from tuner.log import log

NAMESPACE = "tuner"

CONNECT_LIMIT = 5.0
"""Seconds to wait for a connection; Ray itself would try for half a minute and then abort."""


class Ray:
    """The launcher ``launch=ray``: actors on a Ray cluster."""

    spread = True

    @validate_arguments("launch")
    def __init__(
        self,
        workers: Count,
        address: str,
        cpus_per_worker: NonNegative,
        gpus_per_worker: NonNegative | None,
        resources: dict[str, float] | None,
        max_restarts: Whole,
        working_dir: str | None,
        runtime_env: dict[str, Any],
        detach: bool,
    ) -> None:
        self.workers = workers
        self.address = address
        self.cpus = cpus_per_worker
        self.gpus = gpus_per_worker
        self.resources = resources or {}
        self.max_restarts = max_restarts
        self.working_dir = working_dir
        self.runtime_env = runtime_env
        self.detach = detach

    def describe(self) -> str:
        """Describe the actors, such as ``4 Ray actors of CPU 1, GPU 0.5 on 2 nodes``."""
        ray = self._connect()
        need = self._need(ray)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        each = ", ".join(f"{name} {amount:g}" for name, amount in need.items() if amount)
        shown = f"{self.workers} Ray actor{'s' * (self.workers > 1)} of {each or 'no resources'}"
        shown += f" on {len(nodes)} node{'s' * (len(nodes) > 1)}"
        if not any(all(node.get(k, 0) >= v for k, v in need.items()) for node in nodes):
            shown += ", none of which has enough resources: they wait until one has"
        return shown

    def start(self, order: Order) -> Actors:
        """Create the actors, or attach to those of an earlier command that still run."""
        ray = self._connect()
        here = re.compile(rf"{re.escape(order.name)}-(\d+)")
        found = {
            int(match[1]): ray.get_actor(name)
            for name in ray.util.list_named_actors()
            if (match := here.fullmatch(name))
        }
        if found:
            log.info("%d Ray actors already run this study: starting no new ones", len(found))
        return Actors(found or {k: self._actor(order, k) for k in range(self.workers)}, order)

    def _actor(self, order: Order, k: int) -> Any:
        ray = self._connect()
        made = ray.remote(Actor).options(
            name=f"{order.name}-{k}",
            lifetime="detached" if self.detach else None,
            num_cpus=self.cpus,
            num_gpus=self._need(ray)["GPU"],
            resources=self.resources,
            # Ray counts turns as well; crashes of the worker are limited by its actor.
            max_restarts=-1 if order.turns else self.max_restarts,
            max_task_retries=-1,  # a pending wait() continues with the restarted actor
            max_concurrency=8,  # a pending wait() must not block stop()
            scheduling_strategy="SPREAD",  # a lost node costs as few workers as possible
        )
        home = str(Path.cwd())
        command = list(order.command)
        if self.working_dir is not None:  # paths below the directory are below its copy there
            command = [text.replace(f"--config-dir={home}/", "--config-dir=") for text in command]
        return made.remote(
            place=place(order, k),
            command=command,
            environment=self._environment(),
            threads=max(1, int(self.cpus)),
            directory=None if self.working_dir is not None else home,
            log=str(order.log_dir / f"worker-{k}.log"),
            max_restarts=self.max_restarts,
        )

    def _environment(self) -> dict[str, str]:
        """Return the variables that workers need from this environment, including passwords.

        They are passed as arguments of the actor, which are encrypted if Ray's connections are and
        are not displayed, unlike the variables of a ``runtime_env``.
        """
        prefixes = ("TUNER_", "PG", "PYTORCH_")
        found = {k: v for k, v in os.environ.items() if k.startswith(prefixes)}
        if self.gpus is not None and 0 < self.gpus < 1:
            found[MEMORY_FRACTION] = f"{HEADROOM * self.gpus:.3f}"
        return found

    def _need(self, ray: Any) -> dict[str, float]:
        """Return the resources of one worker; by default one GPU if the cluster has any."""
        gpus = self.gpus if self.gpus is not None else float("GPU" in ray.cluster_resources())
        return {"CPU": self.cpus, "GPU": gpus, **self.resources}

    def _connect(self) -> Any:
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                f"launch=ray: {error}", hint=f"{extras.cure('ray')}, or use launch=local"
            ) from error
        if ray.is_initialized():
            return ray
        check_reachable(self.address)
        environment = dict(self.runtime_env)
        if self.working_dir is not None:
            environment["working_dir"] = self.working_dir
        elif "excludes" in environment:  # applies only to a shipped directory
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
                f"{self.address}: {str(error).splitlines()[0]}",
                key="launch.address",
                hint="start a cluster with ray start --head, or check it with ray status",
            ) from error
        return ray


def check_reachable(address: str) -> None:
    """Raise LaunchError if nothing listens at the address of the cluster."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address)
    if found is None:  # auto, local
        return
    try:
        socket.create_connection((found[1], int(found[2])), CONNECT_LIMIT).close()
    except OSError as error:
        raise LaunchError(
            f"no Ray cluster answers at {address} ({error})",
            key="launch.address",
            hint="use the address that ray start --head printed, or auto on one of "
            "the cluster's machines",
        ) from error
