"""Charts: the same bytes every time, words that are text, and a sentence where drawing is not possible."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from streams.plots import Line, Mark, Panel, PlotError, svg, write_svg

UNITS = np.geomspace(100, 1e6, 30).tolist()
REGRET = Panel(
    "Regret, ten arms",
    "units",
    "regret & more",
    [
        Line(f"policy <{k}>", UNITS, [k * x**0.5 for x in UNITS], [0.9 * k * x**0.5 for x in UNITS], [k * x**0.5 for x in UNITS])
        for k in (1, 2, 3)
    ],
    x_log=True,
    y_log=True,
)
POWER = Panel(
    "Power",
    "days",
    "power",
    [Line("", [1.0, 2.0, 3.0], [0.1, float("nan"), 0.9], dashed=True)],
    marks=[Mark("y", 0.8, "asked for"), Mark("x", 2.0, "planned"), Mark("x", 50.0, "far away")],
    y_numbers="percent",
    y_range=(0.0, 1.0),
)


def words(text: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]


def test_the_same_panels_give_the_same_bytes_in_every_process_and_under_any_setting() -> None:
    first = svg([REGRET, POWER])
    with mpl.rc_context({"lines.linewidth": 9, "svg.hashsalt": None, "text.color": "red"}):
        assert svg([REGRET, POWER]) == first
    program = (
        "import sys, hashlib; sys.path.insert(0, '.'); from tests.unit import test_plots as t; "
        "print(hashlib.sha256(t.svg([t.REGRET, t.POWER]).encode()).hexdigest(), end='')"
    )
    again = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert again.stdout == hashlib.sha256(first.encode()).hexdigest()
    assert "<dc:date>" not in first


def test_words_are_text() -> None:
    found = words(svg([REGRET, POWER]))
    for word in ("Regret, ten arms", "regret & more", "policy <2>", "10 000", "1 M", "80 %", "asked for", "planned"):
        assert word in found
    assert "far away" not in found


def test_panels_fill_rows_and_leave_no_empty_axes() -> None:
    one, three = svg([POWER], columns=2), svg([POWER, POWER, POWER], columns=2)
    assert words(three).count("Power") == 3
    assert 'id="axes_4"' in three
    assert words(three).count("days") == 3
    width = {
        name: float(ElementTree.fromstring(text).get("width", "").removesuffix("pt")) for name, text in (("1", one), ("3", three))
    }
    assert width["3"] == pytest.approx(2 * width["1"])


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotError, match=r"pip install 'streaming-allocator\[plots\]'"):
        write_svg(tmp_path / "chart.svg", [POWER])
    assert not (tmp_path / "chart.svg").exists()


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PlotError, match="No such file or directory: the chart was not written"):
        write_svg(tmp_path / "absent" / "chart.svg", [POWER])
