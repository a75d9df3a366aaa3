"""What a caller says of an answer, as a number."""

from __future__ import annotations

import numpy as np

from mixllm.errors import InvalidValueError
from mixllm.units import fraction

__all__ = ["judgement"]


def judgement(quality: float | None, thumbs: bool | None) -> float:
    """Return the quality in [0, 1] that is meant: `quality` itself, 1 for thumbs up, 0 for down.

    Raises
    ------
    InvalidValueError
        Where not exactly one of them is given, or it is out of range.

    Examples
    --------
    >>> judgement(0.25, None), judgement(None, True)
    (0.25, 1.0)
    """
    if (quality is None) == (thumbs is None):
        raise InvalidValueError("quality, thumbs", (quality, thumbs), "given exactly one of them")
    if quality is not None:
        return float(fraction("quality", quality))
    if not isinstance(thumbs, (bool, np.bool_)):
        raise InvalidValueError("thumbs", thumbs, "True or False")
    return float(thumbs)
