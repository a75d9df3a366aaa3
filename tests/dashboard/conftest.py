from __future__ import annotations

from collections.abc import Iterator

import pytest

from mixllm.playback import AnswerBook, PlaybackServer, synthetic_log


@pytest.fixture(scope="session")
def pool() -> Iterator[PlaybackServer]:
    """Six LLMs that answer at once."""
    book = AnswerBook(log=synthetic_log(queries=40, seed=5))
    with PlaybackServer(book, time_scale=0, keep_requests=4) as running:
        yield running
