"""Figures as a person reads them at a glance; exact ones are in `allocator.durations`."""

from __future__ import annotations

from allocator.durations import rough_duration

__all__ = ["rough_duration"]
