"""The frozen value objects that travel between rooms: what is asked, forecast, decided, observed and judged."""

from __future__ import annotations

from mixllm.types.decision import Candidate, Decision, DecisionRecord, Ineligible, ShadowChoice, TagWeight
from mixllm.types.events import LearningEvent, StoredDecision
from mixllm.types.feedback import Feedback, FeedbackKind, FeedbackReceipt
from mixllm.types.forecast import Estimate, Forecast, Hold
from mixllm.types.llm import LLMSpec, Price
from mixllm.types.outcome import Outcome, OutcomeEvent, OutcomeStatus
from mixllm.types.query import Query, WarmPrefix
from mixllm.types.stored import (
    KeptStart,
    LearnedState,
    PlacedChange,
    PoolChange,
    Spending,
    StateChange,
    StateInfo,
    StoreHealth,
)
from mixllm.types.values import (
    IMPLICIT_SOURCES,
    JUDGE_SOURCE,
    MAX_COUNT,
    MAX_ID_CHARS,
    MAX_NAME_CHARS,
    Capability,
    Endpoint,
    Secret,
    Value,
)

__all__ = [
    "IMPLICIT_SOURCES",
    "JUDGE_SOURCE",
    "MAX_COUNT",
    "MAX_ID_CHARS",
    "MAX_NAME_CHARS",
    "Candidate",
    "Capability",
    "Decision",
    "DecisionRecord",
    "Endpoint",
    "Estimate",
    "Feedback",
    "FeedbackKind",
    "FeedbackReceipt",
    "Forecast",
    "Hold",
    "Ineligible",
    "KeptStart",
    "LLMSpec",
    "LearnedState",
    "LearningEvent",
    "Outcome",
    "OutcomeEvent",
    "OutcomeStatus",
    "PlacedChange",
    "PoolChange",
    "Price",
    "Query",
    "Secret",
    "ShadowChoice",
    "Spending",
    "StateChange",
    "StateInfo",
    "StoreHealth",
    "StoredDecision",
    "TagWeight",
    "Value",
    "WarmPrefix",
]
