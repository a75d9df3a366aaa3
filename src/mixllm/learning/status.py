"""How far the learner is, as those who do not learn themselves are told it too."""

from __future__ import annotations

from mixllm.learning.drift_watch import DriftStatus
from mixllm.types import Value

__all__ = ["LearnerStatus"]


class LearnerStatus(Value, frozen=True, kw_only=True):
    """How far the learner is, and what came of the events that it has seen.

    Parameters
    ----------
    position
        Last event that was learned from.
    idle_s
        Time since something was last learned, or since the start.
    newest_s
        Unix time of the newest event that was learned from; None where there was none since the start.
    outcomes, feedback, ignored, refused, untaught, refused_share
        See `LearnerCounts`.
    quarantined
        Why checkpoints were found unusable at the start, by version.
    drift
        How the quality of every LLM holds that was ever judged.
    """

    position: int
    idle_s: float
    newest_s: float | None
    outcomes: int
    feedback: int
    ignored: int
    refused: int
    untaught: int
    refused_share: float
    quarantined: dict[int, str]
    drift: tuple[DriftStatus, ...]
