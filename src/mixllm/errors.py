"""The one tree of errors; every message ends with the next step for the user.

::

    MixLLMError
    ├── InvalidValueError (also ValueError)      a parameter, a field or a request value out of range
    ├── ConfigError                              the configuration cannot be used
    ├── MissingExtraError (also ImportError)     an optional dependency is not installed
    ├── RegistryError
    │   ├── UnknownLLMError                      no such LLM in the pool
    │   ├── DuplicateLLMError                    an LLM of that name is already in the pool
    │   └── UnknownPriceError                    neither the configuration nor the price list knows it
    ├── NoEligibleLLMError                       hard constraints rule out every LLM; says why for each
    │   └── PoolBusyError                        … for now: waiting helps
    ├── BudgetExhaustedError                     a budget of the period is spent
    ├── EncoderError                             an encoder's files are missing or damaged
    ├── StoreError
    │   ├── UnknownDecisionError                 no decision of that id
    │   ├── ConflictingEventError                the same event id with another content
    │   └── StoreClosedError                     the store has been closed
    ├── StateError                               learned state is corrupt or does not fit
    │   ├── NewerStateError                      … was written by a newer version
    │   └── OtherFeaturesError                   … was learned with another encoder, other tags or another model
    ├── LogError                                 a routing log cannot be read
    ├── NoSupportError                           a log cannot say what another policy would have done
    └── UpstreamError                            an LLM's endpoint failed
        ├── UpstreamTimeoutError                 … by taking too long
        ├── UpstreamStatusError                  … by answering with an error status
        └── UpstreamProtocolError                … by answering with something that is not the protocol
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping

__all__ = [
    "BudgetExhaustedError",
    "ConfigError",
    "ConflictingEventError",
    "DuplicateLLMError",
    "EncoderError",
    "InvalidValueError",
    "LogError",
    "MissingExtraError",
    "MixLLMError",
    "NewerStateError",
    "NoEligibleLLMError",
    "NoSupportError",
    "OtherFeaturesError",
    "PoolBusyError",
    "RegistryError",
    "StateError",
    "StoreClosedError",
    "StoreError",
    "UnknownDecisionError",
    "UnknownLLMError",
    "UnknownPriceError",
    "UpstreamError",
    "UpstreamProtocolError",
    "UpstreamStatusError",
    "UpstreamTimeoutError",
    "did_you_mean",
]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name, or an empty string.

    Examples
    --------
    >>> did_you_mean("gpt-4o-mni", ["gpt-4o-mini", "llama"])
    " Did you mean 'gpt-4o-mini'?"
    >>> did_you_mean("zzz", ["gpt-4o-mini"])
    ''
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


class MixLLMError(Exception):
    """Base of every error that MixLLM raises on purpose."""


class InvalidValueError(MixLLMError, ValueError):
    """A value out of range, named with its parameter and the range.

    Parameters
    ----------
    parameter
        Name of the parameter or field.
    value
        What was given.
    expected
        The range, as words that follow "must be".
    """

    def __init__(self, parameter: str, value: object, expected: str) -> None:
        self.parameter = parameter
        self.value = value
        self.expected = expected
        super().__init__(f"{parameter} must be {expected}; got {_short(value)}.")


class ConfigError(MixLLMError):
    """The configuration cannot be used; the message names the file, the line and the key."""


class MissingExtraError(MixLLMError, ImportError):
    """An optional dependency is missing; the message gives the command that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        self.feature = feature
        self.extra = extra
        super().__init__(f"{feature} needs an optional dependency. Install it: pip install 'mixllm[{extra}]'")


class RegistryError(MixLLMError):
    """Something about the pool of LLMs."""


class UnknownLLMError(RegistryError):
    """No LLM of that name is in the pool."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        self.known = names = sorted(known)
        listing = f" The pool holds: {', '.join(names)}." if names else " The pool is empty: add it first."
        super().__init__(f"No LLM named {_short(name)} in the pool.{did_you_mean(name, names)}{listing}")


class DuplicateLLMError(RegistryError):
    """An LLM of that name is already in the pool."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"An LLM named {_short(name)} is already in the pool. Remove it first, or choose another name."
        )


class UnknownPriceError(RegistryError):
    """The price of an LLM is neither configured nor in the price list."""

    def __init__(self, name: str, model: str) -> None:
        self.name = name
        super().__init__(
            f"No price is known for LLM {_short(name)} (model {_short(model)}). Give it one: "
            "input_cost_per_token and output_cost_per_token in its model_info, or price= in its LLMSpec. "
            "0 is allowed when the LLM really is free."
        )


class NoEligibleLLMError(MixLLMError):
    """Hard constraints rule out every LLM of the pool.

    Parameters
    ----------
    reasons
        For each LLM of the pool, why it cannot take the query.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        if not reasons:
            super().__init__("The pool is empty. Add an LLM: router.add_llm(spec), or POST /v1/llms.")
            return
        lines = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        super().__init__(
            f"No LLM of the pool can take this query. {lines}. Relax the constraint, or add an LLM that meets it."
        )


class PoolBusyError(NoEligibleLLMError):
    """Every LLM that could take the query is too busy, or refuses calls for a while.

    Parameters
    ----------
    reasons
        For each LLM of the pool, why it cannot take the query now.
    retry_after_s
        Time until the first of them could, as far as is known.
    """

    def __init__(self, reasons: Mapping[str, str], *, retry_after_s: float) -> None:
        super().__init__(reasons)
        self.retry_after_s = retry_after_s
        lines = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        message = (
            f"No LLM of the pool can take this query now. {lines}. Try again in {math.ceil(retry_after_s)} s, allow a "
            "longer wait (routing.max_wait_s), or add an LLM."
        )
        self.args = (message,)


class BudgetExhaustedError(MixLLMError):
    """A budget of the current period is spent, or what is left does not pay for this query.

    Parameters
    ----------
    key_id
        Name of the key whose budget it is; None where it is the budget over everything.
    retry_after_s
        Time until the next period begins.
    """

    def __init__(self, *, key_id: str | None, retry_after_s: float) -> None:
        self.key_id = key_id
        self.retry_after_s = retry_after_s
        whose, setting = ("The budget", "budget.usd") if key_id is None else ("The budget of this key", "budget.keys")
        super().__init__(
            f"{whose} does not pay for this request any more; the next period begins in {math.ceil(retry_after_s)} s. "
            f"Wait until then, raise {setting}, or set budget.when_spent: cheapest."
        )


class EncoderError(MixLLMError):
    """An encoder's files are missing, damaged or of another kind."""


class StoreError(MixLLMError):
    """The store cannot do what was asked."""


class UnknownDecisionError(StoreError):
    """No decision of that id is in the store."""

    def __init__(self, decision_id: str) -> None:
        self.decision_id = decision_id
        super().__init__(
            f"No decision {_short(decision_id)} is known. Use the id of a Decision, or of the header "
            "x-mixllm-inference-id; decisions older than the store's retention are gone."
        )


class ConflictingEventError(StoreError):
    """An event id was used before with another content."""

    def __init__(self, event_id: str) -> None:
        self.event_id = event_id
        super().__init__(
            f"Event {_short(event_id)} was already recorded with another content, and events are append-only. "
            "Send the same content to repeat it, or another Idempotency-Key (feedback_id) to add a new judgement."
        )


class StoreClosedError(StoreError):
    """The store has been closed."""

    def __init__(self) -> None:
        super().__init__("The store is closed. Open a new one, or keep the router open while it is in use.")


class StateError(MixLLMError):
    """Learned state is corrupt, of another shape, or written by a newer version."""


class NewerStateError(StateError):
    """State in a format that only a newer version reads; it is not damaged."""


class OtherFeaturesError(StateError):
    """State that was learned with another encoder, other tags or another model; it is not damaged."""


class LogError(MixLLMError):
    """A routing log cannot be read; the message names the file, the column and the row."""


class NoSupportError(MixLLMError):
    """A log cannot say what another policy would have done: what that policy would choose was hardly ever tried."""


class UpstreamError(MixLLMError):
    """An LLM's endpoint failed.

    Parameters
    ----------
    llm
        Name of the LLM in the pool.
    message
        What happened, without secrets and without the prompt.
    """

    def __init__(self, llm: str, message: str) -> None:
        self.llm = llm
        super().__init__(f"LLM {llm!r}: {message}")


class UpstreamTimeoutError(UpstreamError):
    """The endpoint took longer than its time limit."""


class UpstreamStatusError(UpstreamError):
    """The endpoint answered with an error status.

    Parameters
    ----------
    status
        HTTP status of the answer.
    body
        The body as received, bounded in size.
    retry_after_s
        What the endpoint asked to wait, if it did.
    """

    def __init__(self, llm: str, status: int, body: bytes = b"", retry_after_s: float | None = None) -> None:
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s
        super().__init__(
            llm, f"its endpoint answered with status {status}. Check its key and model name, or try another LLM."
        )


class UpstreamProtocolError(UpstreamError):
    """The endpoint answered with something that is not the protocol."""


def _short(value: object, limit: int = 120) -> str:
    try:
        text = repr(value)
    except ValueError:
        # Python refuses to write integers of thousands of digits.
        text = f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
