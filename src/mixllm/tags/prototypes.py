"""Training-free tags: nearness of the query to the description of each domain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import Encoder, FloatArray
from mixllm.tags.vocabulary import DEFAULT_DOMAINS, Domain
from mixllm.units import positive

__all__ = ["PrototypeTagger"]

_MIN_SOFTNESS = 1e-290


class PrototypeTagger:
    """Tag probabilities from the cosine between a query and each domain's description.

    Parameters
    ----------
    tags
        Names of the T domains.
    prototypes
        Their encodings, shape (T, d).
    temperature
        Softness of the probabilities, > 0; the smaller, the closer to the nearest domain alone.

    Notes
    -----
    π = softmax(cos(x − c, p_t − c)/temperature) with c the mean prototype: static embeddings share a large common
    part that says nothing about the domain.
    """

    def __init__(self, *, tags: Sequence[str], prototypes: NDArray[np.float32], temperature: float = 0.05) -> None:
        if len(tags) != len(prototypes) or len(tags) < 1:
            raise InvalidValueError(
                "tags", len(tags), f"one name for each of the {len(prototypes)} prototypes, at least 1"
            )
        if len(set(tags)) != len(tags):
            raise InvalidValueError("tags", tags, "unique names")
        if np.ndim(prototypes) != 2 or not np.isfinite(prototypes).all():
            raise InvalidValueError("prototypes", np.shape(prototypes), "a matrix of finite numbers")
        self.tags = tuple(tags)
        self.prototypes = np.array(prototypes, np.float32, order="C")
        self.temperature = positive("temperature", temperature)
        # At a temperature near 0 the nearest domain gets everything; a gap divided by less than this would overflow.
        self._softness = max(self.temperature, _MIN_SOFTNESS)
        # With a single prototype the centre is that prototype itself, and the only tag gets all the probability.
        self.centre = self.prototypes.mean(axis=0)
        directions = self.prototypes - self.centre
        self._directions = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)

    @classmethod
    def from_domains(
        cls, *, encoder: Encoder, domains: Sequence[Domain] = DEFAULT_DOMAINS, temperature: float = 0.05
    ) -> Self:
        """Encode the descriptions of `domains`.

        Examples
        --------
        >>> from mixllm.encoders import StaticEncoder
        >>> encoder = StaticEncoder.wordllama()
        >>> tagger = PrototypeTagger.from_domains(encoder=encoder)
        >>> query = encoder.encode("A patient has fever and a rash. Which drug?")
        >>> tagger.tags[int(tagger.tag(query).argmax())]
        'medicine'
        """
        prototypes = encoder.encode_batch([domain.text for domain in domains])
        return cls(tags=[domain.name for domain in domains], prototypes=prototypes, temperature=temperature)

    @property
    def fingerprint(self) -> str:
        """Identity of the tagger: names, prototypes and temperature."""
        digest = hashlib.sha256(self.prototypes.tobytes())
        digest.update(repr((self.tags, self.temperature)).encode())
        return f"prototypes-{len(self.tags)}-{digest.hexdigest()[:12]}"

    def tag(self, encoding: FloatArray) -> NDArray[np.float32]:
        """Return tag probabilities, shape (T,), that sum to 1."""
        direction = np.asarray(encoding, np.float32) - self.centre
        norm = float(np.sqrt(direction.dot(direction)))
        cosines = self._directions.dot(direction).astype(np.float64) / max(norm, 1e-12)
        weights = np.exp((cosines - cosines.max()) / self._softness)
        probabilities: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
        return probabilities
