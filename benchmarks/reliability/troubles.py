"""Which LLM fails at which request, and how: drawn from the request's number, so that both sides know the same."""

from __future__ import annotations

import random

__all__ = ["FAULTS", "can_answer", "trouble"]

FAULTS = ("500", "hang", "drop", "cut before the first chunk", "cut in the middle")


def trouble(number: int, llm: str, *, share: float) -> str | None:
    """Return how `llm` fails at request `number`; None where it answers."""
    rng = random.Random(f"{number}/{llm}")
    return rng.choice(FAULTS) if rng.random() < share else None


def can_answer(number: int, llms: tuple[str, ...], *, share: float) -> bool:
    """Whether any of `llms` answers request `number`."""
    return any(trouble(number, llm, share=share) is None for llm in llms)
