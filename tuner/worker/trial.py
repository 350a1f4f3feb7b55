"""Run one trial: parameters → overrides → configuration → objective → outcome."""

import functools
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial

from tuner.algorithms.seeds import seed_of
from tuner.config import instantiation, resolvers, signatures
from tuner.errors import Fenced, Preempted, Pruned, StorageError, TunerError
from tuner.log import log, sanitised
from tuner.objective import running
from tuner.storage import outages
from tuner.storage.reason_kind import Kind
from tuner.study import fidelity, run_files, vetting
from tuner.study.attempts import TRAINING, Reason, first_number, ordinal
from tuner.study.objectives import Returned
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker import device_lock, metrics_log, mirror, random_state
from tuner.worker.failures import is_out_of_memory, memory_returned
from tuner.worker.outcome import AttemptEnd, Outcome, classify, finish, outcome_of
from tuner.worker.reporter import Context, Report
from tuner.worker.tracking import base
from tuner.worker.tracking.factory import build_tracker


def run(
    cfg: DictConfig,
    *,
    run_dir: Path,
    report: Callable[..., None],
    device: str | None = None,
    seeded: bool = True,
) -> Returned:
    """Run one composed configuration's objective and return its value, or values.

    ``run_dir`` is created and passed as an absolute path, because an objective may change the
    working directory. If ``seeded``, the global generators are seeded with the configuration's seed
    before the objective's parts are built.

    Raises:
        Stop: The trial is pruned, preempted or fenced.
        Exception: Raised by the objective.
    """
    run_dir = run_dir.absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {"report": report, "run_dir": run_dir, "device": device}
    if signatures.takes_seed(cfg.objective):
        given["seed"] = cfg.seed
    generators = random_state.seeded(cfg.seed) if seeded else nullcontext()
    with running(report, run_dir), generators:
        value = instantiation.instantiate(cfg.objective, **given)
    try:
        if isinstance(value, tuple | list) and value:
            return tuple(map(float, value))
        return None if value is None else float(value)
    except (TypeError, ValueError, RuntimeError):  # the last is for a tensor of several numbers
        raise TunerError(
            f"the objective returned {str(value)[:60]!r} "
            f"({type(value).__name__}), which is not a number",
            hint="return the final metric, a tuple of all objectives, or nothing",
        ) from None


def execute(context: Context, trial_id: int) -> AttemptEnd:
    """Run a claimed trial and store its outcome."""
    try:
        return _attempt(context, trial_id)
    except (Fenced, UpdateFinishedTrialError) as stop:
        log.warning("stopping: %s; the trial continues in its new worker", stop)
        return AttemptEnd.FENCED


def _attempt(context: Context, trial_id: int) -> AttemptEnd:
    study, plan = context.study, context.plan
    if _is_set_aside(plan, study, trial_id):
        return AttemptEnd.FINISHED
    trial = study.patience(lambda: context.proposer.open(trial_id))
    report = study.patience(lambda: Report(context, trial))
    try:
        overrides = _drawn(context, trial)
        run_dir = report.run_dir = study.patience(lambda: _prepare(context, trial, overrides))
        cfg = plan.source.compose(overrides)
        report.length = resolvers.epochs(cfg)
        study.patience(lambda: _note_length(study, trial, report.length))
        url, first = plan.study.mirror, report.first
        with mirror.kept(url, run_dir, trial.number, first=first) as report.mirror:
            report.track = _track(report, run_dir, overrides)
            value = _run_shared(context, cfg, run_dir, report)
        if report.refusal is not None:  # the objective has caught it, and may have given up
            raise report.refusal
        return finish(report, outcome_of(report, value))
    except Pruned as stop:
        return finish(report, Outcome(reason=Reason(Kind(stop.kind), str(stop))))
    except Preempted as stop:
        study.requeue(trial_id, sanitised(str(stop)))
        return AttemptEnd.REQUEUED
    except (UpdateFinishedTrialError, Fenced):
        raise
    except TunerError as error:  # a person must act first: not the configuration's fault
        _queue_again(study, trial_id, error)
        raise
    except BaseException as error:  # sys.exit() in an objective is an ordinary failure
        if report.refusal is not None:
            _queue_again(study, trial_id, report.refusal)
            raise report.refusal from error
        return classify(report, error)
    finally:
        report.track.end(None)  # unless it has ended: another attempt resumes it


def _queue_again(study: Study, trial_id: int, error: TunerError) -> None:
    """Requeue the trial; if the database has failed, try only once."""
    reason = sanitised(f"{type(error).__name__}: {error}")[:500]
    if not isinstance(error, StorageError):
        return study.requeue(trial_id, reason)
    with suppress(StorageError, KeyError, *outages.FAILURES):  # otherwise its lease expires
        study.claims.requeue(trial_id, reason)


def _is_set_aside(plan: Plan, study: Study, trial_id: int) -> bool:
    """Return whether a queued trial does not fit this search; it is then failed with the reason."""
    frozen = study.patience(lambda: study.storage.get_trial(trial_id))
    objections = vetting.objections(plan.space, frozen)
    if objections:
        reason = f"set aside: {'; '.join(map(str, objections))}"[:500]
        log.warning("trial %d is %s", frozen.number, reason)
        study.patience(lambda: study.set_aside(trial_id, reason))
    return bool(objections)


def _track(report: Report, run_dir: Path, overrides: list[str]) -> base.Track | base.Silent:
    """Return the tracker of the trial's curves."""
    study = report.context.study
    params = {key: value for key, _, value in (text.partition("=") for text in overrides)}
    before = {} if report.first else metrics_log.read(run_dir)
    run = base.Run(study.name, str(study.uid), report.number, params, before)
    return base.begin(build_tracker(report.context.plan.cfg), run)


def _run_shared(context: Context, cfg: DictConfig, run_dir: Path, report: Report) -> Returned:
    """Run the objective on a shared device, and again with exclusive access if out of memory."""
    seeded = _seeded(context)

    def run_once(*, exclusive: bool = False) -> Returned:
        # Whoever needs the device alone next waits for the end of this call, not of this process.
        with (
            device_lock.hold(context.preempted, exclusive=exclusive),
            memory_returned(shared=device_lock.is_shared()),
        ):
            return run(cfg, run_dir=run_dir, report=report, device=context.device, seeded=seeded)

    try:
        return run_once()
    except Exception as error:
        if not (device_lock.is_shared() and is_out_of_memory(error)):
            raise
        log.info("out of memory while sharing the device; retrying with exclusive access")
    return run_once(exclusive=True)


def _seeded(context: Context) -> bool:
    """Return whether a single trial uses the global generators, which threads would share."""
    return context.plan.worker.concurrency == 1


def _drawn(context: Context, trial: Trial) -> list[str]:
    """Sample everything that the overrides need, and return them.

    Values that were stored just before a connection was lost are read and not sampled again: a new
    sampler and a new Optuna trial are used, because the old trial caches values that may not have
    been stored.
    """
    study, fresh = context.study, [trial]

    def draw() -> list[str]:
        known = fresh.pop() if fresh else context.proposer.open(trial._trial_id)
        with study.storage.together():
            return overrides_of(context.plan, study, known)

    return study.patience(draw)


def overrides_of(plan: Plan, study: Study, trial: Trial) -> list[str]:
    """Return all overrides that repeat the trial with ``tuner train``."""
    frozen = study.storage.get_trial(trial._trial_id)
    training = frozen.system_attrs.get(TRAINING)
    own = [*plan.pins, *plan.space.suggest(trial)]
    if training is None:
        return [*own, f"seed={seed_of(plan.seed, 'trial', ordinal(frozen))}"]
    final = plan.final.overrides if training["protocol"] == "final" else []
    return [*own, *final, f"seed={training['seed']}"]


def _prepare(context: Context, trial: Trial, overrides: list[str]) -> Path:
    """Create the run directory and store its path; return it as an absolute path."""
    frozen = context.study.storage.get_trial(trial._trial_id)
    plan, number = context.plan, first_number(frozen)
    settings = [*overrides, *plan.base_text.splitlines()]
    run_dir = run_files.directory(plan.study.dir, str(context.study.uid), number, settings)
    before = frozen.user_attrs.get("run_dir")
    if before is not None and Path(before).name != run_dir.name:
        text = "trial %d was interrupted under another configuration; it starts over in %s"
        log.warning(text, number, run_dir)
    elif _is_elsewhere(context, frozen, run_dir):
        _tell_of_disks(str(frozen.user_attrs.get("host")))
    attrs = {
        "overrides": overrides,
        "worker": context.worker,
        "host": context.host,
        "device": context.named,
        "run_dir": str(run_dir),
        "seeded": _seeded(context),
    }
    if context.study.differs:
        attrs["differs"] = context.study.differs[:20]
    with context.study.storage.together(context.study.patience):
        for key, value in attrs.items():
            if frozen.user_attrs.get(key) != value:
                trial.set_user_attr(key, value)
    return run_dir.absolute()


def _is_elsewhere(context: Context, frozen: FrozenTrial, run_dir: Path) -> bool:
    """Return whether the checkpoint of an earlier attempt is on another machine, out of reach."""
    began = frozen.intermediate_values and frozen.user_attrs.get("host") != context.host
    return bool(began) and context.plan.study.mirror is None and not run_dir.is_dir()


@functools.cache  # logged once per machine
def _tell_of_disks(host: str) -> None:
    log.warning(
        "a trial that was begun on %s starts over: its checkpoint is not on this machine; hint: "
        "a study.dir on a disk that all machines share, or study.mirror=s3://bucket/path, and no "
        "epoch is trained twice",
        host,
    )


def _note_length(study: Study, trial: Trial, epochs: int | None) -> None:
    stored = study.storage.get_trial(trial._trial_id)
    if epochs is not None and fidelity.length(stored) != epochs:
        study.storage.set_trial_system_attr(trial._trial_id, fidelity.LENGTH, epochs)
