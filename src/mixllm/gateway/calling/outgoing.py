"""What the calls of one request need to know of it, whatever its protocol."""

from __future__ import annotations

from typing import Protocol

from mixllm.gateway.dialect import Dialect
from mixllm.types import LLMSpec, Query

__all__ = ["Outgoing"]


class Outgoing(Protocol):
    """A request as it goes out to LLMs."""

    @property
    def dialect(self) -> Dialect:
        """The path at the endpoint, and how its answers are read."""

    @property
    def stream(self) -> bool:
        """Whether the answer is wanted as a stream."""

    @property
    def query(self) -> Query:
        """What the router decided on: its limits on time hold for all attempts together."""

    def body_for(self, spec: LLMSpec) -> bytes:
        """Return the body for `spec`."""
