from __future__ import annotations

import collections
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.clients import SSEParser
from mixllm.errors import InvalidValueError


def by_the_standard(stream: bytes) -> list[bytes]:
    """Parse a whole stream as the standard words it."""
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    *lines, _unterminated = re.split(rb"\r\n|\n|\r", stream)
    events: list[bytes] = []
    data: bytes = b""
    for line in lines:
        if line == b"":
            if data:
                events.append(data[:-1])
            data = b""
            continue
        if line.startswith(b":"):
            continue
        field, _, value = line.partition(b":")
        if field == b"data":
            data += value.removeprefix(b" ") + b"\n"
    return events


def parsed(chunks: list[bytes]) -> list[bytes]:
    parser = SSEParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:stop] for start, stop in pairwise(edges)]


PIECES = st.sampled_from(
    [
        *(b"data", b"data:", b"data: ", b"data:  x", b"dat", b": note", b":", b" ", b"event: x", b"id: 1", b"retry: 5"),
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"data: x\n\n", b"data: y\r\n\r\n", b"data: z\r\r"),
        *(
            b"[DONE]",
            b'{"a":1}',
            "grüß€".encode(),
            b"\xef\xbb\xbf",
            b"\xef",
            b"\x00",
            b"\x0b",
            b"\x0c",
            b"\x1c",
            b"\x85",
        ),
    ]
)
STREAMS = st.one_of(st.lists(PIECES, max_size=30).map(b"".join), st.binary(max_size=60))


@given(stream=STREAMS, places=st.lists(st.integers(min_value=0), max_size=20))
def test_any_chunking_gives_what_the_standard_says(stream: bytes, places: list[int]) -> None:
    assert parsed(cut(stream, places)) == by_the_standard(stream)


@given(stream=STREAMS)
def test_byte_by_byte(stream: bytes) -> None:
    assert parsed([bytes([byte]) for byte in stream]) == by_the_standard(stream)


@given(
    payloads=st.lists(
        st.text(alphabet=st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1), max_size=8
    ),
    end=st.sampled_from([b"\n", b"\r", b"\r\n"]),
    places=st.lists(st.integers(min_value=0), max_size=20),
)
def test_what_is_written_is_read(payloads: list[str], end: bytes, places: list[int]) -> None:
    stream = b"".join(b"data: " + payload.encode() + end + end for payload in payloads)
    assert parsed(cut(stream, places)) == [payload.encode() for payload in payloads]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [b"YHOO\n+2\n10"]),
        (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", None),
        (b"data\n\ndata\ndata\n\ndata:", [b"", b"\n"]),
        (b"data:test\n\ndata: test\n\n", [b"test", b"test"]),
        (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b"", []),
    ],
)
def test_examples_of_the_standard(stream: bytes, events: list[bytes] | None) -> None:
    expected = [b"first event", b"second event", b" third event"] if events is None else events
    assert parsed([stream]) == expected


@pytest.mark.parametrize(
    ("stream", "unfinished"),
    [
        (b"", None),
        (b"data: a\n\n", None),
        (b"data: a\n", b"a"),
        (b"data: a\ndata: b", b"a\nb"),
        (b"data:", b""),
        (b"da", None),
        (b": data", None),
    ],
)
def test_unfinished(stream: bytes, unfinished: bytes | None) -> None:
    for chunks in ([stream], [bytes([byte]) for byte in stream]):
        parser = SSEParser()
        for chunk in chunks:
            parser.feed(chunk)
        assert parser.unfinished == unfinished


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 11, b"data: " + b"x" * 11 + b"\n\n", b"data: xxxxxx\n" * 4, b"y" * 99]
)
def test_refuses_long_events(stream: bytes) -> None:
    parser = SSEParser(max_event_bytes=10)
    assert parser.feed(b"data: 0123456789\n\n" * 9) == [b"0123456789"] * 9
    with pytest.raises(InvalidValueError, match="at most 10 bytes"):
        collections.deque(map(parser.feed, cut(stream, list(range(len(stream))))))
    with pytest.raises(InvalidValueError, match="at most 10 bytes"):
        SSEParser(max_event_bytes=10).feed(stream)


def test_refuses_a_bad_limit() -> None:
    with pytest.raises(InvalidValueError, match="max_event_bytes"):
        SSEParser(max_event_bytes=0)
    assert SSEParser(max_event_bytes=7).max_event_bytes == 7
