"""Short fault injection; ``make chaos`` is the long form, and a seed reproduces a failure."""

import os
from dataclasses import replace

import pytest

from tests.chaos.__main__ import calm
from tests.chaos.backends import BACKENDS
from tests.chaos.storm import HALVING, Size, Storm
from tests.chaos.verdict import judge

SIZE = Size(seconds=10, n_trials=10)


TURNS = replace(SIZE, epoch_seconds=1.0, turn=0.1)
PRUNED = replace(SIZE, pruner=HALVING, concurrency=2)


@pytest.fixture(scope="module")
def undisturbed():
    return calm(SIZE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "size"),
    [
        pytest.param("sqlite", SIZE, id="sqlite"),
        pytest.param("postgresql", SIZE, id="postgresql"),
        pytest.param("postgresql", PRUNED, id="postgresql, pruned, two trials at once"),
        pytest.param("postgresql", TURNS, id="postgresql, turns of seconds"),
        pytest.param("failover", SIZE, id="failover"),
    ],
)
def test_whatever_is_killed_the_study_ends_as_if_nothing_had_happened(
    backend, size, tmp_path, undisturbed
):
    seed = int(os.environ.get("CHAOS_SEED", 1))
    print(f"CHAOS_SEED={seed}")
    with BACKENDS[backend]() as database:
        storm = Storm(tmp_path, database, size, seed)
        storm.run()
        figures = judge(storm, undisturbed)
    assert sum(figures.disturbances.values()) > 0
    assert (figures.turns > 0) == (size.turn is not None)
