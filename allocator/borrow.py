"""Priors that borrow from an earlier experiment, from what the owner writes to the numbers that decisions start from.

    metrics:
      thumbs_up:
        type: binary
        prior: {borrow: exp-0, discount: 0.2}   # every unit that exp-0 counted is worth a fifth of one here
                                                # metric: the other experiment's name for it, if that is another
                                                # arms: true, so that each arm borrows from the arm of the same name alone

The numbers are `allocator.prior.borrowed_prior`: the default prior of the metric's type and, at the discount, the earlier units,
those of all arms together or of the one arm. Units that were held back are left out. They are looked up once, when the spec is
applied; from then on the spec holds them, as ``prior: {mean: …, units: …, from: exp-0 × 0.2}``. A spec that is applied again
keeps the numbers of the running experiment where it borrows the same, whatever the earlier experiment has counted since.

Nothing here reads anything: the earlier experiments are an argument.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from allocator.errors import SpecError, SpecErrors
from allocator.evidence import Evidence
from allocator.experiment import Experiment, Metric, Prior
from allocator.moments import Moments
from allocator.prior import borrowed_prior, prior_errors

__all__ = ["Borrow", "Source", "borrows_in", "with_borrowed"]

_FIELDS = ("borrow", "discount", "metric", "arms")


@dataclass(frozen=True, slots=True)
class Borrow:
    """One metric's prior as the owner wrote it.

    Parameters
    ----------
    metric : here.
    experiment : the earlier one.
    source_metric : its metric.
    discount : what one of its units is worth, in (0, 1].
    arms : whether each arm borrows from the arm of the same name, rather than all from all.
    """

    metric: str
    experiment: str
    source_metric: str
    discount: float
    arms: bool = False

    @property
    def path(self) -> str:
        """Of the field that names the earlier experiment."""
        return f"metrics.{self.metric}.prior.borrow"

    def origin(self, arm: str | None = None) -> str:
        """What a reader of the numbers is told."""
        metric = None if self.source_metric == self.metric else self.source_metric
        return " of ".join(part for part in (metric, arm, self.experiment) if part is not None) + f" × {self.discount:g}"


@dataclass(frozen=True, slots=True)
class Source:
    """An earlier experiment and what it counted."""

    experiment: Experiment
    evidence: Evidence


def borrows_in(spec: Any) -> tuple[Any, tuple[Borrow, ...], tuple[SpecError, ...]]:
    """A spec's mapping without the priors that borrow, what they were, and what is wrong with them.

    Anything that is no spec is left to `load_experiment`.
    """
    metrics = spec.get("metrics") if isinstance(spec, Mapping) else None
    if not isinstance(metrics, Mapping):
        return spec, (), ()
    plain, borrows, errors = dict(metrics), [], []
    for name, metric in metrics.items():
        prior = metric.get("prior") if isinstance(metric, Mapping) else None
        if isinstance(prior, Mapping) and "borrow" in prior:
            plain[name] = {field: value for field, value in metric.items() if field != "prior"}
            wrong = _wrong(f"metrics.{name}.prior", prior, spec.get("experiment"))
            errors += wrong
            if not wrong:
                source_metric, arms = prior.get("metric", name), prior.get("arms", False)
                borrows.append(Borrow(str(name), prior["borrow"], str(source_metric), float(prior["discount"]), arms))
    return {**spec, "metrics": plain} if borrows or errors else spec, tuple(borrows), tuple(errors)


def with_borrowed(
    experiment: Experiment, borrows: Sequence[Borrow], sources: Mapping[str, Source], current: Experiment | None = None
) -> Experiment:
    """The experiment with numbers in place of what it borrows.

    Parameters
    ----------
    experiment : loaded without the priors that borrow.
    borrows : see `borrows_in`.
    sources : earlier experiments, by name.
    current : what is in force under the experiment's name.

    Raises
    ------
    SpecErrors : an experiment, metric or arm that is not there, a metric that measures something else, or no data yet.
    """
    metrics, errors = dict(experiment.metrics), []
    for borrow in borrows:
        before = current.metrics.get(borrow.metric) if current is not None else None
        try:
            metrics[borrow.metric] = _filled(borrow, metrics[borrow.metric], experiment.arm_ids, sources, before)
        except SpecError as error:
            errors.append(error)
    if errors:
        raise SpecErrors(errors)
    return msgspec.structs.replace(experiment, metrics=metrics)


def _wrong(path: str, prior: Mapping[str, Any], own_name: Any) -> list[SpecError]:
    found = []
    source, discount = prior["borrow"], prior.get("discount", "missing")
    if not isinstance(source, str) or source == own_name:
        found.append(SpecError(f"{path}.borrow", source, "the name of another experiment"))
    if not isinstance(discount, (int, float)) or isinstance(discount, bool) or not 0 < discount <= 1:
        expected = "a number above 0, at most 1: what one of its units is worth here"
        found.append(SpecError(f"{path}.discount", discount, expected))
    if not isinstance(prior.get("metric", ""), str):
        found.append(SpecError(f"{path}.metric", prior["metric"], "the name of a metric of that experiment"))
    if not isinstance(prior.get("arms", False), bool):
        found.append(SpecError(f"{path}.arms", prior["arms"], "true or false"))
    for key in prior:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            found.append(SpecError(f"{path}.{key}", prior[key], f"one of {', '.join(_FIELDS)}{hint}"))
    return found


def _filled(borrow: Borrow, metric: Metric, arms: Sequence[str], sources: Mapping[str, Source], before: Metric | None) -> Metric:
    """The metric with numbers; those of `before` where it borrowed the same."""
    if not borrow.arms:
        kept = before.prior if before is not None else None
        if kept is not None and kept.origin == borrow.origin():
            return msgspec.structs.replace(metric, prior=kept)
        source, j = _source(borrow, metric, sources)
        together = sum(source.evidence.total, Moments.zero(source.evidence.metrics))
        return msgspec.structs.replace(metric, prior=_prior(borrow, metric, source, j, together))
    known = before.arm_priors if before is not None else {}
    open_arms = [arm for arm in arms if arm not in metric.arm_priors]
    borrowed = {arm: known[arm] for arm in open_arms if arm in known and known[arm].origin == borrow.origin(arm)}
    if not borrowed or borrow.experiment in sources:
        borrowed |= _of_namesakes(borrow, metric, [arm for arm in open_arms if arm not in borrowed], sources)
    if not borrowed:
        expected = f"an experiment with data of an arm of the same name: one of {', '.join(open_arms)}"
        raise SpecError(borrow.path, borrow.experiment, expected)
    return msgspec.structs.replace(metric, arm_priors={**metric.arm_priors, **borrowed})


def _of_namesakes(borrow: Borrow, metric: Metric, arms: Sequence[str], sources: Mapping[str, Source]) -> dict[str, Prior]:
    """Of the arms that the earlier experiment has too and has seen units of."""
    source, j = _source(borrow, metric, sources)
    seen = {arm: moments for arm, moments in zip(source.evidence.arms, source.evidence.total, strict=True) if moments.n}
    return {arm: _prior(borrow, metric, source, j, seen[arm], arm) for arm in arms if arm in seen}


def _source(borrow: Borrow, metric: Metric, sources: Mapping[str, Source]) -> tuple[Source, int]:
    """The earlier experiment and the place of its metric. SpecError where they are of no use."""
    source = sources.get(borrow.experiment)
    if source is None:
        near = difflib.get_close_matches(borrow.experiment, sources, 1)
        hint = f"did you mean {near[0]!r}?" if near else "allocator list shows them"
        raise SpecError(borrow.path, borrow.experiment, f"an experiment that has been applied; {hint}")
    theirs = source.experiment.metrics.get(borrow.source_metric)
    if theirs is None:
        path = f"metrics.{borrow.metric}.prior.metric"
        raise SpecError(
            path, borrow.source_metric, f"a metric of {borrow.experiment}: one of {', '.join(source.experiment.metrics)}"
        )
    for field in ("type", "aggregate", "missing"):
        mine, other = getattr(metric, field), getattr(theirs, field)
        if mine != other:
            expected = f"a metric of {field} {mine}, as here; {borrow.source_metric} there is of {field} {other}"
            raise SpecError(borrow.path, borrow.experiment, expected)
    if not any(moments.n for moments in source.evidence.total):
        raise SpecError(borrow.path, borrow.experiment, "an experiment with data; none of its units has been counted yet")
    return source, source.experiment.metric_names.index(borrow.source_metric)


def _prior(borrow: Borrow, metric: Metric, source: Source, j: int, moments: Moments, arm: str | None = None) -> Prior:
    theirs = source.experiment.metrics[borrow.source_metric]
    in_their_steps = msgspec.structs.replace(metric, resolution=theirs.resolution)
    if (reported := source.experiment.reported.get(borrow.source_metric)) is not None:  # units are those that have a value
        moments = Moments(moments.metrics, (moments.sum(reported), *moments.sums[1:]))
    prior = borrowed_prior(in_their_steps, j, moments, borrow.discount)
    for error in prior_errors(metric.type, prior):
        raise SpecError(borrow.path, borrow.experiment, f"{error.name} to be {error.expected}, not {error.value!r}")
    return msgspec.structs.replace(prior, origin=borrow.origin(arm))
