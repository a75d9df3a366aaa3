"""Streams whose events come one by one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator

__all__ = ["OneByOne"]


class OneByOne:
    """Part of an `UpstreamStream` whose events never arrive together: each is a batch of its own."""

    @abstractmethod
    def events(self) -> AsyncIterator[bytes]:
        """Yield the events."""

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Yield each event alone."""
        async for event in self.events():
            yield [event]
