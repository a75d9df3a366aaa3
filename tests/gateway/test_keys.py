"""Keys with rights and limits: scopes, allowed LLMs, bounds, rates, expiry, and the audit of what they change."""

from __future__ import annotations

import datetime
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from tests.gateway.running import Gateway, Reply, chat_body, config_for

from mixllm.config import GatewayConfig, KeyConfig, parse_config
from mixllm.config.keys import hash_of
from mixllm.errors import ConfigError, NoEligibleLLMError, PoolBusyError, UnknownLLMError
from mixllm.gateway import create_app
from mixllm.gateway.access import KEY_IN_STATE
from mixllm.gateway.keys import NOBODY, AccessKey, key_ring
from mixllm.gateway.permissions import ForbiddenLLMError, within
from mixllm.gateway.rate import RequestRate
from mixllm.gateway.request_log import RequestLog
from mixllm.gateway.scopes import OPEN_PATHS, SCOPES, scopes_for
from mixllm.gateway.shown import decision_for, error_for
from mixllm.playback import PlaybackServer
from mixllm.types import Candidate, Decision, Estimate, Forecast, Query, Secret, ShadowChoice

CHAT = "/v1/chat/completions"
ASKER, JUDGE, SCRAPER, CHIEF, BOUNDED, SLOW, THRIFTY, WARDEN = (f"mxk_{name}-{'x' * 40}" for name in "abcdefgh")
SOME = Estimate(mean=1.0, std=0.1)


class Hands:
    """A clock that is set by hand."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def time_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


def hashed(name: str, key: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "hash": f"sha256:{hash_of(key).hex()}", **settings}


@pytest.fixture(scope="module")
def audit_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.jsonl"


@pytest.fixture(scope="module")
def gateway(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory, audit_path: Path) -> Iterator[Gateway]:
    """A gateway with a key for each of the things that keys can be."""
    keys = [
        hashed("asker", ASKER, scopes=["chat"]),
        hashed("judge", JUDGE, scopes=["feedback"]),
        hashed("scraper", SCRAPER, scopes=["metrics"]),
        {"name": "chief", "key": "os.environ/CHIEF", "scopes": ["admin"]},
        hashed("bounded", BOUNDED, allowed_llms=["boreal-pro"]),
        hashed("warden", WARDEN, scopes=["chat", "admin"], allowed_llms=["boreal-pro"]),
        hashed("slow", SLOW, requests_per_minute=2),
        hashed("thrifty", THRIFTY, max_cost_usd=1e-9),
    ]
    settings = {"keys": keys, "audit_path": str(audit_path)}
    config = config_for(pool, tmp_path_factory.mktemp("keys") / "m.db", gateway=settings)
    with Gateway(config, environ={"CHIEF": CHIEF}) as running:
        yield running


def ask(gateway: Gateway, key: str, method: str, path: str, body: object = None) -> Reply:
    return gateway.ask(method, path, body, {"authorization": f"Bearer {key}"})


@pytest.mark.parametrize(
    ("key", "method", "path", "status"),
    [
        (ASKER, "POST", CHAT, 200),
        (ASKER, "POST", "/v1/route", 200),
        (ASKER, "GET", "/v1/models", 200),
        (ASKER, "POST", "/v1/feedback", 403),
        (ASKER, "GET", "/metrics", 403),
        (ASKER, "GET", "/v1/llms", 403),
        (ASKER, "DELETE", "/v1/llms/atlas-large", 403),
        (ASKER, "POST", "/v1/state/rollback", 403),
        (ASKER, "GET", "/nothing", 403),
        (JUDGE, "POST", CHAT, 403),
        (JUDGE, "GET", "/v1/models", 403),
        (SCRAPER, "GET", "/metrics", 200),
        (SCRAPER, "POST", CHAT, 403),
        (CHIEF, "GET", "/v1/llms", 200),
        (CHIEF, "GET", "/metrics", 200),
        (CHIEF, "POST", CHAT, 403),
        (CHIEF, "GET", "/nothing", 404),
    ],
)
def test_a_key_opens_what_its_scopes_say(gateway: Gateway, key: str, method: str, path: str, status: int) -> None:
    reply = ask(gateway, key, method, path, chat_body() if method == "POST" else None)

    assert reply.status == status
    if status == 403:
        assert reply.error["code"] == "insufficient_scope"
        assert reply.error["type"] == "permission_error"


def test_every_endpoint_says_what_it_needs(gateway: Gateway) -> None:
    front = create_app(router=gateway.router, client=None, config=GatewayConfig())  # type: ignore[arg-type]
    assert isinstance(front, RequestLog)
    app: Any = front
    while not isinstance(app, Starlette):
        app = app.app
    listed = {(method, path.partition("{")[0]) for method, path in SCOPES}
    routes = [route for route in app.routes if isinstance(route, Route)]
    assert len(routes) > 15
    for route in routes:
        for method in (route.methods or set()) - {"HEAD"}:
            assert route.path in OPEN_PATHS or (method, route.path.partition("{")[0]) in listed, route.path


def test_an_unknown_endpoint_needs_the_most() -> None:
    assert scopes_for("PUT", "/v1/llms") == ("admin",)
    assert scopes_for("POST", "/v1/llms/x/../../feedback") == ("admin",)
    assert scopes_for("HEAD", "/metrics") == ("metrics", "admin")


def test_the_openai_client_raises_its_own_errors(gateway: Gateway) -> None:
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=JUDGE, max_retries=0) as client,
        pytest.raises(openai.PermissionDeniedError),
    ):
        client.models.list()


def test_anthropic_s_header_opens_anthropic_s_endpoint_alone(gateway: Gateway) -> None:
    assert gateway.ask("POST", "/v1/messages", {}, {"x-api-key": ASKER}).status not in {401, 403}
    assert gateway.ask("POST", "/v1/messages", {}, {"x-api-key": "wrong"}).status == 401
    assert gateway.ask("POST", CHAT, chat_body(), {"x-api-key": ASKER}).status == 401


def test_a_key_sees_its_own_decisions_alone(gateway: Gateway) -> None:
    made = ask(gateway, ASKER, "POST", CHAT, chat_body()).inference_id
    path = f"/v1/decisions/{made}"

    assert ask(gateway, ASKER, "GET", path).status == 200
    assert ask(gateway, CHIEF, "GET", path).status == 200
    others, none = ask(gateway, BOUNDED, "GET", path), ask(gateway, BOUNDED, "GET", "/v1/decisions/nothing")
    assert (others.status, none.status) == (404, 404)
    assert others.error["code"] == none.error["code"]


def test_only_allowed_llms_answer(gateway: Gateway) -> None:
    for body in (
        chat_body(),
        chat_body("boreal-pro"),
        chat_body(mixllm={"allowed_llms": ["boreal-pro", "atlas-large"]}),
    ):
        assert ask(gateway, BOUNDED, "POST", CHAT, body).headers["x-mixllm-model"] == "boreal-pro"
    named = ask(gateway, BOUNDED, "POST", CHAT, chat_body("atlas-large"))
    assert (named.status, named.error["code"], named.error["param"]) == (403, "model_not_allowed", "model")
    wished = ask(gateway, BOUNDED, "POST", CHAT, chat_body(mixllm={"allowed_llms": ["atlas-large"]}))
    assert (wished.status, wished.error["code"]) == (422, "no_eligible_llm")
    models = [model["id"] for model in ask(gateway, BOUNDED, "GET", "/v1/models").json["data"]]
    assert [model for model in models if not model.startswith("mixllm/")] == ["boreal-pro"]


OTHERS = ("atlas-large", "cobalt-coder", "dune-medic", "ember-mini", "fjord-tiny")


@pytest.mark.parametrize(
    ("path", "more"),
    [(CHAT, {}), ("/v1/responses", {}), ("/v1/messages", {"max_tokens": 5}), ("/v1/route", {})],
)
def test_refusals_tell_a_limited_key_nothing_of_other_llms(gateway: Gateway, path: str, more: dict[str, Any]) -> None:
    wish = {"max_cost_usd": 1e-12}
    body = {**chat_body(mixllm=wish), **more}
    if path == "/v1/responses":
        body = {"model": "mixllm/auto", "input": "hi", "mixllm": wish}

    refused = ask(gateway, BOUNDED, "POST", path, body)
    of_admin = ask(gateway, WARDEN, "POST", path, body)

    assert refused.status == of_admin.status == 422
    assert b"boreal-pro: expected cost" in refused.body
    assert [name for name in OTHERS if name in refused.body.decode()] == []
    assert [name for name in OTHERS if name in of_admin.body.decode()] == list(OTHERS)


def test_a_decision_tells_a_limited_key_nothing_of_other_llms(gateway: Gateway) -> None:
    for key, seen in ((BOUNDED, []), (WARDEN, list(OTHERS))):
        explained = ask(gateway, key, "POST", "/v1/route", chat_body())
        inference_id = ask(gateway, key, "POST", CHAT, chat_body()).headers["x-mixllm-inference-id"]
        kept = ask(gateway, key, "GET", f"/v1/decisions/{inference_id}")

        for reply in (explained, kept):
            assert reply.status == 200
            assert [name for name in OTHERS if name in reply.body.decode()] == seen
        assert [one["llm"] for one in kept.json["decision"]["candidates"]] == ["boreal-pro"]
        assert len(kept.json["decision"]["ineligible"]) == len(seen)


def test_what_is_left_of_shadows_fits_the_candidates_that_are_shown() -> None:
    key = AccessKey(key_id="key-a", name="a", scopes=frozenset({"chat"}), allowed_llms=frozenset({"b", "c"}))
    forecast = Forecast(quality=SOME, tokens_out=SOME, cost_usd=SOME, ttft_s=SOME, wait_s=0.0, latency_s=SOME)
    made = Decision(
        decision_id="d",
        created_at_s=0.0,
        llm="c",
        reason="best score",
        policy="greedy",
        trade_off=1.0,
        cost_scale_usd=1.0,
        model_version=1,
        seed=1,
        tokens_in=1,
        tags=(),
        candidates=tuple(Candidate(llm=llm, forecast=forecast, score=1.0, propensity=0.25) for llm in "abcd"),
        shadow=(
            ShadowChoice(policy="one", trade_off=1.0, llm="b", propensities=(0.1, 0.2, 0.3, 0.4)),
            ShadowChoice(policy="other", trade_off=1.0, llm="a", propensities=(1.0, 0.0, 0.0, 0.0)),
        ),
    )

    shown = decision_for(key, made)

    assert [one.llm for one in shown.candidates] == ["b", "c"]
    assert [(one.policy, one.propensities) for one in shown.shadow] == [("one", (0.2, 0.3))]
    assert decision_for(NOBODY, made) == made


@pytest.mark.parametrize(
    ("error", "said", "unsaid"),
    [
        (PoolBusyError({"a": "busy", "b": "full"}, retry_after_s=3.0), "b: full", "a: busy"),
        (NoEligibleLLMError({"a": "too dear"}), "b: not in the pool", "a: too dear"),
        (UnknownLLMError("x", ["a", "b"]), "The pool holds: b.", "a, b"),
        (UnknownLLMError("x", ["a"]), "any other LLM that this API key may use", "a."),
    ],
)
def test_errors_keep_their_kind(error: Exception, said: str, unsaid: str) -> None:
    key = AccessKey(key_id="key-a", name="a", scopes=frozenset({"chat"}), allowed_llms=frozenset({"b"}))
    request = Request({"type": "http", "state": {KEY_IN_STATE: key}})

    shown = error_for(request, error)

    assert type(shown) is type(error)
    assert said in str(shown)
    assert unsaid not in str(shown)
    assert getattr(shown, "retry_after_s", None) == getattr(error, "retry_after_s", None)
    assert error_for(Request({"type": "http", "state": {}}), error) is error


@pytest.mark.parametrize("model", ["mixllm/auto", "atlas-large"])
def test_no_request_costs_more_than_its_key_may_spend_on_one(gateway: Gateway, model: str) -> None:
    reply = ask(gateway, THRIFTY, "POST", CHAT, chat_body(model, mixllm={"max_cost_usd": 100}))

    assert (reply.status, reply.error["code"]) == (422, "no_eligible_llm")


def test_a_key_that_asks_too_often_is_told_when_to_come_back(gateway: Gateway) -> None:
    first, second, third = (ask(gateway, SLOW, "GET", "/v1/models") for _ in range(3))

    assert [first.status, second.status, third.status] == [200, 200, 429]
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in (first, second, third)] == ["1", "0", "0"]
    assert third.headers["x-ratelimit-limit-requests"] == "2"
    assert third.error["code"] == "rate_limit_exceeded"
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert "retry-after" not in first.headers
    assert ask(gateway, ASKER, "GET", "/v1/models").status == 200


def test_what_changes_the_gateway_is_on_record_and_no_secret_with_it(gateway: Gateway, audit_path: Path) -> None:
    before = audit_path.read_text()
    ask(gateway, CHIEF, "DELETE", "/v1/llms/no-such")
    ask(gateway, ASKER, "DELETE", "/v1/llms/boreal-pro")
    ask(gateway, "wrong-key", "POST", "/v1/state/rollback", {"version": 1})
    ask(gateway, CHIEF, "POST", "/v1/state/release", {"version": 424242})
    spec = {"name": "new", "api_base": "http://127.0.0.1:1/v1", "api_key_env": "FORBIDDEN"}
    ask(gateway, CHIEF, "POST", "/v1/llms", spec)
    ask(gateway, CHIEF, "GET", "/v1/llms")
    ask(gateway, ASKER, "POST", CHAT, chat_body())

    text = audit_path.read_text()
    assert text.startswith(before)
    records = [json.loads(line) for line in text.removeprefix(before).splitlines()]
    assert [(record.get("key_name", ""), record["action"], record["status"]) for record in records] == [
        ("chief", "DELETE /v1/llms/no-such", 404),
        ("asker", "DELETE /v1/llms/boreal-pro", 403),
        ("", "POST /v1/state/rollback", 401),
        ("chief", "POST /v1/state/release", 404),
        ("chief", "POST /v1/llms", 422),
    ]
    assert records[3]["details"]["version"] == 424242
    assert records[4]["details"]["llm"] == "new"
    assert all(datetime.datetime.fromisoformat(record["time"]).tzinfo for record in records)
    assert not any(key in text for key in (ASKER, CHIEF, "wrong-key"))
    assert stat.S_IMODE(audit_path.stat().st_mode) == 0o600


def test_an_audit_file_that_cannot_be_written_stops_the_start(gateway: Gateway, tmp_path: Path) -> None:
    config = GatewayConfig(audit_path=str(tmp_path / "missing" / "a.jsonl"))
    with pytest.raises(ConfigError, match=r"gateway\.audit_path"):
        create_app(router=gateway.router, client=None, config=config)  # type: ignore[arg-type]


def test_a_hashed_key_has_its_budget_by_its_name(pool: PlaybackServer, tmp_path: Path) -> None:
    key_id = f"key-{hash_of(ASKER).hex()[:12]}"
    config = config_for(
        pool,
        tmp_path / "m.db",
        gateway={"keys": [hashed("a", ASKER), hashed("b", JUDGE)]},
        budget={"keys": [{"key": key_id, "usd": 1e-9}]},
    )
    with Gateway(config) as gateway:
        spent = ask(gateway, ASKER, "POST", CHAT, chat_body())
        assert (spent.status, spent.error["code"]) == (429, "insufficient_quota")
        assert ask(gateway, JUDGE, "POST", CHAT, chat_body()).status == 200


def test_a_url_and_headers_are_bounded(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {ASKER}"}
    assert gateway.ask("GET", "/v1/models?" + "x" * 9000, None, headers).status == 414
    assert gateway.ask("GET", "/v1/models", None, {**headers, "x-large": "x" * 40_000}).status == 431


def test_a_key_opens_until_the_end_of_its_last_day() -> None:
    entry = KeyConfig(name="guest", key=Secret("k"), expires=datetime.date(2026, 1, 31))
    midnight_s = datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC).timestamp()
    clock = Hands(midnight_s - 1)
    ring = key_ring(GatewayConfig(keys=(entry,)), {}, clock=clock)

    assert ring.find("k") is not None
    clock.now_s = midnight_s
    assert ring.find("k") is None


def test_a_key_twice_is_refused() -> None:
    config = parse_config(f"gateway: {{api_keys: [k], keys: [{{name: a, hash: 'sha256:{hash_of('k').hex()}'}}]}}")
    with pytest.raises(ConfigError, match="'a' is listed twice"):
        key_ring(config.gateway, {})


def test_a_new_ring_keeps_what_is_left_of_unchanged_rates() -> None:
    clock = Hands()

    def ring_of(limit: int, before: Any = None) -> Any:
        entry = KeyConfig(name="a", key=Secret("k"), requests_per_minute=limit)
        return key_ring(GatewayConfig(keys=(entry,)), {}, clock=clock, before=before)

    first = ring_of(5)
    first.find("k").rate.take()
    assert ring_of(5, first).find("k").rate.take().remaining == 3
    assert ring_of(9, first).find("k").rate.take().remaining == 8


@given(
    limit=st.integers(1, 1000),
    pauses_s=st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=200),
)
def test_no_more_are_admitted_than_the_limit_and_what_time_has_added(limit: int, pauses_s: list[float]) -> None:
    clock = Hands()
    rate = RequestRate(limit=limit, clock=clock)
    admitted = 0
    for pause_s in pauses_s:
        clock.now_s += pause_s
        status = rate.take()
        admitted += status.admitted
        assert 0 <= status.remaining <= limit
        assert status.admitted or status.retry_after_s > 0
    assert admitted <= limit * (1 + clock.now_s / 60) + 1e-6


def test_whoever_waits_as_told_is_admitted() -> None:
    clock = Hands()
    rate = RequestRate(limit=3, clock=clock)
    for _ in range(3):
        assert rate.take().admitted
    clock.now_s += rate.take().retry_after_s + 1e-6
    assert rate.take().admitted


FLOATS = st.none() | st.floats(1e-6, 1e3)
NAMES = st.none() | st.frozensets(st.sampled_from("abcd"), min_size=1)


@given(own=FLOATS, most=FLOATS, wished=NAMES, allowed=NAMES, named=st.none() | st.sampled_from("abcd"))
def test_a_request_never_exceeds_its_key(
    own: float | None,
    most: float | None,
    wished: frozenset[str] | None,
    allowed: frozenset[str] | None,
    named: str | None,
) -> None:
    key = AccessKey(key_id="key-1", name="n", allowed_llms=allowed, max_cost_usd=most, max_latency_s=most)
    query = Query(text="q", max_cost_usd=own, max_latency_s=own, allowed_llms=wished)
    try:
        bounded, llm = within(key, query, llm=named, trade_off=1.4)
    except ForbiddenLLMError:
        assert named is not None
        assert allowed is not None
        assert named not in allowed
        return
    may_answer = bounded.allowed_llms if llm is None else frozenset((llm,))
    assert allowed is None or (may_answer is not None and may_answer <= allowed)
    for value in (bounded.max_cost_usd, bounded.max_latency_s):
        assert most is None or (value is not None and value <= most)
        assert own is None or (value is not None and value <= own)
    assert bounded.key_id == "key-1"
    assert most is None or llm is None


def test_a_key_s_taste_is_for_requests_without_one() -> None:
    key = AccessKey(key_id="key-1", name="n", trade_off=9.0)
    assert within(key, Query(text="q"), llm=None, trade_off=1.5)[0].trade_off == 9.0
    assert within(key, Query(text="q", trade_off=2.0), llm=None, trade_off=1.5)[0].trade_off == 2.0
    assert within(NOBODY, Query(text="q"), llm=None, trade_off=1.5)[0] == Query(text="q")
    cheap = AccessKey(key_id="key-1", name="n", profile="cost")
    assert within(cheap, Query(text="q"), llm=None, trade_off=1.5)[0].trade_off == 0.5
    fast = AccessKey(key_id="key-1", name="n", profile="fast")
    assert within(fast, Query(text="q"), llm=None, trade_off=1.5)[0].deadline_s == 2.0


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{name: 'a b', key: k}", "name must be 1 to 64 letters"),
        ("{name: a}", "key must be given, or hash"),
        ("{name: a, key: k, hash: 'sha256:00'}", "and not both"),
        ("{name: a, hash: mxk_the-key-itself}", "mixllm keys hash; got '***'"),
        ("{name: a, key: ' '}", "os.environ/NAME, or a key"),
        ("{name: a, key: k, scopes: []}", "scopes must be some of"),
        ("{name: a, key: k, scopes: [chatt]}", "gateway.keys.0.scopes.0: Invalid enum value 'chatt'"),
        ("{name: a, key: k, allowed_llms: []}", "allowed_llms must be"),
        ("{name: a, key: k, lambda: 1, profile: cost}", "left out where lambda is given"),
        ("{name: a, key: k, requests_per_minute: 0}", "requests_per_minute must be"),
        ("{name: a, key: k, max_cost_usd: .nan}", "max_cost_usd must be"),
        ("{name: a, key: k, expires: soon}", "expires"),
        ("{name: a, key: k}, {name: a, key: l}", "without two keys of the same name"),
        ("{name: a, key: k, scops: [chat]}", "Did you mean 'scopes'"),
    ],
)
def test_a_faulty_key_is_named(entry: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(f"gateway:\n  keys: [{entry}]")

    assert "line 2" in str(refused.value)
    assert words in str(refused.value)
    assert "mxk_" not in str(refused.value)
