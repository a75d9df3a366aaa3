"""Trained features as files: what turns a text into z, in safetensors with a sealed JSON manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm.encoders import LexicalEncoder, StaticEncoder
from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import Encoder
from mixllm.learning.sealed_arrays import has_sealed, read_sealed, write_sealed
from mixllm.tags import LinearProjection, LogisticTagger, TagFeatures
from mixllm.tags.labelling import TagVocabulary

__all__ = ["FeatureModel"]

_SCHEMA = 1
_STEM = "features"
_NEEDED = ("tagger_weights", "tagger_bias", "projection_matrix", "projection_centre")
_LEXICAL = "lexical_table"


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    base: str
    vocabulary: TagVocabulary
    leading: int
    unit: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureModel:
    """Tagger, projection and lexical block, as training made them.

    Parameters
    ----------
    base
        Fingerprint of the base encoder that they were trained on.
    vocabulary
        The tags, with their version.
    leading
        Length of the base encoder's vectors.
    unit
        Whether projected vectors have unit length.
    arrays
        Weights of all parts.
    """

    base: str
    vocabulary: TagVocabulary
    leading: int
    unit: bool
    arrays: Mapping[str, NDArray[np.float32]] = field(repr=False)

    @classmethod
    def of(
        cls,
        *,
        base: Encoder,
        encoder: Encoder,
        tagger: LogisticTagger,
        projection: LinearProjection,
        vocabulary: TagVocabulary,
    ) -> Self:
        """Take the parts apart into arrays."""
        arrays = {
            "tagger_weights": tagger.weights,
            "tagger_bias": tagger.bias,
            "projection_matrix": projection.matrix,
            "projection_centre": projection.centre,
        }
        if isinstance(encoder, LexicalEncoder):
            arrays |= encoder.arrays()
        return cls(
            base=base.fingerprint,
            vocabulary=vocabulary,
            leading=tagger.leading,
            unit=projection.unit,
            arrays=arrays,
        )

    def build(self, base: Encoder) -> tuple[Encoder, TagFeatures]:
        """Return the trained encoder over `base`, and the feature map over its encodings.

        Raises
        ------
        StateError
            Where `base` is another encoder than the one that was trained on, or an array is damaged.
        """
        if base.fingerprint != self.base:
            raise StateError(
                f"The model was trained on encoder {self.base!r}, this is {base.fingerprint!r}. Use the same encoder, "
                "or train again."
            )
        encoder = base
        if _LEXICAL in self.arrays:
            if not isinstance(base, StaticEncoder):
                raise StateError("The model has a lexical block, which needs a static encoder. Train again.")
            encoder = LexicalEncoder.from_arrays(base, self.arrays)
        try:
            tagger = LogisticTagger(
                tags=self.vocabulary.names,
                weights=self.arrays["tagger_weights"],
                bias=self.arrays["tagger_bias"],
                leading=self.leading,
                vocabulary=self.vocabulary.version,
            )
            projection = LinearProjection(
                matrix=self.arrays["projection_matrix"], centre=self.arrays["projection_centre"], unit=self.unit
            )
        except InvalidValueError as error:
            raise StateError(f"The trained features do not fit together: {error}. Train again.") from error
        if tagger.weights.shape[1] != encoder.dimension or len(projection.centre) > encoder.dimension:
            raise StateError("The trained features do not fit their encoder. Train again.")
        return encoder, TagFeatures(tagger=tagger, projection=projection)

    def to_folder(self, folder: Path) -> None:
        """Write two files into `folder`."""
        manifest = _Manifest(
            schema=_SCHEMA, base=self.base, vocabulary=self.vocabulary, leading=self.leading, unit=self.unit
        )
        write_sealed(folder, _STEM, manifest, self.arrays)

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether `folder` has trained features."""
        return has_sealed(folder, _STEM)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read what `to_folder` wrote; raises `StateError` where it is missing, damaged or newer."""
        manifest, arrays = read_sealed(folder, _STEM, kind=_Manifest, schema=_SCHEMA, what="trained features")
        missing = [name for name in _NEEDED if name not in arrays]
        if missing:
            raise StateError(f"The trained features in {folder} lack {', '.join(missing)}. Train again.")
        return cls(
            base=manifest.base,
            vocabulary=manifest.vocabulary,
            leading=manifest.leading,
            unit=manifest.unit,
            arrays=arrays,
        )
