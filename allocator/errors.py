"""What can go wrong, and what the caller should do about it.

AllocatorError
 ├─ SpecError(path, value, expected)   one field of a spec is wrong: the owner mends the file
 ├─ SpecErrors(errors)                 every wrong field of one spec
 ├─ ArgumentError(name, value, expected)   a function was called with a value outside its domain
 ├─ PolicyError(policy, found, expected)   a policy gave no usable weights: the previous ones are held
 ├─ RecordError(reason)                one record is dead-lettered, the worker goes on
 ├─ TopicError(topic, found, expected, repair)  a topic is not as it must be: refuse to start
 ├─ TopicErrors(errors)                every such topic of one deployment
 ├─ StateError(found, expected, repair)    the state on disk or in the log cannot be trusted: refuse to start
 ├─ StoreError(path, reason)           the disk under the state fails: the worker stops, whoever runs it makes room
 ├─ Fenced                             this owner is no longer the owner: stop the partition, do not retry
 ├─ Conflict(experiment, read, revision, by, when)  somebody else changed the spec first: look at it and try again
 ├─ Discards(experiment, lost)         a change would leave counted data unread: say so, and do it only when told to
 └─ UnknownExperiment(name)            nobody has published weights, or a spec, under that name
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "AllocatorError",
    "ArgumentError",
    "Conflict",
    "Discards",
    "Fenced",
    "PolicyError",
    "RecordError",
    "SpecError",
    "SpecErrors",
    "StateError",
    "StoreError",
    "TopicError",
    "TopicErrors",
    "UnknownExperiment",
]


class AllocatorError(Exception):
    """Base of every error this project raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross from one process to another as they are; by default they would be made anew of their text alone."""
        return _remade, (type(self), self.args, self.__dict__)


class SpecError(AllocatorError):
    """One field of a spec: `path` as in ``arms[2].id``, the value found, and what was expected."""

    def __init__(self, path: str, value: Any, expected: str) -> None:
        self.path, self.value, self.expected = path, value, expected
        super().__init__(f"{path}: {value!r}: expected {expected}")


class SpecErrors(AllocatorError):
    """Every error of one spec at once, in the order of the file."""

    def __init__(self, errors: Iterable[SpecError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class ArgumentError(AllocatorError, ValueError):
    """A function's argument is outside its domain."""

    def __init__(self, name: str, value: Any, expected: str) -> None:
        self.name, self.value, self.expected = name, value, expected
        super().__init__(f"{name}: {value!r}: expected {expected}")


class PolicyError(AllocatorError):
    """What a policy gave, or that it gave nothing, and what was expected of it."""

    def __init__(self, policy: str, found: str, expected: str) -> None:
        self.policy, self.found, self.expected = policy, found, expected
        super().__init__(f"policy {policy}: {found}: expected {expected}")


class RecordError(AllocatorError):
    """A record that cannot be used; `reason` goes into the dead letter."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class TopicError(AllocatorError):
    """A topic whose partitions or clean-up policy would lose or misplace records."""

    def __init__(self, topic: str, found: str, expected: str, repair: str) -> None:
        self.topic, self.found, self.expected, self.repair = topic, found, expected, repair
        super().__init__(f"{topic} has {found}, needs {expected}. Repair: {repair}")


class TopicErrors(AllocatorError):
    """Every topic that is not as it must be, in the order of `streams.topics`."""

    def __init__(self, errors: Iterable[TopicError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class StateError(AllocatorError):
    """State that contradicts itself or the log it came from."""

    def __init__(self, found: str, expected: str, repair: str) -> None:
        self.found, self.expected, self.repair = found, expected, repair
        super().__init__(f"found {found}, expected {expected}. Repair: {repair}")


class StoreError(AllocatorError):
    """The store at `path` cannot be opened or written; `reason` is what the disk or the database said."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


class Fenced(AllocatorError):
    """Another worker owns the partition now."""


class Conflict(AllocatorError):
    """Revision `revision` of an experiment's spec came in between: a change was made from revision `read`, 0 for none.

    `by` and `when` tell of the one in force; empty where they are not known.
    """

    def __init__(self, experiment: str, read: int, revision: int, by: str = "", when: str = "") -> None:
        self.experiment, self.read, self.revision, self.by, self.when = experiment, read, revision, by, when
        who = f" by {by}" if by else ""
        came = f"revision {revision}{who}{f' at {when}' if when else ''} is in force"
        made_from = f"made from revision {read}" if read else "made when there was none"
        super().__init__(
            f"{experiment}: {came}, and this change was {made_from}: nothing was written. "
            f"See what they did (allocator changes {experiment}), then make the change from the spec in force "
            f"(allocator show {experiment})"
        )


class Discards(AllocatorError):
    """A change would leave data unread that has been counted: `lost`, one sentence each."""

    def __init__(self, experiment: str, lost: Iterable[str]) -> None:
        self.experiment, self.lost = experiment, tuple(lost)
        super().__init__(f"{experiment}: {'; '.join(self.lost)}. Nothing was written. To do it all the same: --yes")


class UnknownExperiment(AllocatorError, KeyError):
    """No experiment of that name is known here."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)

    def __str__(self) -> str:
        return f"no experiment {self.name!r} is known here"


def _remade(kind: type[AllocatorError], args: tuple[Any, ...], fields: dict[str, Any]) -> AllocatorError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error
