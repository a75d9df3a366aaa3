"""The assembly: every setting reaches its part; saved, loaded, restarted and damaged routers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.encoders.embedding_server import open_server
from tests.encoders.small_transformer import write_transformer
from tests.small_router import (
    ENCODER,
    SPECS,
    TAGS,
    assert_alike,
    configured,
    expectations,
    small_router,
    spec,
    teach,
)

from mixllm import MemoryStore, Router, SQLiteStore
from mixllm.assembly import (
    build_encoder,
    build_features,
    build_limits,
    build_policy,
    build_recipe,
    build_shadows,
    build_store,
)
from mixllm.clock import ManualClock, SystemClock
from mixllm.config import (
    BudgetConfig,
    EncoderConfig,
    KeyBudgetConfig,
    LearningConfig,
    PolicyConfig,
    RoutingConfig,
    ShadowConfig,
    StoreConfig,
    TagsConfig,
    parse_config,
)
from mixllm.decision import (
    ExplorationBounds,
    GreedyPolicy,
    Period,
    SquareCBPolicy,
    ThompsonPolicy,
    UCBPolicy,
    WarmUpPolicy,
)
from mixllm.encoders import EndpointEncoder, HashingEncoder, StaticEncoder, SurfaceEncoder, TransformerEncoder
from mixllm.errors import (
    ConfigError,
    EncoderError,
    InvalidValueError,
    StoreClosedError,
    StoreError,
    UnknownPriceError,
)
from mixllm.learning import Recipe
from mixllm.router import BudgetLimits, KeyLimits
from mixllm.tags import DEFAULT_DOMAINS, PrototypeTagger, TagFeatures
from mixllm.types import Secret

BOUNDED: dict[str, Any] = {"max_cost_ratio": 3.5, "min_quality": 0.25}


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


def test_parameters_reach_their_attributes() -> None:
    store, clock = MemoryStore(), ManualClock()
    routing = RoutingConfig(
        trade_off=2.5,
        reference_llm="middle",
        wait_weight=0.3,
        wait_steepness_per_s=0.7,
        wait_onset=0.4,
        queue_weight=0.7,
        deadline_s=11.0,
        policy=PolicyConfig(name="thompson", scale=1.5),
    )
    learning = LearningConfig(checkpoint_interval_s=3.0, stalled_after_s=13.0, recipe={"prior_tokens_out": 55.0})
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
        assert (weights.wait_onset, weights.queue_weight, weights.deadline_s) == (0.4, 0.7, 11.0)
        assert isinstance(router.maker.policy, WarmUpPolicy)
        assert isinstance(router.maker.policy.policy, ThompsonPolicy)
        assert router.learner.watch.answers_per_false_alarm == learning.drift_answers_per_false_alarm
        assert router.learner.recipe.prior_tokens_out == 55.0
        assert router.learner.reference == "middle"
        assert router.worker.checkpoint_interval_s == 3.0
        assert router.worker.stalled_after_s == 13.0
        seed = router.route("hi").seed
    assert seed == int(np.random.default_rng(5).integers(0, 1 << 63))


def test_defaults() -> None:
    with Router(llms=SPECS) as router:
        assert isinstance(router.encoder, SurfaceEncoder)
        assert isinstance(router.encoder.base, StaticEncoder)
        assert router.features.tags == tuple(domain.name for domain in DEFAULT_DOMAINS)
        assert router.features.dimension == len(DEFAULT_DOMAINS) + 64 + 9 + 1
        assert isinstance(router.store, MemoryStore)
        assert isinstance(router.clock, SystemClock)
        policy = router.maker.policy
        assert isinstance(policy, WarmUpPolicy)
        assert isinstance(policy.policy, ThompsonPolicy)
        assert (policy.judgements, policy.newcomer_judgements, policy.newcomer_optimism) == (0, 500, 1.25)
        assert policy.max_cost_usd is None
        assert not router.store_prompts
        assert router.learner.reference == "large"


def test_without_surface_features_the_encoder_is_the_base() -> None:
    with Router(llms=SPECS, tags=TagsConfig(surface=False)) as router:
        assert isinstance(router.encoder, StaticEncoder)
        assert router.features.dimension == len(DEFAULT_DOMAINS) + 64 + 1


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


@pytest.mark.xdist_group("torch")
def test_a_transformer_is_built_from_its_folder(tmp_path: Path) -> None:
    folder = write_transformer(tmp_path / "m")
    encoder = build_encoder(EncoderConfig(kind="transformer", path=str(folder), max_chars=70))
    assert isinstance(encoder, TransformerEncoder)
    assert (encoder.dimension, encoder.max_chars) == (32, 70)
    features = build_features(TAGS, encoder)
    assert features.dimension == 3 + 8 + 1
    with pytest.raises(EncoderError, match="is not a folder"):
        build_encoder(EncoderConfig(kind="transformer", path=str(tmp_path / "nowhere")))


def test_an_endpoint_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBED_KEY", "sk-1")
    with open_server() as server:
        config = EncoderConfig(
            kind="endpoint", api_base=server.url, model="bge", dimension=16, api_key_env="EMBED_KEY", max_chars=9
        )
        encoder = build_encoder(config)
        assert isinstance(encoder, EndpointEncoder)
        encoder.encode("0123456789")
    assert server.asked[0].body["model"] == "bge"
    assert server.asked[0].body["input"] == ["01\n456789"]
    assert server.asked[0].headers["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("parameter", "changed"),
    [
        ("path", {"kind": "transformer"}),
        ("api_base", {"api_base": None}),
        ("api_base", {"api_base": "h/v1"}),
        ("api_base", {"api_base": "http://me:pw@h/v1"}),
        ("model", {"model": None}),
        ("dimension", {"dimension": None}),
        ("dimension", {"dimension": -1}),
        ("timeout_s", {"timeout_s": 0.0}),
    ],
)
def test_an_encoder_lacks_or_has_a_bad_setting(parameter: str, changed: dict[str, Any]) -> None:
    good: dict[str, Any] = {"kind": "endpoint", "api_base": "http://h/v1", "model": "m", "dimension": 4}
    with pytest.raises(InvalidValueError) as caught:
        EncoderConfig(**(good | changed))
    assert caught.value.parameter == parameter
    assert "pw" not in str(caught.value)


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
    plain: dict[str, Any] = {**BOUNDED, "newcomer_judgements": 0}
    ucb = build_policy(PolicyConfig(name="ucb", exploration=0.3, **plain))
    assert isinstance(ucb, UCBPolicy)
    assert (ucb.exploration, ucb.bounds) == (0.3, bounds)
    squarecb = build_policy(PolicyConfig(name="squarecb", gap_weight=30.0, **plain))
    assert isinstance(squarecb, SquareCBPolicy)
    assert (squarecb.gap_weight, squarecb.bounds) == (30.0, bounds)
    thompson = build_policy(PolicyConfig(name="thompson", scale=3.0, **plain))
    assert isinstance(thompson, ThompsonPolicy)
    assert (thompson.scale, thompson.bounds) == (3.0, bounds)
    explored: dict[str, Any] = {"warmup_judgements": 9, "warmup_share": 0.4, "warmup_max_cost_usd": 0.7}
    new: dict[str, Any] = {"newcomer_judgements": 70, "newcomer_optimism": 0.9}
    warm_up = build_policy(PolicyConfig(name="thompson", **explored, **new, **BOUNDED))
    assert isinstance(warm_up, WarmUpPolicy)
    assert (warm_up.judgements, warm_up.share, warm_up.bounds) == (9, 0.4, bounds)
    assert (warm_up.newcomer_judgements, warm_up.newcomer_optimism, warm_up.max_cost_usd) == (70, 0.9, 0.7)
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
    learning = LearningConfig(kept_checkpoints=3, kept_daily_checkpoints=2)
    memory = build_store(StoreConfig(kind="memory"), learning)
    assert isinstance(memory, MemoryStore)
    assert (memory._keep_states, memory._keep_daily_states) == (3, 2)
    store = build_store(StoreConfig(path=str(tmp_path / "x.db"), max_commit_delay_s=0.5), learning)
    assert isinstance(store, SQLiteStore)
    assert store.path == tmp_path / "x.db"
    assert store._max_commit_delay_s == 0.5
    assert (store._keep_states, store._keep_daily_states) == (3, 2)
    store.close()
    with pytest.raises(StoreError):
        build_store(StoreConfig(path=str(tmp_path / "no" / "such" / "folder.db")))


# --- from a configuration ---------------------------------------------------------------------------------------------


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
    monkeypatch: pytest.MonkeyPatch, change: str, kind: type[Exception]
) -> None:
    store = MemoryStore()
    monkeypatch.setattr("mixllm.assembly.build_store", lambda *_, **__: store)
    with pytest.raises(kind):
        Router.from_config(parse_config(change))
    with pytest.raises(StoreClosedError):
        store.counts()


def test_peeking_writes_nothing(tmp_path: Path) -> None:
    config = configured(tmp_path / "r.db")
    with Router.peek(config) as router:
        router.route("hi")
    assert not (tmp_path / "r.db").exists()
    with Router.from_config(config) as router:
        teach(router)
        expected = expectations(router)
    before = sqlite_content(tmp_path / "r.db")
    with Router.peek(config) as router:
        assert_alike(expectations(router), expected)
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


def test_the_budget_reaches_the_router_with_its_keys_named(tmp_path: Path) -> None:
    config = parse_config(
        f"""
model_list: [{{model_name: a, litellm_params: {{model: openai/a, input_cost_per_token: 0, output_cost_per_token: 0}}}}]
encoder: {{kind: hashing}}
store: {{path: '{tmp_path / "m.db"}'}}
budget:
  usd: 5
  each_key_usd: 2
  max_request_usd: 0.5
  period: week
  when_spent: cheapest
  keys: [{{key: os.environ/TEAM, usd: 3, max_request_usd: 0.25}}]
"""
    )
    with Router.from_config(config, environ={"TEAM": "sk-1234"}) as router:
        assert router.budget is not None
        assert router.budget.limits == BudgetLimits(
            period=Period(name="week"),
            usd=5.0,
            each_key_usd=2.0,
            max_request_usd=0.5,
            when_spent="cheapest",
            keys={"key-88dc28d0f030": KeyLimits(usd=3.0, max_request_usd=0.25)},
        )
        assert router.budget.clock is router.clock
    with pytest.raises(ConfigError, match="variable TEAM is not set"):
        Router.from_config(config, environ={})


def test_a_budget_without_limits_is_none_and_a_key_has_one_entry() -> None:
    assert build_limits(BudgetConfig(), {}) is None
    assert build_limits(BudgetConfig(usd=1.0, period_s=60.0), {}) == BudgetLimits(period=Period(seconds=60.0), usd=1.0)
    twice = tuple(KeyBudgetConfig(key=Secret(key), usd=1.0) for key in ("sk-1234", "key-88dc28d0f030"))
    with pytest.raises(ConfigError, match="key-88dc28d0f030 is listed twice"):
        build_limits(BudgetConfig(keys=twice), {})


def test_shadows_have_the_live_weights_but_for_their_lambda() -> None:
    assert build_shadows(RoutingConfig()) is None
    built = build_shadows(
        RoutingConfig(
            trade_off=2.0,
            deadline_s=7.0,
            shadow=(
                ShadowConfig(name="bold", trade_off=9.0, policy=PolicyConfig(name="greedy")),
                ShadowConfig(policy=PolicyConfig(name="squarecb", gap_weight=3.0)),
            ),
        )
    )
    assert built is not None
    bold, plain = built.shadows
    assert (bold.name, bold.maker.weights.trade_off, bold.maker.weights.deadline_s) == ("bold", 9.0, 7.0)
    assert isinstance(bold.maker.policy, GreedyPolicy)
    assert (plain.name, plain.maker.weights.trade_off, plain.maker.policy.name) == ("shadow", 2.0, "squarecb")
