"""Learning that silently does nothing is noticed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gateway.running import Gateway, config_for, eventually

from mixllm.clock import ManualClock
from mixllm.learning import LearningWorker
from mixllm.playback import PlaybackServer
from mixllm.store import SQLiteStore
from mixllm.types import LearnedState


@pytest.fixture
def open_gateway(pool: PlaybackServer, tmp_path: Path) -> Callable[..., Gateway]:
    def make(**sections: Any) -> Gateway:
        sections = {"encoder": {"kind": "hashing"}, **sections}
        return Gateway(config_for(pool, tmp_path / "m.db", ["atlas-large"], **sections))

    return make


def ready(gateway: Gateway) -> tuple[int, dict[str, Any]]:
    reply = gateway.ask("GET", "/health/ready")
    return reply.status, reply.json


def judged(gateway: Gateway, count: int, *, learn: bool = True) -> None:
    for number in range(count):
        assert gateway.judge(gateway.chat(text=f"question {number}").inference_id, value=True).status == 200
    if learn:
        gateway.router.learn()


def metric(gateway: Gateway, name: str) -> float:
    text = gateway.ask("GET", "/metrics").body.decode()
    (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(line.split()[-1])


class StopsSilently(LearningWorker):
    """Learning that stops after so many events, as one that fills a window of fixed size does."""

    most = 4

    def catch_up(self) -> int:
        return 0 if self.learner.position >= self.most else super().catch_up()


def test_learning_that_silently_stops_is_noticed(open_gateway: Callable[..., Gateway]) -> None:
    with open_gateway(learning={"stalled_after_s": 5}) as gateway:
        worker = gateway.router.worker
        clock = ManualClock(start_s=worker.clock.time_s())
        worker.clock = gateway.router.clock = clock
        worker._learned_at_s = clock.monotonic_s()
        judged(gateway, 2)
        assert ready(gateway)[1]["status"] == "ready"
        worker.__class__ = StopsSilently
        judged(gateway, 3, learn=False)
        gateway.router.store.flush()
        clock.advance(4.0)
        assert ready(gateway)[1]["status"] == "ready", "not yet"
        clock.advance(2.0)
        status, said = ready(gateway)
        assert (status, said["status"]) == (200, "degraded"), "every request is still routed"
        assert said["learning"]["stalled"] is True
        assert said["learning"]["lag"] == said["learning"]["newest_event"] - said["learning"]["position"] == 6
        assert "learning is stalled: an event has been waiting for 6 s" in said["warnings"][0]
        assert metric(gateway, "mixllm_learning_stalled") == 1
        assert metric(gateway, "mixllm_learning_waiting_seconds") == pytest.approx(6.0)
        assert metric(gateway, "mixllm_learning_lag_events") == 6
        worker.__class__ = LearningWorker
        gateway.router.learn()
        assert ready(gateway)[1]["status"] == "ready"
        assert metric(gateway, "mixllm_learning_stalled") == 0


def test_a_learner_that_hangs_is_noticed(open_gateway: Callable[..., Gateway]) -> None:
    with open_gateway(learning={"stalled_after_s": 0.05}) as gateway:
        release = threading.Event()
        learn = gateway.router.learner.learn

        def hang(events: Any) -> int:
            release.wait(20)
            return learn(events)

        gateway.router.learner.learn = hang  # type: ignore[method-assign]
        judged(gateway, 1, learn=False)
        assert eventually(lambda: ready(gateway)[1]["status"] == "degraded")
        assert ready(gateway)[1]["learning"]["running"] is True, "the thread is alive and does nothing"
        release.set()
        assert eventually(lambda: ready(gateway)[1]["status"] == "ready")


def test_events_that_never_teach_are_noticed(open_gateway: Callable[..., Gateway]) -> None:
    with open_gateway() as gateway:
        judged(gateway, 1)
        gateway.router.learner.encoding_dimension += 1  # As if the events were another encoder's.
        judged(gateway, 110)
        status, said = ready(gateway)
        assert (status, said["status"]) == (200, "degraded")
        learning = said["learning"]
        assert learning["refused"] == learning["untaught"] == 220
        assert learning["refused_share"] > 0.5
        assert "the last 220 events taught nothing" in said["warnings"][0]
        assert "were refused" in said["warnings"][1]
        assert metric(gateway, "mixllm_learning_untaught_events") == 220
        assert metric(gateway, "mixllm_learning_refused_share") == pytest.approx(learning["refused_share"])


def test_what_is_learned_shows(open_gateway: Callable[..., Gateway]) -> None:
    with open_gateway() as gateway:
        before = ready(gateway)[1]["learning"]
        assert (before["learned_age_s"], before["lag"], before["swaps"]) == (None, 0, 0)
        judged(gateway, 3)
        learning = ready(gateway)[1]["learning"]
        assert learning["effective_samples"] == {"atlas-large": 3.0}
        assert learning["lag"] == learning["untaught"] == learning["refused_share"] == 0
        assert learning["swaps"] >= 1
        assert 0 <= learning["learned_age_s"] < 20
        assert 0 <= learning["idle_s"] < 20
        assert metric(gateway, 'mixllm_effective_samples{llm="atlas-large",target="quality"}') == 3
        assert metric(gateway, 'mixllm_effective_samples{llm="atlas-large",target="length"}') == 3
        assert metric(gateway, "mixllm_snapshot_swaps_total") == gateway.router.swaps
        assert 0 <= metric(gateway, "mixllm_learning_age_seconds") < 20
        assert metric(gateway, "mixllm_learning_running") == 1


def test_a_damaged_checkpoint_shows_until_the_next_start(open_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    with open_gateway() as gateway:
        judged(gateway, 2)
    store = SQLiteStore(path=tmp_path / "m.db")
    state = store.load_state()
    assert state is not None
    store.save_state(msgspec.structs.replace(state, payload=state.payload[:-1]))
    store.save_state(LearnedState(version=state.version + 5, position=9, created_at_s=0.0, payload=b"?"))
    store.close()
    with open_gateway() as gateway:
        status, said = ready(gateway)
        assert (status, said["status"], said["problems"]) == (200, "degraded", [])
        assert said["learning"]["quarantined"] == [state.version, state.version + 5]
        assert f"checkpoint {state.version + 5} is in quarantine" in said["warnings"][0]
        assert said["learning"]["effective_samples"] == {"atlas-large": 2.0}, "learned again from the events"
        assert metric(gateway, 'mixllm_checkpoints{quarantined="true"}') == 2
    with open_gateway() as gateway:
        assert ready(gateway)[1]["status"] == "ready"
        assert metric(gateway, 'mixllm_checkpoints{quarantined="true"}') == 2
        assert metric(gateway, 'mixllm_checkpoints{quarantined="false"}') >= 1
