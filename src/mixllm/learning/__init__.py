"""Learning, off the request path: events of the store become a new immutable snapshot that the router swaps in."""

from mixllm.learning.bases import Bases
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.counts import LearnerCounts
from mixllm.learning.learner import Learner
from mixllm.learning.recipe import LLMModel, Recipe
from mixllm.learning.snapshot import DEADLINE_QUANTILE, Snapshot
from mixllm.learning.worker import LearningWorker

__all__ = [
    "DEADLINE_QUANTILE",
    "Bases",
    "Checkpoint",
    "LLMModel",
    "Learner",
    "LearnerCounts",
    "LearningWorker",
    "Recipe",
    "Snapshot",
]
