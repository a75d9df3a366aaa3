"""JSON manifests that carry the checksum of their content and of what belongs to them."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from mixllm.errors import NewerStateError, StateError

__all__ = ["open_manifest", "seal_manifest"]

_ManifestT = TypeVar("_ManifestT", bound=msgspec.Struct)
_CHECKSUM = "sha256"


def seal_manifest(manifest: msgspec.Struct, *parts: bytes) -> bytes:
    """Return `manifest` as JSON, with a checksum of its content and of `parts`.

    Examples
    --------
    >>> class Shape(msgspec.Struct):
    ...     schema: int
    ...     size: int
    >>> sealed = seal_manifest(Shape(schema=1, size=3), b"data")
    >>> open_manifest(sealed, b"data", kind=Shape, schema=1, name="shape.json").size
    3
    >>> open_manifest(sealed.replace(b"3", b"4", 1), b"data", kind=Shape, schema=1, name="shape.json")
    Traceback (most recent call last):
    mixllm.errors.StateError: shape.json is damaged: its checksum does not match its content. Load another checkpoint.
    """
    content = msgspec.json.decode(msgspec.json.encode(manifest))
    content[_CHECKSUM] = _checksum(content, parts)
    return msgspec.json.encode(content)


def open_manifest(
    sealed: bytes,
    *parts: bytes,
    kind: type[_ManifestT],
    schema: int,
    name: str,
    exact: bool = False,
    advice: str = "Load another checkpoint.",
) -> _ManifestT:
    """Return what `seal_manifest` was given.

    Parameters
    ----------
    sealed, parts
        The JSON, and what belongs to it.
    kind
        What the manifest is; it has a field ``schema``.
    schema
        The newest format that is understood.
    name
        What errors call it.
    exact
        Whether also a change that means the same (a space, ``1e5`` for ``1E5``) is damage; otherwise people may
        reformat the JSON.
    advice
        What the user can do where it is damaged.

    Raises
    ------
    NewerStateError
        Where it is newer.
    StateError
        Where it is damaged.

    Notes
    -----
    The checksum is that of the JSON's content, not of the values that this version makes of it, so that a field which
    a later version adds does not make earlier manifests look damaged.
    """
    try:
        content = msgspec.json.decode(sealed)
        version = content["schema"]
        if isinstance(version, int) and version > schema:
            raise NewerStateError(
                f"{name} has format {version}, newer than the {schema} that this version reads. Upgrade mixllm."
            )
        if content.pop(_CHECKSUM) != _checksum(content, parts):
            raise StateError(f"{name} is damaged: its checksum does not match its content. {advice}")
        if exact and msgspec.json.encode(msgspec.json.decode(sealed)) != sealed:
            raise StateError(f"{name} is damaged. {advice}")
        return msgspec.json.decode(sealed, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{name} cannot be read ({error}). It is damaged. {advice}") from error


def _checksum(content: dict[str, object], parts: tuple[bytes, ...]) -> str:
    digest = hashlib.sha256(msgspec.json.encode({**content, _CHECKSUM: ""}, order="sorted"))
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
