"""Checks of the routers: do they serve what was published, log what they did, and follow new weights?

- ``sample ratio``: the arms' units against their logged propensities, over the whole life, by
  `inference.check_inverse_propensities`. Only periods in which every arm had a share all the time can be used: not the one in
  which an arm was added or removed, nor those in which an arm was evicted or the experiment stopped.
- ``shares by version``: the units of each of the newest versions against the shares which that published, by
  `inference.check_versions`. Version v is judged at level α (h(v) - h(v + 1)), h(v) = 1 / (1 + log2 v): these sum to α over all
  versions there will ever be, so it does no harm that old ones are forgotten.
- ``propensities``: what exposures log against what their version published. Exact: no chance is in it.
- ``router staleness``: how long after a version was followed by the next it was still served.
- ``clocks``: event times against the log's, and against the publication of the version they name.

The first two take every unit for a new draw. A unit that comes back after its window and grace counts anew and gets the arm that
it had: where many do, again and again, these checks see more deviation than there is. Give such an experiment a longer window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from allocator.durations import rough_duration
from allocator.errors import ArgumentError
from allocator.health.signs import ALPHA, TESTS, HealthCheck, Publication, Signs, State
from allocator.inference.propensity import check_inverse_propensities, check_versions
from allocator.moments import PROPENSITY_MIN, Moments, inverse_propensity
from allocator.versions import VersionUnits
from allocator.weights import PPM

__all__ = ["AHEAD_BROKEN_S", "PROPENSITY_OFF", "RECENT_S", "STALE_S", "check_routing"]

PROPENSITY_OFF = 0.02
"""A logged propensity may be rounded to two digits; more than 2 % off is another probability."""
PROPENSITY_BROKEN = 0.01
"""Share of units with a wrong propensity above which estimates are off by about as much."""
STALE_S = 10.0
"""A router hears of weights within a second; ten leave room for its log and its clock."""
RECENT_S = 600.0
"""What no exposure of the last ten minutes shows is past."""
AHEAD_BROKEN_S = 3600.0
"""Event times so far beyond the log's put units into the wrong period."""
PPM_ROUNDING = 0.5 / PPM


def check_routing(signs: Signs) -> list[HealthCheck]:
    """The five checks above, in that order."""
    return [_sample_ratio(signs), _shares(signs), _propensities(signs), _staleness(signs), _clocks(signs)]


def _unknown(name: str, why: str) -> HealthCheck:
    return HealthCheck(name, "unknown", None, why)


# -- sample ratio ----------------------------------------------------------------------------------------------------------------


def _sample_ratio(signs: Signs) -> HealthCheck:
    name, arms = "sample ratio", signs.experiment.arm_ids
    rows = list(_usable(signs))
    if len(arms) < 2 or not rows:
        return _unknown(
            name, "there is one arm" if len(arms) < 2 else "no period yet in which every arm had a share all the time"
        )
    moments = [sum(column, Moments.zero(signs.evidence.metrics)) for column in zip(*rows, strict=True)]
    floor, alpha = signs.experiment.constraints.floor, ALPHA / TESTS
    try:
        found = check_inverse_propensities(arms, moments, max(PROPENSITY_MIN, floor - PPM_ROUNDING), alpha)
    except ArgumentError:  # the floor was lower once, or a cap is below it
        found = check_inverse_propensities(arms, moments, PROPENSITY_MIN, alpha)
    # Of two arms |z| is the same: the one with too few is named, because units are lost more often than invented.
    worst = max(range(len(arms)), key=lambda k: abs(found.z[k]) * (1 + 1e-9 * (found.z[k] < 0)))
    ratio = found.ratio[worst]
    said = f"{arms[worst]} has {abs(ratio - 1):.2%} {'more' if ratio > 1 else 'fewer'} units than its logged propensities promise"
    if not found.alarm:
        return HealthCheck(name, "ok", ratio, f"{said}: within chance (p ≤ {found.p:.2g})")
    sentence = (
        f"{said} (p ≤ {found.p:.2g} at any time): units of an arm are lost, or logged with a wrong propensity; compare what the "
        "arm's code path logs with what it serves, and trust no effect until it is mended (where most units come back after "
        "window and grace, they are counted again: then lengthen the window)"
    )
    return HealthCheck(name, "broken", ratio, sentence)


def _usable(signs: Signs) -> Iterator[tuple[Moments, ...]]:
    """Of every period in which all arms, and no others, had a share all the time, the arms' moments."""
    evidence, period_s = signs.evidence, signs.experiment.period_s
    away = list(_away(signs))
    seen = {arm: [p for p, cells in evidence.periods.items() if arm in cells and cells[arm][0]] for arm in evidence.arms}
    begin = min((min(periods) for periods in seen.values() if periods), default=0)
    arrived = {arm: _arrived(signs, arm, periods, begin) for arm, periods in seen.items()}
    for period, row in evidence.by_period.items():
        start, end = period * period_s, (period + 1) * period_s
        others = any(sums[0] for arm, sums in evidence.periods[period].items() if arm not in seen)
        if not others and all(start >= ts for ts in arrived.values()) and not any(a < end and start < b for a, b in away):
            yield row


def _arrived(signs: Signs, arm: str, periods: list[int], begin: int) -> float:
    """From when on the arm has had a share: with the first units of all, or after the period of its own first ones."""
    if periods:
        return (min(periods) + (min(periods) > begin)) * signs.experiment.period_s
    first = next((p.ts for p in signs.publications if p.ppm.get(arm, 0)), math.inf)  # none of its units has ever come
    return first + signs.experiment.lease_s


def _away(signs: Signs) -> Iterator[tuple[float, float]]:
    """When some arm had no share, as routers may have known."""
    arms, publications, lease_s = signs.experiment.arm_ids, signs.publications, signs.experiment.lease_s
    for at, after in pairwise([*publications, None]):
        if at is not None and any(at.ppm.get(arm, 0) == 0 for arm in arms if arm in at.ppm):
            yield at.ts, math.inf if after is None else after.ts + lease_s
    known_from = publications[0].ts if publications else math.inf
    for breach in signs.standing.breaches:
        if breach.action in {"evict", "stop"} and breach.ts < known_from:
            yield breach.ts, known_from + lease_s


# -- by version ------------------------------------------------------------------------------------------------------------------


def _matched(signs: Signs) -> list[tuple[VersionUnits, Publication]]:
    """The newest versions with what was published as them."""
    published = {publication.version: publication for publication in signs.publications}
    return [(row, published[row.version]) for row in signs.versions.rows if row.version in published]


def _why_unmatched(signs: Signs) -> str:
    if any(row.version for row in signs.versions.rows):
        return "no publication is known of the versions that exposures name"
    if signs.versions.rows:
        return "exposures name no weights_version: have the routers log it"
    return "no exposures counted by version: there are none, or segments have weights of their own"


def _shares(signs: Signs) -> HealthCheck:
    name, matched = "shares by version", _matched(signs)
    if not matched:
        return _unknown(name, _why_unmatched(signs))
    worst_log_e, said, figure = -math.inf, "", math.nan
    for row, publication in matched:
        arms = list(publication.ppm)
        counts = [[row.units.get(arm, (0, 0))[0] for arm in arms]]
        shares = [[ppm / PPM for ppm in publication.ppm.values()]]
        found = check_versions(arms, [row.version], counts, shares).clearest
        log_e = math.log(found.e) + math.log(_level(row.version)) if found.e > 0 else -math.inf
        if log_e > worst_log_e:
            worst_log_e, figure = log_e, found.realised - found.published
            given = f"{found.realised:.2%} of {row.total} units"
            said = f"version {row.version} gave {found.arm} {given} and published {found.published:.2%}"
    if worst_log_e < -math.log(ALPHA / TESTS):
        return HealthCheck(name, "ok", figure, f"{said}: within chance")
    sentence = f"{said}: no chance; see whether every router assigns with the published seeds and passes the test vectors"
    return HealthCheck(name, "broken", figure, sentence)


def _level(version: int) -> float:
    """h(v) - h(v + 1) of the module's docstring; version 0 is none that was published."""
    h = [1 / (1 + math.log2(v)) for v in (max(version, 1), max(version, 1) + 1)]
    return h[0] - h[1]


def _propensities(signs: Signs) -> HealthCheck:
    name, matched = "propensities", _matched(signs)
    if not matched:
        return _unknown(name, _why_unmatched(signs))
    compared, wrong, said = 0, 0, ""
    for row, publication in matched:
        for arm, (units, weight) in row.units.items():
            share = publication.ppm.get(arm, 0) / PPM
            compared += units
            wanted = inverse_propensity(share) if share else 0
            if not wanted or abs(weight / units / wanted - 1) > PROPENSITY_OFF:
                wrong += units
                logged = PPM / (weight / units)
                said = f"{arm} under version {row.version} is logged with {logged:.4g} and was published with {share:.4g}"
    figure = wrong / compared
    if not wrong:
        return HealthCheck(name, "ok", figure, f"of {compared} units all are as published")
    state: State = "broken" if figure > PROPENSITY_BROKEN else "warn"
    sentence = f"{wrong} of {compared} units are not as published: {said}; log the propensity that the assignment came with"
    return HealthCheck(name, state, figure, sentence)


# -- time ------------------------------------------------------------------------------------------------------------------------


def _staleness(signs: Signs) -> HealthCheck:
    name, rows = "router staleness", [*signs.versions.rows, *([signs.versions.older] if signs.versions.older else [])]
    known = signs.publications
    if not known or not any(row.version for row in rows):
        return _unknown(name, _why_unmatched(signs) if known else "no publication is known")
    latest = max(row.newest_ts for row in rows)
    if (newest := max(row.version for row in rows)) > known[-1].version:
        sentence = f"exposures name version {newest}, and {known[-1].version} is the newest published: who made it up?"
        return HealthCheck(name, "warn", None, sentence)
    lags = {row.version: _superseded_s(row, known) for row in rows if row.version and row.newest_ts > latest - RECENT_S}
    if not lags:
        return _unknown(name, "of late, exposures name no weights_version: have the routers log it")
    version = max(lags, key=lambda v: lags[v])
    lag_s = lags[version]
    if lag_s <= STALE_S:
        return HealthCheck(name, "ok", lag_s, "routers follow new weights at once")
    expired = lag_s > signs.experiment.lease_s + STALE_S
    said = f"version {version} was still served {rough_duration(lag_s)} after the next one was published"
    remedy = "a router does not hear of new weights: see whether it reads the weights topic"
    if expired:
        lease = rough_duration(signs.experiment.lease_s)
        remedy = f"a router serves weights beyond their lease of {lease}; after it, it must serve the fallback"
    return HealthCheck(name, "broken" if expired else "warn", lag_s, f"{said}: {remedy}")


def _superseded_s(row: VersionUnits, known: Sequence[Publication]) -> float:
    """How long before its latest exposure the version was followed by another."""
    after = next((p.ts for p in known if p.version > row.version), None)
    return 0.0 if after is None else max(0.0, row.newest_ts - after)


def _clocks(signs: Signs) -> HealthCheck:
    name, rows = "clocks", [*signs.versions.rows, *([signs.versions.older] if signs.versions.older else [])]
    if not rows or not signs.event_ts:
        return _unknown(name, _why_unmatched(signs))
    ahead_s = max(row.newest_ts for row in rows) - signs.event_ts
    behind_s = max((publication.ts - row.newest_ts for row, publication in _matched(signs)), default=0.0)
    most_s = max(signs.experiment.clock_skew_s, STALE_S)
    figure = max(ahead_s, 0.0) if ahead_s >= behind_s else -behind_s
    if max(ahead_s, behind_s) <= most_s:
        return HealthCheck(name, "ok", figure, "event times agree with the log's")
    said = (
        f"exposures are dated {rough_duration(ahead_s)} after the log's time"
        if ahead_s >= behind_s
        else f"exposures are dated {rough_duration(behind_s)} before the weights they name were published"
    )
    state: State = "broken" if max(ahead_s, behind_s) > AHEAD_BROKEN_S else "warn"
    return HealthCheck(
        name=name, state=state, figure=figure, sentence=f"{said}: check that host's clock, and that ts is in seconds"
    )
