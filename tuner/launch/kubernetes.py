"""Run workers as the pods of one indexed Job on a Kubernetes cluster, with the official client."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from tuner.config.lookup import key_of
from tuner.errors import ConfigError, LaunchError, Mistake
from tuner.launch import kubernetes_objects
from tuner.launch.base import Order
from tuner.launch.kubernetes_api import Cluster, Refusal
from tuner.launch.kubernetes_job import PodsOfJob, ended
from tuner.launch.kubernetes_objects import Object, Pods
from tuner.log import log
from tuner.masking import has_secret

KUEUE = "kueue.x-k8s.io"
GIVEN = "TUNER_GIVEN_"
"""Prefix of the environment variables to which passwords in arguments of Python were moved."""
VARIABLE = re.compile(r"""\$\{\s*oc\.env\s*:\s*['"]?(\w+)[^}]*\}""")
"""A reference to an environment variable in an override; the group is the variable's name."""
NOWHERE = "tuner-check"
"""Name of an object that does not exist, for requests that only check this user's permissions."""

Call = Callable[..., Any]


class Kubernetes(Pods):
    """The launcher ``launch=kubernetes``: the pods of a Job on a cluster."""

    spread = True
    no_turns = (
        "Kubernetes replaces a pod that has exited only after a back-off, which doubles from 10 s "
        "to 10 min; share a cluster with launch.priority or launch.queue"
    )

    def describe(self) -> str:
        """Describe the pods, such as ``4 pods of a Kubernetes Job in namespace team at …``.

        Raises:
            ConfigError: There is no usable kubeconfig, or the cluster would refuse the workers.
            LaunchError: The cluster does not answer.
        """
        hint = "build one with docker/Dockerfile, and push it to a registry that the nodes can read"
        image = Mistake("launch.image", "expected a container image, got null", hint)
        found = [] if self.image else [image]
        try:
            with closing(Cluster(self.namespace)) as cluster:
                found += self._mistakes(cluster)
        except ConfigError as error:
            raise ConfigError([*found, *error.mistakes]) from error
        if found:
            raise ConfigError(found)
        pods = f"{self.workers} pod{'s' * (self.workers > 1)} of a Kubernetes Job"
        queue = f" in Kueue's queue {self.queue}" if self.queue else ""
        return f"{pods} in namespace {cluster.namespace} at {cluster.host}{queue}"

    def lacks(self, overrides: Sequence[str]) -> list[Mistake]:
        """Return an error for each password in an environment variable that pods do not have.

        Pods get their environment variables from the Secrets. A Secret that this user may not read
        is assumed to have the missing keys.
        """
        # The variable may have the whole URL, or only its password.
        secret = [o for o in overrides if has_secret(VARIABLE.sub(_value, o))]
        named = [(key_of(o), name) for o in secret for name in VARIABLE.findall(o)]
        if not named:
            return []
        with closing(Cluster(self.namespace)) as cluster:
            keys = self._keys(cluster)
        return [
            Mistake(
                key,
                f"has a password, and no Secret of launch.secrets has the key {name}",
                "omit this override, and set TUNER_STORAGE_URL here and in a Secret"
                if key == "storage.url"
                else f"kubectl create secret generic NAME --from-literal={name}=…, and add NAME to "
                "launch.secrets",
            )
            for key, name in named
            if (name.startswith(GIVEN) if keys is None else name not in keys)
        ]

    def start(self, order: Order) -> PodsOfJob:
        """Submit the Job, or attach to the unfinished Job of an earlier command."""
        asked = kubernetes_objects.job(self, order.name, order.command)
        cluster = Cluster(self.namespace)
        try:
            made = _submitted(cluster, asked)
        except BaseException:
            cluster.close()
            raise
        return PodsOfJob(cluster, made, order)

    def _mistakes(self, cluster: Cluster) -> list[Mistake]:
        """Return an error for each missing object and each request that would be refused."""
        core, batch = cluster.core, cluster.batch
        where: Object = {"namespace": cluster.namespace}
        job = kubernetes_objects.job(replace(self, image=self.image or "image"), NOWHERE, [])
        trials: list[tuple[Call, Object]] = [
            (batch.create_namespaced_job, {"body": job, "dry_run": "All"}),
            (batch.list_namespaced_job, {"limit": 1}),
            (batch.delete_namespaced_job, {"name": NOWHERE, "dry_run": "All"}),
            (core.list_namespaced_pod, {"limit": 1}),
            (core.read_namespaced_pod_log, {"name": NOWHERE}),
        ]
        refusals = [_refusal(cluster, call, **where, **more) for call, more in trials]
        if refusals[0] and refusals[0].code in (401, 404):
            return refusals[0].mistakes  # the other requests fail for the same reason
        found = [m for r in refusals if r and r.code not in (404, 409) for m in r.mistakes]
        found += self._missing(cluster)
        if not found:  # pods are validated only when they are created, which users may not do
            meta = {"name": NOWHERE}
            pod = {"apiVersion": "v1", "kind": "Pod", **job["spec"]["template"], "metadata": meta}
            more = {"body": pod, "dry_run": "All"}
            refusal = _refusal(cluster, core.create_namespaced_pod, **where, **more)
            if refusal and "cannot create resource" not in str(refusal):
                found = refusal.mistakes
        return found

    def _keys(self, cluster: Cluster) -> set[str] | None:
        """Return the keys of all Secrets; None if one of them may not be read."""
        try:
            return {
                key
                for name in self.secrets
                for key in cluster.ask(
                    cluster.core.read_namespaced_secret, name, cluster.namespace
                ).get("data")
                or ()
            }
        except Refusal:
            return None

    def _missing(self, cluster: Cluster) -> Iterator[Mistake]:
        """Yield an error for each missing object that the Job names, if this user may read it."""
        for key, call, *args in self._named(cluster):
            refusal = _refusal(cluster, call, *args)
            if refusal and refusal.code == 404:
                yield replace(refusal.mistakes[0], key=key, hint=f"create it, or change {key}")

    def _named(self, cluster: Cluster) -> Iterator[tuple[str, Call, *tuple[str, ...]]]:
        """Yield key, method and arguments for each object that the Job names."""
        core, here, client = cluster.core, cluster.namespace, cluster.client
        for name in self.secrets:
            yield "launch.secrets", core.read_namespaced_secret, name, here
        for source in (self.volumes or {}).values():
            if isinstance(source, str):
                call: Call = core.read_namespaced_persistent_volume_claim
                yield "launch.volumes", call, source, here
        if self.service_account:
            call = core.read_namespaced_service_account
            yield "launch.service_account", call, self.service_account, here
        if self.priority:
            call = client.SchedulingV1Api(cluster.api).read_priority_class
            yield "launch.priority", call, self.priority
        if self.queue:
            groups = cluster.ask(client.ApisApi(cluster.api).get_api_versions)["groups"]
            versions = {g["name"]: g["preferredVersion"]["version"] for g in groups}
            call = client.CustomObjectsApi(cluster.api).get_namespaced_custom_object
            version = versions.get(KUEUE, "v1beta1")
            yield "launch.queue", call, KUEUE, version, here, "localqueues", self.queue


def _value(reference: re.Match[str]) -> str:
    """Return the value here of an environment variable that an override refers to."""
    return os.environ.get(reference[1], "")


def _submitted(cluster: Cluster, asked: Object) -> Object:
    """Create the Job, or return the unfinished one of an earlier command."""
    name, here = asked["metadata"]["name"], cluster.namespace
    for _ in range(2):
        try:
            return cluster.ask(cluster.batch.create_namespaced_job, here, asked)
        except Refusal as error:
            if error.code != 409:
                raise
        found = cluster.ask(cluster.batch.read_namespaced_job, name, here)
        if "deletionTimestamp" in found["metadata"]:
            break
        if ended(found) is None:
            log.info("Kubernetes Job %s already runs this study: submitting no new job", name)
            return found
        delete = cluster.batch.delete_namespaced_job
        cluster.ask(delete, name, here, propagation_policy="Background")
    raise LaunchError(
        f"Job {name} of an earlier command is being deleted; its workers save their trials",
        key="launch",
        hint="run the same command again in a minute",
    )


def _refusal(cluster: Cluster, call: Call, *args: object, **more: object) -> Refusal | None:
    try:
        cluster.ask(call, *args, **more)
    except Refusal as error:
        return error
    return None
