"""Trained models: served from a configuration, saved, loaded, and learned on top of."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.learning.offline.planted_log import LLMS, TOPICS, planted_log, topic_labels, training_set
from tests.small_router import FILE, assert_alike, configured, small_router, teach

from mixllm import Decision, Outcome, Router
from mixllm.config import Config, DomainConfig, EncoderConfig, TagsConfig, parse_config
from mixllm.encoders import LexicalEncoder, StaticEncoder
from mixllm.errors import ConfigError, StateError
from mixllm.learning.offline import MIXLLM, TrainedModel, TrainingRecipe, train
from mixllm.saved_router import SavedRouter, check_target
from mixllm.types import Forecast

pytestmark = pytest.mark.usefixtures("standing_clock")

LOG = planted_log(150)
QUERIES = ["law1 common2", "sums3 sums1", "verse0 verse5 common1", "something else altogether", ""]

SERVED = """\
model_list:
- model_name: sums-llm
  litellm_params: {{model: openai/s, input_cost_per_token: 1e-6, output_cost_per_token: 1e-6}}
- model_name: large
  litellm_params: {{model: openai/l, input_cost_per_token: 1e-5, output_cost_per_token: 1e-5}}
- model_name: newcomer
  litellm_params: {{model: openai/n, input_cost_per_token: 1e-5, output_cost_per_token: 1e-5}}
learning: {{model: '{model}', recipe: {{outside_judgement_weight: 1}}}}
store: {{kind: sqlite, path: '{path}'}}
{more}
"""


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


def trained(base: StaticEncoder, recipe: TrainingRecipe = MIXLLM) -> TrainedModel:
    return train(training_set(LOG, base), base=base, recipe=recipe, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def base() -> StaticEncoder:
    return StaticEncoder.wordllama()


@pytest.fixture(scope="module")
def model(base: StaticEncoder) -> TrainedModel:
    return trained(base, TrainingRecipe(name="quick", projection_dimension=8))


@pytest.fixture(scope="module")
def folder(base: StaticEncoder, model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("models") / "model"
    saved = SavedRouter.of_training(model, base=base, encoder=EncoderConfig(), labels=topic_labels(LOG))
    saved.to_folder(target)
    return target


def served(folder: Path, path: Path, more: str = "") -> Config:
    return parse_config(SERVED.format(model=folder, path=path, more=more))


def expected_of(router: Router) -> list[dict[str, Forecast]]:
    decisions = [router.route(text, expect_outcome=False) for text in QUERIES]
    return [{one.llm: one.forecast for one in decision.candidates} for decision in decisions]


def judged(router: Router, llm: str) -> float:
    (found,) = (one for one in router.route("law1", expect_outcome=False).candidates if one.llm == llm)
    return found.forecast.judgements


def give(router: Router, count: int, *, llm: str = "large") -> Decision:
    decision = router.route("law1 common2", llm=llm)
    for number in range(count):
        decision = router.route(f"law{number % 6} common2", llm=llm)
        router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=200, latency_s=2.0))
        router.feedback(decision.decision_id, quality=0.5)
    router.learn()
    return decision


def test_a_trained_model_loads_as_a_router(folder: Path, model: TrainedModel) -> None:
    with Router.load(folder, seed=1) as router:
        assert tuple(spec.name for spec in router.llms) == LLMS
        assert router.encoder.fingerprint == model.encoder.fingerprint
        assert router.features.tags == TOPICS
        decision = router.route("sums3 sums1")
        assert decision.tags[0].tag == "sums"
        snapshot = model.learner.snapshot()
        x = model.encoder.encode("sums3 sums1")
        forecasts = snapshot.forecasts(model.features.features(x), tokens_in=decision.tokens_in)
        mine = {one.llm: one.forecast for one in decision.candidates}
        for spec, forecast in zip(snapshot.specs, forecasts, strict=True):
            assert mine[spec.name].quality.mean == pytest.approx(forecast.quality.mean, abs=1e-5)
            assert mine[spec.name].cost_usd.mean == pytest.approx(forecast.cost_usd.mean, rel=1e-4)
        assert decision.cost_scale_usd == pytest.approx(snapshot.cost_scale_usd)


def test_saved_and_loaded_again_it_is_the_same(folder: Path, tmp_path: Path) -> None:
    with Router.load(folder) as router:
        give(router, 5)
        router.save(tmp_path / "again")
        before = expected_of(router)
    with Router.load(tmp_path / "again") as router:
        assert_alike(before, expected_of(router))
        assert isinstance(router.encoder, LexicalEncoder)
        router.save(tmp_path / "again")
    assert sorted(file.name for file in (tmp_path / "again").iterdir()) == [
        "features.json",
        "features.safetensors",
        "router.json",
        "state.json",
        "state.safetensors",
    ]


def test_a_configuration_starts_from_the_model(folder: Path, tmp_path: Path) -> None:
    with Router.load(folder) as loaded, Router.from_config(served(folder, tmp_path / "s.db"), seed=1) as router:
        assert [spec.name for spec in router.llms] == ["sums-llm", "large", "newcomer"]
        assert router.features.fingerprint == loaded.features.fingerprint
        assert judged(router, "large") == 150
        assert judged(router, "newcomer") == 0
        theirs = expected_of(loaded)
        for mine, other in zip(expected_of(router), theirs, strict=True):
            assert mine["large"].quality.mean == pytest.approx(other["large"].quality.mean, abs=1e-5)


def test_nothing_is_lost_or_counted_twice_over_restarts(folder: Path, tmp_path: Path) -> None:
    config = served(folder, tmp_path / "s.db")
    with Router.from_config(config) as router:
        give(router, 7)
        assert judged(router, "large") == 157
        before = expected_of(router)
    for _ in range(2):
        with Router.from_config(config) as router:
            assert judged(router, "large") == 157
            assert_alike(before, expected_of(router))
    with Router.from_config(config) as router:
        give(router, 3)
        assert judged(router, "large") == 160
    with Router.peek(config) as router:
        assert judged(router, "large") == 160
        give(router, 2)
    with Router.from_config(config) as router:
        assert judged(router, "large") == 160, "peeking writes nothing"


def test_without_a_checkpoint_the_events_are_learned_again_on_the_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = served(folder, tmp_path / "s.db")
    with monkeypatch.context() as patched:
        patched.setattr("mixllm.learning.worker.LearningWorker.checkpoint", lambda self, *, always=False: None)
        with Router.from_config(config) as router:
            give(router, 4)
            before = expected_of(router)
    with Router.from_config(config) as router:
        assert router.store.counts()["feedback"] == 4
        assert judged(router, "large") == 154
        assert_alike(before, expected_of(router))


def test_a_new_model_takes_the_stores_events_again(
    base: StaticEncoder, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Router.from_config(served(folder, tmp_path / "s.db")) as router:
        give(router, 4)
    other = trained(base, TrainingRecipe(name="other", projection_dimension=5))
    SavedRouter.of_training(other, base=base, encoder=EncoderConfig(), labels=topic_labels(LOG)).to_folder(
        tmp_path / "other"
    )
    with Router.from_config(served(tmp_path / "other", tmp_path / "s.db")) as router:
        assert judged(router, "large") == 154
        assert router.learner.counts.refused == 0
    assert "is unusable" in caplog.text


def test_the_configuration_goes_over_the_models_priors(folder: Path, tmp_path: Path, model: TrainedModel) -> None:
    text = SERVED.format(model=folder, path=tmp_path / "s.db", more="")
    config = parse_config(text.replace("recipe: {outside", "recipe: {prior_ttft_s: 9, outside"))
    with Router.from_config(config) as router:
        assert router.learner.recipe.prior_ttft_s == 9.0
        assert router.learner.recipe.tag_precision == model.recipe.tag_precision


def test_another_reference_is_another_scale_of_cost(folder: Path, tmp_path: Path, model: TrainedModel) -> None:
    usual = model.learner.snapshot().cost_scale_usd
    for number, (more, expected) in enumerate(
        [("", usual), ("routing: {reference_llm: large}", usual), ("routing: {reference_llm: sums-llm}", usual / 10)]
    ):
        with Router.from_config(served(folder, tmp_path / f"{number}.db", more)) as router:
            assert router.learner.snapshot().cost_scale_usd == pytest.approx(expected, rel=0.1)


def test_a_saved_router_does_not_say_where_its_model_was(folder: Path, tmp_path: Path) -> None:
    with Router.from_config(served(folder, tmp_path / "s.db")) as router:
        router.save(tmp_path / "again")
    assert str(folder) not in (tmp_path / "again" / "router.json").read_text()
    assert SavedRouter.from_folder(tmp_path / "again").learning.model is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("encoder: {kind: hashing}", "was trained with encoder kind 'wordllama'"),
        ("encoder: {max_chars: 100}", "was trained with encoder kind 'wordllama'"),
        ("tags: {temperature: 3}", "has its own tags. Leave the section tags out"),
    ],
)
def test_what_the_model_brings_is_not_configured(folder: Path, tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Router.from_config(served(folder, tmp_path / "s.db", more))
    assert not (tmp_path / "s.db").exists()


def test_the_models_own_settings_may_be_repeated(folder: Path, tmp_path: Path) -> None:
    more = "encoder: {kind: wordllama, max_chars: 8000}"
    with Router.from_config(served(folder, tmp_path / "s.db", more)) as router:
        assert router.features.tags == TOPICS


def test_a_router_without_trained_features_is_a_model_too(tmp_path: Path) -> None:
    with small_router() as router:
        teach(router)
        router.save(tmp_path / "model")
        judgements = {
            name: router.learner.snapshot().judgements[place] for place, name in enumerate(router.learner.llms)
        }
    plain = FILE.format(path=tmp_path / "s.db").replace("{checkpoint_interval_s: 9}", f"{{model: '{tmp_path}/model'}}")
    own_tags = parse_config(plain)
    with pytest.raises(ConfigError, match="has its own tags"):
        Router.from_config(own_tags)
    config = msgspec.structs.replace(own_tags, tags=TagsConfig(), encoder=EncoderConfig())
    with Router.from_config(config) as router:
        assert router.features.tags == ("maths", "law", "code")
        assert judged(router, "small") == judgements["small"]


@pytest.mark.parametrize("damage", ["missing", "features", "router", "state"])
def test_a_damaged_model_is_a_message(folder: Path, tmp_path: Path, damage: str) -> None:
    target = tmp_path / "model"
    if damage != "missing":
        SavedRouter.from_folder(folder).to_folder(target)
        (target / f"{damage}.json").write_text("{}")
    with pytest.raises(StateError):
        Router.from_config(served(target, tmp_path / "s.db"))
    with pytest.raises(StateError):
        Router.load(target)
    assert not (tmp_path / "s.db").exists()


def test_another_installation_of_the_encoder_is_a_message(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mixllm.encoders.static.StaticEncoder.fingerprint", "wordllama/256/another")
    words = r"was trained on encoder .*, this is 'wordllama/256/another'"
    with pytest.raises(StateError, match=words):
        Router.from_config(served(folder, tmp_path / "s.db"))
    with pytest.raises(StateError, match=words):
        Router.load(folder)


def test_only_what_is_a_saved_router_is_replaced(folder: Path, tmp_path: Path) -> None:
    saved = SavedRouter.from_folder(folder)
    (tmp_path / "mine").mkdir()
    check_target(tmp_path / "mine")
    check_target(tmp_path / "nothing")
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for target in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        with pytest.raises(StateError, match="exists and is no saved router"):
            saved.to_folder(target)
    with pytest.raises(StateError, match="cannot be written"):
        saved.to_folder(tmp_path / "mine" / "notes.txt" / "deeper")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    saved.to_folder(tmp_path / "new")
    saved.to_folder(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "new"], "no scratch is left"


def test_of_training_keeps_every_prior(base: StaticEncoder, model: TrainedModel) -> None:
    saved = SavedRouter.of_training(model, base=base, encoder=EncoderConfig(), labels=topic_labels(LOG))
    assert saved.routing.reference_llm == "large"
    assert saved.learning.recipe["quality_noise_variance"] == model.shrinkage.noise_variance
    assert saved.tags_for(TagsConfig()) == TagsConfig()
    with pytest.raises(ConfigError, match="own tags"):
        saved.tags_for(TagsConfig(domains=(DomainConfig(name="a", description="b"),)))
    assert configured(Path("x.db")).learning.model is None
