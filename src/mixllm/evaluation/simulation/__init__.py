"""Simulation: policies on a stream made of a routing log, with bandit feedback only.

A player is handed queries one after the other, names an LLM of the pool, and is told what that LLM alone made of it.
`simulate` lets MixLLM and its peers play the same streams, seed by seed, while a schedule changes the pool.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixllm.evaluation.simulation.player import Arrival, Feedback, Player, SeesTruth, Truth
    from mixllm.evaluation.simulation.playing import Run, play
    from mixllm.evaluation.simulation.results import SimulationResults
    from mixllm.evaluation.simulation.reward import Exchange
    from mixllm.evaluation.simulation.schedule import Change, Schedule, parse_schedule, read_schedule
    from mixllm.evaluation.simulation.simulating import SimulationSettings, simulate
    from mixllm.evaluation.simulation.stream import Stream, StreamSettings

__all__ = [
    "Arrival",
    "Change",
    "Exchange",
    "Feedback",
    "Player",
    "Run",
    "Schedule",
    "SeesTruth",
    "SimulationResults",
    "SimulationSettings",
    "Stream",
    "StreamSettings",
    "Truth",
    "parse_schedule",
    "play",
    "read_schedule",
    "simulate",
]

_ROOM = "mixllm.evaluation.simulation"
_MODULES = {
    "playing": ("Run", "play"),
    "player": ("Arrival", "Feedback", "Player", "SeesTruth", "Truth"),
    "results": ("SimulationResults",),
    "reward": ("Exchange",),
    "schedule": ("Change", "Schedule", "parse_schedule", "read_schedule"),
    "simulating": ("SimulationSettings", "simulate"),
    "stream": ("Stream", "StreamSettings"),
}
_LOADED_LATER = {name: f"{_ROOM}.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    module = _LOADED_LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
