"""What one `router.assign` costs: dictionary look-up, clock, hashes and the assignment it returns.

python -m tests.bench.assign
"""

from __future__ import annotations

import timeit
from types import SimpleNamespace
from typing import Any

import msgspec

from allocator.segments import SegmentRule
from allocator.weights import PPM, Gate, Holdback, Layer, WeightedArm, Weights
from streams.records import encode
from streams.router import Router

ARMS = (2, 4, 10)
UNITS = [f"u-{i}" for i in range(1000)]
ROUNDS = 200
"""Short rounds, of which the fastest counts: on a busy machine some of them run undisturbed."""
FAR_FUTURE = 1e11
ATTRIBUTES = {"plan": "pro", "app_version": 8, "country": "de"}
ROUTED: dict[str, dict[str, Any]] = {
    "none of these": {},
    "a namespace, 30 % of it": {"namespace": Layer("home-page", 3, ((0, 300_000),))},
    "a namespace, all of it": {"namespace": Layer("home-page", 3, ((0, PPM),))},
    "segments by rule": {"segment_rule": SegmentRule(attribute="plan", names=("free", "pro"))},
    "eligibility": {"eligibility": {"and": [{">=": [{"var": "app_version"}, 7]}, {"in": [{"var": "country"}, ["de", "fr"]]}]}},
}
"""What else routers do, on four arms with everybody enrolled."""


def table() -> list[dict[str, int]]:
    """For each number of arms, nanoseconds a call: everybody enrolled, and half of them enrolled with a tenth held back."""
    return [{"arms": arms, "ns": _ns(arms, PPM, 0), "ns_ramp_and_holdback": _ns(arms, PPM // 2, PPM // 10)} for arms in ARMS]


def routed() -> dict[str, int]:
    """Nanoseconds a call with a unit's attributes, by what the weights ask for."""
    plain = _weights(4, PPM, 0)
    return {name: _timed(msgspec.structs.replace(plain, **changes), ATTRIBUTES) for name, changes in ROUTED.items()}


def _ns(arms: int, enrolment: int, holdback: int) -> int:
    return _timed(_weights(arms, enrolment, holdback))


def _timed(weights: Weights, attributes: dict[str, Any] | None = None) -> int:
    router = Router("bench")  # never started: the record comes from here
    router._take(SimpleNamespace(key=b"chat", offset=0, value=encode(weights)))
    assign = router.assign

    def once_each() -> None:
        for unit in UNITS:
            assign("chat", unit)

    def once_each_with_attributes() -> None:
        for unit in UNITS:
            assign("chat", unit, attributes=attributes)

    asked = once_each if attributes is None else once_each_with_attributes
    return round(min(timeit.repeat(asked, number=1, repeat=ROUNDS)) / len(UNITS) * 1e9)


def _weights(arms: int, enrolment: int, holdback: int) -> Weights:
    shares = [PPM // arms] * (arms - 1)
    return Weights(
        experiment="chat",
        version=1,
        arms=tuple(WeightedArm(f"arm-{i}", ppm, 1000 + i) for i, ppm in enumerate([*shares, PPM - sum(shares)])),
        enrolment=Gate(enrolment, 1),
        holdback=Holdback(holdback, 2, "arm-0"),
        valid_until=FAR_FUTURE,
        fallback="arm-0",
        policy="thompson",
        reason="bench",
        spec_hash="0",
        ts=0.0,
    )


if __name__ == "__main__":
    for row in table():
        print(
            f"{row['arms']:3} arms: {row['ns']:5} ns a call; "
            f"half enrolled and a tenth of them held back: {row['ns_ramp_and_holdback']:5} ns"
        )
    for name, nanoseconds in routed().items():
        print(f"  4 arms: {nanoseconds:5} ns a call with attributes, the weights asking for {name}")
