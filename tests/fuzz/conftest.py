"""What all fuzz tests have around them."""

import sys
from collections.abc import Iterator

import pytest

from tests.fuzz import canary


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The secret lies in the environment, and nobody has sung."""
    monkeypatch.setenv(canary.VARIABLE, canary.SECRET)
    canary.sung.clear()
    yield
    sys.modules.pop("evil", None)
