"""Count the trials of a study repeatedly, at the cost of what is new."""

from collections.abc import Iterable

from sqlalchemy import Connection

from tuner.storage import queries, shapes
from tuner.storage.outages import typed_rows


class Tally:
    """The number of a study's trials, the waiting ones, and the values of some system attributes.

    Call ``refresh`` with the study locked and before anything is written under that lock. Trials of
    one study are created under it (tuner's and Optuna's), so a higher id is a later trial. The
    attributes are stored when a trial is created and never change.
    """

    def __init__(self, study_id: int, keys: Iterable[str]) -> None:
        self.study_id = study_id
        self.keys = tuple(keys)
        self._begin()

    def _begin(self) -> None:
        self.last = 0
        self.last_number = -1
        self.next_number = 0
        self.waiting: set[int] = set()
        """Ids of waiting trials; a trial that has run never waits again."""
        self.noted: dict[str, list[object]] = {key: [] for key in self.keys}
        """Attribute → its values in all trials that have it."""

    def refresh(self, connection: Connection) -> None:
        """Read what is new since the last call; read everything if the latest trial is missing.

        It is missing after a standby has taken over without the last commits.
        """
        found = self._fetch(connection)
        if self.last and (self.last, self.last_number) not in {(i, n) for i, n, _ in found}:
            self._begin()
            found = self._fetch(connection)
        since = self.last
        self.waiting = {i for i, _, state in found if state == "WAITING"}
        self.last, self.last_number = max(
            [(since, self.last_number), *((i, number) for i, number, _ in found)]
        )
        self.next_number = max([self.next_number, *(number + 1 for _, number, _ in found)])
        if self.last > since:
            self._note(connection, since)

    def _fetch(self, connection: Connection) -> list[tuple[int, int, str]]:
        """Return id, number and state of the latest trial, later ones, and those that waited."""
        either = f"trial_id >= {self.last}"
        if self.waiting:
            either += f" OR trial_id IN ({queries.listed(self.waiting)})"
        found = queries.fetch(
            connection,
            "SELECT trial_id, number, state FROM trials "
            f"WHERE study_id = {self.study_id} AND ({either})",
        )
        with typed_rows():
            return [(i, int(number), state) for i, number, state in found]

    def _note(self, connection: Connection, since: int) -> None:
        keys = ",".join(f"'{key}'" for key in self.noted)
        for key, text in queries.fetch(
            connection,
            "SELECT t.key, t.value_json FROM trials r JOIN trial_system_attributes t "
            f"ON t.trial_id = r.trial_id WHERE r.study_id = {self.study_id} "
            f"AND r.trial_id > {since} AND t.key IN ({keys})",
        ):
            if (item := shapes.decoded(text)) is not shapes.UNREADABLE:
                self.noted[key].append(item)
