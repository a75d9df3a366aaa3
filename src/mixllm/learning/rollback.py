"""Back to an earlier checkpoint: which one, under which version, and what becomes of those that came after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mixllm.errors import StateError
from mixllm.interfaces import Clock, Store
from mixllm.learning.checkpoint import Checkpoint
from mixllm.types import LearnedState, Value

__all__ = ["RolledBack", "find_earlier", "keep_earlier", "roll_back_store"]


class RolledBack(Value, frozen=True, kw_only=True):
    """What a rollback did.

    Parameters
    ----------
    source
        The version that was gone back to.
    version
        The version under which it is the newest now.
    position
        The last event that counts as learned.
    quarantined
        Versions between the two, which are not used any more.
    """

    source: int
    version: int
    position: int
    quarantined: tuple[int, ...]


def find_earlier(store: Store, to: int | None) -> tuple[int, Checkpoint]:
    """Return the checkpoint to go back to, and its version.

    Parameters
    ----------
    store
        The store.
    to
        The version; None takes the newest that knows something else than the newest.

    Raises
    ------
    StateError
        Where there is none, or the one asked for is in quarantine or damaged.
    """
    if to is not None:
        info = next((info for info in store.states() if info.version == to), None)
        state = None if info is None else store.load_state(to)
        if info is None or state is None:
            kept = ", ".join(str(version) for version in store.state_versions()) or "none"
            raise StateError(f"There is no checkpoint of version {to}. Those that may be used: {kept}.")
        if info.quarantined is not None:
            raise StateError(
                f"Checkpoint {to} is in quarantine: {info.quarantined} To use it all the same, release it first: "
                f"mixllm state release {to}"
            )
        return to, Checkpoint.from_bytes(state.payload)
    newest: Checkpoint | None = None
    for place, version in enumerate(reversed(store.state_versions())):
        checkpoint = _readable(store.load_state(version))
        if place == 0:
            newest = checkpoint
        elif checkpoint is not None and not (newest is not None and _same(newest, checkpoint)):
            return version, checkpoint
    raise StateError("There is no earlier checkpoint to go back to. mixllm state list shows what is kept.")


def keep_earlier(store: Store, source: int, state: LearnedState) -> RolledBack:
    """Keep `state`, made of the checkpoint `source`, as the newest; those in between must not be fallen back to.

    Everyone who follows the store takes it over.
    """
    store.save_state(state, announce=True)
    versions = list(store.state_versions())
    between = tuple(versions[versions.index(source) + 1 : -1]) if source in versions else ()
    for version in between:
        store.quarantine_state(
            version, f"It was rolled back to version {source}. To use it again: mixllm state release {version}"
        )
    return RolledBack(source=source, version=state.version, position=state.position, quarantined=between)


def roll_back_store(store: Store, *, clock: Clock, to: int | None = None, relearn: bool = False) -> RolledBack:
    """Go back in a store that no router has open; the next one starts from there.

    Parameters
    ----------
    store
        The store.
    clock
        Time.
    to
        Version to go back to; None takes the newest that knows something else than the newest.
    relearn
        Whether the events since then are learned again; else they count as learned, though nothing of them is known.

    Raises
    ------
    StateError
        See `find_earlier`.
    """
    source, checkpoint = find_earlier(store, to)
    version = max(info.version for info in store.states()) + 1
    position = checkpoint.position if relearn else max(store.last_seq(), checkpoint.position)
    payload = replace(checkpoint, version=version, position=position).to_bytes()
    state = LearnedState(version=version, position=position, created_at_s=clock.time_s(), payload=payload)
    return keep_earlier(store, source, state)


def _readable(state: LearnedState | None) -> Checkpoint | None:
    try:
        return None if state is None else Checkpoint.from_bytes(state.payload)
    except StateError:
        return None


def _same(one: Checkpoint, other: Checkpoint) -> bool:
    return one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(array, other.arrays[name]) for name, array in one.arrays.items()
    )
