"""Tags: what a query is about, and the features z = [π, Wx, 1] that predictors read."""

from mixllm.tags.features import TagFeatures
from mixllm.tags.linear_projection import LinearProjection
from mixllm.tags.logistic import LogisticTagger
from mixllm.tags.projection import TruncatedProjection
from mixllm.tags.prototypes import PrototypeTagger
from mixllm.tags.vocabulary import DEFAULT_DOMAINS, Domain

__all__ = [
    "DEFAULT_DOMAINS",
    "Domain",
    "LinearProjection",
    "LogisticTagger",
    "PrototypeTagger",
    "TagFeatures",
    "TruncatedProjection",
]
