"""Time in an LLM's queue."""

from __future__ import annotations

from mixllm.errors import InvalidValueError
from mixllm.units import non_negative

__all__ = ["expected_wait_s"]


def expected_wait_s(*, in_flight: int, max_in_flight: float | None, service_s: float) -> float:
    """Return how long a new call waits until the LLM starts on it.

    Parameters
    ----------
    in_flight
        Calls under way.
    max_in_flight
        Calls served at the same time, >= 1; None or infinite: no wait.
    service_s
        Time of one call without waiting.

    Notes
    -----
    With c servers and n calls under way, a new call waits for max(0, n − c + 1) departures, one every service_s/c.

    Examples
    --------
    >>> expected_wait_s(in_flight=3, max_in_flight=4, service_s=2.0)
    0.0
    >>> expected_wait_s(in_flight=5, max_in_flight=4, service_s=2.0)
    1.0
    """
    non_negative("in_flight", in_flight)
    non_negative("service_s", service_s)
    if max_in_flight is None:
        return 0.0
    if not max_in_flight >= 1:
        raise InvalidValueError("max_in_flight", max_in_flight, ">= 1")
    return max(0.0, in_flight - max_in_flight + 1) * service_s / max_in_flight
