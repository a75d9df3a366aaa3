"""Only the chosen LLM's outcome is ever shown: what the others would have done changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluation.simulation.planted import LLMS, make_seat, make_stream, topic_data
from tests.evaluation.simulation.recording import Recording

from mixllm.evaluation.simulation.player import SeesTruth
from mixllm.evaluation.simulation.players import DEFAULT_POLICIES, make_player
from mixllm.evaluation.simulation.playing import play
from mixllm.evaluation.simulation.stream import Stream, StreamSettings
from mixllm.evaluation.splits import Dataset

IN_HINDSIGHT = ("best-single", "oracle")
LEARNERS = ("mixllm", "paretobandit", "mabwiser-linucb", "mabwiser-lints", "epsilon-greedy")
SETTINGS = StreamSettings(queries=30)


def _played(policy: str, data: Dataset) -> tuple[Recording, Stream]:
    stream = make_stream(SETTINGS, seed=4, data=data)
    recording = Recording(make_player(policy, make_seat(stream, seed=4)))
    play(stream, recording)
    return recording, stream


def _columns(recording: Recording) -> NDArray[np.intp]:
    return np.array([LLMS.index(llm) for llm in recording.choices], np.intp)


@pytest.mark.parametrize("policy", LEARNERS)
def test_what_the_llms_that_were_not_chosen_would_have_done_changes_no_choice(policy: str) -> None:
    data = topic_data()
    recording, stream = _played(policy, data)
    chosen = np.zeros(data.log.quality.shape, np.bool_)
    chosen[stream.rows, _columns(recording)] = True
    quality = np.where(chosen, data.log.quality, 1.0 - data.log.quality)
    latency_s = np.where(chosen, data.log.latency_s, 1e4)
    assert (quality != data.log.quality).any()
    other = replace(data, log=replace(data.log, quality=quality, latency_s=latency_s))
    again, _ = _played(policy, other)
    assert again.choices == recording.choices
    assert again.told == recording.told
    assert [(told.number, told.llm) for told in recording.told] == list(enumerate(recording.choices))
    truth = stream.quality[np.arange(len(stream)), _columns(recording)]
    assert [told.quality for told in recording.told] == truth.tolist()


def test_only_the_bounds_are_shown_the_truth() -> None:
    seat = make_seat(make_stream(SETTINGS))
    players = {name: make_player(name, seat) for name in DEFAULT_POLICIES}
    assert tuple(name for name, player in players.items() if isinstance(player, SeesTruth)) == IN_HINDSIGHT
    for player in players.values():
        player.close()
