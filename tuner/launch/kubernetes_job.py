"""The running workers of ``launch=kubernetes``: a Job, its pods and their logs."""

import time
from collections import Counter

from tuner.errors import TunerError
from tuner.launch import worker_logs
from tuner.launch.base import Order, last_line
from tuner.launch.kubernetes_api import Cluster
from tuner.launch.kubernetes_objects import Object
from tuner.launch.kubernetes_watch import Deletion, PodLog, Watched
from tuner.launch.restarts import FATAL
from tuner.log import log

INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation of a pod with the number of its worker."""
LEAVE = 5.0
"""Maximum seconds to wait for threads to end; one may be waiting for an unresponsive server."""
STARTING = ("ContainerCreating", "PodInitializing")
"""Reasons of a waiting container that are normal during its start."""


class PodsOfJob:
    """The Kubernetes Job of a study; implements the protocol ``Job``.

    Args:
        cluster: The cluster that runs it.
        found: The Job as returned by the API.
        order: The directory of the logs, and the callback for the end of a worker.
    """

    def __init__(self, cluster: Cluster, found: Object, order: Order) -> None:
        self.cluster, self.job, self.order = cluster, found, order
        self.name = found["metadata"]["name"]
        self.title = f"Kubernetes Job {self.name}"
        self.where = f"{self.title} in namespace {cluster.namespace}, logs in {order.log_dir}"
        self.own = f"batch.kubernetes.io/controller-uid={found['metadata']['uid']}"
        one = f"metadata.name={self.name}"
        self.jobs = Watched(cluster, cluster.batch.list_namespaced_job, field_selector=one)
        self.pods = Watched(cluster, cluster.core.list_namespaced_pod, label_selector=self.own)
        self.files: list[worker_logs.Log] = []
        self.logs: dict[str, PodLog] = {}  # by the names of pods, in the order of their starts
        self.known: list[frozenset[bytes]] = []  # lines of the files before this command
        self.live: dict[str, int] = {}  # pod → number of its worker
        self.codes: dict[str, int | None] = {}  # exit codes of pods that have ended, if known
        self.begun: set[int] = set()  # workers of which a pod has ended
        self.gave_up: int | None = None
        self.stopping = self.over = False
        self.deletion: Deletion | None = None
        self.shown = ""

    def poll(self) -> bool:
        """Follow the pods; return False once the Job has ended and its logs are copied."""
        if not self.files:
            self._begin()
        if self.jobs.items is not None and self.pods.items is not None and not self.over:
            self._look(self.jobs.items.get(self.name), self.pods.items)
        if self.over:
            self.close()
        return not self.over

    def stop(self, signal_number: int) -> None:
        """Delete the Job: its pods get SIGTERM, and ``launch.notice`` seconds to exit."""
        self._delete()

    def kill(self) -> None:
        """Delete the Job and its pods immediately, or log a warning if that fails."""
        self.stopping = True
        call, where = self.cluster.core.delete_collection_namespaced_pod, self.cluster.namespace
        try:
            Deletion(self.cluster, self.job, "Background").ask()
            self.cluster.ask(call, where, label_selector=self.own, grace_period_seconds=0)
        except TunerError as error:
            log.warning(
                "the Job may still run; delete it with kubectl delete job %s:\n%s", self.name, error
            )
        for pod in self.live:
            self.order.on_end(pod)
        self.over = True

    def close(self) -> None:
        """End all threads and close their connections and files."""
        self.cluster.close()
        deadline = time.monotonic() + LEAVE
        for thread in (self.jobs, self.pods, self.deletion, *self.logs.values()):
            if thread is not None and thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        for held in self.files:
            held.file.close()

    @property
    def failure(self) -> str | None:
        """Why the Job has failed: a worker with a fatal error, or the reason from the cluster."""
        if self.gave_up is not None:
            path = self.files[self.gave_up].path
            return f"{self.title}: worker {self.gave_up} gave up; {last_line(path)}"
        condition = ended(self.job)
        if self.stopping or (condition is None and not self.over):
            return None
        if condition is None:
            return f"{self.title} was deleted"
        reason = f"{self.title}: {condition.get('reason')}: {condition.get('message')}"
        return reason if condition["type"] == "Failed" else None

    def _begin(self) -> None:
        self.order.log_dir.mkdir(parents=True, exist_ok=True)
        count = self.job["spec"]["completions"]
        self.files = [worker_logs.claim(self.order.log_dir) for _ in range(count)]
        self.known = [frozenset(held.path.read_bytes().split(b"\n")) for held in self.files]
        self.jobs.start()
        self.pods.start()

    def _look(self, job: Object | None, pods: dict[str, Object]) -> None:
        """Update the state from the latest objects of the watches."""
        gone = job is None or job["metadata"]["uid"] != self.job["metadata"]["uid"]
        self.job = self.job if job is None or gone else job
        for name in sorted(pods, key=lambda name: str(pods[name]["metadata"]["creationTimestamp"])):
            if name not in self.codes:
                self._look_at(name, pods[name])
        for name in self.live.keys() - pods.keys():
            self._ended(name, None, "deleted")
        self._tell(pods)
        copying = any(copy.over.is_set() and copy.is_alive() for copy in self.logs.values())
        self.over = not (self.live or copying) and (gone or ended(self.job) is not None)
        unneeded = 0 in self.codes.values() and not (copying or self.stopping)
        # A pod that replaces another is needed: the other may have left a trial unfinished.
        waiting = {_phase(pods[name]) for name in self.live} == {"Pending"}
        if unneeded and waiting and self.begun.isdisjoint(self.live.values()):
            self._delete()

    def _look_at(self, name: str, pod: Object) -> None:
        """Copy the log of a pod that has started, and report the end of one."""
        k, state = int(pod["metadata"]["annotations"][INDEX]), _state(pod)
        self.live[name] = k
        if name not in self.logs and state.keys() & {"running", "terminated"}:
            file = self.files[k].file
            before = [copy for copy in self.logs.values() if copy.file is file]
            previous = before[-1] if before else None
            self.logs[name] = PodLog(self.cluster, name, file, previous, self.known[k])
            self.logs[name].start()
        if _phase(pod) in ("Succeeded", "Failed"):
            code = state.get("terminated", {}).get("exitCode")
            if code in FATAL and not _holds(pod, "DisruptionTarget"):
                self.gave_up = k
            self._ended(name, code, _why(pod))

    def _ended(self, name: str, code: int | None, why: str) -> None:
        self.begun.add(self.live.pop(name))
        self.codes[name] = code
        if name in self.logs:
            self.logs[name].over.set()
        self.order.on_end(name)
        if code != 0:
            log.info("pod %s has ended: %s", name, why)

    def _tell(self, pods: dict[str, Object]) -> None:
        """Log the number of pods in each phase when it has changed, and why some wait."""
        counts = Counter(map(_phase, pods.values()))
        said = [f"{n} {phase.lower()}" for phase, n in sorted(counts.items())]
        if self.job["spec"].get("suspend"):
            said.insert(0, "suspended until its queue admits it")
        text = ", ".join(said) or "no pods"
        if reasons := {_waits(pod) for pod in pods.values()} - {""}:
            text += f" ({'; '.join(sorted(reasons))})"
        if text != self.shown:
            self.shown = text
            log.info("%s: %s", self.title, text)

    def _delete(self) -> None:
        """Delete the Job as soon as the server answers, once its pods have left."""
        self.stopping = True
        if self.deletion is None:
            self.deletion = Deletion(self.cluster, self.job, "Foreground")
            self.deletion.start()


def ended(job: Object) -> Object | None:
    """Return the condition that a Job is complete or has failed, None if it is unfinished."""
    return _holds(job, "Complete") or _holds(job, "Failed")


def _holds(item: Object, kind: str) -> Object | None:
    """Return the condition of this type if it holds."""
    found: list[Object] = item.get("status", {}).get("conditions") or []
    return next((c for c in found if c["type"] == kind and c["status"] == "True"), None)


def _phase(pod: Object) -> str:
    return str(pod["status"].get("phase", "Pending"))


def _state(pod: Object) -> Object:
    """Return the state of the worker's container, empty before it is known."""
    found: list[Object] = pod["status"].get("containerStatuses") or [{}]
    state: Object = found[0].get("state", {})
    return state


def _waits(pod: Object) -> str:
    """Return why a pod waits, as reported by the scheduler or its node; empty if it runs."""
    waiting = _state(pod).get("waiting", {})
    if waiting.get("reason", STARTING[0]) not in STARTING:
        return f"{waiting['reason']}: {waiting.get('message', '')}".removesuffix(": ")
    found: list[Object] = pod["status"].get("conditions") or []
    unplaced = (c for c in found if c["type"] == "PodScheduled" and c["status"] == "False")
    return next((str(c.get("message", "")) for c in unplaced), "")


def _why(pod: Object) -> str:
    """Return why a pod has ended: a disruption, the exit of its worker, or its node's reason."""
    said = _holds(pod, "DisruptionTarget") or _state(pod).get("terminated") or pod["status"]
    code = f" (exit {said['exitCode']})" if "exitCode" in said else ""
    return f"{said.get('reason', 'lost')}{code} {said.get('message', '')}".strip()
