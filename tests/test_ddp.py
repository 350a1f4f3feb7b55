"""One trial in two gloo processes on the CPU."""

import functools
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from torch import distributed

from tests import recipes
from tests.recipes import Curve, network, settings, train, weights
from tuner.errors import ConfigError, Fenced, Infeasible, Pruned
from tuner.train import checkpoint, data
from tuner.train.augment import Augment
from tuner.train.loss import CrossEntropy

WEIGHTS = [0.1, 5.0, 0.2, 1.0, 1.0, 3.0, 0.0, 1.0, 1.0, 2.0]
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


def test_ranks_share_weighted_losses_and_partners(tmp_path):
    """The weight of classes is that of the whole batch, and partners cross from rank to rank."""
    augment = Augment(shift=1, mixup=0.4, cutmix=1.0)
    parts = {
        "model": network(dropout=0.0, batch_norm=False),
        "data": functools.partial(data.digits, augment=augment, **recipes.DATA),
        "loss": functools.partial(CrossEntropy, **recipes.LOSS | {"class_weights": WEIGHTS}),
    }
    one, two = Curve(), Curve()
    train(tmp_path / "one", one, trainer=settings(epochs=2), **parts)
    train(tmp_path / "two", two, trainer=settings(epochs=2, devices=2, accumulate=2), **parts)
    check_same(two, one)
    check_same_weights(tmp_path / "one", tmp_path / "two")


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


def test_a_trial_that_went_to_another_worker_is_not_saved_over(tmp_path):
    class Report(Curve):
        def fence(self) -> None:
            if self.points:
                raise Fenced

    with pytest.raises(Fenced):
        train(tmp_path, Report(), model=PLAIN, trainer=settings(devices=2))
    assert checkpoint.read(tmp_path / "checkpoint.pt")["learner"]["epoch"] == 1
    assert no_ranks_left()


def test_what_one_device_began_two_finish(tmp_path):
    wanted = Curve()
    train(tmp_path / "one", wanted, model=PLAIN)
    before, after = Curve(leave_in=2, exception=Pruned), Curve()
    with pytest.raises(Pruned):
        train(tmp_path / "run", before, model=PLAIN)
    train(tmp_path / "run", after, model=PLAIN, trainer=settings(devices=2))
    before.points.update(after.points)
    check_same(before, wanted)


def on_rank_1(device: torch.device, *, how: str, **given) -> data.Data:
    if distributed.get_rank() == 1:
        if how == "dies":
            os._exit(9)
        raise Infeasible("rank 1 has no room")
    return data.digits(device, **given)


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ("raises", Infeasible, "rank 1 has no room"),
        ("dies", RuntimeError, "rank 1 died with exit code 9"),
    ],
)
def test_the_failure_of_a_rank_is_the_trials(tmp_path, how, error, match):
    broken = functools.partial(on_rank_1, how=how, augment=recipes.AUGMENT, **recipes.DATA)
    with pytest.raises(error, match=match) as caught:
        train(tmp_path, Curve(), data=broken, trainer=settings(devices=2))
    if how == "raises":
        assert "in rank 1:" in str(caught.value.__cause__)
        assert 'raise Infeasible("rank 1 has no room")' in str(caught.value.__cause__)
    assert no_ranks_left()


class DiesOnArrival:
    """A network that another process cannot even load."""

    def __reduce__(self):
        return os._exit, (7,)

    def __call__(self, **given) -> torch.nn.Module:
        return PLAIN(**given)


def test_a_rank_that_dies_before_it_arrives_is_not_waited_for(tmp_path):
    with pytest.raises(RuntimeError, match="rank 1 died with exit code 7"):
        train(tmp_path, Curve(), model=DiesOnArrival(), trainer=settings(devices=2))
    assert no_ranks_left()


def test_what_cannot_be_shared_is_refused_before_any_process_starts(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer.batch_size=32 .*trainer.devices=3"):
        train(tmp_path, Curve(), trainer=settings(devices=3))
    with pytest.raises(ConfigError, match=r"trainer.fused=4 \(hint: one of them 1\)"):
        train(tmp_path, Curve(), trainer=settings(devices=2, fused=4))
    assert no_ranks_left()
