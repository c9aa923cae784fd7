"""Every study of the report, in its order. A module that has some adds them here."""

from __future__ import annotations

from tests.reproduce import guardrails, identification, inference, planning, policies, probabilities, sample_ratio
from tests.reproduce.rows import Study

__all__ = ["STUDIES", "named"]

MODULES = (policies, identification, probabilities, inference, sample_ratio, planning, guardrails)
STUDIES: tuple[Study, ...] = tuple(study for module in MODULES for study in module.STUDIES)


def named(name: str) -> Study:
    """The study of that name. StopIteration if there is none."""
    return next(study for study in STUDIES if study.name == name)
