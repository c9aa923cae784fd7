"""Rates: Beta(a, b) an arm, conjugate to successes and failures (Bayes 1763; Gelman et al. 2013, §2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.posterior.protocol import tails
from allocator.prior import PseudoUnits
from allocator.quadrature import Betas, Contest, FloatArray, contest
from allocator.samples import Samples

__all__ = ["BetaPosteriors", "beta_posteriors", "beta_quantiles"]

MANY = 1000.0
"""Successes and failures from which on quantiles are expanded: an error of 5e-9 sd, falling as n^-5/2. Below, betaincinv takes a
microsecond; above, its time grows as √n and its own error is larger."""


@dataclass(frozen=True, eq=False)
class BetaPosteriors:
    """Beta(a, b) an arm.

    Parameters
    ----------
    arms : names.
    a, b : shape (arms,), > 0: the prior's and the units' successes and failures.
    down : whether the lowest rate is the best.
    """

    method: ClassVar[str] = "Beta posterior of a rate"
    assumptions: ClassVar[tuple[str, ...]] = ("units are independent", "each arm's rate is the same for every unit")

    arms: tuple[str, ...]
    a: FloatArray
    b: FloatArray
    down: bool = False

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
        return self._contest.expected_loss(self.mean)

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
    many = np.minimum(a, b) >= MANY
    if not many.any():
        return np.asarray(scipy.special.betaincinv(a[:, None], b[:, None], p))
    out = np.empty((len(a), len(p)))
    out[many] = _expanded(a[many, None], b[many, None], np.asarray(scipy.special.ndtri(p)))
    few = ~many
    if few.any():
        out[few] = scipy.special.betaincinv(a[few, None], b[few, None], p)
    return out


def _expanded(a: FloatArray, b: FloatArray, z: FloatArray) -> FloatArray:
    """Fisher & Cornish (1960) on the log-odds, to the order n^-2; as in Abramowitz & Stegun 26.2.49.

    Cumulants of the log-odds are polygammas: κ_r = ψ^(r-1)(a) + (-1)^r ψ^(r-1)(b), here by their asymptotic series.
    """
    u, v = 1.0 / a, 1.0 / b
    mean = np.log(a / b) - (u - v) / 2.0 - (u * u - v * v) / 12.0
    k2 = _psi1(u) + _psi1(v)
    s = np.sqrt(k2)
    g1 = (_psi2(u) - _psi2(v)) / (k2 * s)
    g2 = (_psi3(u) + _psi3(v)) / k2**2
    g3 = (_psi4(u) - _psi4(v)) / (k2**2 * s)
    g4 = 24.0 * (u**5 + v**5) / k2**3
    h1, h2, h3, h4, h5 = z, z**2 - 1, z**3 - 3 * z, z**4 - 6 * z**2 + 3, z**5 - 10 * z**3 + 15 * z
    x = (
        z
        + g1 * h2 / 6
        + g2 * h3 / 24
        - g1**2 * (2 * h3 + h1) / 36
        + g3 * h4 / 120
        - g1 * g2 * (h4 + h2) / 24
        + g1**3 * (12 * h4 + 19 * h2) / 324
        + g4 * h5 / 720
        - g2**2 * (3 * h5 + 6 * h3 + 2 * h1) / 384
        - g1 * g3 * (2 * h5 + 3 * h3) / 180
        + g1**2 * g2 * (14 * h5 + 37 * h3 + 8 * h1) / 288
        - g1**4 * (252 * h5 + 832 * h3 + 227 * h1) / 7776
    )
    return np.asarray(scipy.special.expit(mean + s * x))


def _psi1(u: FloatArray) -> FloatArray:
    """ψ'(1/u) for small u; each further derivative likewise, to a relative error of u³ or better."""
    return u + u**2 / 2 + u**3 / 6 - u**5 / 30


def _psi2(u: FloatArray) -> FloatArray:
    return -(u**2) - u**3 - u**4 / 2


def _psi3(u: FloatArray) -> FloatArray:
    return 2 * u**3 + 3 * u**4 + 2 * u**5


def _psi4(u: FloatArray) -> FloatArray:
    return -6 * u**4 - 12 * u**5
