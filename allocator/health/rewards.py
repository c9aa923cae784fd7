"""Checks of the rewards: do they come, and as many as before?

``reward rate`` compares the newest period that is over with the ones before it, at equal age: of every period only the rewards
count that came as soon after their exposure as the newest period's youngest unit is old, by the bins of `allocator.delay`. So a
long window need not pass first. With n_k units of arm k in the period, C_k such rewards of N_k units before,

    E = Σ n_k C_k / N_k        Var = φ (E + Σ (n_k / N_k)² C_k)        z = (E - O) / √Var

where O is what came and φ ≥ 1 how much more the earlier periods scatter about their mean than counts by chance would (Pearson's
χ² over its degrees of freedom). By arm, as traffic moves between arms of different rates.

A period is looked at with at most `LAG_BINS` numbers of bins, and the t-th period at level α / (t (t + 1)), so that all of them,
over all metrics, raise a false alarm with probability α at most (a union bound; by the normal approximation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.delay import LAG_BINS, lag_edges
from allocator.durations import rough_duration
from allocator.health.counters import EVENTS_MIN
from allocator.health.signs import ALPHA, TESTS, HealthCheck, Signs
from allocator.pending import is_correctable
from allocator.quadrature import FloatArray

__all__ = ["DROP_BROKEN", "DROP_WARN", "EXPECTED_MIN", "NONE_BROKEN", "SILENT_S", "RateDrop", "check_rewards", "rate_drop"]

NONE_BROKEN = 1000
"""Units without a single reward above which a rate is no excuse: of a rate of 1 %, none is seen with probability e^-10."""
SILENT_S = 3600.0
"""Rewards may be rare; an hour of exposures without any in the whole topic is worth a look."""
DROP_WARN, DROP_BROKEN = 0.3, 0.8
"""Day and night, and weekends, move rates by a fifth or so. Four fifths are lost by a producer that is down."""
EXPECTED_MIN = 50.0
"""Rewards to be expected of a period before it is judged: a count is then normal enough."""


@dataclass(frozen=True, slots=True)
class RateDrop:
    """A metric's rewards in the newest period that can be judged, against those of the periods before it at equal age."""

    expected: float
    observed: float
    age_s: float
    p: float
    alpha: float
    """What p is to be compared with."""

    @property
    def drop(self) -> float:
        """The share of the expected rewards that did not come."""
        return 1.0 - self.observed / self.expected


def check_rewards(signs: Signs) -> list[HealthCheck]:
    """``exposures without rewards`` and ``reward rate``."""
    return [_rewards_at_all(signs), _rate(signs)]


def _rewards_at_all(signs: Signs) -> HealthCheck:
    name, units, rewards = "exposures without rewards", signs.units, _rewards_seen(signs)
    if units < EVENTS_MIN:
        return HealthCheck(name, "unknown", None, f"{units} units so far, {EVENTS_MIN} say more")
    if not rewards:
        sentence = (
            f"{units} units and no reward of any: see whether rewards are sent, name a metric of the experiment, and the same "
            "units as the exposures"
        )
        return HealthCheck(name, "broken" if units >= NONE_BROKEN else "warn", 0.0, sentence)
    figure, said = rewards / units, f"{rewards / units:.3g} rewards a unit"
    latest = max((row.newest_ts for row in signs.versions.rows), default=0.0)
    silent_s = latest - signs.evidence.read_until if signs.evidence.read_until else 0.0
    if silent_s > SILENT_S:
        sentence = (
            f"{said}, but the newest reward of all is {rough_duration(silent_s)} older than the newest exposure: are they sent?"
        )
        return HealthCheck(name, "warn", figure, sentence)
    return HealthCheck(name, "ok", figure, said)


def _rewards_seen(signs: Signs) -> int:
    """Rewards that name the experiment, by its counters; or at least those that are not 0, whether they name it or not."""
    lags = signs.evidence.every_lag.values()
    return max(signs.counters.get("rewards.applied", 0), sum(sum(row) for rows in lags for row in rows))


def _rate(signs: Signs) -> HealthCheck:
    name = "reward rate"
    found = {metric: drop for metric in signs.experiment.metric_names if (drop := rate_drop(signs, metric)) is not None}
    if not found:
        why = f"no period that is over, with one before it, of which {EXPECTED_MIN:.0f} rewards are to be expected"
        return HealthCheck(name, "unknown", None, why)
    proven = {metric: drop for metric, drop in found.items() if drop.p < drop.alpha and drop.drop >= DROP_WARN}
    metric, drop = max((proven or found).items(), key=lambda item: item[1].drop)
    said = (
        f"{metric}: {drop.observed:.0f} rewards within {rough_duration(drop.age_s)} where {drop.expected:.0f} were to be expected"
    )
    if not proven:
        return HealthCheck(name, "ok", -drop.drop, f"{said} by the periods before")
    remedy = f"see whether the producer of {metric} sends all of them; else something has changed for all arms"
    sentence = f"{said} ({-drop.drop:+.0%}): {remedy}"
    return HealthCheck(name, "broken" if drop.drop >= DROP_BROKEN else "warn", -drop.drop, sentence)


def rate_drop(signs: Signs, name: str) -> RateDrop | None:
    """The newest period of a metric that can be judged; None if there is none, or its rewards do not count one by one."""
    experiment, evidence = signs.experiment, signs.evidence
    metric, j = experiment.metrics[name], experiment.metric_names.index(name)
    read_until, period_s = evidence.read_until, experiment.period_s
    if read_until is None or not is_correctable(metric) or not evidence.lags:
        return None
    edges = lag_edges(metric.window_s)
    over = sorted(p for p in evidence.periods if (p + 1) * period_s <= read_until)
    for t in range(len(over) - 1, 0, -1):
        bins = int(np.searchsorted(edges, read_until - (over[t] + 1) * period_s, side="right")) - 1
        if bins < 1:
            continue
        n = np.array([_units(signs, period) for period in over[: t + 1]])
        count = np.array([_counts(signs, period, j, bins) for period in over[: t + 1]])
        drop = _drop(n, count, float(edges[bins]), ALPHA / TESTS / (len(experiment.metrics) * LAG_BINS * t * (t + 1)))
        if drop is not None:
            return drop
    return None


def _units(signs: Signs, period: int) -> list[float]:
    sums = signs.evidence.periods[period]
    return [float(sums[arm][0]) if arm in sums else 0.0 for arm in signs.evidence.arms]


def _counts(signs: Signs, period: int, j: int, bins: int) -> list[float]:
    lags = signs.evidence.lags.get(period, {})
    rows: list[Sequence[Sequence[int]]] = [lags.get(arm, ()) for arm in signs.evidence.arms]
    return [float(sum(row[j][:bins])) if j < len(row) else 0.0 for row in rows]


def _drop(n: FloatArray, count: FloatArray, age_s: float, alpha: float) -> RateDrop | None:
    """The last row against those before it; arrays of shape (periods, arms)."""
    before, counted = n[:-1].sum(axis=0), count[:-1].sum(axis=0)
    known = before > 0
    rate = np.divide(counted, before, out=np.zeros_like(before), where=known)
    expected, observed = float(n[-1] @ rate), float(count[-1][known].sum())
    if expected < EXPECTED_MIN:
        return None
    of_rate = np.divide(n[-1], before, out=np.zeros_like(before), where=known) ** 2 @ counted
    sd = float(np.sqrt(_scatter(n[:-1], count[:-1], rate) * (expected + of_rate)))
    return RateDrop(expected, observed, age_s, float(scipy.special.ndtr(-(expected - observed) / sd)), alpha)


def _scatter(n: FloatArray, count: FloatArray, rate: FloatArray) -> float:
    """φ, from the periods' totals; 1 where fewer than three say nothing about it."""
    expected = n @ rate
    some = expected > 0
    if some.sum() < 3:
        return 1.0
    squares = (count.sum(axis=1) - expected)[some] ** 2 / expected[some]
    return max(1.0, float(squares.sum() / (some.sum() - 1)))
