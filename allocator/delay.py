"""Rewards that are still to come: arms compared fairly while exposures are younger than the attribution window.

A unit exposed `a` seconds ago has shown its reward with probability p F(a), F the distribution of the lag between exposure and
reward, F(window) = 1. Counting pending units as failures favours old exposures and quick arms; leaving them out wastes what they
did show. With an arm's units weighted by what can have arrived, n_eff = Σ_s n_s F̄_s, the rate S / n_eff is unbiased (Vernade,
Cappé & Perchet, "Stochastic bandit models for delayed conversions", UAI 2017). Means of values likewise: Σy / n_eff.

**Periods** here are at most an eighth of the window, or the spread of exposures inside them is not even enough: of two equal arms
in periods as long as the window, the one whose share went from .1 to .9 within it is estimated 10 % too low and the other 10 %
too high; in periods of an eighth both are right within 1 %. Any division of time will do, if it is fine where exposures are
young: all that is older than the window may be a single period.

**F from the lags of rewards that came.** A lag is seen only if its exposure is at least that old: right truncation. The
product-limit estimator in reverse time (Lynden-Bell 1971; Lagakos, Barraj & De Gruttola 1988) needs nothing but lags: with d_j
of them in bin j, and N_j in bins up to j among exposures old enough for bin j,

    F(lower edge of bin j) = ∏_{i ≥ j} (1 - d_i / N_i)

whatever the number of exposures and the reward rate were at what time. Exposures are known by period, uniform within it: a share
G_sj of period s is old enough for bin j, so a lag seen in bin i is from such an exposure with probability G_sj / G_si, and
N_j = Σ_s Σ_{i ≤ j} h_si G_sj / G_si. No period must have ended for its lags to count.

**With few lags** every d / N becomes d / (N + m): the m pseudo-lags say "all has arrived", and so do bins that no exposure is old
enough for, where nothing can be known (truncated lags determine F only up to its value at the greatest age). This is the safe
side. F too large takes pending units for failures, as everybody without a correction does; the arm favoured last has most of
them, loses a little, and traffic spreads. F too small lifts S / n_eff beyond what is possible, most for the arm favoured last: it
feeds on itself.

**An arm's own F**, for arms that answer at different speeds, is the same product of hazards (d_kj + m h_j) / (N_kj + m), with h_j
the hazard of all arms together and m = 5 pseudo-lags: an arm without lags, or too young for a bin, follows the others, one
with many goes by its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.errors import ArgumentError
from allocator.quadrature import FloatArray
from allocator.samples import Samples

__all__ = [
    "LAG_BINS",
    "POOLED_LAGS",
    "PRIOR_LAGS",
    "DelayDistribution",
    "beta_of_delayed",
    "delayed_samples",
    "effective_units",
    "lag_edges",
]

PRIOR_LAGS = 2.0
"""Pseudo-lags that have arrived at once."""
POOLED_LAGS = 5.0
"""Pseudo-lags of an arm that came as those of all arms did."""
LAG_BINS = 27
"""The first ends at 2^-13 of the window: ten seconds of a day."""


def lag_edges(window_s: float, bins: int = LAG_BINS) -> FloatArray:
    """Edges of bins for lags, shape (bins + 1,): 0, then in steps of √2 up to the window.

    Fine enough for lags that are spread. A lag that a large share of rewards has to the second is smeared over its bin, which
    shifts n_eff by a few per cent: give it a narrower bin.

    Raises
    ------
    ArgumentError : a window that is not finite and above 0, or no bin.
    """
    if not 0 < window_s < np.inf:
        raise ArgumentError("window_s", window_s, "a finite number above 0")
    if bins < 1:
        raise ArgumentError("bins", bins, "at least 1")
    return np.concatenate([[0.0], window_s * 2.0 ** (np.arange(1 - bins, 1) / 2)])


@dataclass(frozen=True, slots=True, eq=False)
class DelayDistribution:
    """F, linear between the edges of its bins.

    Parameters
    ----------
    edges : shape (bins + 1,), seconds, rising from 0 to the attribution window.
    cdf : F at the edges, shape (bins + 1,) for all arms together or (arms, bins + 1); rising to 1. F(0) may be above 0.
    lags : rewards it was estimated from, shape () or (arms,).
    pooled_lags : pseudo-lags by which each arm's F is drawn toward that of all.
    """

    edges: FloatArray
    cdf: FloatArray
    lags: FloatArray
    pooled_lags: float = 0.0
    _pending: FloatArray = field(init=False, repr=False)
    """1 - F at the edges."""
    _fall: FloatArray = field(init=False, repr=False)
    """By how much it falls in each bin."""
    _area: FloatArray = field(init=False, repr=False)
    """Its integral from 0 to the edges."""

    def __post_init__(self) -> None:
        width, pending = self.edges[1:] - self.edges[:-1], 1 - self.cdf
        area = np.zeros_like(pending)
        np.cumsum((pending[..., 1:] + pending[..., :-1]) / 2 * width, axis=-1, out=area[..., 1:])
        object.__setattr__(self, "_pending", pending)
        object.__setattr__(self, "_fall", pending[..., :-1] - pending[..., 1:])
        object.__setattr__(self, "_area", area)

    @property
    def method(self) -> str:
        """How F is estimated."""
        drawn = f"; each arm's drawn toward all arms' by {self.pooled_lags:g} pseudo-lags" if self.pooled_lags else ""
        return f"reverse-time product limit of right-truncated lags, {PRIOR_LAGS:g} pseudo-lags at 0, linear within bins{drawn}"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What it takes to be true."""
        return (
            "The lag does not depend on when the exposure was" + (", nor on the arm." if self.cdf.ndim == 1 else "."),
            "Exposures are spread evenly within a period, of every arm.",
            "`now` is the time up to which events were read: what happened before it has been counted.",
            "What comes later than the oldest exposure's age is the same share of every arm's rewards.",
            "A reward's lag does not depend on its value.",
        )

    @classmethod
    def known(cls, edges: npt.ArrayLike, cdf: npt.ArrayLike) -> DelayDistribution:
        """A distribution that is given. ArgumentError: edges do not rise from 0, or cdf does not rise within [0, 1] to 1."""
        at, f = _edges(edges), np.asarray(cdf, dtype=np.float64)
        if f.shape[-1:] != at.shape or f.ndim > 2 or np.any(np.diff(f) < 0) or np.any(f[..., 0] < 0) or np.any(f[..., -1] != 1):
            raise ArgumentError("cdf", f.tolist(), f"{len(at)} numbers of at least 0 that rise to 1, one an edge")
        return cls(at, f, np.zeros(f.shape[:-1]))

    @classmethod
    def estimate(
        cls, lags: npt.ArrayLike, edges: npt.ArrayLike, starts: npt.ArrayLike, ends: npt.ArrayLike, now: float
    ) -> DelayDistribution:
        """F from a histogram of the lags seen until `now`.

        Parameters
        ----------
        lags : h, shape (periods, bins) for all arms together, or (arms, periods, bins) for one F an arm: rewards by period of
            their exposure and bin of their lag: each unit's first that is not 0 where a unit counts once, all that are not 0
            where they add up. Bin j holds lags above edge j up to edge j + 1, the first also 0 and what a clock's skew put
            before it; none is beyond the window.
        edges : shape (bins + 1,), seconds, rising from 0 to the window; see `lag_edges`.
        starts, ends : shape (periods,), seconds; a period that still runs ends in the future.
        now : seconds; the time up to which events were read, not the clock's.

        Raises
        ------
        ArgumentError : shapes that do not fit, edges that do not rise from 0, lags below 0 or infinite, an end before its start.
        """
        at, d, at_risk, seen = _hazards(lags, edges, starts, ends, now)
        return cls(at, _product(d / (at_risk + PRIOR_LAGS)), seen)

    @classmethod
    def by_arm(
        cls, lags: npt.ArrayLike, edges: npt.ArrayLike, starts: npt.ArrayLike, ends: npt.ArrayLike, now: float
    ) -> DelayDistribution:
        """One F an arm, drawn toward that of all arms together as by `POOLED_LAGS` lags of theirs.

        Lags of the first bin are taken to be 0: rewards that come at once would else be smeared over it, and exposures younger
        than that be few for what they have shown. Too large an F is the safe side.

        Parameters
        ----------
        lags : h, shape (arms, periods, bins). All else as in `estimate`.
        """
        at, d, at_risk, seen = _hazards(lags, edges, starts, ends, now)
        if d.ndim != 2:
            raise ArgumentError("lags", f"shape {np.shape(lags)}", "(arms, periods, bins)")
        pooled = d.sum(axis=0) / (at_risk.sum(axis=0) + PRIOR_LAGS)
        hazards = (d + POOLED_LAGS * pooled) / (at_risk + POOLED_LAGS)
        hazards[:, 0] = 0.0
        return cls(at, _product(hazards), seen, POOLED_LAGS)

    def at(self, age_s: npt.ArrayLike) -> FloatArray:
        """F at these ages, shape of the ages, an axis for arms before them if F is by arm; 0 below 0."""
        age = np.asarray(age_s, dtype=np.float64)
        pending, _ = self._until(np.clip(age, 0.0, self.edges[-1]))
        return np.asarray(np.where(age < 0, 0.0, 1 - pending))

    def arrived(self, starts: npt.ArrayLike, ends: npt.ArrayLike, now: float) -> FloatArray:
        """F̄: share of each period's rewards that has come, F averaged over its ages; shape (periods,) or (arms, periods).

        Exactly 1 for a period whose youngest exposure is as old as the window. A period that still runs is one that ends now.
        """
        ages = _ages(starts, ends, now)
        width = np.maximum(ages[1] - ages[0], np.finfo(float).tiny)
        pending, area = self._until(np.minimum(ages, self.edges[-1]))
        mean = (area[..., 1, :] - area[..., 0, :]) / width
        # F rises, so the mean lies between its ends: rounding, and a width of 0, cannot put it elsewhere.
        return np.asarray(1 - np.minimum(np.maximum(mean, pending[..., 1, :]), pending[..., 0, :]))

    def _until(self, age: FloatArray) -> tuple[FloatArray, FloatArray]:
        """1 - F at ages in [0, window], and its integral from 0 to them."""
        bin_ = self.edges[1:-1].searchsorted(age, side="right")
        lower = self.edges[bin_]
        into = age - lower
        above, fallen = self._pending[..., bin_], self._fall[..., bin_] * (into / (self.edges[bin_ + 1] - lower))
        return above - fallen, self._area[..., bin_] + (above - fallen / 2) * into


def effective_units(
    n: npt.ArrayLike, starts: npt.ArrayLike, ends: npt.ArrayLike, now: float, delay: DelayDistribution
) -> FloatArray:
    """Units of each arm, each counted by how much of its reward can have arrived: n_eff = Σ_s n_s F̄_s.

    At most n, and n exactly once every exposure is older than the window; rises with `now` for given units and F; the same for a
    period and for its parts. A mean over all units, pending ones as 0, and its standard error become those of the metric when
    multiplied by n / n_eff; for rates see `beta_of_delayed`.

    Parameters
    ----------
    n : exposures, shape (arms, periods).
    starts, ends : shape (periods,), seconds; a period that still runs ends in the future.
    now : seconds.

    Returns
    -------
    Shape (arms,).

    Raises
    ------
    ArgumentError : shapes that do not fit, an end before its start.
    """
    arrived, units = delay.arrived(starts, ends, now), np.asarray(n, dtype=np.float64)
    if units.ndim != 2 or units.shape[1] != arrived.shape[-1] or (arrived.ndim == 2 and len(arrived) != len(units)):
        raise ArgumentError("n", f"shape {units.shape}", f"(arms, periods) with periods and arms of {arrived.shape}")
    return np.asarray((units * arrived).sum(axis=1))


def delayed_samples(samples: Samples, effective_n: npt.ArrayLike, *, binary: bool) -> Samples:
    """Samples that make the posterior of a metric's mean while rewards are pending, with any prior.

    Values and counts: n_eff units with the same sum and the same squares, because the variance of Σy / n_eff is n Var(y) / n_eff²
    with what is pending seen as 0. Binary: what turns a uniform prior into `beta_of_delayed`. Where nothing is pending, samples
    of a binary metric stay as they are, others but for their origin.

    Parameters
    ----------
    samples : of all units, pending ones as 0.
    effective_n : shape (arms,), see `effective_units`; at most the units.
    binary : whether the metric is; its origin is 0 then.

    Raises
    ------
    ArgumentError : effective_n of another shape, or outside [0, n]; more successes than units.
    """
    effective = np.asarray(effective_n, dtype=np.float64)
    if effective.shape != samples.n.shape or not np.all((effective >= 0) & (effective <= samples.n)):
        raise ArgumentError("effective_n", effective.tolist(), f"between 0 and the units {samples.n.tolist()}")
    if not binary:
        total = np.where(effective > 0, samples.total + samples.n * samples.origin, 0.0)
        return Samples(n=effective, total=total, squares=samples.squares)
    a, b = beta_of_delayed(samples.total, samples.n, effective)
    successes, failures = np.maximum(a - 1, 0.0), np.maximum(b - 1, 0.0)  # without any success a is a little below 1
    pending, n = effective < samples.n, successes + failures
    return Samples(
        n=np.where(pending, n, samples.n),
        total=np.where(pending, successes, samples.total),
        squares=np.where(pending, successes * np.divide(failures, n, out=np.zeros_like(n), where=n > 0), samples.squares),
    )


def beta_of_delayed(successes: npt.ArrayLike, n: npt.ArrayLike, effective_n: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """a and b of the Beta that has the mean and the variance of a rate's posterior while rewards are pending, uniform prior.

    A unit has shown a success with probability u = p n_eff / n: u is Beta(S + 1, n - S + 1) cut off at n_eff / n. Failures
    counted as n_eff - S instead could fall below 0, and are far too sure of a high rate of which half is pending. Where nothing
    is pending this is Beta(S + 1, n - S + 1) to the last bit; for small rates it is nearly Beta(S + 1, n_eff - S + 1).

    Parameters
    ----------
    successes, n, effective_n : shape (arms,); 0 ≤ successes ≤ n, 0 ≤ effective_n ≤ n. The share that arrived is taken to be the
        same for all units of an arm, which errs towards too much variance.
    """
    s, units, effective = (np.asarray(v, dtype=np.float64) for v in (successes, n, effective_n))
    if not np.all((s >= 0) & (s <= units) & (units < np.inf)):
        raise ArgumentError("successes", s.tolist(), "between 0 and the units")
    if not np.all((effective >= 0) & (effective <= units)):
        raise ArgumentError("effective_n", effective.tolist(), "between 0 and the units")
    a, b = s + 1, units - s + 1
    cut = np.divide(effective, units, out=np.ones_like(units), where=units > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = scipy.special.betainc(a, b, cut)
        one, two = scipy.special.betainc(a + 1, b, cut) / mass, scipy.special.betainc(a + 2, b, cut) / mass
        centre = a / (a + b)
        mean = centre * one / cut
        variance = (centre * (1 - centre) / (a + b + 1) * two + centre**2 * (two - one**2)) / cut**2
        total = mean * (1 - mean) / variance - 1
    # A cut so low that no mass is left of it: successes that cannot be. All that is known is that the rate is high.
    usable = (cut < 1) & (mass > 1e-280) & (total > 0)
    return (
        np.where(cut == 1, a, np.where(usable, mean * total, a)),
        np.where(cut == 1, b, np.where(usable, (1 - mean) * total, 1.0)),
    )


def _edges(edges: npt.ArrayLike) -> FloatArray:
    at = np.asarray(edges, dtype=np.float64)
    if at.ndim != 1 or len(at) < 2 or at[0] != 0 or not (at[1:] > at[:-1]).all() or at[-1] == np.inf:
        raise ArgumentError("edges", at.tolist(), "at least two numbers that rise from 0")
    return at


def _hazards(
    lags: npt.ArrayLike, edges: npt.ArrayLike, starts: npt.ArrayLike, ends: npt.ArrayLike, now: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Checked edges; d and N of every bin, shape (bins,) or (arms, bins); how many lags there are, shape () or (arms,)."""
    at, h = _edges(edges), np.asarray(lags, dtype=np.float64)
    youngest, oldest = _ages(starts, ends, now)
    if h.ndim not in {2, 3} or h.shape[-2:] != (len(oldest), len(at) - 1):
        raise ArgumentError("lags", f"shape {h.shape}", f"({len(oldest)}, {len(at) - 1}) or (arms, …): periods by bins")
    if h.size and not 0 <= h.min() <= h.max() < np.inf:  # also false for nan
        raise ArgumentError("lags", h.tolist(), "finite numbers of at least 0")
    old_enough = _old_enough(at, youngest, oldest)
    d = h * (old_enough > 0)  # a lag longer than any exposure's age is a clock's mistake
    at_risk = ((d / np.maximum(old_enough, 1e-100)).cumsum(axis=-1) * old_enough).sum(axis=-2)
    return at, d.sum(axis=-2), at_risk, h.sum(axis=(-2, -1))


def _product(hazards: FloatArray) -> FloatArray:
    """F at the edges: the product of 1 - hazard over all later bins."""
    cdf = np.ones((*hazards.shape[:-1], hazards.shape[-1] + 1))
    np.cumprod((1 - hazards)[..., ::-1], axis=-1, out=cdf[..., -2::-1])
    return cdf


def _ages(starts: npt.ArrayLike, ends: npt.ArrayLike, now: float) -> FloatArray:
    """Ages of the youngest and the oldest exposures of every period, shape (2, periods); 0 for what lies in the future."""
    first, last = np.asarray(starts, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    if first.ndim != 1 or last.shape != first.shape:
        raise ArgumentError("ends", f"shape {last.shape}", f"one for each start, and starts {first.shape} in one dimension")
    if not (last >= first).all():  # also false for nan
        raise ArgumentError("ends", last.tolist(), "none before its start")
    return np.maximum(now - np.stack([last, first]), 0.0)


def _old_enough(edges: FloatArray, youngest: FloatArray, oldest: FloatArray) -> FloatArray:
    """G: the mean over a bin of the share of a period's exposures that are at least that old; shape (periods, bins)."""
    reached = np.minimum(edges, oldest[:, None])
    into = np.maximum(reached - youngest[:, None], 0.0)
    width = np.maximum(oldest - youngest, np.finfo(float).tiny)[:, None]
    area = reached - into * (into / width) / 2
    return np.asarray(np.maximum((area[:, 1:] - area[:, :-1]) / (edges[1:] - edges[:-1]), 0.0))
