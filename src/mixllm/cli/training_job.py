"""What ``mixllm train`` does, step by step."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mixllm.config import EncoderConfig
from mixllm.encoders import StaticEncoder
from mixllm.errors import LogError, StateError, did_you_mean
from mixllm.learning.offline import MIXLLM, PAPER, FamilyChoice, TrainingRecipe, TrainingSet, appraise, train
from mixllm.learning.offline.appraisal import Appraisal
from mixllm.learning.offline.shrinkage import Shrinkage
from mixllm.logs import RoutingLog, default_label, open_log
from mixllm.saved_router import SavedRouter, check_target
from mixllm.tags import PrototypeTagger
from mixllm.tags.labelling import TagLabels
from mixllm.tags.sources import labels_from_clusters, labels_from_column
from mixllm.tags.unit_block import unit_block
from mixllm.types import Price, Value

__all__ = ["TrainingJob", "TrainingReport"]

_RECIPES = {recipe.name: recipe for recipe in (MIXLLM, PAPER)}
_HELD_OUT = 0.2
_CLUSTERS = 12
_FEWEST_QUERIES = 20
_REPORT = "report.json"


class TrainingReport(Value, frozen=True, kw_only=True):
    """What was trained, how, and how good it is; also ``report.json`` of the model folder.

    Parameters
    ----------
    data, recipe, seed
        What it was made of.
    queries, llms, tags
        How many, and which.
    tag_source, vocabulary
        Where the tags come from, and the version of their vocabulary.
    reference
        The LLM whose mean cost is the scale of cost.
    prices
        Of each LLM, as fitted to the log's costs and tokens.
    encode_s, train_s
        Seconds of encoding, and of training the model that was written.
    families
        Families of predictors that competed.
    shrinkage
        How the priors were chosen.
    quality_families, length_families
        What won for each LLM, with the scores; None where the Bayesian model was alone.
    appraisal
        A model trained on four fifths, on the other fifth.
    """

    data: str
    recipe: str
    seed: int
    queries: int
    llms: tuple[str, ...]
    tags: tuple[str, ...]
    tag_source: str
    vocabulary: str
    reference: str
    prices: Mapping[str, Price]
    encode_s: float
    train_s: float
    families: tuple[str, ...]
    shrinkage: Shrinkage
    quality_families: FamilyChoice | None
    length_families: FamilyChoice | None
    appraisal: Appraisal


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """The command's parameters; see `mixllm.cli.train`."""

    data: Path
    out: Path
    label: str | None
    tags_file: Path | None
    clusters: int | None
    recipe: str
    reference: str | None
    seed: int
    fresh: bool
    families: tuple[str, ...] | None = None

    def run(self, tell: Callable[[str], None]) -> TrainingReport:
        """Read, encode, label, appraise, train and write.

        Raises
        ------
        MixLLMError
            Where the log or the labels do not serve, or the folder cannot be written.
        """
        check_target(self.out)
        recipe = self._recipe()
        log = open_log(self.data)
        if len(log) < _FEWEST_QUERIES:
            raise LogError(f"{self.data} has {len(log)} queries; training needs {_FEWEST_QUERIES}. Use a larger log.")
        reference = self._reference(log)
        base = StaticEncoder.wordllama()
        started = time.perf_counter()
        tell(f"Encoding {len(log):,} queries")
        encodings, token_ids = self._encoded(log, base)
        encode_s = time.perf_counter() - started
        labels = self._labels(log, base, encodings)
        data = TrainingSet.from_log(
            log,
            encodings=encodings,
            token_ids=token_ids,
            labels=labels,
            reference=reference,
        )
        appraisal = self._appraise(data, base, tell)
        started = time.perf_counter()
        model = train(
            data,
            base=base,
            recipe=recipe,
            rng=np.random.default_rng(self.seed),
            progress=lambda step: tell(f"Training: {step}"),
        )
        report = TrainingReport(
            data=str(self.data),
            recipe=self.recipe,
            seed=self.seed,
            queries=len(data),
            llms=data.llms,
            tags=model.tagger.tags,
            tag_source=labels.vocabulary.source,
            vocabulary=labels.vocabulary.version,
            reference=data.reference,
            prices=dict(zip(data.llms, data.prices, strict=True)),
            encode_s=encode_s,
            train_s=time.perf_counter() - started,
            families=recipe.families,
            shrinkage=model.shrinkage,
            quality_families=model.quality_families,
            length_families=model.length_families,
            appraisal=appraisal,
        )
        SavedRouter.of_training(model, base=base, encoder=EncoderConfig(), labels=labels).to_folder(self.out)
        (self.out / _REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report)))
        self._cache.unlink(missing_ok=True)
        return report

    def _recipe(self) -> TrainingRecipe:
        recipe = _RECIPES[self.recipe]
        return recipe if self.families is None else replace(recipe, families=self.families)

    def _appraise(self, data: TrainingSet, base: StaticEncoder, tell: Callable[[str], None]) -> Appraisal:
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(data))
        held_out = max(1, round(len(data) * _HELD_OUT))
        model = train(
            data.select(np.sort(order[held_out:])),
            base=base,
            recipe=self._recipe(),
            rng=rng,
            progress=lambda step: tell(f"Appraising: {step}"),
        )
        return appraise(model, data.select(np.sort(order[:held_out])))

    @property
    def _cache(self) -> Path:
        return self.out.parent / f".{self.out.name}.encodings"

    def _encoded(self, log: RoutingLog, base: StaticEncoder) -> tuple[NDArray[np.float32], list[Sequence[int]] | None]:
        """Return encodings and tokens; of queries without a text, those that the log has, and no tokens."""
        without = np.array([not text.strip() for text in log.texts])
        known = _known_encodings(log, base)
        if known is None and without.all():
            raise LogError(
                f"{self.data} has no texts, and its encodings are of encoder {log.encoder!r}, not of "
                f"{base.fingerprint!r}. Store prompts (privacy.store_prompts), or serve with the default encoder."
            )
        if known is not None and without.all():
            return known, None
        encodings, token_ids = self._encoded_texts(log, base)
        if known is not None:
            encodings = np.where(without[:, None], known, encodings)
        return encodings, token_ids

    def _encoded_texts(self, log: RoutingLog, base: StaticEncoder) -> tuple[NDArray[np.float32], list[Sequence[int]]]:
        """Encode the queries, or take what a stopped run of the same queries left beside `out`."""
        digest = hashlib.sha256(base.fingerprint.encode())
        for text in log.texts:
            digest.update(hashlib.sha256(text.encode(errors="surrogatepass")).digest())
        key = np.frombuffer(digest.digest(), np.uint8)
        if not self.fresh and (kept := _read_cache(self._cache, key)) is not None:
            return kept
        token_ids: list[Sequence[int]] = list(base.token_ids(log.texts))
        encodings = np.array([base.vector_of(ids) for ids in token_ids], np.float32)
        flat = np.concatenate([np.asarray(ids, np.int32) for ids in token_ids])
        lengths = np.array([len(ids) for ids in token_ids], np.int32)
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            save_file({"key": key, "encodings": encodings, "tokens": flat, "lengths": lengths}, self._cache)
        except (OSError, SafetensorError) as error:
            raise StateError(f"{self._cache} cannot be written ({error}). Check the path and its rights.") from error
        return encodings, token_ids

    def _labels(self, log: RoutingLog, base: StaticEncoder, encodings: NDArray[np.float32]) -> TagLabels:
        if self.tags_file is not None:
            return _labels_of(TagLabels.load(self.tags_file), log, self.tags_file)
        label = self.label
        if label is not None and label not in log.labels:
            known = ", ".join(log.labels) or "none"
            raise LogError(f"{self.data}: no column {label!r}.{did_you_mean(label, log.labels)} It has: {known}.")
        if label is None and self.clusters is None:
            label = default_label(log)
        if label is not None:
            return labels_from_column(log.query_ids, log.labels[label], source=label)
        return labels_from_clusters(
            log.query_ids,
            encodings,
            clusters=self.clusters or _CLUSTERS,
            tagger=PrototypeTagger.from_domains(encoder=base),
            rng=np.random.default_rng(self.seed),
        )

    def _reference(self, log: RoutingLog) -> str:
        if self.reference is None:
            return log.strongest()
        return log.llms[log.column(self.reference)]


def _known_encodings(log: RoutingLog, base: StaticEncoder) -> NDArray[np.float32] | None:
    """Return the base's encodings out of those that an export has; None where they are of another encoder."""
    if log.encodings is None or log.encoder is None:
        return None
    if log.encoder != base.fingerprint and not log.encoder.startswith(f"{base.fingerprint}+"):
        return None
    # The base's stand in front of a trained encoder's lexical block, or of surface features, scaled together with them.
    return unit_block(log.encodings, base.dimension)[:, : base.dimension]


def _read_cache(path: Path, key: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[Sequence[int]]] | None:
    try:
        kept = load_file(path)
    except (OSError, SafetensorError, ValueError):
        return None
    if not np.array_equal(kept.get("key", np.empty(0)), key):
        return None
    ends = np.cumsum(kept["lengths"])
    parts = np.split(kept["tokens"], ends[:-1])
    return kept["encodings"], [part.tolist() for part in parts]


def _labels_of(labels: TagLabels, log: RoutingLog, file: Path) -> TagLabels:
    """Return `labels` in the order of the log's queries; queries that they lack have no tag."""
    place = {query_id: row for row, query_id in enumerate(labels.query_ids)}
    rows = [place.get(query_id) for query_id in log.query_ids]
    if not any(row is not None for row in rows):
        raise LogError(f"{file} has labels of other queries. Make it from this log: mixllm tag --data.")
    if not any(labels.tagged[row] for row in rows if row is not None):
        raise LogError(f"{file} has no tag for any query of the log. Take a column (--label) or clusters (--clusters).")
    weights = np.zeros((len(rows), labels.weights.shape[1]), np.float32)
    for target, row in enumerate(rows):
        if row is not None:
            weights[target] = labels.weights[row]
    return TagLabels(vocabulary=labels.vocabulary, query_ids=log.query_ids, weights=weights)
