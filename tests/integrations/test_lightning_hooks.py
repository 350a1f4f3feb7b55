"""The decision of rank 0 is that of all ranks."""

import pytest

from tuner.errors import Pruned
from tuner.integrations import lightning_hooks


class Ranks:
    """A trainer of several ranks, as seen by one of them."""

    def __init__(self, rank: int, raised: bool) -> None:
        self.is_global_zero = rank == 0
        self.strategy = self
        self.raised = raised
        self.sent: list[object] = []

    def broadcast(self, value: object) -> object:
        self.sent.append(value)
        return value if self.is_global_zero else self.raised


def test_all_ranks_leave_where_rank_0_must():
    first, second = Ranks(0, True), Ranks(1, True)

    def stop() -> None:
        raise Pruned

    with pytest.raises(Pruned):
        lightning_hooks._together(first, stop)
    assert first.sent == [True]
    with pytest.raises(SystemExit) as left:
        lightning_hooks._together(second, stop)
    assert left.value.code == 0  # with another one, Lightning kills rank 0
    lightning_hooks._together(Ranks(1, False), stop)  # asked of rank 0 alone
