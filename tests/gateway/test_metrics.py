from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.gateway.running import Gateway, config_for

from mixllm.playback import ErrorStatus, PlaybackServer

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(gateway: Gateway) -> Samples:
    gateway.router.learn()
    reply = gateway.ask("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"mixllm_{name}", frozenset(labels.items())]


def test_everything_that_happens_is_counted(playback: PlaybackServer, tmp_path: Path) -> None:
    with Gateway(config_for(playback, tmp_path / "m.db", ["atlas-large", "boreal-pro"])) as gateway:
        plain = gateway.chat("atlas-large")
        gateway.chat("atlas-large", stream=True)
        playback.put_faults("boreal-pro", ErrorStatus(status=500))
        gateway.chat("boreal-pro")
        gateway.judge(plain.inference_id, value=True)
        gateway.judge(plain.inference_id, value=True)
        gateway.judge(plain.inference_id, value=0.5, source="judge")
        samples = scraped(gateway)
        outcomes = gateway.outcomes_of(plain.inference_id)

    assert at(samples, "requests_total", llm="atlas-large", status="ok", streamed="false") == 1
    assert at(samples, "requests_total", llm="atlas-large", status="ok", streamed="true") == 1
    assert at(samples, "requests_total", llm="boreal-pro", status="error", streamed="false") == 1
    assert at(samples, "cost_usd_total", llm="atlas-large") == pytest.approx(2 * outcomes[0]["cost_usd"])
    assert at(samples, "tokens_total", llm="atlas-large", direction="out") == 2 * outcomes[0]["tokens_out"]
    assert at(samples, "tokens_total", llm="atlas-large", direction="in") == 2 * outcomes[0]["tokens_in"]
    assert at(samples, "feedback_total", kind="binary", duplicate="false") == 1
    assert at(samples, "feedback_total", kind="binary", duplicate="true") == 1
    assert at(samples, "feedback_total", kind="refined", duplicate="false") == 1
    assert at(samples, "latency_seconds_count", llm="atlas-large") == 2
    assert at(samples, "ttft_seconds_count", llm="atlas-large") == 1
    assert at(samples, "overhead_seconds_count") == 3
    assert at(samples, "out_of_domain_count") == 3
    assert at(samples, "learning_events_total", result="outcomes") == 2
    assert at(samples, "learning_events_total", result="feedback") == 2
    assert at(samples, "learning_events_total", result="ignored") == 1
    assert at(samples, "learning_events_total", result="refused") == 0
    assert at(samples, "store_rows", kind="decisions") == 3
    assert at(samples, "store_rows", kind="outcomes") == 3
    assert at(samples, "store_rows", kind="feedback") == 2
    assert at(samples, "store_rows", kind="dropped") == 0
    assert at(samples, "judgements", llm="atlas-large") == 2
    assert at(samples, "in_flight", llm="atlas-large") == 0
    assert at(samples, "learning_position") >= 5
    assert at(samples, "model_version") >= 1


def test_a_waiting_upstream_is_no_overhead_of_the_gateway(playback: PlaybackServer, tmp_path: Path) -> None:
    from mixllm.playback import Slow

    playback.put_faults("atlas-large", Slow(add_s=0.3))
    playback.put_faults("boreal-pro", Slow(add_s=0.3), ErrorStatus(status=500))
    with Gateway(config_for(playback, tmp_path / "m.db", ["atlas-large", "boreal-pro"])) as gateway:
        plain, stream = gateway.chat("atlas-large"), gateway.chat("atlas-large", stream=True)
        playback.put_faults("atlas-large", Slow(add_s=30))
        quick = gateway.router.llm("atlas-large")
        gateway.router.remove_llm("atlas-large")
        import msgspec

        with gateway.with_llm(msgspec.structs.replace(quick, timeout_s=0.3)):
            late = gateway.chat("atlas-large")

    assert (plain.status, stream.status, late.status) == (200, 200, 504)
    assert all(float(reply.headers["x-mixllm-overhead-ms"]) < 200 for reply in (plain, stream, late))


def test_a_collapse_is_shown(playback: PlaybackServer, tmp_path: Path) -> None:
    with Gateway(config_for(playback, tmp_path / "m.db", ["atlas-large", "boreal-pro"])) as gateway:
        router = gateway.router
        for value in [1.0] * 150 + [0.0] * 40:
            router.feedback(router.route("hi", llm="atlas-large").decision_id, quality=value)
            router.learn()
        samples = scraped(gateway)

    assert at(samples, "drift_alarms_total", llm="atlas-large", direction="fall") == 1
    assert at(samples, "drift_alarms_total", llm="atlas-large", direction="rise") == 0
    assert at(samples, "drift_last_alarm_seconds", llm="atlas-large") > 1e9
    assert 0 <= at(samples, "drift_statistic", llm="atlas-large") < 1
    assert at(samples, "judgements", llm="atlas-large") < 190, "some of it is forgotten"


def test_odd_names_of_llms_are_escaped(pool: PlaybackServer, tmp_path: Path) -> None:
    import msgspec

    name = 'a"b\\c{}/é'
    with Gateway(config_for(pool, tmp_path / "m.db", [])) as gateway:
        gateway.router.add_llm(msgspec.structs.replace(pool.llm_specs()[0], name=name, model="atlas-large"))
        assert gateway.chat(name).status == 200
        samples = scraped(gateway)

    assert at(samples, "requests_total", llm=name, status="ok", streamed="false") == 1
