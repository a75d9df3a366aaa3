"""From what is expected of an LLM, or from a checkpoint, to its predictors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mixllm.errors import StateError
from mixllm.interfaces import FeatureMap
from mixllm.learning.bases import Bases
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.newcomer import Expectation
from mixllm.learning.recipe import LLMModel, Recipe
from mixllm.predictors import is_former_state

__all__ = ["MODEL_PARTS", "TIME_PARTS", "ModelMaker"]

MODEL_PARTS = ("quality", "length", "billing", "latency", "pace")
"""The predictors of an LLM, by the names of their states in a checkpoint."""

TIME_PARTS = ("latency", "pace")
"""Those that belong to the endpoint as much as to the LLM."""


class ModelMaker:
    """Makes predictors over one feature map.

    Parameters
    ----------
    features
        The feature map.
    recipe
        Priors and noise.
    bases
        What was fitted offline under the predictors, by LLM; None: nothing.
    """

    def __init__(self, *, features: FeatureMap, recipe: Recipe, bases: Bases | None) -> None:
        self.recipe = recipe
        self.bases = bases
        self.tags = len(features.tags)
        self.embedding = features.dimension - self.tags - 1

    def new(self, name: str, expected: Expectation) -> LLMModel:
        """Return predictors of an LLM of which this is expected and nothing known."""
        based = self.bases is not None and name in self.bases.quality
        return self.recipe.new_model(
            level=expected.quality,
            level_precision=None if based else expected.precision,
            tags=self.tags,
            embedding=self.embedding,
            quality_base=None if self.bases is None else self.bases.quality.get(name),
            length_base=None if self.bases is None else self.bases.length.get(name),
        )

    def restored(self, checkpoint: Checkpoint, row: int, name: str, level: float) -> LLMModel:
        """Return the predictors in a row of `checkpoint`, where `level` had been expected of the LLM.

        Raises
        ------
        StateError
            Where an array is missing or damaged.
        """
        array = checkpoint.arrays.get(f"{row}.level_precision", np.array([self.recipe.level_precision]))
        precision = float(array[0]) if array.shape == (1,) else math.nan
        if not 0 < precision < math.inf:
            raise StateError("The checkpoint's level_precision is damaged. Load another checkpoint.")
        model = self.new(name, Expectation(quality=level, precision=precision))
        states = {part: checkpoint.arrays_of(f"{row}.{part}.") for part in MODEL_PARTS}
        for part in TIME_PARTS:  # Times are soon learned anew; a state from before they were learned so is no reason to
            if not states[part] or (part == "latency" and is_former_state(states[part])):  # refuse all the rest.
                states.pop(part)
        for part, state in states.items():
            getattr(model, part).load_state(state)
        return model

    def at_new_endpoint(self, model: LLMModel) -> LLMModel:
        """Return `model` with nothing known of its times: they are an endpoint's, all the rest is the LLM's."""
        pace = self.recipe.new_pace(tags=self.tags, embedding=self.embedding)
        return replace(model, latency=self.recipe.new_latency(), pace=pace)
