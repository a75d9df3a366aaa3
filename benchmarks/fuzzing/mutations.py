"""Random changes to bytes: of single bits, of stretches, of lines, and words of a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["mutated", "mutated_lines"]

_NUMBERS = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x00" * 8)
_MAX_COPIES = 200


def mutated(
    case: bytes, rng: np.random.Generator, *, words: Sequence[bytes] = (), others: Sequence[bytes] = (), most: int = 6
) -> bytes:
    """Return `case` with one to `most` changes.

    Parameters
    ----------
    case
        What is changed.
    rng
        Chooses.
    words
        What may be put in besides edges of numbers.
    others
        Cases of which a stretch may be put in.
    most
        Most changes.
    """
    words = (*_NUMBERS, *words)
    for _ in range(int(rng.integers(1, most + 1))):
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        case = change(case, rng, words, others)
    return case


def mutated_lines(
    case: bytes, rng: np.random.Generator, *, words: Sequence[bytes], others: Sequence[bytes], most: int = 4
) -> bytes:
    """Return `case` with changes of whole lines, of their indentation, of what stands after a colon, or of bytes."""
    for _ in range(int(rng.integers(1, most + 1))):
        lines = case.split(b"\n")
        at = int(rng.integers(len(lines)))
        match int(rng.integers(8)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(int(rng.integers(len(lines) + 1)), lines[at])
            case 2:
                lines[at] = b" " * int(rng.integers(9)) + lines[at].lstrip()
            case 3 | 4:
                key, colon, _ = lines[at].partition(b": ")
                lines[at] = key + (colon or b": ") + _word(rng, words)
            case 5:
                other = others[int(rng.integers(len(others)))].split(b"\n") if others else [b""]
                lines.insert(at, other[int(rng.integers(len(other)))])
            case 6:
                key, colon, value = lines[at].partition(b":")
                lines[at] = _inserted(key, rng, words, others) + colon + value
            case _:
                lines[at] = mutated(lines[at], rng, words=words, others=others, most=2)
        case = b"\n".join(lines)
    return case


def _word(rng: np.random.Generator, words: Sequence[bytes]) -> bytes:
    return words[int(rng.integers(len(words)))]


def _place(case: bytes, rng: np.random.Generator) -> tuple[int, int]:
    """Return the ends of a stretch, in most cases a short one."""
    start = int(rng.integers(len(case) + 1))
    length = int(rng.integers(1, 9)) if rng.random() < 0.7 else int(rng.integers(1, max(2, len(case) // 2)))
    return start, min(len(case), start + length)


def _flipped(case: bytes, rng: np.random.Generator, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    del words, others
    if not case:
        return case
    changed = bytearray(case)
    changed[int(rng.integers(len(case)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _replaced(case: bytes, rng: np.random.Generator, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    del words, others
    start, end = _place(case, rng)
    return case[:start] + rng.bytes(end - start) + case[end:]


def _overwritten(case: bytes, rng: np.random.Generator, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    del others
    start, _ = _place(case, rng)
    word = _word(rng, words)
    return case[:start] + word + case[start + len(word) :]


def _inserted(case: bytes, rng: np.random.Generator, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    del others
    start, _ = _place(case, rng)
    return case[:start] + _word(rng, words) + case[start:]


def _removed(case: bytes, rng: np.random.Generator, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    del words, others
    start, end = _place(case, rng)
    return case[:start] + case[end:]


def _repeated(case: bytes, rng: np.random.Generator, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    del words, others
    start, end = _place(case, rng)
    copies = int(rng.integers(1, _MAX_COPIES if rng.random() < 0.1 else 4))
    return case[:end] + case[start : min(end, start + 64)] * copies + case[end:]


def _cut(case: bytes, rng: np.random.Generator, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    del words, others
    return case[: int(rng.integers(len(case) + 1))]


def _spliced(case: bytes, rng: np.random.Generator, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    del words
    if not others:
        return case
    other = others[int(rng.integers(len(others)))]
    start, end = _place(other, rng)
    at, _ = _place(case, rng)
    return case[:at] + other[start:end] + case[at:]


_Change = Callable[[bytes, np.random.Generator, Sequence[bytes], Sequence[bytes]], bytes]
_CHANGES: tuple[_Change, ...] = (
    _flipped,
    _flipped,
    _replaced,
    _overwritten,
    _inserted,
    _inserted,
    _removed,
    _repeated,
    _cut,
    _spliced,
)
