"""An experiment's spec: what the owner writes, checked, with every default filled in.

`load_experiment` reads YAML or JSON text (or the mapping it holds) and reports every error at once, each with the path
to its field. The record on the experiments topic is the same spec with nothing left out, so it is read by the same
function. Nothing here knows about weights or data.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import msgspec
from msgspec import Struct

from allocator.delay import LAG_BINS
from allocator.durations import format_duration, parse_duration
from allocator.errors import ArgumentError, SpecError, SpecErrors
from allocator.evidence import Evidence
from allocator.experiment import (
    Aggregate,
    Arm,
    Derived,
    Direction,
    Experiment,
    Metric,
    MetricType,
    Missing,
    Policy,
    Status,
)
from allocator.moments import layout_of
from allocator.phases import PHASES_MAX
from allocator.shares import from_percent
from allocator.spec_constraints import read_constraints
from allocator.spec_covariates import read_covariates
from allocator.spec_guardrails import read_guardrails, read_overruled
from allocator.spec_metrics import check_tree, is_derived, made_of_others, read_aim, read_cap, read_derived, with_limits
from allocator.spec_priors import read_arm_priors, read_prior
from allocator.spec_routing import check_params, read_eligibility, read_namespace, read_schedule, read_segments
from allocator.spec_stages import read_stages, read_word
from allocator.spec_text import parse_text

__all__ = ["ARMS_MAX", "METRICS_MAX", "SEGMENTS_MAX", "load_experiment"]

ARMS_MAX = 100
METRICS_MAX = 50
SEGMENTS_MAX = 1000
NUMBERS_MAX = 1_000_000
"""Sums and counts of lags that a partition may keep of a period: some 40 MiB of memory."""
DECISION_BYTES_MAX = 900_000
"""A decision says how every arm does on every metric, and is one Kafka record."""
READOUT_BYTES = 110
"""What that takes beside the metric's name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME_RULE = "a name of at most 128 letters, digits, '.', '_' or '-', starting with a letter or digit"


def load_experiment(source: str | Mapping[str, Any]) -> Experiment:
    """The checked experiment of a YAML or JSON text, or of the mapping it holds.

    Raises
    ------
    SpecErrors : every field that is wrong, in the order of the spec.
    """
    if isinstance(source, str):
        source = parse_text(source)
    if not isinstance(source, Mapping):
        raise SpecErrors([SpecError("spec", source, "a mapping with at least: experiment, arms, metrics, objective")])
    reader = _Reader(source)
    experiment = reader.experiment()
    if reader.errors:
        raise SpecErrors(reader.errors)
    return experiment


def _period_s(metrics: Mapping[str, Metric]) -> float:
    """An eighth of the shortest window, as fine as comparing arms with pending rewards takes (`allocator.delay`).

    At least an hour, so that periods do not become too many; at most a day. Not of the objective's window: another metric may
    become the objective, and the periods must stay.
    """
    shortest_s = min((metric.window_s for metric in metrics.values()), default=86400.0)
    return min(max(shortest_s / 8, 3600.0), 86400.0)


_MISSING: Any = object()
_STATUSES: Sequence[str] = get_args(Status)
_DIRECTIONS: Sequence[str] = get_args(Direction)
_MISSINGS: Sequence[str] = get_args(Missing)
_TRIED = ("arms", "control", "metrics", "derived", "objective", "policy", "segments")
"""Where an error leaves nothing to try a policy on."""


class _Reader:
    """Walks one spec and collects what is wrong instead of stopping at the first."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.source = source
        self.errors: list[SpecError] = []

    def experiment(self) -> Experiment:
        source = self.source
        self._known_fields("", source, Experiment)
        name = self._name("experiment", source.get("experiment", _MISSING))
        arms = self._arms(source.get("arms", _MISSING))
        ids = [arm.id for arm in arms]
        first = ids[0] if ids else ""
        control = self._one_of("control", source.get("control", first), ids, "arm")
        metrics, derived = self._metrics(source.get("metrics", _MISSING), source.get("derived", {}), ids)
        names = [*metrics, *derived]
        every: dict[str, Metric | Derived] = {**metrics, **derived}
        aim = read_aim(source.get("objective", names[0] if len(names) == 1 else _MISSING), every, self._error)
        constraints = read_constraints("constraints", source.get("constraints", {}), len(arms), self._error)
        directions = {name: metric.direction for name, metric in every.items()}
        guardrails = read_guardrails("guardrails", source.get("guardrails", {}), directions, constraints.floor, self._error)
        overruled = read_overruled("overruled", source.get("overruled", {}), guardrails, ids, control, self._error)
        policy = self._policy(with_limits(aim, source.get("policy"), self._error))
        errors_before = len(self.errors)
        publish_interval_s = self._duration("publish_interval", source.get("publish_interval", 1.0))
        check_params((arm.params for arm in arms), self._error)
        segments, segment_rule = read_segments(
            source.get("segments", ()), source.get("segment_rule"), self._name, SEGMENTS_MAX, self._error
        )
        covariates = read_covariates("covariates", source.get("covariates", ()), self._error)
        indicators = sum(metric.missing == "excluded" for metric in metrics.values())
        self._size(ids, names, len(segments), len(metrics), indicators + (len(covariates) + 1 if covariates else 0))
        enrolment = self._share("enrolment", source["enrolment"]) if "enrolment" in source else None
        stages = read_stages(source.get("stages", ()), enrolment, self._error)
        experiment = Experiment(
            experiment=name,
            arms=tuple(arms),
            control=control,
            metrics=metrics,
            derived=derived,
            objective=aim.metric,
            guardrails=guardrails,
            overruled=overruled,
            covariates=covariates,
            policy=policy,
            constraints=constraints,
            fallback=self._one_of("fallback", source["fallback"], ids, "arm") if "fallback" in source else control,
            unit=self._text("unit", source.get("unit", "unit")),
            segments=segments,
            segment_rule=segment_rule,
            namespace=read_namespace("namespace", source.get("namespace"), self._error),
            eligibility=read_eligibility("eligibility", source.get("eligibility"), self._error),
            schedule=read_schedule("schedule", source.get("schedule"), self._error),
            enrolment=stages[-1].enrolment if stages else 1.0 if enrolment is None else enrolment,
            stages=stages,
            holdback=self._share("holdback", source.get("holdback", 0.0)),
            period_s=self._duration("period", source.get("period", _period_s(metrics))),
            publish_interval_s=publish_interval_s,
            lease_s=self._lease(source.get("lease", max(60.0, 3 * publish_interval_s)), publish_interval_s),
            clock_skew_s=self._duration("clock_skew", source.get("clock_skew", 5.0)),
            grace_s=self._duration("grace", source.get("grace", 3600.0)),
            owner=self._text("owner", source.get("owner", "")),
            hypothesis=self._text("hypothesis", source.get("hypothesis", "")),
            status=cast(Status, self._one_of("status", source.get("status", "running"), _STATUSES, "status")),
            word=read_word(source.get("word"), self._error),
            promoted=self._promoted(source, ids),
            phase=self._whole("phase", source.get("phase", 1), 1),
            since=self._number("since", source.get("since", 0.0), "seconds since the epoch", lambda since: since >= 0),
            earlier=self._earlier(source.get("earlier", ())),
            revision=self._whole("revision", source.get("revision", 1), 1),
        )
        if not any(error.path.startswith(_TRIED) for error in self.errors):
            self._try_policy(experiment, errors_before)
        return experiment

    def _try_policy(self, experiment: Experiment, at: int) -> None:
        """Once, without data: whether its parameters go with these arms, metrics and segments. `at`: place of its error."""
        from allocator.policies import Context, policy_of  # noqa: PLC0415  policies are built on specs

        evidence = Evidence(experiment.arm_ids, len(experiment.columns), {})
        try:
            policy_of(experiment.policy, experiment.arm_ids, Context.of(experiment, evidence, now=0.0))
        except SpecError as error:
            self.errors.insert(at, error)

    def _size(self, arms: Sequence[str], names: Sequence[str], segments: int, metrics: int, others: int) -> None:
        """Each arm, and the holdback, has a cell in every declared segment and in `other`."""
        cells = (len(arms) + 1) * (segments + 1)
        numbers = cells * (layout_of(max(metrics, 1) + others).length + metrics * LAG_BINS)
        if numbers > NUMBERS_MAX:
            beside = f" and {others} covariates and indicators" if others else ""
            found = f"{len(arms)} arms × {segments} segments × {metrics} metrics{beside}: {numbers} numbers"
            self._error("segments", found, f"fewer: at most {NUMBERS_MAX} numbers, which a partition keeps of every period")
        if len(arms) * sum(READOUT_BYTES + len(name) for name in names) > DECISION_BYTES_MAX:
            found = f"{len(arms)} arms × {len(names)} metrics with names of {max(map(len, names))} characters"
            self._error("metrics", found, f"fewer, or shorter names: a decision must fit {DECISION_BYTES_MAX} bytes")

    def _error(self, path: str, value: Any, expected: str) -> None:
        self.errors.append(SpecError(path, "missing" if value is _MISSING else value, expected))

    def _known_fields(self, path: str, found: Mapping[str, Any], struct: type[Struct]) -> None:
        known = [f.encode_name for f in msgspec.structs.fields(struct)]
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"a known field; did you mean {near[0]!r}?" if near else f"one of {', '.join(known)}"
                self._error(f"{path}{key}", found[key], hint)

    def _name(self, path: str, value: Any) -> str:
        if isinstance(value, str) and _NAME.fullmatch(value):
            return value
        self._error(path, value, _NAME_RULE)
        return ""

    def _text(self, path: str, value: Any) -> str:
        if isinstance(value, str):
            return value
        self._error(path, value, "a text")
        return ""

    def _one_of(self, path: str, value: Any, allowed: Sequence[str], what: str) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        if allowed:
            near = difflib.get_close_matches(str(value), allowed, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            article = "an" if what[0] in "aeiou" else "a"
            self._error(path, value, f"{article} {what}: one of {', '.join(allowed)}{hint}")
        return ""

    def _promoted(self, source: Mapping[str, Any], arms: Sequence[str]) -> str | None:
        value = source.get("promoted")
        if value is None and source.get("status") != "promoted":
            return None
        return self._one_of("promoted", value, arms, "arm") or None

    def _earlier(self, value: Any) -> tuple[Experiment, ...]:
        phases: list[Experiment] = []
        for i, item in enumerate(
            self._list("earlier", value, "phases before this one, as the record on the wire has them", PHASES_MAX)
        ):
            try:
                phases.append(load_experiment(item))
            except SpecErrors as errors:
                self.errors += (SpecError(f"earlier[{i}].{error.path}", error.value, error.expected) for error in errors.errors)
        return tuple(phases)

    def _lease(self, value: Any, publish_interval_s: float) -> float:
        known = len(self.errors)
        seconds = self._duration("lease", value)
        if len(self.errors) == known and seconds < 2 * publish_interval_s:  # routers would fall back between two publications
            self._error("lease", value, f"at least twice publish_interval, {format_duration(2 * publish_interval_s)}")
        return seconds

    def _number(self, path: str, value: Any, expected: str, holds: Callable[[float], bool]) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and holds(value):
            return float(value)
        self._error(path, value, expected)
        return math.nan

    def _share(self, path: str, value: Any) -> float:
        """A number or a text such as ``10%``."""
        share = from_percent(value)
        if isinstance(share, (int, float)) and not isinstance(share, bool) and 0 <= share <= 1:
            return float(share)
        self._error(path, value, "a share between 0 and 1")
        return math.nan

    def _whole(self, path: str, value: Any, least: int) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        self._error(path, value, f"a whole number of at least {least}")
        return least

    def _duration(self, path: str, value: Any) -> float:
        try:
            return parse_duration(value)
        except ArgumentError as error:
            self._error(path, value, error.expected)
            return 1.0

    def _list(self, path: str, value: Any, what: str, most: int) -> Sequence[Any]:
        if not isinstance(value, (list, tuple)):
            self._error(path, value, f"a list of {what}")
            return ()
        if len(value) > most:
            self._error(path, f"{len(value)} {what}", f"at most {most}")
        return value

    def _arms(self, value: Any) -> list[Arm]:
        items = self._list("arms", value, "arms, such as [a, b]", ARMS_MAX)
        if value is not _MISSING and isinstance(value, (list, tuple)) and not value:
            self._error("arms", value, "at least one arm")
        arms: list[Arm] = []
        seen: set[str] = set()
        for i, item in enumerate(items):
            path = f"arms[{i}]"
            params: Any = {}
            if isinstance(item, Mapping):
                self._known_fields(f"{path}.", item, Arm)
                params = item.get("params", {})
                if not isinstance(params, Mapping):
                    self._error(f"{path}.params", params, "a mapping")
                    params = {}
                path = f"{path}.id"
                name = self._name(path, item.get("id", _MISSING))
            else:
                name = self._name(path, item)
            if name in seen:
                self._error(path, name, "a name no other arm has")
            elif name:
                seen.add(name)
                arms.append(Arm(id=name, params=dict(params)))
        return arms

    def _metrics(self, value: Any, apart: Any, arms: Sequence[str]) -> tuple[dict[str, Metric], dict[str, Derived]]:
        """Those observed and those made of others. `apart` are the latter as the record on the wire has them."""
        if not isinstance(value, Mapping) or not value:
            self._error("metrics", value, "a mapping of at least one metric, such as {thumbs_up: binary}")
            return {}, {}
        made = made_of_others(value, apart, self._error)
        observed = {name: found for name, found in value.items() if not is_derived(found)}
        if len(observed) + len(made) > METRICS_MAX:
            self._error("metrics", f"{len(observed) + len(made)} metrics", f"at most {METRICS_MAX}")
        if not observed:
            self._error("metrics", list(value), "at least one that is observed")
        known = len(self.errors)
        metrics = {
            self._name(path := f"metrics.{name}", name): self._metric(path, found, arms) for name, found in observed.items()
        }
        read = {self._name(path, name): read_derived(path, found, self._error) for path, name, found in made}
        derived = {name: found for name, found in read.items() if found is not None}
        sound = len(self.errors) > known or check_tree(metrics, derived, self._error)
        return metrics, derived if sound else {}

    def _metric(self, path: str, value: Any, arms: Sequence[str]) -> Metric:
        if isinstance(value, str):
            value = {"type": value}
        if not isinstance(value, Mapping):
            expected = "binary, value, count, a mapping with type, direction, window, …, or one with sum, ratio or product"
            self._error(path, value, expected)
            return Metric()
        self._known_fields(f"{path}.", value, Metric)
        kind = self._one_of(f"{path}.type", value.get("type", "binary"), ["binary", "value", "count"], "metric type")
        whole = kind in ("binary", "count")
        aggregate = self._one_of(
            f"{path}.aggregate",
            value.get("aggregate", "max" if kind == "binary" else "sum"),
            ["max"] if kind == "binary" else ["sum", "max", "last"],
            "aggregate",
        )
        expected = "1 for a binary or count metric" if whole else "a step greater than 0"
        resolution = self._number(
            f"{path}.resolution",
            value.get("resolution", 1.0 if whole else 1e-6),
            expected,
            lambda x: x == 1 if whole else x > 0,
        )
        metric_type = cast(MetricType, kind or "binary")  # an unknown one is an error already
        cap, cap_quantile = read_cap(f"{path}.cap", value.get("cap"), value.get("cap_quantile"), metric_type, self._error)
        return Metric(
            type=metric_type,
            direction=cast(Direction, self._one_of(f"{path}.direction", value.get("direction", "up"), _DIRECTIONS, "direction")),
            window_s=self._duration(f"{path}.window", value.get("window", 86400.0)),
            resolution=resolution,
            aggregate=cast(Aggregate, aggregate),
            cap=cap,
            cap_quantile=cap_quantile,
            missing=cast(Missing, self._one_of(f"{path}.missing", value.get("missing", "zero"), _MISSINGS, "treatment")),
            prior=read_prior(f"{path}.prior", value.get("prior"), metric_type, self._error),
            arm_priors=read_arm_priors(f"{path}.arm_priors", value.get("arm_priors", {}), metric_type, arms, self._error),
        )

    def _policy(self, value: Any) -> Policy:
        from allocator.policies import policy_of  # noqa: PLC0415  policies are built on specs

        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            self._error("policy", value, "a policy's name, or a mapping with its name and parameters")
            return Policy()
        beside = {k: v for k, v in value.items() if k not in ("name", "params")}
        params = value.get("params", {})
        if not isinstance(params, Mapping):
            self._error("policy.params", params, "a mapping of the policy's parameters")
            params = {}
        for key in [key for key in beside if key in params]:
            self._error(f"policy.{key}", beside[key], "a parameter given once, beside the name or in params")
        policy = Policy(name=value["name"], params={str(k): v for k, v in {**params, **beside}.items()})
        try:
            policy_of(policy)
        except SpecError as error:
            self.errors.append(error)
        return policy
