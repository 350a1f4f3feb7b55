"""The return values of an objective, and the memory that it leaves to other trials."""

import fcntl
import logging
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from tests.study.test_next_trial import Bench
from tests.worker.test_failures import Gpu
from tuner.environment import MEMORY_FRACTION, SHARED
from tuner.errors import Pruned, TunerError
from tuner.study.budget import Budget
from tuner.worker import trial

RETURNED = {
    "text": "good",
    "several": torch.zeros(3),
    "whole": torch.tensor(2),
    "nothing": None,
    "both": (1, torch.tensor(2)),
    "list": [0.5, 3],
    "mixed": (1, "good"),
    "none": (),
}


def objective(what: str) -> object:
    return RETURNED[what]


@pytest.mark.parametrize(
    ("what", "value"),
    [("whole", 2.0), ("nothing", None), ("both", (1.0, 2.0)), ("list", (0.5, 3.0))],
)
def test_a_value_is_a_number_or_several_or_nothing(tmp_path, what, value):
    assert _run(tmp_path, what) == value


@pytest.mark.parametrize(("what", "told"), [
    ("text", "'good' (str)"), ("several", "(Tensor)"), ("mixed", "(1, 'good')"), ("none", "(tuple)")
])  # fmt: skip
def test_what_is_no_number_is_named(tmp_path, what, told):
    with pytest.raises(TunerError, match=r"the objective returned .*; hint: return the final") as e:
        _run(tmp_path, what)
    assert told in str(e.value)


def _run(directory, what):
    asked = {"_target_": "tests.worker.test_trial.objective", "what": what}
    cfg = OmegaConf.create({"objective": asked, "seed": 0})
    return trial.run(cfg, run_dir=directory / "run", report=print)


class Shared:
    """A worker beside others on one GPU; ``events`` tells in which order it does what."""

    def __init__(self, tmp_path, monkeypatch, *ends: BaseException | None) -> None:
        self.events: list[str] = []
        self.ends = list(ends)
        self.lock = tmp_path / "gpu.device"
        monkeypatch.setenv(SHARED, str(tmp_path / "gpu"))
        monkeypatch.setenv(MEMORY_FRACTION, "0.475")
        Gpu(monkeypatch)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: self.note("returned"))
        monkeypatch.setattr(trial, "run", lambda *_, **__: self.objective())

    def objective(self) -> float:
        self.note("ran")
        if (error := self.ends.pop(0)) is not None:
            raise error
        return 0.5

    def note(self, what: str) -> None:
        """``what``, and which turn it is now: others would get a lock that is compatible."""
        with self.lock.open("a") as other:
            turn = "no turn"
            for kind, name in ((fcntl.LOCK_EX, "shared"), (fcntl.LOCK_SH, "alone")):
                try:
                    fcntl.flock(other, kind | fcntl.LOCK_NB)
                except BlockingIOError:
                    turn = name
        self.events.append(f"{what}, {turn}")

    def run(self) -> object:
        plan = SimpleNamespace(worker=SimpleNamespace(concurrency=1))
        context = SimpleNamespace(preempted=lambda: None, device=None, plan=plan)
        return trial._run_shared(context, OmegaConf.create(), None, None)


def test_once_more_alone_is_alone_with_the_memory_too(tmp_path, monkeypatch):
    """Each turn ends only when its memory is back: a process keeps what it has once reserved."""
    worker = Shared(tmp_path, monkeypatch, torch.OutOfMemoryError("none left"), None)
    assert worker.run() == 0.5
    assert worker.events == ["ran, shared", "returned, shared", "ran, alone", "returned, alone"]


@pytest.mark.parametrize("end", [None, ValueError("a mistake"), Pruned("not worth it")])
def test_who_shares_a_gpu_returns_its_memory_however_a_trial_ends(tmp_path, monkeypatch, end):
    worker = Shared(tmp_path, monkeypatch, end)
    if end is None:
        worker.run()
    else:
        with pytest.raises(type(end)):
            worker.run()
    assert worker.events == ["ran, shared", "returned, shared"]


@pytest.mark.parametrize("reach", ["none", "disk", "mirror"])
def test_a_worker_that_starts_over_for_want_of_a_checkpoint_says_so_once(
    tmp_path, monkeypatch, caplog, reach
):
    monkeypatch.setattr(logging.getLogger("tuner"), "propagate", True)
    monkeypatch.chdir(tmp_path)
    trial._tell_of_disks.cache_clear()
    mirrored = ["study.mirror=file:///elsewhere"] if reach == "mirror" else []
    bench = Bench(tmp_path, Budget(n_trials=2), *mirrored)
    for _ in range(2):
        for host in ("first", "second"):
            claimed = bench.claim()
            context = SimpleNamespace(
                plan=bench.plan, study=bench.study, worker="w", host=host, named="cpu"
            )
            run_dir = trial._prepare(context, claimed, ["a=1"])
            if reach == "disk":
                run_dir.mkdir(parents=True, exist_ok=True)
            if host == "first":
                claimed.report(0.5, 1)
                bench.study.requeue(claimed._trial_id, "SIGTERM")
        claimed.study.tell(claimed, 0.5)
    said = [r.message for r in caplog.records if "begun on first starts over" in r.message]
    assert len(said) == (reach == "none")
    assert all("study.mirror=" in line for line in said)
