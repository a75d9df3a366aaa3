"""The SQLite store: bytes of the file changed; it opens or refuses, and what it tells is what was stored."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.fuzzing.mutations import mutated
from benchmarks.fuzzing.target import WrongError, scratch
from mixllm.conformance.store_samples import sample_feedback, sample_outcome, sample_record
from mixllm.errors import StateError, StoreError
from mixllm.learning import Checkpoint
from mixllm.store import SQLiteStore
from mixllm.types import LearnedState, LLMSpec, PoolChange

__all__ = ["StoresTarget"]

_WORDS = (b"SQLite format 3\x00", b"{", b'"', b"null", b"[]", b"\x00\x00\x00\x01", b"\x0d", b"\x05", b"\x02", b"\x0a")


class StoresTarget:
    """`SQLiteStore`: a file that is damaged is a `StoreError`, wherever the damage is."""

    name = "stores"

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        self._temporary = scratch()
        self._path = Path(self._temporary.name) / "mixllm.db"
        checkpoint = Checkpoint(
            version=1,
            position=2,
            features="f",
            reference=None,
            reference_price=None,
            llms=("a",),
            levels=(0.5,),
            arrays={"0.x": np.arange(50.0)},
        )
        self._payload = checkpoint.to_bytes()
        store = SQLiteStore(path=self._path, max_commit_delay_s=0.0)
        for number in range(3):
            record = sample_record(number, prompt="x" * 50)
            store.append_decision(record)
            store.append_outcome(sample_outcome(record))
            store.append_feedback(sample_feedback(record, f"f{number}")).result(20)
        store.append_pool_change(PoolChange(spec=LLMSpec(name="a"), active=True, created_at_s=1.0))
        store.save_state(LearnedState(version=1, position=2, created_at_s=0.0, payload=self._payload))
        store.close()
        self._whole = self._path.read_bytes()

    def close(self) -> None:
        """Remove its files."""
        self._temporary.cleanup()

    def make(self, rng: np.random.Generator) -> bytes:
        """Return the file with other bytes; in most cases of the same length."""
        if rng.random() < 0.3:
            return mutated(self._whole, rng, words=_WORDS, most=3)
        changed = bytearray(self._whole)
        places = np.flatnonzero(np.frombuffer(self._whole, np.uint8))
        for _ in range(int(rng.integers(1, 9))):
            # What is not zero: most of a small database is empty pages.
            changed[int(places[int(rng.integers(len(places)))])] = int(rng.integers(256))
        return bytes(changed)

    def check(self, case: bytes, rng: np.random.Generator) -> str:
        """Open the file, read all of it, write to it, and close it."""
        del rng
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._path}{ending}").unlink(missing_ok=True)
        self._path.write_bytes(case)
        try:
            store = SQLiteStore(path=self._path, max_commit_delay_s=0.0, busy_timeout_s=0.0)
        except StoreError:
            return "refused"
        try:
            return self._used(store)
        finally:
            with suppress(StoreError):
                store.close()

    def _used(self, store: SQLiteStore) -> str:
        outcome = "read"
        for read in (
            store.decisions,
            lambda: [store.decision(f"d{number:08d}") for number in range(3)],
            lambda: store.events_after(0),
            lambda: store.spent_usd(since_s=0.0),
            store.pool_changes,
            lambda: store.placed_changes(0),
            store.states,
            store.counts,
            lambda: self._state(store),
        ):
            try:
                msgspec.to_builtins(read())
            except StoreError:
                outcome = "read in part"
        record = sample_record(7)
        try:
            store.append_decision(record)
            store.append_outcome(sample_outcome(record))
            store.append_feedback(sample_feedback(record, "f7")).result(20)
            store.flush()
        except StoreError:
            return outcome
        return f"{outcome} and written"

    def _state(self, store: SQLiteStore) -> None:
        state = store.load_state()
        if state is None:
            return
        with suppress(StateError):
            Checkpoint.from_bytes(state.payload)
            if state.payload != self._payload:
                raise WrongError("a changed state was read as if it were none")
