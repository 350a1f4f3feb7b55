"""The standard error of a score on few validation examples."""

import numpy as np
import pytest

from tuner.algorithms.pruners.score_error import standard_error


@pytest.mark.parametrize(("mean", "examples"), [(0.5, 30), (0.9, 30), (0.9, 360)])
def test_the_error_is_that_of_drawn_scores(mean: float, examples: int):
    scores = np.random.default_rng(0).binomial(examples, mean, 20_000) / examples
    assert standard_error(mean, examples) == pytest.approx(scores.std(), rel=0.12)


def test_a_perfect_score_has_an_error_and_an_unknown_precision_has_none():
    assert 0.02 < standard_error(1.0, 30) < 0.05
    assert standard_error(1.0, 30) == standard_error(0.0, 30)
    assert standard_error(0.5, None) == standard_error(1.1, 30) == standard_error(-0.1, 30) == 0.0
