"""Keys: who may come in, and that none of them leaves."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from tests.gateway.running import Gateway, Reply, chat_body, config_for, entry

from mixllm.config import GatewayConfig, load_config
from mixllm.errors import ConfigError
from mixllm.gateway.access import check_exposure, key_name
from mixllm.gateway.keys import key_ring
from mixllm.gateway.serve import serve
from mixllm.playback import ErrorStatus, PlaybackServer
from mixllm.types import Secret

CHAT = "/v1/chat/completions"
LITERAL, FROM_ENVIRON = "gk-literal-0815", "gk-environ-4711"
POOL_KEY, POOL_KEY_ENV = "sk-pool-literal-23", "sk-pool-environ-42"
MARKER = "zyzzyva-marker-in-a-prompt"
PATHS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/feedback"),
    ("POST", "/v1/route"),
    ("GET", "/v1/decisions/x"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/atlas-large"),
    ("GET", "/v1/llms"),
    ("POST", "/v1/llms"),
    ("GET", "/v1/llms/atlas-large"),
    ("DELETE", "/v1/llms/atlas-large"),
    ("GET", "/metrics"),
    ("GET", "/nothing"),
    ("OPTIONS", "/v1/llms"),
]


@pytest.fixture(scope="module")
def guarded(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with two keys, one literal and one of the environment."""
    config = config_for(
        pool,
        tmp_path_factory.mktemp("guarded") / "m.db",
        ["atlas-large"],
        gateway={"api_keys": [LITERAL, "os.environ/GATEWAY_KEY"]},
    )
    with Gateway(config, environ={"GATEWAY_KEY": FROM_ENVIRON}) as running:
        yield running


@pytest.fixture(scope="module")
def keyless(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that asks for no key."""
    with Gateway(config_for(pool, tmp_path_factory.mktemp("keyless") / "m.db")) as running:
        yield running


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "", "127.0.0.1.evil.example", "[::2]:80"])
def test_without_keys_another_name_than_loopback_is_turned_away(keyless: Gateway, host: str) -> None:
    reply = keyless.ask("GET", "/v1/llms", headers={"Host": host})

    assert reply.status == 403
    assert reply.error["code"] == "host_not_allowed"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "127.0.0.9"])
def test_without_keys_loopback_names_are_answered(keyless: Gateway, host: str) -> None:
    assert keyless.ask("GET", "/v1/llms", headers={"Host": host}).status == 200


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_path_but_health_asks_for_a_key(guarded: Gateway, method: str, path: str) -> None:
    body = json.dumps(chat_body()).encode() if method == "POST" else None

    without = guarded.ask(method, path, body)
    wrong = guarded.ask(method, path, body, {"authorization": "Bearer wrong"})

    for reply in (without, wrong):
        assert reply.status == 401
        assert reply.error["type"] == "authentication_error"
        assert reply.error["code"] == "invalid_api_key"
        assert "Authorization: Bearer" in reply.error["message"]
        assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_needs_no_key(guarded: Gateway, path: str) -> None:
    assert guarded.ask("GET", path).status == 200


@pytest.mark.parametrize("key", [LITERAL, FROM_ENVIRON])
def test_each_key_opens(guarded: Gateway, key: str) -> None:
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(model="mixllm/auto", messages=[{"role": "user", "content": "x"}])
        models = client.models.list().data

    assert answer.model == "atlas-large"
    assert len(models) == 5


def test_openai_s_client_raises_its_own_error(guarded: Gateway) -> None:
    with (
        openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {LITERAL}",
        f"{LITERAL}",
        f"Bearer {LITERAL[:-1]}",
        f"Bearer {LITERAL}x",
        f"Bearer {LITERAL.upper()}",
        f"Bearer {LITERAL} {LITERAL}",
        "Bearer os.environ/GATEWAY_KEY",
        "Bearer ÿ",
    ],
)
def test_what_is_not_a_key_does_not_open(guarded: Gateway, header: str) -> None:
    assert guarded.ask("GET", "/v1/models", headers={"authorization": header}).status == 401


def test_the_scheme_s_case_does_not_matter(guarded: Gateway) -> None:
    assert guarded.ask("GET", "/v1/models", headers={"authorization": f"bearer  {LITERAL} "}).status == 200


def test_without_keys_the_gateway_is_open(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/v1/models").status == 200
    assert gateway.ask("GET", "/v1/models", headers={"authorization": "Bearer anything"}).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "example.org", "", "localhost.example.org"])
def test_a_host_that_others_reach_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.api_keys"):
        check_exposure(host, [])
    check_exposure(host, [Secret("k")])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    check_exposure(host, [])
    assert len(key_ring(GatewayConfig(), {})) == 0


def test_serve_refuses_to_be_reached_by_others_without_a_key(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(f"gateway: {{host: 0.0.0.0, port: 0}}\nstore: {{path: {tmp_path / 'm.db'}}}\n")

    with pytest.raises(ConfigError, match="reachable from other machines"):
        serve(load_config(path), on_ready=lambda _: pytest.fail("it listens"))

    assert not (tmp_path / "m.db").exists()


def test_a_key_of_the_environment_is_looked_up() -> None:
    ring = key_ring(GatewayConfig(api_keys=(Secret("os.environ/A"), Secret("b"))), {"A": "a"})

    assert len(ring) == 2
    assert all(ring.find(key) is not None for key in ("a", "b"))
    assert ring.find("os.environ/A") is None


@pytest.mark.parametrize(
    ("key", "environ", "complaint"),
    [
        ("os.environ/NO_SUCH", {}, "NO_SUCH"),
        ("os.environ/EMPTY", {"EMPTY": ""}, "EMPTY"),
        ("ключ", {}, "no header"),
        ("two\nlines", {}, "no header"),
        (" padded", {}, "no header"),
    ],
)
def test_a_key_that_cannot_be_presented_is_refused(key: str, environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as refusal:
        key_ring(GatewayConfig(api_keys=(Secret(key),)), environ)

    assert not key or key.startswith("os.environ/") or key not in str(refusal.value)


@pytest.mark.parametrize("store_prompts", [False, True])
def test_no_key_leaves_and_no_prompt_is_kept_unasked(
    playback: PlaybackServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, store_prompts: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    specs = playback.llm_specs()
    config = config_for(
        playback,
        tmp_path / "m.db",
        [],
        gateway={"api_keys": [LITERAL, "os.environ/GATEWAY_KEY"]},
        privacy={"store_prompts": store_prompts},
        model_list=[entry(specs[0], api_key=POOL_KEY), entry(specs[1], api_key="os.environ/POOL_KEY")],
    )
    said: list[bytes] = []
    with Gateway(config, environ={"GATEWAY_KEY": FROM_ENVIRON, "POOL_KEY": POOL_KEY_ENV}) as gateway:

        def ask(method: str, path: str, body: object = None, key: str = LITERAL) -> Reply:
            reply = gateway.ask(method, path, body, {"authorization": f"Bearer {key}"})
            said.append(repr(reply.headers).encode() + reply.body)
            return reply

        for model in ("atlas-large", "boreal-pro", "mixllm/auto", "no-such-llm"):
            for stream in (False, True):
                ask("POST", CHAT, chat_body(model, f"{MARKER} {model}", stream=stream))
        decision_id = ask("POST", "/v1/route", chat_body(text=MARKER)).json["decision_id"]
        for status in (401, 400, 500):
            playback.put_faults("atlas-large", ErrorStatus(status=status))
            ask("POST", CHAT, chat_body("atlas-large", MARKER))
        ask("POST", CHAT, chat_body(text=MARKER, stream="yes"))
        ask("POST", CHAT, chat_body(messages=[{"role": "user", "content": {"text": MARKER}}]))
        ask("POST", CHAT, json.dumps(chat_body(text=MARKER)).encode()[:-1])
        ask("POST", "/v1/feedback", {"inference_id": decision_id, "value": True})
        ask("POST", "/v1/feedback", {"inference_id": "x", "value": True}, key=f"{FROM_ENVIRON}x")
        for path in ("/v1/llms", "/v1/models", "/metrics"):
            ask("GET", path, key=FROM_ENVIRON)
        gateway.router.learn()
        gateway.router.worker.checkpoint()
        gateway.router.save(tmp_path / "saved")
        told = b"".join(said)
        decision = ask("GET", f"/v1/decisions/{decision_id}").body

    kept = b"".join(path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file())
    for key in (LITERAL, FROM_ENVIRON, POOL_KEY, POOL_KEY_ENV):
        assert key.encode() not in told + decision + kept
        assert key not in caplog.text
    assert MARKER.encode() not in told
    assert MARKER not in caplog.text
    assert decision_id.encode() in kept
    assert (MARKER.encode() in kept) is store_prompts
    assert (MARKER.encode() in decision) is store_prompts


def test_decisions_outcomes_and_feedback_know_the_name_of_the_key_and_never_the_key(guarded: Gateway) -> None:
    name = key_name(Secret(LITERAL))
    headers = {"authorization": f"Bearer {LITERAL}"}
    answer = guarded.ask("POST", "/v1/chat/completions", chat_body(), headers)
    judged = guarded.ask("POST", "/v1/feedback", {"inference_id": answer.inference_id, "value": True}, headers)
    assert (answer.status, judged.status) == (200, 200)
    kept = guarded.ask("GET", f"/v1/decisions/{answer.inference_id}", None, headers)
    assert kept.json["decision"]["key_id"] == name
    assert [outcome["key_id"] for outcome in kept.json["outcomes"]] == [name]
    assert [feedback["key_id"] for feedback in kept.json["feedback"]] == [name]
    assert LITERAL not in kept.body.decode()
    tried = guarded.ask("POST", "/v1/route", chat_body(), headers)
    assert tried.json["key_id"] == name
