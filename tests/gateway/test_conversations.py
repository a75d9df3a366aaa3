"""Conversations: they stay where their prompt is cached, as far as that pays; agents stay with their LLM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.running import Gateway, Reply, config_for, config_tree

from mixllm.config import ConversationsConfig, parse_config
from mixllm.playback import ErrorStatus, PlaybackServer
from mixllm.types import LLMSpec, Price

COST_ALONE = "mixllm/auto-0"
"""λ = 0: the LLM with the lowest expected cost is chosen."""
LONG = "word " * 2000
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL: Any = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT: Any = {"role": "tool", "tool_call_id": "1", "content": "7"}


def spec(pool: PlaybackServer, name: str, *, usd: float, cached_usd: float | None = None) -> LLMSpec:
    price = Price(
        usd_per_million_tokens_in=usd, usd_per_million_tokens_out=0, usd_per_million_tokens_cached_in=cached_usd
    )
    return LLMSpec(name=name, model="atlas-large", api_base=pool.base_url, price=price)


@pytest.fixture
def talking(pool: PlaybackServer, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway over a dear LLM with a cheap cache and a cheap one that has none."""
    with make(pool, tmp_path) as running:
        yield running


def make(pool: PlaybackServer, folder: Path, **conversations: Any) -> Gateway:
    tree = config_tree(pool, folder / "mixllm.db", ["atlas-large"])
    tree["routing"] = {"policy": {"name": "greedy"}, "conversations": conversations}
    tree["model_list"] = [
        entry_of(spec(pool, "dear", usd=3.0, cached_usd=0.3)),
        entry_of(spec(pool, "cheap", usd=1.0)),
    ]
    return Gateway(parse_config(json.dumps(tree)))


def entry_of(llm: LLMSpec) -> dict[str, Any]:
    assert llm.price is not None
    cached = llm.price.usd_per_million_tokens_cached_in
    info = {} if cached is None else {"cache_read_input_token_cost": cached / 1e6}
    return {
        "model_name": llm.name,
        "litellm_params": {"model": llm.upstream_model, "api_base": llm.api_base},
        "model_info": {
            "input_cost_per_token": llm.price.usd_per_million_tokens_in / 1e6,
            "output_cost_per_token": 0.0,
            **info,
        },
    }


def say(
    gateway: Gateway, messages: list[dict[str, Any]], model: str = COST_ALONE, *, session: str = "", **fields: Any
) -> Reply:
    headers = {"x-mixllm-session": session} if session else {}
    body = {"model": model, "messages": messages, **fields}
    return gateway.ask("POST", "/v1/chat/completions", body, headers)


def llm_of(reply: Reply) -> str:
    assert reply.status == 200
    return reply.headers["x-mixllm-model"]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def begun(gateway: Gateway, first: str = LONG, **options: Any) -> list[dict[str, Any]]:
    """Have a turn with the dear LLM; return the conversation with the next question."""
    opening = [user(first)]
    answer = say(gateway, opening, "dear", **options).json["choices"][0]["message"]
    return [*opening, {"role": "assistant", "content": answer["content"]}, user("And now?")]


def test_a_conversation_stays_where_it_is_cached(talking: Gateway) -> None:
    chat = begun(talking)
    stranger = [user("other " * 2000)]

    stayed = say(talking, chat)
    known = talking.ask("GET", f"/v1/decisions/{stayed.inference_id}").json["decision"]

    assert llm_of(say(talking, stranger)) == "cheap"
    assert llm_of(stayed) == "dear"
    costs = {one["llm"]: one["forecast"]["cost_usd"]["mean"] for one in known["candidates"]}
    tokens, cached = known["tokens_in"], len(LONG) / 4
    assert costs["dear"] == pytest.approx((cached * 0.3 + (tokens - cached) * 3) / 1e6, rel=0.05)
    assert costs["cheap"] == pytest.approx(tokens / 1e6, rel=0.05)


def test_it_switches_where_that_pays(talking: Gateway) -> None:
    chat = begun(talking)
    chat[-1] = user("much more " * 4000)

    assert llm_of(say(talking, chat)) == "cheap"


def test_the_next_turn_starts_from_the_switch(talking: Gateway) -> None:
    chat = begun(talking)
    switched = say(talking, chat, "cheap").json["choices"][0]["message"]["content"]

    next_turn = [*chat, {"role": "assistant", "content": switched}, user("Thanks, and then?")]

    assert llm_of(say(talking, next_turn)) == "cheap"


def test_caches_grow_cold(pool: PlaybackServer, tmp_path: Path) -> None:
    with make(pool, tmp_path, cache_ttl_s=1e-6) as gateway:
        assert llm_of(say(gateway, begun(gateway))) == "cheap"


def test_short_prompts_are_not_cached(talking: Gateway) -> None:
    assert llm_of(say(talking, begun(talking, "word " * 100))) == "cheap"


def test_a_request_may_want_none_of_it(talking: Gateway) -> None:
    chat = begun(talking)

    assert llm_of(say(talking, chat, mixllm={"sticky": False})) == "cheap"
    assert llm_of(say(talking, chat, "cheap")) == "cheap"


def test_it_can_be_switched_off(pool: PlaybackServer, tmp_path: Path) -> None:
    with make(pool, tmp_path, sticky=False) as gateway:
        assert llm_of(say(gateway, begun(gateway))) == "cheap"


@pytest.mark.parametrize("named", ["header", "metadata"])
def test_a_session_is_known_by_its_name(talking: Gateway, named: str) -> None:
    options: dict[str, Any] = {"session": "s1"} if named == "header" else {"metadata": {"session_id": "s1"}}
    begun(talking, **options)
    shortened = [user("word " * 1500 + "What was it about?")]

    assert llm_of(say(talking, shortened)) == "cheap"
    assert llm_of(say(talking, shortened, **options)) == "dear"


def test_users_and_changed_beginnings_are_apart(talking: Gateway) -> None:
    chat = begun(talking, user="ann")
    changed = [{**chat[0], "content": "x" + chat[0]["content"]}, *chat[1:]]

    assert llm_of(say(talking, chat, user="bob")) == "cheap"
    assert llm_of(say(talking, changed, user="ann")) == "cheap"
    assert llm_of(say(talking, chat, user="ann")) == "dear"


def test_an_agent_s_turn_stays_with_its_llm(talking: Gateway) -> None:
    wish = [user("What is it?")]
    say(talking, wish, "dear", tools=[TOOL])

    at_work = say(talking, [*wish, CALL, RESULT], tools=[TOOL])
    further = say(talking, [*wish, CALL, RESULT, CALL, RESULT], tools=[TOOL])
    new_wish = say(talking, [*wish, CALL, RESULT, user("And that?")], tools=[TOOL])

    assert [llm_of(at_work), llm_of(further), llm_of(new_wish)] == ["dear", "dear", "cheap"]


def test_an_agent_goes_on_elsewhere_where_its_llm_cannot(talking: Gateway, pool: PlaybackServer) -> None:
    with talking.with_llm(spec(pool, "leaving", usd=9.0)):
        say(talking, [user("hi")], "leaving", tools=[TOOL])
        stayed = say(talking, [user("hi"), CALL, RESULT], tools=[TOOL])
        not_allowed = say(talking, [user("hi"), CALL, RESULT], tools=[TOOL], mixllm={"allowed_llms": ["dear"]})
    longer = user("word " * 100)
    say(talking, [longer], "dear", tools=[TOOL])
    gone = say(talking, [longer, CALL, RESULT], tools=[TOOL], mixllm={"max_cost_usd": 200e-6})

    assert llm_of(stayed) == "leaving"
    assert llm_of(not_allowed) == "dear"
    assert llm_of(gone) == "cheap"


def test_another_takes_an_agent_s_turn_where_its_llm_fails(talking: Gateway, playback: PlaybackServer) -> None:
    wish = [user("What is it?")]
    say(talking, wish, "dear", tools=[TOOL])
    playback.put_faults("atlas-large", ErrorStatus(status=500, limit=1))

    taken = say(talking, [*wish, CALL, RESULT], tools=[TOOL])
    further = say(talking, [*wish, CALL, RESULT, CALL, RESULT], tools=[TOOL])
    known = talking.ask("GET", f"/v1/decisions/{taken.inference_id}").json

    assert [llm_of(taken), llm_of(further)] == ["cheap", "cheap"], "who has answered goes on"
    assert taken.headers["x-mixllm-attempts"] == "2"
    assert [one["llm"] for one in known["decision"]["candidates"]] == ["dear"], "as it was decided"
    assert [(one["llm"], one["status"]) for one in known["outcomes"]] == [("dear", "error"), ("cheap", "ok")]


def test_who_may_not_take_an_agent_s_turn_is_no_fallback_either(talking: Gateway, playback: PlaybackServer) -> None:
    wish = [user("What is it?")]
    say(talking, wish, "dear", tools=[TOOL])
    playback.put_faults("atlas-large", ErrorStatus(status=500, limit=1))

    alone = say(talking, [*wish, CALL, RESULT], tools=[TOOL], mixllm={"allowed_llms": ["dear"]})

    assert alone.status == 502
    assert [alone.headers[f"x-mixllm-{name}"] for name in ("model", "attempts")] == ["dear", "1"]


def test_a_failed_turn_is_not_remembered(talking: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults("atlas-large", ErrorStatus(status=500, limit=1))
    opening = [user(LONG)]
    assert say(talking, opening, "dear").status == 502

    assert llm_of(say(talking, [*opening, user("Hello?")])) == "cheap"


def test_routing_alone_knows_the_conversation_and_leaves_no_trace(talking: Gateway) -> None:
    chat = begun(talking)
    turns = len(talking_memory(talking))

    explained = talking.ask("POST", "/v1/route", {"model": COST_ALONE, "messages": chat})

    assert explained.json["llm"] == "dear"
    assert len(talking_memory(talking)) == turns


def talking_memory(gateway: Gateway) -> Any:
    app: Any = gateway._server.config.loaded_app
    while not hasattr(app, "state"):
        app = app.app
    return app.state.gateway.conversations.turns


def test_defaults_are_those_of_the_providers(pool: PlaybackServer, tmp_path: Path) -> None:
    config = config_for(pool, tmp_path / "x.db").routing.conversations

    assert config == ConversationsConfig()
    assert (config.cache_ttl_s, config.min_prefix_tokens) == (300.0, 1024)
