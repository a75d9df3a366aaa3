"""MixLLM itself in the benchmark: trained and asked through the code that serves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders import LexicalEncoder, StaticEncoder
from mixllm.evaluation.contender import Predictions, TestData, TrainingData
from mixllm.learning.offline import MIXLLM, TrainedModel, TrainingRecipe, TrainingSet, forecast_batch, train
from mixllm.tags import PrototypeTagger
from mixllm.tags.labelling import TagLabels
from mixllm.tags.sources import labels_from_clusters, labels_from_column

__all__ = ["MixLLMRouter"]

_CLUSTERS = 12
"""Domains to look for where nobody gave any."""


class MixLLMRouter:
    """A contender: `mixllm.learning.offline.train` on the training part, forecasts of a snapshot on the test part.

    Parameters
    ----------
    name
        What results call it.
    recipe
        What training makes.
    """

    folds = 1

    def __init__(self, *, name: str = "mixllm", recipe: TrainingRecipe = MIXLLM) -> None:
        self.name = name
        self.recipe = recipe
        self._model: TrainedModel | None = None
        self._tokens: dict[str, Sequence[int]] = {}  # Of every text seen: tokenising is most of the time.
        self._tokens_of = ""  # Fingerprint of the encoder whose tokens they are.

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Train."""
        data = TrainingSet.from_log(
            training.log,
            encodings=training.encodings,
            token_ids=self._token_ids(training.encoder, training.texts),
            labels=self._labels(training, rng),
            reference=training.reference,
        )
        self._model = train(data, base=training.encoder, recipe=self.recipe, rng=rng)

    def predict(self, test: TestData) -> Predictions:
        """Return the means of the forecasts."""
        if self._model is None:
            raise RuntimeError("predict was called before fit")
        model, encodings = self._model, self._encodings(self._model, test.encodings, test.texts)
        forecast = forecast_batch(model.learner.snapshot(), self._features(model, encodings), test.tokens_in)
        return Predictions(quality=forecast.quality, cost_usd=forecast.cost_usd)

    def _encodings(
        self, model: TrainedModel, encodings: NDArray[np.float32], texts: Sequence[str]
    ) -> NDArray[np.float32]:
        if not isinstance(model.encoder, LexicalEncoder):
            return encodings
        return model.encoder.extend(encodings, self._token_ids(model.encoder.base, texts) or ())

    def _features(self, model: TrainedModel, encodings: NDArray[np.float32]) -> NDArray[np.float32]:
        return model.features_of(encodings)

    def _labels(self, training: TrainingData, rng: np.random.Generator) -> TagLabels:
        if training.label is not None:
            return labels_from_column(
                training.log.query_ids, training.log.labels[training.label], source=training.label
            )
        return labels_from_clusters(
            training.log.query_ids,
            training.encodings,
            clusters=_CLUSTERS,
            tagger=PrototypeTagger.from_domains(encoder=training.encoder),
            rng=rng,
        )

    def _token_ids(self, encoder: object, texts: Sequence[str]) -> list[Sequence[int]] | None:
        if not isinstance(encoder, StaticEncoder):
            return None
        if encoder.fingerprint != self._tokens_of:
            self._tokens, self._tokens_of = {}, encoder.fingerprint
        fresh = [text for text in dict.fromkeys(texts) if text not in self._tokens]
        self._tokens.update(zip(fresh, encoder.token_ids(fresh), strict=True))
        return [self._tokens[text] for text in texts]
