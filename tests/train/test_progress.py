import dataclasses
import functools
import gc
import time
import types
import weakref
from contextlib import nullcontext

import pytest
import torch

from tests import recipes
from tests.recipes import Curve, same, settings, train, weights
from tuner.errors import ConfigError, Diverged, Preempted, Pruned, TunerError
from tuner.train import progress
from tuner.train.checkpoint import checkpoint, snapshot
from tuner.train.loss import CrossEntropy
from tuner.train.metrics import Evaluated
from tuner.train.settings import Every

ALWAYS = Every(epochs=1, seconds=1e-9)  # after every step


class Dies(CrossEntropy):
    """A loss that lets the process die in a certain step of training."""

    def __init__(self, counts, *, step: int, with_: type[BaseException] = SystemExit, **settings):
        super().__init__(counts, **settings)
        self.left, self.with_ = step, with_

    def forward(self, logits, labels):
        self.left -= 1
        if self.left == 0:
            raise self.with_("simulated")
        return super().forward(logits, labels)


def dying(step: int, with_: type[BaseException] = SystemExit):
    return functools.partial(Dies, step=step, with_=with_, **recipes.LOSS)


def plain():
    return functools.partial(Dies, step=10**9, with_=SystemExit, **recipes.LOSS)


@pytest.fixture(autouse=True)
def _one_recipe(monkeypatch):
    """The step in which a run dies is no part of its recipe."""
    monkeypatch.setattr(checkpoint, "ELSEWHERE", {*checkpoint.ELSEWHERE, "loss.step", "loss.with_"})


OPTIMIZERS = {
    "sgd": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, fused=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("step", [2, 7, 8, 9, 12])
def test_a_run_killed_in_any_step_resumes_to_the_same_bits(tmp_path, optimizer, step):
    """Steps 8 to 14 are the second epoch's; dropout and EMA go on where they were."""
    change = {
        "optimizer": OPTIMIZERS[optimizer],
        "trainer": settings(checkpoint_every=ALWAYS, ema=0.9),
    }
    whole, before, after = Curve(), Curve(), Curve()
    value = train(tmp_path / "whole", whole, loss=plain(), **change)
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", before, loss=dying(step), **change)
    torch.rand(7)  # whatever another trial in this process did to the generators

    assert train(tmp_path / "killed", after, loss=plain(), **change) == value
    assert before.points | after.points == whole.points
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_a_run_goes_on_from_the_very_step(tmp_path):
    change = {"trainer": settings(checkpoint_every=ALWAYS)}
    with pytest.raises(SystemExit):
        train(tmp_path, Curve(), loss=dying(11), **change)
    found = checkpoint.read(tmp_path / "checkpoint.pt")["learner"]
    assert (found["epoch"], found["done"]) == (2, 3)
    # Steps 11 to 21 are left; each passes the loss once.
    with pytest.raises(SystemExit):
        train(tmp_path, Curve(), loss=dying(11), **change)
    found = checkpoint.read(tmp_path / "checkpoint.pt")["learner"]
    assert (found["epoch"], found["done"]) == (3, 6)


def test_checkpoints_may_be_several_epochs_apart(tmp_path):
    whole, before, after = Curve(), Curve(leave_in=4), Curve()
    change = {"trainer": settings(epochs=5, checkpoint_every=Every(epochs=2, seconds=60.0))}
    value = train(tmp_path / "whole", whole, **change)
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", before, **change)
    assert list(before.points) == [1, 2, 3]
    assert train(tmp_path / "killed", after, **change) == value
    assert before.points | after.points == whole.points
    assert min(after.points) == 4, "of the fourth epoch there was a checkpoint"


def test_every_epoch_is_reported_once_and_in_order(tmp_path):
    order = []
    train(tmp_path, lambda epoch, **_: order.append(epoch), trainer=settings(epochs=6))
    assert order == [1, 2, 3, 4, 5, 6]


def test_a_slow_disk_holds_a_report_back_but_not_the_steps(tmp_path, monkeypatch):
    saved, steps = [], []
    write, step_made = checkpoint.write, progress.Progress.step_made

    def slow(path, taken):
        time.sleep(0.2)
        write(path, taken)
        saved.append(snapshot.restore(taken.tree, taken.pieces)["learner"]["epoch"])

    def counted(self):
        steps.append(self.learner.epoch)
        step_made(self)

    monkeypatch.setattr(checkpoint, "write", slow)
    monkeypatch.setattr(progress.Progress, "step_made", counted)
    reported = []

    def report(epoch, **_):
        reported.append((epoch, saved[-1], steps[-1]))

    train(tmp_path, report)
    assert [epoch for epoch, _, _ in reported] == [1, 2, 3]
    assert all(saved >= epoch for epoch, saved, _ in reported), "durable before the report"
    assert [at for _, _, at in reported] == [2, 3, 3], "in the shadow of the next epoch's steps"


def test_a_report_waits_for_so_many_steps_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SHADOW", 2)
    monkeypatch.setattr(Evaluated, "ready", lambda self: False)
    places = []
    step_made = progress.Progress.step_made

    def counted(self):
        places.append((self.learner.epoch, self.learner.done))
        step_made(self)

    monkeypatch.setattr(progress.Progress, "step_made", counted)
    at = []
    train(tmp_path, lambda epoch, **_: at.append(places[-1]))
    assert at == [(2, 2), (3, 2), (3, 7)]


def test_a_full_disk_costs_no_report_and_the_next_epoch_tries_again(tmp_path, monkeypatch, caplog):
    """Of five epochs the second and fourth are due; at the second the disk is full."""
    tried, write = [], checkpoint.write

    def full_at_first(path, taken):
        tried.append(taken.tree["learner"]["epoch"])
        if len(tried) == 1:
            raise OSError(28, "No space left on device")
        write(path, taken)

    monkeypatch.setattr(checkpoint, "write", full_at_first)
    curve = Curve()
    change = {"trainer": settings(epochs=5, checkpoint_every=Every(epochs=2, seconds=60.0))}
    train(tmp_path, curve, **change)
    assert list(curve.points) == [1, 2, 3, 4, 5]
    assert tried == [2, 3, 5]
    assert "No space left on device; trying again later" in caplog.text
    assert checkpoint.read(tmp_path / "checkpoint.pt")["learner"]["epoch"] == 5


def test_a_damaged_checkpoint_costs_an_epoch_and_not_a_bit(tmp_path):
    change = {"trainer": settings(epochs=4)}
    whole, before, after = Curve(), Curve(leave_in=3), Curve()
    value = train(tmp_path / "whole", whole, **change)
    with pytest.raises(SystemExit):
        train(tmp_path / "run", before, **change)
    newest = tmp_path / "run" / "checkpoint.pt"
    assert checkpoint.read(newest)["learner"]["epoch"] == 3
    newest.write_bytes(newest.read_bytes()[:-100])
    assert train(tmp_path / "run", after, **change) == value
    assert min(after.points) == 2
    assert before.points | after.points == whole.points
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_a_preemption_saves_what_was_done_since(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "WORTH_SAVING", 0.0)
    change = {"trainer": settings(checkpoint_every=Every(epochs=10, seconds=60.0))}
    with pytest.raises(Preempted):
        train(tmp_path, Curve(leave_in=2, exception=Preempted), **change)
    found = checkpoint.read(tmp_path / "checkpoint.pt")["learner"]
    assert found["epoch"] >= 2
    after, whole = Curve(), Curve()
    train(tmp_path, after, **change)
    train(tmp_path / "whole", whole, **change)
    assert after.points.items() <= whole.points.items()
    assert 3 in after.points


def test_a_loss_that_is_not_finite_is_not_saved_over_a_good_one(tmp_path):
    class Explodes(Dies):
        def forward(self, logits, labels):
            self.left -= 1
            return super(Dies, self).forward(logits, labels) * (1.0 if self.left > 0 else 1e39)

    exploding = functools.partial(Explodes, step=10, **recipes.LOSS)
    with pytest.raises(Diverged, match=r"^diverged in epoch 2: train_loss is inf"):
        train(tmp_path, Curve(), loss=exploding, trainer=settings(checkpoint_every=ALWAYS))
    found = checkpoint.read(tmp_path / "checkpoint.pt")["learner"]
    assert (found["epoch"], found["done"]) == (2, 2), "the steps before it exploded"


class Marked(torch.nn.Sequential):
    """Can be told whether it is still in memory."""


def marked(alive: list, **_):
    def make(in_shape, num_classes):
        made = Marked(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))
        alive.append(weakref.ref(made))
        return made

    return make


@pytest.mark.parametrize("leaving", [torch.OutOfMemoryError, Pruned, ValueError, None])
def test_a_trial_that_ends_leaves_nothing_in_memory(tmp_path, leaving):
    alive: list = []
    gc.collect()
    gc.disable()  # what only the collector frees holds a GPU's memory for seconds
    try:
        loss = dying(4, leaving) if leaving else plain()
        with pytest.raises(leaving) if leaving else nullcontext():
            train(tmp_path / "first", Curve(), model=marked(alive), loss=loss)
        assert alive[0]() is None
    finally:
        gc.enable()
    if leaving is torch.OutOfMemoryError:
        assert train(tmp_path / "next", Curve()) > 0.1


def labelled(change):
    def source(device):
        images = recipes.digits()
        split = dataclasses.replace(images.train, labels=change(images.train.labels.clone()))
        return dataclasses.replace(images, train=split)

    return source


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels + 1, r"labels from 0 to 10 for 10 classes; hint: labels count"),
        (lambda labels: labels - 1, r"labels from -1 to 9 for 10 classes"),
        (
            lambda labels: labels.where(labels != 7, 1),
            r"1 of 10 classes have no training",
        ),
    ],
)
def test_labels_that_do_not_fit_are_named_before_a_kernel_meets_them(tmp_path, change, message):
    with pytest.raises(TunerError, match=message):
        train(tmp_path, Curve(), data=labelled(change))


def test_an_interval_of_nothing_is_a_mistake():
    with pytest.raises(ConfigError, match=r"checkpoint_every\.epochs: .*got 0"):
        Every(epochs=0, seconds=1.0)
    with pytest.raises(ConfigError, match=r"checkpoint_every\.seconds: .*got -1"):
        Every(epochs=1, seconds=-1)


@pytest.mark.parametrize("leave_in", [None, 2])
def test_what_a_run_took_is_told_however_it_ends(tmp_path, leave_in):
    class Noting(Curve):
        def note(self, **facts):
            self.facts = facts

    curve = Noting(leave_in, Pruned)
    with nullcontext() if leave_in is None else pytest.raises(Pruned):
        train(tmp_path, curve)
    assert curve.facts["device"] == "cpu"
    assert curve.facts["peak_memory_mb"] > 100
    network = recipes.network()(in_shape=(1, 8, 8), num_classes=10)
    assert curve.facts["parameters"] == sum(p.numel() for p in network.parameters())


def test_all_epochs_of_a_run_are_read_in_one_stream(monkeypatch):
    """torch has 32 of a device, which come round: another one an epoch would get into others."""
    seen, recorded = [], types.SimpleNamespace(record=lambda stream: None)
    monkeypatch.setattr(torch.cuda, "Event", lambda: recorded)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext(seen.append(stream)))
    stream = types.SimpleNamespace(wait_event=lambda event: seen.append(event))
    for epoch in (1, 2):
        evaluated = Evaluated(epoch, None, torch.tensor(0.5), stream)
        assert evaluated.read() == ({"train_loss": 0.5}, None)
    assert seen == [recorded, stream] * 2


def test_what_a_diverged_run_took_is_told_and_the_divergence_once(tmp_path, caplog):
    noted: dict[str, object] = {}

    class Noting(Curve):
        def note(self, **facts):
            noted.update(facts)

    with pytest.raises(Diverged):
        train(tmp_path, Noting(), optimizer=functools.partial(torch.optim.SGD, lr=1e30))
    assert noted["parameters"] > 0
    assert caplog.text == ""


def test_checkpoints_keep_to_their_share_of_the_time(tmp_path, monkeypatch):
    """One costs 0.02 s here: with a share of 0.0001 the next is due in 200 s; the last is kept."""
    write, saved = checkpoint.write, []

    def dear(path, taken):
        saved.append(taken.tree["learner"]["epoch"])
        write(path, taken)
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    monkeypatch.setattr(checkpoint, "write", dear)
    every = Every(epochs=1, seconds=1e4, share=1e-4)
    train(tmp_path, Curve(), trainer=settings(epochs=5, checkpoint_every=every))
    assert saved == [1, 5]
    saved.clear()
    often = dataclasses.replace(every, seconds=1e-3)
    train(tmp_path / "often", Curve(), trainer=settings(epochs=3, checkpoint_every=often))
    assert {1, 2, 3} <= set(saved), "seconds are a promise"
    saved.clear()
    train(tmp_path / "any", Curve(), trainer=settings(epochs=5))
    assert saved == [1, 2, 3, 4, 5]
