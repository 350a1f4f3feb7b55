"""MLflow has one run per configuration, and fails no trial if it is unavailable."""

import importlib.util

import pytest

from tests.conftest import Project
from tests.worker.test_tracking import RUN

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("mlflow") is None, reason="pip install 'tuner[mlflow]'"
    ),
]


def test_mlflow_has_one_run_a_configuration_whoever_died(project: Project):
    uri = f"sqlite:///{project.directory}/mlflow.db"
    project.run("tune", "study.n_trials=1", "tracking=mlflow", f"tracking.uri='{uri}'",
                "launch.workers=1", "objective.fate=die")  # fmt: skip
    from mlflow import MlflowClient

    from tuner.worker.tracking.mlflow import MLflow

    client = MlflowClient(tracking_uri=uri)
    where = client.get_experiment_by_name("toy").experiment_id
    (run,) = client.search_runs([where])
    assert (run.info.run_name, run.info.status) == ("toy-00000", "FINISHED")
    assert run.data.tags["tuner.state"] == "complete"
    assert 0 <= float(run.data.params["objective.x"]) <= 1
    points = client.get_metric_history(run.info.run_id, "accuracy")
    (trial,) = [t for t in project.study().optuna.get_trials() if t.state.name == "COMPLETE"]
    curve = {point.step: point.value for point in points}
    assert len(points) == len(curve)  # each step once, although it was killed at the third
    assert curve == pytest.approx(trial.intermediate_values)
    MLflow(uri, "toy").begin(RUN).close("failed")
    (failed,) = client.search_runs([where], "tags.`tuner.run` = 'a1b2/3'")
    assert (failed.info.status, failed.data.tags["tuner.state"]) == ("FAILED", "failed")


def test_a_server_that_is_not_there_costs_no_trial(project: Project):
    out = project.run(
        "tune", "study.n_trials=2", "tracking=mlflow", "tracking.uri='nonsense://nowhere'",
        "launch.workers=1",
    )  # fmt: skip
    assert "best:" in out
    logged = (project.directory / "runs/toy/logs/worker-0.log").read_text()
    assert "tracking: toy-00000 was not written" in logged
