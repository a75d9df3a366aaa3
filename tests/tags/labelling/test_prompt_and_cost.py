from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.clock import ManualClock
from mixllm.errors import InvalidValueError, UnknownPriceError
from mixllm.tags.labelling.backoff import Backoff
from mixllm.tags.labelling.cost import estimate_cost, most_usd
from mixllm.tags.labelling.prompt import request_chars, tag_request
from mixllm.tags.labelling.replies import Reply, read_reply
from mixllm.tags.labelling.settings import TaggingSettings
from mixllm.tags.labelling.spending import Spending
from mixllm.types import LLMSpec, Price

PRICE = Price(usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=4.0)
SPEC = LLMSpec(name="m", price=PRICE)


@settings(max_examples=50)
@given(queries=st.lists(st.text(st.characters(codec=None), max_size=40), min_size=1, max_size=4))
def test_a_query_stays_within_its_quotes(queries: list[str]) -> None:
    body = json.loads(tag_request(queries, model="m", settings=TaggingSettings(max_query_chars=20)))
    items = json.loads(body["messages"][1]["content"])
    assert [item["id"] for item in items] == list(range(1, len(queries) + 1))
    assert all(len(item["query"]) <= 20 for item in items)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0] == json.loads(tag_request(["x"], model="m", settings=TaggingSettings()))["messages"][0]


def test_settings_reach_the_request() -> None:
    plain = json.loads(tag_request(["x"], model="big", settings=TaggingSettings(max_tags=2), attempt=2))
    assert (plain["model"], plain["temperature"], plain["stream"]) == ("big", 0.6, False)
    assert "1 to 2 coarse-grained tags" in plain["messages"][0]["content"]
    assert plain["max_tokens"] == 64 + 24 + 80
    with pytest.raises(InvalidValueError, match="queries must be one text or more"):
        tag_request([], model="m", settings=TaggingSettings())


@pytest.mark.parametrize(
    "bad",
    [
        {"batch_size": 0},
        {"batch_size": 101},
        {"concurrency": True},
        {"max_tags": 2.0},
        {"max_attempts": 0},
        {"max_retries": -1},
        {"reasoning_tokens": -1},
        {"max_query_chars": 1},
        {"first_backoff_s": 0.0},
        {"longest_wait_s": float("inf")},
        {"max_cost_usd": -1.0},
        {"max_cost_usd": float("nan")},
    ],
)
def test_bad_settings_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(bad))):
        TaggingSettings(**bad)


def test_the_estimate_by_hand() -> None:
    chosen = TaggingSettings(batch_size=2, reasoning_tokens=100)
    queries = ["aaaa", "bbbb", "cccc"]
    estimate = estimate_cost(queries, spec=SPEC, settings=chosen)
    chars = [request_chars(queries[:2], settings=chosen), request_chars(queries[2:], settings=chosen)]
    assert estimate.calls == 2
    assert estimate.tokens_in == -(-chars[0] // 4) - (-chars[1] // 4)
    assert estimate.tokens_out == 2 * 112 + 3 * 84
    assert estimate.cost_usd == pytest.approx(estimate.tokens_in / 1e6 + 4 * estimate.tokens_out / 1e6)
    nothing = estimate_cost([], spec=SPEC, settings=chosen)
    assert (nothing.calls, nothing.cost_usd) == (0, 0.0)
    with pytest.raises(UnknownPriceError):
        estimate_cost(queries, spec=LLMSpec(name="m"), settings=chosen)


@settings(max_examples=30)
@given(queries=st.lists(st.text(max_size=60), min_size=1, max_size=6), tags=st.integers(1, 20))
def test_one_call_is_never_expected_above_its_most(queries: list[str], tags: int) -> None:
    chosen = TaggingSettings(batch_size=6, max_tags=tags)
    expected = estimate_cost(queries, spec=SPEC, settings=chosen).cost_usd
    assert expected <= most_usd(queries, price=PRICE, settings=chosen)


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b'{"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"x": 1}, 3]}}]}', Reply(text="a")),
        (b'{"choices": [{"message": {"content": 3}}], "usage": {"prompt_tokens": -1}}', Reply()),
        (b'{"choices": [{"message": null}], "usage": {"prompt_tokens": true, "completion_tokens": 1.5}}', Reply()),
        (b'{"choices": [3], "usage": 3}', Reply()),
        (b'{"choices": {}}', Reply()),
        (b"", Reply()),
        (b"[]", Reply()),
        (b"\xff", Reply()),
        (b"[" * 100_000, Reply()),
    ],
)
def test_a_reply_is_read_as_far_as_it_can_be(body: bytes, reply: Reply) -> None:
    assert read_reply(body) == reply


async def test_money_under_way_is_waited_for() -> None:
    account = Spending(cap_usd=1.0, spent_usd=0.1)
    assert await account.reserve(0.6)
    second = asyncio.create_task(account.reserve(0.6))
    await asyncio.sleep(0)
    assert not second.done()
    account.settle(0.6, spent_usd=0.2)
    assert await second
    assert account.spent_usd == pytest.approx(0.3)
    third = asyncio.create_task(account.reserve(0.6))
    await asyncio.sleep(0)
    account.settle(0.6, spent_usd=0.6)
    assert not await third


async def test_waits_double_up_to_the_longest_and_are_shared() -> None:
    clock = ManualClock()

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    backoff = Backoff(first_s=1.0, longest_s=5.0, clock=clock, sleep=sleep)
    waits = []
    for failures in (1, 2, 3, 4, 100):
        before = clock.monotonic_s()
        backoff.failed(failures=failures)
        backoff.failed(failures=1)
        await backoff.wait(unless=lambda: False)
        waits.append(round(clock.monotonic_s() - before, 6))
    assert waits == [1, 2, 4, 5, 5]
    backoff.failed(failures=1, asked_s=30.0)
    await backoff.wait(unless=lambda: clock.monotonic_s() >= 20)
    assert clock.monotonic_s() < 22
