"""What asking costs: an estimate before any call, and the most that one call can cost."""

from __future__ import annotations

from collections.abc import Sequence

from mixllm.errors import UnknownPriceError
from mixllm.tags.labelling.prompt import request_chars, tokens_out_limit
from mixllm.tags.labelling.settings import TaggingSettings
from mixllm.types import LLMSpec, Price, Value
from mixllm.units import tokens_from_chars

__all__ = ["CostEstimate", "batches", "estimate_cost", "most_usd", "price_of"]

_TOKENS_OUT_ENVELOPE = 12
_TOKENS_OUT_PER_QUERY = 12
_TOKENS_OUT_PER_TAG = 24
_USUAL_TAGS = 3  # InsTag's answers have about three tags a query
_FEWEST_BYTES_PER_TOKEN = 2  # of text in any language, on average over a request


class CostEstimate(Value, frozen=True, kw_only=True):
    """What tagging is expected to take, if every call succeeds at once.

    Parameters
    ----------
    calls
        Requests.
    tokens_in, tokens_out
        Tokens of all of them and of their answers.
    cost_usd
        Their price.
    """

    calls: int
    tokens_in: int
    tokens_out: int
    cost_usd: float


def estimate_cost(queries: Sequence[str], *, spec: LLMSpec, settings: TaggingSettings) -> CostEstimate:
    """Estimate the cost of tagging `queries`, without any call.

    Tokens of a prompt are its bytes over 4. Answers are taken to have three tags a query, at 24 tokens each with
    their explanations, and all of the reasoning tokens that are allowed.

    Raises
    ------
    UnknownPriceError
        Where `spec` has no price.

    Examples
    --------
    >>> price = Price(usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=2.0)
    >>> spec = LLMSpec(name="m", price=price)
    >>> estimate = estimate_cost(["2 + 2?"] * 25, spec=spec, settings=TaggingSettings())
    >>> estimate.calls, estimate.tokens_out
    (3, 2136)
    """
    price = price_of(spec)
    usual = min(_USUAL_TAGS, settings.max_tags) * _TOKENS_OUT_PER_TAG + _TOKENS_OUT_PER_QUERY
    calls = tokens_in = 0
    for rows in batches(range(len(queries)), settings.batch_size):
        calls += 1
        tokens_in += tokens_from_chars(request_chars([queries[row] for row in rows], settings=settings))
    tokens_out = calls * (_TOKENS_OUT_ENVELOPE + settings.reasoning_tokens) + len(queries) * usual
    return CostEstimate(
        calls=calls,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost_usd=price.cost_usd(tokens_in=tokens_in, tokens_out=tokens_out),
    )


def most_usd(queries: Sequence[str], *, price: Price, settings: TaggingSettings) -> float:
    """Return the most that one call for `queries` can cost: two bytes a token in, and an answer of full length."""
    return price.cost_usd(
        tokens_in=request_chars(queries, settings=settings) / _FEWEST_BYTES_PER_TOKEN,
        tokens_out=tokens_out_limit(len(queries), settings),
    )


def batches(rows: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Return `rows` in groups of `size`, the last one with what is left.

    Examples
    --------
    >>> batches(range(5), 2)
    [(0, 1), (2, 3), (4,)]
    """
    return [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]


def price_of(spec: LLMSpec) -> Price:
    """Return the price of `spec`; raises `UnknownPriceError` where it has none."""
    if spec.price is None:
        raise UnknownPriceError(spec.name, spec.upstream_model)
    return spec.price
