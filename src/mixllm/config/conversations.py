"""What is done for conversations that go on."""

from __future__ import annotations

from mixllm.config.section import Section
from mixllm.errors import InvalidValueError
from mixllm.units import positive

__all__ = ["ConversationsConfig"]

_MAX_TRACKED = 10_000_000


class ConversationsConfig(Section, frozen=True, kw_only=True):
    """How far a conversation stays with its LLM.

    Parameters
    ----------
    sticky
        Whether what the LLM's provider has in its cache counts, and an agent's turn stays with its LLM.
    cache_ttl_s
        How long a provider keeps a prompt in its cache after it was last used.
    min_prefix_tokens
        Providers do not cache shorter prompts.
    max_tracked
        Most turns that are remembered, the newest ones.
    """

    sticky: bool = True
    cache_ttl_s: float = 300.0
    min_prefix_tokens: int = 1024
    max_tracked: int = 100_000

    def __post_init__(self) -> None:
        positive("cache_ttl_s", self.cache_ttl_s)
        if self.min_prefix_tokens < 0:
            raise InvalidValueError("min_prefix_tokens", self.min_prefix_tokens, ">= 0")
        if not 1 <= self.max_tracked <= _MAX_TRACKED:
            raise InvalidValueError("max_tracked", self.max_tracked, f"between 1 and {_MAX_TRACKED}")
