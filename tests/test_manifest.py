"""Sealed manifests."""

from __future__ import annotations

import json

import msgspec
import pytest

from mixllm.errors import StateError
from mixllm.manifest import open_manifest, seal_manifest


class Old(msgspec.Struct, frozen=True):
    schema: int
    size: float
    names: frozenset[str] = frozenset()


class Later(msgspec.Struct, frozen=True):
    """What a later version makes of it: one field more."""

    schema: int
    size: float
    colour: str = "blue"


SEALED = seal_manifest(Old(schema=2, size=0.1, names=frozenset("abc")), b"one", b"two")


def opened(sealed: bytes, *parts: bytes, exact: bool = False) -> Old:
    return open_manifest(sealed, *(parts or (b"one", b"two")), kind=Old, schema=2, name="m.json", exact=exact)


def test_what_was_sealed_is_opened() -> None:
    assert opened(SEALED) == opened(SEALED, exact=True) == Old(schema=2, size=0.1, names=frozenset("abc"))


def test_a_later_version_with_more_fields_still_opens_it() -> None:
    later = open_manifest(SEALED, b"one", b"two", kind=Later, schema=3, name="m.json")
    assert (later.size, later.colour) == (0.1, "blue")


def test_reformatting_is_damage_only_where_it_must_be_exact() -> None:
    pretty = json.dumps(json.loads(SEALED), indent=4, sort_keys=True).encode()
    assert opened(pretty) == opened(SEALED)
    with pytest.raises(StateError, match=r"m\.json is damaged\. Load another"):
        opened(pretty, exact=True)


@pytest.mark.parametrize("parts", [(b"one", b"twO"), (b"one",), (b"one", b"two", b"three")])
def test_changed_parts_are_found(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(StateError, match="checksum does not match"):
        opened(SEALED, *parts)


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"null",
        b"3",
        b"[]",
        b"{}",
        b'{"schema": 2}',
        b'{"schema": "2", "sha256": ""}',
        b'{"schema": null, "sha256": 3}',
        b"\xff",
        b"[" * 100_000,
        SEALED.replace(b"0.1", b"0.2"),
        SEALED.replace(b'"size"', b'"sizE"'),
        SEALED[:-1],
    ],
)
def test_damage_is_found(sealed: bytes) -> None:
    with pytest.raises(StateError, match=r"^m\.json .*[Ll]oad another checkpoint"):
        opened(sealed)


def test_a_sound_seal_of_something_else_is_refused() -> None:
    with pytest.raises(StateError, match="cannot be read"):
        open_manifest(seal_manifest(Later(schema=1, size=2.0)), kind=_Other, schema=2, name="m.json")


class _Other(msgspec.Struct):
    schema: int
    weight: int


def test_a_newer_format_is_refused_as_newer() -> None:
    for sealed in (b'{"schema": 3}', seal_manifest(Later(schema=3, size=1.0))):
        with pytest.raises(StateError, match=r"has format 3, newer than the 2 that this version reads\. Upgrade"):
            opened(sealed)
