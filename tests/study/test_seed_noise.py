"""The expected gain of continuing, compared with the standard deviation over seeds."""

import itertools
import random
from statistics import fmean

import pytest

from tuner.study import seed_noise


def test_the_expected_best_is_the_mean_over_all_draws():
    values = sorted([0.3, 0.1, 0.9, 0.4, 0.15])
    for k in range(1, 6):
        draws = [min(draw) for draw in itertools.combinations(values, k)]
        assert seed_noise.expected_best(values, k) == pytest.approx(fmean(draws))


def test_the_gain_is_what_the_second_half_brought_whatever_the_order():
    losses = [0.5, 0.4, 0.3, 0.2]
    halves = [min(draw) for draw in itertools.combinations(losses, 2)]
    assert seed_noise.gain(losses, 0) == pytest.approx(fmean(halves) - 0.2)
    assert seed_noise.gain(losses[::-1], 0) == seed_noise.gain(losses, 0)


def test_the_unfinished_count_as_tried_and_as_worst():
    assert seed_noise.gain([0.2, 0.5], 2) == pytest.approx(seed_noise.gain([0.2, 0.5, 0.5, 0.5], 0))
    assert seed_noise.gain([0.2], 9) == 0


def test_what_differs_by_seeds_alone_is_below_the_noise_and_real_differences_are_not():
    draw = random.Random(0)
    luck = [[draw.gauss(0, 1) for _ in range(30)] for _ in range(50)]
    assert all(seed_noise.gain(losses, 0) < 1 for losses in luck)
    steep = [2.0**-k * 100 + draw.gauss(0, 1) for k in range(24)]
    assert seed_noise.gain([*steep, -30.0], 0) > 1, "one stands out: more may be found"


def test_the_deviation_needs_a_repetition():
    assert seed_noise.deviation([1.0, 3.0]) == pytest.approx(2**0.5)
    assert seed_noise.deviation([1.0]) is None
