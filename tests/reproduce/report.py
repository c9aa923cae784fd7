"""Runs the studies, the longest first, on several processes, and writes what they found as Markdown."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from math import floor, log10
from time import perf_counter

from allocator.simulate import Estimate
from tests.reproduce.rows import SURE, Answer, Row, Study, Verdict, judged
from tests.reproduce.studies import named

__all__ = ["Found", "as_markdown", "run_all"]


@dataclass(frozen=True, slots=True)
class Found:
    """What one study found, and how long it took in its process."""

    study: str
    runs: int
    answer: Answer
    seconds: float

    def verdicts(self) -> list[tuple[Row, Estimate, Verdict]]:
        """Row by row."""
        return [(row, self.answer[row.key], judged(row, self.answer[row.key])) for row in named(self.study).rows]


def run_all(studies: Sequence[Study], *, quick: bool, seed: int, processes: int) -> Iterator[Found]:
    """What each study finds, as it comes in."""
    # Spawned: the parent has a thread that draws a progress bar.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        longest_first = sorted(studies, key=lambda study: -study.seconds)
        futures = [pool.submit(_compute, study.name, study.quick if quick else study.runs, seed) for study in longest_first]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _compute(name: str, runs: int, seed: int) -> Found:
    began = perf_counter()
    answer = named(name).compute(runs, seed)
    return Found(name, runs, answer, perf_counter() - began)


INTRODUCTION = """# Reproduction report

Published numbers, what this project finds in their place, and whether they agree. Written by `make reproduce`
(`python -m tests.reproduce`), seed {seed}, from [`tests/reproduce`](../tests/reproduce); the quick versions are tests.

A number is reproduced if ours differs from it by at most its tolerance and {sure:g} standard errors of ours. The tolerance is
what the source states, or what its digits allow. ± is one Monte-Carlo standard error; a number without one is computed, not
simulated. "Standing" says what the published number rests on: V read or executed in the source, C computed, S simulated before,
R recalled from the paper. "Through decide" means by production's own decisions, in the simulator.

**{reproduced} of {all} reproduced.**
"""
HEAD = (
    "| number | published | tolerance | ours | runs | verdict | how | source | standing |\n|---|--:|--:|--:|--:|---|---|---|---|"
)


def as_markdown(found: Sequence[Found], seed: int, figures: Mapping[str, str]) -> str:
    """The report.

    Parameters
    ----------
    found : in the order of the report.
    figures : title → path of an image, relative to the report.
    """
    verdicts = [verdict for one in found for _, _, verdict in one.verdicts()]
    counts = {"reproduced": verdicts.count("reproduced"), "all": len(verdicts)}
    parts = [INTRODUCTION.format(seed=seed, sure=SURE, **counts)]
    for section in dict.fromkeys(named(one.study).section for one in found):
        lines = [_line(one, *judgement) for one in found if named(one.study).section == section for judgement in one.verdicts()]
        notes = dict.fromkeys(note for one in found if named(one.study).section == section for note in _notes(one))
        parts.append("\n".join([f"## {section}\n", HEAD, *lines, "", *(f"- {note}" for note in notes), ""]))
    parts += [f"![{title}]({path})\n" for title, path in figures.items()]
    return "\n".join(parts)


def _notes(found: Found) -> Iterator[str]:
    for row, _, verdict in found.verdicts():
        if row.note:
            yield row.note
        if verdict != "reproduced":
            yield f"{row.what}: {verdict}. {row.differs or 'Why is not known.'}"


def _line(found: Found, row: Row, ours: Estimate, verdict: Verdict) -> str:
    study = named(found.study)
    error = ours.standard_error
    value = _digits(ours.value, error) + (f" ± {_digits(error, error)}" if error else "")
    relation = "" if row.relation == "=" else f"{row.relation} "
    shown = verdict if verdict == "reproduced" else f"**{verdict}**"
    cells = (
        row.what,
        f"{relation}{_exact(row.published)}",
        _exact(row.tolerance),
        value,
        f"{found.runs:,}" if error else "–",
        shown,
    )
    return "| " + " | ".join([*cells, study.how, row.source, row.standing]) + " |"


def _digits(value: float, error: float) -> str:
    """To the second figure of the error; as it is when there is none."""
    if not error > 0:
        return _exact(value)
    return f"{value:,.{max(0, 1 - floor(log10(error)))}f}"


def _exact(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.8g}"
