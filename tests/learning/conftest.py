"""What the tests of learning share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an idle worker look up more often, so that stopping it takes no half second."""
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)
