"""One trial in two gloo processes on the CPU."""

import functools
import multiprocessing
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from tests import recipes
from tests.conftest import wait_for
from tests.recipes import Curve, network, settings, train, weights
from tuner.errors import ConfigError, Fenced, Infeasible, Pruned
from tuner.train.checkpoint import checkpoint
from tuner.train.data import dataset
from tuner.train.data.augment import Augment
from tuner.train.ddp import group, processes
from tuner.train.loss import CrossEntropy

WEIGHTS = [0.1, 5.0, 0.2, 1.0, 1.0, 3.0, 0.0, 1.0, 1.0, 2.0]
slow = pytest.mark.slow  # each test starts processes that import torch
PLAIN = network(dropout=0.0)  # each rank drops other values than one device would


def check_same(curve: Curve, wanted: Curve) -> None:
    assert curve.points.keys() == wanted.points.keys()
    for epoch, metrics in wanted.points.items():
        for name in ("loss", "train_loss", "accuracy"):
            assert curve.points[epoch][name] == pytest.approx(metrics[name], rel=1e-3), name


def check_same_weights(left: Path, right: Path) -> None:
    one, other = weights(left), weights(right)
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=2e-3, atol=1e-4)


def no_ranks_left() -> bool:
    return not multiprocessing.active_children() and not distributed.is_initialized()


def test_two_ranks_make_what_one_device_makes_and_each_goes_on_with_it(tmp_path):
    """Whole on two; begun on one and ended on two; pruned on two and ended on one."""
    wanted = Curve()
    value = train(tmp_path / "one", wanted, model=PLAIN)

    two = Curve()
    assert train(tmp_path / "two", two, model=PLAIN, trainer=settings(devices=2)) == (
        pytest.approx(value, rel=1e-3)
    )
    check_same(two, wanted)
    check_same_weights(tmp_path / "one", tmp_path / "two")
    assert no_ranks_left()


@slow
def test_ranks_share_weighted_losses_and_partners(tmp_path):
    """The weight of classes is that of the whole batch, and partners cross from rank to rank."""
    augment = Augment(shift=1, mixup=0.4, cutmix=1.0)
    parts = {
        "model": network(dropout=0.0, batch_norm=False),
        "data": functools.partial(dataset.digits, augment=augment, **recipes.DATA),
        "loss": functools.partial(CrossEntropy, **recipes.LOSS | {"class_weights": WEIGHTS}),
    }
    one, two = Curve(), Curve()
    train(tmp_path / "one", one, trainer=settings(epochs=2), **parts)
    train(tmp_path / "two", two, trainer=settings(epochs=2, devices=2, accumulate=2), **parts)
    check_same(two, one)
    check_same_weights(tmp_path / "one", tmp_path / "two")


@slow
def test_a_prune_ends_all_ranks_and_the_run_goes_on_elsewhere(tmp_path):
    wanted = Curve()
    train(tmp_path / "one", wanted, model=PLAIN)

    before, after = Curve(leave_in=2, exception=Pruned), Curve()
    with pytest.raises(Pruned):
        train(tmp_path / "run", before, model=PLAIN, trainer=settings(devices=2))
    assert no_ranks_left()
    train(tmp_path / "run", after, model=PLAIN)
    assert min(after.points) == 2, "saved before it was reported"
    before.points.update(after.points)
    check_same(before, wanted)


@slow
def test_a_trial_that_went_to_another_worker_is_not_saved_over(tmp_path):
    class Report(Curve):
        def fence(self) -> None:
            if self.points:
                raise Fenced

    with pytest.raises(Fenced):
        train(tmp_path, Report(), model=PLAIN, trainer=settings(devices=2))
    assert checkpoint.read(tmp_path / "checkpoint.pt")["learner"]["epoch"] == 1
    assert no_ranks_left()


@slow
def test_what_one_device_began_two_finish(tmp_path):
    wanted = Curve()
    train(tmp_path / "one", wanted, model=PLAIN)
    before, after = Curve(leave_in=2, exception=Pruned), Curve()
    with pytest.raises(Pruned):
        train(tmp_path / "run", before, model=PLAIN)
    train(tmp_path / "run", after, model=PLAIN, trainer=settings(devices=2))
    before.points.update(after.points)
    check_same(before, wanted)


ABORTED = threading.Event()
"""Stands for what a GPU does once its part of the group is aborted: rank 0 goes on."""


def stuck(*_: object) -> None:
    """Waits for other ranks as a GPU does, which learns of no lost connection."""
    assert ABORTED.wait(280), "nobody ended it"
    raise RuntimeError("NCCL communicator was aborted")


def troubled(device: torch.device, *, how: str, **given) -> dataset.Data:
    if distributed.get_rank() == 0 and how == "while rank 0 is stuck":
        stuck()
    if how == "in rank 0":
        if distributed.get_rank() == 0:
            raise RuntimeError("rank 0 has a mistake")
        distributed.barrier()  # and so the other one fails too
    if distributed.get_rank() == 1:
        if how == "dies":
            os._exit(9)
        if how == "cannot leave the group":
            distributed.destroy_process_group = stuck
        raise Infeasible("rank 1 has no room")
    return dataset.digits(device, **given)


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ("raises", Infeasible, "rank 1 has no room"),
        pytest.param("dies", RuntimeError, "rank 1 died with exit code 9", marks=slow),
        pytest.param("cannot leave the group", Infeasible, "rank 1 has no room", marks=slow),
        pytest.param("while rank 0 is stuck", Infeasible, "rank 1 has no room", marks=slow),
        pytest.param("in rank 0", RuntimeError, "^rank 0 has a mistake$", marks=slow),
    ],
)
def test_the_failure_of_a_rank_is_the_trials(tmp_path, monkeypatch, how, error, match):
    monkeypatch.setattr(processes, "LAST_WORDS", 1.0)
    ABORTED.clear()
    monkeypatch.setattr(group, "abort", ABORTED.set)
    broken = functools.partial(troubled, how=how, augment=recipes.AUGMENT, **recipes.DATA)
    with pytest.raises(error, match=match) as caught:
        train(tmp_path, Curve(), data=broken, trainer=settings(devices=2))
    if error is Infeasible:
        assert "in rank 1:" in str(caught.value.__cause__)
        assert 'raise Infeasible("rank 1 has no room")' in str(caught.value.__cause__)
    assert no_ranks_left()


@slow
def test_what_was_computed_beside_a_failed_rank_is_neither_reported_nor_saved(tmp_path):
    failed = processes.Others(tmp_path, ["cpu", "cpu"])
    failed.first = 1, None
    failed.failed.set()
    curve = Curve()
    told = group.telling(curve, failed.check)
    for act in (lambda: told(1, accuracy=0.5), told.fence):
        with pytest.raises(RuntimeError, match="rank 1 has failed"):
            act()
    assert curve.points == {}


@pytest.mark.parametrize(
    ("backends", "aborted"), [("cpu:gloo,cuda:nccl", ["cuda"]), ("cpu:gloo,cuda:gloo", [])]
)
def test_only_what_waits_on_a_gpu_is_aborted(monkeypatch, backends, aborted):
    """gloo, which cannot abort, sees a lost connection; rank 0's word still goes over it."""
    found: list[str] = []

    def backend(device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(abort=lambda: found.append(device.type))

    world = SimpleNamespace(_get_backend=backend)
    monkeypatch.setattr(group.distributed, "group", SimpleNamespace(WORLD=world))
    monkeypatch.setattr(group.distributed, "get_backend_config", lambda _: backends)
    group.abort()
    assert found == aborted


def slow_digits(device: torch.device, *, pid_file: Path, **given) -> dataset.Data:
    """Rank 1 is at work on something that no lost connection ends."""
    if distributed.get_rank() == 1:
        pid_file.write_text(str(os.getpid()))
        time.sleep(600)
    return dataset.digits(device, **given)


def train_slowly(run_dir: Path) -> None:
    parts = {"augment": recipes.AUGMENT, "pid_file": run_dir / "pid", **recipes.DATA}
    slowly = functools.partial(slow_digits, **parts)
    train(run_dir, Curve(), data=slowly, trainer=settings(devices=2))


@slow
def test_no_rank_outlives_a_rank_0_that_was_killed(tmp_path):
    context = multiprocessing.get_context("spawn")
    first = context.Process(target=train_slowly, args=(tmp_path,))
    first.start()
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    first.kill()
    first.join()
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_at_work(pid))


def is_at_work(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


class DiesOnArrival:
    """A network that another process cannot even load."""

    def __reduce__(self):
        return eval, ("__import__('os')._exit(7)",)  # coverage puts a local function at os._exit

    def __call__(self, **given) -> torch.nn.Module:
        return PLAIN(**given)


@slow
def test_a_rank_that_dies_before_it_arrives_is_not_waited_for(tmp_path):
    with pytest.raises(RuntimeError, match="rank 1 died with exit code 7"):
        train(tmp_path, Curve(), model=DiesOnArrival(), trainer=settings(devices=2))
    assert no_ranks_left()


def test_what_cannot_be_shared_is_refused_before_any_process_starts(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer.batch_size: 32 .*trainer.devices=3"):
        train(tmp_path, Curve(), trainer=settings(devices=3))
    with pytest.raises(ConfigError, match=r"trainer.fused=4; hint: set one of them to 1"):
        train(tmp_path, Curve(), trainer=settings(devices=2, fused=4))
    assert no_ranks_left()
