import functools
import gc
import threading
import time
import types
import weakref
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from tests import recipes
from tests.recipes import Curve, network, settings, train, weights
from tuner.errors import Pruned
from tuner.train import engine
from tuner.train.checkpoint import checkpoint
from tuner.train.data import dataset
from tuner.train.fused import member, optimizer_steps, probe, rendezvous, stacked_modules
from tuner.train.fused.fused_learner import FusedLearner
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy, MeanSquaredError
from tuner.train.optim import parameter_groups

SGD = functools.partial(torch.optim.SGD, fused=True)
OPTIMIZERS = {
    "sgd": [
        functools.partial(SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
        functools.partial(SGD, lr=0.01, momentum=0.8, nesterov=True, weight_decay=0.1),
    ],
    "plain sgd": [functools.partial(SGD, lr=0.1), functools.partial(SGD, lr=0.02)],
    "adam": [
        functools.partial(torch.optim.Adam, lr=0.01, betas=(0.8, 0.99), weight_decay=0.1),
        functools.partial(torch.optim.Adam, lr=0.002, weight_decay=0.01, eps=1e-6),
    ],
    "adamw": [
        functools.partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5, fused=True),
        functools.partial(torch.optim.AdamW, lr=0.003, betas=(0.7, 0.9), fused=True),
    ],
    "rmsprop": [
        functools.partial(torch.optim.RMSprop, lr=1e-3, momentum=0.9, weight_decay=0.01),
        functools.partial(torch.optim.RMSprop, lr=3e-3, momentum=0.5, alpha=0.9),
    ],
}
HEAVY = {"l1": 1e-3, "l2": 1e-3, "class_weights": "balanced", "label_smoothing": 0.0}
TRIALS = [  # which differ in all that may differ
    {"seed": 1},
    {
        "seed": 2,
        "model": network(dropout=0.5, initialisation="xavier"),
        "loss": functools.partial(CrossEntropy, **recipes.LOSS | HEAVY),
        "schedule": functools.partial(parameter_groups.step, drops=2, gamma=0.1),
    },
    {"seed": 3, "model": network(dropout=0.0)},
]


@pytest.fixture
def fusing(monkeypatch) -> list[int]:
    """Fuses whether or not it is faster; how many trials each epoch trained as one."""
    sizes = []
    train_epoch = FusedLearner.train_epoch

    def noted(self, *args):
        sizes.append(len(self.learners))
        return train_epoch(self, *args)

    def choose(learners):
        return "grouped" if len(learners) > 1 else None

    monkeypatch.setattr(FusedLearner, "train_epoch", noted)
    monkeypatch.setattr(probe, "choose", choose)
    return sizes


def together(
    directory: Path, trials: list[dict], curves: list[Curve] | None = None, **changes
) -> list[float | BaseException]:
    """Runs trials in threads of their own; what each returned or raised."""
    curves = curves or [Curve() for _ in trials]
    results: list = [None] * len(trials)
    trainer = settings(fused=len(trials), **changes)

    def one(number: int) -> None:
        try:
            place = directory / str(number)
            results[number] = train(place, curves[number], trainer=trainer, **trials[number])
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(len(trials))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(280)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    return results


def alone(directory: Path, trials: list[dict], **changes) -> list[Curve]:
    curves = [Curve() for _ in trials]
    for number, (trial, curve) in enumerate(zip(trials, curves, strict=True)):
        train(directory / f"alone {number}", curve, trainer=settings(**changes), **trial)
    return curves


def check_same(curves: list[Curve], wanted: list[Curve]) -> None:
    for curve, want in zip(curves, wanted, strict=True):
        assert curve.points.keys() == want.points.keys()
        for epoch, metrics in want.points.items():
            for name in ("loss", "train_loss"):
                assert curve.points[epoch][name] == pytest.approx(metrics[name], rel=2e-4)


def check_same_weights(left: Path, right: Path) -> None:
    one, other = weights(left), weights(right)
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fused_trials_have_the_curves_that_they_have_alone(tmp_path, fusing, optimizer):
    pair = OPTIMIZERS[optimizer]
    trials = [trial | {"optimizer": pair[n % 2]} for n, trial in enumerate(TRIALS)]
    curves = [Curve() for _ in trials]
    results = together(tmp_path, trials, curves, clip=2.0)
    assert fusing == [3, 3, 3]
    wanted = alone(tmp_path, trials, clip=2.0)
    check_same(curves, wanted)
    assert len({curve.points[3]["loss"] for curve in wanted}) == 3, "three trials, not one thrice"
    for number, result in enumerate(results):
        assert result == curves[number].points[3]["accuracy"]
        check_same_weights(tmp_path / str(number), tmp_path / f"alone {number}")


@pytest.mark.parametrize(
    "model",
    [
        {"activation": "prelu", "kernel_size": [4, 3], "hidden": 8, "head": "flatten"},
        {"padding": "valid", "pooling": "avg", "batch_norm": False, "stride": 2, "depth": 1},
        {"convs": 2, "pooling": "none", "activation": "gelu"},
    ],
)
@pytest.mark.parametrize("form", ["grouped", "contiguous", "products"])
def test_every_layer_of_the_cnn_has_its_stacked_form(model, form):
    images = recipes.digits()
    learners = [learner(images, **model) for _ in range(3)]
    fused_learner = FusedLearner(learners, form)
    batch = images.normalise(images.train.images[:5])
    for one, outputs in zip(learners, fused_learner.outputs(batch.repeat(3, 1, 1, 1)), strict=True):
        with torch.no_grad():
            torch.testing.assert_close(outputs, one.network.eval()(batch), rtol=1e-4, atol=1e-5)
    generators = [torch.Generator().manual_seed(n) for n in range(3)]
    fused_learner.train_epoch(images.train, 1, generators, generators)
    for n, one in enumerate(learners):
        torch.manual_seed(0)
        total = one.train_epoch(images.train, 1, torch.Generator().manual_seed(n))
        steps = len(images.train) // 32
        assert float(fused_learner.total[n]) / steps == pytest.approx(float(total), rel=1e-3)


def learner(images=None, optimizer=OPTIMIZERS["adamw"][0], loss=None, **model) -> Learner:
    images = images or recipes.digits()
    made = recipes.network(**{"dropout": 0.0} | model)(images.in_shape, 10)
    loss = loss or CrossEntropy([1] * 10, **recipes.LOSS)
    return Learner(made, optimizer, parameter_groups.constant, loss, images, settings())


def test_other_losses_are_stacked_one_by_one(tmp_path, fusing):
    squares = functools.partial(MeanSquaredError, l1=0.0, l2=1e-3)
    trials = [trial | {"loss": squares} for trial in TRIALS]
    curves = [Curve() for _ in trials]
    together(tmp_path, trials, curves)
    assert fusing == [3, 3, 3]
    check_same(curves, alone(tmp_path, trials))


def test_a_pruned_trial_leaves_and_the_others_go_on(tmp_path, fusing):
    curves = [Curve(), Curve(leave_in=2, exception=Pruned), Curve(leave_in=1, exception=Pruned)]
    results = together(tmp_path, TRIALS, curves)
    assert [type(result) for result in results] == [float, Pruned, Pruned]
    assert fusing == [3, 2], "the last one needs no stack"
    wanted = alone(tmp_path, TRIALS)
    check_same(curves[:1], wanted[:1])
    assert curves[1].points.keys() == {1}


def test_what_was_fused_goes_on_alone_or_fused_again(tmp_path, fusing):
    wanted = alone(tmp_path, TRIALS)
    leaving = [Curve(leave_in=2, exception=Pruned) for _ in TRIALS]
    together(tmp_path, TRIALS, leaving)

    rest = Curve()
    train(tmp_path / "2", rest, **TRIALS[2])
    curves = [Curve(), Curve()]
    fusing.clear()
    together(tmp_path, TRIALS[:2], curves)
    assert fusing == [2], "the epoch that was made is not made again"
    for curve, want in zip([*curves, rest], wanted, strict=True):
        assert curve.points.keys() == {2, 3}
        assert curve.points[3]["loss"] == pytest.approx(want.points[3]["loss"], rel=2e-4)
    check_same_weights(tmp_path / "2", tmp_path / "alone 2")


def test_a_trial_begun_alone_goes_on_fused(tmp_path, fusing):
    for number in range(2):
        with pytest.raises(Pruned):
            train(tmp_path / str(number), Curve(1, Pruned), **TRIALS[number])
    curves = [Curve(), Curve()]
    together(tmp_path, TRIALS[:2], curves)
    assert fusing == [2, 2]
    check_same(curves, alone(tmp_path, TRIALS[:2]))


def test_trials_at_different_epochs_are_not_fused(tmp_path, fusing):
    with pytest.raises(Pruned):
        train(tmp_path / "0", Curve(1, Pruned), **TRIALS[0])
    together(tmp_path, TRIALS[:2], fused_wait=0.1)
    assert fusing == []


def test_trials_of_different_shapes_are_not_fused(tmp_path, fusing):
    trials = [TRIALS[0], TRIALS[1] | {"model": network(width=5)}]
    curves = [Curve(), Curve()]
    together(tmp_path, trials, curves, fused_wait=0.1)
    assert fusing == []
    wanted = alone(tmp_path, trials)
    assert [c.points for c in curves] == [c.points for c in wanted], "in turns, to the bit"


def test_without_a_gain_trials_take_turns_and_keep_their_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "choose", lambda learners: None)
    curves = [Curve() for _ in TRIALS]
    together(tmp_path, TRIALS, curves)
    wanted = alone(tmp_path, TRIALS)
    assert [curve.points for curve in curves] == [curve.points for curve in wanted]


def test_a_lone_trial_waits_no_longer_than_it_must(tmp_path):
    start = time.monotonic()
    train(tmp_path, Curve(), trainer=settings(fused=4, fused_wait=0.2))
    assert 0.2 < time.monotonic() - start < 5


def test_an_error_in_the_common_training_reaches_all(tmp_path, fusing, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("in the stack")

    monkeypatch.setattr(FusedLearner, "train_epoch", broken)
    results = together(tmp_path, TRIALS)
    assert [str(result) for result in results] == ["in the stack"] * 3
    assert {type(result) for result in results} == {ZeroDivisionError}


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_member_that_dies_holds_nobody_up(tmp_path, fusing, epoch):
    curves = [Curve(), Curve(leave_in=epoch, exception=KeyError), Curve()]
    results = together(tmp_path, TRIALS, curves)
    assert [type(result) for result in results] == [float, KeyError, float]
    wanted = alone(tmp_path, TRIALS)
    check_same([curves[0], curves[2]], [wanted[0], wanted[2]])


def test_a_member_that_diverges_does_not_touch_the_others(tmp_path, fusing):
    huge = TRIALS[1] | {"optimizer": functools.partial(SGD, lr=1e30)}
    trials = [t | {"optimizer": OPTIMIZERS["plain sgd"][0]} for t in TRIALS]
    trials[1] = huge
    curves = [Curve() for _ in trials]
    results = together(tmp_path, trials, curves)
    assert type(results[1]).__name__ == "Diverged"
    assert fusing == [3, 2, 2]
    del trials[1], curves[1]
    check_same(curves, alone(tmp_path, trials))


def test_a_report_does_not_hold_the_others_up(tmp_path, fusing):
    """All three reports meet at a barrier: they can only if none holds what another needs."""
    barrier = threading.Barrier(3, timeout=280)

    class Meeting(Curve):
        def __call__(self, epoch, **metrics):
            barrier.wait()
            super().__call__(epoch, **metrics)

    curves = [Meeting() for _ in TRIALS]
    assert all(isinstance(result, float) for result in together(tmp_path, TRIALS, curves))


def test_the_probe_measures_once_and_fuses_what_gains(monkeypatch):
    measured = []
    monkeypatch.setattr(probe, "_chosen", {})
    monkeypatch.setattr(probe, "_alone", lambda *_: nullcontext("alone"))
    monkeypatch.setattr(probe, "_together", lambda *_: "together")
    seconds = {"alone": 1.0, "together": 2.0}
    monkeypatch.setattr(probe, "_timed", lambda _, what: measured.append(what) or seconds[what])
    images = recipes.digits()
    learners = [learner(images) for _ in range(4)]
    assert probe.choose(learners) == "grouped", "4 s alone, 2 s together"
    assert probe.choose(learners[:3]) == "grouped", "rounded up, it is the same shape"
    assert measured == ["alone", "together"] * 2, (
        "a first time that does not count, and one that does"
    )
    assert probe.choose(learners[:2]) is None, "2 s alone, 2 s together"
    assert probe.choose(learners[:1]) is None


@pytest.mark.parametrize(
    ("gains", "expected"),
    [([1.2, 9.0, 0.3, 1.25, 1.15], 1.2), ([0.5], 0.5), ([3.0], 3.0)],
)
def test_the_probe_is_not_misled_by_a_disturbance(monkeypatch, gains, expected):
    """In turns, the median; one round where it is clear."""
    seconds = iter([9.0, 9.0, *(s for gain in gains for s in (gain / 2, 1.0))])
    monkeypatch.setattr(probe, "_timed", lambda *_: next(seconds))
    assert probe._gain(learner(recipes.digits()), None, None, 2) == expected
    assert next(seconds, None) is None


def test_load_of_others_does_not_count_in_the_probe():
    lone = learner(recipes.digits())
    torch.set_num_threads(1)
    assert probe._timed(lone, lambda: time.sleep(0.3)) < 0.1


def test_the_probe_leaves_learners_as_they_were(monkeypatch):
    monkeypatch.setattr(probe, "_chosen", {})
    monkeypatch.setattr(probe, "GAIN", 0.0)
    images = recipes.digits()
    learners = [learner(images) for _ in range(2)]
    before = [{n: t.clone() for n, t in one.network.state_dict().items()} for one in learners]
    assert probe.choose(learners) == "grouped"
    for one, state in zip(learners, before, strict=True):
        assert all(torch.equal(t, state[n]) for n, t in one.network.state_dict().items())
        assert not one.optimizer.state
        assert (one.epoch, one.done) == (0, 0)


def test_a_network_that_mixes_channels_is_not_fused(monkeypatch, caplog):
    class Mixing(nn.Sequential):
        def forward(self, maps):
            return super().forward(maps.flip(1))

    monkeypatch.setattr(probe, "_chosen", {})
    monkeypatch.setattr(probe, "GAIN", 0.0)
    images = recipes.digits()
    learners = [learner(images, width=8) for _ in range(2)]
    for one in learners:
        one.network = Mixing(*one.network).eval()
    with caplog.at_level("INFO", "tuner"):
        assert probe.choose(learners) is None
    assert "the outputs of the stack differ" in caplog.text


def test_nothing_keeps_a_crew_alive():
    images = recipes.digits()
    fused_learner = FusedLearner([learner(images) for _ in range(2)], "grouped")
    generators = [torch.Generator().manual_seed(n) for n in range(2)]
    fused_learner.train_epoch(images.train, 1, generators, generators)
    gone = weakref.ref(fused_learner)
    gc.disable()
    try:
        del fused_learner
        assert gone() is None, "a cycle would keep its memory on the device"
    finally:
        gc.enable()


def test_what_cannot_be_fused_is_named():
    class Strange(nn.ReLU):
        pass

    with pytest.raises(stacked_modules.Unstackable, match=r"1 is .*Strange"):
        stacked_modules.stacked(nn.Sequential(nn.Conv2d(1, 1, 1), Strange()), "grouped")
    with pytest.raises(stacked_modules.Unstackable, match="0 pads with reflect"):
        stacked_modules.stacked(
            nn.Sequential(nn.Conv2d(1, 1, 3, 1, 1, padding_mode="reflect")), "grouped"
        )
    assert probe.obstacle(learner()) is None
    amsgrad = functools.partial(torch.optim.AdamW, amsgrad=True)
    assert probe.obstacle(learner(optimizer=amsgrad)) == "optimizer.amsgrad=True"
    assert "Adagrad has no" in probe.obstacle(learner(optimizer=torch.optim.Adagrad))
    averaged = learner()
    averaged.settings = settings(ema=0.9)
    assert probe.obstacle(averaged) == "trainer.ema=0.9"


def test_only_what_may_differ_is_left_out_of_the_key():
    def key(**changes):
        parts = {
            "optimizer": OPTIMIZERS["adamw"][0],
            "schedule": parameter_groups.constant,
            "seed": 1,
        }
        parts |= {"model": network(), "trainer": settings()}
        return member._key(learner(), checkpoint.describe(**parts | changes))

    assert key() == key(seed=2, optimizer=OPTIMIZERS["adamw"][1], model=network(dropout=0.9))
    assert key() != key(optimizer=OPTIMIZERS["adam"][0])
    assert key() != key(model=network(activation="gelu"))
    assert key() != key(trainer=settings(batch_size=16))


# ---- the rendezvous alone


def run(*functions) -> list:
    results: list = [None] * len(functions)

    def one(number: int, function) -> None:
        with rendezvous.monitor, rendezvous._leaving():
            try:
                results[number] = function()
            except BaseException as error:
                results[number] = error

    threads = [
        threading.Thread(target=one, args=pair, daemon=True) for pair in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(280)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    return results


def test_a_group_closes_when_it_is_full_or_when_nobody_comes():
    def come(key, size, wait=0.1):
        def go():
            found = []
            group = rendezvous.meet(key, found, size=size, wait=wait)
            group.together(lambda items: [each.append(len(items)) for each in items])
            return found[0]

        return go

    assert run(*[come("full", 3, 20) for _ in range(3)]) == [3, 3, 3]
    assert run(come("a", 3), come("b", 3)) == [1, 1]
    assert run(come("two of three", 3), come("two of three", 3)) == [2, 2]
    assert not rendezvous._forming


def test_one_does_the_work_of_each_round_and_any_may_leave():
    done = []

    def member_of(number: int, rounds: int):
        def go():
            group = rendezvous.meet("key", number, size=4, wait=20)
            for round_ in range(rounds):
                group.together(lambda items, round_=round_: done.append((round_, sorted(items))))
            return number

        return go

    assert run(*[member_of(n, rounds) for n, rounds in enumerate([5, 2, 0, 3])]) == [0, 1, 2, 3]
    assert len(done) == 5, "one does it for all"
    assert done[-1] == (4, [0])
    assert all({0} <= set(items) <= {0, 1, 2, 3} for _, items in done)


def test_an_error_of_the_work_is_raised_in_each_thread_as_its_own():
    def go():
        group = rendezvous.meet("key", None, size=3, wait=20)

        def work(_):
            raise OSError(28, "no space")

        group.together(work)

    errors = run(go, go, go)
    assert [error.args for error in errors] == [(28, "no space")] * 3
    assert len({id(error) for error in errors}) == 3
    assert len({id(error.__cause__) for error in errors}) == 1, "where it came from"


def test_an_epochs_numbers_are_sent_and_not_waited_for(monkeypatch):
    sent = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: sent.append("pinned") or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *to, **how: sent.append((to, how)))
    gpu = torch.device("cuda", 0)
    optimizer_steps.Table([[{"lr": 0.1}]], 3, types.SimpleNamespace(device=gpu))
    assert sent == ["pinned", ((gpu,), {"non_blocking": True})]


def test_a_device_that_is_lost_is_no_form_that_does_not_pay(monkeypatch):
    def lost(fused_learner, split):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(probe, "_check", lost)
    with pytest.raises(torch.AcceleratorError, match="illegal memory"):
        probe._measure([learner(recipes.digits()) for _ in range(2)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("form", ["grouped", "contiguous", "products"])
def test_captured_fused_trials_learn_as_they_do_alone_on_a_gpu(tmp_path, monkeypatch, form):
    monkeypatch.setattr(probe, "choose", lambda learners: form if len(learners) > 1 else None)
    trials = [
        {"seed": n, "model": network(dropout=0.0), "optimizer": OPTIMIZERS["adamw"][n % 2]}
        for n in range(3)
    ]
    given = {"precision": "fp32", "epochs": 4, "graph": "graph"}
    curves = [Curve() for _ in trials]
    run_on_gpu(tmp_path, trials, curves, given)
    for number, trial in enumerate(trials):
        want = Curve()
        on_gpu(tmp_path / f"alone {number}", want, trial, given, fused=1)
        for epoch, metrics in want.points.items():
            found = curves[number].points[epoch]
            assert found["train_loss"] == pytest.approx(metrics["train_loss"], rel=0.05)


def on_gpu(directory: Path, curve: Curve, trial: dict, given: dict, fused: int) -> None:
    base = {
        "data": functools.partial(dataset.digits, augment=recipes.AUGMENT, **recipes.DATA),
        "schedule": functools.partial(parameter_groups.cosine, final=0.0),
        "loss": functools.partial(CrossEntropy, **recipes.LOSS),
        "metric": "accuracy",
        "trainer": settings(fused=fused, **given),
    }
    engine.train(**base | trial, report=curve, run_dir=directory, device="cuda:0")


def run_on_gpu(directory: Path, trials: list[dict], curves: list[Curve], given: dict) -> None:
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            on_gpu(directory / str(number), curves[number], trials[number], given, len(trials))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(len(trials))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert not errors
    assert not any(thread.is_alive() for thread in threads), "a deadlock"


@pytest.mark.parametrize("method", ["__call__", "note"])
def test_others_run_while_a_report_or_a_note_is_stored(method):
    free = []

    class Report:
        def __call__(self, **told: object) -> None:
            free.append(rendezvous.monitor.acquire(blocking=False))
            rendezvous.monitor.release()

        note = __call__

    with rendezvous.monitor:
        getattr(rendezvous._aside(Report()), method)(validation_examples=360)
    assert free == [True]
