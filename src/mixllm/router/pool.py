"""The pool of a router, and the snapshot that decisions are made from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from mixllm.errors import DuplicateLLMError, UnknownLLMError
from mixllm.interfaces import Clock, Store
from mixllm.learning import Learner, LearningWorker, Snapshot
from mixllm.types import LLMSpec, PoolChange, Price, Value

__all__ = ["PoolDifference", "RoutedPool"]


class PoolDifference(Value, frozen=True, kw_only=True):
    """Names of the LLMs that came, changed and went."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class RoutedPool:
    """LLMs that come and go, each change kept in the store and made from there; thread-safe.

    Whoever follows the store makes the change too, at the same place among the events: other gateways on the same store
    within a second, this one before the call that changes the pool returns.

    Parameters
    ----------
    learner
        Holds the pool and everything learned.
    store
        Where the changes of the pool live; those that it has are made again by the worker.
    clock
        Time.
    price
        Gives a spec its price, or raises `UnknownPriceError`.

    Attributes
    ----------
    worker
        Follows the store; whoever makes the pool sets it.
    """

    worker: LearningWorker

    def __init__(self, *, learner: Learner, store: Store, clock: Clock, price: Callable[[LLMSpec], LLMSpec]) -> None:
        self.learner = learner
        self.store = store
        self.clock = clock
        self._price = price
        self._pool_lock = threading.Lock()
        self._publish_lock = threading.Lock()
        self._swaps = 0
        self._configured = {spec.name: spec for spec in learner.specs}
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
            try:
                with self.worker.paused():  # All of it becomes the pool at once.
                    for spec in fresh:
                        self._append(spec, active=True)
                    for name in gone:
                        self._append(self.llm(name), active=False)
            finally:
                self.worker.catch_up()
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

    def _put(self, spec: LLMSpec) -> LLMSpec:
        self._keep(spec, active=True)
        return spec

    def _keep(self, spec: LLMSpec, *, active: bool) -> None:
        self._append(spec, active=active)
        self.worker.catch_up()

    def _append(self, spec: LLMSpec, *, active: bool) -> None:
        configured = self._configured.get(spec.name)
        change = PoolChange(spec=spec, active=active, created_at_s=self.clock.time_s(), configured=configured)
        self.store.append_pool_change(change)

    def _publish(self, snapshot: Snapshot) -> None:
        # The worker and a pool change may publish at the same time; the newer version wins.
        with self._publish_lock:
            if snapshot.version > self._snapshot.version:
                self._snapshot = snapshot
                self._swaps += 1

    def _make_change(self, change: PoolChange, live: bool) -> None:
        """Make a change that the store tells of; of before the start where it is not `live`."""
        name = change.spec.name
        configured = self._configured.get(name)
        edited = not live and configured is not None and configured != change.configured
        if change.active and not edited:
            self.learner.put_llm(self._price(change.spec), at_s=change.created_at_s)
        elif name not in self.learner.llms:
            self.learner.put_llm(self._price(change.spec))
        if not change.active and not (edited and change.configured is None):
            # It had no entry then: what gives it one now wants it.
            # Put before: events of a removed LLM go on teaching, as they did before the restart.
            self.learner.drop_llm(name)
