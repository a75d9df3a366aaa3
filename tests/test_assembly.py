"""The assembly: every setting reaches its part; saved, loaded, restarted and damaged routers."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.small_router import ENCODER, EXPLORING, SPECS, TAGS, question, small_router, spec

from mixllm import MemoryStore, Outcome, Query, Router, SQLiteStore
from mixllm.assembly import build_encoder, build_features, build_policy, build_recipe, build_store
from mixllm.clock import ManualClock, SystemClock
from mixllm.config import (
    Config,
    EncoderConfig,
    LearningConfig,
    PolicyConfig,
    RoutingConfig,
    StoreConfig,
    TagsConfig,
    parse_config,
)
from mixllm.decision import (
    ExplorationBounds,
    GreedyPolicy,
    SquareCBPolicy,
    ThompsonPolicy,
    UCBPolicy,
    WarmUpPolicy,
)
from mixllm.encoders import HashingEncoder, StaticEncoder
from mixllm.errors import (
    ConfigError,
    DuplicateLLMError,
    EncoderError,
    InvalidValueError,
    StateError,
    StoreError,
    UnknownPriceError,
)
from mixllm.learning import Checkpoint, Recipe
from mixllm.learning.manifest import seal_manifest
from mixllm.tags import DEFAULT_DOMAINS, PrototypeTagger, TagFeatures
from mixllm.types import Forecast

BOUNDED: dict[str, Any] = {"max_cost_ratio": 3.5, "min_quality": 0.25}


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


def teach(router: Router, count: int = 60, *, first: int = 0) -> None:
    """Teach the same, however the background's learning falls between."""
    rng = np.random.default_rng(first)
    names = [one.name for one in router.llms]
    receipts = []
    for number in range(first, first + count):
        decision = router.route(question(number), llm=names[number % len(names)])
        tokens_out, latency_s = int(rng.integers(20, 800)), float(rng.uniform(1, 5))
        router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=tokens_out, latency_s=latency_s))
        receipts.append(router.submit_feedback(decision.decision_id, quality=float(rng.uniform())))
    assert not any(receipt.result().duplicate for receipt in receipts)
    router.learn()


def forecasts(router: Router) -> list[dict[str, Forecast]]:
    """Return what the router expects of some questions."""
    return [
        {one.llm: one.forecast for one in router.route(question(number), expect_outcome=False).candidates}
        for number in range(8)
    ]


def assert_alike(one: list[dict[str, Forecast]], other: list[dict[str, Forecast]]) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert mine.keys() == theirs.keys()
        for name, forecast in mine.items():
            assert theirs[name].quality.mean == pytest.approx(forecast.quality.mean, abs=2e-6)
            assert theirs[name].quality.std == pytest.approx(forecast.quality.std, rel=1e-4)
            assert theirs[name].cost_usd.mean == pytest.approx(forecast.cost_usd.mean, rel=1e-5)
            assert theirs[name].latency_s.mean == pytest.approx(forecast.latency_s.mean, rel=1e-5)
            assert theirs[name].judgements == forecast.judgements


# --- parts ------------------------------------------------------------------------------------------------------------


def test_parameters_reach_their_attributes() -> None:
    store, clock = MemoryStore(), ManualClock()
    routing = RoutingConfig(
        trade_off=2.5,
        reference_llm="middle",
        wait_weight=0.3,
        wait_steepness_per_s=0.7,
        wait_onset=0.4,
        deadline_s=11.0,
        policy=PolicyConfig(name="thompson", scale=1.5),
    )
    learning = LearningConfig(checkpoint_interval_s=3.0, recipe={"prior_tokens_out": 55.0})
    with Router(
        llms=SPECS,
        routing=routing,
        encoder=ENCODER,
        tags=TAGS,
        learning=learning,
        store=store,
        store_prompts=True,
        clock=clock,
        seed=5,
    ) as router:
        assert router.llms == SPECS
        assert (router.routing_config, router.encoder_config) == (routing, ENCODER)
        assert (router.tags_config, router.learning_config) == (TAGS, learning)
        assert (router.store, router.clock, router.store_prompts) == (store, clock, True)
        weights = router.maker.weights
        assert (weights.trade_off, weights.wait_weight, weights.wait_steepness_per_s) == (2.5, 0.3, 0.7)
        assert (weights.wait_onset, weights.deadline_s) == (0.4, 11.0)
        assert isinstance(router.maker.policy, ThompsonPolicy)
        assert router.learner.recipe.prior_tokens_out == 55.0
        assert router.learner.reference == "middle"
        assert router.worker.checkpoint_interval_s == 3.0
        seed = router.route("hi").seed
    assert seed == int(np.random.default_rng(5).integers(0, 1 << 63))


def test_defaults() -> None:
    with Router(llms=SPECS) as router:
        assert isinstance(router.encoder, StaticEncoder)
        assert router.features.tags == tuple(domain.name for domain in DEFAULT_DOMAINS)
        assert router.features.dimension == len(DEFAULT_DOMAINS) + 64 + 1
        assert isinstance(router.store, MemoryStore)
        assert isinstance(router.clock, SystemClock)
        assert isinstance(router.maker.policy, UCBPolicy)
        assert not router.store_prompts
        assert router.learner.reference == "large"


def test_an_unknown_reference_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no LLM named 'lagre' in the pool\. Did you mean 'large'\?"):
        small_router(routing=RoutingConfig(reference_llm="lagre"))


def test_encoders(tmp_path: Path) -> None:
    assert isinstance(build_encoder(EncoderConfig(kind="hashing")), HashingEncoder)
    short, usual = build_encoder(EncoderConfig(max_chars=10)), build_encoder(EncoderConfig())
    assert isinstance(short, StaticEncoder)
    text = "a long text that is cut in the middle"
    assert not np.array_equal(short.encode(text), usual.encode(text))
    with pytest.raises(EncoderError):
        build_encoder(EncoderConfig(kind="folder", path=str(tmp_path / "nowhere")))
    with pytest.raises(InvalidValueError, match="path must be given where the kind is 'folder'"):
        EncoderConfig(kind="folder")


def test_features() -> None:
    features = build_features(TAGS, HashingEncoder())
    assert isinstance(features, TagFeatures)
    assert features.tags == ("maths", "law", "code")
    assert features.dimension == 3 + 8 + 1
    wide = build_features(TagsConfig(domains=TAGS.domains, projection_dimension=10_000), HashingEncoder())
    assert wide.dimension == 3 + 64 + 1, "never longer than the encoding"
    soft = build_features(TagsConfig(temperature=0.7), HashingEncoder())
    assert isinstance(soft, TagFeatures)
    assert isinstance(soft.tagger, PrototypeTagger)
    assert soft.tagger.temperature == 0.7


def test_policies() -> None:
    bounds = ExplorationBounds(**BOUNDED)
    assert isinstance(build_policy(PolicyConfig(name="greedy")), GreedyPolicy)
    ucb = build_policy(PolicyConfig(name="ucb", exploration=0.3, **BOUNDED))
    assert isinstance(ucb, UCBPolicy)
    assert (ucb.exploration, ucb.bounds) == (0.3, bounds)
    squarecb = build_policy(PolicyConfig(name="squarecb", gap_weight=30.0, **BOUNDED))
    assert isinstance(squarecb, SquareCBPolicy)
    assert (squarecb.gap_weight, squarecb.bounds) == (30.0, bounds)
    thompson = build_policy(PolicyConfig(name="thompson", scale=3.0, **BOUNDED))
    assert isinstance(thompson, ThompsonPolicy)
    assert (thompson.scale, thompson.bounds) == (3.0, bounds)
    warm_up = build_policy(PolicyConfig(name="thompson", warmup_judgements=9, warmup_share=0.4, **BOUNDED))
    assert isinstance(warm_up, WarmUpPolicy)
    assert (warm_up.judgements, warm_up.share, warm_up.bounds) == (9, 0.4, bounds)
    assert isinstance(warm_up.policy, ThompsonPolicy)


def test_recipes() -> None:
    assert build_recipe(LearningConfig()) == Recipe()
    odd = {field.name: 0.5 if "quality_" in field.name else 1.75 for field in dataclasses.fields(Recipe)}
    assert build_recipe(LearningConfig(recipe=odd)) == Recipe(**odd)
    with pytest.raises(ConfigError, match=r"unknown name 'tag_precison'\. Did you mean 'tag_precision'"):
        build_recipe(LearningConfig(recipe={"tag_precison": 1.0}))
    with pytest.raises(ConfigError, match=r"learning\.recipe: tag_precision must be"):
        build_recipe(LearningConfig(recipe={"tag_precision": -1.0}))


def test_stores(tmp_path: Path) -> None:
    assert isinstance(build_store(StoreConfig(kind="memory")), MemoryStore)
    store = build_store(StoreConfig(path=str(tmp_path / "x.db"), max_commit_delay_s=0.5))
    assert isinstance(store, SQLiteStore)
    assert store.path == tmp_path / "x.db"
    assert store._max_commit_delay_s == 0.5
    store.close()
    with pytest.raises(StoreError):
        build_store(StoreConfig(path=str(tmp_path / "no" / "such" / "folder.db")))


# --- from a configuration ---------------------------------------------------------------------------------------------

FILE = """\
model_list:
- model_name: small
  litellm_params: {{model: openai/s, input_cost_per_token: 1e-7, output_cost_per_token: 1e-7}}
- model_name: large
  litellm_params: {{model: openai/l, api_key: sk-very-secret, input_cost_per_token: 1e-5, output_cost_per_token: 1e-5}}
routing: {{lambda: 3, reference_llm: small, policy: {{name: squarecb, gap_weight: 5}}}}
encoder: {{kind: hashing}}
tags:
  domains: [{{name: maths, description: sum product}}, {{name: law, description: court}}]
  projection_dimension: 8
learning: {{checkpoint_interval_s: 9}}
store: {{kind: {kind}, path: '{path}'}}
privacy: {{store_prompts: true}}
"""


def configured(path: Path, *, kind: str = "sqlite") -> Config:
    return parse_config(FILE.format(path=path, kind=kind))


def test_a_router_is_built_from_a_file(tmp_path: Path) -> None:
    with Router.from_config(configured(tmp_path / "r.db"), seed=3) as router:
        assert [one.name for one in router.llms] == ["small", "large"]
        decision = router.route("the sum")
        assert router.decision(decision.decision_id).prompt == "the sum"
        assert (decision.policy, decision.trade_off) == ("squarecb", 3.0)
        assert decision.tags[0].tag == "maths"
        assert router.learner.reference == "small"
        assert router.worker.checkpoint_interval_s == 9.0
    assert (tmp_path / "r.db").exists()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("routing: {reference_llm: nobody}", ConfigError),
        ("learning: {recipe: {x: 1}}", ConfigError),
        ("encoder: {kind: folder, path: /no/such/folder}", EncoderError),
        ("model_list: [{model_name: mystery, litellm_params: {model: openai/mystery}}]", UnknownPriceError),
    ],
)
def test_a_router_that_cannot_be_built_leaves_its_store_closed(
    tmp_path: Path, change: str, kind: type[Exception]
) -> None:
    path = tmp_path / "r.db"
    config = parse_config(f"{change}\nstore: {{path: '{path}'}}")
    with pytest.raises(kind):
        Router.from_config(config)
    assert not path.exists() or not path.with_name("r.db-wal").exists(), "the file is let go"


def test_peeking_writes_nothing(tmp_path: Path) -> None:
    config = configured(tmp_path / "r.db")
    with Router.peek(config) as router:
        router.route("hi")
    assert not (tmp_path / "r.db").exists()
    with Router.from_config(config) as router:
        teach(router)
        expected = forecasts(router)
    before = sqlite_content(tmp_path / "r.db")
    with Router.peek(config) as router:
        assert_alike(forecasts(router), expected)
        router.add_llm(spec("guest", 1.0))
        teach(router, 20)
        assert router.snapshot.position > 0
        assert sum(router.snapshot.judgements) == 80.0
    assert sqlite_content(tmp_path / "r.db") == before


def sqlite_content(path: Path) -> tuple[dict[str, int], list[int], list[str]]:
    store = SQLiteStore(path=path)
    try:
        return dict(store.counts()), list(store.state_versions()), [one.spec.name for one in store.pool_changes()]
    finally:
        store.close()


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_a_restart_goes_on_with_what_was_learned(tmp_path: Path) -> None:
    """LiteLLM's learned state is lost at a restart, and nobody notices."""
    config = configured(tmp_path / "r.db")
    with Router.from_config(config) as router:
        teach(router)
        expected, version = forecasts(router), router.snapshot.version
    with Router.from_config(config) as router:
        assert_alike(forecasts(router), expected)
        assert router.snapshot.version > version
        assert router.learner.counts.outcomes == 0, "from the checkpoint, not from all events again"
        teach(router, 30, first=60)
        expected = forecasts(router)
    with Router.from_config(config) as router:
        assert_alike(forecasts(router), expected)


def test_after_a_crash_everything_durable_is_learned_again(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    crashed = small_router(store=SQLiteStore(path=path))
    crashed.add_llm(spec("guest", 2.0))
    teach(crashed)
    crashed.remove_llm("guest")
    expected = forecasts(crashed)
    shutil.copytree(tmp_path, tmp_path / "copy")  # What the disk holds when the process is killed.
    crashed.close()
    with small_router(store=SQLiteStore(path=tmp_path / "copy" / "r.db")) as router:
        assert list(router.store.state_versions()) == []
        assert router.learner.counts.outcomes == router.learner.counts.feedback == 60
        assert_alike(forecasts(router), expected)


def test_changes_of_the_pool_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with small_router(store=SQLiteStore(path=path)) as router:
        router.add_llm(spec("guest", 2.0, max_in_flight=3))
        teach(router)
        router.remove_llm("small")
        expected = forecasts(router)
    with small_router(store=SQLiteStore(path=path)) as router:
        assert [one.name for one in router.llms] == ["middle", "large", "guest"]
        assert router.llm("guest").max_in_flight == 3
        assert_alike(forecasts(router), expected)
        router.add_llm(SPECS[0])
        router.remove_llm("guest")
    with small_router(store=SQLiteStore(path=path)) as router:
        assert {one.name for one in router.llms} == {"small", "middle", "large"}


@pytest.mark.parametrize("crash", [False, True], ids=["closed", "crashed"])
def test_an_llm_that_returns_after_a_restart_is_what_it_was(tmp_path: Path, crash: bool) -> None:
    path = tmp_path / "r.db"
    first = small_router(store=SQLiteStore(path=path))
    first.add_llm(spec("guest", 2.0))
    teach(first)
    expected = forecasts(first)
    first.remove_llm("guest")
    first.store.flush()
    if crash:
        shutil.copytree(tmp_path, tmp_path / "copy")
        path = tmp_path / "copy" / "r.db"
    first.close()
    with small_router(store=SQLiteStore(path=path)) as router:
        assert "guest" not in {one.name for one in router.llms}
        router.add_llm(spec("guest", 2.0))
        assert_alike(forecasts(router), expected)


def test_other_tags_learn_anew_from_the_same_store(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with small_router(store=SQLiteStore(path=path)) as router:
        teach(router)
    other = TagsConfig(domains=TAGS.domains[:2], projection_dimension=5)
    with small_router(store=SQLiteStore(path=path), tags=other) as router:
        assert router.learner.counts.feedback == 60
        assert router.learner.counts.refused == 0
    with small_router(store=SQLiteStore(path=path)) as router:
        assert sum(router.snapshot.judgements) == 60.0


# --- save and load ----------------------------------------------------------------------------------------------------


def saved(folder: Path, **change: Any) -> list[dict[str, Forecast]]:
    """Save a taught router into `folder`, and return what it expects."""
    with small_router(**change) as router:
        teach(router)
        router.save(folder)
        return forecasts(router)


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
        assert_alike(forecasts(router), expected)
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
    with small_router() as router:
        if where == "writing":
            monkeypatch.setattr(Checkpoint, "to_folder", fails)
        else:
            whole = Path.rename

            def rename(self: Path, target: Path) -> Path:
                if self.name == "new":
                    fails()
                return whole(self, target)

            monkeypatch.setattr(Path, "rename", rename)
        with pytest.raises(StateError, match=r"cannot be written \(No space left on device\)"):
            router.save(folder)
        monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["router"], "and nothing half done beside it"
    with Router.load(folder) as router:
        assert_alike(forecasts(router), expected)


def test_a_loaded_router_goes_on_learning_in_its_own_store(tmp_path: Path) -> None:
    expected = saved(tmp_path / "router")
    path = tmp_path / "new.db"
    router = Router.load(tmp_path / "router", store=SQLiteStore(path=path))
    assert_alike(forecasts(router), expected)
    router.store.flush()
    shutil.copytree(tmp_path, tmp_path / "copy")
    teach(router, 30, first=60)
    expected_later = forecasts(router)
    router.close()
    with small_router(store=SQLiteStore(path=path)) as restarted:
        assert_alike(forecasts(restarted), expected_later)
    with small_router(store=SQLiteStore(path=tmp_path / "copy" / "new.db")) as crashed:
        assert_alike(forecasts(crashed), expected)  # What was loaded is in no event, and survives all the same.


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
        expected = forecasts(router)
        router.remove_llm("small")
        router.save(tmp_path / "router")
    with Router.load(tmp_path / "router") as router:
        router.add_llm(SPECS[0])
        assert_alike(forecasts(router), expected)


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
