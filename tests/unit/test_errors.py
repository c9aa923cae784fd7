"""Errors cross from one process to another with everything they carry."""

from __future__ import annotations

import pickle

import pytest

from allocator import errors
from allocator.errors import AllocatorError, ArgumentError, SpecError, SpecErrors, StateError, TopicError, UnknownExperiment

ERRORS = [
    SpecError("arms[2].id", "B", "a name no other arm has"),
    SpecErrors([SpecError("a", 1, "x"), SpecError("b", None, "y")]),
    ArgumentError("temper", 7, "a number above 0, at most 1"),
    TopicError("t", "found", "expected", "repair"),
    StateError("found", "expected", "repair"),
    UnknownExperiment("chat"),
    errors.Fenced(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: AllocatorError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert {name: str(value) for name, value in vars(again).items()} == {name: str(value) for name, value in vars(error).items()}
