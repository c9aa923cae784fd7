"""An outcome matrix: what each model would have answered to each request, so that any routing can be scored.

A CSV file (or a gzipped one), first row the columns: one a model with 1 (right) or 0 (wrong), optionally ``MODEL.latency_ms``
beside each, optionally `segment`, which the demo ignores: it shows one set of weights. One row a request.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypeVar

from allocator.errors import AllocatorError
from allocator.spec import ARMS_MAX

__all__ = ["LATENCY", "ROWS_MAX", "SHIPPED", "MatrixError", "OutcomeMatrix", "load_matrix", "read_matrix"]

SHIPPED = Path(__file__).with_name("digits.csv")
"""Five scikit-learn classifiers on 1 797 handwritten digits; `make_digits` made it."""

ROWS_MAX = 1_000_000
LATENCY = ".latency_ms"
SEGMENT = "segment"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME_RULE = "a model's name: at most 128 letters, digits, '.', '_' or '-', starting with a letter or digit"
_OUTCOMES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
_Cell = TypeVar("_Cell")


class MatrixError(AllocatorError):
    """A file that is no outcome matrix. `row` is 1 for the column names, `column` a name; either may be None."""

    def __init__(self, source: str, row: int | None, column: str | None, value: object, expected: str) -> None:
        self.source, self.row, self.column, self.value, self.expected = source, row, column, value, expected
        where = [source, f"row {row}" if row else "", f"column {column!r}" if column is not None else ""]
        super().__init__(f"{', '.join(filter(None, where))}: found {value}, expected {expected}")


@dataclass(frozen=True, slots=True)
class OutcomeMatrix:
    """R requests answered by M models.

    Parameters
    ----------
    name : of the data, fit for an experiment's name.
    models : M names.
    correct : R tuples of M ones (right) and zeros (wrong).
    latency_ms : R tuples of M milliseconds, or None when they were not measured.
    """

    name: str
    models: tuple[str, ...]
    correct: tuple[tuple[int, ...], ...]
    latency_ms: tuple[tuple[float, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.correct)


def load_matrix(path: Path) -> OutcomeMatrix:
    """The matrix of a file; its name is the file's, without what an experiment's name may not hold.

    Raises
    ------
    MatrixError : no such file, not readable as text, or the first cell that is wrong.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.removesuffix(".gz").removesuffix(".csv")).strip("-._")[:60] or "matrix"
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="") as file
        ):
            return read_matrix(file, name=name, source=str(path))
    except UnicodeDecodeError as error:
        raise MatrixError(str(path), None, None, f"bytes that are not UTF-8 ({error.reason})", "a CSV file in UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise MatrixError(str(path), None, None, str(getattr(error, "strerror", None) or error), "a readable CSV file") from error


def read_matrix(lines: TextIO | Iterable[str], *, name: str = "matrix", source: str = "matrix") -> OutcomeMatrix:
    """The matrix of the text of a CSV file; `source` is how errors call it.

    Raises
    ------
    MatrixError : the first thing that is wrong, with its row and column.
    """
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise MatrixError(source, None, None, "an empty file", "a row of column names")
        columns = _Columns(source, header)
        correct: list[tuple[int, ...]] = []
        latency: list[tuple[float, ...]] = []
        for cells in filter(None, reader):
            if len(correct) == ROWS_MAX:
                raise MatrixError(source, reader.line_num, None, "one row more", f"at most {ROWS_MAX} rows")
            if len(cells) != len(header):
                raise MatrixError(source, reader.line_num, None, f"{len(cells)} cells", f"{len(header)}, one a column")
            correct.append(columns.read(reader.line_num, cells, columns.outcome, _outcome, "1 (right) or 0 (wrong)"))
            if columns.latency:
                latency.append(columns.read(reader.line_num, cells, columns.latency, _latency, "milliseconds of at least 0"))
    except csv.Error as error:
        raise MatrixError(source, reader.line_num, None, str(error), "a row of CSV") from error
    if not correct:
        raise MatrixError(source, None, None, "no rows below the column names", "one row a request")
    return OutcomeMatrix(name, columns.models, tuple(correct), tuple(latency) or None)


class _Columns:
    """Where in a row each model's cells are."""

    def __init__(self, source: str, header: Sequence[str]) -> None:
        self.source, self.header = source, [column.strip() for column in header]
        for i, column in enumerate(self.header):
            if column in self.header[:i]:
                raise MatrixError(source, 1, column, "the column twice", "each column once")
        self.models = tuple(column for column in self.header if column != SEGMENT and not column.endswith(LATENCY))
        for model in self.models:
            if not _NAME.fullmatch(model):
                raise MatrixError(source, 1, model, repr(model), _NAME_RULE)
        if not 2 <= len(self.models) <= ARMS_MAX:
            raise MatrixError(source, 1, None, f"{len(self.models)} models", f"2 to {ARMS_MAX}, one column each")
        timed = [column.removesuffix(LATENCY) for column in self.header if column.endswith(LATENCY)]
        for model in timed:
            if model not in self.models:
                raise MatrixError(source, 1, model + LATENCY, "a latency without its model", f"also a column {model!r}")
        for model in self.models if timed else ():
            if model not in timed:
                raise MatrixError(source, 1, model + LATENCY, "no such column", "the latency of every model or of none")
        self.outcome = [self.header.index(model) for model in self.models]
        self.latency = [self.header.index(model + LATENCY) for model in self.models] if timed else []

    def read(
        self, row: int, cells: Sequence[str], places: Sequence[int], parse: Callable[[str], _Cell | None], expected: str
    ) -> tuple[_Cell, ...]:
        """The cells at `places`, parsed; `parse` gives None for what is wrong."""
        values: list[_Cell] = []
        for place in places:
            value = parse(cells[place].strip())
            if value is None:
                raise MatrixError(self.source, row, self.header[place], repr(cells[place]), expected)
            values.append(value)
        return tuple(values)


def _outcome(cell: str) -> int | None:
    return _OUTCOMES.get(cell)


def _latency(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
