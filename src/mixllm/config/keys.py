"""One entry of ``gateway.keys``: an API key by its hash, what it opens, and what its requests may ask for."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from mixllm.config.key_names import ENV_REFERENCE
from mixllm.config.section import Section, check_given
from mixllm.errors import ConfigError, InvalidValueError
from mixllm.types import Secret
from mixllm.units import non_negative, positive

__all__ = ["ALL_SCOPES", "KeyConfig", "KeyScope", "hash_of", "key_text"]

KeyScope: TypeAlias = Literal["chat", "feedback", "metrics", "admin"]

ALL_SCOPES: tuple[KeyScope, ...] = ("chat", "feedback", "metrics", "admin")

_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)


class KeyConfig(Section, frozen=True, kw_only=True):
    """An API key and its rights.

    Parameters
    ----------
    name
        What logs and the audit call its holder: letters, digits, ``_ . @ -``.
    hash
        ``sha256:`` and 64 hexadecimal digits, as ``mixllm keys create`` prints them. Either this or `key`.
    key
        The key itself, better as ``os.environ/NAME``.
    scopes
        ``chat`` (ask), ``feedback`` (judge), ``metrics`` (read ``/metrics``), ``admin`` (everything that shows or
        changes the gateway itself).
    allowed_llms
        The only LLMs that may answer its requests; None: the whole pool.
    trade_off
        λ (``lambda`` in the file) of its requests that name none.
    profile
        In place of `trade_off`: ``cost``, ``quality`` or ``fast``, as ``mixllm/auto:cost`` would ask for.
    max_cost_usd, max_latency_s, max_ttft_s
        No LLM whose forecast is above takes its requests; a request may ask for less, not for more.
    requests_per_minute
        How many requests it may send; more are answered with 429.
    expires
        Last day, in UTC, on which it opens anything.
    """

    name: str
    hash: str | None = None
    key: Secret | None = None
    scopes: tuple[KeyScope, ...] = ("chat", "feedback")
    allowed_llms: tuple[str, ...] | None = None
    trade_off: float | None = msgspec.field(default=None, name="lambda")
    profile: Literal["cost", "quality", "fast"] | None = None
    max_cost_usd: float | None = None
    max_latency_s: float | None = None
    max_ttft_s: float | None = None
    requests_per_minute: int | None = None
    expires: datetime.date | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidValueError("name", self.name, "1 to 64 letters, digits and _ . @ -")
        if (self.hash is None) is (self.key is None):
            raise InvalidValueError("key", self.key, "given, or hash, and not both")
        if self.hash is not None and not _HASH.fullmatch(self.hash):
            # Not shown: it may be the key itself, in the wrong place.
            raise InvalidValueError("hash", "***", "'sha256:' and 64 hexadecimal digits; make it with mixllm keys hash")
        if self.key is not None and not self.key.reveal().strip():
            raise InvalidValueError("key", self.key, "os.environ/NAME, or a key")
        if not self.scopes:
            raise InvalidValueError("scopes", list(self.scopes), f"some of {', '.join(ALL_SCOPES)}")
        if self.allowed_llms is not None and not self.allowed_llms:
            raise InvalidValueError("allowed_llms", [], "left out, or a list with names in it")
        if self.trade_off is not None and self.profile is not None:
            raise InvalidValueError("profile", self.profile, "left out where lambda is given")
        check_given(non_negative, self, "trade_off")
        check_given(positive, self, "max_cost_usd", "max_latency_s", "max_ttft_s", "requests_per_minute")

    def digest(self, environ: Mapping[str, str]) -> bytes:
        """Return the SHA-256 of the key; raises `ConfigError` where its variable is not set or it cannot be sent."""
        if self.hash is not None:
            return bytes.fromhex(self.hash.removeprefix("sha256:"))
        assert self.key is not None
        return hash_of(key_text(self.key, environ, setting="gateway.keys"))


def hash_of(key: str) -> bytes:
    """Return the SHA-256 of a key.

    Examples
    --------
    >>> hash_of("sk-1234").hex()[:12]
    '88dc28d0f030'
    """
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def key_text(key: Secret, environ: Mapping[str, str], *, setting: str) -> str:
    """Return the key itself, looked up where it is given as ``os.environ/NAME``.

    Raises
    ------
    ConfigError
        Where the variable is not set, or the key is empty or cannot be sent in a header; names `setting`.
    """
    text = key.reveal()
    if text.startswith(ENV_REFERENCE):
        name = text.removeprefix(ENV_REFERENCE)
        if not environ.get(name):
            raise ConfigError(f"{setting}: variable {name} is not set. Set it, or remove the entry.")
        text = environ[name]
    if not text:
        raise ConfigError(f"{setting}: a key is empty. Remove the entry, or give it a value.")
    if not (text.isascii() and text.isprintable()) or text.strip() != text:
        raise ConfigError(f"{setting}: a key holds characters that no header can carry. Correct it.")
    return text
