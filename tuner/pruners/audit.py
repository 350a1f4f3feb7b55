"""How often a pruner is wrong, measured: a sample of what it condemns lives on to its end.

A trial is *condemned* when the pruner decides against it for the first time.  Each condemned trial
is *audited* with the same small probability, by a draw that depends on nothing but the study's name
and the number of the trial's first attempt: it is let live to its end and never judged again.  So
the audited are a simple random sample of the condemned, whatever the pruner, and what becomes of
them is what would have become of the others.

A *wrong kill* is a condemned trial that, run to its end, would have beaten every survivor: its
final value is better than the best final value of the trials that were never condemned.  An audited
trial that fails or diverges has beaten nobody.  With ``wrong`` of ``settled`` audited trials the
rate of wrong kills is estimated by their ratio, without bias for the condemned as they were drawn
and the survivors as they are now, and its 95 % interval is that of Clopper and Pearson (1934),
which covers the true rate at least that often however few there are.
"""

import hashlib

from optuna import Study
from optuna.trial import FrozenTrial
from scipy.special import betaincinv  # type: ignore[import-untyped]

from tuner.attempts import first_number

AUDIT = "tuner:audit"
"""System attribute of an audited trial: the step at which it was condemned."""


def condemned_at(trial: FrozenTrial) -> int | None:
    """The step at which an audited trial was condemned, None for all others."""
    found = trial.system_attrs.get(AUDIT)
    return None if found is None else int(found)


def is_drawn(study_name: str, number: int, share: float) -> bool:
    """Whether a trial is audited if it is condemned; all workers draw the same."""
    digest = hashlib.sha256(f"audit:{study_name}:{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def spare(study: Study, trial: FrozenTrial, share: float) -> bool:
    """Whether the trial, which has just been condemned, lives on; if so it is marked."""
    if not is_drawn(study.study_name, first_number(trial), share):
        return False
    study._storage.set_trial_system_attr(trial._trial_id, AUDIT, trial.last_step)
    return True


def interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper's and Pearson's interval for the rate behind ``hits`` of ``count``."""
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return low, high
