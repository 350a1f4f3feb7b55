"""Threads that watch objects, copy logs and delete Jobs on Kubernetes, reconnecting as needed."""

import json
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from tuner.errors import LaunchError, TunerError
from tuner.launch.kubernetes_api import Cluster, Refusal
from tuner.launch.kubernetes_objects import CONTAINER, Object
from tuner.log import log

WATCH = 240
"""Seconds after which the server should end a watch."""
PAUSE = 1.0
"""Seconds before a stream that has ended is reopened."""


class Watched(threading.Thread):
    """Keeps ``items``, the objects of a list by name, up to date with a watch.

    ``items`` is None until the first response.

    Args:
        cluster: The cluster of the objects.
        call: The method of the client that lists them.
        where: Selectors, passed to ``call``.
    """

    def __init__(self, cluster: Cluster, call: Callable[..., Any], **where: str) -> None:
        super().__init__(daemon=True)
        self.cluster, self.call, self.where = cluster, call, where
        self.items: dict[str, Object] | None = None  # it is replaced, never changed

    def run(self) -> None:
        failures = 0
        while not self.cluster.closed:
            try:
                self._follow()
                failures = 0
            except TunerError as error:
                failures += 1
                if failures == 2 and not self.cluster.closed:  # a single one: a dropped connection
                    log.warning("%s", error)
            time.sleep(PAUSE)

    def _follow(self) -> None:
        """List the objects, and follow a watch until it ends or has expired."""
        asked: Object = {"namespace": self.cluster.namespace, **self.where}
        found = self.cluster.ask(self.call, **asked)
        self.items = {item["metadata"]["name"]: item for item in found["items"]}
        since = found["metadata"]["resourceVersion"]
        asked |= {"watch": True, "resource_version": since, "timeout_seconds": WATCH}
        for line in self.cluster.lines(self.call, **asked):
            event = json.loads(line)
            if event["type"] == "ERROR":  # 410 Gone
                return
            name = event["object"]["metadata"]["name"]
            items = {**self.items, name: event["object"]}
            if event["type"] == "DELETED":
                del items[name]
            self.items = items


class PodLog(threading.Thread):
    """Copies the log of a pod to a file, after the log of the worker's previous pod.

    ``over`` is set when the pod has ended: the thread then copies the rest and ends. Lines in
    ``known``, which an earlier command has copied, are skipped up to the first new line.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: str,
        file: IO[bytes],
        before: "PodLog | None",
        known: frozenset[bytes],
    ) -> None:
        super().__init__(daemon=True)
        self.cluster, self.pod, self.file, self.before = cluster, pod, file, before
        self.known = known
        self.over = threading.Event()
        self.last = b""  # time stamp of the last line; all are of one length

    def run(self) -> None:
        if self.before is not None:
            self.before.join()
        whole = False
        while not (whole or self.cluster.closed):
            whole = self.over.is_set()
            try:
                self._copy(self.last)
            except Refusal:  # the pod has been deleted
                pass
            except LaunchError:
                whole = False
            if not whole:
                time.sleep(PAUSE)

    def _copy(self, after: bytes) -> None:
        call, where = self.cluster.core.read_namespaced_pod_log, self.cluster.namespace
        more: Object = {"container": CONTAINER, "follow": True, "timestamps": True}
        for line in self.cluster.lines(call, self.pod, where, **more):
            stamp, _, text = line.partition(b" ")
            if stamp > after:
                self.last = stamp
                if text in self.known:
                    continue
                self.known = frozenset()
                self.file.write(text + b"\n")
                self.file.flush()


class Deletion(threading.Thread):
    """Deletes a Job as soon as the server answers, if it still exists.

    Args:
        cluster: The cluster of the Job.
        job: The Job as returned by the API; a newer one of the same name is kept.
        propagation: The API's propagation policy, which decides how its pods are deleted.
    """

    def __init__(self, cluster: Cluster, job: Object, propagation: str) -> None:
        super().__init__(daemon=True)
        self.cluster, self.job = cluster, job["metadata"]["name"]
        only = {"uid": job["metadata"]["uid"]}
        self.options: Object = {"propagationPolicy": propagation, "preconditions": only}

    def run(self) -> None:
        told = False
        while not self.cluster.closed:
            try:
                self.ask()
                return
            except Refusal as error:
                log.warning("%s", error)
                return
            except LaunchError as error:
                if not (told or self.cluster.closed):
                    log.warning(
                        "Job %s will be deleted once the server answers:\n%s", self.job, error
                    )
                told = True
            time.sleep(PAUSE)

    def ask(self) -> None:
        """Send one request to delete the Job.

        Raises:
            Refusal: The API server refused the request.
            LaunchError: The API server does not answer.
        """
        call, where = self.cluster.batch.delete_namespaced_job, self.cluster.namespace
        try:
            self.cluster.ask(call, self.job, where, body=self.options)
        except Refusal as error:
            if error.code not in (404, 409):  # already deleted, or another Job of this name
                raise
