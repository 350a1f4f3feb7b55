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

        With a = 1 where a point's parameter is active and h = 1 where a row has it, the squared
        distance over both, sum a h (x - m)^2, is three products of matrices.
        """
        active, has = ~np.isnan(points), ~np.isnan(self.rows)
        x, mu = np.nan_to_num(points), np.nan_to_num(self.rows)
        ranges = self.encoding.choices == 0
        prior = np.where(active, self._log_prior(x), 0.0)
        total = prior @ (~has).T.astype(float)  # (points, rows), here and below
        a, h = (active & ranges).astype(float), (has & ranges).astype(float)
        squares = (a * x * x) @ h.T - 2 * (a * x) @ (h * mu).T + a @ (h * mu * mu).T
        total += -0.5 * squares / self.width**2 - np.log(self.width) * (a @ h.T)
        for k in np.flatnonzero(~ranges):
            same = x[:, k, None] == mu[None, :, k]
            both = active[:, k, None] & has[None, :, k]
            total += np.where(both, np.where(same, *self._log_choice(int(k))), 0.0)
        total = np.column_stack([total, prior.sum(1)])
        top = total.max(1, keepdims=True)  # np.logaddexp.reduce takes ten times as long
        sums = np.exp(total - top).sum(1)
        return np.asarray(top[:, 0] + np.log(sums) - np.log(len(self.rows) + 1))

    def _log_prior(self, x: Floats) -> Floats:
        """Per parameter: a Gaussian as wide as the range, or equal chances."""
        choices = self.encoding.choices
        return np.where(choices > 0, -np.log(np.maximum(choices, 1)), -0.5 * (x - 0.5) ** 2)

    def _log_choice(self, k: int) -> tuple[float, float]:
        """Log of the chances of a kernel's own choice and of each other one."""
        n = int(self.encoding.choices[k])
        leaves = self.width * (n - 1) / n if n > 1 else 0.0
        return float(np.log1p(-leaves)), float(np.log(leaves / (n - 1))) if n > 1 else 0.0
