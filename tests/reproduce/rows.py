"""A row is a published number; a study is a computation that answers one row or several at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from allocator.simulate import Estimate

__all__ = ["SURE", "Answer", "Row", "Study", "Verdict", "exactly", "failed", "judged"]

SURE = 2.0
"""Standard errors of ours that a number may lie beyond its tolerance."""

Answer = Mapping[str, Estimate]
"""Row key → what was found, with its standard error."""

Verdict = Literal["reproduced", "too few runs to tell", "NOT reproduced"]


@dataclass(frozen=True, slots=True)
class Row:
    """A number to reproduce.

    Parameters
    ----------
    key : unique in its study.
    what : the number in words.
    published : the number.
    tolerance : ≥ 0, in the number's own units: how far off it may be, because the source says so or gives few digits.
    relation : whether ours should equal it, be at most it, or be at least it.
    source : where it is from.
    standing : R recalled from the paper, S simulated before, V read or executed in the source, C computed.
    note : what a reader should know of it, such as what was chosen where the source is silent.
    differs : why ours is not the published number, where that is known; such a row fails no run.
    """

    key: str
    what: str
    published: float
    tolerance: float
    source: str
    standing: Literal["R", "S", "V", "C"]
    relation: Literal["=", "≤", "≥"] = "="
    note: str = ""
    differs: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """What answers some rows.

    Parameters
    ----------
    name : unique, for --only.
    section : heading in the report.
    how : in a sentence, what is run.
    compute : (runs, seed) → an estimate for every row's key.
    runs : in the report.
    quick : in tests and with --quick; 0 leaves it out of them.
    seconds : about what `runs` take on one core, so that long studies start first.
    """

    name: str
    section: str
    how: str
    rows: tuple[Row, ...]
    compute: Callable[[int, int], Answer]
    runs: int
    quick: int
    seconds: float = 1.0


def exactly(value: float) -> Estimate:
    """A number without a Monte-Carlo error."""
    return Estimate(float(value), 0.0)


def judged(row: Row, ours: Estimate, sure: float = SURE) -> Verdict:
    """Reproduced: within the tolerance and `sure` standard errors. Too few runs: so it is, but the error hides the tolerance."""
    above = ours.value - row.published
    far = {"=": abs(above), "≤": above, "≥": -above}[row.relation]
    if not far <= row.tolerance + sure * ours.standard_error:  # nan is not reproduced
        return "NOT reproduced"
    hidden = row.relation == "=" and ours.standard_error > max(row.tolerance, 0.1 * abs(row.published))
    return "too few runs to tell" if hidden else "reproduced"


def failed(row: Row, ours: Estimate) -> bool:
    """Whether the number is not reproduced and nobody knows why."""
    return judged(row, ours) == "NOT reproduced" and not row.differs
