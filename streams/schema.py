"""The contract for other languages: a JSON Schema of every record and an AsyncAPI document of every topic.

Both follow from the structs, their docstrings and `streams.topics`; `deploy/schema` holds them as they were last written, and a
test compares.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import orjson
import yaml

from allocator.moments import inverse_propensity, layout_of
from allocator.segments import SegmentRule
from allocator.spec import load_experiment
from allocator.weights import Gate, Holdback, Layer, WeightedArm, Weights
from streams.records import ArmState, Cell, Change, Changed, Decision, Experiment, Exposure, MetricState, Partial, Reward
from streams.topics import PREFIX, Topics, TopicSpec

__all__ = ["RECORDS", "Record", "asyncapi", "documents", "json_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DESCRIPTION = (
    "Exposures and rewards in, weights out. JSON, one object per record; unknown fields are ignored. The key of an exposure and "
    "of a reward is the unit, partitioned by murmur2: librdkafka clients set partitioner=murmur2_random."
)
VERSION = "1.1.0"
"""Of the contract. Adding an optional field raises the second number; anything else makes new topics, ``.v2``."""


@dataclass(frozen=True, slots=True)
class Record:
    """One kind of record: its struct, its topic, what its key is, who writes it, and one that is valid."""

    name: str
    struct: type[msgspec.Struct]
    dataset: str
    key: str
    action: Literal["receive", "send"]
    """As AsyncAPI says it, of the allocator: it receives what others write."""
    summary: str
    example: msgspec.Struct


_TS = 1764000000.123
_SPEC = load_experiment(
    {
        "experiment": "chat",
        "arms": [{"id": "control", "params": {"model": "small"}}, {"id": "b", "params": {"model": "large"}}],
        "metrics": {
            "thumbs_up": "binary",
            "latency": {"type": "value", "direction": "down", "window": "10m", "resolution": 0.001},
        },
        "objective": "thumbs_up",
    }
)
_EXPOSURE = Exposure(
    experiment="chat",
    unit="u-17",
    arm="b",
    propensity=0.76,
    weights_version=312,
    ts=_TS,
    exposure_id="7c1e52f0",
    segment="pro",
    covariates={"requests_28d": 41},
)
_REWARD = Reward(
    unit="u-17", metric="thumbs_up", value=1.0, ts=_TS + 12, reward_id="e0b9", experiment="chat", exposure_id="7c1e52f0"
)
_WEIGHTS = Weights(
    experiment="chat",
    version=312,
    arms=(
        WeightedArm(id="control", ppm=240_000, seed=721_300_211, params={"model": "small"}),
        WeightedArm(id="b", ppm=760_000, seed=992_104_417, params={"model": "large"}),
    ),
    enrolment=Gate(ppm=250_000, seed=118_220_034),
    holdback=Holdback(ppm=100_000, seed=408_011_960, arm="control"),
    valid_until=_TS + 60,
    fallback="control",
    policy="thompson",
    reason="b is best with probability 0.93",
    spec_hash="5f0c2a9e",
    ts=_TS,
    inputs={"0": 8812, "1": 8790},
    namespace=Layer(name="assistant", seed=3_310_547_870, ranges=((0, 300_000), (500_000, 600_000))),
    eligibility={">=": [{"var": "app_version"}, 7]},
    segment_rule=SegmentRule(attribute="plan", names=("free", "pro")),
)
_DECISION = Decision(
    experiment="chat",
    version=312,
    ts=_TS,
    reason="b is best with probability 0.93",
    policy="thompson",
    arms=[
        ArmState(
            id=arm,
            n=n,
            mean=mean,
            interval=interval,
            p_best=p_best,
            ppm=ppm,
            metrics={"thumbs_up": MetricState(n=n, mean=mean, interval=interval)},
        )
        for arm, n, mean, interval, p_best, ppm in (
            ("control", 410, 0.31, (0.27, 0.36), 0.07, 240_000),
            ("b", 395, 0.37, (0.32, 0.42), 0.93, 760_000),
        )
    ],
    steps={"policy": [70_000, 930_000], "floor": [87_200, 912_800], "shift": [240_000, 760_000]},
    inputs={"0": 8812, "1": 8790},
    counters={"exposures.applied": 805, "rewards.applied": 1390},
    spec_hash="5f0c2a9e",
)

_CHANGE = Change(
    experiment="chat",
    revision=3,
    status="promoted",
    kind="changed",
    ts=_TS,
    by="ann",
    why="b has been ahead for two weeks",
    changes=[
        Changed(path="status", before="running", after="promoted"),
        Changed(path="promoted", before=None, after="b"),
    ],
    spec_hash="5f0c2a9e",
)


def _one_unit() -> list[int]:
    """The sums of a single unit with a thumb up and a latency of 1.234 s."""
    layout, weight, y = layout_of(2), inverse_propensity(_EXPOSURE.propensity), [0, 0]
    sums = layout.empty()
    layout.enter(sums, weight)
    layout.change(sums, weight, y, 0, 1)
    layout.change(sums, weight, y, 1, 1234)
    return sums


_PARTIAL = Partial(
    experiment="chat",
    partition=0,
    period=20416,
    seq=8812,
    cell=Cell(segment="pro", arm="b", holdback=False, sums=_one_unit(), lags=[{17: 1}, {17: 1}]),
    event_ts=_TS + 12,
    epoch=int(_TS) * 1000,
)

RECORDS: tuple[Record, ...] = (
    Record("exposure", Exposure, "exposures", "the unit", "receive", "routers log that a unit was served an arm", _EXPOSURE),
    Record("reward", Reward, "rewards", "the unit", "receive", "producers report an observed value", _REWARD),
    Record("experiment", Experiment, "experiments", "the experiment's name", "receive", "owners apply a spec", _SPEC),
    Record("change", Change, "changes", "the experiment's name", "send", "who changed which spec, when, why and how", _CHANGE),
    Record("weights", Weights, "weights", "the experiment's name", "send", "routers read the weights in force", _WEIGHTS),
    Record("decision", Decision, "decisions", "the experiment's name", "send", "the audit log of every publication", _DECISION),
    Record(
        "partial",
        Partial,
        "partials",
        "experiment|partition|period|arm|holdback|segment, experiment@phase from the second phase on, experiment|partition|-1 of "
        "counters; internal to the allocator",
        "send",
        "sums within the allocator",
        _PARTIAL,
    ),
)


FILE_FORM = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
"""How a schema is written to its file."""


def documents() -> dict[str, str]:
    """Every document by file name, as it is checked in."""
    files = {f"{record.name}.schema.json": orjson.dumps(json_schema(record), option=FILE_FORM).decode() for record in RECORDS}
    files["asyncapi.yaml"] = yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=120)
    return files


def json_schema(record: Record) -> dict[str, Any]:
    """The schema of one kind of record, with its example."""
    schema = msgspec.json.schema(record.struct)
    return {
        "$schema": DIALECT,
        "$id": f"urn:allocator:{record.name}:1",
        "title": record.struct.__name__,
        "description": f"{inspect.cleandoc(record.struct.__doc__ or '')}",
        "$ref": schema["$ref"],
        "examples": [msgspec.to_builtins(record.example, str_keys=True)],
        "$defs": {name: _tidy(definition) for name, definition in schema["$defs"].items()},
    }


def asyncapi(prefix: str = PREFIX) -> dict[str, Any]:
    """AsyncAPI 3.0: topics with their keys, clean-up policies and dead letters. Payloads refer to the schema files beside it."""
    topics = Topics(prefix)
    specs = {spec.name: spec for spec in topics.specs()}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for record in RECORDS:
        spec = specs[topics.name(record.dataset)]
        channels[record.dataset] = _channel(spec, record.summary, record.name)
        operations[f"{record.action}{record.struct.__name__}"] = {
            "action": record.action,
            "channel": {"$ref": f"#/channels/{record.dataset}"},
            "summary": record.summary,
        }
        dead = topics.dead_letters(spec.name)
        if dead in specs:
            summary = f"records of {spec.name} that could not be used, unchanged; headers say why and where they came from"
            channels[f"{record.dataset}DeadLetters"] = _channel(specs[dead], summary, "deadLetter")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Streaming allocator",
            "version": VERSION,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": {record.name: _message(record) for record in RECORDS} | {"deadLetter": _DEAD_LETTER}},
    }


_DEAD_LETTER = {
    "name": "deadLetter",
    "title": "Dead letter",
    "summary": "key and value as they were received, or the beginning of them if they are large. A record with the header "
    "redriven is none: it lists, as JSON, the offsets of those of its partition that were sent again",
    "contentType": "application/octet-stream",
    "headers": {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": "why the record could not be used"},
            "origin-topic": {"type": "string"},
            "origin-partition": {"type": "string", "description": "a decimal number"},
            "origin-offset": {"type": "string", "description": "a decimal number"},
            "cut-from": {"type": "string", "description": "bytes that key and value had, if they were cut: a decimal number"},
        },
        "required": ["reason", "origin-topic", "origin-partition", "origin-offset"],
    },
}


def _message(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "title": record.struct.__name__,
        "summary": record.summary,
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{record.name}.schema.json"},
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": record.key}}},
        "examples": [{"name": record.name, "payload": msgspec.to_builtins(record.example, str_keys=True)}],
    }


def _channel(spec: TopicSpec, summary: str, message: str) -> dict[str, Any]:
    policy = "compact" if spec.compacted else "delete"
    binding: dict[str, Any] = {"topic": spec.name, "topicConfiguration": {"cleanup.policy": [policy]}}
    if spec.partitions is not None:
        binding["partitions"] = spec.partitions
    return {
        "address": spec.name,
        "summary": summary,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": binding},
    }


def _tidy(definition: dict[str, Any]) -> dict[str, Any]:
    """Without the indentation of docstrings."""
    if "description" in definition:
        definition["description"] = inspect.cleandoc(definition["description"])
    return definition
