"""The keys of one gateway: found by their hash in constant time, each with its rights, limits and rate."""

from __future__ import annotations

import datetime
import hmac
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mixllm.clock import SystemClock
from mixllm.config import GatewayConfig, KeyConfig, KeyScope, key_name
from mixllm.config.keys import ALL_SCOPES, hash_of, key_text
from mixllm.errors import ConfigError
from mixllm.gateway.rate import RequestRate
from mixllm.interfaces import Clock
from mixllm.registry import SharedRates
from mixllm.types import Secret

__all__ = ["NOBODY", "AccessKey", "KeyRing", "key_ring"]

_NOTHING = (None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """Who asks, and what may be asked.

    Parameters
    ----------
    key_id
        Name of the key that decisions, feedback and budgets know it by (``key-…``); empty where none was asked for.
    name
        What people call its holder.
    scopes
        What it opens.
    allowed_llms, trade_off, profile, max_cost_usd, max_latency_s, max_ttft_s
        See `mixllm.config.KeyConfig`.
    expires
        Last day on which it opens anything.
    rate
        Its requests a minute; None: not limited.
    """

    key_id: str
    name: str
    scopes: frozenset[KeyScope] = frozenset(ALL_SCOPES)
    allowed_llms: frozenset[str] | None = None
    trade_off: float | None = None
    profile: str | None = None
    max_cost_usd: float | None = None
    max_latency_s: float | None = None
    max_ttft_s: float | None = None
    expires: datetime.date | None = None
    rate: RequestRate | None = field(default=None, compare=False)

    @property
    def bounds_nothing(self) -> bool:
        """Whether it leaves a request as it is: every model, no taste of its own, no limit on cost or time."""
        taste = (self.allowed_llms, self.trade_off, self.profile)
        return taste == _NOTHING == (self.max_cost_usd, self.max_latency_s, self.max_ttft_s)

    def may(self, scopes: Iterable[KeyScope]) -> bool:
        """Return whether it has one of `scopes`."""
        return not self.scopes.isdisjoint(scopes)

    def allows(self, llm: str) -> bool:
        """Return whether `llm` may answer its requests."""
        return self.allowed_llms is None or llm in self.allowed_llms


NOBODY = AccessKey(key_id="", name="")
"""Who asks where no key is asked for: may do everything."""


class KeyRing:
    """Finds a key by what a client presents.

    A presented key is hashed, and its hash once more with a secret of this process; that is looked up. What the look-up
    takes depends on nothing that is secret and known outside, and not on how many keys there are.

    Parameters
    ----------
    keys
        Each key's SHA-256, and its rights.
    clock
        Tells when a key has expired.
    """

    def __init__(self, keys: Mapping[bytes, AccessKey], *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._blinding = os.urandom(32)
        self._keys = {self._blinded(digest): key for digest, key in keys.items()}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> tuple[AccessKey, ...]:
        """Every key."""
        return tuple(self._keys.values())

    def find(self, presented: str) -> AccessKey | None:
        """Return the key that was presented; None where it is none of these, or has expired."""
        key = self._keys.get(self._blinded(hash_of(presented)))
        return None if key is None or self._expired(key) else key

    def _blinded(self, digest: bytes) -> bytes:
        return hmac.digest(self._blinding, digest, "sha256")

    def _expired(self, key: AccessKey) -> bool:
        if key.expires is None:
            return False
        return datetime.datetime.fromtimestamp(self._clock.time_s(), datetime.UTC).date() > key.expires


def key_ring(
    config: GatewayConfig,
    environ: Mapping[str, str],
    *,
    clock: Clock | None = None,
    before: KeyRing | None = None,
    rates: SharedRates | None = None,
) -> KeyRing:
    """Return the ring of the keys of `config`.

    Parameters
    ----------
    config
        Its `api_keys` and `keys`.
    environ
        Where keys given as ``os.environ/NAME`` are looked up.
    clock
        Time; None takes the system's.
    before
        The ring that this one takes the place of: where a key's rate is the same, what was left of it stays.
    rates
        What other processes have admitted counts too; None: this one counts for itself.

    Raises
    ------
    ConfigError
        Where a key is listed twice, its variable is not set, or it cannot be sent in a header.
    """
    clock = clock or SystemClock()
    known = {key.key_id: key.rate for key in (before.keys if before is not None else ())}
    found = {hash_of(text): _plain(text) for text in _texts(config.api_keys, environ)}
    for entry in config.keys:
        digest = entry.digest(environ)
        if digest in found:
            raise ConfigError(f"gateway.keys: the key of {entry.name!r} is listed twice. Remove one of the entries.")
        rate = _rate(entry, f"key-{digest.hex()[:12]}", clock, known, rates)
        found[digest] = _limited(entry, digest, rate)
    return KeyRing(found, clock=clock)


def _texts(keys: Sequence[Secret], environ: Mapping[str, str]) -> list[str]:
    return [key_text(key, environ, setting="gateway.api_keys") for key in keys]


def _plain(text: str) -> AccessKey:
    name = key_name(Secret(text))
    return AccessKey(key_id=name, name=name)


def _rate(
    entry: KeyConfig,
    key_id: str,
    clock: Clock,
    known: Mapping[str, RequestRate | None],
    rates: SharedRates | None,
) -> RequestRate | None:
    limit, rate = entry.requests_per_minute, known.get(key_id)
    if limit is None or (rate is not None and rate.limit == limit):
        return None if limit is None else rate
    return RequestRate(limit=limit, clock=clock, level=None if rates is None else rates.level(key_id))


def _limited(entry: KeyConfig, digest: bytes, rate: RequestRate | None) -> AccessKey:
    return AccessKey(
        key_id=f"key-{digest.hex()[:12]}",
        name=entry.name,
        scopes=frozenset(entry.scopes),
        allowed_llms=None if entry.allowed_llms is None else frozenset(entry.allowed_llms),
        trade_off=entry.trade_off,
        profile=entry.profile,
        max_cost_usd=entry.max_cost_usd,
        max_latency_s=entry.max_latency_s,
        max_ttft_s=entry.max_ttft_s,
        expires=entry.expires,
        rate=rate,
    )
