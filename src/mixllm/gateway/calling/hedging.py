"""How many requests may be hedged."""

from __future__ import annotations

from mixllm.units import fraction

__all__ = ["HedgeAllowance"]

_MOST_SAVED = 5.0
"""Hedges that quiet times can save up: a burst of late answers cannot double the load of the pool."""


class HedgeAllowance:
    """Grants hedges to a share of the requests at most.

    Parameters
    ----------
    max_share
        The share, in [0, 1].

    Examples
    --------
    >>> allowance = HedgeAllowance(max_share=0.5)
    >>> granted = []
    >>> for _ in range(6):
    ...     allowance.request()
    ...     granted.append(allowance.take())
    >>> granted
    [False, True, False, True, False, True]
    """

    def __init__(self, *, max_share: float) -> None:
        self.max_share = fraction("max_share", max_share)
        self._saved = 0.0

    def request(self) -> None:
        """Note that there was a request."""
        self._saved = min(_MOST_SAVED, self._saved + self.max_share)

    def take(self) -> bool:
        """Take the right to one hedge, and return whether there was one."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True

    def give_back(self) -> None:
        """Give the right to a hedge back that was not used."""
        self._saved += 1.0
