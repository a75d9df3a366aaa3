from __future__ import annotations

from pathlib import Path

from tests.gateway.running import Gateway, config_for

from mixllm.playback import PlaybackServer


def test_live_says_that_the_process_answers(gateway: Gateway) -> None:
    reply = gateway.ask("GET", "/health/live")

    assert (reply.status, reply.json) == (200, {"status": "ok"})


def test_ready_tells_how_far_learning_is(gateway: Gateway) -> None:
    gateway.judge(gateway.chat().inference_id, value=True)
    gateway.router.learn()

    reply = gateway.ask("GET", "/health/ready")

    assert reply.status == 200
    assert (reply.json["status"], reply.json["problems"], reply.json["llms"]) == ("ready", [], 6)
    learning = reply.json["learning"]
    assert learning["running"] is True
    assert (learning["outcomes"], learning["feedback"], learning["refused"]) == (1, 1, 0)
    assert learning["position"] >= 2


def test_an_empty_pool_is_not_ready_until_it_has_an_llm(pool: PlaybackServer, tmp_path: Path) -> None:
    with Gateway(config_for(pool, tmp_path / "m.db", [])) as gateway:
        before = gateway.ask("GET", "/health/ready")
        gateway.router.add_llm(pool.llm_specs()[0])
        after = gateway.ask("GET", "/health/ready")

    assert before.status == 503
    assert before.json["status"] == "unready"
    assert "POST /v1/llms" in before.json["problems"][0]
    assert after.status == 200


def test_stopped_learning_is_not_ready(pool: PlaybackServer, tmp_path: Path) -> None:
    with Gateway(config_for(pool, tmp_path / "m.db", ["atlas-large"])) as gateway:
        gateway.router.worker.stop()
        reply = gateway.ask("GET", "/health/ready")

    assert reply.status == 503
    assert "learning" in reply.json["problems"][0]
