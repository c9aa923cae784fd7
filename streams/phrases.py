"""Figures as a person reads them at a glance; exact ones are in `allocator.durations`."""

from __future__ import annotations

__all__ = ["rough_duration"]


def rough_duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min``, ``5 h``, ``2 d``: at most three figures, and never a small number of a large unit."""
    for unit, size_s in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
