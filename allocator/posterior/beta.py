"""Rates: Beta(a, b) an arm, conjugate to successes and failures (Bayes 1763; Gelman et al. 2013, §2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.posterior.domain import check_shape, tails
from allocator.prior import PseudoUnits
from allocator.quadrature import Betas, Contest, FloatArray, check_positive, contest
from allocator.samples import Samples

__all__ = ["BetaPosteriors", "beta_posteriors", "beta_quantiles"]

MANY = 1000.0
"""Successes and failures from which on quantiles are expanded: an error of 3e-9 sd at 95 %, 1e-8 sd at 99.9 %, less as n^-5/2.
Below, betaincinv takes a microsecond; above, its time grows with √n."""


@dataclass(frozen=True, eq=False)
class BetaPosteriors:
    """Beta(a, b) an arm.

    Parameters
    ----------
    arms : names.
    a, b : shape (arms,), finite, > 0: the prior's and the units' successes and failures.
    down : whether the lowest rate is the best.

    Raises
    ------
    ArgumentError : shapes differ, or a value is outside its domain.
    """

    method: ClassVar[str] = "Beta posterior of a rate"
    assumptions: ClassVar[tuple[str, ...]] = ("units are independent", "each arm's rate is the same for every unit")

    arms: tuple[str, ...]
    a: FloatArray
    b: FloatArray
    down: bool = False

    def __post_init__(self) -> None:
        check_shape(self.arms, a=self.a, b=self.b)
        check_positive(a=self.a, b=self.b)

    @property
    def mean(self) -> FloatArray:
        """a / (a + b), shape (arms,)."""
        return self.a / (self.a + self.b)

    @property
    def sd(self) -> FloatArray:
        """√(ab / (a + b + 1)) / (a + b), shape (arms,)."""
        total = self.a + self.b
        return np.asarray(np.sqrt(self.a / total * (self.b / total) / (total + 1.0)))

    def interval(self, level: float = 0.95) -> FloatArray:
        """Equal-tailed, shape (arms, 2). ArgumentError unless 0 < level < 1."""
        return beta_quantiles(self.a, self.b, tails(level))

    def prob_best(self) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.prob_best

    def prob_beats(self, control: int) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.prob_beats(control)

    def expected_loss(self) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.expected_loss(-self.mean if self.down else self.mean)

    @cached_property
    def _contest(self) -> Contest:
        return contest(Betas(self.a, self.b), self.down)


def beta_posteriors(arms: tuple[str, ...], samples: Samples, prior: PseudoUnits, down: bool) -> BetaPosteriors:
    """Beta(u m + successes, u (1 - m) + failures), the prior being worth u units of mean m."""
    a = prior.units * prior.mean + samples.total
    b = prior.units * (1.0 - prior.mean) + (samples.n - samples.total)
    return BetaPosteriors(arms, a, b, down)


def beta_quantiles(a: FloatArray, b: FloatArray, p: tuple[float, ...]) -> FloatArray:
    """Quantiles of Beta(a, b), shape (arms, len(p)): exact for few successes or failures, expanded for many."""
    few = np.minimum(a, b) < MANY
    if few.all():
        return np.asarray(scipy.special.betaincinv(a[:, None], b[:, None], p))
    out = _expanded(a, b, p)
    if few.any():
        out[few] = scipy.special.betaincinv(a[few, None], b[few, None], p)
    return out


def _expanded(a: FloatArray, b: FloatArray, p: tuple[float, ...]) -> FloatArray:
    """Fisher & Cornish (1960) on the log-odds, to the order n^-2; as in Abramowitz & Stegun 26.2.49.

    Cumulants of the log-odds are polygammas, κ_r = ψ^(r-1)(a) + (-1)^r ψ^(r-1)(b): here as asymptotic series.
    """
    inverse = 1.0 / np.stack([a, b])
    powers = (inverse[:, None] ** _EXPONENTS).reshape(-1, len(a))
    k1, k2, *higher = _POLYGAMMAS @ powers
    mean, sd = np.log(a / b) + k1, np.sqrt(k2)
    g1, g2, g3, g4 = higher / sd**_ORDERS
    g11 = g1 * g1
    terms = np.array([g1, g2, g11, g3, g1 * g2, g1 * g11, g4, g2 * g2, g1 * g3, g11 * g2, g11 * g11])
    z, polynomials = _hermites(p)
    return np.asarray(scipy.special.expit(mean[:, None] + sd[:, None] * (z + terms.T @ polynomials)))


_EXPONENTS = np.arange(1.0, 6.0)[:, None]
_ORDERS = np.arange(3.0, 7.0)[:, None]
_SERIES = np.array(
    [
        [-1 / 2, -1 / 12, 0, 0, 0],  # ψ(x) - log x
        [1, 1 / 2, 1 / 6, 0, 0],
        [0, -1, -1, -1 / 2, 0],
        [0, 0, 2, 3, 0],
        [0, 0, 0, -6, -12],
        [0, 0, 0, 0, 24],
    ]
)
_POLYGAMMAS = np.hstack([_SERIES, _SERIES * (-1.0) ** np.arange(1, 7)[:, None]])
"""Shape (6, 10): κ_1 - log(a / b), κ_2 … κ_6 by powers of 1 / a and of 1 / b; Abramowitz & Stegun 6.3.18, 6.4.11."""


@lru_cache(maxsize=64)
def _hermites(p: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """z = Φ⁻¹(p) and what each product of cumulants is multiplied by, shape (11, len(p))."""
    z = np.asarray(scipy.special.ndtri(p))
    h1, h2, h3, h4, h5 = z, z**2 - 1, z**3 - 3 * z, z**4 - 6 * z**2 + 3, z**5 - 10 * z**3 + 15 * z
    rows = [
        h2 / 6,
        h3 / 24,
        -(2 * h3 + h1) / 36,
        h4 / 120,
        -(h4 + h2) / 24,
        (12 * h4 + 19 * h2) / 324,
        h5 / 720,
        -(3 * h5 + 6 * h3 + 2 * h1) / 384,
        -(2 * h5 + 3 * h3) / 180,
        (14 * h5 + 37 * h3 + 8 * h1) / 288,
        -(252 * h5 + 832 * h3 + 227 * h1) / 7776,
    ]
    return z, np.array(rows)
