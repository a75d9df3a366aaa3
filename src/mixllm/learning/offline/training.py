"""Offline training: a routing log in, everything that the router needs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders import LexicalEncoder, StaticEncoder
from mixllm.errors import InvalidValueError
from mixllm.interfaces import Encoder
from mixllm.learning.history import CallHistory
from mixllm.learning.learner import Learner
from mixllm.learning.offline.base_fit import BAYESIAN, FittedBases, fit_bases
from mixllm.learning.offline.lexical_fit import fit_lexical
from mixllm.learning.offline.pool_fits import POOL_FAMILIES
from mixllm.learning.offline.projection_fit import fit_principal, fit_separating
from mixllm.learning.offline.selection import FamilyChoice
from mixllm.learning.offline.shrinkage import Shrinkage, tune_shrinkage
from mixllm.learning.offline.tagger_fit import fit_tagger, out_of_fold_tags
from mixllm.learning.offline.training_set import TrainingSet
from mixllm.learning.recipe import Recipe
from mixllm.tags import LinearProjection, LogisticTagger, TagFeatures
from mixllm.types import LLMSpec

__all__ = ["MIXLLM", "PAPER", "TrainedModel", "TrainingRecipe", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """What training makes.

    Parameters
    ----------
    name
        What reports call it.
    lexical
        Whether the encoder gets a lexical block; it needs a static encoder.
    projection
        ``principal`` components, or ``separating``: the paper's tag-enhanced embedding.
    projection_dimension
        d', >= 1; at most the encoder's dimension is used.
    families
        Families of predictors that compete for each LLM's quality and length: ``bayesian``, ``forest``, ``mlp`` and
        ``knn``. With ``bayesian`` among them, another has to be clearly better to serve; without it, the best of them
        serves, and the Bayesian model learns what it leaves.
    """

    name: str
    lexical: bool = True
    projection: Literal["principal", "separating"] = "principal"
    projection_dimension: int = 64
    families: tuple[str, ...] = ("bayesian",)

    def __post_init__(self) -> None:
        if self.projection_dimension < 1:
            raise InvalidValueError("projection_dimension", self.projection_dimension, ">= 1")
        if self.projection not in ("principal", "separating"):
            raise InvalidValueError("projection", self.projection, "'principal' or 'separating'")
        known = (BAYESIAN, *POOL_FAMILIES)
        if not self.families or len(set(self.families)) < len(self.families) or not set(self.families) <= set(known):
            raise InvalidValueError("families", self.families, f"one or more of {', '.join(known)}, each once")


_OUTSIDE_JUDGEMENT_WEIGHT = 16.0
"""What a trained router makes of judgements of queries unlike those that it was trained on; docs/out-of-domain.md."""

MIXLLM = TrainingRecipe(name="mixllm")
"""The default: what won on training data (docs/benchmark.md)."""

PAPER = TrainingRecipe(
    name="paper",
    lexical=False,
    projection="separating",
    projection_dimension=64,
    families=("forest", "mlp", "knn"),
)
"""As near to the paper as is known: its forests, perceptrons and nearest neighbours compete for each LLM by
cross-validation, on its tag-enhanced embedding, without a lexical block.

It differs from the paper in this:

* The embedding is a linear projection of the encoder's vectors, trained by the paper's two losses in forms of ours, and
  the tags' probabilities stand beside it in z. Tags come from the log's labels, or from clusters made by machine, not
  from domains that people put together by hand.
* Forests of LLMs that were asked the same queries share their splits, and perceptrons their hidden units: it takes a
  twelfth of the time for twelve LLMs. Each LLM still has a family of its own. The grids are small, and the
  cross-validation sees 3,000 queries at most.
* Lengths are predicted as logarithms and costs follow from prices and a billing factor, without bias.
* Uncertainty, and what is learned online, are those of the Bayesian model of the residual (of out-of-fold residuals
  at first), not of the paper's bonus and policy gradient.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedModel:
    """What training made.

    Parameters
    ----------
    encoder
        Text to x, the lexical block included.
    tagger, projection
        x to z.
    recipe
        Priors and noise, as tuned.
    learner
        Every LLM's predictors, having learned the log.
    shrinkage
        How the priors were chosen.
    quality_families, length_families
        What competed for each LLM's quality and length, and what won; None where the Bayesian model was alone.
    """

    encoder: Encoder
    tagger: LogisticTagger
    projection: LinearProjection
    recipe: Recipe
    learner: Learner
    shrinkage: Shrinkage
    quality_families: FamilyChoice | None = None
    length_families: FamilyChoice | None = None

    @property
    def features(self) -> TagFeatures:
        """Return the map from x to z."""
        return TagFeatures(tagger=self.tagger, projection=self.projection)

    def features_of(self, encodings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return z of many encodings, shape (n, D)."""
        return _features(encodings, self.tagger, self.projection)


def train(
    data: TrainingSet,
    *,
    base: Encoder,
    recipe: TrainingRecipe = MIXLLM,
    priors: Recipe | None = None,
    rng: np.random.Generator,
    progress: Callable[[str], None] | None = None,
) -> TrainedModel:
    """Train the tagger, the projection and every LLM's predictors.

    Parameters
    ----------
    data
        The log.
    base
        The encoder that made `data.encodings`.
    recipe
        What to make.
    priors
        What the tuned priors start from; None takes the defaults.
    rng
        Draws folds and batches.
    progress
        Called with the name of each step as it begins.

    Raises
    ------
    MissingExtraError
        Where scipy is not installed, or scikit-learn where `recipe` has families that need it.
    """
    tell = progress or _tell_nobody
    tell("tags")
    weights = data.labels.weights
    encoder, encodings = _encoder(data, base, recipe, rng)
    tagger = fit_tagger(data.encodings, _block(encodings, data), weights, vocabulary=data.labels.vocabulary)
    tell("projection")
    dimension = min(recipe.projection_dimension, data.encodings.shape[1])
    if recipe.projection == "principal":
        projection = fit_principal(data.encodings, dimension=dimension)
    else:
        projection = fit_separating(data.encodings, weights, dimension=dimension, rng=rng)
    tell("shrinkage")
    features = _features(encodings, tagger, projection)
    shrinkage = tune_shrinkage(
        features,
        data.quality,
        data.cost_usd,
        tags=len(tagger.tags),
        reference_cost_usd=data.reference_cost_usd,
        rng=rng,
    )
    tuned = tuned_priors(priors or Recipe(outside_judgement_weight=_OUTSIDE_JUDGEMENT_WEIGHT), shrinkage)
    fitted = None
    if recipe.families != (BAYESIAN,):
        tell("families")
        fitted = fit_bases(
            features,
            data,
            tags=len(tagger.tags),
            families=recipe.families,
            shrinkage=shrinkage,
            recipe=tuned,
            rng=rng,
        )
    tell("predictors")
    learner = Learner(
        features=TagFeatures(tagger=tagger, projection=projection),
        encoding_dimension=encoder.dimension,
        specs=[LLMSpec(name=llm, price=price) for llm, price in zip(data.llms, data.prices, strict=True)],
        recipe=tuned,
        reference=data.reference,
        bases=None if fitted is None else fitted.bases,
    )
    tell("domain")
    unseen = features.copy()
    unseen[:, : len(tagger.tags)] = out_of_fold_tags(
        data.encodings, _block(encodings, data), weights, vocabulary=data.labels.vocabulary, rng=rng
    )
    for column, llm in enumerate(data.llms):
        learner.learn_history(llm, history_of(data, features, column, fitted=fitted, unseen=unseen))
    return TrainedModel(
        encoder=encoder,
        tagger=tagger,
        projection=projection,
        recipe=tuned,
        learner=learner,
        shrinkage=shrinkage,
        quality_families=None if fitted is None else fitted.quality_families,
        length_families=None if fitted is None else fitted.length_families,
    )


def history_of(
    data: TrainingSet,
    features: NDArray[np.float32],
    column: int,
    *,
    fitted: FittedBases | None = None,
    unseen: NDArray[np.float32] | None = None,
) -> CallHistory:
    """Return what the LLM in `column` did with the queries that it was asked.

    With `fitted`, also what bases that had not seen them said, for an LLM that has a base; with `unseen`, the features
    of the queries as if they were new.
    """
    bases = None if fitted is None else fitted.bases
    quality = bases is not None and data.llms[column] in bases.quality
    length = bases is not None and data.llms[column] in bases.length
    asked = ~(np.isnan(data.quality[:, column]) & np.isnan(data.cost_usd[:, column]))
    return CallHistory(
        features=features[asked],
        tokens_in=data.tokens_in[asked],
        quality=data.quality[asked, column],
        tokens_out=data.tokens_out[asked, column],
        cost_usd=data.cost_usd[asked, column],
        latency_s=data.latency_s[asked, column],
        ttft_s=data.ttft_s[asked, column],
        expected_quality=fitted.expected_quality[asked, column] if fitted is not None and quality else None,
        expected_log_length=fitted.expected_log_length[asked, column] if fitted is not None and length else None,
        unseen_features=None if unseen is None else unseen[asked],
    )


def _tell_nobody(step: str) -> None:
    del step


def _encoder(
    data: TrainingSet, base: Encoder, recipe: TrainingRecipe, rng: np.random.Generator
) -> tuple[Encoder, NDArray[np.float32]]:
    """Return the trained encoder, and the training queries' encodings as new queries would have them."""
    if not recipe.lexical or data.token_ids is None or not isinstance(base, StaticEncoder):
        return base, data.encodings
    fit = fit_lexical(data.token_ids, data.labels.weights, tokens=base.tokens, rng=rng)
    encoder = LexicalEncoder(base=base, table=fit.table, rarity=fit.rarity)
    joined = np.hstack([data.encodings, fit.out_of_fold])
    lengths = np.linalg.norm(joined, axis=1, keepdims=True)
    return encoder, (joined / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)


def _block(encodings: NDArray[np.float32], data: TrainingSet) -> NDArray[np.float32]:
    size = data.encodings.shape[1]
    lengths = np.linalg.norm(encodings[:, :size], axis=1, keepdims=True)
    lengths[lengths == 0] = 1.0
    block: NDArray[np.float32] = (encodings[:, size:] / lengths).astype(np.float32)
    return block


def _features(
    encodings: NDArray[np.float32], tagger: LogisticTagger, projection: LinearProjection
) -> NDArray[np.float32]:
    constant = np.ones((len(encodings), 1), np.float32)
    features: NDArray[np.float32] = np.hstack([tagger.tag(encodings), projection.project(encodings), constant])
    return features


def tuned_priors(priors: Recipe, shrinkage: Shrinkage) -> Recipe:
    """Return `priors` with the precisions and the noise of quality that `shrinkage` found."""
    noise = shrinkage.noise_variance
    return replace(
        priors,
        quality_noise_variance=noise,
        tag_precision=shrinkage.tag_ratio / noise,
        embedding_precision=shrinkage.embedding_ratio / noise,
        pool_tag_precision=shrinkage.pool_tag_ratio / noise,
        pool_embedding_precision=shrinkage.pool_embedding_ratio / noise,
        level_precision=1.0 / noise,
    )
