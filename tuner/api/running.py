"""Create or resume the study of a plan, and run it, in this process or by workers."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tuner import log
from tuner.api import in_process, preflight, supervision
from tuner.config.composition import Source
from tuner.errors import TunerError
from tuner.log import log as logger
from tuner.report.analysis import no_result
from tuner.report.configurations import Row
from tuner.report.terminal import status
from tuner.study import create, limits, plan
from tuner.study.plan import Plan
from tuner.study.study import Study


def run(source: Source, overrides: Sequence[str], *, inside: bool) -> tuple[Plan, Study]:
    """Search until the budget is spent, and return the plan and its study.

    Args:
        inside: Whether the trials run in this process; else the launcher starts workers.

    Raises:
        TunerError: The plan has errors, all of which are reported before any work; or the search
            failed, or gave no value.
        KeyboardInterrupt: The search was interrupted; its trials are queued again.
    """
    if not logger.hasHandlers():
        log.to_stderr()
    asked = plan.load(source, overrides)
    if inside:
        study = create.open_study(preflight.planned(asked))
        if _is_open(asked, study):
            in_process.run(asked, study)
    else:
        _, launcher, described = preflight.launched(asked)
        study = create.open_study(asked)
        if _is_open(asked, study):
            with _importable():
                job = supervision.start(asked, study, launcher, described)
                if launcher.detach:
                    return asked, study
                stop = supervision.follow(asked, study, job)
            if stop.signal is not None:
                in_process.leave(stop.signal, study)
            if job.failure:
                raise TunerError(job.failure)
    _require_value(study)
    return asked, study


def _is_open(asked: Plan, study: Study) -> bool:
    """Return whether there is work, and say it if not."""
    reason = study.ended(limits.budget(asked))
    if reason:
        logger.info("study %r is finished (%s)", study.name, reason)
    return reason is None


def _require_value(study: Study) -> None:
    def how(row: Row) -> str:
        return f"tuner.open({study.name!r}).trial({row.number}).traceback"

    if wrong := no_result.told(study.patience(lambda: status.look(study)), how):
        raise TunerError([wrong])


@contextmanager
def _importable() -> Iterator[None]:
    """Let processes that are started in the block import what this one can."""
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
