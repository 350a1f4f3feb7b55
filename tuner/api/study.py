"""A study, as Python code sees it."""

from tuner.api import trial
from tuner.api.trial import Trial
from tuner.errors import TunerError
from tuner.report.summary import Summary
from tuner.report.terminal import status
from tuner.study.study import Study as Record


class Study:
    """A study in a database, which is read anew whenever it is asked.

    ``tuner.search`` and ``tuner.open`` return it.

    Args:
        record: The study in its database.

    Example:
        >>> study
        Study('train': accuracy, 4 complete, best 1)
        >>> study.best.params
        {'lr': 0.3}
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def name(self) -> str:
        """The name of the study in its database."""
        return self._record.name

    @property
    def best(self) -> Trial:
        """The best completed trial, of several objectives that of the first.

        Raises:
            TunerError: No trial is complete yet.
        """
        found = self._summary()
        if found.best is None:
            told = f"study {self.name!r} has no completed trial yet (got {found.tally or 'none'})"
            raise TunerError(told, hint="wait, or see trials, each with its reason")
        return trial.of(found.best)

    @property
    def trials(self) -> list[Trial]:
        """All trials, the oldest first. Numbers are those of first attempts: some are left out."""
        return list(map(trial.of, self._summary().rows))

    def trial(self, number: int) -> Trial:
        """Return the trial of a number.

        Raises:
            TunerError: There is none.
        """
        found = {each.number: each for each in self.trials}
        if number not in found:
            told = f"study {self.name!r} has no trial {number}"
            raise TunerError(told, hint=f"its numbers are {', '.join(map(str, found)) or 'none'}")
        return found[number]

    def __repr__(self) -> str:
        found = self._summary()
        best = "" if found.best is None else f", best {found.best.value:.6g}"
        return f"Study({self.name!r}: {found.metric}, {found.tally or 'no trial'}{best})"

    def _summary(self) -> Summary:
        return self._record.patience(lambda: status.look(self._record))
