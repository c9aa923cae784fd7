"""Does an arm's effect wear off, or grow, with the time since a unit first met it?

Users try what is new, and the effect fades; or they need time to like it, and the effect is learnt. The model of a cell of an
`EffectTable`, cohort c and age a, fitted by weighted least squares:

    effect_ca = L_c + δ g(a) + error        g(a) = exp(-(a - a_min) / τ), τ a third of the ages' span

An intercept for each cohort compares a cohort with itself, so cohorts of different people do no harm. It also absorbs what all
ages of a cohort share because they are the same units: the test is a t-test on the spread within cohorts. If every cohort was
seen at one age only, there is one intercept, errors are independent, and the test is a z-test with the given standard errors,
widened if the cells scatter more than they say (Birge 1932).

What remains in the long run is L, averaged over cohorts by their precision. τ is not known, so L's interval is the union, over τ
from a twentieth of the span to the whole of it, of what fits nearly as well as the best τ (profile likelihood, by generalised
least squares): it covers what remains of an effect that fades within about three spans. Cohort, age and calendar time are
collinear, so no table tells novelty from drift in calendar time plus a change of users; effects that differ between cohorts of
equal age are reported as a warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.errors import ArgumentError
from allocator.experiment import Direction
from allocator.inference.arguments import require_inside_unit
from allocator.inference.effects import EffectTable
from allocator.quadrature import FloatArray

__all__ = ["NoveltyResult", "Verdict", "novelty"]

Verdict = Literal["none", "fading", "learning", "not enough data"]

POWER = 0.8
"""With what probability a change of the margin must be found before "none" is said."""
TESTED = 1 / 3
"""τ of the test, in spans of ages."""
SCALE_MIN = 1e-6
"""Cells of a cohort are correlated by .999999 at most: rounding is not evidence."""
_PROFILED = np.geomspace(1 / 20, 1, 16)
"""τ tried for the long run, in spans of ages."""

Interval = tuple[float, float]
Noise = tuple[float, float]


@dataclass(frozen=True, slots=True)
class NoveltyResult:
    """How the effect moves with age. Intervals have the level 1 - alpha; numbers are nan where the table cannot give them.

    Parameters
    ----------
    verdict : "fading": the effect gets worse with age; "learning": it gets better; "none": a change of `margin` would have been
        found with probability .8, and was not; else "not enough data".
    reason : the verdict in a sentence.
    change, change_interval, p : effect at the greatest age less that at the least, and its test.
    average, average_interval : mean effect over the table, by precision.
    long_run, long_run_interval : the effect that remains: `average` for "none"; L of the fit otherwise; if nothing can be fitted,
        the mean at the greatest age.
    decay_s : the best-fitting τ, between a twentieth of the span of ages and all of it.
    cohort_change, cohort_p : effect of the last cohort less that of the first at equal age, and its test. If it is not 0, part of
        the change with age may be calendar time, or users who came later differ.
    margin : what counts as a change, in the effect's unit.
    """

    verdict: Verdict
    reason: str
    change: float
    change_interval: Interval
    p: float
    average: float
    average_interval: Interval
    long_run: float
    long_run_interval: Interval
    decay_s: float
    cohort_change: float
    cohort_p: float
    margin: float
    alpha: float
    method: str
    assumptions: tuple[str, ...]


def novelty(table: EffectTable, direction: Direction = "up", margin: float | None = None, alpha: float = 0.05) -> NoveltyResult:
    """Test and verdict.

    Parameters
    ----------
    direction : whether more of the metric is better ("up") or worse.
    margin : the least change between the youngest and the oldest age that matters, > 0, in the effect's unit. Default: as much as
        the average effect, but at least twice its standard error; with an effect of nearly 0 only a margin can make it "none".
    alpha : level of the tests, in (0, 1).

    Raises
    ------
    ArgumentError : margin or alpha outside its domain.
    """
    require_inside_unit("alpha", alpha)
    if margin is not None and not 0 < margin < np.inf:
        raise ArgumentError("margin", margin, "a finite number above 0")
    if len(np.unique(table.age_s)) < 3:
        return _too_little(table, margin, alpha)
    fit = _fit(table, TESTED)
    if fit.freedom < 1 or not fit.determined:
        return _too_little(table, margin, alpha)
    critical, (average, average_se) = fit.critical(alpha), fit.average(table)
    change, change_se = fit.change
    p = fit.p_value(change / change_se)
    least = max(abs(average), 2 * average_se) if margin is None else margin
    verdict: Verdict = "not enough data"
    if p <= alpha:
        verdict = "learning" if (change > 0) == (direction == "up") else "fading"
    elif change_se * (critical + scipy.special.ndtri(POWER)) <= least:
        verdict = "none"
    average_interval = _around(average, critical * average_se)
    long_run, interval, decay = (average, average_interval, np.nan) if verdict == "none" else _long_run(table, alpha)
    cohort_change, cohort_p = _between_cohorts(table, fit)
    return NoveltyResult(
        verdict=verdict,
        reason=_REASONS[verdict].format(change=change, p=p, least=least),
        change=change,
        change_interval=_around(change, critical * change_se),
        p=p,
        average=average,
        average_interval=average_interval,
        long_run=long_run,
        long_run_interval=interval,
        decay_s=decay,
        cohort_change=cohort_change,
        cohort_p=cohort_p,
        margin=least,
        alpha=alpha,
        method=_METHODS[table.followed],
        assumptions=_assumptions(table),
    )


_REASONS: dict[Verdict, str] = {
    "fading": "the effect gets worse with age: {change:+.3g} from the youngest to the oldest, p = {p:.2g}",
    "learning": "the effect gets better with age: {change:+.3g} from the youngest to the oldest, p = {p:.2g}",
    "none": "no change with age (p = {p:.2g}), and one of {least:.3g} would have been found",
    "not enough data": "no change with age is proven (p = {p:.2g}), but one of {least:.3g} could have been missed",
}
_METHODS = {
    True: "weighted least squares on an exponential decay with age, an intercept a cohort, t-test",
    False: "weighted least squares on an exponential decay with age, one cell a cohort, z-test",
}


def _assumptions(table: EffectTable) -> tuple[str, ...]:
    return (
        "Effects and standard errors are right under the allocation that produced them.",
        "What changes with age does so as an exponential decay, gone within about three times the ages seen.",
        "One look, at a time fixed beforehand.",
        "Calendar time does not change the effect; cells of a cohort are equally correlated with each other."
        if table.followed
        else "Each cohort was seen once: novelty, drift in calendar time and a change of users look the same.",
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    """effect = level of the cohort + slope · g. Data are effect / se; their errors have variance `scale` + `common`, and
    covariance `common` between cells of a cohort."""

    levels: FloatArray
    """One a cohort if the table follows cohorts, else one."""
    of_data: FloatArray
    """The linear map from the data to (levels, slope), shape (levels + 1, cells)."""
    slope: float
    fall: float
    """g at the least age less g at the greatest."""
    cohort: npt.NDArray[np.intp]
    squares: float
    """Of residuals."""
    scale: float
    common: float
    freedom: int
    determined: bool
    """Whether g varies within cohorts."""
    followed: bool

    def sd(self, of_data: FloatArray) -> float:
        """Standard error of a linear function of the data."""
        shared = np.bincount(self.cohort, weights=of_data)
        return float(np.sqrt(self.scale * (of_data @ of_data) + self.common * (shared @ shared)))

    @property
    def change(self) -> tuple[float, float]:
        """Effect at the greatest age less that at the least, and its standard error."""
        return -self.fall * self.slope, self.fall * self.sd(self.of_data[-1])

    def average(self, table: EffectTable) -> tuple[float, float]:
        """Mean effect by precision, and its standard error."""
        weight = 1 / table.se
        weight /= weight @ weight
        return float(weight @ (table.effect / table.se)), self.sd(weight)

    def critical(self, alpha: float) -> float:
        """Two-sided quantile of an estimate over its standard error."""
        tail = 1 - alpha / 2
        return float(scipy.special.stdtrit(self.freedom, tail) if self.followed else scipy.special.ndtri(tail))

    def p_value(self, ratio: float) -> float:
        """Two-sided, of an estimate over its standard error."""
        z = -abs(ratio)
        return float(2 * (scipy.special.stdtr(self.freedom, z) if self.followed else scipy.special.ndtr(z)))


def _decay(table: EffectTable, spans: float) -> FloatArray:
    """g with τ of that many spans of ages."""
    return np.asarray(np.exp(-(table.age_s - table.age_s.min()) / (np.ptp(table.age_s) * spans)))


def _fit(table: EffectTable, spans: float, noise: Noise | None = None) -> _Fit:
    """Least squares by the given standard errors; with `noise`, generalised ones, and `squares` in its unit."""
    g = _decay(table, spans)
    cohorts, which = np.unique(table.cohort_s, return_inverse=True)
    of_level = (which[:, None] == np.arange(len(cohorts))).astype(float) if table.followed else np.ones((len(which), 1))
    design = np.concatenate([of_level, g[:, None]], axis=1) / table.se[:, None]
    whiten = np.eye(len(which)) if noise is None else _whitening(which, *noise)
    of_data = np.linalg.pinv(whiten @ design) @ whiten
    data = table.effect / table.se
    beta = of_data @ data
    residual = whiten @ (data - design @ beta)
    squares, freedom = float(residual @ residual), len(data) - design.shape[1]
    scale, common = noise or _noise(squares / max(freedom, 1), table.followed)
    inside = g - of_level @ (of_level.T @ g / of_level.sum(axis=0))
    return _Fit(
        levels=np.asarray(beta[:-1]),
        of_data=np.asarray(of_data),
        slope=float(beta[-1]),
        fall=float(np.ptp(g)),
        cohort=which,
        squares=squares,
        scale=scale,
        common=common,
        freedom=freedom,
        determined=bool(np.abs(inside).max() > 1e-9),
        followed=table.followed,
    )


def _noise(scatter: float, followed: bool) -> Noise:
    """Variance of a cell's own error and of what it shares with its cohort, from the mean square of residuals within cohorts."""
    if not followed:
        return max(scatter, 1.0), 0.0
    return max(scatter, SCALE_MIN), max(1 - scatter, 0.0)  # what cells of a cohort do not differ by, they share


def _whitening(cohort: npt.NDArray[np.intp], scale: float, common: float) -> FloatArray:
    """What makes errors of such a covariance independent, of variance 1; shape (cells, cells)."""
    size = np.bincount(cohort)[cohort]
    together = (cohort[:, None] == cohort) / size
    return np.asarray((np.eye(len(cohort)) - together) / np.sqrt(scale) + together / np.sqrt(scale + size * common)[:, None])


def _long_run(table: EffectTable, alpha: float) -> tuple[float, Interval, float]:
    """L, its interval and the best τ. By generalised least squares, or what a cohort shares would be taken for evidence on τ."""
    first = min((_fit(table, spans) for spans in _PROFILED.tolist()), key=lambda fit: fit.squares)
    fits = {spans: _fit(table, spans, (first.scale, first.common)) for spans in _PROFILED.tolist()}
    least = min(fit.squares for fit in fits.values()) + SCALE_MIN / first.scale
    decay, best = [item for item in fits.items() if item[1].squares <= least][-1]  # of equally good ones the longest
    share = _cohort_precision(table) if table.followed else np.ones(1)
    critical, reaches = best.critical(alpha), []
    for fit in fits.values():
        behind = max(fit.squares - best.squares, 0.0)
        if behind <= critical**2:
            reach = fit.sd(share @ fit.of_data[:-1]) * float(np.sqrt(critical**2 - behind))
            reaches.append(_around(float(share @ fit.levels), reach))
    interval = (min(low for low, _ in reaches), max(high for _, high in reaches))
    return float(share @ best.levels), interval, decay * float(np.ptp(table.age_s))


def _cohort_precision(table: EffectTable) -> FloatArray:
    _, which = np.unique(table.cohort_s, return_inverse=True)
    precision = np.bincount(which, weights=table.se**-2)
    return np.asarray(precision / precision.sum())


def _between_cohorts(table: EffectTable, fit: _Fit) -> tuple[float, float]:
    """Last cohort less the first at equal age, on a line through all, and its p-value; nan unless cohorts overlap in age."""
    if not fit.followed or len(fit.levels) < 2:
        return np.nan, np.nan
    along = (table.cohort_s - table.cohort_s.min()) / np.ptp(table.cohort_s)
    design = np.stack([np.ones_like(along), along, _decay(table, TESTED)], axis=1) / table.se[:, None]
    if np.linalg.matrix_rank(design) < 3:
        return np.nan, np.nan
    of_data = np.asarray(np.linalg.pinv(design)[1])
    change = float(of_data @ (table.effect / table.se))
    return change, float(2 * scipy.special.ndtr(-abs(change) / fit.sd(of_data)))


def _too_little(table: EffectTable, margin: float | None, alpha: float) -> NoveltyResult:
    """Fewer than three ages, or fewer cells than parameters, or no cohort that was seen at several ages."""
    oldest = table.age_s == table.age_s.max(initial=-np.inf)
    average, average_interval = _mean(table, np.ones(len(oldest), dtype=bool), alpha)
    long_run, long_run_interval = _mean(table, oldest, alpha)
    return NoveltyResult(
        verdict="not enough data",
        reason="a change with age needs three ages, cohorts seen at several of them, and more cells than cohorts",
        change=np.nan,
        change_interval=(-np.inf, np.inf),
        p=1.0,
        average=average,
        average_interval=average_interval,
        long_run=long_run,
        long_run_interval=long_run_interval,
        decay_s=np.nan,
        cohort_change=np.nan,
        cohort_p=np.nan,
        margin=np.nan if margin is None else margin,
        alpha=alpha,
        method="means by precision",
        assumptions=_assumptions(table),
    )


def _mean(table: EffectTable, cells: npt.NDArray[np.bool_], alpha: float) -> tuple[float, Interval]:
    """Mean of these cells by precision. Standard errors of one cohort's cells do not shrink together: they are the same units."""
    if not cells.any():
        return np.nan, (-np.inf, np.inf)
    se, precision = table.se[cells], table.se[cells] ** -2
    weight = precision / precision.sum()
    of_mean = float(weight @ se) if table.followed else float(precision.sum() ** -0.5)
    mean = float(weight @ table.effect[cells])
    return mean, _around(mean, float(scipy.special.ndtri(1 - alpha / 2)) * of_mean)


def _around(centre: float, reach: float) -> Interval:
    return centre - reach, centre + reach
