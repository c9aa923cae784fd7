"""The mapping in a spec's YAML or JSON text.

JSON is tried first: it is not quite a subset of the YAML that PyYAML reads, which takes a tab for an error and 1e-6 for a text.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

from allocator.errors import SpecError, SpecErrors

__all__ = ["parse_text"]


class _Loader(yaml.SafeLoader):
    """Safe YAML 1.1 with the scalars of YAML 1.2: 1e-6 needs no dot, and 2026-12-01 is a text, as it would be in JSON."""

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's own way
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def parse_text(text: str) -> Any:
    """What the text says. SpecErrors if it is neither JSON nor YAML."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        pass  # then it is YAML
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as !!timestamp 2024-13-45
        raise SpecErrors([SpecError("spec", str(error), "valid YAML or JSON")]) from error
