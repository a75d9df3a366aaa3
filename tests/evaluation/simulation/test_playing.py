from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.simulation.planted import LLMS, make_seat, make_stream
from tests.evaluation.simulation.recording import Always, Recording

from mixllm.errors import InvalidValueError
from mixllm.evaluation.simulation.players import make_player
from mixllm.evaluation.simulation.playing import curve_points, play
from mixllm.evaluation.simulation.schedule import Change, Schedule
from mixllm.evaluation.simulation.stream import StreamSettings


@pytest.mark.parametrize("delay", [0, 1, 7, 1000])
def test_feedback_comes_after_so_many_further_decisions(delay: int) -> None:
    stream = make_stream(StreamSettings(queries=30, feedback_delay=delay))
    recording = Recording(Always("dear"))
    play(stream, recording)
    assert [told.number for told in recording.told] == list(range(max(0, 30 - delay)))
    assert recording.told_after == [number + 1 + delay for number in range(max(0, 30 - delay))]
    assert recording.closed == 1


def test_sums_of_a_run() -> None:
    stream = make_stream(StreamSettings(queries=90))
    run = play(stream, Always("first-topic"))
    assert run.reward == pytest.approx(stream.reward[:, 0].sum())
    assert run.regret == pytest.approx((stream.reward.max(axis=1) - stream.reward[:, 0]).sum())
    assert run.last_third_reward == pytest.approx(stream.reward[60:, 0].sum())
    assert run.quality == pytest.approx(stream.quality[:, 0].mean())
    assert run.cost_usd == pytest.approx(stream.cost_usd[:, 0].sum())
    assert run.shares == {"first-topic": 1.0, "second-topic": 0.0, "dear": 0.0}
    assert run.reward_curve[-1] == pytest.approx(run.reward)
    assert run.regret_curve[0] == pytest.approx((stream.reward.max(axis=1) - stream.reward[:, 0])[0])
    assert np.diff(run.regret_curve).min() >= 0


def test_curves_have_few_points_and_the_last_query() -> None:
    points = curve_points(5533)
    assert (points[0], points[-1], len(points)) == (1, 5533, 200)


def test_a_choice_outside_the_pool_is_refused_and_the_player_closed() -> None:
    gone = Schedule(changes=(Change(at=5, change="remove", llm="dear"),))
    recording = Recording(Always("dear"))
    with pytest.raises(InvalidValueError, match="pool at query 5"):
        play(make_stream(StreamSettings(schedule=gone)), recording)
    assert (len(recording.told), recording.closed) == (5, 1)


def test_the_bounds_are_what_they_say() -> None:
    changes = (Change(at=100, change="remove", llm="first-topic"), Change(at=150, change="add", llm="first-topic"))
    stream = make_stream(StreamSettings(schedule=Schedule(changes=changes)))
    seat = make_seat(stream)
    oracle, single = (play(stream, make_player(name, seat)) for name in ("oracle", "best-single"))
    assert oracle.regret == 0
    assert oracle.reward == pytest.approx(stream.best_reward().sum())
    worth = [stream.reward[stream.in_pool[:, column], column].mean() for column in range(3)]
    first = int(np.argmax(worth))
    assert single.shares[LLMS[first]] >= 190 / 240
    strongest = play(stream, make_player("always-strongest", seat))
    assert strongest.shares["dear"] == 1
    assert strongest.reward < single.reward < oracle.reward
