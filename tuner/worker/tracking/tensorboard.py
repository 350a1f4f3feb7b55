"""Record a study's trials for TensorBoard, without TensorFlow."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from tuner.worker.tracking.base import Run, typed


class TensorBoard:
    """The tracker ``tracking=tensorboard``: event files, and parameters for the HPARAMS page."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory).absolute()  # an objective may change the directory

    def directories(self) -> list[tuple[str, Path]]:
        return [("tracking.directory", self.directory)]

    def prepare(self) -> None:
        """Do nothing: each run has its own directory."""

    def begin(self, run: Run) -> "Events":
        return Events(self.directory / run.name, run.params)


class Events:
    """The event file of a run."""

    def __init__(self, directory: Path, params: Mapping[str, str]) -> None:
        self.file = EventFileWriter(str(directory))
        started = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in params.items():
            known = typed(value)
            kind = "string_value" if isinstance(known, str) else "number_value"
            setattr(started.hparams[name], kind, known)
        self._session(metadata.SESSION_START_INFO_TAG, session_start_info=started)

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        self._add([{"tag": name, "simple_value": value} for name, value in metrics.items()], step)

    def close(self, state: str | None) -> None:
        if state is not None:
            status = "STATUS_FAILURE" if state == "failed" else "STATUS_SUCCESS"
            ended = plugin_data_pb2.SessionEndInfo(
                status=api_pb2.Status.Value(status), end_time_secs=time.time()
            )
            self._session(metadata.SESSION_END_INFO_TAG, session_end_info=ended)
        self.file.close()

    def _session(self, tag: str, **info: Any) -> None:
        """Write what the HPARAMS page reads: a run's parameters, or how it ended."""
        about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**info))
        self._add([{"tag": tag, "metadata": about, "tensor": metadata.NULL_TENSOR}])

    def _add(self, values: Sequence[Mapping[str, Any]], step: int = 0) -> None:
        summary = Summary(value=[Summary.Value(**value) for value in values])
        self.file.add_event(Event(wall_time=time.time(), step=step, summary=summary))
