"""The pool of a router, and the snapshot that decisions are made from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from mixllm.errors import DuplicateLLMError, UnknownLLMError
from mixllm.interfaces import Clock, Store
from mixllm.learning import Learner, Snapshot
from mixllm.types import LLMSpec, PoolChange, Price, Value

__all__ = ["PoolDifference", "RoutedPool"]


class PoolDifference(Value, frozen=True, kw_only=True):
    """Names of the LLMs that came, changed and went."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class RoutedPool:
    """LLMs that come and go, each change kept in the store and published at once; thread-safe.

    Parameters
    ----------
    learner
        Holds the pool and everything learned.
    store
        Where the changes of the pool live; those that it has are made again.
    clock
        Time.
    price
        Gives a spec its price, or raises `UnknownPriceError`.
    """

    def __init__(self, *, learner: Learner, store: Store, clock: Clock, price: Callable[[LLMSpec], LLMSpec]) -> None:
        self.learner = learner
        self.store = store
        self.clock = clock
        self._price = price
        self._pool_lock = threading.Lock()
        self._publish_lock = threading.Lock()
        self._swaps = 0
        self._configured = {spec.name: spec for spec in learner.specs}
        self._followed: dict[str, PoolChange] = {}
        self._replay_pool_changes()
        self._snapshot = learner.snapshot()

    @property
    def snapshot(self) -> Snapshot:
        """What decisions are made from now."""
        return self._snapshot

    @property
    def swaps(self) -> int:
        """How often a new snapshot took the place of another."""
        return self._swaps

    @property
    def llms(self) -> tuple[LLMSpec, ...]:
        """The LLMs of the pool, each with its price."""
        return self._snapshot.specs

    def llm(self, name: str) -> LLMSpec:
        """Return the LLM of that name; raises `UnknownLLMError`."""
        for spec in self._snapshot.specs:
            if spec.name == name:
                return spec
        raise UnknownLLMError(name, [spec.name for spec in self._snapshot.specs])

    def add_llm(self, spec: LLMSpec) -> LLMSpec:
        """Add an LLM; it can be chosen as soon as the call returns. Return it with its price.

        Nothing is trained: it starts from what the pool has in common and what its price suggests. One that was
        removed before continues with what was learned of it.

        Raises
        ------
        DuplicateLLMError
            Where the pool has an LLM of that name.
        UnknownPriceError
            Where its price is neither given nor listed.
        """
        with self._pool_lock:
            if any(known.name == spec.name for known in self._snapshot.specs):
                raise DuplicateLLMError(spec.name)
            return self._put(self._price(spec))

    def update_llm(self, spec: LLMSpec) -> LLMSpec:
        """Replace what is known of an LLM of the pool: its price, its endpoint, its limits. Return it with its price.

        The next decision knows it. What was learned of the LLM stays, and so do the forecasts of all others and the
        scale of cost. Calls that were decided before are billed at the price of then.

        Raises
        ------
        UnknownLLMError
            Where the pool has no LLM of that name.
        UnknownPriceError
            Where its price is neither given nor listed.
        """
        with self._pool_lock:
            self.llm(spec.name)
            return self._put(self._price(spec))

    def set_price(self, name: str, price: Price) -> LLMSpec:
        """Give an LLM of the pool another price; see `update_llm`."""
        with self._pool_lock:
            return self._put(msgspec.structs.replace(self.llm(name), price=price))

    def put_pool(self, specs: Sequence[LLMSpec]) -> PoolDifference:
        """Have the pool that a changed configuration describes; all of it can be chosen from at once.

        What was added, changed or removed at run time stays so, unless its entry in the configuration has changed.

        Raises
        ------
        UnknownPriceError
            Where a price is neither given nor listed; nothing has changed then.
        """
        with self._pool_lock:
            before, after = self._configured, {spec.name: self._price(spec) for spec in specs}
            there = {spec.name for spec in self._snapshot.specs}
            fresh = [spec for name, spec in after.items() if spec != before.get(name)]
            gone = [name for name in before if name not in after and name in there]
            self._configured = after
            with self._publish_lock:  # Also what the worker learns meanwhile is published with all of it, or before.
                try:
                    for spec in fresh:
                        self.learner.put_llm(spec, at_s=self._keep(spec, active=True))
                    for name in gone:
                        self._keep(self.llm(name), active=False)
                        self.learner.drop_llm(name)
                finally:
                    self._swap(self.learner.snapshot())
        return PoolDifference(
            added=tuple(spec.name for spec in fresh if spec.name not in there),
            changed=tuple(spec.name for spec in fresh if spec.name in there),
            removed=tuple(gone),
        )

    def remove_llm(self, name: str) -> None:
        """Remove an LLM; no decision made after the call returns chooses it. What was learned of it is kept.

        Raises
        ------
        UnknownLLMError
            Where the pool has no LLM of that name.
        """
        with self._pool_lock:
            spec = self.llm(name)
            self._keep(spec, active=False)
            self.learner.drop_llm(name)
            self._publish(self.learner.snapshot())

    def follow(self) -> int:
        """Make the changes that other processes on the same store have made to the pool; return how many there were.

        Raises
        ------
        StoreError
            Where the store cannot be read.
        """
        with self._pool_lock:
            news = [change for change in self.store.pool_changes() if self._followed.get(change.spec.name) != change]
            for change in news:
                self._followed[change.spec.name] = change
                if change.active:
                    self.learner.put_llm(self._price(change.spec), at_s=change.created_at_s)
                elif change.spec.name in self.learner.llms:
                    self.learner.drop_llm(change.spec.name)
            if news:
                self._publish(self.learner.snapshot())
            return len(news)

    def _put(self, spec: LLMSpec) -> LLMSpec:
        self.learner.put_llm(spec, at_s=self._keep(spec, active=True))
        self._publish(self.learner.snapshot())
        return spec

    def _keep(self, spec: LLMSpec, *, active: bool) -> float:
        at_s = self.clock.time_s()
        configured = self._configured.get(spec.name)
        change = PoolChange(spec=spec, active=active, created_at_s=at_s, configured=configured)
        self.store.append_pool_change(change)
        self._followed[spec.name] = change
        return at_s

    def _publish(self, snapshot: Snapshot) -> None:
        # The worker and a pool change may publish at the same time; the newer version wins.
        with self._publish_lock:
            self._swap(snapshot)

    def _swap(self, snapshot: Snapshot) -> None:
        if snapshot.version > self._snapshot.version:
            self._snapshot = snapshot
            self._swaps += 1

    def _replay_pool_changes(self) -> None:
        for change in self.store.pool_changes():
            self._followed[change.spec.name] = change
            configured = self._configured.get(change.spec.name)
            edited = configured is not None and configured != change.configured
            if change.active and not edited:
                self.learner.put_llm(self._price(change.spec), at_s=change.created_at_s)
            elif change.spec.name not in self.learner.llms:
                self.learner.put_llm(self._price(change.spec))
            if not change.active and not (edited and change.configured is None):
                # It had no entry then: what gives it one now wants it.
                # Put before: events of a removed LLM go on teaching, as they did before the restart.
                self.learner.drop_llm(change.spec.name)
