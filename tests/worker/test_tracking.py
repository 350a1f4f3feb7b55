"""Trackers receive what is reported, and their errors fail no trial."""

import sys
import threading
from dataclasses import replace

import pytest

from tuner.cli import main
from tuner.worker import tracking as trackers
from tuner.worker.tracking import base
from tuner.worker.tracking.base import Run, Track

RUN = Run("digits", "a1b2", 3, {"optimizer.lr": "0.1", "optimizer": "sgd"})


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

    def close(self, state) -> None:
        self.told.append(state)


@pytest.mark.parametrize("state", ["complete", "pruned", "failed", None])
def test_steps_in_order_and_the_way_it_ended(state):
    recorder = Recorder()
    track = base.begin(recorder, RUN)
    metrics = {"accuracy": 0.5}
    track.log(1, metrics)
    metrics["accuracy"] = 0.6
    track.log(2, metrics)
    track.end(state)
    track.end("something else")  # the first word holds
    expected = ["digits-00003", (1, {"accuracy": 0.5}), (2, {"accuracy": 0.6}), state]
    assert recorder.told == expected


def test_what_a_killed_process_did_not_write_is_written_by_its_successor():
    recorder = Recorder()
    before = {1: {"accuracy": 0.4}, 2: {"accuracy": 0.5}}
    track = base.begin(recorder, replace(RUN, before=before))
    track.log(3, {"accuracy": 0.6})
    track.end("complete")
    assert recorder.told == ["digits-00003", *before.items(), (3, {"accuracy": 0.6}), "complete"]


def test_one_that_fails_is_said_once_and_harms_nothing(caplog, monkeypatch):
    monkeypatch.setattr("tuner.worker.tracking.base.log.propagate", True)
    track = base.begin(Recorder(fail=True), RUN)
    track.log(1, {"accuracy": 0.5})
    track.log(2, {"accuracy": 0.5})
    track.end("complete")
    (record,) = caplog.records
    assert "digits-00003 was not written: ConnectionError: no server" in record.getMessage()


def test_a_search_begins_without_a_tracker_that_cannot_be_prepared(caplog, monkeypatch):
    monkeypatch.setattr("tuner.worker.tracking.base.log.propagate", True)
    base.prepare(Recorder(fail=True))
    assert "nothing is written because of this error: ConnectionError: no server" in caplog.text
    monkeypatch.setattr(base, "SETTING_UP", 0.05)
    block = threading.Event()
    slow = Recorder()
    slow.prepare = block.wait
    base.prepare(slow)
    block.set()
    assert "no answer for 0 s" in caplog.text


def test_one_that_hangs_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(Track, "patience", 0.05)
    block = threading.Event()
    recorder = Recorder(block)
    track = base.begin(recorder, RUN)
    track.log(1, {"accuracy": 0.5})
    track.end("complete")
    assert Track.patience == 0.0
    assert recorder.told == []
    block.set()
    track.thread.join(60)
    assert recorder.told[-1] == "complete"


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "wandb"])
def test_an_extra_that_is_missing_is_named_before_any_work(name, monkeypatch, capsys):
    # As if it were not installed, and whatever was imported of it before.
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"tuner.worker.tracking.{name}", raising=False)
    monkeypatch.delattr(trackers, name, raising=False)
    assert main(["tune", f"tracking={name}", "space=none", "loss.l2=interval(0,1)"]) == 2
    hint = f"; hint: pip install 'tuner[{name}]'"
    assert hint in capsys.readouterr().err
