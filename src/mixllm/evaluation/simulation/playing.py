"""A player on a stream: choose, pay, be told what the chosen LLM did, go on."""

from __future__ import annotations

import time
from collections import deque

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.evaluation.simulation.player import Player, SeesTruth
from mixllm.evaluation.simulation.stream import Stream

__all__ = ["Run", "curve_points", "play"]

_POINTS = 200


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one player made of one stream.

    Parameters
    ----------
    reward
        Sum of the true rewards, whatever the feedback told.
    regret
        How much more the best choice of every query would have brought.
    last_third_reward
        Sum of the rewards over the last third of the queries.
    quality
        Mean true quality of the chosen answers.
    cost_usd
        What they cost together.
    shares
        Share of the queries of each LLM.
    seconds
        How long all decisions and all learning took.
    reward_curve, regret_curve
        Both sums after each of `curve_points` queries.
    """

    reward: float
    regret: float
    last_third_reward: float
    quality: float
    cost_usd: float
    shares: dict[str, float]
    seconds: float
    reward_curve: list[float]
    regret_curve: list[float]


def play(stream: Stream, player: Player) -> Run:
    """Let `player` play `stream` to the end, and close it.

    Raises
    ------
    InvalidValueError
        Where it chooses an LLM that is not in the pool.
    """
    if isinstance(player, SeesTruth):
        player.look(stream.truth())
    began_s = time.perf_counter()
    try:
        chosen = _choices(stream, player)
    finally:
        player.close()
    return _summary(stream, chosen, seconds=time.perf_counter() - began_s)


def _choices(stream: Stream, player: Player) -> NDArray[np.intp]:
    columns = {llm: column for column, llm in enumerate(stream.llms)}
    chosen = np.zeros(len(stream), np.intp)
    untold: deque[int] = deque()
    for number in range(len(stream)):
        arrival = stream.arrival(number)
        llm = player.choose(arrival)
        if llm not in arrival.eligible:
            raise InvalidValueError("llm", llm, f"one of the pool at query {number}: {', '.join(arrival.eligible)}")
        chosen[number] = columns[llm]
        untold.append(number)
        while untold and untold[0] + stream.settings.feedback_delay <= number:
            earlier = untold.popleft()
            player.learn(stream.feedback(earlier, int(chosen[earlier])))
    return chosen


def curve_points(queries: int) -> NDArray[np.intp]:
    """Return after how many queries the curves have a point: the last one included, at most 200.

    Examples
    --------
    >>> curve_points(3).tolist()
    [1, 2, 3]
    """
    return np.unique(np.linspace(1, queries, min(queries, _POINTS)).round().astype(np.intp))


def _summary(stream: Stream, chosen: NDArray[np.intp], *, seconds: float) -> Run:
    rows = np.arange(len(stream))
    reward = stream.reward[rows, chosen]
    regret = stream.best_reward() - reward
    points = curve_points(len(stream)) - 1
    counts = np.bincount(chosen, minlength=len(stream.llms))
    return Run(
        reward=float(reward.sum()),
        regret=float(regret.sum()),
        last_third_reward=float(np.array_split(reward, 3)[2].sum()),
        quality=float(stream.quality[rows, chosen].mean()),
        cost_usd=float(stream.cost_usd[rows, chosen].sum()),
        shares={llm: round(float(count / len(stream)), 6) for llm, count in zip(stream.llms, counts, strict=True)},
        seconds=round(seconds, 4),
        reward_curve=reward.cumsum()[points].round(6).tolist(),
        regret_curve=regret.cumsum()[points].round(6).tolist(),
    )
