"""A world as its owner writes it, checked against the experiment it is for.

    step: 1s                          # from one unit to the next
    arms:
      small:  {thumbs_up: 0.10, latency: {mean: 1.2, sd: 0.4}}
      medium: {thumbs_up: {mean: 0.12, delay: {exponential: 300}}, latency: {mean: 1.6, sd: 0.5}}
      "*":    {thumbs_up: {beta: [4, 36]}, latency: {mean: 1.4, sd: 0.4}}      # every arm not named; drawn in each run
    delay: 100                        # steps; of all rewards that name no other
    changes:
      - {at: 3000, arms: {small: {thumbs_up: 0.2}}}
    retire: 0.001                     # probability, a step, that one arm is replaced
    segments:                         # of the spec; the rest is as above, and `other` to the spec
      pro: {share: 0.2, arms: {small: {thumbs_up: 0.15}}}

A metric's type in the spec says what its rewards are: binary needs a rate, value a mean and an sd, count a mean. A mean is a
number or a prior: `beta: [a, b]`, `normal: [mean, sd]`, `gamma: [shape, mean]`. A delay is a number of steps,
`{exponential: mean}` or `{lognormal: [median, sigma]}`. A change names what changes, in all segments or in its `segment`; the
rest stays.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from allocator.durations import parse_duration
from allocator.errors import ArgumentError, SpecError, SpecErrors
from allocator.experiment import OTHER_SEGMENT, Experiment, Metric
from allocator.simulate.world import Arms, Delay, Family, Prior, Reward, Stage, World
from allocator.spec_text import parse_text

__all__ = ["load_world"]

EVERY_OTHER = "*"
PRIORS: dict[str, tuple[Family, str, str]] = {
    "binary": ("beta", "a", "b"),
    "value": ("normal", "mean", "sd"),
    "count": ("gamma", "shape", "mean"),
}
"""A metric's type → family of the prior of its mean, and what its two numbers are."""
MEANS = {"binary": "a rate between 0 and 1", "value": "a number", "count": "a number of at least 0"}
STEPS_MAX = 10**12


def load_world(source: str | Mapping[str, Any], experiment: Experiment) -> World:
    """The checked world of a YAML or JSON text, or of the mapping it holds, for the arms and metrics of a spec.

    Raises
    ------
    SpecErrors : every field that is wrong, in the order of the file.
    """
    if isinstance(source, str):
        source = parse_text(source)
    if not isinstance(source, Mapping):
        raise SpecErrors([SpecError("world", source, "a mapping with at least: arms")])
    reader = _Reader(source, experiment)
    world = reader.world()
    if reader.errors:
        raise SpecErrors(reader.errors)
    return world


_MISSING: Any = object()


class _Reader:
    """Walks one world and collects what is wrong instead of stopping at the first."""

    def __init__(self, source: Mapping[str, Any], experiment: Experiment) -> None:
        self.source, self.experiment = source, experiment
        self.errors: list[SpecError] = []

    def world(self) -> World:
        source = self.source
        self._known("", source, ("step", "arms", "delay", "segments", "changes", "retire"))
        step_s = self._step(source.get("step", 1.0))
        delay = self._delay("delay", source.get("delay", 0))
        first = self._first(source.get("arms", _MISSING), Reward(math.nan, delay=delay))
        retire = self._number("retire", source.get("retire", 0.0), "a probability of at least 0, below 1", lambda x: 0 <= x < 1)
        if retire > 0 and not any(isinstance(reward.mean, Prior) for arm in first for reward in arm):
            self._error("retire", retire, "0, unless a mean has a prior that new arms are drawn from")
        segments, shares, arms = self._segments(source.get("segments", {}), first)
        stages = self._stages(Stage(0, arms), segments, source.get("changes", ()))
        return World(stages, segments, shares, retire, step_s)

    def _error(self, path: str, value: Any, expected: str) -> None:
        error = SpecError(path, "missing" if value is _MISSING else value, expected)
        if str(error) not in map(str, self.errors):  # what is said of every other arm is read once an arm
            self.errors.append(error)

    def _known(self, path: str, found: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                self._error(f"{path}{key}", found[key], f"one of {', '.join(known)}{hint}")

    def _number(self, path: str, value: Any, expected: str, holds: Callable[[float], bool] = math.isfinite) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and holds(value):
            return float(value)
        self._error(path, value, expected)
        return math.nan

    def _pair(self, path: str, value: Any, names: tuple[str, str], positive: tuple[bool, bool]) -> tuple[float, float]:
        expected = f"two numbers, [{names[0]}, {names[1]}]"
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            self._error(path, value, expected)
            return math.nan, math.nan
        first, second = (
            self._number(f"{path}[{i}]", x, f"{name}, a number above 0" if above else f"{name}, a number", _rule(above))
            for i, (x, name, above) in enumerate(zip(value, names, positive, strict=True))
        )
        return first, second

    def _step(self, value: Any) -> float:
        try:
            return parse_duration(value)
        except ArgumentError as error:
            self._error("step", value, error.expected)
            return 1.0

    def _arms(self, path: str, value: Any) -> Mapping[str, Mapping[str, Any]]:
        """A mapping of known arms to mappings of known metrics."""
        if not isinstance(value, Mapping):
            self._error(path, value, "a mapping from every arm to its metrics, such as {a: {clicks: 0.1}}")
            return {}
        self._known(f"{path}.", value, (*self.experiment.arm_ids, EVERY_OTHER))
        found = {}
        for arm, metrics in value.items():
            if arm not in (*self.experiment.arm_ids, EVERY_OTHER):
                continue
            if isinstance(metrics, Mapping):
                self._known(f"{path}.{arm}.", metrics, self.experiment.metric_names)
                found[arm] = metrics
            else:
                self._error(f"{path}.{arm}", metrics, f"a mapping with a value for {', '.join(self.experiment.metrics)}")
        return found

    def _first(self, value: Any, unknown: Reward) -> Arms:
        """Every arm on every metric, as the world begins."""
        given = self._arms("arms", value)
        complete = isinstance(value, Mapping) and len(given) == len(value)  # else the mistake may be in the missing one's name
        metrics = self.experiment.metrics
        of_arm = {
            arm: tuple(
                self._reward(f"arms.{arm}.{name}", found.get(name, _MISSING), metric, unknown) for name, metric in metrics.items()
            )
            for arm, found in given.items()
        }
        missing = [arm for arm in self.experiment.arm_ids if arm not in of_arm and EVERY_OTHER not in of_arm]
        if complete and missing:
            self._error("arms", list(given), f"every arm of the spec: {', '.join(missing)} too")
        nothing = (unknown,) * len(metrics)
        return tuple(of_arm.get(arm, of_arm.get(EVERY_OTHER, nothing)) for arm in self.experiment.arm_ids)

    def _segments(self, value: Any, rest: Arms) -> tuple[tuple[str, ...], tuple[float, ...], tuple[Arms, ...]]:
        """Names, shares and rewards of the segments, the rest of the experiment first."""
        declared = self.experiment.segments
        names, shares, arms = [OTHER_SEGMENT if declared else ""], [1.0], [rest]
        if not isinstance(value, Mapping):
            self._error("segments", value, "a mapping from segments of the spec to their share and arms")
            value = {}
        self._known("segments.", value, declared)
        for name, segment in value.items():
            if name not in declared:
                continue
            if not isinstance(segment, Mapping):
                self._error(f"segments.{name}", segment, "a mapping with share, and arms where they differ")
                continue
            self._known(f"segments.{name}.", segment, ("share", "arms"))
            expected = "a share between 0 and 1"
            shares.append(self._number(f"segments.{name}.share", segment.get("share", _MISSING), expected, lambda x: 0 <= x <= 1))
            names.append(name)
            arms.append(self._changed(f"segments.{name}.arms", segment.get("arms", {}), rest))
        shares[0] = 1.0 - sum(shares[1:])
        if shares[0] < -1e-9:
            self._error("segments", sum(shares[1:]), "shares that sum to at most 1")
        shares[0] = max(0.0, shares[0])
        return tuple(names), tuple(shares), tuple(arms)

    def _stages(self, first: Stage, segments: Sequence[str], value: Any) -> tuple[Stage, ...]:
        stages = [first]
        if not isinstance(value, (list, tuple)):
            self._error("changes", value, "a list of changes, such as [{at: 3000, arms: {a: {clicks: 0.2}}}]")
            return tuple(stages)
        for i, change in enumerate(value):
            path = f"changes[{i}]"
            if not isinstance(change, Mapping):
                self._error(path, change, "a mapping with at and arms")
                continue
            self._known(f"{path}.", change, ("at", "arms", "segment"))
            after = stages[-1].start
            at = change.get("at", _MISSING)
            if not isinstance(at, int) or isinstance(at, bool) or not after < at < STEPS_MAX:
                self._error(f"{path}.at", at, f"a whole number of steps above {after}")
                at = after + 1
            only = change.get("segment", None)
            if only is not None and only not in segments:
                self._error(
                    f"{path}.segment", only, f"one of {', '.join(segments)}" if any(segments) else "left out: there are none"
                )
            arms = tuple(
                self._changed(f"{path}.arms", change.get("arms", _MISSING), old) if only in (None, name) else old
                for name, old in zip(segments, stages[-1].rewards, strict=True)
            )
            stages.append(Stage(at, arms))
        return tuple(stages)

    def _changed(self, path: str, value: Any, before: Arms) -> Arms:
        """What was before, with what is given in its place."""
        given, rows = self._arms(path, value), []
        for arm, old in zip(self.experiment.arm_ids, before, strict=True):
            name = arm if arm in given else EVERY_OTHER
            new = given.get(name, {})
            row = []
            for (metric_name, metric), reward in zip(self.experiment.metrics.items(), old, strict=True):
                at = f"{path}.{name}.{metric_name}"
                row.append(self._reward(at, new[metric_name], metric, reward) if metric_name in new else reward)
            rows.append(tuple(row))
        return tuple(rows)

    def _reward(self, path: str, value: Any, metric: Metric, before: Reward) -> Reward:
        """One metric of one arm: what it was before, with what is given in its place."""
        family = PRIORS[metric.type][0]
        if isinstance(value, Mapping) and family in value:
            value = {**value, "mean": {family: value[family]}}
            del value[family]
        if not isinstance(value, Mapping):
            value = {"mean": value}
        self._known(f"{path}.", value, ("mean", "sd", "delay") if metric.type == "value" else ("mean", "delay"))
        new = before
        if "mean" in value or _unknown(before.mean):
            inner = "" if len(value) == 1 and "mean" in value else ".mean"
            new = replace(new, mean=self._mean(f"{path}{inner}", value.get("mean", _MISSING), metric))
        if metric.type == "value" and ("sd" in value or _unknown(before.mean)):
            sd = self._number(f"{path}.sd", value.get("sd", _MISSING), "a number of at least 0", lambda x: x >= 0)
            new = replace(new, sd=sd)
        if "delay" in value:
            new = replace(new, delay=self._delay(f"{path}.delay", value["delay"]))
        return new

    def _mean(self, path: str, value: Any, metric: Metric) -> float | Prior:
        family, *names = PRIORS[metric.type]
        if isinstance(value, Mapping) and list(value) == [family]:
            a, b = self._pair(f"{path}.{family}", value[family], (names[0], names[1]), (family != "normal", True))
            return Prior(family, a, b)
        least, most = {"binary": (0.0, 1.0), "value": (-math.inf, math.inf), "count": (0.0, math.inf)}[metric.type]
        expected = f"{MEANS[metric.type]}, or {{{family}: [{names[0]}, {names[1]}]}}"
        return self._number(path, value, expected, lambda x: least <= x <= most)

    def _delay(self, path: str, value: Any) -> Delay:
        if isinstance(value, Mapping) and list(value) == ["exponential"]:
            mean = self._number(f"{path}.exponential", value["exponential"], "a mean in steps, above 0", _rule(above=True))
            return Delay("exponential", mean)
        if isinstance(value, Mapping) and list(value) == ["lognormal"]:
            median, sigma = self._pair(f"{path}.lognormal", value["lognormal"], ("median in steps", "sigma"), (True, True))
            return Delay("lognormal", median, sigma)
        expected = "a number of steps of at least 0, {exponential: mean} or {lognormal: [median, sigma]}"
        return Delay("fixed", self._number(path, value, expected, lambda x: 0 <= x < STEPS_MAX))


def _rule(above: bool) -> Callable[[float], bool]:
    return (lambda x: x > 0) if above else math.isfinite


def _unknown(mean: float | Prior) -> bool:
    return isinstance(mean, float) and math.isnan(mean)
