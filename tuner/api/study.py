"""A study, as Python code sees it."""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.api import arguments, enqueue, final, frames, reports, running, trial
from tuner.api.final import Final
from tuner.api.plots import Plot
from tuner.api.running import Asked
from tuner.api.trial import Trial
from tuner.errors import StudyError, TunerError
from tuner.report.summary import Summary
from tuner.report.terminal import status
from tuner.space.distributions import Scalar
from tuner.study.study import Study as Record

if TYPE_CHECKING:
    from pandas import DataFrame


FUNCTION = "objective=function"
"""The override by which a study is one of a function."""


class Study:
    """A study in a database. Each access reads the current state.

    It is returned by ``tuner.search`` and ``tuner.open``.

    Args:
        record: The study in its database.
        directory: The directory of its files.
        asked: The settings of the search.

    Example:
        >>> study
        Study('train': accuracy, 4 complete, best 1)
        >>> [trial.value for trial in study.trials if trial.params["lr"] == 0.1]
        [0.96]
    """

    def __init__(self, record: Record, directory: Path, asked: Asked) -> None:
        self._record, self._asked = record, asked
        self.directory = directory

    @property
    def name(self) -> str:
        """The name of the study in its database."""
        return self._record.name

    @property
    def best(self) -> Trial:
        """The best completed trial; with several objectives, the best by the first one.

        Raises:
            TunerError: No trial is complete yet.
        """
        found = self._summary()
        if found.best is None:
            told = f"study {self.name!r} has no completed trial yet (got {found.tally or 'none'})"
            raise TunerError(told, hint="wait, or look at the reasons in Study.trials")
        return trial.of(found.best)

    @property
    def trials(self) -> list[Trial]:
        """All trials, oldest first. A trial has the number of its first attempt, so numbers have
        gaps.
        """
        return list(map(trial.of, self._summary().rows))

    @property
    def plot(self) -> Plot:
        """The figures of the study."""
        return Plot(self._record)

    def trial(self, number: int) -> Trial:
        """Return the trial with a number.

        Raises:
            TunerError: There is no such trial.

        Example:
            >>> study.trial(0).state
            'complete'
        """
        found = {each.number: each for each in self.trials}
        if number not in found:
            told = f"study {self.name!r} has no trial {number}"
            raise TunerError(told, hint=f"existing numbers: {', '.join(map(str, found)) or 'none'}")
        return found[number]

    def to_frame(self) -> "DataFrame":
        """Return a data frame with one row per trial; needs ``pip install 'tuner[pandas]'``.

        Returns:
            Columns ``number``, ``state``, ``value``, ``params_KEY``, ``metrics_NAME``,
            ``facts_NAME``, ``seconds``, ``reason`` and ``run_dir``.

        Raises:
            TunerError: pandas is not installed.

        Example:
            >>> float(study.to_frame()["params_lr"].max())
            0.4
        """
        return frames.of_trials(self.trials)

    def curves(self) -> "DataFrame":
        """Return a data frame with one row per epoch; needs ``pip install 'tuner[pandas]'``.

        Returns:
            Columns ``number``, ``state``, ``epoch`` and ``value``, the metric.

        Raises:
            TunerError: pandas is not installed.

        Example:
            >>> float(study.curves().query("epoch == 3")["value"].max())
            1.0
        """
        return frames.of_curves(self.trials)

    def report(self, path: str | PathLike[str] | None = None) -> Path:
        """Write the report, as ``tuner report`` does, and return its path.

        Args:
            path: A file that ends with .html, .md or .png (needs Chromium); ``report.html`` in the
                study's directory if None.

        Raises:
            ConfigError: The file cannot be written.

        Example:
            >>> study.report("report.md").read_text().splitlines()[0]
            '# train'
        """
        output = self.directory / "report.html" if path is None else Path(fspath(path))
        form = reports.form_of(output, "path")
        return reports.write(self._record, output, self.directory, form, "path")

    def run(self, *, n_trials: int | None = None, workers: int | None = None) -> "Study":
        """Continue the search until its budget is exhausted, and return the study.

        Args:
            n_trials: Number of configurations over the lifetime of the study; unchanged if None.
            workers: Number of worker processes; unchanged if None.

        Raises:
            TunerError: As for ``tuner.search``; or the study belongs to another search. A study of
                a function is resumed by ``tuner.search``. For an opened study, pass the overrides
                of its search to ``tuner.open``, unless it used the default configuration.
            KeyboardInterrupt: The search was interrupted; its trials are requeued.

        Example:
            >>> len(study.run(n_trials=5).trials)
            5
        """
        if self._is_of_function() and FUNCTION not in self._asked.overrides:
            told = f"study {self.name!r} searches a function, which tuner.open does not know"
            hint = f"tuner.search(function, space, name={self.name!r}) resumes the study"
            raise TunerError(told, hint=hint)
        before, self._asked = self._asked, self._asked.changed(n_trials, workers)
        with arguments.in_python():
            try:
                self._record, self.directory = running.run(self._asked)
            except TunerError as error:
                self._asked = before
                if isinstance(error, StudyError):
                    hint = "call tuner.open with the overrides of the search"
                    raise StudyError([replace(m, hint=hint) for m in error.mistakes]) from error
                raise
        return self

    def stop(self) -> None:
        """Ask all workers of the study, on all machines, to leave.

        They notice it within ``worker.heartbeat`` seconds, requeue their trials at the next report,
        and exit. Workers that are started later resume the study.

        Example:
            >>> study.stop()
        """
        self._record.stop()

    def enqueue(self, params: Mapping[str, Scalar]) -> None:
        """Add a trial to try next, also while the study runs.

        Args:
            params: Values by key, as in ``Trial.params``. Missing keys are sampled.

        Raises:
            ConfigError: A key is not searched, or a value is not in its range.

        Example:
            >>> study.enqueue({"lr": 0.2})
            >>> study.trials[-1].state
            'queued'
        """
        enqueue.add(self._record, params)

    def final(self) -> Final:
        """Race the best trials, train the winner on several seeds, and export it, once.

        This is ``tuner final``, in a separate process. A repeated call runs only the missing
        trainings.

        Returns:
            The score on the test split, and the model.

        Raises:
            TunerError: It failed; or the study searches a function, for which there is no test
                data: call the function with ``study.best.params``.
            KeyboardInterrupt: It was interrupted; a repeated call resumes it.

        Example:
            >>> study.final()
            Traceback (most recent call last):
            tuner.errors.TunerError: study 'train' searches a function; final() needs ...
        """
        if self._is_of_function():
            told = f"study {self.name!r} searches a function; final() needs the built-in trainer"
            raise TunerError(
                told, hint="train it yourself: function(**study.best.params, report=…)"
            )
        running.show_log()
        final.run(self._asked)
        return final.read(self._summary(), self.directory)

    def __repr__(self) -> str:
        found = self._summary()
        best = "" if found.best is None else f", best {found.best.value:.6g}"
        return f"Study({self.name!r}: {found.metric}, {found.tally or 'no trial'}{best})"

    def _is_of_function(self) -> bool:
        """Return whether ``tuner.search`` has created the study."""
        return FUNCTION in self._record.attrs.get("command", ())

    def _summary(self) -> Summary:
        return self._record.patience(lambda: status.summary_of(self._record))
