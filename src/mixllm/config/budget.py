"""The section ``budget``: what may be spent in a period, in all and by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from mixllm.config.key_names import ENV_REFERENCE, key_name
from mixllm.config.section import Section, check_given
from mixllm.errors import ConfigError, InvalidValueError
from mixllm.types import Secret
from mixllm.units import positive

__all__ = ["BudgetConfig", "KeyBudgetConfig"]

_KEY_NAME = re.compile(r"key-[0-9a-f]{12}")


class KeyBudgetConfig(Section, frozen=True, kw_only=True):
    """Limits of one API key.

    Parameters
    ----------
    key
        The key: ``os.environ/NAME``, its name as decisions show it (``key-…``), or the key itself.
    usd
        Its budget of a period; None takes `each_key_usd`.
    max_request_usd
        No LLM whose forecast cost is above this may take its requests.
    """

    key: Secret
    usd: float | None = None
    max_request_usd: float | None = None

    def __post_init__(self) -> None:
        if not self.key.reveal().strip():
            raise InvalidValueError("key", self.key, "os.environ/NAME, the name of a key (key-…), or a key")
        check_given(positive, self, "usd", "max_request_usd")

    def key_id(self, environ: Mapping[str, str]) -> str:
        """Return the key's name; raises `ConfigError` where its variable is not set."""
        text = self.key.reveal()
        if _KEY_NAME.fullmatch(text):
            return text
        if text.startswith(ENV_REFERENCE):
            name = text.removeprefix(ENV_REFERENCE)
            if not environ.get(name):
                raise ConfigError(f"budget.keys: variable {name} is not set. Set it, or remove the entry.")
            text = environ[name]
        return key_name(Secret(text))


class BudgetConfig(Section, frozen=True, kw_only=True):
    """What may be spent.

    Parameters
    ----------
    usd
        Budget of a period over everything; None: not limited.
    each_key_usd
        Budget of a period of each API key that has none of its own.
    keys
        Limits of single keys.
    period
        ``hour``, ``day``, ``week`` (from Monday) or ``month``, in UTC.
    period_s
        In place of `period`: its length in seconds.
    when_spent
        ``refuse`` requests (429) until the next period, or take the ``cheapest`` LLM.
    max_request_usd
        No LLM whose forecast cost is above this may take a request.
    """

    usd: float | None = None
    each_key_usd: float | None = None
    keys: tuple[KeyBudgetConfig, ...] = ()
    period: Literal["hour", "day", "week", "month"] = "day"
    period_s: float | None = None
    when_spent: Literal["refuse", "cheapest"] = "refuse"
    max_request_usd: float | None = None

    def __post_init__(self) -> None:
        check_given(positive, self, "usd", "each_key_usd", "period_s", "max_request_usd")

    @property
    def limits_anything(self) -> bool:
        """Whether there is any limit."""
        return bool(self.keys) or not (self.usd is self.each_key_usd is self.max_request_usd is None)
