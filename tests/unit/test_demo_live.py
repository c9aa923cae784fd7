"""What is seen: on a terminal a table, elsewhere a line now and then, at the end the summary."""

from __future__ import annotations

import io

from rich.console import Console

from streams.demo.live import Screen, View, number, per_cent, plain_line, render
from streams.demo.report import print_summary
from streams.demo.summary import Played, State, summarise
from streams.records import ArmState

ARMS = [
    ArmState(id="slow", n=300, mean=0.84, interval=None, p_best=0.01, ppm=100_000),
    ArmState(id="quick", n=1200, mean=0.99, interval=None, p_best=0.99, ppm=900_000),
]
STATE = State(version=3, reason="quick leads: P(best) 0.99; moved by 10 %", arms=ARMS, counters={"exposures.applied": 1500})
PLAYED = Played(requests=1500, served=[300, 1200], earned=[250, 1190], right=[1260, 1490], exposures=1500)
VIEW = View(("slow", "quick"), 20_000, PLAYED, 1999.6, STATE)
EMPTY = View(("slow", "quick"), 20_000, Played.nothing(2), 0.0, State())


def console(*, terminal: bool, width: int = 100) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=width, color_system=None, legacy_windows=False), out


def drawn(view: View, width: int = 100) -> str:
    made, out = console(terminal=False, width=width)
    made.print(render(view))
    return out.getvalue().replace("\xa0", " ")


def rows(text: str) -> list[str]:
    """The lines of the models, in their order."""
    return [line for line in text.splitlines() if line.split()[:1] in (["slow"], ["quick"])]


def test_numbers_are_easy_to_read() -> None:
    assert [number(0), number(1999.6), number(1_234_567)] == ["0", "2\xa0000", "1\xa0234\xa0567"]
    assert [per_cent(0.256), per_cent(None), per_cent(1, 0)] == ["25.6\xa0%", "–", "100\xa0%"]


def test_the_table_shows_models_shares_and_the_reason() -> None:
    text = drawn(VIEW)
    assert "1 500 of 20 000 requests   2 000 a second   1 500 of 1 500 events counted" in text
    assert "weights 3: quick leads: P(best) 0.99; moved by 10 %" in text
    slow, quick = rows(text)
    assert [cell.strip() for cell in quick.split("  ") if cell.strip()][-4:] == ["90.0 %", "99.0 %", "1 200", "99.0 %"]
    assert quick.count("█") > 5 * slow.count("█") > 0


def test_before_the_first_weights() -> None:
    text = drawn(EMPTY)
    assert "no weights yet" in text
    assert "slow" in text
    assert plain_line(EMPTY).endswith("no weights yet")


def test_a_narrow_terminal_keeps_every_model() -> None:
    text = drawn(VIEW, width=55)
    assert max(map(len, text.splitlines())) <= 55
    assert [row.split()[-2:] for row in rows(text)] == [["84.0", "%"], ["99.0", "%"]]


def test_elsewhere_a_line_every_two_seconds() -> None:
    made, out = console(terminal=False)
    with Screen(made, render, plain_line) as screen:
        for tenth in range(50):
            screen.show(VIEW, now=tenth / 10)
    lines = out.getvalue().replace("\xa0", " ").splitlines()
    assert lines == ["  1 500 of 20 000 requests, 2 000/s: quick 90 %, slow 10 %"] * 3


def test_a_terminal_is_left_with_its_cursor() -> None:
    made, out = console(terminal=True)
    with Screen(made, render, plain_line) as screen:
        screen.show(VIEW, now=0.0)
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert out.getvalue().rindex(show) > out.getvalue().rindex(hide)


def test_the_last_words() -> None:
    made, out = console(terminal=False, width=80)
    print_summary(made, summarise("m", ("slow", "quick"), PLAYED, STATE))
    text = out.getvalue().replace("\xa0", " ")
    order = [text.index(what) for what in ("quick alone, the best", "the allocator", "even traffic, expected", "slow alone")]
    assert order == sorted(order)
    assert "Final weights (version 3): quick 90.0 %, slow 10.0 %." in text
    assert "The counts add up: 1 500 events sent = 1 500 applied." in text
