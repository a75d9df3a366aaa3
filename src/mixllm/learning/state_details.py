"""What is in one checkpoint, for people."""

from __future__ import annotations

from mixllm.errors import StateError
from mixllm.interfaces import Store
from mixllm.learning.checkpoint import Checkpoint
from mixllm.types import StateInfo, Value

__all__ = ["LLMKnowledge", "StateDetails", "read_details"]


class LLMKnowledge(Value, frozen=True, kw_only=True):
    """How much is known of an LLM.

    Parameters
    ----------
    llm
        Its name.
    level
        The quality that was expected of it before any feedback.
    judgements, answers
        What its quality and its length rest on: sums of weights.
    """

    llm: str
    level: float
    judgements: float
    answers: float


class StateDetails(Value, frozen=True, kw_only=True):
    """A checkpoint and what is in it.

    Parameters
    ----------
    info
        What the store knows of it.
    features
        Fingerprint of what it was learned on; None where it cannot be read.
    reference
        The LLM that sets the scale of cost.
    llms
        Every LLM that it knows, in the pool or not.
    unreadable
        Why it cannot be read; None where it can.
    """

    info: StateInfo
    features: str | None = None
    reference: str | None = None
    llms: tuple[LLMKnowledge, ...] = ()
    unreadable: str | None = None


def read_details(store: Store, version: int) -> StateDetails:
    """Return what is in the checkpoint of `version`; raises `StateError` where there is none."""
    info = next((info for info in store.states() if info.version == version), None)
    state = None if info is None else store.load_state(version)
    if info is None or state is None:
        raise StateError(f"There is no checkpoint of version {version}. mixllm state list shows what is kept.")
    try:
        checkpoint = Checkpoint.from_bytes(state.payload)
    except StateError as error:
        return StateDetails(info=info, unreadable=str(error))
    return StateDetails(
        info=info,
        features=checkpoint.features,
        reference=checkpoint.reference,
        llms=tuple(
            LLMKnowledge(
                llm=llm,
                level=level,
                judgements=_weight(checkpoint, f"{row}.quality.sums"),
                answers=_weight(checkpoint, f"{row}.length.sums"),
            )
            for row, (llm, level) in enumerate(zip(checkpoint.llms, checkpoint.levels, strict=True))
        ),
    )


def _weight(checkpoint: Checkpoint, name: str) -> float:
    sums = checkpoint.arrays.get(name)
    return float(sums[1]) if sums is not None and sums.shape == (2,) else 0.0
