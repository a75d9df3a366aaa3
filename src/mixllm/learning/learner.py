"""The learner: every LLM's predictors, the events they have learned from, and the snapshots made of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import DuplicateLLMError, InvalidValueError, StateError, UnknownLLMError
from mixllm.interfaces import FeatureMap
from mixllm.learning.banks import Banks
from mixllm.learning.bases import Bases
from mixllm.learning.calls import teach_call
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.cost_scale import CostScale
from mixllm.learning.history import CallHistory, teach_history
from mixllm.learning.judging import Judging, Taught
from mixllm.learning.known_queries import KnownQueries
from mixllm.learning.recipe import LLMModel, Recipe
from mixllm.learning.snapshot import Snapshot
from mixllm.predictors import FrozenBank
from mixllm.types import Feedback, LearningEvent, LLMSpec, Outcome, OutcomeStatus, Price
from mixllm.units import fraction

__all__ = ["Learner", "LearnerCounts"]

_LOG = logging.getLogger(__name__)

_PARTS = ("quality", "length", "billing", "latency")


@dataclass(slots=True, kw_only=True)
class LearnerCounts:
    """What the learner has done since it started; shown in health checks and metrics.

    Parameters
    ----------
    outcomes, feedback
        Events learned from.
    ignored
        Events that teach nothing: failed calls, other metrics, LLMs that were never in the pool.
    refused
        Events that do not fit: another encoder's vectors, values out of range. Should stay 0.
    """

    outcomes: int = 0
    feedback: int = 0
    ignored: int = 0
    refused: int = 0


class Learner:
    """Turns events into predictors; thread-safe.

    Parameters
    ----------
    features
        Encoding to features.
    encoding_dimension
        Length d of encodings; events with another length are refused.
    specs
        The pool to start with, each with a price.
    recipe
        Priors and noise of new predictors.
    reference
        Name of the LLM whose mean cost is the scale of cost; None takes the dearest of `specs`, or the first that is
        ever added. It stays the scale when other LLMs come, and when it leaves: adding an LLM must not move the
        others.
    bases
        What was fitted offline under the predictors of the LLMs of these names; None: nothing.
    """

    def __init__(
        self,
        *,
        features: FeatureMap,
        encoding_dimension: int,
        specs: Sequence[LLMSpec] = (),
        recipe: Recipe | None = None,
        reference: str | None = None,
        bases: Bases | None = None,
    ) -> None:
        if encoding_dimension < 1:
            raise InvalidValueError("encoding_dimension", encoding_dimension, ">= 1")
        if bases is not None:
            bases.check_dimensions(quality=features.dimension, length=features.dimension + 1)
        self.features = features
        self.bases = bases
        self.encoding_dimension = encoding_dimension
        self.recipe = recipe or Recipe()
        self.reference = reference
        self._reference_given = reference
        self.counts = LearnerCounts()
        self._lock = threading.RLock()
        self._specs: dict[str, LLMSpec] = {}
        self._prices: dict[str, Price] = {}  # Also of LLMs that left: their last calls are still to be charged.
        self._models: dict[str, LLMModel] = {}
        self._reference_price: Price | None = None
        self._scale = CostScale(window=self.recipe.cost_scale_window, prior_tokens_out=self.recipe.prior_tokens_out)
        self.judging = Judging()
        self._known = KnownQueries(features=features)
        self._position = 0
        self._version = 0
        self._frozen: tuple[list[str], FrozenBank | None, FrozenBank | None] = ([], None, None)
        for spec in specs:
            if spec.name in self._specs:
                raise DuplicateLLMError(spec.name)
            self._put(spec)
        self._settle_reference()

    @property
    def position(self) -> int:
        """`LearningEvent.seq` of the last event learned from."""
        return self._position

    @property
    def llms(self) -> tuple[str, ...]:
        """Names of the LLMs of the pool."""
        return tuple(self._specs)

    @property
    def version(self) -> int:
        """Version of the newest snapshot."""
        return self._version

    @property
    def fingerprint(self) -> str:
        """Identity of what is learned on: the features, and the bases where there are any."""
        return self.features.fingerprint if self.bases is None else f"{self.features.fingerprint}+{self.bases.digest}"

    def advance_version(self, version: int) -> None:
        """Let the next snapshot's version be above `version`, so that a version never names two states."""
        with self._lock:
            self._version = max(self._version, version)

    def put_llm(self, spec: LLMSpec) -> None:
        """Add `spec` to the pool, or replace the one of its name; what was learned under the name is kept.

        Raises
        ------
        InvalidValueError
            Where `spec` has no price.
        """
        with self._lock:
            self._put(spec)
            self._settle_reference()

    def price(self, name: str) -> Price | None:
        """Return what an LLM costs that is or was in the pool; None where there was none of that name."""
        return self._prices.get(name)  # Without the lock: requests ask, and must not wait for a batch to be learned.

    def drop_llm(self, name: str) -> None:
        """Take an LLM out of the pool; what was learned of it is kept for its return."""
        with self._lock:
            if name not in self._specs:
                raise UnknownLLMError(name, self._specs)
            del self._specs[name]

    def learn(self, events: Sequence[LearningEvent]) -> int:
        """Learn from `events`, which follow `position` in order; return how many were new.

        An event at or before `position` is skipped: the same event never teaches twice.
        """
        learned = 0
        with self._lock:
            for event in events:
                if event.seq > self._position:
                    self._learn_one(event)
                    self._position = event.seq
                    learned += 1
        return learned

    def learn_history(self, name: str, history: CallHistory) -> None:
        """Learn what one LLM of the pool did before there were events, all at once.

        Raises
        ------
        UnknownLLMError
            Where there is no such LLM.
        InvalidValueError
            Where an array does not fit; what is known stays as it was.
        """
        with self._lock:
            if name not in self._specs:
                raise UnknownLLMError(name, self._specs)
            teach_history(self._models[name], history, price=self._prices[name])
            self._known.add(history.judged_queries)
            if name == self.reference:
                self._scale.start_from(history.cost_usd[history.cost_known])

    def snapshot(self) -> Snapshot:
        """Freeze what is known now; the version rises with each call."""
        with self._lock:
            self._version += 1
            names = list(self._specs)
            rows = [list(self._models).index(name) for name in names]
            banks = Banks.of(
                tuple(self._models.values()), rows, recipe=self.recipe, tags=self._tags, embedding=self._embedding
            )
            quality_base, length_base = self._base_banks(names)
            return Snapshot(
                version=self._version,
                position=self._position,
                specs=tuple(self._specs.values()),
                quality=banks.quality,
                length=banks.length,
                billing=banks.billing,
                quality_base=quality_base,
                length_base=length_base,
                latency=tuple(self._models[name].latency.forecast() for name in names),
                judgements=tuple(self._models[name].quality.observations for name in names),
                surroundings=self._known.surroundings(banks.quality, quality_base),
                cost_scale_usd=self._scale.usd(self._reference_price),
            )

    def checkpoint(self) -> Checkpoint:
        """Return everything learned, ready to be saved."""
        with self._lock:
            arrays: dict[str, NDArray[np.float64]] = {"scale": self._scale.state()} | self._known.arrays()
            for row, model in enumerate(self._models.values()):
                for part in _PARTS:
                    state = getattr(model, part).state()
                    arrays.update({f"{row}.{part}.{name}": array for name, array in state.items()})
            return Checkpoint(
                version=self._version,
                position=self._position,
                features=self.fingerprint,
                reference=self.reference,
                llms=tuple(self._models),
                levels=tuple(model.quality.prior.bias_mean for model in self._models.values()),
                reference_price=self._reference_price,
                arrays=arrays,
            )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Replace everything learned by `checkpoint`; the pool stays as it is.

        Raises
        ------
        StateError
            Where the checkpoint was learned on other features or bases or does not fit; what is known stays as it was.
        """
        if checkpoint.features != self.fingerprint:
            raise StateError(
                f"The checkpoint was learned on features {checkpoint.features!r}, but this router has "
                f"{self.fingerprint!r}. Use the encoder and tags that it was learned with, or start afresh."
            )
        scale = self._scale.restored(checkpoint.arrays.get("scale"))
        known = KnownQueries.restored(self.features, checkpoint)
        models = {
            name: self._restored(checkpoint, row, name, level)
            for row, (name, level) in enumerate(zip(checkpoint.llms, checkpoint.levels, strict=True))
        }
        with self._lock:
            for name, spec in self._specs.items():
                if name not in models:
                    models[name] = self._new_model(name, self.recipe.level_from_price(_price_of(spec)))
            self._models = models
            self._scale = scale
            self._known = known
            self._position = checkpoint.position
            self._version = max(self._version, checkpoint.version)
            if self._reference_given is None:
                self.reference, self._reference_price = checkpoint.reference, checkpoint.reference_price
            self._settle_reference()

    def _put(self, spec: LLMSpec) -> None:
        self._prices[spec.name] = _price_of(spec)
        self._specs[spec.name] = spec
        if spec.name not in self._models:
            self._models[spec.name] = self._new_model(spec.name, self.recipe.level_from_price(_price_of(spec)))

    def _settle_reference(self) -> None:
        if self.reference is None and self._specs:
            self.reference = max(
                self._specs, key=lambda name: _price_of(self._specs[name]).blended_usd_per_million_tokens
            )
        if self.reference in self._specs:
            self._reference_price = _price_of(self._specs[self.reference])

    def _learn_one(self, event: LearningEvent) -> None:
        model = self._models.get(event.llm)
        if model is None:
            self.counts.ignored += 1
            return
        encoding = np.frombuffer(event.encoding, "<f4") if len(event.encoding) % 4 == 0 else np.empty(0, "<f4")
        if encoding.shape != (self.encoding_dimension,) or not np.isfinite(encoding).all():
            self.counts.refused += 1
            return
        features = self.features.features(encoding)
        try:
            if event.outcome is not None:
                self._learn_outcome(model, features, event, event.outcome)
            elif event.feedback is not None and self._judge(model, features, event, event.feedback):
                self.counts.feedback += 1
            else:
                self.counts.ignored += 1
        except (InvalidValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            # An event that cannot be learned from must not come back for ever and stop the learning from all others.
            self.counts.refused += 1
            _LOG.warning("event %d of decision %s cannot be learned from: %s", event.seq, event.decision_id, error)

    def _judge(
        self, model: LLMModel, features: NDArray[np.float32], event: LearningEvent, feedback: Feedback
    ) -> Taught | None:
        weight = 1.0 + (self.recipe.outside_judgement_weight - 1.0) * fraction("out_of_domain", event.out_of_domain)
        taught = self.judging.learn(model, features, feedback, weight=weight)
        if taught is not None:
            self._known.add(features[None])
        return taught

    def _learn_outcome(
        self, model: LLMModel, features: NDArray[np.float32], event: LearningEvent, outcome: Outcome
    ) -> None:
        if outcome.status is not OutcomeStatus.OK or outcome.tokens_out is None:
            self.counts.ignored += 1
            return
        price = self._prices.get(event.llm)
        teach_call(model, features, tokens_in=event.tokens_in, outcome=outcome, price=price)
        if price is not None and self._reference_price is not None:
            self._scale.add(outcome, tokens_in=event.tokens_in, price=price, reference=self._reference_price)
        self.counts.outcomes += 1

    def _base_banks(self, names: list[str]) -> tuple[FrozenBank | None, FrozenBank | None]:
        """Return the bases of the pool, which change only when the pool does."""
        if self.bases is None:
            return None, None
        if self._frozen[0] != names:
            self._frozen = (names, self.bases.quality_bank(names), self.bases.length_bank(names))
        return self._frozen[1:]

    @property
    def _tags(self) -> int:
        return len(self.features.tags)

    @property
    def _embedding(self) -> int:
        return self.features.dimension - self._tags - 1

    def _new_model(self, name: str, level: float) -> LLMModel:
        return self.recipe.new_model(
            level=level,
            tags=self._tags,
            embedding=self._embedding,
            quality_base=None if self.bases is None else self.bases.quality.get(name),
            length_base=None if self.bases is None else self.bases.length.get(name),
        )

    def _restored(self, checkpoint: Checkpoint, row: int, name: str, level: float) -> LLMModel:
        model = self._new_model(name, level)
        for part in _PARTS:
            getattr(model, part).load_state(checkpoint.arrays_of(f"{row}.{part}."))
        return model


def _price_of(spec: LLMSpec) -> Price:
    if spec.price is None:
        raise InvalidValueError("price", None, f"given for LLM {spec.name!r}")
    return spec.price
