"""A routing log with a planted truth: the words of a query tell its topic, and its topic which LLM is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from mixllm.encoders import StaticEncoder
from mixllm.learning.offline import TrainingSet
from mixllm.logs import RoutingLog
from mixllm.tags.labelling import TagLabels
from mixllm.tags.sources import labels_from_column

TOPICS = ("law", "sums", "verse")
TOPIC_WORDS = {topic: tuple(f"{topic}{number}" for number in range(6)) for topic in TOPICS}
COMMON_WORDS = tuple(f"common{number}" for number in range(12))
LLMS = ("sums-llm", "verse-llm", "large")
USD = np.array([1e-6, 1e-6, 1e-5])
"""Per token, of the prompt and of the answer alike."""

TRUTH = {"law": (0.2, 0.2, 0.9), "sums": (0.9, 0.2, 0.9), "verse": (0.2, 0.9, 0.9)}
"""Chance that each LLM is right, by topic."""


def word_encoder(*, dimension: int = 16, seed: int = 1) -> StaticEncoder:
    """Return a static encoder with a random vector for each word of the world."""
    words = ["[UNK]", *COMMON_WORDS, *(word for topic in TOPICS for word in TOPIC_WORDS[topic])]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    table = np.random.default_rng(seed).normal(size=(len(words), dimension)).astype(np.float32)
    return StaticEncoder(table=table, tokenizer=tokenizer)


def planted_log(queries: int = 300, *, seed: int = 0, **changed: Any) -> RoutingLog:
    """Return a log; `changed` replaces fields of it."""
    rng = np.random.default_rng(seed)
    topics = rng.choice(TOPICS, size=queries)
    prompts = tuple(
        " ".join([*rng.choice(TOPIC_WORDS[topic], size=2), *rng.choice(COMMON_WORDS, size=3)]) for topic in topics
    )
    right = np.array([TRUTH[topic] for topic in topics])
    tokens_in = np.repeat(rng.integers(5, 400, (queries, 1)), 3, axis=1).astype(np.float64)
    tokens_out = np.exp(rng.normal([4.0, 4.5, 5.0], 0.3, (queries, 3))).round()
    fields: dict[str, Any] = {
        "name": "planted",
        "query_ids": tuple(f"q{row}" for row in range(queries)),
        "prompts": prompts,
        "systems": (None,) * queries,
        "labels": {"topic": tuple(topics.tolist())},
        "llms": LLMS,
        "quality": (rng.uniform(size=(queries, 3)) < right).astype(np.float64),
        "cost_usd": (tokens_in + tokens_out) * USD,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "latency_s": 0.5 + 0.01 * tokens_out,
        "ttft_s": np.full((queries, 3), 0.5),
    }
    return RoutingLog(**(fields | changed))


def partial(log: RoutingLog, *, share: float = 0.4, seed: int = 5) -> dict[str, Any]:
    """Return the log's arrays with only some of the calls; each query was asked of an LLM, each LLM something."""
    asked = np.random.default_rng(seed).uniform(size=log.quality.shape) < share
    asked[0] = True
    asked[~asked.any(axis=1), 2] = True
    names = ("quality", "cost_usd", "tokens_in", "tokens_out", "latency_s", "ttft_s")
    return {name: np.where(asked, getattr(log, name), np.nan) for name in names}


def training_set(log: RoutingLog, encoder: StaticEncoder, **changed: Any) -> TrainingSet:
    """Return what training reads; `changed` replaces parameters of `TrainingSet.from_log`."""
    given: dict[str, Any] = {
        "encodings": encoder.encode_batch(log.texts),
        "token_ids": encoder.token_ids(log.texts),
        "labels": topic_labels(log),
        **changed,
    }
    return TrainingSet.from_log(log, **given)


def topic_labels(log: RoutingLog) -> TagLabels:
    """Return the log's topics as labels."""
    return labels_from_column(log.query_ids, log.labels["topic"], source="topic")
