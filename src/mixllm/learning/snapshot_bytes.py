"""Snapshots as bytes, for processes that decide and do not learn: arrays, a header and a checksum, never pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mixllm.errors import InvalidValueError, StateError
from mixllm.learning.dynamic_feedback import FrozenScores
from mixllm.learning.known_queries import Surroundings
from mixllm.learning.learner import Learner
from mixllm.learning.snapshot import Snapshot
from mixllm.predictors import BillingFactors, FrozenDensity, LatencyForecast, LinearBank, PaceBank
from mixllm.types import LLMSpec

__all__ = ["snapshot_from_bytes", "snapshot_to_bytes"]

_DIGEST_BYTES = 32
_LENGTH_BYTES = 8
_BANKS = ("quality", "length")
_SCORES = tuple(FrozenScores.__slots__)
_AGAIN = "The learner sends it again."

_Arrays = dict[str, NDArray[Any]]


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """All of a snapshot that is no array.

    `after` is the version of the snapshot whose covariances hold where none is told; None: all of them are.
    """

    features: str
    version: int
    position: int
    after: int | None
    specs: tuple[LLMSpec, ...]
    latency: tuple[LatencyForecast, ...]
    judgements: tuple[float, ...]
    answers: tuple[float, ...]
    spent_usd: tuple[float, ...]
    newcomer: tuple[bool, ...]
    cost_scale_usd: float


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Header)


def snapshot_to_bytes(snapshot: Snapshot, *, features: str, after: Snapshot | None = None) -> bytes:
    """Return `snapshot` as one string of bytes.

    Parameters
    ----------
    snapshot
        The snapshot.
    features
        Fingerprint of what it was learned on (see `Learner.fingerprint`).
    after
        One that the reader has: covariances that are the same in both, by far the most of it, are left out.
    """
    if after is not None and any(
        getattr(after, part).covariances.shape != getattr(snapshot, part).covariances.shape for part in _BANKS
    ):
        after = None
    arrays: _Arrays = {"billing.means": snapshot.billing.means, "billing.scatter": snapshot.billing.residual_variances}
    for part in _BANKS:
        bank: LinearBank = getattr(snapshot, part)
        arrays |= {f"{part}.means": bank.means, f"{part}.scatter": bank.residual_variances}
        arrays |= _changed(part, bank, None if after is None else getattr(after, part))
    if snapshot.pace is not None:
        arrays["pace.means"] = snapshot.pace.means
    if snapshot.dynamic is not None:
        arrays |= {f"dynamic.{name}": getattr(snapshot.dynamic, name) for name in _SCORES}
    if (around := snapshot.surroundings) is not None:
        arrays |= {f"density.{name}": array for name, array in around.density.arrays().items()}
        arrays |= {"around.levels": around.levels, "around.spreads": around.spreads}
    header = _ENCODER.encode(
        _Header(
            features=features,
            version=snapshot.version,
            position=snapshot.position,
            after=None if after is None else after.version,
            specs=snapshot.specs,
            latency=snapshot.latency,
            judgements=snapshot.judgements,
            answers=snapshot.answers,
            spent_usd=snapshot.spent_usd,
            newcomer=snapshot.newcomer,
            cost_scale_usd=snapshot.cost_scale_usd,
        )
    )
    tensors = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return b"".join((_digest(header, tensors), len(header).to_bytes(_LENGTH_BYTES, "little"), header, tensors))


def snapshot_from_bytes(content: bytes, *, learner: Learner, after: Snapshot | None = None) -> Snapshot:
    """Return the snapshot that `snapshot_to_bytes` was given.

    Parameters
    ----------
    content
        The bytes.
    learner
        Has the bases that the snapshot does not carry; nothing of it changes.
    after
        What the writer was told that the reader has.

    Raises
    ------
    StateError
        Where the bytes are damaged, rest on another snapshot than `after`, or were learned on other features.
    """
    header, arrays = _opened(content)
    if header.features != learner.fingerprint:
        raise StateError(
            f"The process that learns has the features {header.features!r}, but this one has {learner.fingerprint!r}. "
            "The configuration has changed: restart the gateway."
        )
    if header.after is not None and (after is None or after.version != header.after):
        raise StateError(f"A snapshot rests on another, {header.after}, that is not the last one here. {_AGAIN}")
    earlier = after if header.after is not None else None
    quality_base, length_base = learner.base_banks([spec.name for spec in header.specs])
    try:
        return Snapshot(
            version=header.version,
            position=header.position,
            specs=header.specs,
            quality=_bank("quality", arrays, None if earlier is None else earlier.quality),
            length=_bank("length", arrays, None if earlier is None else earlier.length),
            billing=BillingFactors(means=arrays["billing.means"], residual_variances=arrays["billing.scatter"]),
            quality_base=quality_base,
            length_base=length_base,
            latency=header.latency,
            pace=PaceBank(arrays["pace.means"]) if "pace.means" in arrays else None,
            judgements=header.judgements,
            answers=header.answers,
            newcomer=header.newcomer,
            spent_usd=header.spent_usd,
            surroundings=_surroundings(arrays),
            cost_scale_usd=header.cost_scale_usd,
            dynamic=FrozenScores(**_within(arrays, "dynamic.")) if "dynamic.reach" in arrays else None,
        )
    except (KeyError, IndexError, ValueError, InvalidValueError) as error:
        raise StateError(f"A snapshot's arrays do not fit together ({error}). {_AGAIN}") from error


def _digest(header: bytes, tensors: bytes) -> bytes:
    digest = hashlib.blake2b(header, digest_size=_DIGEST_BYTES)
    digest.update(tensors)
    return digest.digest()


def _opened(content: bytes) -> tuple[_Header, _Arrays]:
    start = _DIGEST_BYTES + _LENGTH_BYTES
    end = start + int.from_bytes(content[_DIGEST_BYTES:start], "little")
    header, tensors = content[start:end], content[end:]
    if content[:_DIGEST_BYTES] != _digest(header, tensors):
        raise StateError(f"A snapshot is damaged: its checksum does not match its content. {_AGAIN}")
    try:
        return _DECODER.decode(header), load(tensors)
    except (msgspec.MsgspecError, SafetensorError) as error:
        raise StateError(f"A snapshot cannot be read ({error}). {_AGAIN}") from error


def _changed(part: str, bank: LinearBank, earlier: LinearBank | None) -> _Arrays:
    """Return the covariances of the LLMs that have learned since, and which those are; all without an earlier bank."""
    if earlier is None:
        return {f"{part}.covariances": bank.covariances}
    if earlier is bank:
        return {}
    rows = np.flatnonzero((bank.covariances != earlier.covariances).any(axis=(1, 2)))
    return {f"{part}.rows": rows, f"{part}.covariances": bank.covariances[rows]} if len(rows) else {}


def _bank(part: str, arrays: _Arrays, earlier: LinearBank | None) -> LinearBank:
    told = arrays.get(f"{part}.covariances")
    if earlier is None:
        covariances = arrays[f"{part}.covariances"]
    elif told is None:
        covariances = earlier.covariances
    else:
        covariances = earlier.covariances.copy()
        covariances[arrays[f"{part}.rows"]] = told
    return LinearBank(
        means=arrays[f"{part}.means"], covariances=covariances, residual_variances=arrays[f"{part}.scatter"]
    )


def _surroundings(arrays: _Arrays) -> Surroundings | None:
    if "around.levels" not in arrays:
        return None
    density = FrozenDensity.from_arrays(_within(arrays, "density."))
    return Surroundings(density=density, levels=arrays["around.levels"], spreads=arrays["around.spreads"])


def _within(arrays: Mapping[str, NDArray[Any]], prefix: str) -> _Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
