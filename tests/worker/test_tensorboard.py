"""TensorBoard can read the runs of a search."""

import importlib.util

import pytest

from tests.conftest import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorboard") is None, reason="pip install 'tuner[tensorboard]'"
    ),
]


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
