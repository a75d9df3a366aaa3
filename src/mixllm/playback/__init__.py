"""A playback server that stands for any number of LLMs: OpenAI-compatible, and it answers what a routing log recorded.

`synthetic_log` makes a log whose truth is known; `AnswerBook` finds answers in a log; `playback_app` serves them, with
`Fault` objects where they are wanted; `PlaybackServer` runs that in a thread, on a loopback port, and
`mixllm.playback.serve.serve` in the foreground. What needs Starlette and uvicorn is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixllm.playback.answers import AnswerBook, RecordedAnswer
from mixllm.playback.faults import (
    BrokenStream,
    ConnectionDrop,
    EmptyAnswer,
    ErrorStatus,
    Fault,
    FaultBoard,
    Garbage,
    Hang,
    Slow,
)
from mixllm.playback.planted import SYNTHETIC_DOMAINS, SYNTHETIC_LLMS, SyntheticLLM, SyntheticTruth
from mixllm.playback.replies import TOOL_CALL_MARKER
from mixllm.playback.requests import KeptRequest
from mixllm.playback.synthetic import synthetic_log

if TYPE_CHECKING:
    from mixllm.playback.serve import PlaybackServer
    from mixllm.playback.server import playback_app

__all__ = [
    "SYNTHETIC_DOMAINS",
    "SYNTHETIC_LLMS",
    "TOOL_CALL_MARKER",
    "AnswerBook",
    "BrokenStream",
    "ConnectionDrop",
    "EmptyAnswer",
    "ErrorStatus",
    "Fault",
    "FaultBoard",
    "Garbage",
    "Hang",
    "KeptRequest",
    "PlaybackServer",
    "RecordedAnswer",
    "Slow",
    "SyntheticLLM",
    "SyntheticTruth",
    "playback_app",
    "synthetic_log",
]


def __getattr__(name: str) -> object:
    if name == "playback_app":
        from mixllm.playback.server import playback_app

        return playback_app
    if name == "PlaybackServer":
        from mixllm.playback.serve import PlaybackServer

        return PlaybackServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
