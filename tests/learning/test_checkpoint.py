"""Checkpoints: bytes and folders, and every way in which they can be damaged."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, World, events

from mixllm.errors import StateError
from mixllm.learning import Checkpoint, Learner
from mixllm.learning.checkpoint import SCHEMA
from mixllm.types import Price


def learner() -> Learner:
    return Learner(features=PlainFeatures(), encoding_dimension=DIMENSION, specs=SPECS)


def trained(count: int = 30) -> Checkpoint:
    made = learner()
    made.learn(events(World(1), count))
    made.snapshot()
    return made.checkpoint()


SOUND = trained()
PAYLOAD = SOUND.to_bytes()
MANIFEST_AT = PAYLOAD.index(b"{")
TENSORS_AT = PAYLOAD.index(b"}", PAYLOAD.index(b'"sha256"')) + 1


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    for name in ("version", "position", "features", "reference", "reference_price", "llms", "levels"):
        assert getattr(one, name) == getattr(other, name)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert array.dtype == other.arrays[name].dtype == np.float64
        assert np.array_equal(array, other.arrays[name])


def test_bytes_come_back_bit_by_bit() -> None:
    assert_same(Checkpoint.from_bytes(PAYLOAD), SOUND)
    assert Checkpoint.from_bytes(PAYLOAD).to_bytes() == PAYLOAD


def test_folders_come_back_bit_by_bit(tmp_path: Path) -> None:
    SOUND.to_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.safetensors"]
    assert_same(Checkpoint.from_folder(tmp_path), SOUND)
    assert b"pickle" not in (tmp_path / "state.safetensors").read_bytes()


def test_an_untrained_state_comes_back() -> None:
    empty = Learner(features=PlainFeatures(), encoding_dimension=DIMENSION).checkpoint()
    assert_same(Checkpoint.from_bytes(empty.to_bytes()), empty)
    assert empty.reference is None


@given(
    st.lists(st.text(max_size=30).filter(lambda name: name.isprintable()), unique=True, max_size=4),
    st.floats(-1e9, 1e9),
    st.integers(0, 2**62),
)
def test_any_names_and_numbers_come_back(names: list[str], level: float, position: int) -> None:
    checkpoint = Checkpoint(
        version=3,
        position=position,
        features="f",
        reference=names[0] if names else None,
        reference_price=Price(usd_per_million_tokens_in=0.1, usd_per_million_tokens_out=abs(level)),
        llms=tuple(names),
        levels=(level,) * len(names),
        arrays={"scale": np.array([level, 0.1])},
    )
    assert_same(Checkpoint.from_bytes(checkpoint.to_bytes()), checkpoint)


def test_arrays_are_found_by_prefix() -> None:
    arrays = SOUND.arrays_of("1.quality.")
    assert set(arrays) == {"gram", "moment", "sums"}
    assert arrays["gram"].shape == (DIMENSION + 1, DIMENSION + 1)
    assert SOUND.arrays_of("11.") == {}


# --- damage -----------------------------------------------------------------------------------------------------------


def refused(payload: bytes) -> None:
    with pytest.raises(StateError, match=r"[Ll]oad another checkpoint|Upgrade mixllm"):
        Checkpoint.from_bytes(payload)


def test_every_damaged_byte_of_the_manifest_is_found() -> None:
    """A digit of the position or of a level, a letter of a name: nothing may change unnoticed."""
    for place in range(TENSORS_AT):
        for flip in (0x01, 0x20):
            damaged = bytearray(PAYLOAD)
            damaged[place] ^= flip
            refused(bytes(damaged))


@given(st.integers(0, len(PAYLOAD) - 1), st.integers(1, 255))
def test_any_damaged_byte_is_found(place: int, flip: int) -> None:
    damaged = bytearray(PAYLOAD)
    damaged[place] ^= flip
    refused(bytes(damaged))


@given(st.integers(0, len(PAYLOAD) - 1))
def test_any_cut_is_found(length: int) -> None:
    refused(PAYLOAD[:length])


@given(st.binary(max_size=200), st.booleans())
def test_anything_else_is_refused(noise: bytes, after: bool) -> None:
    refused(PAYLOAD + noise + b"x" if after else noise)


def test_a_damaged_checkpoint_never_changes_a_learner() -> None:
    target = learner()
    target.learn(events(World(2), 20))
    before = target.checkpoint()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(PAYLOAD), 60):
        damaged = bytearray(PAYLOAD)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(StateError):
            target.restore(Checkpoint.from_bytes(bytes(damaged)))
    assert_same(target.checkpoint(), before)


def rewritten(**change: object) -> bytes:
    """Return the payload with another manifest, its length fitting."""
    manifest = msgspec.json.encode({**json.loads(PAYLOAD[MANIFEST_AT:TENSORS_AT]), **change})
    return PAYLOAD[: MANIFEST_AT - 8] + len(manifest).to_bytes(8, "little") + manifest + PAYLOAD[TENSORS_AT:]


def test_a_newer_format_is_refused_as_newer_whatever_it_holds() -> None:
    for change in ({}, {"levels": "other"}, {"new": 1}):
        with pytest.raises(StateError, match=f"has format {SCHEMA + 1}, newer than the {SCHEMA} .* Upgrade mixllm"):
            Checkpoint.from_bytes(rewritten(schema=SCHEMA + 1, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"position": 0},
        {"version": 99},
        {"llms": ["small", "middle", "other"]},
        {"llms": ["small", "middle"]},
        {"llms": ["small", "small", "large"]},
        {"levels": [0.9, 0.9, 0.9]},
        {"features": "other"},
        {"reference": "small"},
        {"reference_price": {"usd_per_million_tokens_in": -1, "usd_per_million_tokens_out": 1}},
        {"sha256": "0" * 64},
        {"sha256": None},
        {"schema": "1"},
    ],
)
def test_a_manifest_that_was_meddled_with_is_refused(change: dict[str, object]) -> None:
    refused(rewritten(**change))


def test_a_manifest_nested_without_end_is_refused() -> None:
    manifest = b"[" * 100_000
    refused(PAYLOAD[: MANIFEST_AT - 8] + len(manifest).to_bytes(8, "little") + manifest + PAYLOAD[TENSORS_AT:])


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"holds no readable MixLLM state .*expected state\.json"):
        Checkpoint.from_folder(tmp_path)
    for name in ("state.json", "state.safetensors"):
        SOUND.to_folder(tmp_path)
        sound = (tmp_path / name).read_bytes()
        for damaged in (b"", sound[:-10], sound.replace(b"1", b"2"), b"\xff" + sound[1:]):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(StateError, match=r"[Ll]oad another checkpoint|Upgrade mixllm"):
                Checkpoint.from_folder(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(StateError, match="holds no readable MixLLM state"):
            Checkpoint.from_folder(tmp_path)


def test_people_may_reformat_the_manifest_of_a_folder(tmp_path: Path) -> None:
    SOUND.to_folder(tmp_path)
    path = tmp_path / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")), indent=8), "utf-8")
    assert_same(Checkpoint.from_folder(tmp_path), SOUND)
    path.write_text(path.read_text("utf-8").replace('"position": 30', '"position": 3'), "utf-8")
    with pytest.raises(StateError, match="checksum does not match"):
        Checkpoint.from_folder(tmp_path)


def test_arrays_stay_out_of_reprs() -> None:
    assert "array(" not in repr(SOUND)
