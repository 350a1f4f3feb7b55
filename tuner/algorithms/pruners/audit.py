"""Measure the false-pruning rate: train a random sample of the trials to prune to completion.

A trial is *rejected* when the pruner decides to stop it for the first time. Each rejected trial
is *audited* with the same small probability: it is trained to completion and never judged again.
The random draw depends only on the study's name and the number of the trial's first attempt. The
audited trials are therefore a simple random sample of the rejected ones, whatever the pruner, and
their outcomes represent those of the others.

A *false pruning* is a rejected trial that, trained to completion, would have beaten every
survivor: its final value is better than the best final value of all trials that were never
rejected. An audited trial that fails or diverges has beaten none. The number of false prunings
among the completed audited trials, divided by their number, is an unbiased estimate of the rate,
for the rejected trials as drawn and the current survivors. Its 95 % interval is that of Clopper
and Pearson (1934), which covers the true rate with at least this probability for any sample size.
"""

import hashlib

from optuna import Study
from optuna.trial import FrozenTrial

from tuner.study.attempts import first_number

AUDIT = "tuner:audit"
"""System attribute of an audited trial: the step at which it was rejected."""


def would_prune_at(trial: FrozenTrial) -> int | None:
    """Return the step at which an audited trial was rejected, None for all other trials."""
    found = trial.system_attrs.get(AUDIT)
    return None if found is None else int(found)


def is_drawn(study_name: str, number: int, share: float) -> bool:
    """Return whether a trial is audited if it is rejected; the result is the same in all workers.

    Args:
        study_name: The name of the study.
        number: The number of the trial's first attempt.
        share: The fraction of the rejected trials to audit, 0 to 1.
    """
    digest = hashlib.sha256(f"audit:{study_name}:{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def begin_if_drawn(study: Study, trial: FrozenTrial, share: float) -> bool:
    """Decide whether a trial that was just rejected is audited, and mark it in the study if so.

    Returns:
        True if the trial continues, False if it is to be pruned.
    """
    if not is_drawn(study.study_name, first_number(trial), share):
        return False
    study._storage.set_trial_system_attr(trial._trial_id, AUDIT, trial.last_step)
    return True


def interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a rate (Clopper and Pearson, 1934).

    Args:
        hits: The number of events, 0 to ``count``.
        count: The size of the sample.
    """
    from scipy.special import betaincinv  # type: ignore[import-untyped]  # takes 0.6 s to import

    low = float(betaincinv(hits, count - hits + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 0.975)) if hits < count else 1.0
    return low, high
