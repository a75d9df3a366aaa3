"""Unusable checkpoints are set aside, each with what to do; the last good one is used; later they may be released."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest
from tests.learning.test_worker import assert_learned_alike, learner, live, worker
from tests.small_router import TAGS, configured, small_router, teach

from mixllm import Router
from mixllm.config import DomainConfig
from mixllm.errors import StoreError
from mixllm.learning.checkpoint import SCHEMA
from mixllm.store import MemoryStore, SQLiteStore
from mixllm.types import LearnedState

_MAGIC = b"mixllm-state\n"


def newer(payload: bytes) -> bytes:
    """Return a state as a later version of the format would write it."""
    start = len(_MAGIC) + 8
    end = start + int.from_bytes(payload[len(_MAGIC) : start], "little")
    manifest = msgspec.json.decode(payload[start:end])
    manifest["schema"] = SCHEMA + 1
    encoded = msgspec.json.encode(manifest)
    return b"".join((_MAGIC, len(encoded).to_bytes(8, "little"), encoded, payload[end:]))


def newest(store: MemoryStore) -> LearnedState:
    state = store.load_state()
    assert state is not None
    return state


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda payload: payload[:-9], "Nothing is lost: the last good one is used"),
        (lambda payload: payload[:40] + b"?" + payload[41:], "Nothing is lost: the last good one is used"),
        (newer, "Upgrade mixllm. It is not damaged: after that, mixllm state release"),
    ],
    ids=["cut", "changed", "newer"],
)
def test_it_is_set_aside_and_what_came_since_is_learned_again(
    change: object, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(change)
    store = MemoryStore()
    running = live(store, rounds=4, checkpoints=(0, 2))
    whole = newest(store)
    store.save_state(msgspec.structs.replace(whole, payload=change(whole.payload)))
    restarted = worker(store)
    with caplog.at_level(logging.ERROR):
        restarted.restore()
    assert_learned_alike(restarted.learner, running.learner)
    assert restarted.learner.counts.seen == 160 - 40
    aside = {info.version: info.quarantined for info in store.states() if info.quarantined is not None}
    assert list(aside) == [whole.version]
    assert expected in str(aside[whole.version])
    assert f"checkpoint {whole.version} is unusable and goes into quarantine" in caplog.text
    assert store.load_state(whole.version) is not None, "kept as it is"
    assert list(restarted.vitals().quarantined) == [whole.version]
    assert any(f"checkpoint {whole.version} is in quarantine" in warning for warning in restarted.vitals().warnings())
    again = worker(store)
    again.restore()
    assert again.vitals().quarantined == {}, "it is not tried again"
    running.stop()


def test_other_features_are_set_aside_until_they_are_back() -> None:
    store = MemoryStore()
    running = live(store, rounds=2, checkpoints=(1,))
    version = newest(store).version
    other = worker(store, learner(fingerprint="plain/2"))
    other.restore()
    (info,) = [info for info in store.states() if info.quarantined is not None]
    assert info.version == version
    assert "Use the encoder and tags that it was learned with" in str(info.quarantined)
    assert f"mixllm state release {version}" in str(info.quarantined)
    store.release_state(version)
    back = worker(store)
    back.restore()
    assert back.learner.counts.seen == 0, "all of it was in the checkpoint"
    assert_learned_alike(back.learner, running.learner)
    running.stop()


def test_versions_in_quarantine_are_never_given_again() -> None:
    store = MemoryStore()
    store.save_state(LearnedState(version=50, position=1, created_at_s=0.0, payload=b"\0"))
    one = worker(store)
    one.restore()
    assert one.learner.version >= 50
    assert one.learner.snapshot().version > 50


class ReadOnly(MemoryStore):
    """A store that marks nothing."""

    def quarantine_state(self, version: int, reason: str) -> None:
        raise StoreError("The file is locked. Wait.")


def test_where_it_cannot_be_marked_learning_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    store = ReadOnly()
    running = live(store, rounds=2, checkpoints=())
    store.save_state(LearnedState(version=50, position=1, created_at_s=0.0, payload=b"\0"))
    one = worker(store)
    with caplog.at_level(logging.ERROR):
        one.restore()
    assert_learned_alike(one.learner, running.learner)
    assert "checkpoint 50 cannot be marked: The file is locked" in caplog.text
    running.stop()


def test_looking_without_serving_marks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    config = configured(path)
    with Router.from_config(config, seed=1) as router:
        teach(router, 6)
    domains = (*config.tags.domains, DomainConfig(name="more", description="of something else"))
    other = msgspec.structs.replace(config, tags=msgspec.structs.replace(config.tags, domains=domains))
    Router.peek(other).close()
    store = SQLiteStore(path=path)
    assert all(info.quarantined is None for info in store.states())
    store.close()
    with Router.from_config(other, seed=1):
        pass
    store = SQLiteStore(path=path)
    assert store.states()[0].quarantined is not None
    store.close()


def test_merging_saved_routers(tmp_path: Path) -> None:
    with small_router(seed=1) as start:
        teach(start, 9)
        start.save(tmp_path / "start")
        common = sum(start.snapshot.judgements)
    for name, first in (("a", 100), ("b", 200)):
        with Router.load(tmp_path / "start", seed=first) as router:
            teach(router, 12, first=first)
            router.save(tmp_path / name)
    with Router.load(tmp_path / "a") as router:
        router.merge(tmp_path / "b", since=tmp_path / "start")
        assert sum(router.snapshot.judgements) == pytest.approx(common + 24)
        kept = router.store.load_state()
        assert kept is not None
        assert kept.version <= router.snapshot.version, "no event tells of it, so it is kept at once"
        router.save(tmp_path / "c")
    with Router.load(tmp_path / "c") as router:
        assert sum(router.snapshot.judgements) == pytest.approx(common + 24)
    assert TAGS.domains  # The same tags in all of them.
