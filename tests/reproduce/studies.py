"""Every study of the report, in its order. A module that has some adds them here."""

from __future__ import annotations

from tests.reproduce import policies
from tests.reproduce.rows import Study

__all__ = ["STUDIES", "named"]

STUDIES: tuple[Study, ...] = (*policies.STUDIES,)


def named(name: str) -> Study:
    """The study of that name. StopIteration if there is none."""
    return next(study for study in STUDIES if study.name == name)
