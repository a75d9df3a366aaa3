"""Channels of sources: planted ones are found, lone ones are left alone, and the sums add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import StateError
from mixllm.learning.sources import FACE_VALUE, MAX_TARGET, MIN_TARGET, Channel, SourceChannels, combined
from mixllm.types import Feedback, FeedbackKind

FLIPPED = {"honest": 0.0, "hasty": 0.2, "random": 0.5, "opposite": 1.0}
"""How often each source says the opposite: J = 1 − 2 · this, β = this."""


def planted(seed: int, *, count: int = 8000, sources: tuple[str, ...] = tuple(FLIPPED)) -> SourceChannels:
    """Return channels that have seen thumbs of `sources` on answers whose quality the forecast knows on average."""
    rng = np.random.default_rng(seed)
    channels = SourceChannels()
    for _ in range(count):
        forecast = float(rng.uniform(0.2, 0.9))
        answer = float(rng.random() < forecast)
        source = sources[int(rng.integers(len(sources)))]
        thumb = 1.0 - answer if rng.random() < FLIPPED[source] else answer
        channels.add(f"binary/{source}", estimate=forecast, value=thumb)
    return channels


@pytest.mark.parametrize("seed", range(5))
def test_planted_channels_are_found(seed: int) -> None:
    found = planted(seed).channels()
    for source, flipped in FLIPPED.items():
        assert found[f"binary/{source}"].gain == pytest.approx(1 - 2 * flipped, abs=0.3), source
        assert found[f"binary/{source}"].bias == pytest.approx(flipped, abs=0.2), source
    gains = [found[f"binary/{source}"].gain for source in FLIPPED]
    weights = [found[f"binary/{source}"].weight for source in FLIPPED]
    assert gains == sorted(gains, reverse=True)
    assert weights[0] == 1.0
    assert 0.1 < weights[1] < 0.7
    assert weights[2] < 0.05
    assert weights[3] == 0.0


def test_more_judgements_find_them_more_exactly() -> None:
    errors = [
        np.mean([abs(planted(seed, count=count).channel("binary/hasty").gain - 0.6) for seed in range(6)])
        for count in (600, 20_000)
    ]
    assert errors[1] < 0.07
    assert errors[1] < errors[0]


@pytest.mark.parametrize("source", FLIPPED)
def test_a_source_that_is_alone_is_taken_at_face_value(source: str) -> None:
    """Nobody is there to tell whether it or the forecast is wrong."""
    channel = planted(1, sources=(source,)).channel(f"binary/{source}")
    if source in ("honest", "hasty"):
        assert (channel.bias, channel.gain, channel.weight) == (0.0, 1.0, 1.0)
    else:  # Nothing that agrees with the forecasts is known, so there is no scale either.
        assert channel == FACE_VALUE


def test_forecasts_that_are_off_make_no_source_unreliable() -> None:
    """An LLM collapses, or the queries are of a new kind: all sources see it, and none is to blame."""
    rng = np.random.default_rng(2)
    channels = SourceChannels()
    for number in range(6000):
        truth = float(rng.uniform(0.2, 0.6))
        stale = 0.9 - 0.4 * (1 - truth)
        thumb = float(rng.random() < truth)
        channels.add("binary/one" if number % 2 else "binary/other", estimate=stale, value=thumb)
    for channel in channels.channels().values():
        assert channel.gain == pytest.approx(1.0, abs=0.25)
        assert channel.weight > 0.6
        assert channel.target(0.3) == pytest.approx(0.3, abs=0.12)


def test_unknown_sources_are_taken_at_face_value() -> None:
    assert planted(0).channel("binary/new") == FACE_VALUE


@given(st.floats(0.2, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_targets_are_right_on_average(gain: float, strictness: float, quality: float) -> None:
    bias = (1.0 - gain) * strictness  # Whatever thumbs of a sensitivity and a specificity can have.
    up = bias + gain * quality
    channel = Channel(bias=bias, gain=gain, weight=0.5)
    assert up * channel.target(1.0) + (1 - up) * channel.target(0.0) == pytest.approx(quality, abs=1e-9)


@given(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0), st.sampled_from([0.0, 0.5, 1.0]))
def test_targets_are_bounded(bias: float, gain: float, value: float) -> None:
    assert MIN_TARGET <= Channel(bias=bias, gain=gain).target(value) <= MAX_TARGET


@given(st.permutations(range(40)), st.integers(0, 40))
def test_order_and_merging_change_nothing(order: list[int], cut: int) -> None:
    rng = np.random.default_rng(3)
    pairs = [(f"binary/{int(rng.integers(3))}", float(rng.random()), float(rng.integers(2))) for _ in range(40)]

    def after(numbers: list[int]) -> SourceChannels:
        channels = SourceChannels()
        for number in numbers:
            name, estimate, value = pairs[number]
            channels.add(name, estimate=estimate, value=value, weight=3.0)
        return channels

    whole, merged = after(list(range(40))), after(order[:cut])
    merged.merge(after(order[cut:]))
    assert set(merged.names) == set(whole.names)
    for name, channel in whole.channels().items():
        assert merged.channel(name).gain == pytest.approx(channel.gain, abs=1e-9)
        assert merged.channel(name).weight == pytest.approx(channel.weight, abs=1e-9)


def test_sources_without_end_take_bounded_room() -> None:
    channels = SourceChannels()
    for number in range(2000):
        given_by = Feedback(
            feedback_id="f", decision_id="d", kind=FeedbackKind.BINARY, value=1.0, source=f"someone {number}"
        )
        channels.add(channels.name_of(given_by), estimate=0.5, value=1.0)
    assert len(channels.names) == 257
    assert channels.state()[:, 0].sum() == 2000
    channels.merge(planted(0))
    assert len(channels.names) == 257


def test_the_state_comes_back() -> None:
    channels, again = planted(4), SourceChannels()
    again.load_state(channels.names, channels.state())
    assert again.channels() == channels.channels()
    assert np.array_equal(again.state(), channels.state())


@pytest.mark.parametrize(
    ("names", "state"),
    [
        (("a",), np.zeros((2, 7))),
        (("a",), np.zeros((1, 6))),
        (("a", "a"), np.zeros((2, 7))),
        (("a",), np.full((1, 7), np.nan)),
        (("a",), np.full((1, 7), -1.0)),
    ],
)
def test_a_damaged_state_is_refused(
    names: tuple[str, ...], state: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> None:
    channels = planted(4)
    before = channels.state()
    with pytest.raises(StateError, match="Load another checkpoint"):
        channels.load_state(names, state)
    assert np.array_equal(channels.state(), before)


def test_others_move_the_estimate_as_far_as_they_are_trusted() -> None:
    sure, doubtful = Channel(weight=0.8, trust=1.0), Channel(weight=0.8, trust=0.1)
    far, near = combined(0.5, [(1.0, sure)]), combined(0.5, [(1.0, doubtful)])
    assert far[0] > near[0] > 0.5
    assert far[1] == pytest.approx(0.8)
    both = combined(0.5, [(1.0, sure), (0.0, sure)])
    assert both[0] == pytest.approx(0.5)
    assert 0.8 < both[1] < 1.0
