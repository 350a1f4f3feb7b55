"""Estimate the standard error of a score from the number of validation examples.

A mean of n values between 0 and 1, such as an accuracy over n images, has a variance of at most
p (1 - p) / n, where p is the true mean; for an accuracy, this is exact. The unknown p is estimated
by (s + 1) / (n + 2) from a sum of s, so that a score of 0 or 1 has an error as well.

All trials of a study are scored on the same examples, and the difference of two scores has the
variance (b + c - (b - c)²) / n, where b and c are the fractions of the examples that only one of
the two trials gets right. This variance is unknown, because scores and not predictions are
reported. Here, the errors of two trials are treated as independent, which gives 2 p (1 - p) / n for
two equally good trials. Most networks fail on the same difficult examples, so b + c is smaller, and
the estimate is too large rather than too small.
"""

import math

from optuna.trial import FrozenTrial

EXAMPLES = "tuner:validation_examples"
"""System attribute of a trial: the number of examples that its scores are means over."""


def examples(trial: FrozenTrial) -> int | None:
    """Return the number of examples behind the trial's scores, None if unknown."""
    found = trial.system_attrs.get(EXAMPLES)
    return None if found is None else int(found)


def standard_error(score: float, examples: int | None) -> float:
    """Return the standard error of a mean over ``examples`` values between 0 and 1.

    It is 0 if the number is unknown or the score is not between 0 and 1.
    """
    if examples is None or not 0 <= score <= 1:
        return 0.0
    mean = (score * examples + 1) / (examples + 2)
    return math.sqrt(mean * (1 - mean) / examples)
