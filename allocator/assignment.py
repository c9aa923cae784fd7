"""Which arm a unit gets: the rule every router follows, in whatever language it is written (at more length in docs/routing.md).

Given a `Weights` record, the unit, what is known of it (its attributes), and the time:

0. After `valid_until`, or with status "stopped": the fallback arm, no exposure. "paused" goes on with the frozen weights.
   `data` is the UTF-8 of the unit, as it is: no normalisation, no trimming, no terminator. xxh64(data, seed) is the 64-bit XXH64,
   read as an unsigned number.
   bucket(seed) = (xxh64(data, seed) · 1 000 000) >> 64, in more than 64 bits.
1. Who takes part, else the fallback arm, no exposure:
   a. if there is a namespace, units with from <= bucket(namespace seed) < to for one of its ranges;
   b. units with bucket(enrolment seed) < enrolment ppm;
   c. if there is a rule of eligibility, units on whose attributes it is true. Where it fails it is not.
2. Held back (bucket(holdback seed) < holdback ppm): the holdback arm with propensity 1, and "holdback": true on the exposure.
3. Else the arm with the least -ln((h + 0.5) / 2^64) / ppm, where h = xxh64(data, arm seed) is converted to a double first, among
   arms with ppm > 0; of equal ones the first in the order of `arms`. Its propensity is ppm / 1 000 000.

The arm comes with its `params`, in every case. All arithmetic of step 3 is in doubles. A mathematical library may differ from
another in the last bit of a logarithm: that decides between two arms about once in 10^15 units. `tests/vectors/assignment.json`
holds units with the arms they must get.

Step 3 is weighted rendezvous hashing: a change of weights moves only units whose new arm gained on their old one, so few of
them, and a unit's arm depends neither on who takes part nor on holdback. The hash is not cryptographic: who chooses their own
unit name can choose their arm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from math import inf, log
from typing import Any, Literal

from msgspec import Struct
from xxhash import xxh64_intdigest

from allocator.eligibility import Eligibility
from allocator.errors import ArgumentError
from allocator.namespaces import merged
from allocator.weights import PPM, Layer, Weights

__all__ = ["Assigner", "Assignment", "Reason", "assign"]

Reason = Literal[
    "assigned", "held back", "namespace", "not enrolled", "not eligible", "lease expired", "stopped", "unit is not text"
]

_TO_SHARE = 2.0**-64


class Assignment(Struct, frozen=True, gc=False):
    """The arm of one unit.

    `enrolled` says that the unit takes part and its exposure is to be logged; without it `arm` is the fallback. `propensity` is
    the probability of `arm` among units like this one: ppm / 1e6 after a draw, 1 for a fallback or a held-back unit. `params` are
    the arm's in the spec; all assignments share them, so they are to be read only.
    """

    experiment: str
    unit: str
    arm: str
    propensity: float
    weights_version: int
    enrolled: bool
    holdback: bool = False
    segment: str | None = None
    reason: Reason = "assigned"
    params: dict[str, Any] = {}


def assign(weights: Weights, unit: str, now: float, attributes: Mapping[str, Any] | None = None) -> Assignment:
    """The assignment of one unit; `now` in seconds since the epoch. For many units make one `Assigner`.

    Raises
    ------
    ArgumentError : the weights contradict themselves, as in `Assigner`.
    """
    return Assigner(weights).assign(unit, now, weights.segment, attributes)


class Assigner:
    """One publication of weights, prepared for many assignments.

    Parameters
    ----------
    rule_failed : called with the reason whenever the rule of eligibility fails on a unit's attributes; the unit is not eligible.

    Raises
    ------
    ArgumentError : arms without a name of their own, shares that do not sum to 1 000 000, a fallback or holdback arm that is not
        among the arms, or a rule of eligibility that is none.
    """

    __slots__ = (
        "_admits",
        "_arms",
        "_edges",
        "_ended",
        "_enrolled_below",
        "_enrolment_seed",
        "_experiment",
        "_fallback",
        "_fallback_params",
        "_gated",
        "_held_back_below",
        "_holdback_arm",
        "_holdback_params",
        "_holdback_seed",
        "_layer_seed",
        "_rule_failed",
        "_until",
        "_version",
        "weights",
    )

    def __init__(self, weights: Weights, rule_failed: Callable[[ArgumentError], None] | None = None) -> None:
        _check(weights)
        self.weights = weights
        self._experiment, self._version, self._fallback = weights.experiment, weights.version, weights.fallback
        self._arms = tuple((arm.seed, float(arm.ppm), arm.id, arm.ppm / PPM, arm.params) for arm in weights.arms if arm.ppm)
        params = {arm.id: arm.params for arm in weights.arms}
        self._fallback_params, self._holdback_params = params[weights.fallback], params[weights.holdback.arm]
        self._enrolment_seed, self._enrolled_below = weights.enrolment.seed, _hashes_below(weights.enrolment.ppm)
        self._holdback_seed, self._held_back_below = weights.holdback.seed, _hashes_below(weights.holdback.ppm)
        self._holdback_arm = weights.holdback.arm
        layer, rule = weights.namespace, weights.eligibility
        self._edges = None if layer is None else _edges(layer)
        self._layer_seed = 0 if layer is None else layer.seed
        self._admits = None if rule is None else Eligibility(rule).admits
        self._gated = layer is not None or rule is not None
        self._rule_failed = rule_failed
        self._ended: Reason
        self._until, self._ended = (-inf, "stopped") if weights.status == "stopped" else (weights.valid_until, "lease expired")

    def assign(
        self, unit: str, now: float, segment: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> Assignment:
        """The unit's arm at `now` (seconds since the epoch); `segment` is only written down. Raises nothing."""
        if now > self._until:
            return self._fall_back(unit, segment, self._ended)
        try:
            data = unit.encode()
        except (UnicodeEncodeError, AttributeError):  # a lone surrogate, or no text at all: no other router could follow
            return self._fall_back(unit, segment, "unit is not text")
        if self._gated:
            if shut_out := self._shut_out(data, attributes):
                return self._fall_back(unit, segment, shut_out)
        elif xxh64_intdigest(data, self._enrolment_seed) >= self._enrolled_below:
            return self._fall_back(unit, segment, "not enrolled")
        if self._held_back_below and xxh64_intdigest(data, self._holdback_seed) < self._held_back_below:
            arm, params = self._holdback_arm, self._holdback_params
            return Assignment(self._experiment, unit, arm, 1.0, self._version, True, True, segment, "held back", params)
        best, chosen = -inf, self._arms[0]
        for entry in self._arms:
            # the rule's number, negated: the greatest wins
            score = log((xxh64_intdigest(data, entry[0]) + 0.5) * _TO_SHARE) / entry[1]
            if score > best:
                best, chosen = score, entry
        _, _, arm, propensity, params = chosen
        return Assignment(self._experiment, unit, arm, propensity, self._version, True, False, segment, "assigned", params)

    def _shut_out(self, data: bytes, attributes: Mapping[str, Any] | None) -> Reason | None:
        """Step 1, where there is more to it than enrolment. The rule comes last: it is the slowest."""
        if self._edges is not None and not bisect_right(self._edges, xxh64_intdigest(data, self._layer_seed)) & 1:
            return "namespace"
        if xxh64_intdigest(data, self._enrolment_seed) >= self._enrolled_below:
            return "not enrolled"
        return None if self._admits is None or self._eligible(self._admits, attributes) else "not eligible"

    def _eligible(self, admits: Callable[[Mapping[str, Any]], bool], attributes: Mapping[str, Any] | None) -> bool:
        try:
            return admits(attributes or {})
        except ArgumentError as error:
            if self._rule_failed is not None:
                self._rule_failed(error)
            return False

    def _fall_back(self, unit: str, segment: str | None, reason: Reason) -> Assignment:
        arm, params = self._fallback, self._fallback_params
        return Assignment(self._experiment, unit, arm, 1.0, self._version, False, False, segment, reason, params)


def _hashes_below(ppm: int) -> int:
    """The hashes h with bucket (h · 1e6) >> 64 < ppm are those below this: ⌈ppm · 2^64 / 1e6⌉."""
    return -(-(ppm << 64) // PPM)


def _edges(layer: Layer) -> list[int]:
    """Hashes at which the ranges begin and end, in turn: a unit is within one if it has passed an odd number of them."""
    return [_hashes_below(edge) for held in merged(held for held in layer.ranges if held[0] < held[1]) for edge in held]


def _check(weights: Weights) -> None:
    names = [arm.id for arm in weights.arms]
    if not names or len(set(names)) != len(names):
        raise ArgumentError("arms", names, "at least one arm, each with a name of its own")
    total = sum(arm.ppm for arm in weights.arms)
    if total != PPM or any(arm.ppm < 0 for arm in weights.arms):
        raise ArgumentError("arms", f"shares that sum to {total} ppm", f"shares of at least 0 that sum to {PPM} ppm")
    for field, name in (("fallback", weights.fallback), ("holdback.arm", weights.holdback.arm)):
        if name not in names:
            raise ArgumentError(field, name, f"one of the arms: {', '.join(names)}")
