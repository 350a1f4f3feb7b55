"""The running workers of ``launch=ray``: one actor per worker, and the supervision of all actors.

ray is imported late: it is an optional dependency, and its import takes a second.
"""

import shlex
import signal
import sys
import time
from typing import Any

from tuner.environment import GAVE_WAY, QUEUE
from tuner.launch.base import Order
from tuner.launch.ray_supervisor import Keeper
from tuner.log import log

LINGER = 30.0
"""Seconds that an actor whose worker has ended keeps the result available."""

HAND_OVER = 2.0
"""The same if the worker gave way: without a command that watches, the slot is idle for so long."""


class Actor(Keeper):
    """A ``Keeper`` that ends its own actor if the result of its worker is not collected in time.

    After a worker that gave way, Ray is to make the actor again once its resources are free.
    """

    def _keep(self) -> None:
        super()._keep()
        gave_way = self.result is not None and self.result[0] == GAVE_WAY
        time.sleep(HAND_OVER if gave_way else LINGER)
        import ray

        ray.kill(ray.get_runtime_context().current_actor, no_restart=not gave_way)

    def _own(self) -> dict[str, str]:
        import ray

        context = ray.get_runtime_context()
        study = context.get_actor_name().rpartition("-")[0]
        asks = [sys.executable, "-m", "tuner.launch.ray_queue", context.gcs_address, study]
        return {**super()._own(), QUEUE: shlex.join(asks)}


class Actors:
    """The running workers of ``launch=ray``, implementing ``Job``."""

    def __init__(self, actors: dict[int, Any], order: Order) -> None:
        self.actors = actors
        self.order = order
        self.where = f"Ray actors {order.name}-*, logs in {order.log_dir} on their nodes"
        self.failure: str | None = None
        self.starts: dict[Any, int] = {}
        self.ends: dict[Any, int] = {}
        for k in actors:
            self._ask(k)
        self.signal: int | None = None
        self.stopping = self.killing = False

    def poll(self) -> bool:
        """Process signals and results; return False once every worker has ended for good."""
        # Not in the signal handler, which may have interrupted Ray's own code.
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
        """Let the next poll forward the signal to all workers."""
        self.stopping = True
        self.signal = signal_number

    def kill(self) -> None:
        """Let the next poll kill the actors; a worker without one ends at its next heartbeat."""
        self.stopping = self.killing = True

    def _ask(self, k: int) -> None:
        """Ask an actor, which may wait for its place, where it is and how its worker ends."""
        self.starts[self.actors[k].where.remote()] = k
        self.ends[self.actors[k].wait.remote()] = k

    def _tell(self, signal_number: int) -> None:
        self._drop_unplaced()
        for actor in self.actors.values():
            actor.stop.remote(signal_number)

    def _drop_unplaced(self) -> None:
        for k in list(self.starts.values()):
            self._drop(k)

    def _queue_again(self, k: int) -> None:
        """Release the actor's resources to waiting requests, and let Ray recreate it afterwards."""
        import ray

        ray.kill(self.actors[k], no_restart=False)
        self._ask(k)

    def _drop(self, k: int) -> None:
        """Kill an actor and requeue the trial that its worker still holds."""
        import ray

        ray.kill(self.actors.pop(k), no_restart=True)
        for asked in (self.starts, self.ends):
            for ref in [ref for ref, of in asked.items() if of == k]:
                del asked[ref]
        self.order.on_end(place(self.order, k))

    def _ended(self, k: int, said: object) -> None:
        code, line = said if isinstance(said, tuple) else (None, f"its actor died: {said}")
        if code == GAVE_WAY and not self.stopping:
            self._queue_again(k)
            return
        self._drop(k)
        if code == 0:
            self._drop_unplaced()  # the study is finished, no more workers are needed
        elif not self.stopping:
            self.failure = f"worker {k} gave up; {line}"
            self.stop(signal.SIGTERM)


def place(order: Order, k: int) -> str:
    """Return the id of worker ``k``'s place.

    Ids have at most 64 characters; the end of the study's unique name keeps them unique.
    """
    return f"ray-{order.name[-36:]}-{k}"


def _answers(asked: dict[Any, int]) -> list[tuple[int, object]]:
    """Return the results that are ready, with errors as text, and remove them from ``asked``."""
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
