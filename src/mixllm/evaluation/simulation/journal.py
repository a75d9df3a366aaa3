"""The entries of a simulation's journal, one for each seed and policy."""

from __future__ import annotations

import hashlib

import msgspec

from mixllm.evaluation.journal import dataset_key
from mixllm.evaluation.simulation.playing import Run
from mixllm.evaluation.simulation.stream import StreamSettings
from mixllm.evaluation.splits import Dataset

__all__ = ["JOURNAL_FILE", "Entry", "run_key"]

JOURNAL_FILE = "simulation.jsonl"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One run, and what it was a run of.

    Parameters
    ----------
    key
        Of the data and the settings (see `run_key`).
    seed, policy
        Which one.
    run
        What came of it.
    """

    key: str
    seed: int
    policy: str
    run: Run

    @property
    def identity(self) -> tuple[str, int, str]:
        """Key, seed and policy."""
        return self.key, self.seed, self.policy


def run_key(dataset: Dataset, settings: StreamSettings, *, features: str) -> str:
    """Return a key of all that a run depends on, seed and policy aside.

    A change of the policies' code is seen only where MixLLM's version changes with it.

    Parameters
    ----------
    dataset, settings
        The data and how they become a stream.
    features
        Fingerprint of the features.
    """
    digest = hashlib.blake2b(digest_size=12)
    log = dataset.log
    digest.update(msgspec.json.encode((dataset_key(dataset, seed=0), features, settings)))
    for array in (log.tokens_in, log.tokens_out, log.latency_s, log.ttft_s):
        digest.update(array.tobytes())
    return f"{log.name}/{digest.hexdigest()}"
