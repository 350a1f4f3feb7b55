"""One trial: parameters → overrides → configuration → objective → fate."""

import hashlib
import math
import re
import traceback
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from tuner import artifacts, config, mirror, objective, retention, schedule, search, sharing
from tuner.errors import Fenced, Preempted, Pruned, TunerError
from tuner.log import log
from tuner.plan import Plan
from tuner.reporter import Context, Report, finite
from tuner.study import Study, first_number, ordinal
from tuner.trouble import free_memory, infeasible, is_broken_device, is_out_of_memory


class Fate(Enum):
    """What became of an attempt, as far as its worker is concerned."""

    FINISHED = auto()
    FAILED = auto()
    REQUEUED = auto()
    FENCED = auto()
    BROKEN_DEVICE = auto()
    """The accelerator's context is gone: the trial goes on, but not in this process."""


Outcome = tuple[TrialState, list[float] | None, str]
"""State, values and reason of a trial."""


def run(
    cfg: DictConfig, *, run_dir: Path, report: Callable[..., None], device: str | None = None
) -> float | None:
    """Run one composed configuration's objective and return its value.

    ``run_dir`` is created.  ``Stop`` and whatever the objective raises pass through.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with objective.running(report, run_dir):
        value = config.instantiate(cfg.objective, report=report, run_dir=run_dir, device=device)
    return None if value is None else float(value)


def execute(context: Context, trial_id: int) -> Fate:
    """Run a claimed trial to its fate and store it."""
    try:
        return _attempt(context, trial_id)
    except (Fenced, UpdateFinishedTrialError) as stop:
        log.warning("the trial is left to its new worker: %s", stop)
        return Fate.FENCED


def _attempt(context: Context, trial_id: int) -> Fate:
    study, plan = context.study, context.plan
    trial = study.patience(lambda: study.trial(trial_id, plan.cfg, plan.space, plan.seed))
    report = study.patience(lambda: Report(context, trial))
    run_dir = None
    try:
        overrides = _drawn(plan, study, trial)
        run_dir = report.run_dir = study.patience(lambda: _prepare(context, trial, overrides))
        cfg = plan.source.compose(overrides)
        report.length = config.epochs(cfg)
        study.patience(lambda: _note_length(study, trial, report.length))
        url, first = plan.study.mirror, report.first
        with mirror.kept(url, run_dir, trial.number, first=first) as report.mirror:
            value = _run_shared(context, cfg, run_dir, report)
        return _finish(context, trial, report, run_dir, *_judge(report, value))
    except Pruned as stop:
        return _finish(context, trial, report, run_dir, TrialState.PRUNED, None, str(stop))
    except Preempted as stop:
        study.requeue(trial_id, str(stop))
        return Fate.REQUEUED
    except (UpdateFinishedTrialError, Fenced):
        raise
    except TunerError as error:  # a person must act first: the configuration is not to blame
        study.requeue(trial_id, f"{type(error).__name__}: {error}"[:500])
        raise
    except BaseException as error:  # an objective's sys.exit() is a failure like any other
        return _classify(context, trial, report, run_dir, error)


def _run_shared(context: Context, cfg: DictConfig, run_dir: Path, report: Report) -> float | None:
    """Run beside other workers; what does not fit there is run once more, alone."""
    try:
        with sharing.turn(context.preempted):
            return run(cfg, run_dir=run_dir, report=report, device=context.device)
    except Exception as error:
        if not (sharing.is_shared() and is_out_of_memory(error)):
            raise
        log.info("out of memory beside other workers; once more, alone")
        error.__traceback__ = None  # its frames hold the tensors that did not fit
    free_memory()
    with sharing.turn(context.preempted, alone=True):
        return run(cfg, run_dir=run_dir, report=report, device=context.device)


def _drawn(plan: Plan, study: Study, trial: Trial) -> list[str]:
    """The overrides, with all that they need drawn.

    What was stored just before a connection was lost is read again, and not drawn once more: the
    sampler begins anew, and so does Optuna's trial, which keeps what it believes to be stored.
    """
    fresh = [trial]

    def draw() -> list[str]:
        known = (
            fresh.pop() if fresh else study.trial(trial._trial_id, plan.cfg, plan.space, plan.seed)
        )
        return overrides_of(plan, study, known)

    return study.patience(draw)


def overrides_of(plan: Plan, study: Study, trial: Trial) -> list[str]:
    """All overrides that repeat the trial: ``tuner train`` followed by them."""
    frozen = study.storage.get_trial(trial._trial_id)
    seed = search.seed_of(plan.seed, "trial", ordinal(frozen))
    return [*plan.pins, *plan.space.suggest(trial), f"seed={seed}"]


def _prepare(context: Context, trial: Trial, overrides: list[str]) -> Path:
    frozen = context.study.storage.get_trial(trial._trial_id)
    run_dir = run_directory(context.plan, context.study.attrs["uid"], frozen, overrides)
    before = frozen.user_attrs.get("run_dir")
    if before is not None and Path(before).name != run_dir.name:
        log.warning(
            "trial %d was interrupted under another configuration; it starts anew in %s",
            trial.number,
            run_dir,
        )
    attrs = {
        "overrides": overrides,
        "worker": context.worker,
        "host": context.host,
        "device": context.device or "auto",
        "run_dir": str(run_dir),
    }
    if context.study.differs:
        attrs["differs"] = context.study.differs[:20]
    for key, value in attrs.items():
        if frozen.user_attrs.get(key) != value:
            _attr(context, trial, key, value)
    return run_dir


def _note_length(study: Study, trial: Trial, epochs: int | None) -> None:
    stored = study.storage.get_trial(trial._trial_id)
    if epochs is not None and schedule.length(stored) != epochs:
        study.storage.set_trial_system_attr(trial._trial_id, schedule.LENGTH, epochs)


def run_directory(plan: Plan, uid: str, trial: FrozenTrial, overrides: Sequence[str]) -> Path:
    """Where a configuration keeps its files, the same for all of its attempts.

    Its name ends in a digest of the study's identity and of the whole configuration, so that
    no checkpoint of another study or configuration is ever resumed.  Where data lie (a ``root``)
    and whether they may be fetched, may differ between the machines of a study.
    """
    whole = [uid, *overrides, *plan.base_text().splitlines()]
    kept = [line for line in whole if not re.search(r"\b(root|download)\s*[:=]", line)]
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()[:8]
    return Path(plan.study.dir) / "trials" / f"{first_number(trial):05d}-{digest}"


def _judge(report: Report, value: float | None) -> Outcome:
    """State, value and reason of an objective that returned."""
    if value is None:
        if not report.values:
            raise TunerError(
                "the objective returned nothing and reported nothing; hint: return the final "
                f"{report.metric}, or report it"
            )
        value = report.values[max(report.values)]
    if not math.isfinite(value):
        return TrialState.PRUNED, None, f"diverged: the final {report.metric} is {value}"
    return _traded(report, value)


def _traded(report: Report, value: float) -> Outcome:
    """The outcome of a finite metric: every objective must be known, and every limit hold."""
    aims, measured = report.aims, report.measured | {report.metric: value}
    if missing := aims.missing(measured):
        raise TunerError(
            f"the objective told no {', '.join(missing)} (study.objectives, study.constraints), "
            f"but {', '.join(sorted(measured))}; hint: report(step, …) it with the metrics, or "
            "report.note(…) it once"
        )
    if reason := aims.broken(measured):
        return TrialState.PRUNED, None, reason
    values = [measured[name] for name in aims.objectives]
    bad = [f"{n} is {v}" for n, v in zip(aims.objectives, values, strict=True)
           if not math.isfinite(v)]  # fmt: skip
    if bad:
        return TrialState.PRUNED, None, f"diverged: the final {', '.join(bad)}"
    return TrialState.COMPLETE, values, ""


def _classify(
    context: Context, trial: Trial, report: Report, run_dir: Path | None, error: BaseException
) -> Fate:
    """The fate of a trial whose objective raised."""
    if is_broken_device(error):
        log.error("trial %d: the device is unusable: %s", trial.number, error)
        context.study.expire(context.worker)  # the next claim counts it as a crash
        return Fate.BROKEN_DEVICE
    reason = infeasible(error)
    if reason is not None:
        error.__traceback__ = None  # its frames hold the tensors that did not fit
        free_memory()
        return _finish(context, trial, report, run_dir, TrialState.PRUNED, None, reason)
    text = "".join(traceback.format_exception(error))
    log.error("trial %d failed:\n%s", trial.number, text)
    _attr(context, trial, "traceback", text[-8000:])
    reason = f"{type(error).__name__}: {error}"[:500]
    return _finish(context, trial, report, run_dir, TrialState.FAIL, None, reason)


def _finish(
    context: Context,
    trial: Trial,
    report: Report,
    run_dir: Path | None,
    state: TrialState,
    values: list[float] | None,
    reason: str,
) -> Fate:
    attrs: dict[str, Any] = {"epochs": report.epochs}
    if report.metrics:
        attrs["metrics"] = finite(report.metrics)
    if report.facts:
        attrs["facts"] = report.facts
    if reason:
        attrs["reason"] = reason
    for key, item in attrs.items():
        _attr(context, trial, key, item)
    _constrain(context, trial, report)
    if run_dir is not None:
        _attach(context, trial, run_dir)
    context.study.patience(lambda: _tell(context, trial, state, values))
    retention.tidy(context.study, context.plan, trial._trial_id)
    shown = reason or ", ".join(f"{value:.6g}" for value in values or ())
    log.info("trial %d %s %s", trial.number, state.name, shown)
    return Fate.FAILED if state == TrialState.FAIL else Fate.FINISHED


def _constrain(context: Context, trial: Trial, report: Report) -> None:
    """Tell the sampler by how much each limit is exceeded, as far as it is known."""
    for name, excess in report.aims.excess(report.measured).items():
        if name not in trial.constraints and not math.isnan(excess):
            context.study.patience(partial(trial.set_constraint, name, excess))


def _tell(context: Context, trial: Trial, state: TrialState, values: list[float] | None) -> None:
    now = context.study.storage.get_trial(trial._trial_id).state
    if now == state:
        return  # stored just before the connection was lost
    if now != TrialState.RUNNING:
        raise Fenced(f"it is {now.name}")
    try:
        trial.study.tell(trial, values, state=state)
    except ValueError:  # Optuna's word for a trial that has ended meanwhile
        if context.study.storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
            raise
        raise Fenced("it was given to another worker just now") from None


def _attach(context: Context, trial: Trial, run_dir: Path) -> None:
    """Files for the dashboard; a trial is never lost for want of a picture."""
    try:
        store = Path(context.plan.storage.artifacts)
        artifacts.attach(trial.study, trial, run_dir, artifacts.open_store(store))
    except UpdateFinishedTrialError:
        raise
    except Exception as error:
        log.warning("trial %d: no artifacts: %s", trial.number, error)


def _attr(context: Context, trial: Trial, key: str, value: object) -> None:
    context.study.patience(lambda: trial.set_user_attr(key, value))
