"""Families in training: they win where they should, leave the rest alone, and travel with the model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm import Query, Router
from mixllm.config import Config, EncoderConfig, LearningConfig, StoreConfig
from mixllm.encoders import HashingEncoder
from mixllm.errors import InvalidValueError, MissingExtraError, StateError
from mixllm.learning.offline import (
    MIXLLM,
    PAPER,
    TrainedModel,
    TrainingRecipe,
    TrainingSet,
    appraise,
    forecast_batch,
    train,
)
from mixllm.learning.offline.base_fit import fit_bases
from mixllm.saved_router import SavedRouter
from mixllm.tags.sources import labels_from_column
from mixllm.types import Price

ENCODER = HashingEncoder()
LLMS = ("steps", "straight", "rare")
SMALL = replace(PAPER, projection_dimension=8, projection="principal")
TOPICS = ("law", "sums")


def training_set(rows: int = 360, *, seed: int = 0) -> TrainingSet:
    """Return a log where one LLM is good at short texts of law and long ones of sums: no straight line says that."""
    rng = np.random.default_rng(seed)
    topics = rng.choice(TOPICS, size=rows)
    long = rng.uniform(size=rows) < 0.5
    texts = [
        f"{topic} {'a long and winding question' if is_long else 'in short'} {rng.integers(99)}"
        for topic, is_long in zip(topics, long, strict=True)
    ]
    odd = (topics == "law") ^ long
    quality = np.stack([0.1 + 0.8 * odd, 0.3 + 0.4 * (topics == "law"), np.full(rows, 0.5)], axis=1)
    quality = np.clip(quality + 0.05 * rng.normal(size=quality.shape), 0, 1)
    tokens = np.exp(np.stack([4.0 + 1.5 * odd, 4.0 + (topics == "law"), np.full(rows, 4.0)], axis=1))
    tokens = tokens * np.exp(0.1 * rng.normal(size=tokens.shape))
    quality[20:, 2] = tokens[20:, 2] = np.nan
    labels = labels_from_column([str(row) for row in range(rows)], topics.tolist(), source="topic")
    unknown = np.full(quality.shape, np.nan)
    return TrainingSet(
        encodings=ENCODER.encode_batch(texts),
        token_ids=None,
        labels=labels,
        llms=LLMS,
        prices=tuple(Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd) for usd in (1.0, 2.0, 9.0)),
        quality=quality,
        cost_usd=tokens * [1e-6, 2e-6, 9e-6],
        tokens_out=tokens,
        latency_s=unknown,
        ttft_s=unknown,
        tokens_in=np.full(rows, 20.0),
        reference="straight",
    )


DATA, HELD_OUT = training_set(), training_set(seed=1)


def trained(recipe: TrainingRecipe = SMALL, *, seed: int = 0) -> TrainedModel:
    return train(DATA, base=ENCODER, recipe=recipe, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return trained()


def error(model: TrainedModel, column: int = 0) -> float:
    made = forecast_batch(model.learner.snapshot(), model.features_of(HELD_OUT.encodings), HELD_OUT.tokens_in)
    return float(((made.quality[:, column] - HELD_OUT.quality[:, column]) ** 2).mean())


def test_another_family_serves_where_no_line_does(model: TrainedModel) -> None:
    assert error(model) < 0.7 * error(trained(replace(SMALL, families=("bayesian",))))


def test_without_the_bayesian_the_best_of_the_others_serves(model: TrainedModel) -> None:
    for choice in (model.quality_families, model.length_families):
        assert choice is not None
        assert choice.llms == LLMS
        assert choice.free
        assert set(choice.families[:2]) <= {"forest", "mlp", "knn-20", "knn-80"}
        assert choice.family_of("rare") == "bayesian", "twenty judgements are too few"
        best = [
            min((s for s in choice.scores if s.llm == llm and s.family != "bayesian"), key=lambda s: s.mse or 9)
            for llm in LLMS[:2]
        ]
        assert tuple(score.family for score in best) == choice.families[:2]
    bases = model.learner.bases
    assert bases is not None
    assert set(bases.quality) == set(bases.length) == {"steps", "straight"}


def test_with_it_another_has_to_be_clearly_better() -> None:
    choice = trained(replace(SMALL, families=("bayesian", "knn"))).quality_families
    assert choice is not None
    assert not choice.free
    assert choice.family_of("steps").startswith("knn")
    for score in choice.scores:
        if score.chosen and score.family != "bayesian":
            assert score.gain is not None
            assert score.gain_se is not None
            assert score.gain > score.gain_se


def test_residuals_are_out_of_fold(model: TrainedModel) -> None:
    """Nearest neighbours by distance have no residual on their own rows; the scatter of lengths would vanish."""
    nearest = trained(replace(SMALL, families=("knn",)))
    for made in (model, nearest):
        scatter = made.learner.snapshot().length.residual_variances
        assert 0.005 < scatter[0] < 0.3
        found = appraise(made, HELD_OUT).llms["steps"]
        assert found.cost_ratio == pytest.approx(1.0, abs=0.15)
        assert found.cost_coverage is not None
        assert found.cost_coverage > 0.8


def test_expectations_are_of_validated_queries(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.offline.base_fit._ROWS", 200)
    features: NDArray[np.float32] = model.features_of(DATA.encodings)
    fitted = fit_bases(
        features,
        DATA,
        tags=2,
        families=("knn",),
        shrinkage=model.shrinkage,
        recipe=model.recipe,
        rng=np.random.default_rng(0),
    )
    assert int((~np.isnan(fitted.expected_quality[:, 0])).sum()) == 200
    assert fitted.bases is not None
    in_sample = fitted.bases.quality["steps"].predict(features)
    known = ~np.isnan(fitted.expected_quality[:, 0])
    assert not np.allclose(in_sample[known], fitted.expected_quality[known, 0])


def test_the_same_seed_gives_the_same() -> None:
    forests = replace(SMALL, families=("forest",))
    one, again, other = (trained(forests, seed=seed).learner.bases for seed in (0, 0, 1))
    assert one is not None
    assert again is not None
    assert other is not None
    assert one.digest == again.digest != other.digest


def test_the_default_fits_no_base() -> None:
    made = trained(replace(MIXLLM, projection_dimension=8))
    assert made.learner.bases is None
    assert made.quality_families is made.length_families is None


@pytest.mark.parametrize("families", [(), ("oracle",), ("forest", "forest"), ("bayesian", "linear")])
def test_unknown_families_are_refused(families: tuple[str, ...]) -> None:
    with pytest.raises(InvalidValueError, match="families"):
        TrainingRecipe(name="x", families=families)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingExtraError, match="mixllm"):
        trained(replace(SMALL, families=("forest",)))


# --- saved and loaded -------------------------------------------------------------------------------------------------


def test_bases_travel_with_the_folder(model: TrainedModel, tmp_path: Path) -> None:
    folder, copy = tmp_path / "model", tmp_path / "copy"
    SavedRouter.of_training(model, base=ENCODER, encoder=EncoderConfig(kind="hashing"), labels=DATA.labels).to_folder(
        folder
    )
    assert {path.name for path in folder.iterdir()} >= {"bases.json", "bases.safetensors"}
    query = Query(text="law in short 7")
    with Router.load(folder, seed=1) as router:
        assert router.bases is not None
        assert model.learner.bases is not None
        assert router.bases.digest == model.learner.bases.digest
        before = router.route(query).candidates
        router.save(copy)
    with Router.load(copy, seed=1) as router:
        after = router.route(query).candidates
    assert [one.score for one in after] == pytest.approx([one.score for one in before], abs=1e-6)
    expected = model.learner.snapshot().forecasts(model.features_of(ENCODER.encode_batch([query.text]))[0], tokens_in=5)
    assert [one.forecast.quality.mean for one in before] == pytest.approx(
        [forecast.quality.mean for forecast in expected], abs=1e-5
    )


def test_a_folder_that_lost_its_bases_is_refused(model: TrainedModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    SavedRouter.of_training(model, base=ENCODER, encoder=EncoderConfig(kind="hashing"), labels=DATA.labels).to_folder(
        folder
    )
    (folder / "bases.json").unlink()
    with pytest.raises(StateError, match="has no bases"):
        Router.load(folder)


def test_a_configuration_serves_them(model: TrainedModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    saved = SavedRouter.of_training(model, base=ENCODER, encoder=EncoderConfig(kind="hashing"), labels=DATA.labels)
    saved.to_folder(folder)
    with Router.from_config(
        Config(learning=LearningConfig(model=str(folder)), store=StoreConfig(kind="memory"))
    ) as one:
        assert one.bases is not None
        assert one.learner.fingerprint == model.learner.fingerprint
