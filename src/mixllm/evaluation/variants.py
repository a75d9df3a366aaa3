"""MixLLM with one thing changed, to see what that thing is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.contender import Predictions, TestData, TrainingData
from mixllm.evaluation.mixllm_router import MixLLMRouter
from mixllm.learning.learner import Learner
from mixllm.learning.offline import MIXLLM, TrainedModel, TrainingSet, tune_shrinkage
from mixllm.learning.offline.training import history_of, tuned_priors
from mixllm.learning.recipe import Recipe
from mixllm.logs import RoutingLog
from mixllm.tags import TagFeatures
from mixllm.tags.labelling import TagLabels
from mixllm.tags.sources import labels_from_column
from mixllm.types import LLMSpec

__all__ = ["VARIANTS", "JoiningRouter", "UntaggedRouter", "VariantRouter", "WithTrueTags"]


class VariantRouter(MixLLMRouter):
    """MixLLM by another recipe."""


class UntaggedRouter(MixLLMRouter):
    """MixLLM where all queries have the same tag: the embedding has to do without."""

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name, recipe=replace(MIXLLM, name=name, lexical=False))

    def _labels(self, training: TrainingData, rng: np.random.Generator) -> TagLabels:
        del rng
        return labels_from_column(training.log.query_ids, ["all"] * len(training), source="none")


class WithTrueTags(MixLLMRouter):
    """MixLLM that is told the tags of the queries it is asked about: what a perfect tagger would be worth.

    It is no router, since nobody knows the tags at run time.
    """

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name, recipe=replace(MIXLLM, name=name, lexical=False))
        self._label: str | None = None
        self._names: tuple[str, ...] = ()
        self._truth: NDArray[np.float32] = np.empty((0, 0), np.float32)

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Train on the labels themselves in the place of predicted tags."""
        super().fit(training, rng)
        assert self._model is not None, "fit has made it"
        labels = self._labels(training, rng)
        self._label, self._names = training.label, labels.vocabulary.names
        self._truth = labels.weights
        data = TrainingSet.from_log(
            training.log, encodings=training.encodings, token_ids=None, labels=labels, reference=training.reference
        )
        self._model = retrained(self._model, data, self._features(self._model, training.encodings), rng=rng)

    def look(self, log: RoutingLog) -> None:
        """See the tags of the queries of the next `predict`; its outcomes are left alone."""
        assert self._label is not None, "fit comes first"
        values = log.labels[self._label]
        self._truth = np.array([[value == name for name in self._names] for value in values], np.float32)

    def predict(self, test: TestData) -> Predictions:
        """Return the means of the forecasts; without `look`, those of the predicted tags."""
        if len(self._truth) != len(test):
            assert self._model is not None, "fit comes first"
            self._truth = self._model.tagger.tag(test.encodings)
        return super().predict(test)

    def _features(self, model: TrainedModel, encodings: NDArray[np.float32]) -> NDArray[np.float32]:
        features = model.features_of(encodings)
        features[:, : self._truth.shape[1]] = self._truth
        return features


class JoiningRouter(MixLLMRouter):
    """MixLLM that was trained without some LLMs, which then join: only their own predictors are trained.

    Parameters
    ----------
    name
        What results call it.
    joining
        Names of the LLMs that join.
    """

    def __init__(self, *, name: str, joining: tuple[str, ...]) -> None:
        super().__init__(name=name)
        self.joining = joining

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Train on the others; then teach those that join, tags, projection and priors as they are."""
        everyone = training.log.llms
        first = [llm for llm in everyone if llm not in self.joining]
        super().fit(replace(training, log=training.log.select_llms(first)), rng)
        model = self._model
        assert model is not None, "fit has made it"
        data = TrainingSet.from_log(
            training.log,
            encodings=training.encodings,
            token_ids=self._token_ids(training.encoder, training.texts),
            labels=self._labels(training, rng),
            reference=training.reference,
        )
        features = model.features_of(self._encodings(model, training.encodings, training.texts))
        for column, llm in enumerate(everyone):
            if llm in self.joining:
                model.learner.put_llm(LLMSpec(name=llm, price=data.prices[column]))
                model.learner.learn_history(llm, history_of(data, features, column))
        self._order = [model.learner.llms.index(llm) for llm in everyone]

    def predict(self, test: TestData) -> Predictions:
        """Return the means of the forecasts, in the log's order of LLMs."""
        predictions = super().predict(test)
        return Predictions(quality=predictions.quality[:, self._order], cost_usd=predictions.cost_usd[:, self._order])


def retrained(
    model: TrainedModel, data: TrainingSet, features: NDArray[np.float32], *, rng: np.random.Generator
) -> TrainedModel:
    """Return `model` with predictors learned on other features of the same shape."""
    shrinkage = tune_shrinkage(
        features,
        data.quality,
        data.cost_usd,
        tags=len(model.tagger.tags),
        reference_cost_usd=data.reference_cost_usd,
        rng=rng,
    )
    recipe = tuned_priors(Recipe(), shrinkage)
    learner = Learner(
        features=TagFeatures(tagger=model.tagger, projection=model.projection),
        encoding_dimension=model.encoder.dimension,
        specs=[LLMSpec(name=llm, price=price) for llm, price in zip(data.llms, data.prices, strict=True)],
        recipe=recipe,
        reference=data.reference,
    )
    for column, llm in enumerate(data.llms):
        learner.learn_history(llm, history_of(data, features, column))
    return replace(model, recipe=recipe, learner=learner, shrinkage=shrinkage)


VARIANTS = {
    "mixllm:no-tags": lambda: UntaggedRouter(name="mixllm:no-tags"),
    "mixllm:true-tags": lambda: WithTrueTags(name="mixllm:true-tags"),
    "mixllm:no-lexical": lambda: VariantRouter(name="mixllm:no-lexical", recipe=replace(MIXLLM, lexical=False)),
    "mixllm:separating": lambda: VariantRouter(
        name="mixllm:separating", recipe=replace(MIXLLM, projection="separating")
    ),
    "mixllm:d128": lambda: VariantRouter(name="mixllm:d128", recipe=replace(MIXLLM, projection_dimension=128)),
    "mixllm:d256": lambda: VariantRouter(name="mixllm:d256", recipe=replace(MIXLLM, projection_dimension=256)),
    "mixllm:families": lambda: VariantRouter(
        name="mixllm:families", recipe=replace(MIXLLM, families=("bayesian", "forest", "mlp", "knn"))
    ),
}
"""What makes a variant, by its name."""
