"""Where ``mixllm state`` finds what was learned: in a running gateway, else in the store's file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mixllm.assembly import build_store
from mixllm.cli.addresses import root_url
from mixllm.cli.gateway_api import GatewayAPI, GatewayError
from mixllm.clock import SystemClock
from mixllm.config import Config
from mixllm.errors import StateError
from mixllm.interfaces import Store
from mixllm.learning.rollback import RolledBack, roll_back_store
from mixllm.learning.state_details import StateDetails, read_details
from mixllm.types import Secret, StateInfo

__all__ = ["StateSource", "open_states"]


class StateSource(Protocol):
    """Checkpoints that can be looked at and gone back to."""

    @property
    def place(self) -> str:
        """Where they are, in words."""

    def states(self) -> Sequence[StateInfo]:
        """Return what is known of every checkpoint, oldest first."""

    def details(self, version: int) -> StateDetails:
        """Return what is in one."""

    def roll_back(self, to: int | None, *, relearn: bool) -> RolledBack:
        """Go back to an earlier one."""

    def release(self, version: int) -> None:
        """Take one out of quarantine."""


class _StoredStates:
    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self.place = f"the store {name}; no gateway runs"

    def states(self) -> Sequence[StateInfo]:
        return self._store.states()

    def details(self, version: int) -> StateDetails:
        return read_details(self._store, version)

    def roll_back(self, to: int | None, *, relearn: bool) -> RolledBack:
        return roll_back_store(self._store, clock=SystemClock(), to=to, relearn=relearn)

    def release(self, version: int) -> None:
        self.details(version)  # Refuses an unknown version.
        self._store.release_state(version)


class _GatewayStates:
    def __init__(self, api: GatewayAPI) -> None:
        self._api = api
        self.place = "the running gateway"

    def states(self) -> Sequence[StateInfo]:
        return self._api.states()

    def details(self, version: int) -> StateDetails:
        return self._api.state(version)

    def roll_back(self, to: int | None, *, relearn: bool) -> RolledBack:
        return self._api.roll_back_state(to, relearn=relearn)

    def release(self, version: int) -> None:
        self._api.release_state(version)


@contextmanager
def open_states(config: Config, *, url: str | None, api_key: Secret | None) -> Iterator[StateSource]:
    """Open the checkpoints of `config`.

    A gateway that runs holds what is known in memory and has to do it itself; where none answers at the configured
    address, the store's file is opened. With `url` it is that gateway or nothing.

    Raises
    ------
    GatewayError
        Where the gateway refuses, or something else answers in its place.
    StateError
        Where there is neither.
    StoreError
        Where the file cannot be opened.
    """
    gateway = _gateway(config, url=url, api_key=api_key)
    if gateway is not None:
        yield gateway
        return
    path = Path(config.store.path)
    if config.store.kind == "memory" or (config.store.kind == "sqlite" and not path.exists()):
        what = "is in memory" if config.store.kind == "memory" else f"{path} does not exist"
        raise StateError(f"No gateway runs, and the store {what}: there is nothing to see. Start one: mixllm serve")
    store = build_store(config.store, config.learning)
    try:
        yield _StoredStates(store, store.health().place)
    finally:
        store.close()


def _gateway(config: Config, *, url: str | None, api_key: Secret | None) -> _GatewayStates | None:
    """Return the gateway that runs; None where surely none does at the configured address."""
    if url is None and config.gateway.port == 0:
        return None  # It takes any free port, so there is no address to ask at.
    api = GatewayAPI(url=url or root_url(config.gateway.host, config.gateway.port), api_key=api_key)
    try:
        api.states()
    except GatewayError as error:
        if url is None and isinstance(error.__cause__, ConnectionRefusedError):
            return None
        raise
    return _GatewayStates(api)
