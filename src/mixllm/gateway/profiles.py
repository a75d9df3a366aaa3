"""The model names that mean routing: ``mixllm/auto``, its profiles, and ``mixllm/auto-<λ>``."""

from __future__ import annotations

import math

from mixllm.errors import did_you_mean
from mixllm.gateway.bodies import InvalidBodyError
from mixllm.types import Value

__all__ = ["AUTO", "AUTO_MODELS", "Profile", "read_profile"]

AUTO = "mixllm/auto"
_COST, _QUALITY, _FAST = f"{AUTO}:cost", f"{AUTO}:quality", f"{AUTO}:fast"

AUTO_MODELS = (AUTO, _COST, _QUALITY, _FAST)
"""The routing models that ``GET /v1/models`` lists."""

_SHIFT = 3.0
"""``:cost`` divides λ by it, ``:quality`` multiplies."""

_FAST_DEADLINE_S = 2.0
"""τ of ``:fast``."""


class Profile(Value, frozen=True, kw_only=True):
    """What a routing model asks for; None leaves the configured value."""

    trade_off: float | None = None
    deadline_s: float | None = None

    @property
    def neutral(self) -> bool:
        """Whether it leaves every configured value."""
        return self.trade_off is self.deadline_s is None


_NEUTRAL = Profile()


def read_profile(model: str, *, trade_off: float) -> Profile | None:
    """Return what `model` asks for, or None where it names an LLM.

    Parameters
    ----------
    model
        The request's model.
    trade_off
        The configured λ.

    Raises
    ------
    InvalidBodyError
        Where the name begins with ``mixllm/`` and means nothing.

    Examples
    --------
    >>> read_profile("mixllm/auto:cost", trade_off=1.5).trade_off
    0.5
    >>> read_profile("mixllm/auto-2.5", trade_off=1.5).trade_off
    2.5
    >>> read_profile("gpt-4o", trade_off=1.5) is None
    True
    """
    if not model.startswith("mixllm/"):
        return None
    if model == AUTO:
        return _NEUTRAL
    if model == _COST:
        return Profile(trade_off=trade_off / _SHIFT)
    if model == _QUALITY:
        return Profile(trade_off=trade_off * _SHIFT)
    if model == _FAST:
        return Profile(deadline_s=_FAST_DEADLINE_S)
    if model.startswith(f"{AUTO}-"):
        return Profile(trade_off=_trade_off(model))
    raise InvalidBodyError(
        f"No routing model {model[:200]!r}.{did_you_mean(model, AUTO_MODELS)} There are {', '.join(AUTO_MODELS)} and "
        f"{AUTO}-<λ>.",
        param="model",
    )


def _trade_off(model: str) -> float:
    try:
        value = float(model.removeprefix(f"{AUTO}-"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InvalidBodyError(f"{model[:200]!r}: λ must be a number >= 0, as in {AUTO}-1.4.", param="model")
    return value
