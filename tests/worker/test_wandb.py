"""Weights & Biases has one run per configuration; nothing is sent, the files are read instead."""

import importlib.util
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tests.worker.test_tracking import RUN
from tuner.config.composition import Source
from tuner.worker.tracking.factory import build_tracker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("wandb") is None, reason="pip install 'tuner[wandb]'"
    ),
]


def records(path: Path) -> list[Any]:
    """Read a ``.wandb`` file: a header of 7 bytes, then records in LevelDB's log format.

    All of a short run is in the first block of 32 KiB, each record in one piece.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    found, data, at = [], path.read_bytes(), 7
    assert len(data) < 32768
    while at < len(data):
        _crc, length, whole = struct.unpack("<IHB", data[at : at + 7])
        assert whole == 1
        found.append(Record.FromString(data[at + 7 : at + 7 + length]))
        at += 7 + length
    return found


def of(kind: str, path: Path) -> list[Any]:
    return [getattr(r, kind) for r in records(path) if r.WhichOneof("record_type") == kind]


@pytest.mark.parametrize(("state", "code"), [("complete", 0), (None, 1)])
def test_a_run_has_its_parameters_its_curve_and_how_it_ended(state, code, tmp_path):
    cfg = Source().compose(["tracking=wandb", "tracking.mode=offline", f"study.dir={tmp_path}"])
    tracker = build_tracker(cfg)
    tracker.prepare()
    run = tracker.begin(RUN)
    run.metrics(1, {"val/acc": 0.5})
    run.metrics(2, {"val/acc": 0.75})
    run.metrics(2, {"val/acc": 0.0})  # sent again
    run.close(state)
    (path,) = (tmp_path / "wandb").rglob("*.wandb")
    while not of("exit", path):  # written by a process of its own, also after finish() returns
        time.sleep(0.01)
    (about,) = of("run", path)
    assert (about.run_id, about.display_name, about.run_group) == ("a1b2-3", RUN.name, RUN.study)
    config = {item.key or item.nested_key[0]: item.value_json for item in about.config.update}
    assert (config["optimizer.lr"], config["optimizer"]) == ("0.1", '"sgd"')
    rows = [{i.key or i.nested_key[0]: i.value_json for i in h.item} for h in of("history", path)]
    assert [(row["_step"], row["val/acc"]) for row in rows] == [("1", "0.5"), ("2", "0.75")]
    (left,) = of("exit", path)
    assert left.exit_code == code
    assert bool(of("preempting", path)) == (state is None)
