"""The example specs load, and any spec survives being shown and applied again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from allocator.decide import decide
from allocator.experiment import Experiment
from allocator.namespaces import place
from allocator.spec import load_experiment
from streams.cli.spec_yaml import to_yaml
from streams.records import encode
from streams.router import Router

EXAMPLES = sorted((Path(__file__).parents[2] / "deploy" / "examples").glob("*.yaml"))

durations = st.floats(min_value=1e-3, max_value=1e8)
shares = st.floats(min_value=0, max_value=1)


@st.composite
def specs(draw: st.DrawFn) -> Experiment:
    arms = draw(st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,5}", fullmatch=True), min_size=1, max_size=4, unique=True))
    value = {"type": "value", "window": draw(durations), "resolution": draw(st.floats(min_value=1e-12, max_value=10))}
    return load_experiment(
        {
            "experiment": draw(st.sampled_from(["yes", "1e3", "null", "x"])),
            "arms": [
                {"id": arm, "params": draw(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans(), max_size=2))}
                for arm in arms
            ],
            "metrics": {"m": value, "n": "binary"},
            "objective": "m",
            "enrolment": draw(shares),
            "period": draw(durations),
            "lease": draw(st.floats(min_value=2, max_value=1e8)),
            "hypothesis": draw(st.text()),
        }
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    assert isinstance(load_experiment(path.read_text(encoding="utf-8")), Experiment)


def test_there_are_examples() -> None:
    assert {path.name for path in EXAMPLES} >= {"minimal.yaml", "chat.yaml", "recommender.yaml"}


def test_the_recommender_example_routes_as_its_comments_say() -> None:
    [path] = [path for path in EXAMPLES if path.name == "recommender.yaml"]
    router = Router(clock=lambda: 1.0)
    router._take(
        SimpleNamespace(key=b"recommender", value=encode(decide(load_experiment(path.read_text()), {}, None, 0.0).weights))
    )
    seen: dict[str, set[str]] = {"reason": set(), "segment": set(), "model": set()}
    for i in range(2000):
        attributes = {"app_version": 6 + i % 3, "is_employee": i % 7 == 0, "requests_28d": i % 150}
        found = router.assign("recommender", f"u-{i}", attributes=attributes)
        assert found.enrolled <= (attributes["app_version"] >= 7 and not attributes["is_employee"])
        assert found.enrolled <= (place("home-page", f"u-{i}") < 300_000)
        for name, value in (("reason", found.reason), ("segment", found.segment or ""), ("model", found.params["model"])):
            seen[name].add(value)
    assert seen["reason"] == {"namespace", "not enrolled", "not eligible", "held back", "assigned"}
    assert (seen["segment"], seen["model"]) == ({"light", "medium", "heavy"}, {"r1", "r2"})
    assert router.assign("recommender", "u-1").segment == "other"


@given(specs())
def test_a_spec_shown_and_applied_again_is_the_same(spec: Experiment) -> None:
    assert load_experiment(to_yaml(spec)) == spec


@given(specs())
def test_a_spec_read_from_its_record_is_the_same(spec: Experiment) -> None:
    assert load_experiment(msgspec.json.decode(msgspec.json.encode(spec))) == spec


def test_shown_specs_have_every_field_and_durations_as_text() -> None:
    shown = yaml.safe_load(to_yaml(load_experiment("{experiment: e, arms: [a, b], metrics: {m: value}}")))
    fields = [field.encode_name for field in msgspec.structs.fields(Experiment)]
    apart = {"derived", "phase", "since", "earlier"}  # among the metrics; of an experiment that has had a phase
    assert list(shown) == [name for name in fields if name not in apart]
    assert (shown["period"], shown["lease"], shown["metrics"]["m"]["window"]) == ("3h", "1m", "1d")
