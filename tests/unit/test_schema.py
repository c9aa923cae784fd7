"""The contract for other languages: what is checked in is current, and its examples keep to it and to the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from streams.schema import RECORDS, Record, asyncapi, documents, json_schema
from streams.topics import Topics

DIRECTORY = Path(__file__).parents[2] / "deploy" / "schema"
by_name = pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)


def test_the_files_checked_in_are_current() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.iterdir()}
    assert found == documents(), "run: allocator schema --write deploy/schema"


@by_name
def test_examples_keep_to_the_schema_and_decode(record: Record) -> None:
    schema = json_schema(record)
    jsonschema.Draft202012Validator.check_schema(schema)
    [example] = schema["examples"]
    example = json.loads(json.dumps(example))  # tuples as they look on the wire
    jsonschema.Draft202012Validator(schema).validate(example)
    assert msgspec.json.decode(json.dumps(example), type=record.struct) == record.example


@by_name
def test_schema_and_decoder_refuse_the_same_missing_field(record: Record) -> None:
    schema = json_schema(record)
    validator = jsonschema.Draft202012Validator(schema)
    [example] = schema["examples"]
    for field in msgspec.structs.fields(record.struct):
        if field.required:
            broken = json.loads(json.dumps({key: value for key, value in example.items() if key != field.encode_name}))
            assert not validator.is_valid(broken)
            with pytest.raises(msgspec.ValidationError, match=field.encode_name):
                msgspec.json.decode(json.dumps(broken), type=record.struct)


@pytest.mark.parametrize("propensity", [0, -0.1, 1.01, "0.5", None])
def test_a_propensity_outside_its_domain_breaks_the_schema(propensity: Any) -> None:
    schema = json_schema(RECORDS[0])
    broken = schema["examples"][0] | {"propensity": propensity}
    assert not jsonschema.Draft202012Validator(schema).is_valid(broken)


def test_every_field_of_the_records_has_room_in_its_schema() -> None:
    for record in RECORDS:
        definition = json_schema(record)["$defs"][record.struct.__name__]
        assert list(definition["properties"]) == [field.encode_name for field in msgspec.structs.fields(record.struct)]


def test_asyncapi_names_every_public_topic_with_its_policy() -> None:
    document = asyncapi("shop")
    topics = Topics("shop")
    found = {c["address"]: c["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] for c in document["channels"].values()}
    internal = {topics.join_changelog, topics.allocate_changelog}
    assert found == {
        spec.name: ["compact" if spec.compacted else "delete"] for spec in topics.specs() if spec.name not in internal
    }


def test_asyncapi_refers_only_to_what_exists() -> None:
    document = asyncapi()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [ref for child in value.values() for ref in references(child)]
        return [ref for child in value for ref in references(child)] if isinstance(value, list) else []

    for reference in references(document):
        if reference.startswith("./"):
            assert reference.removeprefix("./") in documents()
            continue
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_asyncapi_is_plain_yaml() -> None:
    assert yaml.safe_load(documents()["asyncapi.yaml"])["asyncapi"] == "3.0.0"
