"""``POST /v1/embeddings``: passed on to the LLM that is named, and recorded; vectors of different models do not mix."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixllm.encoders.content import json_text_chars
from mixllm.errors import NoEligibleLLMError
from mixllm.gateway.access import key_of
from mixllm.gateway.bodies import InvalidBodyError, decode, read_fields
from mixllm.gateway.chat import answer
from mixllm.gateway.dialect import EMBEDDINGS
from mixllm.gateway.permissions import within
from mixllm.gateway.profiles import read_profile
from mixllm.gateway.requests import OWN_FIELD, ChatRequest, read_model, read_wishes, wishful
from mixllm.gateway.state import state_of
from mixllm.types import Endpoint, LLMSpec, Query

__all__ = ["embeddings"]

_INPUT = msgspec.json.Decoder(str | list[str | int | list[int]])


async def embeddings(request: Request) -> Response:
    """Answer with the vectors of the LLM that is named; ``mixllm/auto`` stands for the only one that there is."""
    started_s = time.perf_counter()
    router, key = state_of(request).router, key_of(request)
    trade_off = router.maker.weights.trade_off
    fields = await read_fields(request)
    model = read_model(fields)
    text, tokens_in, chars = _read_input(fields)
    wishes = read_wishes(fields)
    profile = read_profile(model, trade_off=trade_off)
    if profile is not None:
        model = _only([spec for spec in router.llms if key.allows(spec.name)], wishes.allowed_llms).name
    elif Endpoint.EMBEDDINGS not in router.llm(model).endpoints:
        raise NoEligibleLLMError({model: "does not serve embeddings; where it does, give it mode: embedding"})
    query = Query(
        text=text,
        tokens_in=tokens_in,
        prompt_chars=chars,
        endpoints=frozenset({Endpoint.EMBEDDINGS}),
    )
    query, llm = within(key, wishful(query, wishes, profile), llm=model, trade_off=trade_off)
    chat = ChatRequest(
        fields={name: raw for name, raw in fields.items() if name != OWN_FIELD},
        query=query,
        llm=llm,
        stream=False,
        wants_usage=False,
        ends_with_user=False,
        dialect=EMBEDDINGS,
    )
    return await answer(request, chat, started_s=started_s)


def _read_input(fields: dict[str, msgspec.Raw]) -> tuple[str, int | None, int]:
    """Return the first text of the input, its tokens where it comes as tokens, and its characters."""
    if "input" not in fields:
        raise InvalidBodyError("input is missing. Send a text, or a list of texts or tokens.", param="input")
    given: Any = decode(fields["input"], _INPUT, field="input")
    items = [given] if isinstance(given, str) else given
    texts = [item for item in items if isinstance(item, str)]
    tokens = sum(len(item) if isinstance(item, list) else 1 for item in items if not isinstance(item, str))
    return (texts[0] if texts else ""), (None if texts else tokens), json_text_chars(texts)


def _only(specs: Sequence[LLMSpec], allowed: frozenset[str] | None) -> LLMSpec:
    """Return the LLM that embeds; of several endpoints of one model the cheapest."""
    able = [
        spec for spec in specs if Endpoint.EMBEDDINGS in spec.endpoints and (allowed is None or spec.name in allowed)
    ]
    if not able:
        raise NoEligibleLLMError({spec.name: "does not serve embeddings" for spec in specs})
    if len({spec.upstream_model for spec in able}) > 1:
        names = ", ".join(sorted(spec.name for spec in able))
        raise InvalidBodyError(
            f"Vectors of different models cannot be compared, so there is no routing between them. Name one: {names}.",
            param="model",
        )
    return min(able, key=_price_in)


def _price_in(spec: LLMSpec) -> float:
    return 0.0 if spec.price is None else spec.price.usd_per_million_tokens_in
