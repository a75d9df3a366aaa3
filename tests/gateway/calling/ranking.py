"""A pool whose order of scores is known and stays: what is learned on the way weighs less than public scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.gateway.running import Gateway, Reply, config_tree

from mixllm.config import Config, parse_config
from mixllm.playback import PlaybackServer

__all__ = ["RANKED", "STEADY", "calls_of", "metric", "ranked_config"]

RANKED = ("atlas-large", "boreal-pro", "ember-mini")
"""The pool, best first."""

STEADY = {"breaker": {"enabled": False}, "retry_delay_s": 0.01}
"""Calls whose breakers never open."""

_SCORES = dict(zip(RANKED, (0.99, 0.6, 0.2), strict=True))


def ranked_config(pool: PlaybackServer, store: Path, llms: Sequence[str] = RANKED, **sections: Any) -> Config:
    """Return a configuration that always takes the best of `llms`; a refusal of one request is over in the next."""
    routing = {"lambda": 1000, "policy": {"name": "greedy"}, "max_cooldown_s": 1e-6, **sections.pop("routing", {})}
    tree = config_tree(pool, store, llms, routing=routing, **sections)
    for entry in tree["model_list"]:
        entry["model_info"]["public_score"] = _SCORES[entry["model_name"]]
    return parse_config(json.dumps(tree))


def calls_of(gateway: Gateway, reply: Reply) -> list[tuple[str, str, int]]:
    """Return the LLM, status and attempt of each call for a request, in order."""
    outcomes = gateway.outcomes_of(reply.inference_id)
    return [(one["llm"], one["status"], one["attempt"]) for one in sorted(outcomes, key=lambda one: one["attempt"])]


def metric(gateway: Gateway, line: str) -> float:
    """Return the value of a metric that begins like `line`; 0 where there is none."""
    text = gateway.ask("GET", "/metrics").body.decode()
    values = [row.rpartition(" ")[2] for row in text.splitlines() if row.startswith(line)]
    return float(values[0]) if values else 0.0
