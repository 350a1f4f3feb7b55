"""A density over a whole search space: one kernel around each observation, and the prior.

The kernel of an observation is a product over the parameters that are active in the point it is
asked about, so that parameters are modelled jointly, conditional ones included: where the
observation has no value of its own (it lies in another branch) the prior takes its place.

The mixture is that of BOHB and of Optuna's multivariate TPE (Falkner et al. 2018, arXiv:1807.01774;
Watanabe 2023, arXiv:2304.11127), but for the borders: Gaussian kernels are not cut off there, what
a draw overshoots by is put on the border.  Good values often lie there, and a kernel that is cut
off hardly gets to them.
"""

from dataclasses import dataclass

import numpy as np

from tuner.samplers.encoding import Encoding
from tuner.scoreboard import Floats


@dataclass(frozen=True)
class Parzen:
    """Equal kernels around ``rows`` (encoded, NaN where inactive), and the prior as one more.

    ``width`` is a kernel's standard deviation as a share of a range, and the probability that it
    leaves a choice.
    """

    encoding: Encoding
    rows: Floats
    width: float

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """So many points, every column filled, not snapped, shape (count, columns)."""
        n, d = self.rows.shape
        wide = self.encoding.uniform(rng, count)
        if n == 0:
            return wide
        kernel = rng.integers(0, n + 1, count)
        centre = self.rows[np.minimum(kernel, n - 1)]
        near = np.clip(centre + self.width * rng.normal(size=(count, d)), 0.0, 1.0)
        stays = rng.random((count, d)) >= self.width
        near = np.where(self.encoding.choices > 0, np.where(stays, centre, wide), near)
        is_prior = (kernel == n)[:, None] | np.isnan(centre)
        return np.where(is_prior, wide, near)

    def log_density(self, points: Floats) -> Floats:
        """Log of the mixture at encoded points, up to a constant that all mixtures share.

        The log of each kernel at each point is one product of matrices: a quarter of the time that
        a look at each choice of each pair takes, and equal to 1e-14.
        """
        active = ~np.isnan(points)
        x = np.nan_to_num(points)
        prior = np.where(active, self._log_prior(x), 0.0)
        total = self._weights(active.astype(float), x, prior) @ self._features()
        wide = prior.sum(1)
        top = np.maximum(total.max(1, initial=-np.inf), wide)
        total -= top[:, None]  # np.logaddexp.reduce takes ten times as long
        sums = np.exp(total, out=total).sum(1) + np.exp(wide - top)
        return np.asarray(top + np.log(sums) - np.log(len(self.rows) + 1))

    def _features(self) -> Floats:
        """Of the rows, shape (features, rows), those of a range or choice where it is known.

        Whether a parameter is unknown; of ranges 1, m and m²; of choices 1, and whether it is each.
        """
        m = np.ascontiguousarray(self.rows.T)
        known = ~np.isnan(m)
        has, m = known.astype(float), np.where(known, m, 0.0)
        ranges = self.encoding.choices == 0
        linear = m[ranges]
        parts = [1 - has, has, linear, linear * linear]
        parts += [known[k] & (m[k] == np.arange(n)[:, None]) for k, n in self._choices()]
        return np.concatenate(parts)

    def _weights(self, active: Floats, x: Floats, prior: Floats) -> Floats:
        """Of the points, shape (points, features): what each feature adds to a kernel's log."""
        ranges = self.encoding.choices == 0
        precision = active[:, ranges] / self.width**2
        linear = x[:, ranges]
        ones = np.empty_like(x)
        ones[:, ranges] = -np.log(self.width) * active[:, ranges] - 0.5 * precision * linear**2
        hits = []
        for k, n in self._choices():
            own, other = self._log_choice(k)
            ones[:, k] = other * active[:, k]
            hits.append(active[:, [k]] * (x[:, [k]] == np.arange(n)) * (own - other))
        return np.concatenate([prior, ones, precision * linear, -0.5 * precision, *hits], axis=1)

    def _choices(self) -> list[tuple[int, int]]:
        """Columns of choices, and how many there are."""
        return [(int(k), int(n)) for k, n in enumerate(self.encoding.choices) if n > 0]

    def _log_prior(self, x: Floats) -> Floats:
        """Per parameter: a Gaussian as wide as the range, or equal chances."""
        choices = self.encoding.choices
        return np.where(choices > 0, -np.log(np.maximum(choices, 1)), -0.5 * (x - 0.5) ** 2)

    def _log_choice(self, k: int) -> tuple[float, float]:
        """Log of the chances of a kernel's own choice and of each other one."""
        n = int(self.encoding.choices[k])
        leaves = self.width * (n - 1) / n if n > 1 else 0.0
        return float(np.log1p(-leaves)), float(np.log(leaves / (n - 1))) if n > 1 else 0.0
