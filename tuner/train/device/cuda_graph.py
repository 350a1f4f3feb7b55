"""Choose how to run a training step on a GPU: eager, CUDA graph, or compiled and captured.

Eager PyTorch spends about ten microseconds of host time per kernel, more than the kernels of a
small CNN take. A CUDA graph launches the whole step (forward, backward, penalties, update) at once.
torch.compile also fuses the kernels, after minutes of compiling.

A captured step must do the same work every time: whatever changes between steps has to be in
tensors. Therefore the learning rates become one tensor, and a model that synchronises with the
device or draws random numbers on the host stays eager, with a line in the log.
"""

import functools
import gc
import logging
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from tuner.train.device import hardware

logger = logging.getLogger("tuner")

Rung = Literal["auto", "eager", "graph", "compile"]
Function = Callable[..., None]

# Real eager steps on the capturing stream before the capture: cuDNN selects its kernels, the
# optimiser creates its state, and operations that cannot be captured are detected.
WARM_UP = 3
# Steps after which a capture has paid off; see benchmarks/RESULTS.md. Part of its cost is
# that torch.cuda.graph first waits for the device and returns all cached memory to it.
GRAPH_PAYS = 100
COMPILE_PAYS = 200_000


def choose(rung: Rung, device: torch.device, optimizer: Optimizer, steps: int) -> Rung:
    """Return how to run the remaining ``steps``; ``auto`` captures or compiles if it pays off."""
    if device.type != "cuda":
        return "compile" if rung == "compile" else "eager"
    if rung == "auto":
        rung = "eager" if steps < GRAPH_PAYS else "graph" if steps < COMPILE_PAYS else "compile"
    if rung != "eager" and not capturable(optimizer):
        logger.info("eager steps: %s cannot be captured", type(optimizer).__name__)
        return "eager"
    return rung


def capturable(optimizer: Optimizer) -> bool:
    """Return whether the optimiser keeps its step count on the device, or has none."""
    fused_sgd = isinstance(optimizer, SGD) and bool(optimizer.defaults["fused"])
    return fused_sgd or "capturable" in optimizer.defaults


class Rates:
    """The learning rates of all groups as one tensor on the device, read by a captured step."""

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        groups = optimizer.param_groups
        initial = [g.setdefault("initial_lr", g["lr"]) * g.get("factor", 1.0) for g in groups]
        self.initial = torch.tensor(initial, device=device)
        self.now = self.initial.clone()
        for group, rate in zip(groups, self.now.unbind(), strict=True):
            group["lr"] = rate
            if "capturable" in group:
                group["capturable"] = True
        for state in optimizer.state.values():  # step counters of a resumed run are on the host
            for name, value in state.items():
                if isinstance(value, Tensor):
                    state[name] = value.to(device)
        optimizer._warned_capturable_if_run_uncaptured = True

    def set_factor(self, factor: Tensor) -> None:
        torch.mul(self.initial, factor, out=self.now)

    def factors(self, factors: Sequence[float]) -> Sequence[Tensor]:
        """Return an epoch's factors as scalars on the device, without synchronisation."""
        host = torch.tensor(factors, dtype=self.now.dtype)
        return hardware.sent(host, self.now.device).unbind()


class Capture:
    """A ``function`` of tensors of fixed shapes: eager at first, then captured and replayed.

    Every call is a real step, also during the warm-up. If the capture fails, that call and all
    later ones are eager. A failed capture leaves no tensors behind, and restores the current stream
    and the allocator.

    Raises:
        Exception: Raised by ``function``.
        torch.AcceleratorError: The allocator cannot be restored.
    """

    def __init__(self, function: Function, device: torch.device) -> None:
        self.function = function
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.calls = 0
        self.obstacle: str | None = None

    def __call__(self, *inputs: Tensor) -> None:
        if self.obstacle is None and self.calls < WARM_UP:
            self._warm_up(*inputs)
        elif self.obstacle is None and (self.graph is not None or self._captured(*inputs)):
            self._replay(*inputs)
        else:
            self.function(*inputs)
        self.calls += 1

    def _warm_up(self, *inputs: Tensor) -> None:
        main = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(main)
        before = _host_streams()
        with torch.cuda.stream(self.stream), _waits_noted() as waits:
            self.function(*inputs)
        main.wait_stream(self.stream)
        if self.calls and waits:  # the first step may synchronise as libraries initialise
            self._give_up(f"a step waits for the device ({waits[0]})")
        elif before != _host_streams():
            self._give_up("a step draws random numbers on the host")

    def _captured(self, *inputs: Tensor) -> bool:
        """Capture the step; return whether it succeeded. A failed capture is undone."""
        pool = torch.cuda.graph_pool_handle()
        try:
            self._capture(pool, *inputs)
            return True
        except Exception as error:  # any operation that CUDA refuses to capture
            self.graph, self.inputs = None, ()
            # A refused operation also invalidates the capture, so that ending it raises as well.
            self._give_up(f"capturing failed: {error.__context__ or error}")
        _undo(self.device, pool)  # here the exception, which holds tensors, is gone
        return False

    def _capture(self, pool: Any, *inputs: Tensor) -> None:
        self.inputs = tuple(tensor.clone() for tensor in inputs)
        self.graph = torch.cuda.CUDAGraph()
        # torch.cuda.graph does not restore the stream if ending the capture raises.  Other
        # threads (the checkpoint writer, the heartbeat) may use CUDA meanwhile.
        with (
            torch.cuda.stream(self.stream),
            torch.cuda.graph(self.graph, pool, self.stream, capture_error_mode="thread_local"),
        ):
            self.function(*self.inputs)

    def _replay(self, *inputs: Tensor) -> None:
        for static, given in zip(self.inputs, inputs, strict=True):
            static.copy_(given)
        assert self.graph is not None
        self.graph.replay()

    def _give_up(self, obstacle: str) -> None:
        self.obstacle = obstacle
        logger.warning("eager steps: %s", obstacle)


def _undo(device: torch.device, pool: Any) -> None:
    """End a failed capture that used this memory pool, and free its memory.

    From torch 2.14 on, deleting the ``CUDAGraph`` ends the capture. In earlier versions, the
    allocator and the generator stay in capture mode: the allocator frees no memory, and the
    generator raises errors.

    Raises:
        torch.AcceleratorError: The allocator cannot be restored; the worker's process is then
            restarted.
    """
    gc.collect()
    if torch.__version__ < "2.14":
        with suppress(RuntimeError):  # it has already ended
            torch._C._cuda_endAllocateToPool(device.index, pool)
            torch._C._cuda_releasePool(device.index, pool)
        generator = torch.cuda.default_generators[device.index]
        generator.graphsafe_set_state(generator.clone_state())
    try:
        torch.cuda.empty_cache()  # which fails during a capture
    except RuntimeError as error:
        raise torch.AcceleratorError(
            f"a failed capture cannot be undone: {error}; hint: trainer.graph=eager"
        ) from error


@contextmanager
def _waits_noted() -> Iterator[list[str]]:
    """List the lines of the block at which the host synchronises with the device.

    Warnings and the debug mode are global, so other threads would count as well. But training
    threads take turns (``fused.rendezvous``), and the checkpoint writer waits for an event, which
    causes no warning.
    """
    waits: list[str] = []
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode(before)
            waits += [
                f"{each.filename}:{each.lineno}"
                for each in caught
                if "synchronizing" in str(each.message)
            ]


def _host_streams() -> tuple[Any, ...]:
    """Return the states of the host's random number generators, for comparison."""
    numbers = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), str(numbers)


class Compiled:
    """A network's forward and backward as fused kernels, eager if compiling fails.

    Inductor caches them on disk (TORCHINDUCTOR_CACHE_DIR) for later trials and other workers.
    """

    def __init__(self, network: nn.Module) -> None:
        # Imported only here, because importing the compiler takes two seconds.
        from torch._dynamo.exc import TorchDynamoException
        from torch._functorch import config

        # Otherwise it silently stops compiling after eight networks of a process.
        torch.compiler.reset()
        self.failures = TorchDynamoException
        self.network = network
        # Otherwise the backward pass is compiled only in ``loss.backward()``, and may fail there.
        self.whole = functools.partial(config.patch, force_non_lazy_backward_lowering=True)
        self.forward: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False)

    def __call__(self, images: Tensor) -> Tensor:
        try:
            with self.whole():
                outputs: Tensor = self.forward(images)
        except self.failures as error:
            logger.warning("eager network: compiling failed: %s", error)
            self.forward = self.network
            outputs = self.forward(images)
        return outputs
