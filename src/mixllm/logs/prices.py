"""Prices out of recorded costs and tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.types import Price
from mixllm.units import TOKENS_PER_MILLION

__all__ = ["fit_price"]

_DECIMALS = 6


def fit_price(
    *, cost_usd: NDArray[np.float64], tokens_in: NDArray[np.float64], tokens_out: NDArray[np.float64]
) -> Price:
    """Return the prices that explain the costs best: least squares with both prices >= 0.

    Minimises sum over calls of (cost − tokens_in · p_in − tokens_out · p_out)². Where the best pair has a negative
    price, the best of the two solutions with one price at 0 is the constrained optimum. Prices are rounded to
    10⁻⁶ USD per million tokens.

    Parameters
    ----------
    cost_usd, tokens_in, tokens_out
        One value per call, shape (n,); calls with a NaN are left out.

    Raises
    ------
    InvalidValueError
        Where no call is left, or none has a token while one has a cost.

    Examples
    --------
    >>> tokens_in, tokens_out = np.array([1000.0, 400.0]), np.array([100.0, 1000.0])
    >>> fit_price(cost_usd=np.array([3.5e-3, 11e-3]), tokens_in=tokens_in, tokens_out=tokens_out)
    Price(usd_per_million_tokens_in=2.5, usd_per_million_tokens_out=10.0, usd_per_million_tokens_cached_in=None,
          usd_per_million_tokens_reasoning=None)
    """
    known = ~(np.isnan(cost_usd) | np.isnan(tokens_in) | np.isnan(tokens_out))
    if not known.any():
        raise InvalidValueError("tokens_in", "no call with cost and tokens", "known for one call or more")
    tokens = np.stack([tokens_in[known], tokens_out[known]], axis=1) / TOKENS_PER_MILLION
    costs = cost_usd[known]
    if costs.any() and not tokens.any():
        raise InvalidValueError("tokens_in", "no token in any call", "above 0 in one call or more")
    both, *_ = np.linalg.lstsq(tokens, costs, rcond=None)
    if (both < 0).any():
        both = min(_single_prices(tokens, costs), key=lambda prices: float(((costs - tokens @ prices) ** 2).sum()))
    price_in, price_out = (round(float(price), _DECIMALS) for price in both)
    return Price(usd_per_million_tokens_in=price_in, usd_per_million_tokens_out=price_out)


def _single_prices(tokens: NDArray[np.float64], costs: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    squares = (tokens**2).sum(axis=0)
    alone = np.divide(tokens.T @ costs, squares, out=np.zeros(2), where=squares > 0)
    return [np.array([alone[0], 0.0]), np.array([0.0, alone[1]])]
