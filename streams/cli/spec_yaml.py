"""A spec as YAML that a person would write: durations as text, short lists on one line, nothing left out."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

from allocator.durations import format_duration
from allocator.experiment import Experiment

__all__ = ["to_yaml"]

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 ,._/-]*|\d+(?:\.\d+)?(?:ms|[smhdw])", re.ASCII)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that is not plain words, so that readers of any YAML version see a text."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if _PLAIN.fullmatch(value) else '"')


_Dumper.add_representer(str, _text)


def to_yaml(experiment: Experiment) -> str:
    """The text; `load_experiment` makes the same experiment of it, but for its earlier phases."""
    fields = _fields(msgspec.structs.replace(experiment, earlier=()))
    for own in ("earlier",) if experiment.phase > 1 else ("phase", "since", "earlier"):
        del fields[own]
    fields["metrics"] |= fields.pop("derived")  # where owners write them
    return yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def _fields(value: Any) -> Any:
    """Structs as mappings under their names on the wire; those of seconds (``..._s``) as durations."""
    if isinstance(value, msgspec.Struct):
        return {
            field.encode_name: format_duration(found) if field.name.endswith("_s") else _fields(found)
            for field in msgspec.structs.fields(type(value))
            for found in [getattr(value, field.name)]
            if found is not msgspec.UNSET
        }
    if isinstance(value, dict):
        return {key: _fields(found) for key, found in value.items()}
    if isinstance(value, (list, tuple)):
        return [_fields(found) for found in value]
    return value
