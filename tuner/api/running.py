"""Create or resume the study of a plan, and run it, in this process or by workers."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.api import functions, in_process, preflight, supervision
from tuner.api.functions import Objective
from tuner.config.composition import Source
from tuner.errors import ConfigError, Mistake, TunerError
from tuner.log import log, to_stderr
from tuner.report.analysis import no_result
from tuner.report.configurations import Row
from tuner.report.terminal import screen, status
from tuner.study import create, limits, plan
from tuner.study.plan import Plan
from tuner.study.study import Study


@dataclass(frozen=True)
class Asked:
    """The settings of a search, and where its trials run."""

    source: Source
    overrides: tuple[str, ...]
    function: Objective | None = None
    """A function that exists only in this process; None if ``objective._target_`` is importable."""
    inside: bool = False
    """Whether the trials run in this process; else the launcher starts workers."""

    def changed(self, n_trials: int | None, workers: int | None) -> "Asked":
        """Return the same search with another budget, or run elsewhere; None changes nothing.

        Raises:
            ConfigError: Workers cannot import the function.
        """
        given = {"study.n_trials": n_trials, "launch.workers": workers or None}
        more = [f"{key}={value}" for key, value in given.items() if value is not None]
        if workers and self.function is not None:
            raise ConfigError([functions.not_importable(self.function)])
        inside = self.inside if workers is None else workers == 0
        return replace(self, overrides=(*self.overrides, *more), inside=inside)

    def plan(self) -> Plan:
        """Compose the configuration; see ``plan.load``."""
        if self.function is not None:
            functions.kept(self.function)  # another one of this name may have taken its place
        return plan.load(self.source, self.overrides)


def run(asked: Asked, mistakes: Sequence[Mistake] = ()) -> tuple[Study, Path]:
    """Search until the budget is exhausted, and return the study and its directory.

    Args:
        asked: The search.
        mistakes: Known errors, which are reported with the others.

    Raises:
        TunerError: The plan has errors, all of which are reported before any work; or the search
            failed, or no trial has a value.
        KeyboardInterrupt: The search was interrupted; its trials are requeued.
    """
    show_log()
    planned = asked.plan()
    if asked.inside or mistakes:
        refused = preflight.turns_refused(planned)
        study = _inside(preflight.planned(planned, [*mistakes, *refused]))
    else:
        study = _by_workers(planned)
    _require_value(study)
    return study, Path(planned.study.dir)


def show_log() -> None:
    """Show the log, unless the program has set up logging of its own.

    In a notebook, only warnings are shown, because it has a view of the study.
    """
    if not log.hasHandlers():
        to_stderr(logging.WARNING if screen.console().is_jupyter else logging.INFO)


def _inside(asked: Plan) -> Study:
    study = create.open_study(asked)
    if _is_open(asked, study):
        in_process.run(asked, study)
    return study


def _by_workers(asked: Plan) -> Study:
    _, launcher, described = preflight.launched(asked)
    study = create.open_study(asked)
    if not _is_open(asked, study):
        return study
    with _importable():
        job = supervision.start(asked, study, launcher, described)
        if launcher.detach:
            return study
        stop = supervision.follow(asked, study, job)
    if stop.signal is not None:
        in_process.leave(stop.signal, study)
    if job.failure:
        raise TunerError(job.failure)
    return study


def _is_open(asked: Plan, study: Study) -> bool:
    """Return whether there is work; log it if there is none."""
    reason = study.ended(limits.budget(asked))
    if reason:
        log.info("study %r is complete (%s)", study.name, reason)
    return reason is None


def _require_value(study: Study) -> None:
    def how(row: Row) -> str:
        return f"tuner.open({study.name!r}).trial({row.number}).traceback"

    if wrong := no_result.explain(study.patience(lambda: status.summary_of(study)), how):
        raise TunerError([wrong])


@contextmanager
def _importable() -> Iterator[None]:
    """Let processes that are started in the block import the modules that this one can."""
    before = os.environ.get("PYTHONPATH")
    roots = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix)}
    own = [p for p in map(os.path.abspath, sys.path) if roots.isdisjoint(Path(p).parents)]
    os.environ["PYTHONPATH"] = os.pathsep.join(own)
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
