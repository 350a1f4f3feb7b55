"""A small HTTP server that answers as the API of Kubernetes does, and runs pods as processes.

It keeps Jobs and pods, serves lists, watches and logs, and does what the controller of Jobs and a
node would do: a pod for each index, the policy of failures, evictions, deletions. What it leaves
out: the pause before a pod is replaced, quotas, and the checks of objects.
"""

import copy
import datetime
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from tests import warm

Object = dict[str, Any]
INDEX = "batch.kubernetes.io/job-completion-index"
OWNER = "batch.kubernetes.io/controller-uid"
HERE = "team"
"""The only namespace."""


class Kubernetes:
    """The state of a cluster; every change has a version, and is an event of watches."""

    def __init__(self, directory: Path, *, runs: bool) -> None:
        self.directory = directory
        """Where pods run."""
        self.runs = runs
        """Whether pods start; otherwise a test says what becomes of them."""
        self.objects = {f"/api/v1/namespaces/{HERE}/secrets/tuner"}
        """Paths of all objects that exist besides Jobs and pods."""
        self.secrets: dict[str, str] = {}
        """The content of the Secret."""
        self.refuses: Callable[[str, str], tuple[int, str] | None] = lambda method, path: None
        """Status and message of what is refused."""
        self.changed = threading.Condition(threading.RLock())
        self.version = self.oldest = self.drops = 0
        self.items: dict[str, dict[str, Object]] = {"jobs": {}, "pods": {}}
        self.events: list[tuple[int, str, str, Object]] = []
        self.logs: dict[str, list[bytes]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.crashes: dict[str, int] = {}
        self.requests: list[tuple[str, str, dict[str, Any]]] = []

    def put(self, kind: str, item: Object, event: str = "MODIFIED") -> None:
        self.items[kind][item["metadata"]["name"]] = item
        if event == "DELETED":
            del self.items[kind][item["metadata"]["name"]]
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, kind, event, copy.deepcopy(item)))
        self.changed.notify_all()

    def drop(self) -> None:
        """Drop the connections of all watches and logs."""
        with self.changed:
            self.drops += 1
            self.changed.notify_all()

    def compact(self) -> None:
        """Forget all events: watches get 410 Gone."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.changed.notify_all()

    # Jobs

    def create(self, job: Object) -> Object:
        job["metadata"]["uid"], job["status"] = uuid.uuid4().hex, {}
        self.crashes = {}
        self.put("jobs", job, "ADDED")
        self.admit(job["metadata"]["name"]) if not job["spec"]["suspend"] else None
        return job

    def admit(self, name: str) -> None:
        """Start a Job, as Kueue does once there is quota."""
        with self.changed:
            job = self.items["jobs"][name]
            job["spec"]["suspend"] = False
            self.put("jobs", job)
            for k in range(job["spec"]["completions"]):
                self._make(job, str(k))

    def _make(self, job: Object, k: str) -> None:
        template = copy.deepcopy(job["spec"]["template"])
        name = f"{job['metadata']['name']}-{k}-{uuid.uuid4().hex[:5]}"
        meta = {"name": name, "annotations": {INDEX: k}, "creationTimestamp": f"{self.version:9}"}
        meta["labels"] = {**template["metadata"]["labels"], OWNER: job["metadata"]["uid"]}
        pod = {"metadata": meta, "spec": template["spec"], "status": {"phase": "Pending"}}
        self.put("pods", pod, "ADDED")
        if self.runs:
            threading.Thread(target=self._run, args=(name,), daemon=True).start()

    def ended(self, name: str, code: int, **status: object) -> None:
        """A pod has ended; its Job replaces it, goes on without it, or ends."""
        with self.changed:
            pod = self.items["pods"][name]
            state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
            pod["status"] |= {"phase": "Failed" if code else "Succeeded", **status}
            pod["status"]["containerStatuses"] = [{"state": state}]
            self.put("pods", pod)
            if "deletionTimestamp" in pod["metadata"]:
                self.put("pods", pod, "DELETED")
            for job in list(self.items["jobs"].values()):
                if job["metadata"]["uid"] == pod["metadata"]["labels"][OWNER]:
                    self._judge(job, pod, code)

    def _judge(self, job: Object, pod: Object, code: int) -> None:
        if "deletionTimestamp" in job["metadata"]:
            self._collect(job)
            return
        if job["status"]:
            return
        k, action = pod["metadata"]["annotations"][INDEX], self._action(job, pod, code)
        if action == "FailJob":
            said = f"Container worker of pod {pod['metadata']['name']} failed with exit code {code}"
            self._finish(job, "Failed", "PodFailurePolicy", said)
            return
        self.crashes[k] = self.crashes.get(k, 0) + (action == "Count")
        limit = job["spec"]["backoffLimitPerIndex"]
        if action != "Succeed" and self.crashes[k] <= limit:
            self._make(job, k)
        elif not any(p["status"]["phase"] in ("Pending", "Running") for p in self.pods(job)):
            failed = max(self.crashes.values()) > limit
            self._finish(job, *(("Failed", "FailedIndexes", "Job has failed indexes") if failed
                                else ("Complete", "CompletionsReached", "")))  # fmt: skip

    @staticmethod
    def _action(job: Object, pod: Object, code: int) -> str:
        """What the policy says of a pod that has ended."""
        held = {condition["type"] for condition in pod["status"].get("conditions", ())}
        for rule in job["spec"]["podFailurePolicy"]["rules"] if code else ():
            if held & {condition["type"] for condition in rule.get("onPodConditions", ())}:
                return str(rule["action"])
            if code in rule.get("onExitCodes", {}).get("values", ()):
                return str(rule["action"])
        return "Count" if code else "Succeed"

    def _finish(self, job: Object, kind: str, reason: str, said: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": said}
        job["status"] = {"conditions": [condition]}
        self.put("jobs", job)
        for pod in self.pods(job):
            if pod["status"]["phase"] in ("Pending", "Running"):
                self.delete_pod(pod["metadata"]["name"])

    def pods(self, job: Object | None = None) -> list[Object]:
        """The pods of a Job, or all of them."""
        found = list(self.items["pods"].values())
        uid = job and job["metadata"]["uid"]
        return [pod for pod in found if not job or pod["metadata"]["labels"][OWNER] == uid]

    def running(self) -> list[str]:
        """The names of the pods that have not ended, in the order of their indexes."""
        phases = {name: pod["status"]["phase"] for name, pod in [*self.items["pods"].items()]}
        return sorted(name for name, phase in phases.items() if phase in ("Pending", "Running"))

    def delete_job(self, name: str, propagation: str) -> None:
        job = self.items["jobs"][name]
        job["metadata"]["deletionTimestamp"] = "now"
        self.put("jobs", job)
        for pod in self.pods(job):
            self.delete_pod(pod["metadata"]["name"])
        if propagation == "Background":
            self.put("jobs", job, "DELETED")
        else:
            self._collect(job)

    def _collect(self, job: Object) -> None:
        """Remove a Job that waits for the end of its pods."""
        if not self.pods(job) and job["metadata"]["name"] in self.items["jobs"]:
            self.put("jobs", job, "DELETED")

    # The node

    def delete_pod(self, name: str, grace: int = 60) -> None:
        pod, process = self.items["pods"][name], self.processes.get(name)
        pod["metadata"]["deletionTimestamp"] = "now"
        if process is None or process.poll() is not None:
            self.put("pods", pod, "DELETED")
        else:
            self.put("pods", pod)
            process.send_signal(signal.SIGTERM if grace else signal.SIGKILL)

    def evict(self, name: str) -> None:
        """Drain the node of a pod."""
        with self.changed:
            reason = {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
            condition = {"type": "DisruptionTarget", "status": "True", **reason}
            self.items["pods"][name]["status"]["conditions"] = [condition]
            self.delete_pod(name)

    def started(self, name: str) -> None:
        with self.changed:
            pod = self.items["pods"][name]
            pod["status"] = {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}
            self.put("pods", pod)

    def say(self, name: str, line: bytes) -> None:
        """The container of a pod has written a line."""
        with self.changed:
            stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z ")
            self.logs.setdefault(name, []).append(stamp.encode() + line)
            self.changed.notify_all()

    def _run(self, name: str) -> None:
        with self.changed:
            if name not in self.items["pods"]:
                return
            container = self.items["pods"][name]["spec"]["containers"][0]
            assert container["envFrom"] == [{"secretRef": {"name": "tuner"}}]
            plain = {v["name"]: v.get("value", name) for v in container["env"]}
            program, *words = container["command"]
            assert program == "tuner"
            process = self.processes[name] = warm.Popen(
                [sys.executable, "-m", "tuner", *words],
                cwd=self.directory,
                env={**os.environ, **self.secrets, **plain},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self.started(name)
        with process:
            for line in process.stdout or ():
                self.say(name, line.rstrip(b"\n"))
        self.ended(name, code if (code := process.wait()) >= 0 else 128 - code)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    state: Kubernetes

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query: dict[str, Any] = dict(parse_qsl(parts.query))
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        query |= body if self.command == "DELETE" else {}  # its options may be in either
        self.state.requests.append((self.command, parts.path, query))
        try:
            with self.state.changed:
                refused = self.state.refuses(self.command, parts.path)
                found = refused or self._found(parts.path, query, body)
                if not isinstance(found, tuple):
                    self._stream(found)
                    return
            self._send(*found)
        except ConnectionError:
            self.close_connection = True

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def content(self, code: int, found: object) -> bytes:
        status = {"kind": "Status", "code": code, "message": found}
        return json.dumps(status if code >= 400 else found).encode()

    def _send(self, code: int, found: object) -> None:
        data = self.content(code, found)
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _found(
        self, path: str, query: dict[str, Any], body: Object
    ) -> tuple[int, object] | Iterator[list[bytes]]:
        """Status and content of an answer, or the parts of a stream."""
        if path in ("/apis", "/apis/"):
            versions = {"kueue.x-k8s.io": "v1beta2", "batch": "v1"}.items()
            return 200, {"groups": [{"name": g, "preferredVersion": {"version": v}}
                                    for g, v in versions]}  # fmt: skip
        words = path.split("/")
        group = "" if words[1] == "api" else f".{words[2]}"
        at = words.index("namespaces") + 1 if "namespaces" in words else None
        if at and words[at] != HERE:
            return 404, f'namespaces "{words[at]}" not found'
        kind, *name = words[at + 1 :] if at else words[-2:]
        if kind in self.state.items and not name:
            return self._of_list(kind, query, body)
        missing = 404, f'{kind}{group} "{name[0]}" not found'
        if kind not in self.state.items:
            data = {"data": self.state.secrets} if kind == "secrets" else {}
            return (200, data) if path in self.state.objects else missing
        item = self.state.items[kind].get(name[0])
        if item is None:
            return missing
        if name[1:] == ["log"]:
            return self._lines(name[0])
        meant = query.get("preconditions", {}).get("uid", item["metadata"]["uid"])
        if meant != item["metadata"]["uid"]:
            return 409, f"Precondition failed: UID in precondition: {meant}"
        if self.command == "DELETE" and query.get("dryRun") != "All":
            self.state.delete_job(name[0], query["propagationPolicy"])
        return 200, copy.deepcopy(item)

    def _of_list(
        self, kind: str, query: dict[str, Any], body: Object
    ) -> tuple[int, object] | Iterator[list[bytes]]:
        state, fits = self.state, selected(query)
        if self.command == "POST":
            if query.get("dryRun") == "All":
                return 201, body
            if (name := body["metadata"]["name"]) in state.items[kind]:
                return 409, f'jobs.batch "{name}" already exists'
            return 201, state.create(body)
        found = [item for item in state.items[kind].values() if fits(item)]
        if self.command == "DELETE":
            for item in found:
                state.delete_pod(item["metadata"]["name"], int(query["gracePeriodSeconds"]))
        if "watch" in query:
            return self._events(kind, fits, int(query["resourceVersion"]))
        version = {"resourceVersion": str(state.version)}
        return 200, {"items": copy.deepcopy(found), "metadata": version}

    def _stream(self, parts: Iterator[list[bytes]]) -> None:
        """Send parts as they come, until there are no more or the connection is dropped."""
        state = self.state
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        drops = state.drops
        for lines in parts:
            for line in lines:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            if not lines:
                state.changed.wait(60)
            if state.drops != drops:
                raise ConnectionError
        self.wfile.write(b"0\r\n\r\n")

    def _events(
        self, kind: str, fits: Callable[[Object], bool], last: int
    ) -> Iterator[list[bytes]]:
        while last >= self.state.oldest:
            new = [event for event in self.state.events if event[0] > last and event[1] == kind]
            last = new[-1][0] if new else last
            events = [{"type": event, "object": item} for _, _, event, item in new if fits(item)]
            yield [json.dumps(event).encode() + b"\n" for event in events]
        gone = {"code": 410, "message": "too old resource version"}
        yield [json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n"]

    def _lines(self, name: str) -> Iterator[list[bytes]]:
        sent, over = 0, False
        while not over:
            pod = self.state.items["pods"].get(name)
            over = pod is None or pod["status"]["phase"] in ("Succeeded", "Failed")
            new = self.state.logs.get(name, [])[sent:]
            sent += len(new)
            if new or not over:
                yield [line + b"\n" for line in new]


def selected(query: dict[str, Any]) -> Callable[[Object], bool]:
    """Whether an object is among those that a request selects."""

    def fits(item: Object) -> bool:
        key, _, value = query.get("labelSelector", "").partition("=")
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        meta = item["metadata"]
        return (not key or meta["labels"][key] == value) and name in ("", meta["name"])

    return fits


@contextmanager
def serving(state: Kubernetes, kubeconfig: Path) -> Iterator[None]:
    """Serve a cluster on a free port, and write a kubeconfig for it."""
    handler = type("Handler", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {
                "cluster": "here", "user": "me", "namespace": HERE}}],
            "clusters": [{"name": "here", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {"token": "a-token"}}],
        }))  # fmt: skip
        try:
            yield
        finally:
            state.drop()
            server.shutdown()
            for process in [*state.processes.values()]:
                if process.poll() is None:
                    process.kill()
