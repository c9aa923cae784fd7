"""Outcome matrices: what is read, and that every error names its row and column."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from allocator.spec import load_experiment
from streams.demo.matrix import LATENCY, SHIPPED, MatrixError, OutcomeMatrix, load_matrix, read_matrix
from streams.demo.stage import demo_experiment


def test_reads_outcomes_latencies_and_leaves_segments_out() -> None:
    matrix = read_matrix(["segment,a,b,a.latency_ms,b.latency_ms\n", "x,1,0,0.5,2\n", "y,0,1.0,1e1,0\n"], name="m")
    assert matrix == OutcomeMatrix("m", ("a", "b"), ((1, 0), (0, 1)), ((0.5, 2.0), (10.0, 0.0)))


def test_latencies_are_optional_and_blank_lines_skipped() -> None:
    matrix = read_matrix(["a,b\n", "1,0\n", "\n", "1,1\n"])
    assert (matrix.correct, matrix.latency_ms, len(matrix)) == (((1, 0), (1, 1)), None, 2)


@pytest.mark.parametrize(
    "text, row, column, expected",
    [
        ("", None, None, "a row of column names"),
        ("a,b\n", None, None, "one row a request"),
        ("a\n1\n", 1, None, "2 to 100, one column each"),
        ("a,a\n1,1\n", 1, "a", "each column once"),
        ("a,b c\n1,1\n", 1, "b c", "a model's name"),
        ("a,b,c.latency_ms\n1,1,1\n", 1, "c.latency_ms", "also a column 'c'"),
        ("a,b,a.latency_ms\n1,1,1\n", 1, "b.latency_ms", "of every model or of none"),
        ("a,b\n1,0\n1,2\n", 3, "b", "1 (right) or 0 (wrong)"),
        ("a,b\n1,\n", 2, "b", "1 (right) or 0 (wrong)"),
        ("a,b\n1\n", 2, None, "2, one a column"),
        ("a,b,a.latency_ms,b.latency_ms\n1,0,-1,1\n", 2, "a.latency_ms", "milliseconds"),
        ("a,b,a.latency_ms,b.latency_ms\n1,0,1,nan\n", 2, "b.latency_ms", "milliseconds"),
        ('a,b\n1,"0\n', 2, None, "a row of CSV"),
    ],
)
def test_an_error_names_row_and_column(text: str, row: int | None, column: str | None, expected: str) -> None:
    with pytest.raises(MatrixError) as caught:
        read_matrix(text.splitlines(keepends=True), source="file.csv")
    error = caught.value
    assert (error.row, error.column) == (row, column)
    assert expected in error.expected
    assert "file.csv" in str(error)
    assert row is None or f"row {row}" in str(error)


def test_a_matrix_has_a_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.demo.matrix.ROWS_MAX", 2)
    assert len(read_matrix(["a,b\n", "1,0\n", "1,0\n"])) == 2
    with pytest.raises(MatrixError, match=r"row 4: .*at most 2 rows"):
        read_matrix(["a,b\n", "1,0\n", "1,0\n", "1,0\n"])


def test_files_plain_and_gzipped_and_what_is_neither(tmp_path: Path) -> None:
    text = "\ufeffa,b\n1,0\n"
    (tmp_path / "my matrix.csv").write_text(text, encoding="utf-8")
    with gzip.open(tmp_path / "my matrix.csv.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    plain, packed = (load_matrix(tmp_path / name) for name in ("my matrix.csv", "my matrix.csv.gz"))
    assert plain == packed == OutcomeMatrix("my-matrix", ("a", "b"), ((1, 0),))
    (tmp_path / "bad.csv").write_bytes(b"a,b\n1,\xff\n")
    (tmp_path / "bad.csv.gz").write_bytes(b"a,b\n1,0\n")
    (tmp_path / "cut.csv.gz").write_bytes((tmp_path / "my matrix.csv.gz").read_bytes()[:-9])
    for name, found in {"none.csv": "No such file", "bad.csv": "UTF-8", "bad.csv.gz": "gzip", "cut.csv.gz": "end"}.items():
        with pytest.raises(MatrixError, match=f"{name}: found .*{found}"):
            load_matrix(tmp_path / name)


def test_the_shipped_matrix_tells_its_models_apart() -> None:
    matrix = load_matrix(SHIPPED)
    assert (matrix.name, len(matrix), matrix.models[0], matrix.models[-1]) == ("digits", 1797, "naive-bayes", "svm")
    shares = [sum(column) / len(matrix) for column in zip(*matrix.correct, strict=True)]
    assert shares == sorted(shares)
    # the best is far enough ahead to be found within the demo
    assert shares[-1] - shares[-2] > 0.03
    assert matrix.latency_ms is not None
    assert all(0 < value < 1000 for row in matrix.latency_ms for value in row)


@pytest.mark.parametrize("latency", [True, False])
def test_any_matrix_makes_an_experiment(latency: bool) -> None:
    matrix = OutcomeMatrix("m", ("a", "b"), ((1, 0),), ((1.0, 2.0),) if latency else None)
    experiment = demo_experiment("m-1", matrix)
    assert (experiment.arm_ids, experiment.objective) == (("a", "b"), "correct")
    assert experiment.metric_names == (("correct", "latency_ms") if latency else ("correct",))


def test_as_many_models_as_a_matrix_takes_make_an_experiment() -> None:
    models = tuple(f"model-{i}" for i in range(100))
    header = ",".join([*models, *(model + LATENCY for model in models)])
    matrix = read_matrix([header + "\n", ",".join(["1"] * 200) + "\n"])
    assert load_experiment({"experiment": "x", "arms": list(matrix.models), "metrics": {"y": "binary"}}).arm_ids == models
    assert demo_experiment("x", matrix).arm_ids == models
