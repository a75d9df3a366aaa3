"""What is thought of an answer."""

from __future__ import annotations

from enum import StrEnum

from mixllm.errors import InvalidValueError
from mixllm.types.values import MAX_ID_CHARS, Value, check_key_id
from mixllm.units import finite, fraction, non_negative

__all__ = ["Feedback", "FeedbackKind", "FeedbackReceipt"]


class FeedbackKind(StrEnum):
    """Whether a judgement is a score in [0, 1] or a thumb."""

    REFINED = "refined"
    BINARY = "binary"


class Feedback(Value, frozen=True, kw_only=True):
    """One judgement of one answer.

    Parameters
    ----------
    feedback_id
        Idempotency key: the same id with the same content counts once.
    decision_id
        The decision whose answer is judged.
    kind
        A score, or thumbs.
    value
        In [0, 1]; 0 or 1 for thumbs.
    metric
        What is judged; only ``quality`` teaches the quality predictor.
    source
        Who judged, e.g. ``user`` or ``judge``.
    created_at_s
        Unix time.
    tags
        Labels that the caller wants kept.
    key_id
        Who sent it (see `Query`); bounds how much one key can teach.
    cost_usd
        What the judgement itself cost, e.g. a judge's call.
    """

    feedback_id: str
    decision_id: str
    kind: FeedbackKind
    value: float
    metric: str = "quality"
    source: str = "user"
    created_at_s: float = 0.0
    tags: tuple[tuple[str, str], ...] = ()
    key_id: str = ""
    cost_usd: float = 0.0

    def __post_init__(self) -> None:
        check_key_id(self.key_id)
        non_negative("cost_usd", self.cost_usd)
        for field in ("feedback_id", "decision_id", "metric", "source"):
            text = getattr(self, field)
            if not 0 < len(text) <= 3 * MAX_ID_CHARS:
                raise InvalidValueError(field, text, f"1 to {3 * MAX_ID_CHARS} characters")
        fraction("value", self.value)
        finite("created_at_s", self.created_at_s)
        if self.kind is FeedbackKind.BINARY and self.value not in (0.0, 1.0):
            raise InvalidValueError("value", self.value, "0 or 1 where the feedback is binary")


class FeedbackReceipt(Value, frozen=True, kw_only=True):
    """That a feedback is durably stored, and whether it had been stored before."""

    feedback_id: str
    duplicate: bool
