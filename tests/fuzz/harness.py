"""The budget of the fuzz tests, a watchdog, and what must hold of each example."""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.fuzz import canary
from tuner.errors import TunerError
from tuner.storage import outages

T = TypeVar("T")
TIMES = int(os.environ.get("TUNER_FUZZ", "1"))
PATIENCE = 60.0
"""Seconds that one example may take, on a machine that does much else."""


def examples(count: int) -> settings:
    """So many examples, the same in each run; ``TUNER_FUZZ`` times as many, of any kind."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # examples are short, and some cost 0.1 s
        print_blob=True,
    )


class Hung(BaseException):
    """An example that takes too long; no ``Exception``, so that hypothesis does not shrink it."""


@contextmanager
def harmless(example: object) -> Iterator[None]:
    """Whatever is done within ends in time and runs none of the planted code.

    Raises: Hung, with the stacks of all threads on stderr; AssertionError.
    """

    def hung(_number: int, _frame: FrameType | None) -> None:
        faulthandler.dump_traceback(sys.__stderr__ or 2)
        raise Hung(f"after {PATIENCE:g} s: {example!r}")

    before = signal.signal(signal.SIGALRM, hung)
    left, _ = signal.setitimer(signal.ITIMER_REAL, PATIENCE)  # pytest-timeout's own
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, left)
    sung, canary.sung[:] = [*canary.sung], []
    assert not sung, f"planted code was run: {sung}, by {example!r}"


def outcome(act: Callable[[], T]) -> tuple[T | None, str]:
    """What an act returns, or None and how it is refused; any other error is a fault.

    What a command says of errors of the database's driver counts as refused, too.
    """
    try:
        return act(), ""
    except TunerError as error:
        said = str(error)
    except Exception as error:
        if not outages.is_ours(error):
            raise
        said = str(outages.lost(error))
    assert canary.SECRET not in said
    return None, said


SCALARS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from([0, 1, -1, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), ""])
    | st.sampled_from([canary.NAME, f"${{oc.env:{canary.VARIABLE}}}", "../../x", "--app=evil.py"])
    | st.sampled_from(["\x1b[2J", "\0", "\u202e", "$(evil)", "null", "'", "{", "a" * 300])
)  # fmt: skip
KEYS = st.sampled_from(["_target_", "_partial_", "_args_", "objective", "hydra", ""])
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """The content with some bytes set, cut out, repeated or put in."""
    made = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, max(0, len(made) - 1)))
        end = min(len(made), start + draw(st.integers(0, 8)))
        how = draw(st.sampled_from(["set", "cut", "repeat", "insert", "truncate"]))
        match how:
            case "set":
                made[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
            case "cut":
                del made[start:end]
            case "repeat":
                made[start:start] = made[start:end] * draw(st.integers(1, 4))
            case "insert":
                made[start:start] = draw(st.binary(max_size=8))
            case "truncate":
                del made[start:]
    return bytes(made)
