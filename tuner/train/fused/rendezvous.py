"""Let trials in the threads of one process take turns, and meet to be trained together.

Torch's random generators and settings, and the captured graphs of a device, belong to a process and
not to a thread. Therefore, exactly one of the threads runs at a time: it holds ``monitor`` and
releases it only while it waits for others or reports (a report waits for the database).
"""

import copy
import functools
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from tuner.train.settings import Settings

Item = TypeVar("Item")
Train = TypeVar("Train", bound=Callable[..., float])

monitor = threading.Condition(threading.Lock())

_forming: dict[Hashable, "Group[Any]"] = {}
_seat = threading.local()


class Group(Generic[Item]):
    """Threads that proceed together: each contributes an item, and any may leave at any time."""

    def __init__(self) -> None:
        self.items: dict[int, Item] = {}
        self.closed = False
        self._round = 0
        self._waiting: set[int] = set()
        self._error: BaseException | None = None

    def together(self, work: Callable[[list[Item]], None]) -> None:
        """Wait until all members have arrived; the last one runs ``work`` for all.

        Raises:
            Exception: Raised by ``work``, in every thread that waited for it.
        """
        me, round_ = threading.get_ident(), self._round
        self._waiting.add(me)
        monitor.notify_all()
        monitor.wait_for(lambda: self._round > round_ or self._complete)
        if self._round == round_:
            self._work(work)
        if self._error is not None:
            raise _own(self._error) from self._error

    def leave(self) -> None:
        """Leave the group, so that its members no longer wait for this thread."""
        self.items.pop(threading.get_ident(), None)
        monitor.notify_all()

    @property
    def _complete(self) -> bool:
        return self._waiting >= self.items.keys()

    def _work(self, work: Callable[[list[Item]], None]) -> None:
        try:
            work(list(self.items.values()))
        except BaseException as error:
            self._error = error
        self._round += 1
        self._waiting.clear()
        monitor.notify_all()


def meet(key: Hashable, item: Item, *, size: int, wait: float) -> Group[Item]:
    """Return the group of threads with the same ``key``, including this thread.

    It is closed when it has ``size`` items, or when no other thread has arrived for ``wait``
    seconds.
    """
    group: Group[Item] = _forming.setdefault(key, Group())
    group.items[threading.get_ident()] = item
    _seat.group = group
    if len(group.items) >= size:
        _close(key, group)
    while not group.closed:
        present = len(group.items)
        news = functools.partial(_news, group, present)
        if not monitor.wait_for(news, timeout=wait):
            _close(key, group)
    return group


def _news(group: Group[Any], present: int) -> bool:
    return group.closed or len(group.items) != present


def _close(key: Hashable, group: Group[Any]) -> None:
    group.closed = True
    _forming.pop(key, None)
    monitor.notify_all()


def turns(train: Train) -> Train:
    """Let several threads call ``train`` at once if its ``trainer.fused`` is above 1."""

    @functools.wraps(train)
    def taking_turns(*, trainer: Settings, report: Callable[..., None], **parts: Any) -> float:
        if trainer.fused == 1:
            return train(trainer=trainer, report=report, **parts)
        with monitor, _leaving():
            return train(trainer=trainer, report=_aside(report), **parts)

    return taking_turns  # type: ignore[return-value]


@contextmanager
def _leaving() -> Iterator[None]:
    """Leave the group at the end of the block, however this thread ends."""
    _seat.group = None
    try:
        yield
    finally:
        if _seat.group is not None:
            _seat.group.leave()
            _seat.group = None


def _aside(report: Callable[..., None]) -> Callable[..., None]:
    """Return a report that lets other threads run while its values or notes are stored."""
    reported = _released(report)
    if hasattr(report, "note"):
        reported.note = _released(report.note)  # type: ignore[attr-defined]
    return reported


def _released(call: Callable[..., None]) -> Callable[..., None]:
    def released(*args: Any, **named: Any) -> None:
        monitor.release()
        try:
            call(*args, **named)
        finally:
            monitor.acquire()

    return released


def _own(error: BaseException) -> BaseException:
    """Return a copy of the error for one more thread, so that tracebacks stay separate."""
    try:
        return copy.copy(error)
    except Exception:  # it cannot be copied
        return error
