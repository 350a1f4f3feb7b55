"""The global generators of random numbers, started from a trial's seed before its objective.

Most code draws from them without saying so, and would give another value each time it is run.
"""

import importlib.util
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np

SHARED = (
    "worker.concurrency=%d: trials in threads share the generators of Python, NumPy and torch, so "
    "these are not seeded; hint: launch.workers, or take `seed` for generators of your own"
)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Start the generators of Python, NumPy and torch from ``seed``, as far as NumPy takes it.

    torch is never imported for that: where nobody has imported it yet, it is seeded as soon as
    the body does.  Nothing is restored at the end.  Generators belong to the process: of two
    threads in here, each would start those of the other anew.
    """
    stream = seed % 2**32
    random.seed(stream)
    np.random.seed(stream)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(stream)
    late = _Late(stream)
    sys.meta_path.insert(0, late)
    try:
        yield
    finally:
        if late in sys.meta_path:
            sys.meta_path.remove(late)


class _Late(MetaPathFinder):
    """Sees torch being imported, leaves that to whoever else can, and seeds it then."""

    def __init__(self, stream: int) -> None:
        self.stream = stream

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_seed(module: ModuleType) -> None:
                execute(module)
                module.manual_seed(self.stream)

            spec.loader.exec_module = execute_and_seed  # type: ignore[method-assign]
        return spec
