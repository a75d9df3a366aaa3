"""The benchmark: every contender on every split of every log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mixllm.errors import InvalidValueError
from mixllm.evaluation.contender import Split
from mixllm.evaluation.extra import bench_extra
from mixllm.evaluation.journal import JOURNAL_FILE, Entry, Journal, dataset_key
from mixllm.evaluation.registry import contenders
from mixllm.evaluation.results import DatasetResults, Results, summary
from mixllm.evaluation.splits import Dataset, domain_splits, random_splits
from mixllm.evaluation.trial import Trial, run_trial

__all__ = ["BenchSettings", "Progress", "run_bench"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What to run.

    Parameters
    ----------
    routers
        Names as `contenders` takes them; None runs all.
    splits
        Random splits of each log.
    seed
        Of the splits, and of the contenders' randomness.
    by_domain
        Hold out one value of the label at a time, instead of random fifths; `splits` does not count then.
    out
        Folder of the journal, by which a stopped run goes on; None keeps none.
    fresh
        Do not take up the journal of an earlier run.
    """

    routers: tuple[str, ...] | None = None
    splits: int = 10
    seed: int = 0
    by_domain: bool = False
    out: Path | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A trial that is done.

    Parameters
    ----------
    dataset, split, router
        Which one.
    done, total
        Trials of this log.
    seconds
        How long it took; 0 where the journal knew it.
    """

    dataset: str
    split: str
    router: str
    done: int
    total: int
    seconds: float


def run_bench(
    datasets: Sequence[Dataset],
    settings: BenchSettings,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Results:
    """Run every contender on every split of every log.

    Parameters
    ----------
    datasets
        Logs made ready, their names unique.
    settings
        What to run.
    on_progress
        Called after each trial.

    Raises
    ------
    InvalidValueError
        Where no log is given, two have the same name, or a router is not known.
    MissingExtraError
        Where scikit-learn is not installed.
    """
    names = [dataset.log.name for dataset in datasets]
    if not names or len(set(names)) != len(names):
        raise InvalidValueError("datasets", names, "one or more, with names of their own")
    for dataset in datasets:
        contenders(settings.routers, llms=dataset.log.llms)  # refused before anything is run
    with Journal(folder=settings.out, file=JOURNAL_FILE, kind=Entry, fresh=settings.fresh) as journal, one_thread():
        found = {dataset.log.name: _run_dataset(dataset, settings, journal, on_progress) for dataset in datasets}
    return Results(seed=settings.seed, datasets=found)


def _run_dataset(
    dataset: Dataset, settings: BenchSettings, journal: Journal[Entry], on_progress: Callable[[Progress], None]
) -> DatasetResults:
    key = dataset_key(dataset, seed=settings.seed)
    splits = list(_splits(dataset, settings))
    routers = contenders(settings.routers, llms=dataset.log.llms)
    trials: dict[str, list[Trial]] = {contender.name: [] for contender in routers}
    done = 0
    for split in splits:
        for contender in routers:
            entry, seconds = journal.find(key, split.name, contender.name), 0.0
            if entry is None:
                trial = run_trial(contender, split)
                seconds = trial.total_s
                entry = Entry(dataset=key, split=split.name, router=contender.name, trial=trial)
                journal.add(entry)
            trials[contender.name].append(entry.trial)
            done += 1
            on_progress(
                Progress(
                    dataset=dataset.log.name,
                    split=split.name,
                    router=contender.name,
                    done=done,
                    total=len(splits) * len(routers),
                    seconds=seconds,
                )
            )
    return summary(dataset, splits=[split.name for split in splits], trials=trials)


def _splits(dataset: Dataset, settings: BenchSettings) -> Iterator[Split]:
    if settings.by_domain:
        return domain_splits(dataset, seed=settings.seed)
    return random_splits(dataset, splits=settings.splits, seed=settings.seed)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep linear algebra to one thread.

    The products are small, so that threads cost more than they bring, and sums do not depend on their number.

    Raises
    ------
    MissingExtraError
        Where scikit-learn, which brings threadpoolctl, is not installed.
    """
    with bench_extra("The benchmark"):
        from threadpoolctl import threadpool_limits
    with threadpool_limits(limits=1, user_api="blas"):
        yield
