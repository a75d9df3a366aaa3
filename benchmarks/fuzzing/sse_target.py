"""Event streams: the incremental parser beside one that reads the whole stream at once."""

from __future__ import annotations

import itertools
import re

import numpy as np

from benchmarks.fuzzing.mutations import mutated
from benchmarks.fuzzing.target import WrongError
from mixllm.clients import SSEParser
from mixllm.errors import InvalidValueError

__all__ = ["STREAMS", "STREAM_WORDS", "SSETarget", "chunks", "events_of", "line_ends"]

STREAM_WORDS = (
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b"\r\n\r\n",
        b"\n\r\n",
        b"data",
        b"data:",
        b"data: ",
        b"data: [DONE]\n\n",
    ),
    *(
        b":",
        b": ping\n\n",
        b"event: error\n",
        b"id: 1\n",
        b"retry: 10\n",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"\x00",
        b"\xff",
    ),
    *(
        b"\xe2\x80\xa8",
        b"\xc2\x85",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"data: {}\n\n",
        b"data: null\n\n",
        b"data:\n" * 50,
        b"data\r" * 2500,
    ),
    *(
        b'data: {"choices":[]}\n\n',
        b'data: {"error":{"message":"x"}}\n\n',
        b"data: " + b"[" * 2000 + b"\n\n",
        b"data\n\n",
    ),
    *(b'{"a":"\\ud800"}', b"1e999", b"data: x" * 40, b'data: {"choices":[{"delta":{"content":"' + b"x" * 3000),
)
_CHUNK = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":['
_ANSWER = b"".join(
    (
        _CHUNK + b'{"index":0,"delta":{"role":"assistant","content":"Par"},"finish_reason":null}]}\n\n',
        _CHUNK + b'{"index":0,"delta":{"content":"is"},"finish_reason":"stop"}]}\n\n',
        _CHUNK + b'],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n',
        b"data: [DONE]\n\n",
    )
)
STREAMS = (
    _ANSWER,
    b': ping\n\nevent: message\nid: 7\ndata: {\ndata:  "choices": []}\n\ndata: [DONE]\n\n',
    'data: {"choices":[{"index":0,"delta":{"content":"Zürich — 東京 😀"}}]}\n\ndata: [DONE]\n\n'.encode(),
    b"data: [DONE]",
    b"data: {}\n\n",
    b"",
)
_MAX_EVENT_BYTES = 2000
_LINE_END = re.compile(rb"\r\n|\n|\r")


class SSETarget:
    """`SSEParser`: whatever the cuts, the events of the standard; longer ones are refused."""

    name = "sse"

    def close(self) -> None:
        """Nothing is open."""

    def make(self, rng: np.random.Generator) -> bytes:
        """Return a stream with other ends of lines, changed or not."""
        case = line_ends(STREAMS[int(rng.integers(len(STREAMS)))], rng)
        return case if rng.random() < 0.1 else mutated(case, rng, words=STREAM_WORDS, others=STREAMS, most=8)

    def check(self, case: bytes, rng: np.random.Generator) -> str:
        """Compare with the whole stream read at once, and with two other cuts."""
        expected, longest_line, longest_event = events_of(case)
        for _ in range(2):
            parser = SSEParser(max_event_bytes=_MAX_EVENT_BYTES)
            found: list[bytes] = []
            try:
                for chunk in chunks(case, rng):
                    found += parser.feed(chunk)
            except InvalidValueError:
                if max(longest_line, longest_event) <= _MAX_EVENT_BYTES:
                    raise
                if found != expected[: len(found)]:
                    raise WrongError(f"{found} is no beginning of {expected}") from None
                return "refused"
            if found != expected:
                raise WrongError(f"{found} instead of {expected}")
            if longest_event > _MAX_EVENT_BYTES:
                raise WrongError(f"{longest_event} bytes of an event were kept")
        return "read"


def line_ends(stream: bytes, rng: np.random.Generator) -> bytes:
    """Return `stream` with the ends of its lines as another server would write them, or mixed."""
    ends = (b"\n", b"\r\n", b"\r")
    kind = int(rng.integers(5))
    if kind < len(ends):
        return stream.replace(b"\n", ends[kind])
    return b"".join(ends[int(rng.integers(3))] if byte == 10 else bytes([byte]) for byte in stream)


def chunks(stream: bytes, rng: np.random.Generator) -> list[bytes]:
    """Return `stream` in pieces: whole, byte by byte, or cut anywhere."""
    kind = rng.random()
    if kind < 0.1:
        return [stream]
    if kind < 0.2:
        return [stream[at : at + 1] for at in range(len(stream))]
    places = sorted({0, len(stream), *rng.integers(len(stream) + 1, size=int(rng.integers(1, 12))).tolist()})
    return [stream[start:end] for start, end in itertools.pairwise(places)] or [b""]


def events_of(stream: bytes) -> tuple[list[bytes], int, int]:
    """Return the events' data after the WHATWG's rules, read in one piece; the longest line; the longest event."""
    lines = _LINE_END.split(stream.removeprefix(b"\xef\xbb\xbf"))
    events: list[bytes] = []
    data: list[bytes] = []
    longest = 0
    for line in lines[:-1]:  # The last one has no end.
        field, _, value = line.partition(b":")
        if not line:
            if data:
                events.append(b"\n".join(data))
            data = []
        elif field == b"data":
            data.append(value.removeprefix(b" "))
            longest = max(longest, len(b"\n".join(data)))
    return events, max(map(len, lines)), longest
