"""A study's trials in TensorBoard or MLflow, a run for each configuration.

A tracker is told from a thread of its own, one a trial: a server that is slow or away never holds
up the training, and what goes wrong costs curves elsewhere, not the trial.
"""

import importlib.util
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from tuner.errors import ConfigError
from tuner.log import log

PATIENCE = 10.0
"""Seconds that the end of a trial waits for what is still to be written."""
SETTING_UP = 60.0
"""Seconds that a search waits for its tracker at its start; a new MLflow database takes some 15."""


@dataclass(frozen=True)
class Run:
    """A configuration, whichever attempt at it this is."""

    study: str
    uid: str
    """Of the study: names return, this does not."""
    number: int
    params: Mapping[str, str]
    before: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """Steps of earlier attempts: a process that was killed may not have written its last."""

    @property
    def name(self) -> str:
        return f"{self.study}-{self.number:05d}"


class Written(Protocol):
    """A run that is being written."""

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def close(self, fate: str | None) -> None:
        """``fate`` is complete, pruned or failed; None where another attempt goes on."""


@runtime_checkable
class Tracker(Protocol):
    """What ``tracking`` names."""

    def prepare(self) -> None:
        """Before the workers start: make what they share, which two of them must not do at once."""

    def begin(self, run: Run) -> Written | None:
        """Begin a run, or go on with it."""


class Nothing:
    """``tracking=none``."""

    def prepare(self) -> None:
        """Nothing."""

    def begin(self, run: Run) -> None:
        return None


class TensorBoard:
    """``tracking=tensorboard``: event files, and the parameters for its HPARAMS page."""

    def __init__(self, directory: str) -> None:
        _require("tensorboard")
        self.directory = Path(directory)

    def prepare(self) -> None:
        """Nothing: each run has a directory of its own."""

    def begin(self, run: Run) -> "Events":
        return Events(self.directory / run.name, run.params)


class Events:
    """A directory of TensorBoard's, written by the parts of it that need no TensorFlow."""

    def __init__(self, directory: Path, params: Mapping[str, str]) -> None:
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.file = EventFileWriter(str(directory))
        started = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in params.items():
            known = _typed(value)
            kind = "string_value" if isinstance(known, str) else "number_value"
            setattr(started.hparams[name], kind, known)
        self._session(metadata.SESSION_START_INFO_TAG, session_start_info=started)

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        self._add([{"tag": name, "simple_value": value} for name, value in metrics.items()], step)

    def close(self, fate: str | None) -> None:
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        if fate is not None:
            status = "STATUS_FAILURE" if fate == "failed" else "STATUS_SUCCESS"
            ended = plugin_data_pb2.SessionEndInfo(
                status=api_pb2.Status.Value(status), end_time_secs=time.time()
            )
            self._session(metadata.SESSION_END_INFO_TAG, session_end_info=ended)
        self.file.close()

    def _session(self, tag: str, **info: Any) -> None:
        """What the HPARAMS page reads of a run: its parameters, or how it ended."""
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**info))
        self._add([{"tag": tag, "metadata": about, "tensor": metadata.NULL_TENSOR}])

    def _add(self, values: Sequence[Mapping[str, Any]], step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(**value) for value in values])
        self.file.add_event(Event(wall_time=time.time(), step=step, summary=summary))


class MLflow:
    """``tracking=mlflow``: runs of an experiment, on a server or in files."""

    def __init__(self, uri: str | None, experiment: str) -> None:
        _require("mlflow")
        self.uri = uri
        self.experiment = experiment

    def prepare(self) -> None:
        """Make MLflow's tables, where the URI is a new database's, and the experiment."""
        self._open()

    def _open(self) -> tuple[Any, str]:
        from mlflow import MlflowClient

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
    """A run of MLflow's."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self.steps: dict[str, set[int]] = {}
        """Those of each metric that MLflow has, which keeps a second value of a step as well."""

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if name not in self.steps:
                known = self.client.get_metric_history(self.run_id, name)
                self.steps[name] = {point.step for point in known}
            if step not in self.steps[name]:
                self.client.log_metric(self.run_id, name, value, step=step)
                self.steps[name].add(step)

    def close(self, fate: str | None) -> None:
        if fate is not None:
            self.client.set_tag(self.run_id, "tuner.fate", fate)
            ends = "FAILED" if fate == "failed" else "FINISHED"
            self.client.set_terminated(self.run_id, status=ends)


class Track:
    """Passes what a trial reports on to its tracker, in order, without waiting for it."""

    patience: ClassVar[float] = PATIENCE
    """None is left once a tracker was not done in time: the trials after it do not wait."""

    def __init__(self, tracker: Tracker, run: Run) -> None:
        self.calls: queue.SimpleQueue[Callable[[Written], None] | None] = queue.SimpleQueue()
        self.ended = False
        self.thread = threading.Thread(
            target=self._follow, args=(tracker, run), name="tuner-tracking", daemon=True
        )
        self.thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Pass on a step's metrics."""
        told = dict(metrics)
        self.calls.put(lambda written: written.metrics(step, told))

    def end(self, fate: str | None) -> None:
        """Pass on how it ended, and wait a little for the tracker to write it all; only once."""
        if self.ended:
            return
        self.ended = True
        self.calls.put(lambda written: written.close(fate))
        self.calls.put(None)
        self.thread.join(Track.patience)
        if self.thread.is_alive():
            log.warning("tracking: what is still to be written is not waited for")
            Track.patience = 0.0

    def _follow(self, tracker: Tracker, run: Run) -> None:
        try:
            written = tracker.begin(run)
            for step, metrics in run.before.items():
                if written is not None:
                    written.metrics(step, metrics)
            while (call := self.calls.get()) is not None:
                if written is not None:
                    call(written)
        except Exception as error:
            log.warning("tracking: %s is not written: %s", run.name, _told(error))


class Silent:
    """No tracker."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def end(self, fate: str | None) -> None:
        """Nothing."""


def prepare(tracker: Tracker) -> None:
    """Make what the workers will share; what goes wrong is said, and does not keep them waiting."""

    def attempt() -> None:
        try:
            tracker.prepare()
        except Exception as error:
            log.warning("tracking: nothing is written until this is mended: %s", _told(error))

    thread = threading.Thread(target=attempt, name="tuner-tracking", daemon=True)
    thread.start()
    thread.join(SETTING_UP)
    if thread.is_alive():
        log.warning("tracking: no answer for %.0f s; the search begins without it", SETTING_UP)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def begin(tracker: Tracker, run: Run) -> Track | Silent:
    """Where to log a trial's steps, and to say what became of it."""
    return Silent() if isinstance(tracker, Nothing) else Track(tracker, run)


def _require(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ConfigError(
            f"tracking={module}: it is not installed; hint: pip install 'tuner[{module}]'"
        )


def _typed(text: str) -> float | str:
    """A number as one, so that TensorBoard draws an axis for it."""
    try:
        return float(text)
    except ValueError:
        return text
