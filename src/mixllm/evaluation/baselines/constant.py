"""Predictions that lead to one choice whatever the trade-off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.contender import Predictions

__all__ = ["always"]


def always(chosen: NDArray[np.intp], llms: int) -> Predictions:
    """Return predictions by which `chosen` is both best and cheapest, query by query.

    Parameters
    ----------
    chosen
        Column of the LLM to choose, shape (m,).
    llms
        Number K of LLMs.
    """
    wanted = np.zeros((len(chosen), llms))
    wanted[np.arange(len(chosen)), chosen] = 1.0
    return Predictions(quality=wanted, cost_usd=1.0 - wanted)
