"""What a text looks like, beside what it is about: length, options, digits, markup, questions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders.bounds import head_and_tail
from mixllm.errors import InvalidValueError
from mixllm.interfaces import Encoder

__all__ = ["SURFACE_FEATURES", "SurfaceEncoder", "surface_features"]

SURFACE_FEATURES = ("length", "options", "digits", "markup", "lines", "questions", "brevity", "words", "capitals")
"""Names of the surface features, in their order."""

_READ_CHARS = 8000
"""Of longer texts, beginning and end are read; the length is that of the whole text."""

_OPTION = re.compile(r"\n[ \t]*\(?[A-J1-9][.:)][ \t]?\S")
_BRIEF = ("only", "don't", "do not", "directly", "concise", "brief", "short")
"""Words of instructions that keep an answer short."""

_ORDINARY_CHARS = 800.0
_ORDINARY_WORD_CHARS = 6.0
_MANY_OPTIONS = 5
_MANY_QUESTIONS = 3
_BOUND = 2.0


_DIGITS, _MARKUP, _CAPITALS = b"0123456789", b"{}[]()<>=;_\\", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def surface_features(text: str) -> NDArray[np.float32]:
    r"""Return what `text` looks like as numbers within ±2, float32, shape (9,), in the order of `SURFACE_FEATURES`.

    Notes
    -----
    With n characters: log(n/800)/2; lines that begin like ``A.`` or ``2)``, at most 5, over 5; 3·sqrt of the shares of
    digits and of brackets and operators; log(1 + line feeds)/3; question marks, at most 3, over 3; whether there is a
    word that asks for a short answer (in English); (characters per word − 6)/2; 3·sqrt of the share of capitals. The
    forms are ours. They were chosen so that each has about the size of a unit vector over texts of any kind.

    Examples
    --------
    >>> values = surface_features("Which?\nA. one\nB. two\nOutput only the letter.").tolist()
    >>> looks = dict(zip(SURFACE_FEATURES, values, strict=True))
    >>> round(looks["options"], 2), round(looks["questions"], 2), looks["brevity"]
    (0.4, 0.33, 1.0)
    """
    read = head_and_tail(text, max_chars=_READ_CHARS)
    size = max(1, len(read))
    # Bytes that are left when those of a class are taken out tell how many there were: quicker than counting each.
    written = read.encode("utf-8", "ignore")
    chars = len(written)
    digits = chars - len(written.translate(None, _DIGITS))
    markup = chars - len(written.translate(None, _MARKUP))
    capitals = chars - len(written.translate(None, _CAPITALS))
    lines, blanks = written.count(b"\n"), written.count(b" ")
    lowered = read.lower()
    values = (
        math.log(max(1, len(text)) / _ORDINARY_CHARS) / 2.0,
        min(len(_OPTION.findall(read)), _MANY_OPTIONS) / _MANY_OPTIONS if lines else 0.0,
        3.0 * math.sqrt(digits / size),
        3.0 * math.sqrt(markup / size),
        math.log1p(lines) / 3.0,
        min(written.count(b"?"), _MANY_QUESTIONS) / _MANY_QUESTIONS,
        float(any(word in lowered for word in _BRIEF)),
        (size / (blanks + lines + 1.0) - _ORDINARY_WORD_CHARS) / 2.0,
        3.0 * math.sqrt(capitals / size),
    )
    return np.array([_BOUND if value > _BOUND else max(-_BOUND, value) for value in values], np.float32)


@final
class SurfaceEncoder:
    r"""An encoding s ∈ R^d with a text's surface features f behind it, together of unit length.

    An embedding tells what a text is about, and little of its form: whether it is multiple choice, asks for one word
    or for steps, holds code or numbers. Quality, length and cost of answers depend on that as much, and a router that
    knows nothing yet learns it from few answers, since there are few such features.

    Parameters
    ----------
    base
        Gives s, of unit length.

    Notes
    -----
    x = (s, f)/\|(s, f)\|; dividing x by the length of its first d entries gives s and f back. Where s is 0, x is 0.

    Examples
    --------
    >>> from mixllm.encoders import HashingEncoder
    >>> SurfaceEncoder(base=HashingEncoder(dimension=32)).encode("Why is the sky blue?").shape
    (41,)
    """

    __slots__ = ("base",)

    def __init__(self, *, base: Encoder) -> None:
        if isinstance(base, SurfaceEncoder):
            raise InvalidValueError("base", base, "an encoder without surface features")
        self.base = base

    @property
    def dimension(self) -> int:
        """Length d + 9 of the vectors."""
        return self.base.dimension + len(SURFACE_FEATURES)

    @property
    def blocking(self) -> bool:
        """Whether that of the encoder underneath blocks."""
        return self.base.blocking

    @property
    def fingerprint(self) -> str:
        """Identity: that of the base, and the version of the surface features."""
        return f"{self.base.fingerprint}+surface-1"

    def encode(self, text: str) -> NDArray[np.float32]:
        """Return the vector of `text`, shape (d + 9,); the zero vector where it has no token."""
        return _joined(self.base.encode(text), text)

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`, shape (n, d + 9), row by row as `encode` gives them."""
        vectors = self.base.encode_batch(texts)
        return np.array([_joined(s, text) for s, text in zip(vectors, texts, strict=True)], np.float32).reshape(
            len(vectors), self.dimension
        )


def _joined(vector: NDArray[np.float32], text: str) -> NDArray[np.float32]:
    leading = len(vector)
    joined = np.zeros(leading + len(SURFACE_FEATURES), np.float32)
    if not vector.any():
        return joined
    joined[:leading] = vector
    joined[leading:] = surface_features(text)
    joined /= np.float32(math.sqrt(float(joined.dot(joined))))
    return joined
