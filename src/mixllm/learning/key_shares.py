"""How much one API key may teach: no key outvotes the others by sending more."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.units import non_negative, positive

__all__ = ["KeyShares"]

_MAX_KEYS = 256
_OTHER_KEYS = "*"
"""Keys beyond 256 are taken for one."""

_UNKNOWN = ""
"""Who sends feedback without a key: the library itself, or a gateway that asks for none."""

_EVERY_LLM = ""
_ACTIVE = 1.0
_FORGOTTEN = 1e-3
_MAX_WEIGHT = 1e15


@dataclass(slots=True)
class _Ledger:
    """Decayed weights of what each key wanted to teach of one LLM, and what it taught."""

    at_s: float = 0.0
    asked: dict[str, float] = field(default_factory=dict)
    taught: dict[str, float] = field(default_factory=dict)

    def advance(self, at_s: float, window_s: float) -> None:
        if at_s <= self.at_s:
            return
        kept = math.exp((self.at_s - at_s) / window_s)
        self.asked = {key: kept * amount for key, amount in self.asked.items() if kept * amount > _FORGOTTEN}
        self.taught = {key: kept * amount for key, amount in self.taught.items() if kept * amount > _FORGOTTEN}
        self.at_s = at_s

    def add(self, key: str, *, asked: float, taught: float) -> None:
        self.asked[key] = self.asked.get(key, 0.0) + asked
        self.taught[key] = self.taught.get(key, 0.0) + taught


class KeyShares:
    """Bounds what one API key can teach of one LLM.

    Parameters
    ----------
    max_share
        Largest share that one key has of what is taught of an LLM, above 0; 1 switches the bound off.
    min_judgements
        What every key may teach of an LLM in any case.
    window_s
        Time in which what was taught falls to 1/e.
    unbounded
        Names of keys that may teach without bound, as `Feedback.key_id` has them.

    Notes
    -----
    With O the decayed weight of what all others wanted to teach of the LLM, a key teaches at most
    max(min_judgements, s/(1 − s) · O), where s is `max_share` or an equal share of the keys that are in use, whichever
    is larger. It is O, not the whole, so that no key raises its own bound by sending more, and what they wanted to
    teach, so that a key that is bounded does not bound the others further. One key alone has no bound. Time frees the
    bound again, not traffic, which a key could make itself. Feedback without a key is not bounded, and counts as one
    key.

    Examples
    --------
    >>> shares = KeyShares(max_share=0.2, min_judgements=5)
    >>> honest = [shares.grant("small", key, 1.0, at_s=0.0) for key in "abcd" * 5]
    >>> farmed = [shares.grant("small", "e", 1.0, at_s=0.0) for _ in range(100)]
    >>> sum(honest), sum(farmed)
    (20.0, 5.0)
    """

    def __init__(
        self,
        *,
        max_share: float = 0.2,
        min_judgements: float = 50.0,
        window_s: float = 86_400.0,
        unbounded: Collection[str] = (),
    ) -> None:
        if not 0 < max_share <= 1:
            raise InvalidValueError("max_share", max_share, "above 0, at most 1")
        self.max_share = max_share
        self.min_judgements = non_negative("min_judgements", min_judgements)
        self.window_s = positive("window_s", window_s)
        self.unbounded = frozenset(unbounded)
        self._ledgers: dict[str, _Ledger] = {}

    def grant(self, llm: str, key_id: str, weight: float, *, at_s: float) -> float:
        """Return how much of `weight` a judgement may count, and remember it.

        Parameters
        ----------
        llm
            Whose answer is judged.
        key_id
            Who judges; empty where nobody knows.
        weight
            What the judgement would count, >= 0.
        at_s
            Unix time; one before the last counts as the last.
        """
        if weight <= 0.0:
            return 0.0
        everywhere, here = self._ledger(_EVERY_LLM), self._ledger(llm)
        everywhere.advance(at_s, self.window_s)
        here.advance(at_s, self.window_s)
        key = self._known(key_id, everywhere)
        everywhere.add(key, asked=weight, taught=0.0)
        granted = weight
        if key != _UNKNOWN:
            granted = min(weight, max(0.0, self._bound(key, everywhere, here) - here.taught.get(key, 0.0)))
        here.add(key, asked=weight, taught=granted)
        return granted

    def bounds(self, llm: str, key_id: str) -> bool:
        """Return whether there is a bound on what this key may teach of an LLM now."""
        everywhere, here = self._ledger(_EVERY_LLM), self._ledger(llm)
        key = self._known(key_id, everywhere)
        return key != _UNKNOWN and math.isfinite(self._bound(key, everywhere, here))

    def merge(self, other: Self) -> None:
        """Add what the keys taught `other`."""
        for llm, theirs in other._ledgers.items():
            mine = self._ledger(llm)
            mine.advance(theirs.at_s, self.window_s)
            kept = math.exp((theirs.at_s - mine.at_s) / self.window_s)
            for key, asked in theirs.asked.items():
                mine.add(self._known(key, mine), asked=kept * asked, taught=kept * theirs.taught.get(key, 0.0))

    def state(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, tuple[str, ...]]]:
        """Return arrays over LLMs and keys, and the names of both."""
        llms = tuple(self._ledgers)
        keys = tuple(sorted({key for ledger in self._ledgers.values() for key in ledger.asked}))
        rows = list(self._ledgers.values())
        return (
            {
                "at_s": np.array([row.at_s for row in rows], np.float64),
                "asked": _table([row.asked for row in rows], keys),
                "taught": _table([row.taught for row in rows], keys),
            },
            {"llms": llms, "keys": keys},
        )

    def cleared(self) -> Self:
        """Return shares with the same bounds, of which nothing is taken."""
        return type(self)(
            max_share=self.max_share,
            min_judgements=self.min_judgements,
            window_s=self.window_s,
            unbounded=self.unbounded,
        )

    def load_state(self, arrays: Mapping[str, NDArray[np.float64]], names: Mapping[str, Sequence[str]]) -> None:
        """Replace the state; raises `StateError` where it is damaged, and leaves it as it was."""
        llms, keys = tuple(names.get("llms", ())), tuple(names.get("keys", ()))
        shapes = {"at_s": (len(llms),), "asked": (len(llms), len(keys)), "taught": (len(llms), len(keys))}
        found = {name: arrays.get(name, np.zeros(0 if name == "at_s" else (0, 0))) for name in shapes}
        for name, shape in shapes.items():
            sound = found[name].shape == shape and (np.abs(found[name]) < _MAX_WEIGHT).all()
            if not sound or (name != "at_s" and found[name].min(initial=0.0) < 0):
                raise StateError(f"The state of the API keys' shares ({name}) is damaged. Load another checkpoint.")
        self._ledgers = {
            llm: _Ledger(at_s=at_s, asked=_entries(keys, asked), taught=_entries(keys, taught))
            for llm, at_s, asked, taught in zip(
                llms, found["at_s"].tolist(), found["asked"], found["taught"], strict=True
            )
        }

    def _ledger(self, llm: str) -> _Ledger:
        return self._ledgers.setdefault(llm, _Ledger())

    def _known(self, key_id: str, ledger: _Ledger) -> str:
        if key_id in self.unbounded:
            return _UNKNOWN
        return key_id if key_id in ledger.asked or len(ledger.asked) < _MAX_KEYS else _OTHER_KEYS

    def _bound(self, key: str, everywhere: _Ledger, here: _Ledger) -> float:
        active = sum(asked >= _ACTIVE for name, asked in everywhere.asked.items() if name != key) + 1
        share = max(self.max_share, 1.0 / active)
        if share >= 1.0:
            return math.inf
        others = sum(here.asked.values()) - here.asked.get(key, 0.0)
        return max(self.min_judgements, share / (1.0 - share) * others)


def _table(rows: Sequence[Mapping[str, float]], keys: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[row.get(key, 0.0) for key in keys] for row in rows], np.float64).reshape(len(rows), len(keys))


def _entries(keys: Sequence[str], amounts: NDArray[np.float64]) -> dict[str, float]:
    return {key: float(amount) for key, amount in zip(keys, amounts, strict=True) if amount > 0}
