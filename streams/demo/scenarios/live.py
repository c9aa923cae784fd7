"""What is seen while a scenario plays: the shares of every experiment, and of segments that have weights of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.bar import Bar
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from allocator.weights import PPM, Weights
from streams.demo.live import BAR_WIDTH, number, per_cent
from streams.demo.scenarios.player import Played
from streams.demo.scenarios.scenario import Scenario
from streams.demo.summary import State

__all__ = ["ScenarioView", "line_of", "render_scenario"]

Slices = Mapping[str | None, Weights]


@dataclass(frozen=True, slots=True)
class ScenarioView:
    """One moment. `weights` and `states` by the scenario's name of the experiment, which may be missing at first."""

    scenario: Scenario
    played: Played
    weights: Mapping[str, Slices]
    states: Mapping[str, State]


def render_scenario(view: ScenarioView) -> RenderableType:
    """Day and counts, a table of shares, and the reason of each experiment's newest weights."""
    played, scenario = view.played, view.scenario
    counted = sum(sum(state.counters.values()) for state in view.states.values())
    head = Text.assemble(
        (f"day {played.day:.1f}", "bold"), f" of {scenario.world.days:g}   ",
        (number(played.people), "bold"), f" of {number(scenario.world.people)} people   ",
        (number(counted), "bold"), f" of {number(played.exposures + played.rewards)} events counted",
    )  # fmt: skip
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for title in ("experiment", "arm"):
        table.add_column(title, no_wrap=True)
    table.add_column("share", max_width=BAR_WIDTH)
    for title in ("", "P(best)", "counted"):
        table.add_column(title, justify="right", no_wrap=True)
    reasons = [Text()]
    for name in scenario.experiments:
        for row in _rows(name, view.weights.get(name, {}), view.states.get(name, State())):
            table.add_row(*row)
        whole = view.weights.get(name, {}).get(None)
        if whole is not None:
            reasons.append(Text(f"{name}, weights {whole.version}: {whole.reason}", style="dim", no_wrap=True))
    return Group(Text(), head, table, *reasons)


def _rows(name: str, slices: Slices, state: State) -> Iterator[tuple[RenderableType, ...]]:
    arms = {arm.id: arm for arm in state.arms}
    for segment, weights in slices.items():
        for i, arm in enumerate(weights.arms):
            known = arms.get(arm.id) if segment is None else None
            yield (
                "" if i else name if segment is None else f"  {segment}",
                arm.id,
                Bar(size=1.0, begin=0.0, end=arm.ppm / PPM, color="cyan"),
                per_cent(arm.ppm / PPM),
                per_cent(known.p_best) if known else "",
                number(known.n) if known else "",
            )


def line_of(view: ScenarioView) -> str:
    """The same in one line: the largest share of each experiment and segment."""
    found = []
    for name in view.scenario.experiments:
        for segment, weights in view.weights.get(name, {}).items():
            first = max(weights.arms, key=lambda arm: arm.ppm)
            where = name if segment is None else segment
            found.append(f"{where}: {first.id} {per_cent(first.ppm / PPM, 0)}")
    return f"day {view.played.day:4.1f}, {number(view.played.people)} people; {', '.join(found) or 'no weights yet'}"
