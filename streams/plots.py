"""Line charts as SVG: panels of lines, with bands and reference marks, for the command line and the reports.

The same panels give the same bytes: no date, no random id, no setting of the user's. Text stays text, so a chart can be searched
and read aloud. Matplotlib draws; it comes with ``pip install 'streaming-allocator[plots]'`` and loads when something is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from allocator.errors import AllocatorError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Line", "Mark", "Panel", "PlotError", "svg", "write_svg"]

PANEL_INCHES = (6.4, 4.4)
LABEL_CHARACTERS = 82
"""Of a legend's line, keys and gaps counted as seven a label."""
COLOURS = ("#2f6fb3", "#e69f00", "#159574", "#c8501e", "#6b5aa8", "#c578a6", "#62b6e6", "#8a8f99")
"""The dashboard's, in an order in which neighbours differ for colour-blind readers too."""
INK, MUTED, GRID = "#1b2130", "#5a6375", "#e1e4ea"
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "allocator",
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.wspace": 0.04,
    "figure.constrained_layout.hspace": 0.06,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial", "sans-serif"],
    "font.size": 10,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 19,  # the words of vertical marks stand under the title
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.labelcolor": INK,
    "legend.borderaxespad": 0.0,
}

Numbers = Literal["plain", "percent"]


class PlotError(AllocatorError):
    """The chart cannot be drawn; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series. nan breaks it.

    Parameters
    ----------
    x, y : of one length.
    low, high : a band around it, of the same length, or neither.
    dashed : for what is shown only to compare with.
    colour : place in `COLOURS`; None: the line's place in its panel. Lines that belong together may share one.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False
    colour: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A thin line across the panel at one value of an axis, with a word beside it."""

    axis: Literal["x", "y"]
    at: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart. Ranges follow the lines; `y_range` fixes the vertical one."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    x_log: bool = False
    y_log: bool = False
    x_numbers: Numbers = "plain"
    y_numbers: Numbers = "plain"
    y_range: tuple[float, float] | None = None


def write_svg(path: Path, panels: Sequence[Panel], *, columns: int = 2) -> None:
    """The panels in rows of `columns`, in one file. PlotError without Matplotlib, or if the file cannot be written."""
    text = svg(panels, columns=columns)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PlotError(f"{path}: {error.strerror or error}: the chart was not written") from error


def svg(panels: Sequence[Panel], *, columns: int = 2) -> str:
    """The SVG document. PlotError without Matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  a quarter of a second, and an optional package
    except ImportError as error:
        raise PlotError("charts need Matplotlib: pip install 'streaming-allocator[plots]'") from error
    with mpl.rc_context():
        mpl.rcdefaults()
        settings: Any = mpl.rcParams  # typed by name in some versions of Matplotlib only
        settings.update(STYLE)
        out = io.StringIO()
        _figure(panels, columns).savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


# -- drawing ---------------------------------------------------------------------------------------------------------------------


def _figure(panels: Sequence[Panel], columns: int) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for panel, axes in zip(panels, places, strict=False):
        _draw(panel, axes)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    return figure


def _draw(panel: Panel, axes: Axes) -> None:
    for i, line in enumerate(panel.lines):
        colour = COLOURS[(i if line.colour is None else line.colour) % len(COLOURS)]
        axes.plot(line.x, line.y, color=colour, label=line.label, linestyle=(0, (4, 2.5)) if line.dashed else "solid")
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.16, linewidth=0)
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    if panel.y_range:
        axes.set_ylim(*panel.y_range)
    axes.margins(x=0.02)
    _scale(axes, "x", panel.x_log, panel.x_numbers)
    _scale(axes, "y", panel.y_log, panel.y_numbers)
    for mark in panel.marks:
        _mark(axes, mark)
    _legend(axes, [line.label for line in panel.lines if line.label])


def _legend(axes: Axes, labels: Sequence[str]) -> None:
    """Under the panel, where it covers no line, in as many columns as fit."""
    if not labels:
        return
    columns = min(len(labels), max(1, LABEL_CHARACTERS // (max(map(len, labels)) + 7)))
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.17), ncols=columns)


def _scale(axes: Axes, which: Literal["x", "y"], log: bool, numbers: Numbers) -> None:
    from matplotlib import ticker  # noqa: PLC0415

    axis = axes.xaxis if which == "x" else axes.yaxis
    if log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        low, high = axis.get_view_interval()
        few = high / low < 200
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
        axis.set_minor_formatter(ticker.NullFormatter())
    else:
        axis.set_major_locator(ticker.MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(ticker.FuncFormatter(_percent if numbers == "percent" else _plain))


def _mark(axes: Axes, mark: Mark) -> None:
    """Drawn without moving the ranges; left out where it would lie outside of them."""
    low, high = sorted(axes.get_xlim() if mark.axis == "x" else axes.get_ylim())
    if not low <= mark.at <= high:
        return
    style: dict[str, Any] = {"color": MUTED, "linewidth": 1, "linestyle": (0, (1, 2))}
    if mark.axis == "x":
        axes.axvline(mark.at, **style)
        place: dict[str, Any] = {"xy": (mark.at, 1), "xycoords": ("data", "axes fraction"), "xytext": (0, 2), "ha": "center"}
    else:
        axes.axhline(mark.at, **style)
        place = {"xy": (1, mark.at), "xycoords": ("axes fraction", "data"), "xytext": (-2, 3), "ha": "right"}
    axes.annotate(mark.label, textcoords="offset points", va="bottom", color=MUTED, fontsize=9, **place)


def _plain(x: float, _position: int) -> str:
    """20 000, 0.05, 3 M: figures as the reports write them."""
    if abs(x) >= 1e6:
        return f"{x / 1e6:g} M"
    return f"{x:,.0f}".replace(",", " ") if abs(x) >= 1000 else f"{x:g}"


def _percent(x: float, _position: int) -> str:
    return f"{100 * x:g} %"
