import functools
import logging
import types
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from tests import recipes
from tests.recipes import CPU, Curve, settings
from tuner.train import engine, loss
from tuner.train.data import dataset
from tuner.train.device import cuda_graph, hardware
from tuner.train.learner import Learner
from tuner.train.optim import parameter_groups

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = torch.device("cuda")
OPTIMIZERS = {
    "sgd": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, fused=True),
    "rmsprop": functools.partial(torch.optim.RMSprop, lr=1e-3, momentum=0.9, foreach=True),
}


def made(optimizer):
    return optimizer([nn.Parameter(torch.zeros(2))])


def test_auto_climbs_where_the_steps_left_pay_for_it():
    adamw = made(OPTIMIZERS["adamw"])
    rungs = [cuda_graph.choose("auto", CUDA, adamw, n) for n in (50, 1_000, 10**7)]
    assert rungs == ["eager", "graph", "compile"]
    assert cuda_graph.choose("eager", CUDA, adamw, 10**7) == "eager"
    assert cuda_graph.choose("auto", CPU, adamw, 10**7) == "eager"


def test_an_optimiser_that_counts_on_the_host_stays_eager_and_the_log_says_so(caplog):
    with caplog.at_level(logging.INFO, "tuner"):
        for rung in ("auto", "graph", "compile"):
            slow_sgd = made(functools.partial(torch.optim.SGD, lr=0.1))
            assert cuda_graph.choose(rung, CUDA, slow_sgd, 10**7) == "eager"
            assert cuda_graph.choose(rung, CUDA, made(torch.optim.LBFGS), 10**7) == "eager"
    assert "LBFGS cannot be captured" in caplog.text
    assert all(cuda_graph.capturable(made(optimizer)) for optimizer in OPTIMIZERS.values())


@pytest.mark.parametrize("name", ["Adam", "NAdam", "RMSprop"])
def test_counters_of_a_run_that_goes_on_come_to_the_device(name):
    """``load_state_dict`` leaves them on the host, where a captured step cannot count."""
    optimizers = [made(functools.partial(getattr(torch.optim, name), lr=0.1)) for _ in range(2)]
    for optimizer in optimizers:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad = torch.ones(2)
    begun, resumed = optimizers
    begun.step()
    resumed.load_state_dict(begun.state_dict())
    cuda_graph.Rates(resumed, torch.device("meta"))
    states = [value for state in resumed.state.values() for value in state.values()]
    assert {value.device.type for value in states} == {"meta"}
    assert resumed.param_groups[0]["capturable"]


def test_a_compiler_that_fails_leaves_the_network_eager(monkeypatch, caplog):
    from torch._dynamo.exc import InternalTorchDynamoError

    def broken(network, **_):
        def forward(images):
            raise InternalTorchDynamoError("no compiler here")

        return forward

    with monkeypatch.context() as patch:
        patch.setattr(torch, "compile", broken)
        compiled = cuda_graph.Compiled(nn.Linear(2, 3))
    assert compiled(torch.ones(1, 2)).shape == (1, 3)
    assert "no compiler here" in caplog.text


def test_a_backward_that_fails_to_compile_leaves_the_network_eager(monkeypatch, caplog):
    """Unless it is told, torch compiles it in ``loss.backward()``, which would fail the trial."""
    from torch._dynamo.backends.common import aot_autograd

    def broken(graph, images):
        raise RuntimeError("no backward kernel")

    backend = aot_autograd(fw_compiler=lambda graph, images: graph, bw_compiler=broken)
    network = nn.Linear(2, 3)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
        compiled = cuda_graph.Compiled(network)
    compiled(torch.ones(1, 2)).sum().backward()
    assert network.weight.grad is not None
    assert "no backward kernel" in caplog.text


def learner(device=CUDA, optimizer="adamw", network=None, **changes) -> Learner:
    images = dataset.digits(device, augment=recipes.AUGMENT, **recipes.DATA)
    hardware.reseed(1, 0, device)
    network = network or recipes.network(dropout=0.3)(images.in_shape, 10)
    objective = loss.CrossEntropy([1] * 10, **recipes.LOSS | {"l1": 1e-4, "l2": 1e-4})
    schedule = functools.partial(parameter_groups.cosine, final=0.0)
    chosen = settings(epochs=4, precision="fp32", **changes)
    return Learner(network, OPTIMIZERS[optimizer], schedule, objective, images, chosen)


def curve(run: Learner, device=CUDA, epochs=(1, 2, 3, 4)) -> list[float]:
    losses = []
    for epoch in epochs:
        generator = hardware.reseed(1, epoch, device)
        losses.append(float(run.train_epoch(run.data.train, epoch, generator)))
    return losses


@pytest.fixture
def exact():
    """cuDNN's choices and TF32 would hide what is compared."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.set_float32_matmul_precision("highest")
    yield
    torch.backends.cudnn.deterministic = False


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_captured_step_draws_and_learns_as_an_eager_one(exact, optimizer):
    eager, captured = learner(graph="eager", optimizer=optimizer), None
    expected = curve(eager)
    captured = learner(graph="graph", optimizer=optimizer)
    # Dropout, augmentation and the learning rate would each show at once: another mask every
    # step, and a rate that falls to nothing.
    assert curve(captured) == pytest.approx(expected, rel=2e-3)
    assert isinstance(captured.make_step, cuda_graph.Capture)
    assert captured.make_step.graph is not None, captured.make_step.obstacle
    for mine, theirs in zip(captured.network.parameters(), eager.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
@needs_gpu
def test_a_compiled_step_learns_as_an_eager_one(exact):
    expected = curve(learner(graph="eager", optimizer="sgd"))
    compiled = learner(graph="compile", optimizer="sgd")
    # Inductor draws other dropout masks, so the curves are alike, not the same.
    assert curve(compiled) == pytest.approx(expected, rel=0.15)
    assert compiled.make_step.graph is not None, compiled.make_step.obstacle


def epoch_of(run: Learner, stream: torch.cuda.Stream | None, epoch: int) -> float:
    with torch.cuda.stream(stream):
        generator = torch.Generator(run.device).manual_seed(epoch)
        return float(run.train_epoch(run.data.train, epoch, generator))


@pytest.mark.parametrize("place", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])])
def test_learners_of_different_shapes_learn_abreast_as_they_do_alone(exact, place):
    """Each in a thread, captured and on its own stream on a GPU, as `benchmarks.fused` has them.

    Without dropout: it draws from the process's generator, which they would share.
    """
    device, widths = torch.device(place), (3, 4, 6)

    def begun(width: int, stream: torch.cuda.Stream | None) -> Learner:
        hardware.reseed(1, 0, device)
        network = recipes.network(dropout=0.0, width=width)((1, 8, 8), 10)
        run = learner(device, network=network, graph="graph")
        epoch_of(run, stream, 1)  # which captures
        return run

    alone = [begun(width, None) for width in widths]
    expected = [[epoch_of(run, None, epoch) for epoch in (2, 3)] for run in alone]
    streams = [torch.cuda.Stream(device) if place == "cuda" else None for _ in widths]
    runs = [begun(*pair) for pair in zip(widths, streams, strict=True)]
    if place == "cuda":
        torch.cuda.synchronize(device)
    with ThreadPoolExecutor(len(runs)) as pool:
        found = list(pool.map(lambda run, s: [epoch_of(run, s, e) for e in (2, 3)], runs, streams))
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == (theirs if place == "cpu" else pytest.approx(theirs, rel=2e-3))


class Device:
    """A GPU's streams and its allocator, as far as a capture that CUDA invalidates meets them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current, self.calls = "main", []
        stand_in = {
            "Stream": lambda _: types.SimpleNamespace(wait_stream=lambda other: None),
            "stream": functools.partial(Entered, self),
            "current_stream": lambda _=None: types.SimpleNamespace(wait_stream=lambda other: None),
            "CUDAGraph": lambda: InvalidGraph(self),
            "graph_pool_handle": lambda: (0, 1),
            "synchronize": lambda: None,
            "empty_cache": lambda: self.calls.append("empty_cache"),
            "get_sync_debug_mode": lambda: 0,
            "set_sync_debug_mode": lambda mode: None,
        }
        for name, function in stand_in.items():
            monkeypatch.setattr(torch.cuda, name, function)
        monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)


class Entered:
    """``torch.cuda.stream``: what is current comes back where it is left, and there alone."""

    def __init__(self, device: Device, stream: object) -> None:
        self.device, self.stream = device, stream

    def __enter__(self):
        self.before, self.device.current = self.device.current, self.stream

    def __exit__(self, *_):
        self.device.current = self.before


class InvalidGraph:
    """Ends as the real one does after an operation that CUDA refuses to record."""

    def __init__(self, device: Device) -> None:
        self.device = device
        weakref.finalize(self, device.calls.append, "graph deleted")

    def capture_begin(self, *_, **__):
        self.device.calls.append("begins")

    def capture_end(self):
        self.device.calls.append("ends")
        raise torch.AcceleratorError("CUDA error: failed due to a previous error during capture")


class Step:
    """A step that fails while it is captured; what it held is watched by ``alive``."""

    def __init__(self, device: Device) -> None:
        self.device, self.ran, self.images = device, [], lambda: None

    def __call__(self) -> None:
        self.ran.append(self.images() is not None)
        if self.device.calls[-1:] == ["begins"]:
            images = torch.ones(3)
            self.images = weakref.ref(images)
            raise RuntimeError("not permitted while capturing")


def test_nothing_of_a_failed_capture_is_left_in_the_eager_step_that_takes_its_place(
    monkeypatch, caplog
):
    device = Device(monkeypatch)
    step = Step(device)
    capture = cuda_graph.Capture(step, CUDA)
    for _ in range(cuda_graph.WARM_UP + 2):
        capture()
    assert device.current == "main", "torch.cuda.graph leaves its own stream current"
    assert step.ran == [False] * (cuda_graph.WARM_UP + 3), (
        "the warm-up, the capture, two eager ones"
    )
    undone = [call for call in device.calls if call != "empty_cache"]
    assert undone == ["begins", "ends", "graph deleted"]
    assert device.calls[-1] == "empty_cache", "which the deleted graph's memory can leave by"
    assert "capturing failed: not permitted while capturing" in caplog.text


def test_before_torch_2_14_the_allocator_and_the_generator_are_put_right(monkeypatch):
    calls = Device(monkeypatch).calls
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, lambda *given, name=name: calls.append((name, *given)))
    generator = types.SimpleNamespace(
        clone_state=lambda: "fresh", graphsafe_set_state=lambda state: calls.append(state)
    )
    monkeypatch.setattr(torch.cuda, "default_generators", [None, generator])
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.11.0"))
    cuda_graph._undo(torch.device("cuda", 1), (0, 7))
    ended = [("_cuda_endAllocateToPool", 1, (0, 7)), ("_cuda_releasePool", 1, (0, 7))]
    assert calls == [*ended, "fresh", "empty_cache"]


def test_a_capture_that_cannot_be_undone_ends_the_process(monkeypatch):
    device = Device(monkeypatch)

    def refused():
        if "ends" in device.calls:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(torch.cuda, "empty_cache", refused)
    capture = cuda_graph.Capture(Step(device), CUDA)
    capture.calls = cuda_graph.WARM_UP
    with pytest.raises(torch.AcceleratorError, match=r"underway.*hint: trainer\.graph=eager"):
        capture()


class Waits(nn.Module):
    def forward(self, images):
        return images * (1.0 if images.mean().item() < 100 else 2.0)


class DrawsOnTheHost(nn.Module):
    def forward(self, images):
        return images * torch.rand(()).clamp_min(0.5).to(images.device, non_blocking=True)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [(Waits, "waits for the device"), (DrawsOnTheHost, "(random numbers on the host|waits)")],
)
def test_a_step_that_cannot_be_replayed_stays_eager(exact, obstacle, reason, caplog):
    torch.manual_seed(0)
    network = nn.Sequential(obstacle(), nn.Flatten(), nn.Linear(64, 10))
    run = learner(graph="graph", network=network)
    losses = curve(run)
    assert losses[-1] < losses[0]
    assert run.make_step.graph is None
    assert torch.cuda.is_available(), "the context is sound"
    assert any(__import__("re").search(reason, record.message) for record in caplog.records)


@pytest.mark.gpu
@needs_gpu
def test_a_capture_that_fails_goes_on_eagerly(exact, monkeypatch, caplog):
    def refused(self, *inputs):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graph.Capture, "_capture", refused)
    run = learner(graph="graph")
    expected = curve(learner(graph="eager"))
    assert curve(run) == pytest.approx(expected, rel=2e-3)
    assert "capturing failed" in caplog.text


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("rung", ["eager", "graph"])
def test_nothing_waits_for_the_gpu_between_two_reports(rung, tmp_path):
    seen = []

    def report(epoch, **metrics):
        seen.append(epoch)
        torch.cuda.set_sync_debug_mode("error")  # from the first report on

    parts = dict(
        data=functools.partial(dataset.digits, augment=recipes.AUGMENT, **recipes.DATA),
        model=recipes.network(), optimizer=OPTIMIZERS["adamw"],
        schedule=functools.partial(parameter_groups.cosine, final=0.0),
        loss=functools.partial(loss.CrossEntropy, **recipes.LOSS),
        trainer=settings(epochs=40, graph=rung), metric="accuracy", seed=1,
    )  # fmt: skip
    settle = engine.Progress.settle

    def reading(self):  # the one place that may wait
        torch.cuda.set_sync_debug_mode("default")
        try:
            settle(self)
        finally:
            if seen:
                torch.cuda.set_sync_debug_mode("error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.Progress, "settle", reading)
        try:
            engine.train(**parts, report=report, run_dir=tmp_path, device="cuda")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert seen == list(range(1, 41))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("rung", ["eager", "graph"])
def test_a_run_on_a_gpu_resumes_within_an_epoch(exact, rung):
    device_run = learner(graph=rung)
    whole = curve(device_run)
    killed, places = learner(graph=rung), []

    def dies():
        places.append(killed.done)
        if len(places) == 10:  # the third step of the second epoch
            raise SystemExit

    killed.train_epoch(killed.data.train, 1, hardware.reseed(1, 1, CUDA), dies)
    with pytest.raises(SystemExit):
        killed.train_epoch(killed.data.train, 2, hardware.reseed(1, 2, CUDA), dies)
    state = killed.state_dict()
    torch.rand(3, device="cuda")
    resumed = learner(graph=rung)
    resumed.load_state_dict(state)
    assert curve(resumed, epochs=(2, 3, 4)) == pytest.approx(whole[1:], rel=2e-3)


@pytest.mark.gpu
@needs_gpu
def test_a_trial_on_a_gpu_leaves_no_memory_behind(tmp_path):
    source = functools.partial(dataset.digits, augment=recipes.AUGMENT, **recipes.DATA)
    parts = dict(
        data=source, model=recipes.network(), optimizer=OPTIMIZERS["adamw"],
        schedule=parameter_groups.constant,
        loss=functools.partial(loss.CrossEntropy, **recipes.LOSS),
        trainer=settings(epochs=20, graph="graph"), metric="accuracy", device="cuda",
    )  # fmt: skip
    used = []
    for seed in range(4):
        engine.train(**parts, seed=seed, report=Curve(), run_dir=tmp_path / str(seed))
        torch.cuda.synchronize()
        used.append(torch.cuda.memory_allocated())
    assert used[-1] == used[1], used
