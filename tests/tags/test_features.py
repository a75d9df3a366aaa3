"""Features: tags, projection, constant."""

from __future__ import annotations

import numpy as np
import pytest

from mixllm.encoders import HashingEncoder, SurfaceEncoder
from mixllm.encoders.surface import surface_features
from mixllm.errors import InvalidValueError
from mixllm.tags import Domain, PrototypeTagger, TagFeatures, TruncatedProjection

ENCODER = HashingEncoder(dimension=16)
DOMAINS = [Domain(name=name, description=f"words of {name}") for name in ("one", "two", "three")]


def features(*, temperature: float = 0.1, dimension: int = 5) -> TagFeatures:
    tagger = PrototypeTagger.from_domains(encoder=ENCODER, domains=DOMAINS, temperature=temperature)
    return TagFeatures(tagger=tagger, projection=TruncatedProjection(centre=tagger.centre, dimension=dimension))


def test_parameters_reach_their_attributes() -> None:
    tagger = PrototypeTagger.from_domains(encoder=ENCODER, domains=DOMAINS)
    projection = TruncatedProjection(centre=tagger.centre, dimension=2)
    made = TagFeatures(tagger=tagger, projection=projection)
    assert made.tagger is tagger
    assert made.projection is projection
    assert made.tags == ("one", "two", "three")
    assert made.dimension == 6


@pytest.mark.parametrize("text", ["words of two", "something else", ""])
def test_they_are_tags_projection_and_one(text: str) -> None:
    made = features()
    x = ENCODER.encode(text)
    z = made.features(x)
    assert z.shape == (made.dimension,) == (9,)
    assert z.dtype == np.float32
    assert np.array_equal(z[:3], made.tagger.tag(x))
    assert np.array_equal(z[3:8], made.projection.project(x))
    assert z[8] == 1.0


def test_results_are_the_callers_own() -> None:
    made = features()
    x = ENCODER.encode("words")
    first = made.features(x)
    kept = first.copy()
    first[:] = 9.0
    assert np.array_equal(made.features(x), kept)


def test_the_fingerprint_tells_maps_apart() -> None:
    assert features().fingerprint == features().fingerprint
    assert len({features().fingerprint, features(temperature=0.2).fingerprint, features(dimension=4).fingerprint}) == 3


def test_surface_features_stand_between_the_projection_and_the_constant() -> None:
    plain, text = features(), "what are the words of 3?"
    made = TagFeatures(tagger=plain.tagger, projection=plain.projection, surface=9)
    z = made.features(SurfaceEncoder(base=ENCODER).encode(text))
    assert (made.surface, made.dimension, z.shape) == (9, plain.dimension + 9, (plain.dimension + 9,))
    assert z[:8] == pytest.approx(plain.features(ENCODER.encode(text))[:8], abs=1e-5)
    assert z[8:-1] == pytest.approx(surface_features(text), abs=1e-5)
    assert z[-1] == 1.0
    assert made.fingerprint == f"{plain.fingerprint}/surface-9"


def test_a_number_of_surface_features_below_0_is_refused() -> None:
    plain = features()
    with pytest.raises(InvalidValueError, match="surface"):
        TagFeatures(tagger=plain.tagger, projection=plain.projection, surface=-1)
