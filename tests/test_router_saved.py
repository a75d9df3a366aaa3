"""Saved routers: loaded, replaced, damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.small_router import (
    ENCODER,
    EXPLORING,
    SPECS,
    TAGS,
    assert_alike,
    configured,
    expectations,
    question,
    small_router,
    teach,
)

from mixllm import MemoryStore, Query, Router, SQLiteStore
from mixllm.config import (
    LearningConfig,
    RoutingConfig,
)
from mixllm.errors import (
    DuplicateLLMError,
    StateError,
)
from mixllm.learning import Checkpoint
from mixllm.manifest import seal_manifest
from mixllm.types import Forecast

pytestmark = pytest.mark.usefixtures("standing_clock")

BOUNDED: dict[str, Any] = {"max_cost_ratio": 3.5, "min_quality": 0.25}


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


def saved(folder: Path, **change: Any) -> list[dict[str, Forecast]]:
    """Save a taught router into `folder`, and return what it expects."""
    with small_router(**change) as router:
        teach(router)
        router.save(folder)
        return expectations(router)


def test_a_loaded_router_decides_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "down" / "router"
    with small_router(store_prompts=True) as router:
        teach(router)
        router.save(folder)
        expected = [router.route(question(number)) for number in range(40)]
    with Router.load(folder) as one, Router.load(str(folder), seed=9) as two, Router.load(folder, seed=9) as three:
        assert (one.llms, one.routing_config, one.encoder_config) == (SPECS, EXPLORING, ENCODER)
        assert (one.tags_config, one.learning_config) == (TAGS, LearningConfig())
        for number, old in enumerate(expected):
            query = Query(text=question(number))
            new, again = two.route(query), three.route(query)
            assert new.llm == again.llm
            assert [c.score for c in new.candidates] == pytest.approx([c.score for c in old.candidates], abs=1e-5)
            assert [c.propensity for c in new.candidates] == pytest.approx(
                [c.propensity for c in old.candidates], abs=1e-5
            )
            assert new.cost_scale_usd == pytest.approx(old.cost_scale_usd, rel=1e-9)


def test_a_saved_router_holds_no_key_and_no_prompt(tmp_path: Path) -> None:
    with Router.from_config(configured(tmp_path / "r.db")) as router:
        decision = router.route("my private question")
        router.feedback(decision.decision_id, quality=1.0)
        router.save(tmp_path / "router")
    content = b"".join(path.read_bytes() for path in (tmp_path / "router").iterdir())
    for word in (b"sk-very-secret", b"private", decision.decision_id.encode()):
        assert word not in content
    assert {path.name for path in (tmp_path / "router").iterdir()} == {
        "router.json",
        "state.json",
        "state.safetensors",
    }


def test_saving_replaces_a_saved_router_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "router"
    folder.mkdir()
    saved(folder)
    expected = saved(folder, llms=SPECS[:2])
    with Router.load(folder) as router:
        assert router.llms == SPECS[:2]
        assert_alike(expectations(router), expected)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_bytes(b"x")
    with small_router() as router:
        for target in (photos, tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(StateError, match=r"is no saved router|cannot be written"):
                router.save(target)
    assert (photos / "cat.jpg").read_bytes() == b"cat"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photos", "router"]


def fails(*_arguments: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["writing", "swapping"])
def test_a_failed_save_leaves_the_old_router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    folder = tmp_path / "router"
    expected = saved(folder)
    with small_router() as router, monkeypatch.context() as patched:
        if where == "writing":
            patched.setattr(Checkpoint, "to_folder", fails)
        else:
            whole = Path.rename

            def rename(self: Path, target: Path) -> Path:
                if self.name == "new":
                    fails()
                return whole(self, target)

            patched.setattr(Path, "rename", rename)
        with pytest.raises(StateError, match=r"cannot be written \(No space left on device\)"):
            router.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["router"], "and nothing half done beside it"
    with Router.load(folder) as router:
        assert_alike(expectations(router), expected)


def test_a_loaded_router_goes_on_learning_in_its_own_store(tmp_path: Path) -> None:
    expected = saved(tmp_path / "router")
    path = tmp_path / "new.db"
    router = Router.load(tmp_path / "router", store=SQLiteStore(path=path))
    assert_alike(expectations(router), expected)
    router.store.flush()
    shutil.copytree(tmp_path, tmp_path / "copy")
    teach(router, 30, first=60)
    expected_later = expectations(router)
    router.close()
    with small_router(store=SQLiteStore(path=path)) as restarted:
        assert_alike(expectations(restarted), expected_later)
    with small_router(store=SQLiteStore(path=tmp_path / "copy" / "new.db")) as crashed:
        assert_alike(expectations(crashed), expected)  # What was loaded is in no event, and survives all the same.


def test_loading_into_a_store_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "router")
    store = SQLiteStore(path=tmp_path / "used.db")
    with small_router(store=store) as router:
        teach(router, 5)
    store = SQLiteStore(path=tmp_path / "used.db")
    with pytest.raises(StateError, match="Load a saved router into an empty store"):
        Router.load(tmp_path / "router", store=store)
    assert store.counts()["decisions"] == 5, "the store is still open"
    with small_router(store=store) as router:
        assert sum(router.snapshot.judgements) == 5.0


def test_a_router_whose_reference_has_left_can_be_loaded(tmp_path: Path) -> None:
    with small_router(routing=RoutingConfig(reference_llm="large")) as router:
        router.remove_llm("large")
        scale = router.snapshot.cost_scale_usd
        router.save(tmp_path / "router")
    with Router.load(tmp_path / "router") as router:
        assert [one.name for one in router.llms] == ["small", "middle"]
        assert router.learner.reference == "large"
        assert router.snapshot.cost_scale_usd == pytest.approx(scale)


def test_an_llm_that_had_left_returns_to_a_loaded_router(tmp_path: Path) -> None:
    with small_router() as router:
        teach(router)
        expected = expectations(router)
        router.remove_llm("small")
        router.save(tmp_path / "router")
    with Router.load(tmp_path / "router") as router:
        router.add_llm(SPECS[0])
        assert_alike(expectations(router), expected)


# --- damaged folders --------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(StateError, match=r"holds no saved router .*expected router\.json"):
            Router.load(folder)


@pytest.mark.parametrize("name", ["router.json", "state.json", "state.safetensors"])
def test_a_missing_or_damaged_file_is_a_state_error(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "router")
    path = tmp_path / "router" / name
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    store = MemoryStore()
    damaged = [b"", b"\xff", sound[:-7], sound + b"x", b"[" * 100_000]
    for place in rng.integers(0, len(sound), 25):
        one = bytearray(sound)
        one[place] ^= 1 << int(rng.integers(7))
        if name == "state.safetensors" or json_content(one) != json_content(sound):
            damaged.append(bytes(one))
    assert len(damaged) > 10
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(StateError):
            Router.load(tmp_path / "router", store=store)
    path.unlink()
    with pytest.raises(StateError, match="holds no"):
        Router.load(tmp_path / "router", store=store)
    assert store.counts()["decisions"] == 0, "the store is open, and nothing is in it"
    path.write_bytes(sound)
    with Router.load(tmp_path / "router", store=store) as router:
        assert sum(router.snapshot.judgements) == 60.0


def json_content(data: bytes | bytearray) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


Edit = Callable[[dict[str, Any]], None]


def resealed(folder: Path, edit: Edit, *, name: str = "router.json") -> None:
    """Change the manifest as another version might have written it, its checksum right."""
    content = json.loads((folder / name).read_text("utf-8"))
    edit(content)
    kind = msgspec.defstruct("Any", [(key, Any) for key in content])
    (folder / name).write_bytes(seal_manifest(kind(**content)))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda manifest: manifest.update(schema=2), r"has format 2, newer than the 1 .* Upgrade mixllm"),
        (lambda manifest: manifest.update(schema=9, llms="other"), r"has format 9, newer"),
        (lambda manifest: manifest.update(encoder_fingerprint="other/1"), "saved with encoder 'other/1', but this"),
        (lambda manifest: manifest.update(llms=3), "cannot be read"),
        (lambda manifest: manifest["llms"][0].update(name=" "), "cannot be read"),
        (lambda manifest: manifest["routing"].update(wait_onset=7.0), "cannot be read"),
        (lambda manifest: manifest["routing"].update(unknown=7.0), "cannot be read"),
        (lambda manifest: manifest["tags"].update(temperature=-1.0), "cannot be read"),
        (lambda manifest: manifest["tags"].update(projection_dimension=5), "was learned on features"),
        (lambda manifest: manifest["learning"].update(recipe={"x": 1.0}), "cannot be made a router again"),
        (lambda manifest: manifest["llms"].append(manifest["llms"][0]), "cannot be made a router again"),
        (lambda manifest: manifest["encoder"].update(kind="folder", path="/no/such"), "cannot be made a router again"),
    ],
)
def test_a_folder_that_does_not_fit_is_a_state_error(tmp_path: Path, edit: Edit, words: str) -> None:
    saved(tmp_path / "router")
    resealed(tmp_path / "router", edit)
    store = SQLiteStore(path=tmp_path / "new.db")
    with pytest.raises(StateError, match=words):
        Router.load(tmp_path / "router", store=store)
    assert store.counts()["decisions"] == 0
    assert list(store.state_versions()) == []
    store.close()


def test_duplicates_in_the_pool_are_refused() -> None:
    with pytest.raises(DuplicateLLMError, match="'small'"):
        small_router(llms=[*SPECS, SPECS[0]])
