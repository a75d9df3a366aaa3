"""Prices: from the spec where it has one, else from the list that `genai-prices` ships; never zero by default."""

from __future__ import annotations

import msgspec

from mixllm.errors import MissingExtraError, UnknownPriceError
from mixllm.types import LLMSpec, Price
from mixllm.units import TOKENS_PER_MILLION

__all__ = ["listed_price", "priced"]

_PROBE_TOKENS = 1_000
"""Few enough to stay on the first step of prices that depend on the prompt's length."""


def priced(spec: LLMSpec) -> LLMSpec:
    """Return `spec` with a price.

    Raises
    ------
    UnknownPriceError
        Where neither the spec nor the price list knows it.
    MissingExtraError
        Where the spec has no price and the price list is not installed.

    Examples
    --------
    >>> priced(LLMSpec(name="gpt-4o")).price.usd_per_million_tokens_in
    2.5
    """
    if spec.price is not None:
        return spec
    price = listed_price(spec.upstream_model)
    if price is None:
        raise UnknownPriceError(spec.name, spec.upstream_model)
    return msgspec.structs.replace(spec, price=price)


def listed_price(model: str) -> Price | None:
    """Return the list price of `model`, or None where the list does not know it.

    A provider's prefix (``openai/gpt-4o``) is understood. Where the price steps up with the prompt's length, the first
    step counts. An entry of the list without a price for prompts or for answers (free tiers, embeddings, prices not
    known to it) counts as not known.

    Examples
    --------
    >>> listed_price("openai/gpt-4o-mini").usd_per_million_tokens_out
    0.6
    >>> listed_price("no-such-model") is None
    True
    """
    try:
        from genai_prices import Usage, calc_price
    except ImportError as error:
        raise MissingExtraError("Looking up list prices", "prices") from error
    probe = _PROBE_TOKENS
    for reference, provider_id in _readings(model):
        try:
            prompt = calc_price(Usage(input_tokens=probe), reference, provider_id=provider_id).input_price
            answer = calc_price(Usage(output_tokens=probe), reference, provider_id=provider_id).output_price
            cached = calc_price(
                Usage(input_tokens=probe, cache_read_tokens=probe), reference, provider_id=provider_id
            ).input_price
        except LookupError:
            continue
        if not (prompt > 0 and answer > 0):
            continue
        scale = TOKENS_PER_MILLION // probe
        return Price(
            usd_per_million_tokens_in=float(prompt * scale),
            usd_per_million_tokens_out=float(answer * scale),
            usd_per_million_tokens_cached_in=float(cached * scale) if cached != prompt else None,
        )
    return None


def _readings(model: str) -> list[tuple[str, str | None]]:
    """Return what `model` may mean, as names and providers: the first part, or none of it, is the provider."""
    provider, slash, bare = model.partition("/")
    if not slash:
        return [(model, None)]
    return [(bare, provider), (model, None), (model.rpartition("/")[2], None)]
