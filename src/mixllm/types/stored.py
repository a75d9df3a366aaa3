"""What a store keeps beside decisions: learned state, changes of the pool, and how it is."""

from __future__ import annotations

from mixllm.types.llm import LLMSpec
from mixllm.types.values import Value

__all__ = [
    "KeptStart",
    "LearnedState",
    "PlacedChange",
    "PoolChange",
    "Spending",
    "StateChange",
    "StateInfo",
    "StoreHealth",
]


class LearnedState(Value, frozen=True, kw_only=True):
    """A checkpoint of learned state, as the store keeps it.

    Parameters
    ----------
    version
        Version of the snapshot; rises with every checkpoint.
    position
        `LearningEvent.seq` of the last event learned from.
    created_at_s
        Unix time.
    payload
        Self-describing bytes with their own checksum (see `mixllm.learning.checkpoint`).
    """

    version: int
    position: int
    created_at_s: float
    payload: bytes


class StateInfo(Value, frozen=True, kw_only=True):
    """What the store knows of a checkpoint without reading it.

    Parameters
    ----------
    version, position, created_at_s
        See `LearnedState`.
    size_bytes
        Length of its payload.
    quarantined
        Why it is not to be used; None where it may be.
    """

    version: int
    position: int
    created_at_s: float
    size_bytes: int
    quarantined: str | None = None


class StoreHealth(Value, frozen=True, kw_only=True):
    """How a store is.

    Parameters
    ----------
    place
        What it is called, without secrets.
    problem
        Why it cannot be written now; None where it can.
    spooled, spooled_bytes
        Facts that wait on the local disk until it can.
    dropped
        Decisions and outcomes that were appended and not kept, since the start.
    """

    place: str
    problem: str | None = None
    spooled: int = 0
    spooled_bytes: int = 0
    dropped: int = 0


class PoolChange(Value, frozen=True, kw_only=True):
    """An LLM that was added to, changed in or removed from the pool at run time.

    Parameters
    ----------
    spec
        The LLM as it is now, or was last.
    active
        Whether it is in the pool.
    created_at_s
        Unix time.
    configured
        What the configuration said of it then; None where it said nothing. Where the configuration says otherwise
        after a restart, it was edited since, and goes before this change.
    """

    spec: LLMSpec
    active: bool
    created_at_s: float
    configured: LLMSpec | None = None


class StateChange(Value, frozen=True, kw_only=True):
    """A checkpoint that everyone who follows the store takes over, as after a rollback or a merge.

    Parameters
    ----------
    version
        Of the checkpoint.
    created_at_s
        Unix time of the checkpoint.
    """

    version: int
    created_at_s: float


class PlacedChange(Value, frozen=True, kw_only=True):
    """A change of the pool, or of what is known, and its place among the events: the same for all who read the store.

    Parameters
    ----------
    number
        Rises with every change.
    after_seq
        `LearningEvent.seq` of the last event that was durable before it; 0 where there was none.
    change
        The change.
    """

    number: int
    after_seq: int
    change: PoolChange | StateChange


class Spending(Value, frozen=True, kw_only=True):
    """What the events of a budget's period have cost.

    Parameters
    ----------
    since_s
        Unix time at which the period began.
    until_seq
        `LearningEvent.seq` of the last event that is counted.
    usd
        Measured cost by key.
    """

    since_s: float
    until_seq: int
    usd: dict[str, float]


class KeptStart(Value, frozen=True, kw_only=True):
    """What a start reads from the store, as of one event: for a start while the store is away.

    Parameters
    ----------
    state
        Everything learned up to its position.
    change
        Number of the last change, of the pool or of what is known, that was made by then.
    changes
        The newest change of each LLM that ever changed, in order, up to `change`.
    spending
        What the budget's period had cost; None where there was no budget.
    """

    state: LearnedState
    change: int
    changes: tuple[PlacedChange, ...] = ()
    spending: Spending | None = None
