import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from tests.algorithms.test_encoding import ENCODING
from tuner.algorithms.samplers.encoding import of_distributions
from tuner.algorithms.samplers.parzen import Parzen

FLAT = of_distributions({"x": FloatDistribution(0, 1), "c": CategoricalDistribution("abc")})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_draws_lie_around_the_observations_and_a_share_is_the_priors():
    drawn = Parzen(FLAT, np.array([[0.7, 1.0]] * 3), 0.02).draw(rng(), 4000)
    near = (np.abs(drawn[:, 0] - 0.7) < 0.1) & (drawn[:, 1] == 1)
    assert near.mean() == pytest.approx(3 / 4 * (1 - 0.02 * 2 / 3) + 1 / 4 * 0.2 / 3, abs=0.03)
    assert ((drawn[:, 0] >= 0) & (drawn[:, 0] <= 1)).all()
    assert set(drawn[:, 1]) == {0, 1, 2}


def test_what_a_draw_overshoots_by_is_put_on_the_border():
    drawn = Parzen(FLAT, np.array([[0.98, 0.0]] * 9), 0.1).draw(rng(), 2000)
    assert (drawn[:, 0] == 1.0).mean() > 0.3


def test_without_observations_it_is_the_prior():
    empty = Parzen(FLAT, np.empty((0, 2)), 0.1)
    drawn = empty.draw(rng(), 3000)
    assert drawn[:, 0].mean() == pytest.approx(0.5, abs=0.03)
    assert np.bincount(drawn[:, 1].astype(int)) / 3000 == pytest.approx([1 / 3] * 3, abs=0.04)
    assert np.isfinite(empty.log_density(drawn)).all()


def direct(mixture: Parzen, point: np.ndarray) -> float:
    """The density of one point by loops, as the formula is written down."""
    choices = mixture.encoding.choices
    kernels = []
    for row in [*mixture.rows, np.full(len(point), np.nan)]:
        product = 1.0
        for x, m, n in zip(point, row, choices, strict=True):
            if np.isnan(x):
                continue
            if np.isnan(m):
                product *= 1 / n if n else np.exp(-0.5 * (x - 0.5) ** 2)
            elif n:
                leaves = mixture.width * (n - 1) / n
                product *= 1 - leaves if x == m else leaves / (n - 1)
            else:
                product *= np.exp(-0.5 * ((x - m) / mixture.width) ** 2) / mixture.width
        kernels.append(product)
    return float(np.log(np.mean(kernels)))


def test_the_density_is_that_of_the_formula_in_a_space_with_branches():
    rows = ENCODING.snap(ENCODING.uniform(rng(1), 30))
    mixture = Parzen(ENCODING, rows[:12], 0.3)
    assert mixture.log_density(rows) == pytest.approx([direct(mixture, row) for row in rows])


def test_the_chances_of_choices_add_up_and_agree_with_the_draws():
    mixture = Parzen(FLAT, np.array([[0.5, 2.0]] * 2), 0.6)
    points = np.array([[0.5, c] for c in (0.0, 1.0, 2.0)])
    density = np.exp(mixture.log_density(points))
    assert density[0] == pytest.approx(density[1])
    assert density[2] > 2 * density[0]


def test_kernels_far_away_do_not_underflow():
    mixture = Parzen(FLAT, np.array([[0.0, 0.0]]), 0.01)
    assert np.isfinite(mixture.log_density(np.array([[1.0, 1.0]]))).all()


def test_a_choice_of_one_is_no_obstacle():
    single = of_distributions({"c": CategoricalDistribution(["only"])})
    mixture = Parzen(single, np.array([[0.0]]), 0.3)
    assert mixture.log_density(mixture.draw(rng(), 5)) == pytest.approx([0.0] * 5)
