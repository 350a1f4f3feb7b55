"""The objects of ``launch=kubernetes`` as plain data: a Job whose pods run ``tuner worker``.

This needs neither a cluster nor its client.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.config.bounds import Count, Whole
from tuner.config.types import require
from tuner.environment import WORKER
from tuner.launch.base import worker_environment
from tuner.launch.restarts import FATAL

Object = dict[str, Any]

CONTAINER = "worker"
QUEUE = "kueue.x-k8s.io/queue-name"
LEFT = (130, 143)
"""Exit codes of a worker that was stopped by a signal and has requeued its trial."""
KEPT = 86400
"""Seconds for which the cluster keeps a finished Job, so that its logs can be read."""


@dataclass(frozen=True)
class Pods:
    """The keys of ``launch=kubernetes``; conf/launch/kubernetes.yaml explains them."""

    workers: Count
    image: str | None
    namespace: str | None
    secrets: list[str]
    volumes: dict[str, str | Object] | None
    cpus_per_worker: Count
    memory: str
    gpus_per_worker: Whole
    gpu: str
    service_account: str | None
    node_selector: dict[str, str] | None
    tolerations: list[Object]
    labels: dict[str, str] | None
    queue: str | None
    priority: str | None
    notice: Whole
    max_restarts: Whole
    detach: bool

    def __post_init__(self) -> None:
        require(type(self), vars(self), "launch")


def job(asked: Pods, study: str, command: Sequence[str]) -> Object:
    """Return the Job.

    Args:
        asked: The configuration.
        study: The unique name of the study.
        command: The command of a worker on this machine: ``[python, "-m", "tuner", …]``.
    """
    labels = {**(asked.labels or {}), "app.kubernetes.io/name": "tuner"}
    labels["app.kubernetes.io/instance"] = slug(study, 63)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            # At most 42 characters: pod names are worker ids, which have at most 64.
            "name": f"tuner-{slug(study, 36)}",
            "labels": {**labels, **({QUEUE: asked.queue} if asked.queue else {})},
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": asked.workers,
            "parallelism": asked.workers,
            "suspend": asked.queue is not None,  # until Kueue admits it
            "backoffLimitPerIndex": asked.max_restarts,
            "podFailurePolicy": {"rules": _rules()},
            "ttlSecondsAfterFinished": KEPT,
            "template": {"metadata": {"labels": labels}, "spec": _pod(asked, command)},
        },
    }


def slug(text: str, longest: int) -> str:
    """Return the end of a text as a valid name and label: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[-longest:].strip("-") or "study"


def _rules() -> list[Object]:
    """Return the rules for failed pods; a failure that matches no rule counts as a crash."""
    disrupted = {"type": "DisruptionTarget", "status": "True"}  # preempted, evicted, node drained
    left, fatal = (
        {"containerName": CONTAINER, "operator": "In", "values": [*codes]}
        for codes in (LEFT, FATAL)
    )
    return [
        {"action": "Ignore", "onPodConditions": [disrupted]},
        {"action": "Ignore", "onExitCodes": left},
        {"action": "FailJob", "onExitCodes": fatal},
    ]


def _pod(asked: Pods, command: Sequence[str]) -> Object:
    # The default of 64 MiB is too small for several torch processes.
    shared = {"/dev/shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}}
    volumes = {**(asked.volumes or {}), **shared}
    names = {path: f"volume-{k}" for k, path in enumerate(volumes)}
    mounts = [{"name": name, "mountPath": path} for path, name in names.items()]
    optional = {
        "serviceAccountName": asked.service_account,
        "nodeSelector": asked.node_selector,
        "tolerations": asked.tolerations,
        "priorityClassName": asked.priority,
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": asked.notice,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": 1000,  # group of the volumes, and of the user of docker/Dockerfile
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{key: value for key, value in optional.items() if value},
        "containers": [{**_container(asked, command), "volumeMounts": mounts}],
        "volumes": [{"name": names[path], **_source(given)} for path, given in volumes.items()],
    }


def _source(given: str | Object) -> Object:
    """Return the source of a volume; a string is the name of a claim."""
    return {"persistentVolumeClaim": {"claimName": given}} if isinstance(given, str) else given


def _container(asked: Pods, command: Sequence[str]) -> Object:
    # Paths below the current directory are assumed to exist in the image's working directory.
    words = [word.replace(f"={Path.cwd()}/", "=", 1) for word in command[3:]]
    pod = {"fieldRef": {"fieldPath": "metadata.name"}}
    plain = worker_environment(asked.cpus_per_worker, tunables="")
    devices = {asked.gpu: str(asked.gpus_per_worker)} if asked.gpus_per_worker else {}
    return {
        "name": CONTAINER,
        "image": asked.image,
        "command": ["tuner", *words],
        "env": [
            {"name": WORKER, "valueFrom": pod},
            *({"name": name, "value": value} for name, value in plain.items()),
        ],
        "envFrom": [{"secretRef": {"name": name}} for name in asked.secrets],
        "resources": {
            "requests": {"cpu": str(asked.cpus_per_worker), "memory": asked.memory},
            "limits": {"memory": asked.memory, **devices},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
