"""What every section of the configuration is."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

__all__ = ["Section", "check_given"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the sections: frozen, keyword-only, and unknown keys are refused."""


def check_given(check: Callable[[str, float], float], section: Section, *keys: str) -> None:
    """Run `check` on those of `keys` that are given, i.e. not None."""
    for key in keys:
        value = getattr(section, key)
        if value is not None:
            check(key, value)
