"""Numbers of the report as people read them, on the page and in the terminal alike. None is shown as a dash, or as infinity."""

from __future__ import annotations

from datetime import UTC, datetime
from math import floor, log10

__all__ = ["about", "count", "figure", "interval", "lift_interval", "percent", "share", "signed", "time"]

THIN = "\u202f"
LEAST = 1e-6
MOST = 1e12
"""From here on with an exponent, as an e-value may need."""


def count(n: float) -> str:
    """``20 000``."""
    return f"{n:,.0f}".replace(",", THIN)


def about(n: float) -> str:
    """Two figures: 7 494 123 is ``7 500 000``."""
    return count(round(n, 1 - floor(log10(n))) if n >= 1 else n)


def figure(value: float | None) -> str:
    """Four figures."""
    if value is None:
        return "–"
    if 0 < abs(value) < LEAST:
        return f"< {LEAST:g}"
    return count(value) if 1000 <= abs(value) < MOST else f"{value:.4g}"


def signed(value: float | None) -> str:
    """Three figures with a sign."""
    return "–" if value is None else f"{value:+.3g}"


def percent(value: float | None) -> str:
    """A share of 1 as per cent with a sign."""
    return "–" if value is None else f"{100 * value:+.1f} %"


def share(ppm: float) -> str:
    """Parts per million as per cent."""
    return f"{ppm / 1e4:.1f} %"


def interval(low: float | None, high: float | None) -> str:
    """Of differences."""
    return f"{'−∞' if low is None else signed(low)} to {'∞' if high is None else signed(high)}"


def lift_interval(low: float | None, high: float | None) -> str:
    """Of lifts."""
    return f"{'−∞' if low is None else percent(low)} to {'∞' if high is None else percent(high)}"


def time(ts: float) -> str:
    """UTC to the minute."""
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M UTC")
