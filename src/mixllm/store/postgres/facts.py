"""Decisions, outcomes and feedback in the form in which they are written: plain values, which a spool can keep too."""

from __future__ import annotations

import math

import msgspec

from mixllm.store.intake import QueuedFeedback
from mixllm.store.rows import decision_row, feedback_row, outcome_row
from mixllm.types import DecisionRecord, OutcomeEvent

__all__ = ["DecisionFact", "FeedbackFact", "OutcomeFact", "WrittenFact", "as_fact", "decode_fact", "encode_fact"]

_MAX_INTEGER = 2**63 - 1


class DecisionFact(msgspec.Struct, frozen=True, tag="d", array_like=True):
    """A row of ``decisions``, in the order of its columns."""

    decision_id: str
    created_at_s: float | None
    llm: str
    policy: str
    trade_off: float | None
    model_version: int
    tokens_in: int
    encoding: bytes
    body: str
    prompt: bytes | None
    key_id: str
    out_of_domain: float
    in_flight: int


class OutcomeFact(msgspec.Struct, frozen=True, tag="o", array_like=True):
    """An outcome's row of ``events``, without what the decision adds to it; `llm` is None for the decision's."""

    event_id: str
    decision_id: str
    llm: str | None
    created_at_s: float | None
    body: str
    status: str
    attempt: int
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    latency_s: float | None


class FeedbackFact(msgspec.Struct, frozen=True, tag="f", array_like=True):
    """A feedback's row of ``events``, without what the decision adds to it."""

    event_id: str
    decision_id: str
    created_at_s: float | None
    body: str
    feedback_kind: str
    metric: str
    source: str
    value: float
    cost_usd: float | None


WrittenFact = DecisionFact | OutcomeFact | FeedbackFact

_DECODER: msgspec.msgpack.Decoder[WrittenFact] = msgspec.msgpack.Decoder(WrittenFact)


def as_fact(item: DecisionRecord | OutcomeEvent | QueuedFeedback) -> WrittenFact:
    """Return `item` as it is written.

    Raises
    ------
    TypeError, ValueError, OverflowError
        Where it holds something else than its types say, or an integer that no database keeps.
    """
    if isinstance(item, DecisionRecord):
        return _decision(item)
    if isinstance(item, OutcomeEvent):
        return _outcome(item)
    event_id, at_s, body, kind, metric, source, value, cost_usd, decision_id = feedback_row(item.feedback, item.body)
    return FeedbackFact(
        event_id=str(event_id),
        decision_id=str(decision_id),
        created_at_s=_number(at_s),
        body=body_text(str(body)),
        feedback_kind=str(kind),
        metric=_text(metric),
        source=_text(source),
        value=_number(value) or 0.0,
        cost_usd=_number(cost_usd),
    )


def encode_fact(fact: WrittenFact) -> bytes:
    """Return bytes that `decode_fact` reads."""
    return msgspec.msgpack.encode(fact)


def decode_fact(data: bytes) -> WrittenFact:
    """Return what `encode_fact` gave; raises `msgspec.MsgspecError` where it is damaged."""
    return _DECODER.decode(data)


def body_text(body: str) -> str:
    """Return a JSON body; JSON writes NUL, which PostgreSQL keeps in no text, as an escape."""
    if "\0" in body:
        raise ValueError("a body holds NUL")
    return body


def _decision(record: DecisionRecord) -> DecisionFact:
    decision_id, at_s, llm, policy, trade_off, version, tokens_in, encoding, body, prompt, key_id = decision_row(record)
    return DecisionFact(
        decision_id=decision_id,
        created_at_s=_number(at_s),
        llm=_text(llm),
        policy=_text(policy),
        trade_off=_number(trade_off),
        model_version=_integer(version),
        tokens_in=_integer(tokens_in),
        encoding=bytes(encoding),
        body=body_text(body),
        prompt=None if prompt is None else prompt.encode(),
        key_id=_text(key_id),
        out_of_domain=_number(record.decision.out_of_domain) or 0.0,
        in_flight=_integer(record.decision.in_flight),
    )


def _outcome(event: OutcomeEvent) -> OutcomeFact:
    row = outcome_row(event)
    event_id, llm, at_s, body, status, attempt, tokens_in, tokens_out, cost_usd, latency_s, decision_id = row
    return OutcomeFact(
        event_id=str(event_id),
        decision_id=str(decision_id),
        llm=None if llm is None else _text(llm),
        created_at_s=_number(at_s),
        body=body_text(str(body)),
        status=str(status),
        attempt=_integer(attempt),
        tokens_in=None if tokens_in is None else _integer(tokens_in),
        tokens_out=None if tokens_out is None else _integer(tokens_out),
        cost_usd=_number(cost_usd),
        latency_s=_number(latency_s),
    )


def _number(value: object) -> float | None:
    """Return a float; None for NaN, which would count as greater than every number."""
    if value is None:
        return None
    number = float(value)  # type: ignore[arg-type]
    return None if math.isnan(number) else number


def _integer(value: object) -> int:
    integer = int(value)  # type: ignore[call-overload]
    if not -_MAX_INTEGER <= integer <= _MAX_INTEGER:
        raise OverflowError("an integer has more than 63 bits")
    return int(integer)


def _text(value: object) -> str:
    """Return a column's text; PostgreSQL keeps no NUL, and the body has the value as it was."""
    return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
