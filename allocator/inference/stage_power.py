"""What the gate of a stage can see: how probable it is that a loss is found before the gate opens, and how many units that takes.

A guardrail is looked at all the time, so the units are those of `guardrail_power.early_detection`: one-sided looks at an even
split, or at that of the fixed policy. A guardrail counts all units of the experiment, so a gate sees those of the earlier stages
too; the least number of them follows from `min_units`, and from `min_time` where the traffic is known.

A relative loss is one of a value on control. Where nobody says that value, and no prior does, one is assumed and named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from allocator.experiment import Experiment
from allocator.inference.baselines import Baseline, Count, Mean, Proportion
from allocator.inference.guardrail_power import early_detection
from allocator.inference.power import Design
from allocator.inference.splits import splits_of
from allocator.prior import default_prior

__all__ = ["LOSS", "GatePower", "KnownBaseline", "baseline_of", "gate_powers", "watched"]

LOSS = 0.02
"""Relative loss that a gate should see, where no guardrail says another."""
DAY_S = 86400.0
ASSUMED_RATE, ASSUMED_MEAN = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class KnownBaseline:
    """A metric on control, and how it is known: given, prior or assumed."""

    baseline: Baseline
    origin: str


@dataclass(frozen=True, slots=True)
class GatePower:
    """One stage, one metric.

    Parameters
    ----------
    stage : its place, from 0.
    metric, loss : what is lost, relative to control, > 0.
    units : of all arms, by which the loss is found with probability `power`, looking all the time.
    days : that many take while the stage is in force; None where the traffic is not known.
    gate_units : units that there are at least when the gate opens, earlier stages included; None for the last stage.
    gate_power : probability that the loss is found by then; None for the last stage.
    """

    stage: int
    metric: str
    loss: float
    power: float
    units: int
    days: float | None
    gate_units: int | None
    gate_power: float | None
    known: KnownBaseline
    method: str
    assumptions: tuple[str, ...]


def watched(experiment: Experiment) -> dict[str, float]:
    """Metric → relative loss that gates should see."""
    return {experiment.objective: LOSS} if experiment.objective in experiment.metrics else {}


def baseline_of(experiment: Experiment, metric: str, given: float | None = None) -> KnownBaseline:
    """What is known of a metric on control: what is given, else the prior that the spec gives it, else an assumption.

    Of a value the standard deviation is the prior's, else as large as its mean; of a count the variance is its mean.

    Raises
    ------
    ArgumentError : `given` is no value that the metric can have.
    """
    found = experiment.metrics[metric]
    prior = found.arm_priors.get(experiment.control) or found.prior or default_prior(found.type)
    mean, origin = (given, "given") if given is not None else (prior.mean, "prior")
    if mean is None or (given is None and prior == default_prior(found.type)):
        mean, origin = (ASSUMED_RATE if found.type == "binary" else ASSUMED_MEAN), "assumed"
    if found.type == "binary":
        return KnownBaseline(Proportion(mean), origin)
    if found.type == "count":
        return KnownBaseline(Count(mean), origin)
    return KnownBaseline(Mean(mean, prior.sd or abs(mean) or 1.0), origin)


def gate_powers(
    experiment: Experiment,
    metric: str,
    known: KnownBaseline,
    loss: float,
    units_per_day: float | None = None,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> tuple[GatePower, ...]:
    """A result a stage; none where control's value is 0, of which no loss is a share.

    Parameters
    ----------
    loss : relative to control, > 0; the harmful direction is the metric's.
    units_per_day : new units a day before enrolment and holdback, > 0; None: not known.

    Raises
    ------
    SpecError : fewer than two arms get traffic.
    ArgumentError : an argument outside its domain.
    """
    base = known.baseline
    if base.value == 0:
        return ()
    sign = -1 if experiment.metrics[metric].direction == "up" else 1
    design = Design(splits_of(experiment)[0].shares, alpha, power, two_sided=False)
    found = early_detection(base, sign * loss * abs(base.value), design)
    at, probability = np.array(found.looks).T
    results, by_gate = [], 0.0
    for place, stage in enumerate(experiment.stages):
        usable = stage.enrolment * (1 - experiment.holdback)
        arriving = 0.0 if units_per_day is None else units_per_day * usable
        by_gate += max(float(stage.min_units), arriving * stage.min_time_s / DAY_S)
        is_last = place == len(experiment.stages) - 1
        results.append(
            GatePower(
                stage=place,
                metric=metric,
                loss=loss,
                power=power,
                units=math.ceil(found.total),
                days=found.total / arriving if arriving else None,
                gate_units=None if is_last else math.floor(by_gate),
                gate_power=None if is_last else float(np.interp(by_gate, at, probability, left=0.0)),
                known=known,
                method=found.method,
                assumptions=found.assumptions,
            )
        )
    return tuple(results)
