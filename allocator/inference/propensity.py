"""Do routers do what was published, and log what they did? Two checks, each valid however often it is looked at.

`check_versions`: the units of one weights version against that version's shares, version by version. A version's evidence is the
bet of `multinomial` centred on the promise. Evidence of versions adds up with weights fixed beforehand,

    e = Σ γ_v e_v        γ_v = h(v) - h(v + 1), h(v) = 1 / (1 + log2 v)

which sum to 1 over all versions there will ever be, so e stays a martingale as versions come, and γ_v e_v ≥ 1/α names a version
wrongly with probability α at most, over all of them (Ville 1939; a weighted union, as for e-values in Vovk & Wang 2021). Here one
bad version cannot be drowned by many good ones; a small bias in all of them is what `srm` adds up.

`check_inverse_propensities`: over a set of units each of which might have got arm k with its own probability p, the units that
did carry Σ 1/p, whose expectation is the number N of all units. D = 1/p - 1 for a unit with the arm and -1 for another has
mean 0 and D ≥ -1; with λ in (0, 1)

    exp(λ ΣD - ψ(λ) ΣD²)        ψ(λ) = -ln(1 - λ) - λ

is then a supermartingale (Fan, Grama & Liu 2015; Howard, Ramdas, McAuliffe & Sekhon 2021), and so is the one with
-D / (1/p_min - 1) in place of D. Both sides and λ = 2^-1 … 2^-20 are averaged into one e-value an arm. ΣD² is
Σw² - 2 Σw + N with w = 1/p over the arm's units: moments are enough.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allocator.errors import ArgumentError
from allocator.inference.arguments import as_counts, as_shares, require_inside_unit
from allocator.inference.multinomial import log_gain
from allocator.moments import WEIGHT_UNIT, Moments, layout_of
from allocator.quadrature import FloatArray

__all__ = [
    "InversePropensityCheck",
    "VersionCheck",
    "VersionDeviation",
    "check_inverse_propensities",
    "check_versions",
]

CONCENTRATION = 100.0
"""Strength of a version's bet: that of shares off by about a twentieth."""
_LAMBDAS = 0.5 ** np.arange(1, 21)
_PSI = -np.log1p(-_LAMBDAS) - _LAMBDAS


@dataclass(frozen=True, slots=True)
class VersionDeviation:
    """One version whose units did not follow its shares.

    Parameters
    ----------
    version : as given.
    e : its own evidence, before its weight γ.
    arm : the arm furthest off, in standard errors.
    realised, published : that arm's share.
    units : of this version.
    """

    version: Hashable
    e: float
    arm: str
    realised: float
    published: float
    units: int


@dataclass(frozen=True, slots=True)
class VersionCheck:
    """Realised shares against published ones.

    Parameters
    ----------
    alarm : whether e ≥ 1/α at this moment.
    e, p : the evidence of all versions together, and 1 / e, at most 1.
    deviating : versions proven off on their own, the clearest first.
    clearest : the version with the most evidence after weighting, proven or not.
    """

    alarm: bool
    alpha: float
    e: float
    p: float
    deviating: tuple[VersionDeviation, ...]
    clearest: VersionDeviation
    method: str
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InversePropensityCheck:
    """Inverse propensities of every arm against the number of units.

    Parameters
    ----------
    alarm : whether e ≥ 1/α at this moment.
    e, p : the mean evidence of the arms, and 1 / e, at most 1.
    deviating : arms proven off on their own (evidence of at least K/α), the clearest first: what one arm loses, the others seem
        to have too much of.
    arms, ratio, z, arm_e : an arm: its Σ 1/p over the number of units, which should be 1; its distance from 1 in standard errors,
        which is no test under peeking; its evidence. A ratio above 1 says that logged propensities are too small for what the
        arm gets, one below that they are too large or that its units are lost.
    units : N.
    """

    alarm: bool
    alpha: float
    e: float
    p: float
    deviating: tuple[str, ...]
    arms: tuple[str, ...]
    ratio: tuple[float, ...]
    z: tuple[float, ...]
    arm_e: tuple[float, ...]
    units: int
    method: str
    assumptions: tuple[str, ...]


def check_versions(
    arms: Sequence[str],
    versions: Sequence[Hashable],
    counts: npt.ArrayLike,
    shares: npt.ArrayLike,
    alpha: float = 0.001,
    concentration: float = CONCENTRATION,
) -> VersionCheck:
    """Units by weights version against what that version published.

    Parameters
    ----------
    arms : names.
    versions : in the order of publication; append new ones, or the weights γ are not fixed beforehand.
    counts, shares : shape (versions, arms); units counted under a version, and its published shares (ppm / 1e6).
    alpha : probability of a false alarm over the whole life of the check, in (0, 1).
    concentration : > 0; how many units the bet against a version is worth. Deviations of about 1/√(2 concentration) suit it best.

    Raises
    ------
    ArgumentError : an argument outside its domain.
    """
    require_inside_unit("alpha", alpha)
    if not versions:
        raise ArgumentError("versions", tuple(versions), "at least one")
    if not 0 < concentration < np.inf:
        raise ArgumentError("concentration", concentration, "a finite number above 0")
    n, p = as_counts(len(arms), counts), as_shares(len(arms), shares)
    for name, value in (("counts", n), ("shares", p)):
        if value.shape != (len(versions), len(arms)):
            raise ArgumentError(name, f"shape {value.shape}", f"({len(versions)}, {len(arms)}): versions by arms")
    log_e = log_gain(n, p, np.full(len(versions), concentration))
    place = np.arange(1, len(versions) + 2)
    h = 1 / (1 + np.log2(place))
    log_weighted = log_e + np.log(h[:-1] - h[1:])
    log_total = float(np.logaddexp.reduce(np.append(log_weighted, np.log(h[-1]))))
    order, off = np.argsort(-log_weighted, kind="stable"), log_weighted >= -np.log(alpha)
    named = [_deviation(arms, versions[v], n[v], p[v], float(log_e[v])) for v in order if v == order[0] or off[v]]
    return VersionCheck(
        alarm=bool(log_total >= -np.log(alpha)),
        alpha=alpha,
        e=_exp(log_total),
        p=min(1.0, float(np.exp(-log_total))),
        deviating=tuple(named[: int(off.sum())]),
        clearest=named[0],
        method=f"Dirichlet-multinomial e-value a version (concentration {concentration:g}), summed with weights fixed beforehand",
        assumptions=(
            "Units of a version are assigned independently of each other with that version's shares.",
            "Which units become known, and when, does not depend on the arm.",
            "Versions are given in the order of publication; units held back are not among them.",
        ),
    )


def check_inverse_propensities(
    arms: Sequence[str], moments: Sequence[Moments], propensity_min: float, alpha: float = 0.001
) -> InversePropensityCheck:
    """Σ 1/p of every arm against the number of units, from moments alone.

    Parameters
    ----------
    arms, moments : one an arm, summed over any set of cells in all of which every arm here had a share, and without units held
        back. For "since when": call it a period.
    propensity_min : in (0, 1]; the least propensity any unit might have been logged with, known beforehand: the spec's floor,
        less half a ppm. The smaller, the less a shortfall can be proven.
    alpha : probability of a false alarm over the whole life of the check, in (0, 1).

    Raises
    ------
    ArgumentError : an argument outside its domain; moments whose weights prove a smaller propensity than `propensity_min`.
    """
    require_inside_unit("alpha", alpha)
    if not 0 < propensity_min <= 1:
        raise ArgumentError("propensity_min", propensity_min, "a number in (0, 1]")
    if not arms or len(moments) != len(arms):
        raise ArgumentError("moments", f"{len(moments)} of them", f"one for each of {len(arms)} arms, at least one")
    units = sum(m.n for m in moments)
    excess, squares = np.empty(len(arms)), np.empty(len(arms))
    for k, m in enumerate(moments):
        layout = layout_of(m.metrics)
        w, w2 = m.sums[layout.w], m.sums[layout.w2]
        if w2 * propensity_min > w * WEIGHT_UNIT * (1 + 1e-6):  # the mean of w, weighted by w, is above the largest w allowed
            raise ArgumentError("propensity_min", propensity_min, f"at most the propensities logged for {arms[k]}")
        excess[k] = (w - units * WEIGHT_UNIT) / WEIGHT_UNIT
        squares[k] = (w2 - 2 * WEIGHT_UNIT * w + units * WEIGHT_UNIT**2) / WEIGHT_UNIT**2
    log_e = _log_e(excess, squares, 1 / propensity_min - 1)
    log_total = float(np.logaddexp.reduce(log_e)) - np.log(len(arms))
    z = np.divide(excess, np.sqrt(squares), out=np.zeros(len(arms)), where=squares > 0)
    return InversePropensityCheck(
        alarm=bool(log_total >= -np.log(alpha)),
        alpha=alpha,
        e=_exp(log_total),
        p=min(1.0, float(np.exp(-log_total))),
        deviating=tuple(arms[k] for k in np.argsort(-log_e, kind="stable") if log_e[k] >= np.log(len(arms) / alpha)),
        arms=tuple(arms),
        ratio=tuple((1 + excess / units).tolist()) if units else (float("nan"),) * len(arms),
        z=tuple(z.tolist()),
        arm_e=tuple(_exp(float(log)) for log in log_e),
        units=units,
        method="self-normalised exponential supermartingale of Σ 1/p - N, both sides, averaged over arms",
        assumptions=(
            "Each unit's logged propensity is the probability with which its arm was chosen, given everything earlier.",
            "Every arm had a share above 0 for every unit here; units held back are not among them.",
            f"No unit could have got its arm with a propensity below {propensity_min:g}.",
            "Which units become known, and when, does not depend on the arm.",
        ),
    )


def _deviation(arms: Sequence[str], version: Hashable, n: FloatArray, p: FloatArray, log_e: float) -> VersionDeviation:
    total = float(n.sum())
    variance = total * p * (1 - p)
    off = np.abs(n - total * p)
    z = np.divide(off, np.sqrt(variance), out=np.where(off > 0.5, np.inf, 0.0), where=variance > 0)
    worst = int(np.argmax(z))
    realised = float(n[worst]) / total if total else float("nan")
    return VersionDeviation(version, _exp(log_e), arms[worst], realised, float(p[worst]), int(total))


def _log_e(excess: FloatArray, squares: FloatArray, largest: float) -> FloatArray:
    """ln of the mean over both sides and all λ, shape (arms,); D is at most `largest`."""
    terms = [_LAMBDAS * excess[:, None] - _PSI * squares[:, None]]
    if largest > 0:
        terms.append(-_LAMBDAS * excess[:, None] / largest - _PSI * squares[:, None] / largest**2)
    log = np.concatenate(terms, axis=1)
    return np.asarray(np.logaddexp.reduce(log, axis=1) - np.log(log.shape[1]))


def _exp(log: float) -> float:
    """exp, at the largest float where it would overflow, inf only for inf."""
    return float(np.exp(min(log, 709.0))) if log < np.inf else float("inf")
