"""What tagging gives: a vocabulary of domains, and how much of each domain is in each query."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.manifest import open_manifest, seal_manifest
from mixllm.tags.vocabulary import Domain
from mixllm.types import Value

__all__ = ["TagDomain", "TagLabels", "TagVocabulary"]

_SCHEMA = 1
_VERSION_CHARS = 16
_TOLERANCE = 1e-4
_ADVICE = "Make it again: mixllm tag."


class TagDomain(Domain, frozen=True, kw_only=True):
    """A domain and the tags that make it up.

    Parameters
    ----------
    tags
        Its tags, most frequent first.
    """

    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tags or not all(tag.strip() for tag in self.tags):
            raise InvalidValueError("tags", self.tags, "one name or more, none blank")


class TagVocabulary(Value, frozen=True, kw_only=True):
    """The domains that queries are labelled with.

    Parameters
    ----------
    domains
        At least one; their names are unique, and no two share a tag.
    source
        Where the labels come from: ``llm``, or what else made them.
    schema
        Version of the format.

    Raises
    ------
    InvalidValueError
        Where a name or a tag comes twice, or there is no domain.

    Examples
    --------
    >>> domain = TagDomain(name="math", description="math, algebra", tags=("math", "algebra"))
    >>> vocabulary = TagVocabulary(domains=(domain,), source="llm")
    >>> vocabulary.version
    'f0bd5a5e7ea7e2ff'
    """

    domains: tuple[TagDomain, ...]
    source: str
    schema: int = _SCHEMA

    def __post_init__(self) -> None:
        if not self.domains:
            raise InvalidValueError("domains", self.domains, "one domain or more")
        if not self.source.strip():
            raise InvalidValueError("source", self.source, "a name that is not blank")
        _no_twins("domains", [domain.name for domain in self.domains])
        _no_twins("tags", [tag for domain in self.domains for tag in domain.tags])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the T domains."""
        return tuple(domain.name for domain in self.domains)

    @property
    def version(self) -> str:
        """Digest of the content: the same vocabulary has the same version wherever it was made."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:_VERSION_CHARS]


class _File(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    version: str
    vocabulary: TagVocabulary
    query_ids: tuple[str, ...]
    weights: tuple[dict[str, float], ...]
    """For each query its domains by name, without those of weight 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TagLabels:
    """How much of each domain is in each query.

    Parameters
    ----------
    vocabulary
        The T domains.
    query_ids
        Identity of each of the n queries, unique.
    weights
        Shape (n, T), >= 0; a row sums to 1, or is all 0 where the query has no tag. Kept as float32, read-only.

    Raises
    ------
    InvalidValueError
        Where a shape or a value does not fit.

    Examples
    --------
    >>> domains = tuple(TagDomain(name=name, description=name, tags=(name,)) for name in ("math", "law"))
    >>> vocabulary = TagVocabulary(domains=domains, source="llm")
    >>> labels = TagLabels(vocabulary=vocabulary, query_ids=("a", "b"), weights=np.array([[0.5, 0.5], [0.0, 0.0]]))
    >>> labels.tagged.tolist(), labels.sizes().tolist()
    ([True, False], [0.5, 0.5])
    """

    vocabulary: TagVocabulary
    query_ids: tuple[str, ...]
    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        _no_twins("query_ids", list(self.query_ids))
        shape = (len(self.query_ids), len(self.vocabulary.domains))
        if np.shape(self.weights) != shape:
            raise InvalidValueError("weights", f"of shape {np.shape(self.weights)}", f"of shape {shape}")
        weights = np.array(self.weights, np.float32)
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise InvalidValueError("weights", "a negative or infinite value", "finite and >= 0")
        sums = weights.sum(axis=1, dtype=np.float64)
        odd = np.flatnonzero((np.abs(sums - 1.0) > _TOLERANCE) & (sums != 0.0))
        if odd.size:
            raise InvalidValueError(f"weights[{odd[0]}]", f"a sum of {sums[odd[0]]:g}", "rows that sum to 1, or to 0")
        weights.flags.writeable = False
        object.__setattr__(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.query_ids)

    @property
    def tagged(self) -> NDArray[np.bool_]:
        """Which queries have a tag, shape (n,)."""
        tagged: NDArray[np.bool_] = (self.weights != 0).any(axis=1)
        return tagged

    def sizes(self) -> NDArray[np.float64]:
        """Return how many queries each domain has, parts of queries included, shape (T,)."""
        sizes: NDArray[np.float64] = self.weights.sum(axis=0, dtype=np.float64)
        return sizes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into one JSON file with a checksum; it appears whole or not at all.

        Raises
        ------
        StateError
            Where it cannot be written.
        """
        names = self.vocabulary.names
        rows = ({names[column]: float(row[column]) for column in np.flatnonzero(row).tolist()} for row in self.weights)
        file = _File(
            schema=_SCHEMA,
            version=self.vocabulary.version,
            vocabulary=self.vocabulary,
            query_ids=self.query_ids,
            weights=tuple(rows),
        )
        _replace(Path(path), seal_manifest(file))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        StateError
            Where the file is missing, damaged or newer.
        """
        try:
            sealed = Path(path).read_bytes()
        except OSError as error:
            raise StateError(f"{path} cannot be read ({error.strerror}). Check the path.") from error
        file = open_manifest(sealed, kind=_File, schema=_SCHEMA, name=str(path), advice=_ADVICE)
        column_of = {name: column for column, name in enumerate(file.vocabulary.names)}
        weights = np.zeros((len(file.query_ids), len(column_of)), np.float32)
        try:
            for row, entry in zip(weights, file.weights, strict=True):
                for name, weight in entry.items():
                    row[column_of[name]] = weight
            labels = cls(vocabulary=file.vocabulary, query_ids=file.query_ids, weights=weights)
        except (KeyError, ValueError) as error:
            raise StateError(f"{path}: its weights do not fit its queries and domains. {_ADVICE}") from error
        if labels.vocabulary.version != file.version:
            raise StateError(f"{path}: its vocabulary is not of version {file.version}. {_ADVICE}")
        return labels


def _replace(path: Path, content: bytes) -> None:
    try:
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(scratch).replace(path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StateError(f"{path} cannot be written ({error.strerror}). Check the path and its rights.") from error


def _no_twins(parameter: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise InvalidValueError(parameter, "a name that comes twice", "unique")
