"""Hard constraints: each with its message, in their order."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from tests.decision.forecasts import forecast

from mixllm.decision.constraints import Refusal, asks_little, takes_much, why_ineligible
from mixllm.types import Capability, Endpoint, Hold, LLMSpec, Query

SPEC = LLMSpec(name="a", context_window=1_000, capabilities=frozenset({Capability.TOOLS}))
FORECAST = forecast(quality=0.6, cost_usd=0.002, latency_s=4.0)


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({}, None),
        ({"allowed_llms": frozenset({"a", "b"})}, None),
        ({"allowed_llms": frozenset({"b"})}, "not among the allowed LLMs"),
        ({"allowed_llms": frozenset()}, "not among the allowed LLMs"),
        ({"endpoints": frozenset({Endpoint.EMBEDDINGS})}, "does not serve embeddings"),
        ({"endpoints": frozenset({Endpoint.CHAT, Endpoint.RESPONSES})}, None),
        ({"needs": frozenset({Capability.TOOLS})}, None),
        ({"needs": frozenset({Capability.VISION})}, "cannot do vision"),
        (
            {"needs": frozenset({Capability.VISION, Capability.TOOLS, Capability.JSON, Capability.AUDIO})},
            "cannot do audio, json, vision",
        ),
        ({"tokens_in": 999}, None),
        ({"tokens_in": 1_000}, "context window of 1000 tokens is too small for 1001"),
        ({"tokens_in": 600, "max_tokens_out": 400}, None),
        ({"tokens_in": 600, "max_tokens_out": 401}, "context window of 1000 tokens is too small for 1001"),
        ({"prompt_chars": 40_000}, "context window of 1000 tokens is too small for 10001"),
        ({"max_cost_usd": 0.002}, None),
        ({"max_cost_usd": 0.0019}, "expected cost $0.002000 is above the limit of $0.001900"),
        ({"max_cost_usd": 0.0}, "expected cost $0.002000 is above the limit of $0.000000"),
        ({"min_quality": 0.6}, None),
        ({"min_quality": 0.61}, "expected quality 0.600 is below the limit of 0.610"),
        ({"max_latency_s": 4.0}, None),
        ({"max_latency_s": 3.5}, "latency of up to 4.00 s is above the limit of 3.50 s"),
        ({"max_ttft_s": 60.0}, None),
    ],
)
def test_each_constraint_says_why(wish: dict[str, Any], why: str | None) -> None:
    found = why_ineligible(Query(text="hi", **wish), SPEC, FORECAST)
    assert found == (None if why is None else Refusal(why))


def test_an_unknown_context_window_is_never_a_reason() -> None:
    assert why_ineligible(Query(text="hi", tokens_in=10**9), LLMSpec(name="a"), FORECAST) is None


def test_the_first_reason_is_given() -> None:
    wishes: list[tuple[str, dict[str, Any]]] = [
        ("allowed", {"allowed_llms": frozenset({"b"})}),
        ("vision", {"needs": frozenset({Capability.VISION})}),
        ("context window", {"tokens_in": 5_000}),
        ("cost", {"max_cost_usd": 0.001}),
        ("quality", {"min_quality": 0.9}),
        ("latency", {"max_latency_s": 1.0}),
    ]
    for place, (word, _) in enumerate(wishes):
        rest = {name: value for _, wish in wishes[place:] for name, value in wish.items()}
        why = why_ineligible(Query(text="hi", **rest), SPEC, FORECAST)
        assert why is not None
        assert word in why.reason


@pytest.mark.parametrize(
    "asked",
    [
        {"allowed_llms": frozenset[str]()},
        {"needs": frozenset({Capability.VISION})},
        {"max_cost_usd": 1.0},
        {"min_quality": 0.0},
        {"max_latency_s": 1.0},
    ],
)
def test_every_constraint_is_more_than_little(asked: dict[str, Any]) -> None:
    assert not asks_little(Query(text="hi", **asked))


def test_other_wishes_rule_nothing_out() -> None:
    query = Query(text="hi", tokens_in=3, max_tokens_out=10, trade_off=2.0, deadline_s=3.0)
    assert asks_little(query)
    assert why_ineligible(query, LLMSpec(name="a"), forecast(cost_usd=1e9, quality=0.0, latency_s=1e9)) is None


def test_deadlines_hold_for_the_tail_and_not_the_mean_alone() -> None:
    late = msgspec.structs.replace(FORECAST, latency_tail_s=9.0, ttft_tail_s=5.0)
    assert why_ineligible(Query(text="hi", max_latency_s=9.0, max_ttft_s=5.0), SPEC, late) is None
    assert why_ineligible(Query(text="hi", max_latency_s=8.0), SPEC, late) == Refusal(
        "latency of up to 9.00 s is above the limit of 8.00 s"
    )
    assert why_ineligible(Query(text="hi", max_ttft_s=4.0), SPEC, late) == Refusal(
        "time to the first token of up to 5.00 s is above the limit of 4.00 s"
    )


@pytest.mark.parametrize(
    ("spec", "much"),
    [
        (LLMSpec(name="a"), True),
        (LLMSpec(name="a", context_window=10), False),
        (LLMSpec(name="a", endpoints=frozenset({Endpoint.EMBEDDINGS})), False),
        (LLMSpec(name="a", endpoints=frozenset()), False),
    ],
)
def test_an_llm_that_takes_much_is_never_ruled_out_where_little_is_asked(spec: LLMSpec, *, much: bool) -> None:
    query = Query(text="hi", tokens_in=100)

    assert takes_much(spec) is much
    assert asks_little(query)
    assert (why_ineligible(query, spec, FORECAST) is None) is much


def test_a_query_for_another_endpoint_asks_much() -> None:
    assert not asks_little(Query(text="hi", endpoints=frozenset({Endpoint.RESPONSES, Endpoint.CHAT})))


def test_what_passes_says_when() -> None:
    hold = Hold(wait_s=12.3, reason="used up")
    assert why_ineligible(Query(text="hi"), SPEC, FORECAST, hold=hold) == Refusal("used up", 12.3)
    waiting = msgspec.structs.replace(FORECAST, wait_s=3.0)
    assert why_ineligible(Query(text="hi"), SPEC, waiting, max_wait_s=3.0) is None
    found = why_ineligible(Query(text="hi"), SPEC, waiting, max_wait_s=2.0)
    assert found == Refusal("its queue is full: expected wait of 3.0 s is above the limit of 2.0 s", 1.0)


def test_a_hold_without_end_does_not_pass() -> None:
    assert why_ineligible(Query(text="hi"), SPEC, FORECAST, hold=Hold(wait_s=math.inf, reason="x")) == Refusal("x")


def test_a_deadline_passes_only_where_the_wait_is_what_breaks_it() -> None:
    waiting = msgspec.structs.replace(FORECAST, wait_s=3.0)  # 4 s, 3 of them waiting
    found = why_ineligible(Query(text="hi", max_latency_s=1.5), SPEC, waiting)
    assert found == Refusal("latency of up to 4.00 s is above the limit of 1.50 s, 3.00 s of it are waiting", 2.5)
    assert why_ineligible(Query(text="hi", max_latency_s=0.5), SPEC, waiting) == Refusal(
        "latency of up to 4.00 s is above the limit of 0.50 s"
    )


def test_what_does_not_pass_is_said_before_what_does() -> None:
    waiting = msgspec.structs.replace(FORECAST, wait_s=3.0)
    found = why_ineligible(
        Query(text="hi", max_latency_s=0.5), SPEC, waiting, hold=Hold(wait_s=1.0, reason="x"), max_wait_s=1.0
    )
    assert found is not None
    assert found.passes_in_s is None
