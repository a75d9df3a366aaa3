"""Every encoder passes the suite, at its defaults and off them; broken ones do not."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.encoders.small_model import small_mapping, small_table, small_tokenizer, small_weights, write_folder

from mixllm.conformance.encoder import ENCODER_CHECKS, check_encoder
from mixllm.encoders import HashingEncoder, LexicalEncoder, StaticEncoder
from mixllm.interfaces import Encoder

Vector = NDArray[np.float32]


@pytest.mark.parametrize(
    "make",
    [
        HashingEncoder,
        lambda: HashingEncoder(dimension=7),
        lambda: HashingEncoder(seed=2**64 - 1),
        StaticEncoder.wordllama,
        lambda: StaticEncoder.wordllama(max_chars=30),
        lambda: StaticEncoder.wordllama(max_chars=1),
    ],
    ids=["hashing", "hashing dimension", "hashing seed", "wordllama", "wordllama max_chars", "wordllama one char"],
)
def test_encoders_without_files_of_the_users_pass(make: Callable[[], Encoder]) -> None:
    check_encoder(make)


def test_a_model2vec_folder_passes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "plain")
    check_encoder(lambda: StaticEncoder.from_folder(folder))
    check_encoder(lambda: StaticEncoder.from_folder(folder, max_chars=30))
    check_encoder(lambda: StaticEncoder.from_folder(folder, normalise=False), unit_norm=False)


def test_a_quantised_model2vec_folder_passes(tmp_path: Path) -> None:
    tables: dict[str, NDArray[Any]] = {
        "embeddings": small_table(20),
        "weights": small_weights(),
        "mapping": small_mapping(20),
    }
    folder = write_folder(tmp_path / "quantised", tables=tables)
    check_encoder(lambda: StaticEncoder.from_folder(folder))


def test_a_static_encoder_with_every_parameter_off_its_default_passes() -> None:
    def make() -> Encoder:
        return StaticEncoder(
            table=small_table(20),
            tokenizer=small_tokenizer(),
            token_weights=small_weights(),
            token_rows=small_mapping(20),
            fingerprint="mine/1",
            max_chars=40,
            normalise=False,
        )

    check_encoder(make, unit_norm=False)
    with pytest.raises(AssertionError, match="neither 1 nor 0"):
        check_encoder(make)


def test_wordllama_without_unit_length_passes_only_when_told() -> None:
    check_encoder(lambda: StaticEncoder.wordllama(normalise=False), unit_norm=False)


def test_a_lexical_encoder_passes() -> None:
    def make(tags: int = 3, **changed: Any) -> Encoder:
        base = StaticEncoder(table=small_table(), tokenizer=small_tokenizer(), **changed)
        rng = np.random.default_rng(1)
        rarity = rng.uniform(0.0, 3.0, base.tokens)
        rarity[::3] = 0.0
        return LexicalEncoder(base=base, table=rng.normal(size=(base.tokens, tags)).astype(np.float32), rarity=rarity)

    check_encoder(make)
    check_encoder(lambda: make(1))
    check_encoder(lambda: make(7, max_chars=40, token_weights=small_weights(), fingerprint="mine/1"))


class Sound:
    """A sound encoder; each faulty one below breaks one thing of it."""

    def __init__(self) -> None:
        self._inner = HashingEncoder(dimension=16)

    @property
    def dimension(self) -> int:
        return self._inner.dimension

    @property
    def fingerprint(self) -> str:
        return self._inner.fingerprint

    @property
    def blocking(self) -> bool:
        return self._inner.blocking

    def encode(self, text: str) -> Vector:
        return self._inner.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> Vector:
        rows = [self.encode(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dimension), dtype=np.float32)


class WrongDimension(Sound):
    @property
    def dimension(self) -> int:
        return 17


class NoDimension(Sound):
    @property
    def dimension(self) -> int:
        return 0


class PerhapsBlocking(Sound):
    @property
    def blocking(self) -> bool:
        return None  # type: ignore[return-value]


class BlankFingerprint(Sound):
    @property
    def fingerprint(self) -> str:
        return " "


class FingerprintOfTheInstance(Sound):
    made = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self._number = next(self.made)

    @property
    def fingerprint(self) -> str:
        return f"number/{self._number}"


class FingerprintOfUse(Sound):
    uses = 0

    @property
    def fingerprint(self) -> str:
        return f"uses/{self.uses}"

    def encode(self, text: str) -> Vector:
        self.uses += 1
        return super().encode(text)


class Float64(Sound):
    def encode(self, text: str) -> Vector:
        return super().encode(text).astype(np.float64)


class Row(Sound):
    def encode(self, text: str) -> Vector:
        return super().encode(text)[np.newaxis]


class NotANumber(Sound):
    def encode(self, text: str) -> Vector:
        vector = super().encode(text)
        return vector if text else vector + np.float32(np.nan)


class NotUnit(Sound):
    def encode(self, text: str) -> Vector:
        return super().encode(text) * np.float32(1.01)


class Constant(Sound):
    def encode(self, text: str) -> Vector:
        return super().encode("always" if text else "")


class AlwaysZero(Sound):
    def encode(self, text: str) -> Vector:
        return super().encode("")


class SomethingForNothing(Sound):
    def encode(self, text: str) -> Vector:
        return super().encode(text or "nothing")


class RandomisedPerInstance(Sound):
    made = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self._inner = HashingEncoder(dimension=16, seed=next(self.made))

    @property
    def fingerprint(self) -> str:
        return "hashing"


class Drifting(Sound):
    uses = 0

    def encode(self, text: str) -> Vector:
        self.uses += 1
        return super().encode(f"{text} {self.uses}" if text else "")


class CachesItsResult(Sound):
    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[str, Vector] = {}

    def encode(self, text: str) -> Vector:
        return self._cache.setdefault(text, super().encode(text))

    def encode_batch(self, texts: Sequence[str]) -> Vector:
        return self._inner.encode_batch(texts)


class OneBuffer(Sound):
    def __init__(self) -> None:
        super().__init__()
        self._buffer = np.zeros(self.dimension, dtype=np.float32)

    def encode(self, text: str) -> Vector:
        self._buffer[:] = super().encode(text)
        return self._buffer[:]


class SortsItsBatch(Sound):
    def encode_batch(self, texts: Sequence[str]) -> Vector:
        return super().encode_batch(sorted(texts))


class PadsItsBatch(Sound):
    def encode_batch(self, texts: Sequence[str]) -> Vector:
        longest = max(map(len, texts), default=0)
        return super().encode_batch([text.ljust(longest, "_") for text in texts])


class NoEmptyBatch(Sound):
    def encode_batch(self, texts: Sequence[str]) -> Vector:
        return np.array([self.encode(text) for text in texts], dtype=np.float32)


class CutsItsBatch(Sound):
    def encode_batch(self, texts: Sequence[str]) -> Vector:
        return super().encode_batch(texts[:512])


class StripsItsInput(Sound):
    def encode_batch(self, texts: Sequence[str]) -> Vector:
        if isinstance(texts, list):
            vectors = super().encode_batch(texts)
            texts[:] = [text.strip() for text in texts]
            return vectors
        return super().encode_batch(texts)


class RefusesSurrogates(Sound):
    def encode(self, text: str) -> Vector:
        text.encode()
        return super().encode(text)


class NotThreadSafe(Sound):
    """Keeps the text of the call in the instance, and reads it back later."""

    text = ""

    def encode(self, text: str) -> Vector:
        self.text = text
        time.sleep(1e-4)
        return super().encode(self.text)


@pytest.mark.parametrize(
    ("faulty", "fault"),
    [
        (WrongDimension, "has the shape"),
        (NoDimension, "not at least 1"),
        (PerhapsBlocking, "blocking is None"),
        (BlankFingerprint, "fingerprint is blank"),
        (FingerprintOfTheInstance, "differs between two encoders made alike"),
        (FingerprintOfUse, "changes with use"),
        (Float64, "not float32"),
        (Row, "has the shape"),
        (NotANumber, "NaN"),
        (NotUnit, "neither 1 nor 0"),
        (Constant, "all texts give the same vector"),
        (AlwaysZero, "gives the zero vector"),
        (SomethingForNothing, "the empty text"),
        (RandomisedPerInstance, "made alike differ"),
        (Drifting, "the same text gives two vectors"),
        (CachesItsResult, "writing into a result"),
        (OneBuffer, "a result changes"),
        (SortsItsBatch, "another vector than encode"),
        (PadsItsBatch, "another vector than encode"),
        (NoEmptyBatch, "a batch has the shape"),
        (CutsItsBatch, "a batch has the shape"),
        (StripsItsInput, "changes the list"),
        (NotThreadSafe, "threads get other vectors"),
    ],
)
def test_the_suite_catches_a_fault(faulty: type[Sound], fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_encoder(faulty)


def test_the_sound_encoder_behind_the_faulty_ones_passes() -> None:
    check_encoder(Sound)


def test_an_encoder_that_fails_on_surrogates_fails() -> None:
    with pytest.raises(UnicodeEncodeError):
        check_encoder(RefusesSurrogates)


def test_an_object_without_the_protocol_fails() -> None:
    with pytest.raises(AssertionError, match="lacks a part of the protocol"):
        check_encoder(object)  # type: ignore[arg-type]


def test_every_check_is_a_function_of_its_own() -> None:
    assert len({check.__name__ for check in ENCODER_CHECKS}) == len(ENCODER_CHECKS) == 10
