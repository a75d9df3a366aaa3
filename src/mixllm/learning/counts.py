"""What a learner has done since it started."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LearnerCounts"]

_LATEST_EVENTS = 200.0


@dataclass(slots=True, kw_only=True)
class LearnerCounts:
    """What the learner has done since it started; shown in health checks and metrics.

    Parameters
    ----------
    outcomes, feedback
        Events learned from.
    ignored
        Events that teach nothing: failed calls, other metrics, LLMs that were never in the pool.
    refused
        Events that do not fit: another encoder's vectors, values out of range. Should stay 0.
    untaught
        Events without a break until now that taught nothing.
    refused_share
        Share of refused events among the latest (about 200).
    newest_s
        Unix time of the newest event seen; None before any.
    """

    outcomes: int = 0
    feedback: int = 0
    ignored: int = 0
    refused: int = 0
    untaught: int = 0
    refused_share: float = 0.0
    newest_s: float | None = None

    @property
    def seen(self) -> int:
        """Events seen, whether they taught or not."""
        return self.outcomes + self.feedback + self.ignored + self.refused

    @property
    def taught(self) -> int:
        """Events that taught something."""
        return self.outcomes + self.feedback

    def close_event(self, *, taught_before: int, refused_before: int) -> None:
        """Note what came of one event, given the counts before it."""
        self.untaught = 0 if self.taught > taught_before else self.untaught + 1
        self.refused_share += ((self.refused > refused_before) - self.refused_share) / _LATEST_EVENTS
