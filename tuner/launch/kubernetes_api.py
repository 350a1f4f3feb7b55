"""Access to a Kubernetes cluster: the official client with plain data, streams and own errors.

The package kubernetes is imported late: it is an optional dependency, and its import takes a
second. Its models are not used, because they reject fields that a newer cluster adds.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tuner.config import extras
from tuner.errors import ConfigError, LaunchError
from tuner.launch.kubernetes_objects import Object

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""File with the namespace of this process, if it runs in a pod."""
ANSWER, QUIET = (5.0, 30.0), (5.0, 300.0)
"""Seconds to wait for a connection and for an answer, or for the next line of a stream."""

HINTS = {
    401: "log in to the cluster again; kubectl auth whoami shows the current user",
    403: "request this permission, or change launch.namespace; kubectl auth can-i --list shows "
    "your permissions",
    404: "change launch.namespace; kubectl get namespaces lists the namespaces",
}
"""HTTP status of a refusal → hint."""


class Refusal(ConfigError):
    """The API server refused a request; ``code`` is the HTTP status of its response."""

    code = 0


class Cluster:
    """A cluster and a namespace in it, from the kubeconfig or this pod's service account.

    Raises:
        ConfigError: The package is not installed, or there is no usable configuration.
    """

    def __init__(self, namespace: str | None) -> None:
        try:
            from kubernetes import client, config
        except ImportError as error:
            cure = f"{extras.cure('kubernetes')}, or use launch=local"
            raise ConfigError(str(error), key="launch", hint=cure) from error
        settings = client.Configuration()
        settings.retries = False  # the caller decides
        settings.connection_pool_maxsize = 1000  # each pod has a log
        default = _configure(config, settings)
        self.namespace, self.host = namespace or default, settings.host
        self.client, self.api = client, client.ApiClient(settings)
        self.core, self.batch = client.CoreV1Api(self.api), client.BatchV1Api(self.api)
        self.streams: set[Any] = set()
        self.closed = False

    def ask(self, call: Callable[..., Any], *args: object, **keywords: object) -> Object:
        """Call a method of the client and return the answer as plain data.

        Raises:
            Refusal: The API server refused the request.
            LaunchError: The API server does not answer.
        """
        with _answer(call, *args, _request_timeout=ANSWER, **keywords) as response:
            found: Object = json.loads(response.data)
        return found

    def lines(self, call: Callable[..., Any], *args: object, **keywords: object) -> Iterator[bytes]:
        """Yield the lines of a watch or a log as they arrive, until the server ends the stream.

        Raises:
            Refusal, LaunchError: As for ``ask``.
        """
        with _answer(call, *args, _request_timeout=QUIET, **keywords) as response:
            self.streams.add(response)
            rest = b""
            try:
                for part in () if self.closed else response.stream(decode_content=False):
                    *whole, rest = (rest + part).split(b"\n")
                    yield from whole
            finally:
                self.streams.discard(response)
            if rest:
                yield rest

    def close(self) -> None:
        """End all streams and close all connections."""
        self.closed = True
        for response in list(self.streams):
            with suppress(OSError, RuntimeError, ValueError):  # it has just ended by itself
                response.shutdown()
        self.api.rest_client.pool_manager.clear()


def _configure(config: Any, settings: Any) -> str:
    """Fill the settings of a client, and return the namespace to use by default."""
    from yaml import YAMLError

    file = os.environ.get("KUBECONFIG")  # the package reads it only at its import
    try:
        if file is None and ACCOUNT.exists():
            config.load_incluster_config(client_configuration=settings)
            return ACCOUNT.read_text().strip()
        config.load_kube_config(file, client_configuration=settings)
        _, current = config.list_kube_config_contexts(file)
        return str(current["context"].get("namespace") or "default")
    except (config.ConfigException, YAMLError, OSError) as error:
        raise ConfigError(
            str(error),
            key="launch",
            hint="set KUBECONFIG to the kubeconfig file of your cluster, or use launch=local; "
            "kubectl config get-contexts lists its contexts",
        ) from error


@contextmanager
def _answer(call: Callable[..., Any], *args: object, **keywords: object) -> Iterator[Any]:
    """Send a request; its response is open during the block."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        response = call(*args, _preload_content=False, **keywords)
        try:
            if response.status >= 400:  # older versions of the package raise this themselves
                raise ApiException(response.status, response.reason, response.data)
            yield response
        finally:
            response.close()
    except ApiException as error:
        raise _refused(error.status or 0, _message(error)) from None
    except (HTTPError, OSError, json.JSONDecodeError) as error:
        raise _refused(0, str(error)) from error


def _message(error: Any) -> str:
    """Return the API's error message, or else the HTTP status of a proxy."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"


def _refused(code: int, said: str) -> Refusal | LaunchError:
    """Return the error for a response with this HTTP status; 0 means no response."""
    if code == 429 or not 400 <= code < 500:
        told = f"the API server does not answer: {said}"
        return LaunchError(told, key="launch", hint="kubectl cluster-info tries the same server")
    error = Refusal(said, key="launch", hint=HINTS.get(code, "see launch.*"))
    error.code = code
    return error
