"""An owner's own policy, ``package.module:Class`` in a spec: imported here, for `allocator` reads no files.

The class has to be installed wherever specs are applied and wherever workers decide, in the same version, or decisions are not
the same everywhere. Whoever may write specs chooses what is imported from what is installed; that is no more than to choose
where traffic goes, and no less.

A worker that cannot import it goes on: the spec is valid, its events are counted, and the weights there are stay in force with
the reason in each decision.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from allocator.errors import ArgumentError, SpecError, SpecErrors
from allocator.experiment import Experiment
from allocator.policies import Absent, policy_of, register
from allocator.spec import load_experiment
from allocator.spec_text import parse_text

__all__ = ["load_spec", "require_policy"]

_PATH = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)


def load_spec(source: str | Mapping[str, Any]) -> Experiment:
    """`load_experiment` of a spec that may name a class outside of `allocator`.

    Raises
    ------
    SpecErrors : every field that is wrong. That the class cannot be imported is none: see `require_policy`.
    """
    spec = parse_text(source) if isinstance(source, str) else source
    policy = spec.get("policy") if isinstance(spec, Mapping) else None
    name = policy.get("name") if isinstance(policy, Mapping) else policy
    if isinstance(name, str) and ":" in name:
        _find(name)
    return load_experiment(spec)


def require_policy(experiment: Experiment) -> None:
    """Who applies a spec wants its policy to be there.

    Raises
    ------
    SpecErrors : it could not be imported, or is no policy.
    """
    policy = policy_of(experiment.policy)
    if isinstance(policy, Absent):
        raise SpecErrors([SpecError("policy.name", policy.name, f"a policy that can be imported here; {policy.why}")])


def _find(name: str) -> None:
    """Register the class, or why it is not to be had."""
    try:
        register(name, _imported(name))
    except ArgumentError as error:
        register(name, Absent(name, f"it is not {error.expected}"))
    except Exception as error:  # noqa: BLE001  a module may raise anything when it is imported
        register(name, Absent(name, f"{type(error).__name__}: {error}"))


def _imported(name: str) -> Any:
    found = _PATH.fullmatch(name)
    if found is None:
        raise ArgumentError("policy", name, "package.module:Class")
    return getattr(importlib.import_module(found[1]), found[2])
