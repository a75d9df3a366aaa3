"""Checks of what a store has kept of learning, wherever it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from mixllm.cli.checks.finding import Finding, ok, warn
from mixllm.errors import NewerStateError, StateError
from mixllm.interfaces import FeatureMap
from mixllm.learning import Checkpoint
from mixllm.types import LearnedState, StateInfo

__all__ = ["check_states"]


def check_states(
    *, states: Sequence[StateInfo], newest: LearnedState | None, last_seq: int, features: FeatureMap | None
) -> Iterator[Finding]:
    """Look at the checkpoints of a store.

    Parameters
    ----------
    states
        All of them, oldest first.
    newest
        The one that a start would take.
    last_seq
        The newest event.
    features
        What the configured router learns on; None where that is not known.
    """
    yield _checkpoint(newest, last_seq, features)
    aside = [info for info in states if info.quarantined is not None]
    if aside:
        yield warn(
            "quarantine",
            f"{len(aside)} checkpoints are kept and not used; version {aside[-1].version}: {aside[-1].quarantined}",
            "mixllm state list shows them; mixllm state release VERSION lets one be used.",
        )


def _checkpoint(state: LearnedState | None, last_seq: int, features: FeatureMap | None) -> Finding:
    waiting = last_seq - (0 if state is None else state.position)
    if state is None:
        return ok("checkpoint", f"none yet; {waiting} events are learned from when a gateway starts")
    when = datetime.fromtimestamp(state.created_at_s, tz=UTC).isoformat(sep=" ", timespec="seconds")
    try:
        checkpoint = Checkpoint.from_bytes(state.payload)
    except NewerStateError as error:
        return warn("checkpoint", f"version {state.version}: {error}", "Upgrade: pip install -U mixllm")
    except StateError as error:
        return warn(
            "checkpoint", f"version {state.version}: {error}", "Nothing, if it is rare: an older one is taken instead."
        )
    if features is not None and checkpoint.features != features.fingerprint:
        return warn(
            "checkpoint",
            f"version {state.version} of {when} was learned with another encoder or other tags, and is not used",
            "Configure the encoder and tags that it was learned with, or let the gateway learn afresh.",
        )
    return ok(
        "checkpoint", f"version {state.version} of {when}, {len(checkpoint.llms)} LLMs, {waiting} events after it"
    )
