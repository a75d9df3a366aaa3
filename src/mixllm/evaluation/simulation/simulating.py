"""The simulation: every policy on every seed's stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mixllm.assembly import build_features
from mixllm.config import TagsConfig
from mixllm.errors import InvalidValueError
from mixllm.evaluation.bench import one_thread
from mixllm.evaluation.journal import Journal
from mixllm.evaluation.simulation.journal import JOURNAL_FILE, Entry, run_key
from mixllm.evaluation.simulation.players import Seat, checked_policies, make_player
from mixllm.evaluation.simulation.playing import Run, play
from mixllm.evaluation.simulation.results import SimulationResults, summary
from mixllm.evaluation.simulation.stream import Stream, StreamSettings
from mixllm.evaluation.splits import Dataset

__all__ = ["Done", "SimulationSettings", "simulate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSettings:
    """What to run.

    Parameters
    ----------
    stream
        How the log becomes a stream.
    policies
        Names as `make_player` takes them; None runs `DEFAULT_POLICIES`.
    seeds
        How many streams.
    first_seed
        The seed of the first one; the others follow.
    out
        Folder of the journal, by which a stopped simulation goes on; None keeps none.
    fresh
        Do not take up the journal of an earlier simulation.
    """

    stream: StreamSettings = field(default_factory=StreamSettings)
    policies: tuple[str, ...] | None = None
    seeds: int = 10
    first_seed: int = 0
    out: Path | None = None
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InvalidValueError("seeds", self.seeds, ">= 1")
        if self.first_seed < 0:
            raise InvalidValueError("first_seed", self.first_seed, ">= 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A run that is done.

    Parameters
    ----------
    seed, policy
        Which one.
    done, total
        Runs of the simulation.
    """

    seed: int
    policy: str
    done: int
    total: int


def simulate(
    dataset: Dataset,
    settings: SimulationSettings,
    *,
    on_progress: Callable[[Done], None] = lambda _: None,
) -> SimulationResults:
    """Let every policy play every seed's stream.

    Parameters
    ----------
    dataset
        A log made ready, encoded by the router's default encoder.
    settings
        What to run.
    on_progress
        Called after each run.

    Raises
    ------
    InvalidValueError
        Where a policy is not known.
    ConfigError
        Where the schedule does not fit the log.
    LogError
        Where the log cannot be ordered by label, or its reference LLM costs nothing.
    MissingExtraError
        Where a policy's package, or scikit-learn, is not installed.
    """
    policies = checked_policies(settings.policies)
    features = build_features(TagsConfig(), dataset.encoder)
    key = run_key(dataset, settings.stream, features=features.fingerprint)
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    quality = dataset.log.mean_quality()
    ranked = sorted(dataset.log.llms, key=lambda llm: -quality[dataset.log.column(llm)])
    runs: dict[str, list[Run]] = {policy: [] for policy in policies}
    done, queries = 0, 0
    with (
        Journal(folder=settings.out, file=JOURNAL_FILE, kind=Entry, fresh=settings.fresh) as journal,
        one_thread(),
    ):
        for seed in seeds:
            stream = Stream(dataset=dataset, features=features, settings=settings.stream, seed=seed)
            queries = len(stream)
            seat = Seat.at(
                stream, dataset=dataset, ranked=ranked, reference=stream.listed(dataset.reference), seed=seed
            )
            for policy in policies:
                entry = journal.find(key, seed, policy)
                if entry is None:
                    entry = Entry(key=key, seed=seed, policy=policy, run=play(stream, make_player(policy, seat)))
                    journal.add(entry)
                runs[policy].append(entry.run)
                done += 1
                on_progress(Done(seed=seed, policy=policy, done=done, total=len(policies) * settings.seeds))
    return summary(dataset, settings.stream, seeds=seeds, queries=queries, features=features.fingerprint, runs=runs)
