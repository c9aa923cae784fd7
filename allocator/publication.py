"""A decision as the record that routers read, and whether it differs from the one before."""

from __future__ import annotations

from functools import lru_cache

from xxhash import xxh64_intdigest

from allocator.experiment import Experiment
from allocator.lifecycle import PUBLISHED_AS
from allocator.namespaces import seed_of
from allocator.schedule import closed
from allocator.standing import Standing
from allocator.weights import PPM, Gate, Holdback, Layer, WeightedArm, Weights

__all__ = ["differ", "publication"]


def publication(
    experiment: Experiment,
    segment: str | None,
    previous: Weights | None,
    now: float,
    *,
    ppm: tuple[int, ...],
    enrolled_ppm: int,
    standing: Standing,
    fallback: str,
    stopped: bool,
    reason: str,
) -> Weights:
    """The next version after `previous`; `inputs` is left to the caller. Before and after the schedule nobody is enrolled.

    Parameters
    ----------
    ppm : the arms' shares.
    enrolled_ppm : the share of units that take part.
    standing : what the next decision starts from; segments carry none.
    fallback : the arm of those that do not.
    stopped : whether a guardrail has ended it.
    """
    name = experiment.experiment
    shut = closed(experiment.schedule, now) if experiment.status in ("running", "paused") else None
    return Weights(
        experiment=name,
        segment=segment,
        version=1 if previous is None else previous.version + 1,
        status="stopped" if stopped else PUBLISHED_AS[experiment.status],
        arms=tuple(
            WeightedArm(arm.id, share, _seed(name, "arm", arm.id), arm.params)
            for arm, share in zip(experiment.arms, ppm, strict=True)
        ),
        enrolment=Gate(0 if shut else enrolled_ppm, _seed(name, "enrolment")),
        holdback=Holdback(round(experiment.holdback * PPM), _seed(name, "holdback"), experiment.control),
        valid_until=now + experiment.lease_s,
        fallback=fallback,
        policy=experiment.policy.name,
        reason=f"{shut}; {reason}" if shut else reason,
        spec_hash=experiment.spec_hash,
        ts=now,
        standing=standing if segment is None else Standing(),
        namespace=_layer(experiment),
        eligibility=experiment.eligibility,
        segment_rule=experiment.segment_rule,
    )


def differ(previous: Weights, weights: Weights) -> bool:
    """Whether routers would act on `weights` otherwise than on `previous`, or the spec behind them or what stands is another."""
    return (
        weights.arms != previous.arms
        or weights.status != previous.status
        or weights.enrolment != previous.enrolment
        or weights.holdback != previous.holdback
        or weights.fallback != previous.fallback
        or weights.spec_hash != previous.spec_hash
        or weights.standing != previous.standing
    )


def _layer(experiment: Experiment) -> Layer | None:
    namespace = experiment.namespace
    return None if namespace is None else Layer(namespace.name, seed_of(namespace.name), namespace.places)


@lru_cache(maxsize=100_000)
def _seed(*names: str) -> int:
    """32 bits of the names: no arm's seed depends on another arm. '/' is in no name, so no two lists of names look alike.

    The same for every segment: a unit keeps its arm where the segment's weights allow it.
    """
    return xxh64_intdigest("/".join(names).encode()) & 0xFFFF_FFFF
