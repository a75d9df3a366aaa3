"""What every `Encoder` has to do; run it against your own with `check_encoder`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixllm.interfaces import Encoder

__all__ = ["ENCODER_CHECKS", "MakeEncoder", "check_encoder"]

MakeEncoder: TypeAlias = Callable[[], Encoder]
"""Makes a new encoder, each time with the same parameters."""

_PLAIN_TEXTS = (
    "What is the capital of France?",
    "Write a Python function that sorts a list of numbers.",
    "Prove that there are infinitely many primes.",
    "Translate this sentence to German: the weather is nice today.",
)
_ODD_TEXTS = (
    " ",
    "\n\t\r",
    "\x00",
    "?!",
    "a",
    "Grüße, 你好, привет, مرحبا, שלום",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 thumbs \U0001f44d\U0001f3fd",
    "e\u0301 combining, \u202e right to left, \ufeff byte order mark, \ufffd",
    "lone \ud800 high, \udfff low, \udc00\ud800 swapped, \ud83d\ude00 a pair",
    "<s> </s> <unk> [UNK] [CLS] [PAD] <|endoftext|>",
    "x" * 5_000,
)
_LONG_TEXT = "The quick brown fox jumps over the lazy dog. " * 2_000
_NORM_TOLERANCE = 1e-4
_THREADS = 8
_ROUNDS_PER_THREAD = 5
_MANY_TEXTS = 600


def check_encoder(make: MakeEncoder, *, unit_norm: bool = True) -> None:
    """Run every check of `ENCODER_CHECKS`; an `AssertionError` names what the encoder does not do.

    Parameters
    ----------
    make
        Makes a new encoder, each time with the same parameters.
    unit_norm
        Whether vectors must have unit length, as a router needs; False is for encoders that were told otherwise.

    Raises
    ------
    AssertionError
        With what the encoder does not do.

    Examples
    --------
    >>> from mixllm.encoders import HashingEncoder
    >>> check_encoder(lambda: HashingEncoder(dimension=32))
    """
    for check in ENCODER_CHECKS:
        check(make)
    if unit_norm:
        _has_unit_length(make)


def _has_the_protocol(make: MakeEncoder) -> None:
    encoder = make()
    assert isinstance(encoder, Encoder), f"{type(encoder).__name__} lacks a part of the protocol Encoder"
    assert type(encoder.dimension) is int, f"dimension is {encoder.dimension!r}, not an int"
    assert encoder.dimension >= 1, f"dimension is {encoder.dimension}, not at least 1"
    assert type(encoder.blocking) is bool, f"blocking is {encoder.blocking!r}, not True or False"


def _has_a_stable_fingerprint(make: MakeEncoder) -> None:
    encoder = make()
    fingerprint = encoder.fingerprint
    assert isinstance(fingerprint, str), f"fingerprint is {fingerprint!r}, not a string"
    assert fingerprint.strip(), "fingerprint is blank"
    encoder.encode(_PLAIN_TEXTS[0])
    encoder.encode_batch(_PLAIN_TEXTS)
    assert encoder.fingerprint == fingerprint, "fingerprint changes with use"
    assert make().fingerprint == fingerprint, "fingerprint differs between two encoders made alike"


def _gives_finite_float32_vectors(make: MakeEncoder) -> None:
    encoder = make()
    for text in (*_PLAIN_TEXTS, *_ODD_TEXTS, "", _LONG_TEXT):
        _assert_vector(encoder.encode(text), encoder.dimension, text)


def _tells_texts_apart(make: MakeEncoder) -> None:
    encoder = make()
    vectors = [encoder.encode(text).copy() for text in _PLAIN_TEXTS]
    for index, vector in enumerate(vectors):
        assert vector.any(), f"a plain text gives the zero vector: {_PLAIN_TEXTS[index]!r}"
    assert any(not np.array_equal(vectors[0], vector) for vector in vectors[1:]), "all texts give the same vector"


def _gives_zero_for_the_empty_text(make: MakeEncoder) -> None:
    assert not make().encode("").any(), "the empty text has no token, and must give the zero vector"


def _has_unit_length(make: MakeEncoder) -> None:
    encoder = make()
    for text in (*_PLAIN_TEXTS, *_ODD_TEXTS, _LONG_TEXT):
        length = float(np.linalg.norm(encoder.encode(text).astype(np.float64)))
        is_unit = abs(length - 1.0) <= _NORM_TOLERANCE
        assert is_unit or length == 0.0, f"a vector has length {length}, neither 1 nor 0: {_shown(text)}"


def _is_deterministic(make: MakeEncoder) -> None:
    encoder, other = make(), make()
    for text in (*_PLAIN_TEXTS, *_ODD_TEXTS, "", _LONG_TEXT):
        vector = encoder.encode(text).copy()
        assert np.array_equal(encoder.encode(text), vector), f"the same text gives two vectors: {_shown(text)}"
        assert np.array_equal(other.encode(text), vector), f"two encoders made alike differ: {_shown(text)}"


def _keeps_no_hold_of_its_results(make: MakeEncoder) -> None:
    encoder = make()
    text = _PLAIN_TEXTS[0]
    first = encoder.encode(text)
    kept = first.copy()
    second = encoder.encode(_PLAIN_TEXTS[1])
    assert np.array_equal(first, kept), "a result changes when another text is encoded"
    for vector in (first, second):
        if vector.flags.writeable:
            vector[:] = 7.0
    assert np.array_equal(encoder.encode(text), kept), "writing into a result changes what the encoder gives next"


def _encodes_batches_as_single_texts(make: MakeEncoder) -> None:
    encoder = make()
    texts = [*_PLAIN_TEXTS, *_ODD_TEXTS, "", _PLAIN_TEXTS[0], _LONG_TEXT]
    many = [f"{_PLAIN_TEXTS[number % len(_PLAIN_TEXTS)]} {number}" for number in range(_MANY_TEXTS)]
    for batch in ([], texts[:1], [""], texts, texts[::-1], many):
        vectors = encoder.encode_batch(batch)
        expected = (len(batch), encoder.dimension)
        assert vectors.shape == expected, f"a batch has the shape {vectors.shape}, not {expected}"
        assert vectors.dtype == np.float32, f"a batch is of {vectors.dtype}, not float32"
        for text, vector in zip(batch, vectors, strict=True):
            same = np.array_equal(vector, encoder.encode(text))
            assert same, f"a batch gives another vector than encode: {_shown(text)}"


def _leaves_its_input_alone(make: MakeEncoder) -> None:
    encoder = make()
    texts = [*_PLAIN_TEXTS, "", *_ODD_TEXTS]
    given = list(texts)
    from_list = encoder.encode_batch(given)
    assert given == texts, "encode_batch changes the list that it is given"
    assert np.array_equal(encoder.encode_batch(tuple(texts)), from_list), "a tuple of texts gives another result"


def _is_safe_in_threads(make: MakeEncoder) -> None:
    encoder = make()
    texts = [*_PLAIN_TEXTS, *_ODD_TEXTS[:-1], ""]
    expected = [encoder.encode(text).copy() for text in texts]
    start = threading.Barrier(_THREADS)

    def work(thread: int) -> list[str]:
        order = [*range(thread % len(texts), len(texts)), *range(thread % len(texts))]
        wrong: list[str] = []
        start.wait()
        for _ in range(_ROUNDS_PER_THREAD):
            wrong += [texts[one] for one in order if not np.array_equal(encoder.encode(texts[one]), expected[one])]
            if not np.array_equal(encoder.encode_batch(texts), np.stack(expected)):
                wrong.append("a batch")
        return wrong

    with ThreadPoolExecutor(_THREADS) as pool:
        wrong = [text for texts_of_one in pool.map(work, range(_THREADS)) for text in texts_of_one]
    assert not wrong, f"threads get other vectors than one thread alone: {_shown(wrong[0])}"


def _assert_vector(vector: NDArray[np.float32], dimension: int, text: str) -> None:
    assert isinstance(vector, np.ndarray), f"encode gives {type(vector).__name__}, not an array"
    assert vector.shape == (dimension,), f"a vector has the shape {vector.shape}, not ({dimension},): {_shown(text)}"
    assert vector.dtype == np.float32, f"a vector is of {vector.dtype}, not float32: {_shown(text)}"
    assert np.isfinite(vector).all(), f"a vector holds NaN or infinity: {_shown(text)}"


def _shown(text: str, limit: int = 60) -> str:
    return ascii(text if len(text) <= limit else text[:limit] + "...")


ENCODER_CHECKS: tuple[Callable[[MakeEncoder], None], ...] = (
    _has_the_protocol,
    _has_a_stable_fingerprint,
    _gives_finite_float32_vectors,
    _tells_texts_apart,
    _gives_zero_for_the_empty_text,
    _is_deterministic,
    _keeps_no_hold_of_its_results,
    _encodes_batches_as_single_texts,
    _leaves_its_input_alone,
    _is_safe_in_threads,
)
"""The checks, in order; unit length is checked beside them (see `check_encoder`)."""
