"""Record a study's trials in MLflow, on a server or in files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient, get_tracking_uri

from tuner.worker.tracking.base import Run


class MLflow:
    """The tracker ``tracking=mlflow``: runs of an MLflow experiment."""

    def __init__(self, uri: str | None, experiment: str) -> None:
        self.uri = uri
        self.experiment = experiment

    def directories(self) -> list[tuple[str, Path]]:
        """Return the directories of files or of a SQLite database, if there are any."""
        uri = self.uri or get_tracking_uri()
        kind, _, path = uri.rpartition("://")
        found = {"": Path(uri), "file": Path(path), "sqlite": Path(path[1:]).parent}
        return [("tracking.uri", found[kind])] if kind in found else []

    def prepare(self) -> None:
        """Create MLflow's tables in a new database, and the experiment."""
        self._open()

    def _open(self) -> tuple[Any, str]:
        client = MlflowClient(tracking_uri=self.uri)
        found = client.get_experiment_by_name(self.experiment)
        return client, found.experiment_id if found else client.create_experiment(self.experiment)

    def begin(self, run: Run) -> "MLflowRun":
        client, where = self._open()
        tag = f"{run.uid}/{run.number}"
        before = client.search_runs([where], f"tags.`tuner.run` = '{tag}'", max_results=1)
        if before:
            client.update_run(before[0].info.run_id, status="RUNNING")
            return MLflowRun(client, before[0].info.run_id)
        made = client.create_run(where, run_name=run.name, tags={"tuner.run": tag})
        for key, value in run.params.items():
            client.log_param(made.info.run_id, key, value)
        return MLflowRun(client, made.info.run_id)


class MLflowRun:
    """An MLflow run."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self.steps: dict[str, set[int]] = {}
        """Steps of each metric that MLflow has: it would store a second value of one as well."""

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if name not in self.steps:
                known = self.client.get_metric_history(self.run_id, name)
                self.steps[name] = {point.step for point in known}
            if step not in self.steps[name]:
                self.client.log_metric(self.run_id, name, value, step=step)
                self.steps[name].add(step)

    def close(self, state: str | None) -> None:
        if state is not None:
            self.client.set_tag(self.run_id, "tuner.state", state)
            ends = "FAILED" if state == "failed" else "FINISHED"
            self.client.set_terminated(self.run_id, status=ends)
