"""Tags by prototypes: probabilities, extremes and identity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mixllm.encoders import HashingEncoder
from mixllm.errors import InvalidValueError
from mixllm.tags import DEFAULT_DOMAINS, Domain, PrototypeTagger

Array = NDArray[np.float32]
AXES: Array = np.eye(3, 5, dtype=np.float32)


def tagger(temperature: float = 0.1) -> PrototypeTagger:
    return PrototypeTagger(tags=["x", "y", "z"], prototypes=AXES, temperature=temperature)


def test_parameters_reach_their_attributes() -> None:
    made = tagger(0.7)
    assert made.tags == ("x", "y", "z")
    assert np.array_equal(made.prototypes, AXES)
    assert made.temperature == 0.7
    assert PrototypeTagger(tags=["x"], prototypes=AXES[:1]).temperature == 0.05


def test_by_hand() -> None:
    """cos(x − c, p − c) with c the mean prototype; softmax of it over the temperature."""
    x = np.array([0.6, 0.8, 0.0, 0.0, 0.0], np.float32)
    centre = AXES.mean(axis=0)
    cosines = [
        float((x - centre) @ (p - centre) / np.linalg.norm(x - centre) / np.linalg.norm(p - centre)) for p in AXES
    ]
    weights = np.exp(np.array(cosines) / 0.1)
    assert tagger().tag(x) == pytest.approx(weights / weights.sum(), rel=1e-4)


def test_the_nearest_prototype_is_the_likeliest() -> None:
    for place, prototype in enumerate(AXES):
        probabilities = tagger().tag(prototype)
        assert probabilities.argmax() == place
        assert probabilities.dtype == np.float32


@given(arrays(np.float32, 5, elements=st.floats(-10, 10, width=32)), st.floats(1e-3, 1e3))
def test_any_encoding_gets_probabilities(x: Array, temperature: float) -> None:
    probabilities = tagger(temperature).tag(x)
    assert probabilities.shape == (3,)
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1e-6, 1e6, 1e300])
def test_any_temperature_gives_probabilities(temperature: float) -> None:
    for x in (AXES[1], np.zeros(5, np.float32), AXES.mean(axis=0)):
        probabilities = tagger(temperature).tag(x)
        assert np.isfinite(probabilities).all()
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-6)
    assert tagger(1e-30).tag(AXES[1]).tolist() == [0, 1, 0]
    assert tagger(1e6).tag(AXES[1]) == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_a_query_that_is_the_centre_has_every_tag() -> None:
    assert tagger().tag(AXES.mean(axis=0)) == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_a_single_domain_gets_everything() -> None:
    single = PrototypeTagger(tags=["all"], prototypes=AXES[:1])
    for x in (AXES[0], AXES[2], np.zeros(5, np.float32)):
        assert single.tag(x).tolist() == [1.0]


def test_equal_prototypes_share() -> None:
    twins = PrototypeTagger(tags=["one", "two"], prototypes=AXES[[0, 0]])
    assert twins.tag(AXES[1]) == pytest.approx([0.5, 0.5])


def test_the_fingerprint_tells_taggers_apart() -> None:
    base = tagger()
    assert tagger().fingerprint == base.fingerprint
    others = [
        tagger(0.2),
        PrototypeTagger(tags=["x", "y", "w"], prototypes=AXES, temperature=0.1),
        PrototypeTagger(tags=["x", "y", "z"], prototypes=AXES[[0, 2, 1]], temperature=0.1),
        PrototypeTagger(tags=["x", "y"], prototypes=AXES[:2], temperature=0.1),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_it_keeps_its_own_prototypes() -> None:
    given_array = AXES.copy()
    made = PrototypeTagger(tags=["x", "y", "z"], prototypes=given_array)
    before, fingerprint = made.tag(AXES[0]), made.fingerprint
    given_array[:] = 7.0
    assert np.array_equal(made.tag(AXES[0]), before)
    assert made.fingerprint == fingerprint


def test_domains_are_encoded_by_their_text() -> None:
    encoder = HashingEncoder(dimension=32)
    domains = [Domain(name="maths", description="sum and product"), Domain(name="law", description="court of appeal")]
    made = PrototypeTagger.from_domains(encoder=encoder, domains=domains, temperature=0.3)
    assert made.tags == ("maths", "law")
    assert made.temperature == 0.3
    assert np.array_equal(made.prototypes[1], encoder.encode("law. court of appeal"))
    assert made.tags[int(made.tag(encoder.encode("the court of appeal")).argmax())] == "law"
    assert PrototypeTagger.from_domains(encoder=encoder).tags == tuple(domain.name for domain in DEFAULT_DOMAINS)


@pytest.mark.parametrize(
    ("tags", "prototypes", "temperature", "words"),
    [
        (["x", "y"], AXES, 0.1, "tags must be one name for each of the 3 prototypes"),
        ([], AXES[:0], 0.1, "at least 1"),
        (["x", "x", "y"], AXES, 0.1, "tags must be unique names"),
        (["x", "y", "z"], AXES, 0.0, "temperature must be"),
        (["x", "y", "z"], AXES, float("nan"), "temperature must be"),
        (["x", "y", "z"], AXES * np.nan, 0.1, "prototypes must be a matrix of finite numbers"),
        (["x", "y", "z"], AXES[:, 0], 0.1, "prototypes must be a matrix of finite numbers"),
    ],
)
def test_values_out_of_range_are_refused(tags: list[str], prototypes: Array, temperature: float, words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        PrototypeTagger(tags=tags, prototypes=prototypes, temperature=temperature)
