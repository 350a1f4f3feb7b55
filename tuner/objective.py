"""Functions of the current trial, for code that does not get ``report`` as an argument.

They are for a ``@hydra.main`` program, or a callback deep in a framework; outside of a search, they
do nothing::

    from tuner.objective import report

    report(epoch, accuracy=accuracy)

``report`` and ``run_dir`` are public. ``tuner`` itself does not export them, because
``tuner.report`` is a package.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from tuner.errors import TunerError

__all__ = ["report", "run_dir"]

_running: ContextVar[tuple[Callable[..., None], Path] | None] = ContextVar("running", default=None)


def report(step: int, /, **metrics: float) -> None:
    """Report a step's metrics to the trial; do nothing outside a search.

    Call it in the thread in which the objective was called, and do not catch its exceptions.

    Args:
        step: The epoch, an integer of 0 or more; a step that is already stored is not counted
            twice.
        metrics: Values by name; Python, NumPy or PyTorch scalars.

    Raises:
        tuner.errors.Stop: The trial is pruned, or its worker was asked to leave. This is a
            ``BaseException``, which ``except Exception`` does not catch.
        tuner.errors.TunerError: The step is not an integer of 0 or more.

    Example:
        >>> from tuner.objective import report
        >>> report(1, accuracy=0.97, loss=0.1)
    """
    if (running := _running.get()) is not None:
        running[0](step, **metrics)


def run_dir() -> Path | None:
    """Return the directory of the current trial's files.

    Returns:
        An existing directory that all attempts at this configuration share, so that a checkpoint in
        it survives an interruption; None outside a search.

    Example:
        >>> from tuner.objective import run_dir
        >>> checkpoint = (run_dir() or Path("run")) / "checkpoint.pt"
    """
    running = _running.get()
    return None if running is None else running[1]


def fence() -> None:
    """Raise ``Fenced`` before saving if the trial has gone to another worker."""
    running = _running.get()
    check = getattr(running and running[0], "fence", None)
    if check is not None:
        check()


@contextmanager
def running(report: Callable[..., None], run_dir: Path) -> Iterator[None]:
    """Connect the functions above to a trial while its objective runs."""
    token = _running.set((report, run_dir))
    try:
        yield
    finally:
        _running.reset(token)


def measured(step: Any, metrics: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """Return the arguments of a report, with Python's numbers for NumPy's and torch's scalars.

    Raises:
        TunerError: The step is not an integer of 0 or more.
    """
    step = plain(step)
    if not isinstance(step, int | float) or not (step >= 0 and float(step).is_integer()):
        raise TunerError(f"report({step}, …): a step is a whole number", hint="the epoch, from 1")
    return int(step), {name: float(value) for name, value in metrics.items()}


def plain(value: Any) -> Any:
    """Return a NumPy or torch scalar as Python's; anything else unchanged."""
    item = getattr(value, "item", None)
    return item() if callable(item) else value
