"""The short form of the storm; ``make chaos`` is the long one, and a seed repeats a failure."""

import os

import pytest

from tests.chaos.__main__ import calm
from tests.chaos.backends import BACKENDS
from tests.chaos.storm import Size, Storm
from tests.chaos.verdict import judge

SIZE = Size(seconds=10, n_trials=10)


@pytest.fixture(scope="module")
def undisturbed():
    return calm(SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_is_killed_the_study_ends_as_if_nothing_had_happened(
    backend, tmp_path, undisturbed
):
    seed = int(os.environ.get("CHAOS_SEED", 1))
    print(f"CHAOS_SEED={seed}")
    with BACKENDS[backend]() as database:
        storm = Storm(tmp_path, database, SIZE, seed)
        storm.run()
        figures = judge(storm, undisturbed)
    assert sum(figures.disturbances.values()) > 0
