"""Sample-ratio mismatch under moving weights: do the arms get the units that the logged propensities promise?

A chi-square against fixed shares alarms whenever the weights move; one against the expected counts, looked at again and again,
alarms by chance. This check does neither. It bets against the published shares. A bet's wealth is multiplied, batch by batch, by

    DM(n; (κ + N) q) / ∏ p_k^n_k

with p the batch's shares, n its counts, N the units of all earlier batches, q what the bet says in place of p, and DM the
probability of n's units in order under shares drawn from a Dirichlet, see `multinomial`. The bet is what the past says, held as
strongly as the past is long, and it goes on learning inside the batch: a million units at a fixed split are as good in one batch
as in a thousand. With O_k and E_k the observed and expected counts of all earlier batches (E_k sums a batch's units times p_k),
C_k = Σ n_k p_k and v_k = p_k (1 - p_k), there are K + 1 bets:

    on all arms at once              q_k ∝ p_k (O_k + κ p_k) / (E_k + κ p_k)
    on arm k against the others      q_k / (1 - q_k) = p_k / (1 - p_k) · (O_k - C_k + κ v_k) / (E_k - C_k + κ v_k)

and e is half the wealth of the first and half the mean wealth of the others. The first finds whatever is wrong, and pays for
K - 1 unknowns; the others pay for one each, and of ten arms find one that loses units five times as often.

Given the past, a unit falls on arm k with probability p_k, so a unit multiplies a wealth by 1 on average whatever was bet: e is
a non-negative martingale, and P(e ever reaches 1/α) ≤ α (Ville 1939), for any batches, weights and stopping rule. Multinomial
e-processes for this check: Lindon & Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022), for fixed shares;
a bet learnt from the past: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (2024).

How far arm k is off is told by the odds ratio of Mantel & Haenszel (1959) against the promise, each batch a stratum:

    (Σ n_k (1 - p_k)) / (Σ (N - n_k) p_k) = (O_k - C_k) / (E_k - C_k)        with N a batch's units

which is 1 - ℓ if the arm loses a share ℓ of its units, however the weights moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from allocator.errors import ArgumentError
from allocator.inference.arguments import as_counts, as_shares, require_inside_unit
from allocator.inference.multinomial import log_gain
from allocator.quadrature import FloatArray

__all__ = ["SRM_KAPPA", "SrmResult", "SrmState"]

SRM_KAPPA = 1000.0
"""Pseudo-units behind "as published": bold enough to learn from 10 000 units, and small deviations are not shouted down."""


@dataclass(frozen=True, slots=True)
class SrmResult:
    """What the check says at one moment.

    Parameters
    ----------
    alarm : whether e ever reached 1/α. Once raised it stays: chance does this with probability α in the whole life of a check.
    e : evidence against the published shares now, in times; inf if an arm with share 0 got a unit.
    p : always-valid p-value, 1 over the largest e so far, at most 1.
    arm : the arm furthest off in standard errors; with two arms, where more of one is less of the other, the one with too few.
    deviation : by which share that arm's count exceeds the promise, relative to the other arms'; -0.05 is a loss of 5 %. nan
        while nothing is known.
    observed, expected : units an arm, shape (arms,).
    deviations, z : the same as `deviation` and its distance from 0 in standard errors, an arm, shape (arms,). z is for ranking
        arms: unlike `p` it is no test under peeking.
    """

    alarm: bool
    alpha: float
    e: float
    p: float
    arm: str
    deviation: float
    arms: tuple[str, ...]
    observed: tuple[float, ...]
    expected: tuple[float, ...]
    deviations: tuple[float, ...]
    z: tuple[float, ...]
    method: str
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SrmState:
    """A check after so many batches; `update` gives the next one.

    Arrays have the shape (..., arms); axes before the last are checks of their own (segments, simulated runs) of the same arms.

    Parameters
    ----------
    arms : names, in the order of counts and shares. An arm that is not served at a time has share 0 then.
    kappa : pseudo-units of the bet, > 0.
    observed, expected : O and E.
    overlap : C = Σ n_k p_k.
    variance : Σ N p_k (1 - p_k), that of O_k - E_k.
    impossible : units of batches in which the arm's share was 0.
    log_wealth : ln of each bet's, those on one arm in the order of arms, then the one on all; shape (..., arms + 1).
    log_e_peak : the largest ln e was; shape (...).
    """

    arms: tuple[str, ...]
    kappa: float
    observed: FloatArray
    expected: FloatArray
    overlap: FloatArray
    variance: FloatArray
    impossible: FloatArray
    log_wealth: FloatArray
    log_e_peak: FloatArray

    @classmethod
    def start(cls, arms: Sequence[str], kappa: float = SRM_KAPPA, checks: tuple[int, ...] = ()) -> SrmState:
        """No units yet.

        Raises
        ------
        ArgumentError : no arm, a name twice, or kappa not finite and above 0.
        """
        if not arms or len(set(arms)) != len(arms):
            raise ArgumentError("arms", tuple(arms), "at least one name, none twice")
        if not 0 < kappa < np.inf:
            raise ArgumentError("kappa", kappa, "a finite number above 0")
        zero = np.zeros((*checks, len(arms)))
        return cls(tuple(arms), kappa, zero, zero, zero, zero, zero, np.zeros((*checks, len(arms) + 1)), np.zeros(checks))

    @property
    def log_e(self) -> FloatArray:
        """ln e now, shape (...)."""
        return _log_e(self.log_wealth)

    def update(self, counts: npt.ArrayLike, shares: npt.ArrayLike) -> SrmState:
        """One more batch: `counts` units an arm, all assigned under `shares`.

        Count each unit once, in the order in which units become known, under the shares of the weights version it was served
        with; a late unit comes in a later batch, with its own version's shares. Batches may be single units or hours.

        Raises
        ------
        ArgumentError : shapes differ from the arms, counts below 0 or not whole, shares below 0 or not summing to 1.
        """
        n, p = as_counts(len(self.arms), counts), as_shares(len(self.arms), shares)
        expected = n.sum(axis=-1, keepdims=True) * p
        log_wealth = self.log_wealth + _gains(self, n, p)
        return replace(
            self,
            observed=self.observed + n,
            expected=self.expected + expected,
            overlap=self.overlap + n * p,
            variance=self.variance + expected * (1 - p),
            impossible=self.impossible + np.where(p == 0, n, 0.0),
            log_wealth=log_wealth,
            log_e_peak=np.maximum(self.log_e_peak, _log_e(log_wealth)),
        )

    def __add__(self, other: SrmState) -> SrmState:
        """Both checks' units together, as those of two partitions: bet by bet the product of two martingales, which is one.

        What e reached between the two updates is not known, so the peak of the sum is its present value.
        """
        if self.arms != other.arms or self.kappa != other.kappa:
            raise ArgumentError("other", (other.arms, other.kappa), f"a check of {self.arms} with kappa {self.kappa}")
        log_wealth = self.log_wealth + other.log_wealth
        return replace(
            self,
            observed=self.observed + other.observed,
            expected=self.expected + other.expected,
            overlap=self.overlap + other.overlap,
            variance=self.variance + other.variance,
            impossible=self.impossible + other.impossible,
            log_wealth=log_wealth,
            log_e_peak=np.maximum(_log_e(log_wealth), 0.0),
        )

    def result(self, alpha: float = 0.001) -> SrmResult:
        """The verdict at level `alpha`, a number in (0, 1). Only for a single check: arrays of shape (arms,).

        Raises
        ------
        ArgumentError : alpha outside (0, 1), or several checks.
        """
        require_inside_unit("alpha", alpha)
        if self.observed.ndim != 1:
            raise ArgumentError("checks", self.observed.shape[:-1], "a single check")
        deviations, z = _deviations(self)
        # Among two arms |z| is the same: the one with too few is named, because units are lost more often than invented.
        worst = int(np.argmax(np.abs(z) * np.where(z < 0, 1 + 1e-9, 1.0)))
        peak = float(self.log_e_peak)
        return SrmResult(
            alarm=bool(peak >= -np.log(alpha)),
            alpha=alpha,
            e=float(np.exp(min(float(self.log_e), 709.0))) if np.isfinite(self.log_e) else float("inf"),
            p=min(1.0, float(np.exp(-peak))),
            arm=self.arms[worst],
            deviation=float(deviations[worst]),
            arms=self.arms,
            observed=tuple(self.observed.tolist()),
            expected=tuple(self.expected.tolist()),
            deviations=tuple(deviations.tolist()),
            z=tuple(z.tolist()),
            method=f"multinomial e-process, bets learnt from earlier units, kappa {self.kappa:g}; deviation by Mantel-Haenszel",
            assumptions=(
                "Units are assigned independently of each other with the logged shares.",
                "A batch's shares were fixed before its units came; they may depend on everything earlier.",
                "Each unit is counted once, under the shares it was served with; units held back are not among them.",
                "Which units become known, and when, does not depend on the arm.",
            ),
        )


def _log_e(log_wealth: FloatArray) -> FloatArray:
    """Half on the bet on all arms, half on those on one, shape (...)."""
    arms = log_wealth.shape[-1] - 1
    of_one = np.logaddexp.reduce(log_wealth[..., :-1], axis=-1) - np.log(arms)
    return np.asarray(np.logaddexp(of_one, log_wealth[..., -1]) - np.log(2))


def _gains(state: SrmState, n: FloatArray, p: FloatArray) -> FloatArray:
    """ln of what a batch multiplies each wealth by, shape (..., arms + 1)."""
    known = state.kappa + state.observed.sum(axis=-1)
    r = _ratio(state.observed + state.kappa * p, state.expected + state.kappa * p)
    log_ratio = np.log(r) - np.log((p * r).sum(axis=-1, keepdims=True))
    of_all = log_gain(n, p, known, log_ratio)
    prior = state.kappa * p * (1 - p)
    r = _ratio(state.observed - state.overlap + prior, state.expected - state.overlap + prior)
    either, rest = np.stack([p, 1 - p], axis=-1), n.sum(axis=-1, keepdims=True) - n
    log_ratio = np.stack([np.log(r), np.zeros_like(r)], axis=-1) - np.log(1 - p + p * r)[..., None]
    of_one = log_gain(np.stack([n, rest], axis=-1), either, np.broadcast_to(known[..., None], p.shape), log_ratio)
    return np.concatenate([of_one, of_all[..., None]], axis=-1)


def _ratio(found: FloatArray, promised: FloatArray) -> FloatArray:
    """1 for an arm that never had a share, or always all of it."""
    some = (found > 0) & (promised > 0)
    return np.where(some, found / np.where(some, promised, 1.0), 1.0)


def _deviations(state: SrmState) -> tuple[FloatArray, FloatArray]:
    """Odds ratio minus one and z, shape (arms,); nan and 0 where an arm could not deviate, inf where it did."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (state.observed - state.overlap) / (state.expected - state.overlap) - 1
        z = (state.observed - state.expected) / np.sqrt(state.variance)
    certain, impossible = state.variance == 0, state.impossible > 0
    ratio = np.where(impossible, np.inf, np.where(certain, np.nan, ratio))
    return ratio, np.where(impossible, np.inf, np.where(certain, 0.0, z))
