from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.running import Gateway, chat_body

from mixllm.gateway.bodies import InvalidBodyError
from mixllm.gateway.profiles import read_profile


@pytest.mark.parametrize(
    ("model", "trade_off"),
    [
        ("mixllm/auto", 1.4),
        ("mixllm/auto:cost", 1.4 / 3),
        ("mixllm/auto:quality", 1.4 * 3),
        ("mixllm/auto:fast", 1.4),
        ("mixllm/auto-2.5", 2.5),
        ("mixllm/auto-0", 0.0),
    ],
)
def test_a_profile_decides_at_its_own_trade_off(gateway: Gateway, model: str, trade_off: float) -> None:
    decision = gateway.ask("POST", "/v1/route", chat_body(model)).json

    assert decision["trade_off"] == pytest.approx(trade_off)
    assert decision["policy"] != "forced"


def test_every_profile_answers(gateway: Gateway) -> None:
    replies = [
        gateway.chat(f"mixllm/auto{profile}") for profile in ("", ":cost", ":quality", ":fast", "-2.5", "-0", "-1e9")
    ]

    assert {reply.status for reply in replies} == {200}


def test_fast_shortens_the_deadline() -> None:
    profile = read_profile("mixllm/auto:fast", trade_off=1.4)

    assert profile is not None
    assert profile.deadline_s is not None
    assert profile.deadline_s < 30


@settings(deadline=None, derandomize=True)
@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_any_trade_off_can_be_named(trade_off: float) -> None:
    profile = read_profile(f"mixllm/auto-{trade_off!r}", trade_off=1.4)

    assert profile is not None
    assert profile.trade_off == trade_off


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=20))
def test_whatever_follows_the_prefix_is_a_profile_or_refused(rest: str) -> None:
    try:
        profile = read_profile(f"mixllm/{rest}", trade_off=1.4)
    except InvalidBodyError as error:
        assert error.param == "model"  # noqa: PT017 -- both outcomes are right
    else:
        assert profile is not None
        assert profile.trade_off is None or math.isfinite(profile.trade_off)


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o", "mixllm", "Mixllm/auto", ""])
def test_other_names_are_no_profiles(model: str) -> None:
    assert read_profile(model, trade_off=1.4) is None
