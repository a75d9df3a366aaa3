"""Whether learning is really happening."""

from __future__ import annotations

from mixllm.types import StoreHealth, Value

__all__ = ["Vitals"]

_MOST_UNTAUGHT = 200
_MOST_REFUSED_SHARE = 0.1
_FEW_REFUSED = 20


class Vitals(Value, frozen=True, kw_only=True):
    """What the worker and the learner are at.

    Parameters
    ----------
    running
        Whether the thread that learns is alive.
    position, newest_event
        Last event that was learned from, and newest durable event.
    waiting_s
        For how long the oldest event that was not learned from has been waiting; 0 where there is none.
    idle_s
        Time since something was last learned, or since the start.
    learned_age_s
        Age of the newest event that was learned from; None where there was none since the start.
    stalled
        Whether an event waits too long while nothing is learned.
    outcomes, feedback, ignored, refused, untaught, refused_share
        See `LearnerCounts`.
    quarantined
        Why checkpoints were found unusable at the start, by version.
    store
        How the store is.
    """

    running: bool
    position: int
    newest_event: int
    waiting_s: float
    idle_s: float
    learned_age_s: float | None
    stalled: bool
    outcomes: int
    feedback: int
    ignored: int
    refused: int
    untaught: int
    refused_share: float
    quarantined: dict[int, str]
    store: StoreHealth

    @property
    def lag(self) -> int:
        """How far the newest event is ahead of what was learned."""
        return max(0, self.newest_event - self.position)

    def warnings(self) -> tuple[str, ...]:
        """Return what is wrong with learning, in words; routing works all the same.

        Examples
        --------
        >>> healthy = Vitals(
        ...     running=True, position=7, newest_event=7, waiting_s=0, idle_s=3, learned_age_s=3, stalled=False,
        ...     outcomes=4, feedback=3, ignored=0, refused=0, untaught=0, refused_share=0, quarantined={},
        ...     store=StoreHealth(place="mixllm.db"),
        ... )
        >>> healthy.warnings()
        ()
        """
        found = []
        if self.store.problem is not None:
            found.append(f"{self.store.problem} Meanwhile {self.store.spooled} facts wait on the local disk")
        if self.stalled:
            found.append(
                f"learning is stalled: an event has been waiting for {self.waiting_s:.0f} s, and nothing was learned "
                f"for {self.idle_s:.0f} s. See the log for the store's errors, and restart"
            )
        if self.untaught >= _MOST_UNTAUGHT:
            found.append(
                f"the last {self.untaught} events taught nothing; of all since the start {self.ignored} were ignored "
                f"(calls that failed, unknown LLMs, other metrics) and {self.refused} refused. See the log"
            )
        if self.refused_share > _MOST_REFUSED_SHARE and self.refused >= _FEW_REFUSED:
            found.append(
                f"{self.refused_share:.0%} of the latest events were refused: their vectors are another encoder's, or "
                "their values out of range. See the log"
            )
        found.extend(f"checkpoint {version} is in quarantine: {why}" for version, why in self.quarantined.items())
        return tuple(found)
