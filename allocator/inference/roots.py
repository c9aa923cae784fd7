"""Where a set ends: bisection over arrays, which never raises and always ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from allocator.quadrature import FloatArray

__all__ = ["bisect"]


def bisect(
    inside: FloatArray, outside: FloatArray, excluded: Callable[[FloatArray], npt.NDArray[np.bool_]], steps: int = 64
) -> FloatArray:
    """Where, on the way from `inside` to `outside`, exclusion begins; `outside` itself where that is not excluded.

    Elementwise. Of the last bracket the excluded end is returned, so that an interval errs towards width. For a set that is no
    interval this finds one of its borders.
    """
    reached = excluded(outside)
    kept, gone = inside, outside
    for _ in range(steps):
        middle = 0.5 * (kept + gone)
        out = excluded(middle)
        kept, gone = np.where(out, kept, middle), np.where(out, middle, gone)
    return np.where(reached, gone, outside)
