"""Missing artifacts in the dashboard: HTTP 404 instead of optuna-dashboard's HTTP 500."""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

from bottle import HTTPError
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound


class Store(FileSystemArtifactStore):
    """Artifacts in a directory; removing one whose file is missing is no error."""

    def remove(self, artifact_id: str) -> None:
        with suppress(ArtifactNotFound):
            super().remove(artifact_id)


class Missing:
    """Bottle plugin: HTTP 404 for an artifact, trial or study that does not exist."""

    name = "tuner-missing"
    api = 2

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        if not route.rule.startswith(("/artifacts/", "/api/artifacts/")):
            return callback

        @wraps(callback)
        def view(**named: Any) -> Any:
            try:
                return callback(**named)
            except (ArtifactNotFound, KeyError) as error:
                raise HTTPError(404, "There is no such artifact.") from error

        return view
