"""TensorBoard and MLflow get what is reported, and what is wrong with them harms no trial."""

import importlib.util
import sys
import threading
from dataclasses import replace

import pytest

from tests.conftest import Project
from tuner import tracking
from tuner.cli import main
from tuner.tracking import Run, Track

RUN = Run("digits", "a1b2", 3, {"optimizer.lr": "0.1", "optimizer": "sgd"})

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="pip install 'tuner[tensorboard]'"
)
needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="pip install 'tuner[mlflow]'"
)


class Recorder:
    """A tracker that keeps what it is told."""

    def __init__(self, block: threading.Event | None = None, fail: bool = False) -> None:
        self.told: list[object] = []
        self.block, self.fail = block, fail

    def prepare(self) -> None:
        if self.fail:
            raise ConnectionError("no server\nat all")

    def begin(self, run: Run) -> "Recorder":
        if self.block is not None:
            self.block.wait(60)
        if self.fail:
            raise ConnectionError("no server\nat all")
        self.told.append(run.name)
        return self

    def metrics(self, step, metrics) -> None:
        self.told.append((step, metrics))

    def close(self, fate) -> None:
        self.told.append(fate)


@pytest.mark.parametrize("fate", ["complete", "pruned", "failed", None])
def test_steps_in_order_and_the_way_it_ended(fate):
    recorder = Recorder()
    track = tracking.begin(recorder, RUN)
    metrics = {"accuracy": 0.5}
    track.log(1, metrics)
    metrics["accuracy"] = 0.6
    track.log(2, metrics)
    track.end(fate)
    track.end("something else")  # the first word holds
    expected = ["digits-00003", (1, {"accuracy": 0.5}), (2, {"accuracy": 0.6}), fate]
    assert recorder.told == expected


def test_what_a_killed_process_did_not_write_is_written_by_its_successor():
    recorder = Recorder()
    before = {1: {"accuracy": 0.4}, 2: {"accuracy": 0.5}}
    track = tracking.begin(recorder, replace(RUN, before=before))
    track.log(3, {"accuracy": 0.6})
    track.end("complete")
    assert recorder.told == ["digits-00003", *before.items(), (3, {"accuracy": 0.6}), "complete"]


def test_one_that_fails_is_said_once_and_harms_nothing(caplog, monkeypatch):
    monkeypatch.setattr("tuner.tracking.log.propagate", True)
    track = tracking.begin(Recorder(fail=True), RUN)
    track.log(1, {"accuracy": 0.5})
    track.log(2, {"accuracy": 0.5})
    track.end("complete")
    (record,) = caplog.records
    assert "digits-00003 is not written: ConnectionError: no server" in record.getMessage()


def test_a_search_begins_without_a_tracker_that_cannot_be_prepared(caplog, monkeypatch):
    monkeypatch.setattr("tuner.tracking.log.propagate", True)
    tracking.prepare(Recorder(fail=True))
    assert "nothing is written until this is mended: ConnectionError: no server" in caplog.text
    monkeypatch.setattr(tracking, "SETTING_UP", 0.05)
    block = threading.Event()
    slow = Recorder()
    slow.prepare = block.wait
    tracking.prepare(slow)
    block.set()
    assert "no answer for 0 s" in caplog.text


def test_one_that_hangs_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(Track, "patience", 0.05)
    block = threading.Event()
    recorder = Recorder(block)
    track = tracking.begin(recorder, RUN)
    track.log(1, {"accuracy": 0.5})
    track.end("complete")
    assert Track.patience == 0.0
    assert recorder.told == []
    block.set()
    track.thread.join(60)
    assert recorder.told[-1] == "complete"


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_an_extra_that_is_missing_is_named_before_any_work(name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    assert main(["tune", f"tracking={name}"]) == 2
    hint = f"tracking={name}: it is not installed; hint: pip install 'tuner[{name}]'"
    assert hint in capsys.readouterr().err


@needs_tensorboard
@pytest.mark.slow
def test_tensorboard_reads_what_a_search_wrote(project: Project):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    project.run("tune", "study.n_trials=2", "tracking=tensorboard", "launch.workers=1")
    runs = sorted((project.directory / "runs/toy/tensorboard").iterdir())
    assert [run.name for run in runs] == ["toy-00000", "toy-00001"]
    trials = project.study().optuna.get_trials()
    for run, trial in zip(runs, trials, strict=True):
        read = EventAccumulator(str(run)).Reload()
        curve = {event.step: event.value for event in read.Scalars("accuracy")}
        assert curve == pytest.approx(trial.intermediate_values)
        assert set(read.Tags()["scalars"]) == {"accuracy", "loss"}
        about = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        started = plugin_data_pb2.HParamsPluginData.FromString(about).session_start_info
        stored = trial.params["objective.x"]
        assert started.hparams["objective.x"].number_value == pytest.approx(stored)
        assert started.hparams["objective.kind"].string_value in {"a", "b"}
        read.SummaryMetadata("_hparams_/session_end_info")  # raises where it is missing


@needs_mlflow
@pytest.mark.slow
def test_mlflow_has_one_run_a_configuration_whoever_died(project: Project):
    uri = f"sqlite:///{project.directory}/mlflow.db"
    project.run("tune", "study.n_trials=1", "tracking=mlflow", f"tracking.uri='{uri}'",
                "launch.workers=1", "objective.fate=die")  # fmt: skip
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    where = client.get_experiment_by_name("toy").experiment_id
    (run,) = client.search_runs([where])
    assert (run.info.run_name, run.info.status) == ("toy-00000", "FINISHED")
    assert run.data.tags["tuner.fate"] == "complete"
    assert 0 <= float(run.data.params["objective.x"]) <= 1
    points = client.get_metric_history(run.info.run_id, "accuracy")
    (trial,) = [t for t in project.study().optuna.get_trials() if t.state.name == "COMPLETE"]
    curve = {point.step: point.value for point in points}
    assert len(points) == len(curve)  # each step once, although it was killed at the third
    assert curve == pytest.approx(trial.intermediate_values)
    tracking.MLflow(uri, "toy").begin(RUN).close("failed")
    (failed,) = client.search_runs([where], "tags.`tuner.run` = 'a1b2/3'")
    assert (failed.info.status, failed.data.tags["tuner.fate"]) == ("FAILED", "failed")


@needs_mlflow
@pytest.mark.slow
def test_a_server_that_is_not_there_costs_no_trial(project: Project):
    out = project.run(
        "tune", "study.n_trials=2", "tracking=mlflow", "tracking.uri='nonsense://nowhere'",
        "launch.workers=1",
    )  # fmt: skip
    assert "best:" in out
    logged = (project.directory / "runs/toy/logs/worker-0.log").read_text()
    assert "tracking: toy-00000 is not written" in logged
