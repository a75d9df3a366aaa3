"""The value objects: frozen, checked, and safe to show."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm import types
from mixllm.errors import InvalidValueError
from mixllm.types import (
    MAX_COUNT,
    Candidate,
    Capability,
    Decision,
    Estimate,
    Feedback,
    FeedbackKind,
    Forecast,
    LLMSpec,
    Outcome,
    OutcomeEvent,
    OutcomeStatus,
    PoolChange,
    Price,
    Query,
    Secret,
    Value,
)

SOME = Estimate(mean=1.0, std=0.5)
FORECAST = Forecast(quality=SOME, tokens_out=SOME, cost_usd=SOME, ttft_s=SOME, wait_s=0.0, latency_s=SOME)


def decision(chosen: str = "b") -> Decision:
    return Decision(
        decision_id="1",
        created_at_s=0.0,
        llm=chosen,
        reason="",
        policy="ucb",
        trade_off=1.4,
        cost_scale_usd=1.0,
        model_version=1,
        seed=0,
        tokens_in=1,
        tags=(),
        candidates=tuple(
            Candidate(llm=name, forecast=FORECAST, score=0.0, propensity=propensity)
            for name, propensity in (("a", 0.25), ("b", 0.75))
        ),
    )


def feedback(**change: Any) -> Feedback:
    return Feedback(**{"feedback_id": "f", "decision_id": "d", "kind": FeedbackKind.REFINED, "value": 0.5, **change})


@pytest.mark.parametrize(
    "kind",
    [kind for _, kind in inspect.getmembers(types, inspect.isclass) if issubclass(kind, Value) and kind is not Value],
)
def test_values_are_frozen_keyword_only_and_documented(kind: type[Value]) -> None:
    assert kind.__struct_config__.frozen
    assert kind.__doc__
    assert kind.__name__ in types.__all__
    assert all(
        parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in inspect.signature(kind).parameters.values()
    )


def test_values_compare_by_content() -> None:
    assert Query(text="a") == Query(text="a")
    assert hash(Query(text="a")) == hash(Query(text="a"))
    with pytest.raises(AttributeError):
        Query(text="a").text = "b"  # type: ignore[misc]


# --- Secret -----------------------------------------------------------------------------------------------------------


def test_a_secret_never_shows() -> None:
    secret = Secret("sk-very-secret")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!s:>20}", repr([secret]), repr({"k": secret})]
    shown += [str(InvalidValueError("api_keys", (secret,), "without blanks"))]
    assert all("very" not in text and "***" in text for text in shown)
    assert secret.reveal() == "sk-very-secret"
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_compare_by_content() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert copy.deepcopy(Secret("a")) == pickle.loads(pickle.dumps(Secret("a"))) == Secret("a")


# --- Query ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_values", "tokens"),
    [
        ({"text": ""}, 1),
        ({"text": "x" * 401}, 101),
        ({"text": "x", "prompt_chars": 4_000}, 1_000),
        ({"text": "x" * 4_000, "tokens_in": 3}, 3),
        ({"text": "x" * 4_000, "prompt_chars": 8, "tokens_in": 0}, 0),
    ],
)
def test_prompt_tokens_are_counted_or_estimated(given_values: dict[str, Any], tokens: int) -> None:
    assert Query(**given_values).prompt_tokens == tokens


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens_in", -1),
        ("tokens_in", MAX_COUNT + 1),
        ("tokens_in", 10**400),
        ("prompt_chars", -1),
        ("max_tokens_out", 0),
        ("max_tokens_out", 10**400),
        ("max_cost_usd", -0.1),
        ("max_cost_usd", math.nan),
        ("min_quality", 1.1),
        ("min_quality", math.nan),
        ("max_latency_s", 0.0),
        ("trade_off", -1.0),
        ("trade_off", math.inf),
        ("deadline_s", 0.0),
        ("deadline_s", math.nan),
    ],
)
def test_a_query_out_of_range_is_refused(name: str, value: float) -> None:
    bad: dict[str, Any] = {"text": "hi", name: value}
    with pytest.raises(InvalidValueError, match=f"^{name} must be") as caught:
        Query(**bad)
    assert caught.value.parameter == name


# --- Price ------------------------------------------------------------------------------------------------------------

FULL_PRICE = Price(
    usd_per_million_tokens_in=2.0,
    usd_per_million_tokens_out=10.0,
    usd_per_million_tokens_cached_in=0.5,
    usd_per_million_tokens_reasoning=20.0,
)


def test_a_call_is_priced_by_its_parts() -> None:
    cost = FULL_PRICE.cost_usd(tokens_in=1_000, tokens_out=500, cached_tokens_in=400, reasoning_tokens=100)
    assert cost == pytest.approx((600 * 2 + 400 * 0.5 + 400 * 10 + 100 * 20) / 1e6)
    plain = Price(usd_per_million_tokens_in=2.0, usd_per_million_tokens_out=10.0)
    assert plain.cost_usd(tokens_in=1_000, tokens_out=500, cached_tokens_in=400, reasoning_tokens=100) == pytest.approx(
        (1_000 * 2 + 500 * 10) / 1e6
    )
    assert FULL_PRICE.blended_usd_per_million_tokens == 4.0


def test_parts_are_never_more_than_the_whole() -> None:
    cost = FULL_PRICE.cost_usd(tokens_in=10, tokens_out=10, cached_tokens_in=99, reasoning_tokens=99)
    assert cost == pytest.approx((10 * 0.5 + 10 * 20) / 1e6)


@given(st.integers(0, MAX_COUNT), st.integers(0, MAX_COUNT), st.integers(0, MAX_COUNT), st.integers(0, MAX_COUNT))
def test_a_cost_is_never_negative(tokens_in: int, tokens_out: int, cached: int, reasoning: int) -> None:
    cost = FULL_PRICE.cost_usd(
        tokens_in=tokens_in, tokens_out=tokens_out, cached_tokens_in=cached, reasoning_tokens=reasoning
    )
    assert 0 <= cost < math.inf


@pytest.mark.parametrize("field", Price.__struct_fields__)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_price_out_of_range_is_refused(field: str, value: float) -> None:
    given_values = {"usd_per_million_tokens_in": 1.0, "usd_per_million_tokens_out": 1.0, field: value}
    with pytest.raises(InvalidValueError, match=f"^{field} must be"):
        Price(**given_values)


# --- LLMSpec ----------------------------------------------------------------------------------------------------------


def test_the_endpoint_calls_it_by_its_model_or_its_name() -> None:
    assert LLMSpec(name="a").upstream_model == "a"
    assert LLMSpec(name="a", model="b").upstream_model == "b"
    assert LLMSpec(name="a").capabilities == {Capability.TOOLS, Capability.JSON}


@pytest.mark.parametrize("name", ["a", "openai/gpt-4o", "ein Größtes Modell ✓", "x" * 200, "mixllm", "auto:cost"])
def test_good_names(name: str) -> None:
    assert LLMSpec(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a ", "a\nb", "a\0b", "\ud800", "x" * 201, "mixllm/auto", "mixllm/", "a\u202eb"]
)
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match=r"^name must be"):
        LLMSpec(name=name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("api_base", "ftp://x"),
        ("api_base", ""),
        ("api_base", "localhost:8000"),
        ("context_window", 0),
        ("context_window", 10**400),
        ("max_in_flight", 0),
        ("max_in_flight", 10**400),
        ("timeout_s", 0.0),
        ("timeout_s", math.nan),
    ],
)
def test_a_spec_out_of_range_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidValueError, match=f"^{field} must be"):
        LLMSpec(**{"name": "a", field: value})


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    for api_base in ("https://me:hidden@host/v1", "http://hidden@host"):
        with pytest.raises(InvalidValueError, match=r"^api_base must be a URL without a user and password") as caught:
            LLMSpec(name="a", api_base=api_base)
        assert "hidden" not in str(caught.value)
    assert LLMSpec(name="a", api_base="https://host/v1/@me").api_base == "https://host/v1/@me"


# --- Decision, Outcome, Feedback --------------------------------------------------------------------------------------


def test_a_decision_knows_its_chosen_candidate() -> None:
    assert decision().chosen.llm == "b"
    assert decision().propensity == 0.75
    assert decision("a").propensity == 0.25


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            (field, value)
            for field in ("tokens_in", "tokens_out", "cached_tokens_in", "reasoning_tokens", "attempt")
            for value in (-1, MAX_COUNT + 1, 10**400)
        ],
        *[
            (field, value)
            for field in ("cost_usd", "latency_s", "ttft_s")
            for value in (-1.0, math.nan, math.inf, 10**400)
        ],
    ],
)
def test_an_outcome_out_of_range_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidValueError, match=f"^{field} must be"):
        Outcome(**{field: value})


def test_an_outcome_may_be_empty() -> None:
    outcome = Outcome()
    assert outcome.status is OutcomeStatus.OK
    assert outcome.cost_usd is None
    assert OutcomeEvent(decision_id="d", outcome=Outcome(attempt=2), created_at_s=0.0).event_id == "d/2"


@pytest.mark.parametrize(
    "change",
    [
        {"value": -0.1},
        {"value": 1.1},
        {"value": math.nan},
        {"kind": FeedbackKind.BINARY, "value": 0.5},
        {"feedback_id": ""},
        {"feedback_id": "x" * 601},
        {"decision_id": ""},
        {"metric": ""},
        {"source": ""},
        {"created_at_s": math.nan},
    ],
)
def test_a_feedback_out_of_range_is_refused(change: dict[str, Any]) -> None:
    (name,) = change.keys() - {"kind"}
    with pytest.raises(InvalidValueError, match=f"^{name} must be"):
        feedback(**change)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_thumbs_are_0_or_1(value: float) -> None:
    assert feedback(kind=FeedbackKind.BINARY, value=value).value == value


@pytest.mark.parametrize(
    "value",
    [
        decision(),
        Query(text="a", needs=frozenset({Capability.VISION}), allowed_llms=frozenset({"x"}), trade_off=2.0),
        Outcome(llm="a", status=OutcomeStatus.BROKEN_STREAM, tokens_in=1, cost_usd=0.1, error="cut"),
        feedback(tags=(("a", "b"),)),
        PoolChange(spec=LLMSpec(name="a", price=FULL_PRICE), active=False, created_at_s=1.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_survive_json(value: Value) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_json_out_of_range_is_refused_on_reading() -> None:
    with pytest.raises(msgspec.ValidationError, match="tokens_out must be between"):
        msgspec.json.decode(b'{"tokens_out": 1' + b"0" * 30 + b"}", type=Outcome)


def test_an_endpoint_with_a_password_in_its_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidValueError, match="api_base") as refused:
        LLMSpec(name="a", api_base="https://me:hidden@h.example/v1")
    assert "hidden" not in str(refused.value)
