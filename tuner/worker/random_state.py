"""Seed the global random number generators with a trial's seed before its objective is called.

Most code uses them implicitly, and would otherwise return another value each time.
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
    """Seed Python, NumPy and torch with the lower 32 bits of ``seed`` for the block.

    Torch is not imported: if the block imports it, torch is seeded then. The previous states are
    not restored. The generators are shared by all threads of the process, so only one thread may be
    inside at a time.
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
    """Import hook that seeds torch after the regular loader has imported it."""

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
