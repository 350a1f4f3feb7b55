"""The search as seen from inside an objective, for code that is handed no ``report``.

A ``@hydra.main`` program, or a callback deep in somebody's framework, imports this; outside of a
search nothing happens::

    from tuner.objective import report

    report(epoch, accuracy=accuracy)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_running: ContextVar[tuple[Callable[..., None], Path] | None] = ContextVar("running", default=None)


def report(step: int, /, **metrics: float) -> None:
    """Report a step's metrics; may raise ``tuner.errors.Stop``, which must be let through.

    To be called in the thread that the objective was called in.
    """
    if (running := _running.get()) is not None:
        running[0](step, **metrics)


def run_dir() -> Path | None:
    """The directory that all attempts at this configuration share; None outside of a search."""
    running = _running.get()
    return None if running is None else running[1]


@contextmanager
def running(report: Callable[..., None], run_dir: Path) -> Iterator[None]:
    """Let the functions above reach a trial, for as long as its objective runs."""
    token = _running.set((report, run_dir))
    try:
        yield
    finally:
        _running.reset(token)
