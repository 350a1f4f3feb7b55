import functools
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests import recipes
from tests.recipes import Curve, network, same, settings, train, weights
from tuner.errors import ConfigError, Diverged, Infeasible, Preempted, TunerError
from tuner.train.checkpoint import checkpoint
from tuner.train.data import dataset
from tuner.train.data.augment import Augment
from tuner.train.early_stopping import EarlyStopping
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy
from tuner.train.optim import parameter_groups

OPTIMIZERS = {
    "sgd": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, fused=True),
    "rmsprop": functools.partial(torch.optim.RMSprop, lr=1e-3, momentum=0.9, foreach=True),
}


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_killed_in_any_report_resumes_to_the_same_bits(tmp_path, optimizer, epoch):
    whole, before, after = Curve(), Curve(leave_in=epoch, exception=Preempted), Curve()
    change = {"optimizer": OPTIMIZERS[optimizer]}
    value = train(tmp_path / "whole", whole, **change)
    with pytest.raises(Preempted):
        train(tmp_path / "killed", before, **change)
    torch.rand(7)  # whatever another trial in this process did to the generators

    assert train(tmp_path / "killed", after, **change) == value
    assert before.points | after.points == whole.points
    assert min(after.points) == epoch, "saved but not yet reported: must be reported again"
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


@pytest.mark.parametrize("schedule", ["constant", "step", "onecycle"])
def test_schedules_resume_to_the_same_bits(tmp_path, schedule):
    change = {
        "schedule": {
            "constant": parameter_groups.constant,
            "step": functools.partial(parameter_groups.step, drops=2, gamma=0.1),
            "onecycle": functools.partial(
                parameter_groups.onecycle, warmup=0.3, initial=0.04, final=1e-4
            ),
        }[schedule]
    }
    train(tmp_path / "whole", Curve(), **change)
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", Curve(leave_in=2), **change)
    train(tmp_path / "killed", Curve(), **change)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_the_checkpoint_is_on_disk_before_the_report(tmp_path):
    saved = []

    def report(epoch: int, **metrics: float) -> None:
        state = checkpoint.read(tmp_path / "checkpoint.pt")
        saved.append((epoch, state["learner"]["epoch"], state["learner"]["done"]))

    train(tmp_path, report)
    assert saved == [(1, 1, 7), (2, 2, 7), (3, 3, 7)]


def test_a_finished_run_is_not_trained_again(tmp_path):
    value = train(tmp_path, Curve())
    assert not (tmp_path / "checkpoint.previous.pt").exists(), "for a run that goes on only"
    before, again = weights(tmp_path), Curve()
    assert train(tmp_path, again) == value
    assert list(again.points) == [3]
    assert same(before, weights(tmp_path))


def test_the_seed_decides_everything(tmp_path):
    first, same_seed, other = Curve(), Curve(), Curve()
    train(tmp_path / "1", first, seed=1)
    train(tmp_path / "2", same_seed, seed=1)
    train(tmp_path / "3", other, seed=2)
    assert first.points == same_seed.points
    assert first.points != other.points


def test_it_learns(tmp_path):
    curve = Curve()
    plain = functools.partial(dataset.digits, augment=Augment(), **recipes.DATA)
    value = train(tmp_path, curve, data=plain, model=network(width=16), trainer=settings(epochs=8))
    assert value > 0.8
    assert value == curve.points[8]["accuracy"]
    assert curve.points[8]["train_loss"] < curve.points[1]["train_loss"]
    assert (tmp_path / "artifacts" / "confusion.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "loss"])
def test_every_metric_may_be_the_studys(tmp_path, metric):
    curve = Curve()
    assert train(tmp_path, curve, metric=metric) == curve.points[3][metric]


def poisoned(device: torch.device) -> dataset.Data:
    """Digits whose test split is of another class count and of noise: using it shows, or fails."""
    clean = recipes.digits()
    test = dataset.Split(255 - clean.test.images, torch.full_like(clean.test.labels, -1))
    return replace(clean, test=test)


def test_a_search_never_touches_the_test_split(tmp_path):
    clean, dirty = Curve(), Curve()
    train(tmp_path / "clean", clean)
    train(tmp_path / "dirty", dirty, data=poisoned)
    assert clean.points == dirty.points
    assert same(weights(tmp_path / "clean"), weights(tmp_path / "dirty"))
    with pytest.raises(TunerError, match="labels from -1 to 9 for 10 classes"):  # it would show
        train(tmp_path / "final", Curve(), data=poisoned, trainer=settings(protocol="final"))


def test_final_learns_from_validation_too_and_scores_the_test_split_once(tmp_path, monkeypatch):
    scored, learned = [], []
    evaluate, train_epoch = Learner.evaluate, Learner.train_epoch
    monkeypatch.setattr(
        Learner, "evaluate", lambda self, split: scored.append(split) or evaluate(self, split)
    )
    monkeypatch.setattr(
        Learner,
        "train_epoch",
        lambda self, split, *rest: learned.append(split) or train_epoch(self, split, *rest),
    )
    curve, images = Curve(), recipes.digits()
    value = train(tmp_path, curve, trainer=settings(protocol="final"))

    assert list(curve.points) == [3]
    assert curve.points[3]["accuracy"] == value
    assert [len(split) for split in scored] == [len(images.test)]
    assert {len(split) for split in learned} == {len(images.train) + len(images.validation)}


def test_the_exported_model_gives_the_reported_score(tmp_path):
    value = train(tmp_path, Curve(), trainer=settings(protocol="final"))
    card = json.loads((tmp_path / "model.json").read_text())
    model = network()(in_shape=tuple(card["in_shape"]), num_classes=len(card["classes"]))
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))

    test = recipes.digits().test
    mean, std = torch.tensor(card["mean"]), torch.tensor(card["std"])
    pixels = ((test.images.float() - mean) / std).permute(0, 3, 1, 2)
    hits = (model.eval()(pixels).argmax(1) == test.labels).float().mean().item()
    assert hits == pytest.approx(value)
    assert card["metrics"]["accuracy"] == value
    assert card["classes"] == list("0123456789")
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert card["recipe"]["model.depth"] == 2


def test_a_final_run_resumes_to_the_same_bits(tmp_path, monkeypatch):
    change = {"trainer": settings(protocol="final")}
    value = train(tmp_path / "whole", Curve(), **change)
    train_epoch = Learner.train_epoch

    def dies_in_second(self, split, epoch, *rest):
        if epoch == 2:
            raise SystemExit
        return train_epoch(self, split, epoch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "train_epoch", dies_in_second)
        with pytest.raises(SystemExit):
            train(tmp_path / "killed", Curve(), **change)
    assert train(tmp_path / "killed", Curve(), **change) == value
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_a_loss_that_is_not_finite_is_diverged_and_never_saved(tmp_path):
    with pytest.raises(Diverged, match=r"^diverged in epoch 1: (train_)?loss is (nan|inf)"):
        train(tmp_path, Curve(), optimizer=functools.partial(torch.optim.SGD, lr=1e30))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_an_impossible_network_is_infeasible(tmp_path):
    with pytest.raises(Infeasible, match="block 4 of 4 leaves nothing of its 1x1 feature map"):
        train(tmp_path, Curve(), model=network(depth=4))


def test_mistakes_name_the_key_and_the_cure(tmp_path):
    with pytest.raises(ConfigError, match=r"study.metric: val_acc .*hint: known: accuracy"):
        train(tmp_path, Curve(), metric="val_acc")
    with pytest.raises(ConfigError, match=r"trainer\.epochs: expected int of 1 or more, got 0"):
        settings(epochs=0)
    train(tmp_path, Curve())
    with pytest.raises(ConfigError, match=r"model.depth: 2 then, 1 now; hint: .*another run_dir"):
        train(tmp_path, Curve(), model=network(depth=1))


def test_penalties_and_class_weights_reach_the_weights(tmp_path):
    plain = functools.partial(CrossEntropy, **recipes.LOSS)
    changes = {"l1": {"l1": 0.01}, "l2": {"l2": 0.05}, "both": {"l1": 0.01, "l2": 0.05}}
    for name, change in changes.items():
        train(tmp_path / name, Curve(), loss=functools.partial(plain, **change))
    train(tmp_path / "none", Curve(), loss=plain)
    sizes = {
        name: weights(tmp_path / name)["block1.0.weight"].abs().sum().item()
        for name in ("none", "l1", "l2", "both")
    }
    assert sizes["both"] < min(sizes["l1"], sizes["l2"]) < sizes["none"]


class Leaving(Curve):
    """A report whose worker is asked to leave at its ``at``-th step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def poll(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Preempted("SIGTERM")


@pytest.mark.parametrize("at", [1, 7, 11])
def test_leaving_between_two_steps_loses_nothing_and_changes_no_bit(tmp_path, at):
    whole, before, after = Curve(), Leaving(at), Curve()
    value = train(tmp_path / "whole", whole)
    with pytest.raises(Preempted):
        train(tmp_path / "left", before)
    assert train(tmp_path / "left", after) == value
    assert before.points | after.points == whole.points
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "left"))


@pytest.mark.parametrize(("protocol", "noted"), [("search", 75), ("final", None)])
def test_a_search_is_told_how_many_images_its_metric_rests_on_before_any_score(
    tmp_path, protocol, noted
):
    class Noting(Curve):
        def note(self, **facts: object) -> None:
            if not self.points:
                self.before = {**getattr(self, "before", {}), **facts}

    curve = Noting()
    train(tmp_path, curve, trainer=settings(protocol=protocol, epochs=1))
    assert getattr(curve, "before", {}).get("validation_examples") == noted


def stopped(scores: list[float], patience: int | None, metric: str = "accuracy") -> int:
    """The epoch after which a training with these scores stops."""
    stopping = EarlyStopping(patience, metric)
    for epoch, score in enumerate(scores, start=1):
        stopping.scored(epoch, score)
        if stopping.over(epoch):
            return epoch
    return len(scores)


def test_a_training_stops_after_so_many_epochs_without_a_better_score():
    assert stopped([0.5, 0.6, 0.6, 0.5, 0.7, 0.9], 2) == 4, "an equal score is no better one"
    assert stopped([0.5, 0.6, 0.6, 0.5, 0.7, 0.9], 3) == 6
    assert stopped([0.5, 0.4, 0.4, 0.3], 2, "loss") == 4
    assert stopped([0.5, 0.4, 0.3], None) == 3


class Notes(Curve):
    """A curve that keeps what is noted, too."""

    def __init__(self, leave_in: int | None = None, exception: type[BaseException] = SystemExit):
        super().__init__(leave_in, exception)
        self.noted: dict[str, float | str] = {}

    def note(self, **facts: float | str) -> None:
        self.noted |= facts


@pytest.mark.parametrize("leave_in", [2, 3])
def test_a_training_that_stops_early_says_so_and_remembers_when_it_is_resumed(tmp_path, leave_in):
    change = {
        "trainer": settings(epochs=9, patience=2),
        "optimizer": functools.partial(torch.optim.SGD, lr=1e-12),
        "model": network(batch_norm=False),  # so that no epoch is any better
    }
    whole, before, after = Notes(), Notes(leave_in=leave_in), Notes()
    value = train(tmp_path / "whole", whole, **change)
    assert list(whole.points) == [1, 2, 3]
    assert str(whole.noted["stopped_early"]).startswith("after epoch 3 of 9: no better accuracy")
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", before, **change)
    assert train(tmp_path / "killed", after, **change) == value
    assert max(after.points) == 3
    again = Notes()
    assert train(tmp_path / "whole", again, **change) == value
    assert list(again.points) == [3], "a training that stopped early is not trained further"


def test_a_final_training_has_no_validation_score_to_stop_by(tmp_path):
    curve = Notes()
    train(tmp_path, curve, trainer=settings(protocol="final", patience=1))
    assert list(curve.points) == [3]


def test_a_training_goes_on_for_more_epochs_with_a_longer_schedule(tmp_path, caplog):
    train(tmp_path, Curve())
    longer = Curve()
    train(tmp_path, longer, trainer=settings(epochs=5))
    assert list(longer.points) == [3, 4, 5]
    assert "training up to epoch 5 instead of 3: the learning-rate schedule" in caplog.text
    with pytest.raises(ConfigError, match=r"trainer\.epochs: 5 then, 4 now"):
        train(tmp_path, Curve(), trainer=settings(epochs=4))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_training_may_start_from_the_weights_of_another(tmp_path, ema):
    first = Curve()
    train(tmp_path / "first", first, trainer=settings(ema=ema))
    start = str(tmp_path / "first" / "checkpoint.pt")
    second = Curve()
    still = functools.partial(torch.optim.SGD, lr=1e-12)
    change = {"optimizer": still, "model": network(batch_norm=False)}
    with pytest.raises(ConfigError, match=r"belongs to another network: .* is not of this network"):
        train(tmp_path / "other", second, trainer=settings(initial=start), **change)
    train(tmp_path / "second", second, trainer=settings(initial=start, epochs=1), optimizer=still)
    assert second.points[1]["accuracy"] == pytest.approx(first.points[3]["accuracy"], abs=0.1)
    with pytest.raises(ConfigError, match=r"trainer\.initial: .* has no weights"):
        train(tmp_path / "none", Curve(), trainer=settings(initial=str(tmp_path / "none.pt")))
