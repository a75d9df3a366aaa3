"""Streams whose truth is known: two topics, two cheap LLMs that know one each, and a dear one that knows both."""

from __future__ import annotations

from functools import cache

import numpy as np

from mixllm.assembly import build_features, build_untrained_encoder
from mixllm.config import EncoderConfig, TagsConfig
from mixllm.evaluation.simulation.players import Seat
from mixllm.evaluation.simulation.stream import Stream, StreamSettings
from mixllm.evaluation.splits import Dataset, prepare
from mixllm.interfaces import Encoder, FeatureMap
from mixllm.logs import RoutingLog
from mixllm.playback import SYNTHETIC_DOMAINS, synthetic_log

TOPICS = SYNTHETIC_DOMAINS[:2]
LLMS = ("first-topic", "second-topic", "dear")


@cache
def encoder() -> Encoder:
    return build_untrained_encoder(EncoderConfig(), TagsConfig())


@cache
def features() -> FeatureMap:
    return build_features(TagsConfig(), encoder())


@cache
def topic_data(queries: int = 240, *, latency_s: float = np.nan) -> Dataset:
    """Return a log of two topics; LLM ``first-topic`` is right on the first alone, ``second-topic`` on the other."""
    texts = synthetic_log(queries=queries, seed=3, domains=TOPICS)
    first = np.array([topic == TOPICS[0] for topic in texts.labels["domain"]])
    shape = (queries, len(LLMS))
    tokens_in = np.repeat(texts.tokens_in[:, :1], len(LLMS), axis=1)
    tokens_out = np.full(shape, 100.0)
    log = RoutingLog(
        name="topics",
        query_ids=texts.query_ids,
        prompts=texts.prompts,
        systems=texts.systems,
        labels=dict(texts.labels),
        llms=LLMS,
        quality=np.stack([first, ~first, np.ones(queries, np.bool_)], axis=1).astype(np.float64),
        cost_usd=(tokens_in + 2 * tokens_out) * np.array([1e-7, 1e-7, 1e-6]),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        latency_s=np.full(shape, latency_s),
        ttft_s=np.full(shape, np.nan),
    )
    return prepare(log, encoder=encoder())


def make_stream(settings: StreamSettings | None = None, *, seed: int = 0, data: Dataset | None = None) -> Stream:
    return Stream(dataset=data or topic_data(), features=features(), settings=settings or StreamSettings(), seed=seed)


def make_seat(stream: Stream, *, seed: int = 0, reference: str = "dear", data: Dataset | None = None) -> Seat:
    ranked = ("dear", "first-topic", "second-topic")
    return Seat.at(stream, dataset=data or topic_data(), ranked=ranked, reference=stream.listed(reference), seed=seed)
