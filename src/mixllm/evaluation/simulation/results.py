"""Results of a simulation in the form that other programs read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from mixllm import __version__
from mixllm.errors import ConfigError
from mixllm.evaluation.results import Number, mean_and_error
from mixllm.evaluation.simulation.curves import SeedCurve, mean_curve
from mixllm.evaluation.simulation.players import OURS
from mixllm.evaluation.simulation.playing import Run, curve_points
from mixllm.evaluation.simulation.stream import StreamSettings
from mixllm.evaluation.splits import Dataset

__all__ = ["RESULTS_FILE", "Lead", "PolicyResults", "SimulationResults", "ranked", "summary", "write_results"]

RESULTS_FILE = "simulation.json"


class PolicyResults(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy made of all seeds.

    Parameters
    ----------
    reward
        Sum of the rewards over the stream.
    regret
        How much more the best choice of every query would have brought.
    last_third_reward
        Sum of the rewards over the last third of the stream.
    quality
        Mean quality of the chosen answers.
    cost_usd
        What they cost together.
    seconds
        Time of a whole stream, decisions and learning.
    shares
        Share of the queries of each LLM, averaged over seeds.
    reward_curve, regret_curve
        The sums along the stream, at the points of `SimulationResults.points`.
    """

    reward: Number
    regret: Number
    last_third_reward: Number
    quality: Number
    cost_usd: Number
    seconds: Number
    shares: dict[str, float]
    reward_curve: SeedCurve
    regret_curve: SeedCurve


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """MixLLM's reward less another policy's on the same streams.

    Parameters
    ----------
    reward
        The difference, paired by seed.
    seeds_ahead
        In how many seeds it is above 0.
    """

    reward: Number
    seeds_ahead: int


class SimulationResults(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a simulation: the content of ``simulation.json``.

    Parameters
    ----------
    policies
        By their names.
    lead
        What MixLLM is ahead of each other policy; empty where it did not run.
    log
        Name of the log.
    reference
        The LLM whose mean recorded cost is the scale of cost.
    cost_scale_usd
        That cost.
    queries
        Length of the stream.
    left_out
        Queries of the log that some LLM was not asked.
    seeds
        The seeds.
    settings
        How the log became a stream.
    features
        Fingerprint of the features.
    points
        After how many queries the curves have a point.
    version
        MixLLM's.
    """

    policies: dict[str, PolicyResults]
    lead: dict[str, Lead]
    log: str
    reference: str
    cost_scale_usd: float
    queries: int
    left_out: int
    seeds: list[int]
    settings: StreamSettings
    features: str
    points: list[int]
    version: str = __version__


def summary(
    dataset: Dataset,
    settings: StreamSettings,
    *,
    seeds: Sequence[int],
    queries: int,
    features: str,
    runs: Mapping[str, Sequence[Run]],
) -> SimulationResults:
    """Return the means of every policy's runs, one run for each seed."""
    others = [policy for policy in runs if policy != OURS] if OURS in runs else []
    return SimulationResults(
        policies={policy: _policy(found) for policy, found in runs.items()},
        lead={policy: _lead(runs[OURS], runs[policy]) for policy in others},
        log=dataset.log.name,
        reference=dataset.reference,
        cost_scale_usd=float(dataset.log.mean_cost_usd()[dataset.log.column(dataset.reference)]),
        queries=queries,
        left_out=dataset.left_out,
        seeds=list(seeds),
        settings=settings,
        features=features,
        points=curve_points(queries).tolist(),
    )


def ranked(results: SimulationResults) -> list[str]:
    """Return the policies, the highest reward first."""
    return sorted(results.policies, key=lambda policy: -(results.policies[policy].reward.mean or 0.0))


def write_results(results: SimulationResults, folder: Path) -> None:
    """Write ``simulation.json`` into a folder; raises `ConfigError` where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(results), indent=1)
        (folder / RESULTS_FILE).write_bytes(text + b"\n")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}). Give another folder.") from error


def _policy(runs: Sequence[Run]) -> PolicyResults:
    return PolicyResults(
        reward=mean_and_error([run.reward for run in runs]),
        regret=mean_and_error([run.regret for run in runs]),
        last_third_reward=mean_and_error([run.last_third_reward for run in runs]),
        quality=mean_and_error([run.quality for run in runs]),
        cost_usd=mean_and_error([run.cost_usd for run in runs]),
        seconds=mean_and_error([run.seconds for run in runs]),
        shares={llm: round(float(np.mean([run.shares[llm] for run in runs])), 6) for llm in runs[0].shares},
        reward_curve=mean_curve([run.reward_curve for run in runs]),
        regret_curve=mean_curve([run.regret_curve for run in runs]),
    )


def _lead(ours: Sequence[Run], theirs: Sequence[Run]) -> Lead:
    differences = [mine.reward - other.reward for mine, other in zip(ours, theirs, strict=True)]
    return Lead(reward=mean_and_error(differences), seeds_ahead=sum(difference > 0 for difference in differences))
