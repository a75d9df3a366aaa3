"""Training on a planted log: what comes out knows what was planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.learning.offline.planted_log import (
    LLMS,
    TOPICS,
    TRUTH,
    partial,
    planted_log,
    topic_labels,
    training_set,
    word_encoder,
)

from mixllm.encoders import HashingEncoder, LexicalEncoder, StaticEncoder
from mixllm.errors import InvalidValueError
from mixllm.learning import Recipe
from mixllm.learning.offline import MIXLLM, PAPER, TrainedModel, TrainingRecipe, forecast_batch, train
from mixllm.logs import RoutingLog
from mixllm.tags.labelling import TagLabels

ENCODER = word_encoder()
LOG, HELD_OUT = planted_log(400), planted_log(400, seed=1)


def trained(log: RoutingLog = LOG, *, seed: int = 0, recipe: TrainingRecipe = MIXLLM, **changed: Any) -> TrainedModel:
    data = training_set(log, ENCODER, **changed)
    return train(data, base=ENCODER, recipe=recipe, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return trained()


def quality_of(model: TrainedModel, log: RoutingLog) -> NDArray[np.float64]:
    features = model.features_of(model.encoder.encode_batch(log.texts))
    return forecast_batch(model.learner.snapshot(), features, log.tokens_in[:, 0]).quality


def right_of(model: TrainedModel) -> float:
    """Return the true quality of sending each held-out query to one of the two cheap LLMs, whichever looks better."""
    chosen = quality_of(model, HELD_OUT)[:, :2].argmax(axis=1)
    truth = np.array([TRUTH[topic] for topic in HELD_OUT.labels["topic"]])
    return float(truth[np.arange(len(truth)), chosen].mean())


def means_of() -> float:
    """Return the same for means per LLM, which send all to one."""
    truth = np.array([TRUTH[topic] for topic in HELD_OUT.labels["topic"]])
    return float(truth[:, int(LOG.mean_quality()[:2].argmax())].mean())


def test_it_routes_better_than_means(model: TrainedModel) -> None:
    best = float(np.array([max(TRUTH[topic][:2]) for topic in HELD_OUT.labels["topic"]]).mean())
    assert right_of(model) > means_of() + 0.8 * (best - means_of())


def test_what_it_makes(model: TrainedModel) -> None:
    assert isinstance(model.encoder, LexicalEncoder)
    assert model.encoder.lexical_dimension == len(TOPICS)
    assert model.tagger.tags == TOPICS
    assert model.projection.dimension == 16, "at most the encoder's dimension"
    assert model.learner.llms == LLMS
    assert model.learner.reference == "large"
    assert model.features.dimension == 3 + 16 + 1
    x = model.encoder.encode("law1 common2")
    assert model.features_of(x[None])[0] == pytest.approx(model.features.features(x), abs=1e-5)
    assert model.features.tags[int(model.features.features(x)[:3].argmax())] == "law"


def test_the_tuned_priors_are_in_the_recipe(model: TrainedModel) -> None:
    noise = model.shrinkage.noise_variance
    assert model.recipe.quality_noise_variance == noise
    assert model.recipe.tag_precision == pytest.approx(model.shrinkage.tag_ratio / noise)
    assert model.recipe.pool_embedding_precision == pytest.approx(model.shrinkage.pool_embedding_ratio / noise)
    priors = Recipe(prior_ttft_s=3.0, quality_noise_variance=0.01)
    kept = train(training_set(LOG, ENCODER), base=ENCODER, priors=priors, rng=np.random.default_rng(0)).recipe
    assert (kept.prior_ttft_s, kept.quality_noise_variance) == (3.0, noise)


def test_a_seed_makes_the_same_model(model: TrainedModel) -> None:
    again = trained()
    assert again.encoder.fingerprint == model.encoder.fingerprint
    assert again.features.fingerprint == model.features.fingerprint
    one, two = model.learner.checkpoint(), again.learner.checkpoint()
    assert all(np.array_equal(one.arrays[name], array) for name, array in two.arrays.items())
    assert trained(seed=1).encoder.fingerprint == model.encoder.fingerprint, "folds do not change the table itself"


@pytest.mark.parametrize("recipe", [TrainingRecipe(name="no block", lexical=False, projection_dimension=4)])
def test_without_a_lexical_block(recipe: TrainingRecipe) -> None:
    made = trained(recipe=recipe)
    assert made.encoder is ENCODER
    assert made.projection.dimension == 4
    assert right_of(made) > means_of() + 0.1


def test_the_papers_features() -> None:
    features = TrainingRecipe(name="x", lexical=PAPER.lexical, projection=PAPER.projection, projection_dimension=8)
    made = trained(planted_log(150), recipe=features)
    assert made.projection.unit
    assert right_of(made) > means_of() + 0.1


def test_an_encoder_without_tokens() -> None:
    encoder = HashingEncoder(dimension=64)
    data = training_set(LOG, ENCODER, encodings=encoder.encode_batch(LOG.texts), token_ids=None)
    made = train(data, base=encoder, rng=np.random.default_rng(0))
    assert made.encoder is encoder
    assert right_of(made) > means_of() + 0.1


def test_soft_labels() -> None:
    hard = topic_labels(LOG)
    soft = TagLabels(
        vocabulary=hard.vocabulary, query_ids=hard.query_ids, weights=(hard.weights * 0.7 + 0.1).astype(np.float32)
    )
    made = trained(labels=soft)
    assert right_of(made) > means_of() + 0.2
    probabilities = made.features_of(made.encoder.encode_batch(HELD_OUT.texts))[:, :3]
    assert probabilities.max(axis=1).mean() == pytest.approx(0.8, abs=0.1), "as sure as the labels are"


def test_some_labels_are_enough() -> None:
    every = topic_labels(LOG)
    weights = every.weights.copy()
    weights[100:] = 0.0
    some = TagLabels(vocabulary=every.vocabulary, query_ids=every.query_ids, weights=weights)
    assert right_of(trained(labels=some)) > means_of() + 0.2
    none = TagLabels(vocabulary=every.vocabulary, query_ids=every.query_ids, weights=weights * 0)
    with pytest.raises(InvalidValueError, match="one or more known"):
        trained(labels=none)


def test_a_partial_log() -> None:
    log = planted_log(400, **partial(LOG))
    made = trained(log)
    assert right_of(made) > means_of() + 0.2
    asked = (~np.isnan(log.quality)).sum(axis=0)
    assert made.learner.snapshot().judgements == pytest.approx(asked)


def test_steps_are_told() -> None:
    steps: list[str] = []
    train(training_set(planted_log(60), ENCODER), base=ENCODER, rng=np.random.default_rng(0), progress=steps.append)
    assert steps[:2] == ["tags", "projection"]
    assert len(steps) == len(set(steps)) >= 4


def test_a_recipe_refuses_what_it_does_not_know() -> None:
    with pytest.raises(InvalidValueError, match="projection_dimension must be >= 1"):
        TrainingRecipe(name="x", projection_dimension=0)
    with pytest.raises(InvalidValueError, match="projection must be"):
        TrainingRecipe(name="x", projection="random")  # type: ignore[arg-type]
    assert isinstance(ENCODER, StaticEncoder)
