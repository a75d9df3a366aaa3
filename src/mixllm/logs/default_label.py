"""Which column of a log names what its queries are about."""

from __future__ import annotations

from mixllm.logs.routing_log import RoutingLog

__all__ = ["default_label"]

_LABELS = ("task", "domain", "category", "eval_name", "topic", "subject")
_MOST_TAGS = 100


def default_label(log: RoutingLog) -> str | None:
    """Return the label that names what queries are about, by its name; None where the log has no such label.

    It is the first of ``task``, ``domain``, ``category``, ``eval_name``, ``topic`` and ``subject`` that has 2 to 100
    different values; an empty one is none.

    Examples
    --------
    >>> from mixllm.logs import RoutingLog
    >>> import numpy as np
    >>> known = np.ones((2, 1))
    >>> log = RoutingLog(
    ...     name="tiny", query_ids=("1", "2"), prompts=("2 + 2?", "Why?"), systems=(None, None), llms=("small",),
    ...     labels={"domain": ("math", "law"), "task": ("x", "x")}, quality=known, cost_usd=known, tokens_in=known,
    ...     tokens_out=known, latency_s=known, ttft_s=known,
    ... )
    >>> default_label(log)
    'domain'
    """
    for name in _LABELS:
        if name in log.labels and 2 <= len(set(log.labels[name]) - {""}) <= _MOST_TAGS:
            return name
    return None
