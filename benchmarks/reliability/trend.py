"""Whether something that was measured again and again grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BLOCKS = 12


def trend(times_s: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Return slope a minute with its standard error, and the means of the first and the last third.

    Notes
    -----
    Neighbouring samples are much alike, which would make the error of a plain fit too small: the line goes through the
    means of twelve blocks.
    """
    minutes, measured = np.asarray(times_s) / 60.0, np.asarray(values, dtype=float)
    blocks = [block for block in np.array_split(np.arange(len(measured)), _BLOCKS) if len(block)]
    x = np.array([minutes[block].mean() for block in blocks])
    y = np.array([measured[block].mean() for block in blocks])
    slope, offset = np.polyfit(x, y, 1)
    rest = y - (slope * x + offset)
    error = np.sqrt((rest @ rest) / max(1, len(x) - 2) / ((x - x.mean()) @ (x - x.mean())))
    third = max(1, len(measured) // 3)
    return {
        "slope_per_minute": round(float(slope), 4),
        "standard_error": round(float(error), 4),
        "first_third": round(float(measured[:third].mean()), 3),
        "last_third": round(float(measured[-third:].mean()), 3),
    }
