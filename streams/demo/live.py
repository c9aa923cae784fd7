"""What is seen while the demo plays: a table that moves on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from rich.bar import Bar
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from allocator.weights import PPM
from streams.demo.summary import Played, State
from streams.records import ArmState

__all__ = ["BAR_WIDTH", "Screen", "View", "number", "per_cent", "plain_line", "render"]

V = TypeVar("V")

BAR_WIDTH = 24
PLAIN_EVERY_S = 2.0
REFRESHES_PER_S = 8


@dataclass(frozen=True, slots=True)
class View:
    """One moment of the demo. `rate` is requests a second of late, `wanted` the requests to be played."""

    models: Sequence[str]
    wanted: int
    played: Played
    rate: float
    state: State


def number(value: float) -> str:
    """A count with its thousands apart: 20 000."""
    return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")


def per_cent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as per cent; a dash when it is not known."""
    return "–" if share is None else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def render(view: View) -> RenderableType:
    """The table of models under a line of progress and above the reason of the newest weights."""
    arms = {arm.id: arm for arm in view.state.arms}
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("share", max_width=BAR_WIDTH)  # the only one that may shrink
    for title in ("", "P(best)", "counted", "right"):
        table.add_column(title, justify="right", no_wrap=True)
    leader = max(view.state.arms, key=lambda arm: arm.ppm, default=None)
    for model in view.models:
        arm = arms.get(model)
        leading = leader is not None and arm is leader and arm.ppm * len(arms) > PPM
        table.add_row(model, *_cells(arm, "green" if leading else "cyan"), style="bold" if leading else "")
    counted = sum(view.state.counters.values())
    head = Text.assemble(
        (number(view.played.requests), "bold"), f" of {number(view.wanted)} requests   ",
        (number(view.rate), "bold"), " a second   ",
        (number(counted), "bold"), f" of {number(view.played.exposures + view.played.rewards)} events counted",
    )  # fmt: skip
    reason = view.state.reason
    version = f"weights {view.state.version}" if view.state.version else "no weights yet"
    return Group(Text(), head, Text(), table, Text(f"{version}: {reason}" if reason else version, style="dim", no_wrap=True))


def _cells(arm: ArmState | None, colour: str) -> tuple[RenderableType, ...]:
    if arm is None:
        return ("", "–", "–", "0", "–")
    share = arm.ppm / PPM
    return (
        Bar(size=1.0, begin=0.0, end=share, color=colour),
        per_cent(share),
        per_cent(arm.p_best),
        number(arm.n),
        per_cent(arm.mean),
    )


def plain_line(view: View) -> str:
    """The same in one line, the largest shares first."""
    arms = sorted(view.state.arms, key=lambda arm: -arm.ppm)[:3]
    shares = ", ".join(f"{arm.id} {per_cent(arm.ppm / PPM, 0)}" for arm in arms) + (", …" if len(view.state.arms) > 3 else "")
    return (
        f"{number(view.played.requests)} of {number(view.wanted)} requests, {number(view.rate)}/s: {shares or 'no weights yet'}"
    )


class Screen(Generic[V]):
    """Shows views on a console, in the way it can show them. A context manager, so that the terminal is left as it was.

    Parameters
    ----------
    draw : a view as a terminal shows it.
    line : the same in one line.
    """

    def __init__(self, console: Console, draw: Callable[[V], RenderableType], line: Callable[[V], str]) -> None:
        self._console, self._draw, self._line = console, draw, line
        self._live: Live | None = None
        self._next_line_at = float("-inf")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=REFRESHES_PER_S, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, view: V, now: float) -> None:
        """Draw the view, or print its line if `PLAIN_EVERY_S` have passed; `now` in seconds, never decreasing."""
        if self._live is not None:
            self._live.update(self._draw(view))
        elif now >= self._next_line_at:
            self._next_line_at = now + PLAIN_EVERY_S
            self._console.print(f"  {self._line(view)}", highlight=False, soft_wrap=True)
