from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gateway.running import Gateway, chat_body, config_for, entry

from mixllm.playback import PlaybackServer

SECRET = "sk-literal-4711"


PAIR = ("atlas-large", "boreal-pro")


@pytest.fixture(scope="module")
def shared_two(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(config_for(pool, tmp_path_factory.mktemp("two") / "m.db", PAIR)) as running:
        yield running


@pytest.fixture
def two(shared_two: Gateway) -> Iterator[Gateway]:
    """A gateway over two LLMs, which a test may change."""
    router = shared_two.router
    pair = router.llms
    yield shared_two
    for spec in set(router.llms) - set(pair):
        router.remove_llm(spec.name)
    for spec in set(pair) - set(router.llms):
        router.add_llm(spec)


def new_entry(pool: PlaybackServer, name: str = "new", model: str = "cobalt-coder", **params: object) -> dict[str, Any]:
    return {**entry(pool.llm_specs()[2], **{"model": model, **params}), "model_name": name}


def test_llms_are_listed_with_what_is_known_of_them(gateway: Gateway, pool: PlaybackServer) -> None:
    listed = gateway.ask("GET", "/v1/llms").json["llms"]

    assert [status["spec"]["name"] for status in listed] == list(pool.book.llms)
    assert set(listed[0]) == {"spec", "in_flight", "judgements", "ttft_s", "tpot_s", "wait_s", "refused_s", "breaker"}
    assert listed[0]["spec"]["price"]["usd_per_million_tokens_in"] == pytest.approx(10)
    assert gateway.ask("GET", "/v1/llms/atlas-large").json["spec"] == listed[0]["spec"]


def test_an_added_llm_takes_calls_at_once(two: Gateway, pool: PlaybackServer) -> None:
    reply = two.ask("POST", "/v1/llms", new_entry(pool))

    assert reply.status == 201
    assert reply.json["name"] == "new"
    assert two.chat("new").headers["x-mixllm-model"] == "new"
    routed = two.ask("POST", "/v1/route", chat_body())
    assert "new" in {candidate["llm"] for candidate in routed.json["candidates"]}
    only = two.chat(mixllm={"allowed_llms": ["new"]})
    assert only.json["model"] == "new"
    assert "new" in {model["id"] for model in two.ask("GET", "/v1/models").json["data"]}


def test_an_llm_can_be_added_as_a_spec(two: Gateway, pool: PlaybackServer) -> None:
    spec = msgspec.to_builtins(pool.llm_specs()[3])

    reply = two.ask("POST", "/v1/llms", spec)

    assert reply.status == 201
    assert two.chat("dune-medic").status == 200


def test_a_listed_price_is_looked_up(two: Gateway, pool: PlaybackServer) -> None:
    reply = two.ask("POST", "/v1/llms", {"name": "gpt-4o-mini", "api_base": pool.base_url})

    assert reply.status == 201
    assert reply.json["price"]["usd_per_million_tokens_out"] == pytest.approx(0.6)


def test_a_removed_llm_is_not_chosen_and_comes_back_with_what_it_learned(two: Gateway) -> None:
    two.judge(two.chat("boreal-pro").inference_id, value=True)
    before = two.status_of("boreal-pro")
    removed = two.ask("DELETE", "/v1/llms/boreal-pro")
    chosen = {two.ask("POST", "/v1/route", chat_body(text=f"question {turn}")).json["llm"] for turn in range(20)}
    gone = [two.chat("boreal-pro"), two.ask("GET", "/v1/llms/boreal-pro"), two.ask("GET", "/v1/models/boreal-pro")]
    again = two.ask("DELETE", "/v1/llms/boreal-pro")
    back = two.ask("POST", "/v1/llms", before["spec"])

    assert removed.json == {"name": "boreal-pro", "removed": True}
    assert chosen == {"atlas-large"}
    assert [reply.status for reply in gone] == [404, 404, 404]
    assert again.status == 404
    assert back.status == 201
    assert two.status_of("boreal-pro")["judgements"] == before["judgements"] == 1


def test_a_price_can_be_changed_and_everything_else_stays(two: Gateway) -> None:
    before = two.status_of("boreal-pro")["spec"]
    changed = two.ask("PATCH", "/v1/llms/boreal-pro", {"price": {"usd_per_million_tokens_in": 123.0}})
    listed = two.status_of("boreal-pro")["spec"]
    back = two.ask("PATCH", "/v1/llms/boreal-pro", {"price": before["price"]})

    assert changed.status == 200
    assert changed.json == listed
    assert listed["price"]["usd_per_million_tokens_in"] == 123.0
    assert listed == {**before, "price": {**before["price"], "usd_per_million_tokens_in": 123.0}}
    assert back.json == before


@pytest.mark.parametrize(
    ("changes", "status", "complaint"),
    [
        ({"name": "other"}, 400, "name cannot be changed"),
        ({"api_base": None}, 400, "api_base is missing"),
        ({"nmae": 1}, 400, "nmae"),
        ({"price": {"usd_per_million_tokens_in": -1}}, 400, "usd_per_million_tokens_in"),
        ({"price": 3}, 400, "price"),
        ({"api_key_env": "HOME"}, 422, "llm_key_variables"),
        ([], 400, "object"),
    ],
)
def test_a_change_that_cannot_be_is_refused(two: Gateway, changes: Any, status: int, complaint: str) -> None:
    before = two.status_of("boreal-pro")
    reply = two.ask("PATCH", "/v1/llms/boreal-pro", changes)

    assert reply.status == status
    assert complaint in reply.error["message"]
    assert two.status_of("boreal-pro") == before


def test_a_change_of_a_key_of_the_configuration_is_refused(pool: PlaybackServer, tmp_path: Path) -> None:
    config = config_for(pool, tmp_path / "m.db", model_list=[entry(pool.llm_specs()[0], api_key=SECRET)])
    name = config.model_list[0].model_name
    with Gateway(config) as gateway:
        reply = gateway.ask("PATCH", f"/v1/llms/{name}", {"api_base": "http://127.0.0.1:9/v1"})

    assert reply.status == 422
    assert SECRET.encode() not in reply.body


def test_an_empty_pool_says_what_to_do(two: Gateway) -> None:
    for name in ("atlas-large", "boreal-pro"):
        two.ask("DELETE", f"/v1/llms/{name}")

    reply, named = two.chat(), two.chat("atlas-large")

    assert reply.status == 503
    assert reply.error["code"] == "empty_pool"
    assert "POST /v1/llms" in reply.error["message"]
    assert named.status == 404


def test_an_llm_without_a_price_is_refused_by_name(two: Gateway, pool: PlaybackServer) -> None:
    reply = two.ask("POST", "/v1/llms", {"name": "nobody-knows-me", "api_base": pool.base_url})

    assert reply.status == 422
    assert reply.error["code"] == "unknown_price"
    assert "nobody-knows-me" in reply.error["message"]
    assert two.ask("GET", "/v1/llms/nobody-knows-me").status == 404


def test_a_literal_key_is_refused_and_not_repeated(two: Gateway, pool: PlaybackServer) -> None:
    as_entry = two.ask("POST", "/v1/llms", new_entry(pool, api_key=SECRET))
    as_spec = two.ask("POST", "/v1/llms", {"name": "new", "api_base": pool.base_url, "api_key": SECRET})

    assert (as_entry.status, as_spec.status) == (422, 400)
    assert "os.environ/NAME" in as_entry.error["message"]
    assert "api_key" in as_spec.error["message"]
    assert SECRET.encode() not in as_entry.body + as_spec.body
    assert len(two.ask("GET", "/v1/llms").json["llms"]) == 2


def test_a_key_of_the_environment_is_sent(pool: PlaybackServer, tmp_path: Path) -> None:
    config = config_for(
        pool, tmp_path / "m.db", ["atlas-large"], gateway={"llm_key_variables": ["POOL_KEY", "NO_SUCH"]}
    )
    with Gateway(config, environ={"POOL_KEY": SECRET}) as gateway:
        gateway.ask("POST", "/v1/llms", new_entry(pool, api_key="os.environ/POOL_KEY"))
        gateway.ask("POST", "/v1/llms", new_entry(pool, "keyless", api_key="os.environ/NO_SUCH"))
        answered, keyless = gateway.chat("new"), gateway.chat("keyless")
        status = gateway.ask("GET", "/v1/llms/new")

    assert answered.status == 200
    assert ("authorization", "***") in pool.requests(1)[0].headers
    assert status.json["spec"]["api_key_env"] == "POOL_KEY"
    assert keyless.status == 502
    assert "NO_SUCH" in keyless.error["message"]


def test_a_variable_that_the_configuration_does_not_name_is_refused(two: Gateway, pool: PlaybackServer) -> None:
    reply = two.ask("POST", "/v1/llms", new_entry(pool, api_key="os.environ/HOME"))

    assert reply.status == 422
    assert "HOME" in reply.error["message"]
    assert "llm_key_variables" in reply.error["message"]
    assert two.ask("GET", "/v1/llms/new").status == 404


def test_a_key_of_the_configuration_does_not_follow_a_name_to_another_server(
    pool: PlaybackServer, tmp_path: Path
) -> None:
    config = config_for(
        pool,
        tmp_path / "m.db",
        model_list=[entry(pool.llm_specs()[0], api_key=SECRET), entry(pool.llm_specs()[1])],
    )
    name = config.model_list[0].model_name
    with Gateway(config) as gateway:
        gateway.ask("DELETE", f"/v1/llms/{name}")
        elsewhere = gateway.ask(
            "POST",
            "/v1/llms",
            {**new_entry(pool, name), "litellm_params": {"model": "m", "api_base": "http://127.0.0.1:9/v1"}},
        )
        home = gateway.ask("POST", "/v1/llms", new_entry(pool, name))

    assert elsewhere.status == 422
    assert SECRET.encode() not in elsewhere.body
    assert home.status == 201


def test_an_llm_is_not_added_twice(two: Gateway, pool: PlaybackServer) -> None:
    reply = two.ask("POST", "/v1/llms", new_entry(pool, "atlas-large"))

    assert reply.status == 409
    assert reply.error["code"] == "duplicate_llm"


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 201, "mixllm/mine", "\u0000"])
def test_a_name_that_cannot_be_is_refused(two: Gateway, pool: PlaybackServer, name: str) -> None:
    as_entry = two.ask("POST", "/v1/llms", new_entry(pool, name))
    as_spec = two.ask("POST", "/v1/llms", {"name": name, "api_base": pool.base_url})

    assert (as_entry.status, as_spec.status) == (422, 400)
    assert "name must be" in as_entry.error["message"]
    assert "name must be" in as_spec.error["message"]


@pytest.mark.parametrize(
    ("body", "status", "complaint"),
    [
        ({}, 400, "name"),
        ({"name": "a"}, 400, "api_base"),
        ({"name": "a", "api_base": "ftp://x"}, 400, "api_base"),
        ({"name": "a", "api_base": "http://x", "price": {"usd_per_million_tokens_in": -1}}, 400, "price"),
        ({"name": "a", "api_base": "http://x", "timeout_s": 0}, 400, "timeout_s"),
        ({"name": "a", "api_base": "http://x", "capabilities": ["flying"]}, 400, "capabilities"),
        ({"nmae": "a"}, 400, "nmae"),
        ({"model_name": "a"}, 422, "litellm_params"),
        ({"model_name": "a", "litellm_params": {"model": "x/y"}}, 422, "api_base"),
        ({"model_name": "a", "litellm_params": {"model": "x", "api_bsae": "http://x"}}, 422, "api_bsae"),
        ({"model_name": "a", "litellm_params": 3}, 422, "litellm_params"),
        ([], 400, "object"),
        ("a", 400, "object"),
    ],
)
def test_a_malformed_llm_is_refused_by_its_field(two: Gateway, body: object, status: int, complaint: str) -> None:
    reply = two.ask("POST", "/v1/llms", body)

    assert reply.status == status
    assert complaint in reply.error["message"]
    assert len(two.ask("GET", "/v1/llms").json["llms"]) == 2


def test_names_may_hold_slashes(two: Gateway, pool: PlaybackServer) -> None:
    name = "meta-llama/Llama-3.1 8B/ü"
    path = "meta-llama/Llama-3.1%208B/%C3%BC"

    added = two.ask("POST", "/v1/llms", new_entry(pool, name))
    found = [two.ask("GET", f"/v1/llms/{path}"), two.ask("GET", f"/v1/llms/{path.replace('/', '%2F')}")]
    model = two.ask("GET", f"/v1/models/{path}")
    answer = two.chat(name)
    removed = two.ask("DELETE", f"/v1/llms/{path}")

    assert added.status == 201
    assert [reply.json["spec"]["name"] for reply in found] == [name, name]
    assert model.json["id"] == name
    assert answer.json["model"] == name
    assert removed.json["name"] == name


def test_an_unknown_llm_is_not_found_with_the_nearest_name(two: Gateway) -> None:
    replies = [two.ask(method, "/v1/llms/atlas-larg") for method in ("GET", "DELETE")]
    replies.append(two.ask("PATCH", "/v1/llms/atlas-larg", {"max_in_flight": 1}))

    assert [reply.status for reply in replies] == [404, 404, 404]
    assert "Did you mean 'atlas-large'?" in replies[0].error["message"]
