"""Recorded costs come back as ``usage.cost``, as providers do that bill by the call."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from mixllm.playback import AnswerBook, PlaybackServer, synthetic_log


def _ask(server: PlaybackServer, **fields: object) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{server.base_url}/chat/completions",
        data=json.dumps(fields).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        reply: dict[str, Any] = json.load(answer)
    return reply


def test_the_recorded_cost_is_told_and_only_where_the_answer_is_as_recorded() -> None:
    log = synthetic_log(queries=8, seed=2)
    messages = [{"role": "user", "content": log.prompts[3]}]
    llm = log.llms[1]
    with PlaybackServer(AnswerBook(log=log), time_scale=0) as server:
        whole = _ask(server, model=llm, messages=messages)
        cut = _ask(server, model=llm, messages=messages, max_tokens=1)
        unknown = _ask(server, model=llm, messages=[{"role": "user", "content": "Something else?"}])
    assert whole["usage"]["cost"] == log.cost_usd[3, 1]
    assert "cost" not in cut["usage"]
    assert "cost" not in unknown["usage"]
