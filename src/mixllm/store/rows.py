"""Values to JSON bodies and table rows, and back."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import msgspec
import numpy as np

from mixllm.errors import InvalidValueError, StoreError
from mixllm.store.checks import checked_id
from mixllm.types import (
    Decision,
    DecisionRecord,
    Feedback,
    Outcome,
    OutcomeEvent,
    PlacedChange,
    PoolChange,
    StateChange,
)

__all__ = [
    "ENCODING_FAULTS",
    "DecisionRow",
    "EventRow",
    "checked_feedback",
    "decision_from_body",
    "decision_row",
    "feedback_from_body",
    "feedback_row",
    "outcome_from_body",
    "outcome_row",
    "placed_change",
    "pool_change_body",
    "pool_change_from_body",
    "same_judgement",
]

_T = TypeVar("_T")

DecisionRow = tuple[str, float, str, str, float, int, int, bytes, str, str | None, str]
"""decision_id, created_at_s, llm, policy, trade_off, model_version, tokens_in, encoding, body, prompt, key_id."""

EventRow = tuple[object, ...]
"""The parameters of an insert into ``events``."""

ENCODING_FAULTS = (TypeError, ValueError, OverflowError, RecursionError)
"""What a value that is not what its type says can raise here; `UnicodeError` and msgspec's errors are ValueErrors."""


def _plain(value: object) -> object:
    """Turn numpy's scalars, which msgspec does not know, into Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"a store cannot keep a {type(value).__name__}")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
# Not strict: numbers that JSON has no literal for are kept as the strings "nan", "inf" and "-inf" (see `_mended`).
_DECISIONS = msgspec.json.Decoder(Decision, strict=False)
_OUTCOMES = msgspec.json.Decoder(Outcome)
_FEEDBACK = msgspec.json.Decoder(Feedback)
_POOL_CHANGES = msgspec.json.Decoder(PoolChange)


def decision_row(record: DecisionRecord) -> DecisionRow:
    """Return the row of a decision.

    Scores and forecasts that are infinite or NaN are kept, characters that are no valid Unicode become ``?``.

    Raises
    ------
    TypeError, ValueError, OverflowError
        Where the record holds something else than its types say.
    """
    decision = record.decision
    try:
        body = _ENCODER.encode(decision)
        # A decision has no optional field: a null stands for NaN or infinity, unless it is part of a text.
        if b"null" in body:
            body = _mended(decision)
    except UnicodeEncodeError:
        body = _mended(decision)
        decision = _DECISIONS.decode(body)
    return (
        decision.decision_id,
        float(decision.created_at_s),
        decision.llm,
        decision.policy,
        float(decision.trade_off),
        int(decision.model_version),
        int(decision.tokens_in),
        record.encoding,
        body.decode(),
        None if record.prompt is None else _valid_text(record.prompt),
        decision.key_id,
    )


def outcome_row(event: OutcomeEvent) -> EventRow:
    """Return the parameters of an outcome's insert; raises as `decision_row` does."""
    outcome = event.outcome
    try:
        body = _ENCODER.encode(outcome)
    except UnicodeEncodeError:
        body = _mended(outcome)
    outcome = _OUTCOMES.decode(body)
    return (
        event.event_id,
        outcome.llm,
        float(event.created_at_s),
        body.decode(),
        outcome.status.value,
        outcome.attempt,
        outcome.tokens_in,
        outcome.tokens_out,
        outcome.cost_usd,
        outcome.latency_s,
        event.decision_id,
    )


def checked_feedback(feedback: Feedback) -> tuple[Feedback, str]:
    """Return `feedback` as it will read after a round trip through the store, and its JSON body.

    Raises
    ------
    InvalidValueError
        Where an id cannot be kept, or a field is not of its type.
    """
    checked_id("feedback_id", feedback.feedback_id)
    checked_id("decision_id", feedback.decision_id)
    try:
        body = _ENCODER.encode(feedback)
        return _FEEDBACK.decode(body), body.decode()
    except ENCODING_FAULTS as error:
        expected = f"made of valid text and numbers ({error})"
        raise InvalidValueError("feedback", feedback.feedback_id, expected) from error


def feedback_row(feedback: Feedback, body: str) -> EventRow:
    """Return the parameters of a feedback's insert."""
    return (
        feedback.feedback_id,
        feedback.created_at_s,
        body,
        feedback.kind.value,
        feedback.metric,
        feedback.source,
        feedback.value,
        feedback.cost_usd or None,
        feedback.decision_id,
    )


def same_judgement(one: Feedback, other: Feedback) -> bool:
    """Return whether two feedbacks say the same, whenever, by whichever key and at whatever cost they were said.

    Examples
    --------
    >>> from mixllm.types import FeedbackKind
    >>> one = Feedback(feedback_id="f", decision_id="d", kind=FeedbackKind.BINARY, value=1, created_at_s=1.0)
    >>> same_judgement(one, msgspec.structs.replace(one, created_at_s=2.0))
    True
    >>> same_judgement(one, msgspec.structs.replace(one, value=0))
    False
    """
    return _what_is_said(one) == _what_is_said(other)


def _what_is_said(feedback: Feedback) -> Feedback:
    return msgspec.structs.replace(feedback, created_at_s=0.0, key_id="", cost_usd=0.0)


def pool_change_body(change: PoolChange) -> str:
    """Return the JSON body of a change of the pool; raises `InvalidValueError` where it cannot be kept."""
    try:
        return _ENCODER.encode(change).decode()
    except ENCODING_FAULTS as error:
        expected = f"made of valid text and numbers ({error})"
        raise InvalidValueError("change", change.spec.name, expected) from error


def decision_from_body(body: str) -> Decision:
    """Return the decision of a JSON body; raises `StoreError` where it is damaged."""
    return _decoded(_DECISIONS, body)


def outcome_from_body(body: str) -> Outcome:
    """Return the outcome of a JSON body; raises `StoreError` where it is damaged."""
    return _decoded(_OUTCOMES, body)


def feedback_from_body(body: str) -> Feedback:
    """Return the feedback of a JSON body; raises `StoreError` where it is damaged."""
    return _decoded(_FEEDBACK, body)


def pool_change_from_body(body: str) -> PoolChange:
    """Return the change of the pool of a JSON body; raises `StoreError` where it is damaged."""
    return _decoded(_POOL_CHANGES, body)


def placed_change(
    number: int, after_seq: int, body: str | None, version: int | None, created_at_s: float | None
) -> PlacedChange:
    """Return the change of a row: of the pool where it has a body, else of what is known; raises `StoreError`."""
    if body is not None:
        return PlacedChange(number=number, after_seq=after_seq, change=pool_change_from_body(body))
    assert version is not None
    change = StateChange(version=version, created_at_s=created_at_s or 0.0)
    return PlacedChange(number=number, after_seq=after_seq, change=change)


def _decoded(decoder: msgspec.json.Decoder[_T], body: str) -> _T:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise StoreError(
            f"A row of the store cannot be read ({error}). It was changed by another program, or the file is "
            "damaged: restore a copy of the file, or start with a new one."
        ) from error


def _mended(value: Decision | Outcome) -> bytes:
    """Encode what plain JSON has no place for; checks that it can be read again."""
    body = msgspec.json.encode(_mend(msgspec.to_builtins(value, enc_hook=_plain)))
    msgspec.json.decode(body, type=type(value), strict=False)
    return body


def _mend(value: Any) -> Any:
    if isinstance(value, str):
        return _valid_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _mend(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mend(item) for item in value]
    return value


def _valid_text(text: str) -> str:
    """Replace surrogates, which JSON of a client can carry and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
