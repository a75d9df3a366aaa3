"""The learner: every LLM's predictors, the events they have learned from, and the snapshots made of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import DuplicateLLMError, InvalidValueError, OtherFeaturesError, UnknownLLMError
from mixllm.interfaces import FeatureMap
from mixllm.learning.banks import Banks, LastBanks, quality_prior_means
from mixllm.learning.bases import Bases
from mixllm.learning.calls import teach_call
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.cost_scale import CostScale
from mixllm.learning.counts import LearnerCounts
from mixllm.learning.drift_watch import DriftWatch
from mixllm.learning.endpoints import endpoint_code, same_endpoint
from mixllm.learning.history import CallHistory, teach_history
from mixllm.learning.judging import Judging
from mixllm.learning.known_queries import KnownQueries
from mixllm.learning.ledger import Ledger
from mixllm.learning.merging import merged
from mixllm.learning.model_making import MODEL_PARTS, ModelMaker
from mixllm.learning.newcomer import expected_level
from mixllm.learning.recipe import LLMModel, Recipe
from mixllm.learning.snapshot import Snapshot
from mixllm.predictors import FrozenBank, PaceBank
from mixllm.types import Feedback, LearningEvent, LLMSpec, Outcome, OutcomeStatus, Price
from mixllm.units import fraction

__all__ = ["Learner"]

_LOG = logging.getLogger(__name__)


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
    judging
        What becomes of feedback; None takes the defaults.
    answers_per_false_alarm
        See `DriftTest`; 0 leaves drift unwatched.
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
        answers_per_false_alarm: float = 10_000.0,
        judging: Judging | None = None,
    ) -> None:
        if encoding_dimension < 1:
            raise InvalidValueError("encoding_dimension", encoding_dimension, ">= 1")
        if bases is not None:
            bases.check_dimensions(quality=features.dimension, length=features.dimension + 1)
        self.features = features
        self.bases = bases
        self.encoding_dimension = encoding_dimension
        self.recipe = recipe or Recipe()
        self._maker = ModelMaker(features=features, recipe=self.recipe, bases=bases)
        self.reference = reference
        self._reference_given = reference
        self.counts = LearnerCounts()
        self._lock = threading.RLock()
        self._specs: dict[str, LLMSpec] = {}
        # Both also of LLMs that left: newcomers are compared with them, and their last calls are still to be charged.
        self._known: dict[str, LLMSpec] = {}
        self.ledger = Ledger()
        self._models: dict[str, LLMModel] = {}
        self._newcomers: set[str] = set()
        self._reference_price: Price | None = None
        self._scale = CostScale(window=self.recipe.cost_scale_window, prior_tokens_out=self.recipe.prior_tokens_out)
        self.judging = Judging() if judging is None else judging
        self.watch = DriftWatch(answers_per_false_alarm=answers_per_false_alarm)
        self._queries = KnownQueries(features=features)
        self._position = 0
        self._version = 0
        self._last_banks = LastBanks()
        self._frozen: tuple[list[str], FrozenBank | None, FrozenBank | None] = ([], None, None)
        for spec in specs:
            if spec.name in self._specs:
                raise DuplicateLLMError(spec.name)
            self._list(spec, since_s=None)
        self._make_missing()
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
    def specs(self) -> tuple[LLMSpec, ...]:
        """The LLMs of the pool."""
        return tuple(self._specs.values())

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

    def put_llm(self, spec: LLMSpec, *, at_s: float | None = None) -> None:
        """Add `spec` to the pool, or replace the one of its name; what was learned under the name is kept.

        Parameters
        ----------
        spec
            The LLM.
        at_s
            Unix time since which its price holds, where that has changed; None: since the newest event.

        Raises
        ------
        InvalidValueError
            Where `spec` has no price.
        """
        with self._lock:
            self._list(spec, since_s=at_s)
            self._make_missing()
            self._settle_reference()

    def price(self, name: str, *, decision_id: str | None = None) -> Price | None:
        """Return what an LLM costs that is or was in the pool; None where there was none of that name.

        With a `decision_id`, what it cost when that was decided: calls are billed at the price of their time.
        """
        # Without the lock: requests ask, and must not wait for a batch to be learned.
        return self.ledger.price(name, decision_id=decision_id)

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
                    self.counts.newest_s = event.created_at_s
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
            teach_history(self._models[name], history, price=_price_of(self._specs[name]))
            self._queries.add(history.judged_queries)
            if name == self.reference:
                self._scale.start_from(history.cost_usd[history.cost_known])

    def snapshot(self) -> Snapshot:
        """Freeze what is known now; the version rises with each call."""
        with self._lock:
            self._version += 1
            names = list(self._specs)
            places = {name: row for row, name in enumerate(self._models)}
            banks = Banks.of(
                tuple(self._models.values()),
                [places[name] for name in names],
                recipe=self.recipe,
                tags=self._maker.tags,
                embedding=self._maker.embedding,
                last=self._last_banks,
            )
            quality_base, length_base = self.base_banks(names)
            return Snapshot(
                version=self._version,
                position=self._position,
                specs=tuple(self._specs.values()),
                quality=banks.quality,
                length=banks.length,
                billing=banks.billing,
                quality_base=quality_base,
                length_base=length_base,
                latency=tuple(
                    self._models[name].latency.forecast(max_in_flight=self._specs[name].max_in_flight) for name in names
                ),
                pace=PaceBank.stack([self._models[name].pace for name in names]),
                judgements=tuple(self._models[name].quality.observations for name in names),
                answers=tuple(self._models[name].length.observations for name in names),
                newcomer=tuple(name in self._newcomers for name in names),
                spent_usd=tuple(self.ledger.spent_usd(name) for name in names),
                surroundings=self._queries.surroundings(banks.quality, quality_base),
                cost_scale_usd=self._scale.usd(self._reference_price),
                dynamic=self.judging.frozen_scores(names),
            )

    def checkpoint(self) -> Checkpoint:
        """Return everything learned, ready to be saved."""
        with self._lock:
            arrays: dict[str, NDArray[np.float64]] = {
                "scale": self._scale.state(),
                "watch": self.watch.common_state(),
                **self.ledger.state(tuple(self._models)),
                **self._queries.arrays(),
            }
            for row, (name, model) in enumerate(self._models.items()):
                for part in MODEL_PARTS:
                    state = getattr(model, part).state()
                    arrays.update({f"{row}.{part}.{array}": values for array, values in state.items()})
                arrays |= {f"{row}.drift.{array}": values for array, values in self.watch.state(name).items()}
                arrays[f"{row}.level_precision"] = np.array([model.quality.prior.bias_precision])
                if name in self._known:
                    arrays[f"{row}.endpoint"] = endpoint_code(self._known[name])
                arrays[f"{row}.newcomer"] = np.array([float(name in self._newcomers)])
            judged, judged_names = self.judging.state()
            arrays.update({f"judging.{name}": array for name, array in judged.items()})
            return Checkpoint(
                version=self._version,
                position=self._position,
                features=self.fingerprint,
                reference=self.reference,
                llms=tuple(self._models),
                levels=tuple(model.quality.prior.bias_mean for model in self._models.values()),
                reference_price=self._reference_price,
                arrays=arrays,
                names={f"judging.{name}": rows for name, rows in judged_names.items()},
            )

    @np.errstate(over="ignore")  # What is too large for a smaller float becomes infinite, and is refused as that.
    def restore(self, checkpoint: Checkpoint) -> None:
        """Replace everything learned by `checkpoint`; the pool stays as it is.

        Raises
        ------
        OtherFeaturesError
            Where the checkpoint was learned on other features or bases; what is known stays as it was.
        StateError
            Where it does not fit; what is known stays as it was.
        """
        if checkpoint.features != self.fingerprint:
            raise OtherFeaturesError(
                f"The checkpoint was learned on features {checkpoint.features!r}, but this router has "
                f"{self.fingerprint!r}. Use the encoder and tags that it was learned with, or start afresh."
            )
        scale = self._scale.restored(checkpoint.arrays.get("scale"))
        judging = self.judging.restored(checkpoint.arrays_of("judging."), checkpoint.names_of("judging."))
        queries = KnownQueries.restored(self.features, checkpoint)
        models = {
            name: self._restored(checkpoint, row, name, level)
            for row, (name, level) in enumerate(zip(checkpoint.llms, checkpoint.levels, strict=True))
        }
        watch = self.watch.restored(
            {name: checkpoint.arrays_of(f"{row}.drift.") for row, name in enumerate(checkpoint.llms)},
            checkpoint.arrays.get("watch"),
            dimension=self.features.dimension,
        )
        newcomers = {
            name
            for row, name in enumerate(checkpoint.llms)
            if (checkpoint.arrays.get(f"{row}.newcomer", np.zeros(1)) > 0).any()
        }
        ledger = self.ledger.restored(checkpoint.llms, checkpoint.arrays)
        with self._lock:
            self._models, self._scale, self.watch, self.ledger = models, scale, watch, ledger
            self._newcomers = newcomers
            self.judging, self._queries = judging, queries
            self._make_missing()
            self._position = checkpoint.position
            self._version = max(self._version, checkpoint.version)
            if self._reference_given is None:
                self.reference, self._reference_price = checkpoint.reference, checkpoint.reference_price
            elif checkpoint.reference == self.reference and checkpoint.reference_price is not None:
                self._reference_price = checkpoint.reference_price
            self._settle_reference()

    def merge(self, checkpoint: Checkpoint) -> None:
        """Add what another learner has learned; position and pool stay as they are.

        LLMs that are not known here are kept for when they join the pool. See `mixllm.learning.merging.merged` for what
        adds up exactly, and what of it is the caller's duty: what both have learned counts twice.

        Raises
        ------
        OtherFeaturesError
            Where it was learned on other features or bases; what is known stays as it was.
        StateError
            Where it does not fit, or is what is known here already; what is known stays as it was.
        """
        with self._lock:
            others = self.judging.restored(checkpoint.arrays_of("judging."), checkpoint.names_of("judging."))
            self.restore(merged(self.checkpoint(), checkpoint))
            self.judging.merge(others)
            self._queries.sample.merge(KnownQueries.restored(self.features, checkpoint).sample)

    def _list(self, spec: LLMSpec, *, since_s: float | None) -> None:
        self.ledger.reprice(spec, _price_of(spec), since_s=since_s)
        before = self._known.get(spec.name)
        if before is not None and spec.name in self._models and not same_endpoint(before, spec):
            self._models[spec.name] = self._maker.at_new_endpoint(self._models[spec.name])
        self._specs[spec.name] = self._known[spec.name] = spec

    def _restored(self, checkpoint: Checkpoint, row: int, name: str, level: float) -> LLMModel:
        model = self._maker.restored(checkpoint, row, name, level)
        learned_at = checkpoint.arrays.get(f"{row}.endpoint")
        if learned_at is None or name not in self._known:
            return model
        moved = not np.array_equal(learned_at, endpoint_code(self._known[name]))
        return self._maker.at_new_endpoint(model) if moved else model

    def _make_missing(self) -> None:
        """Make predictors for the LLMs of the pool that have none."""
        judged = any(model.quality.ever_learned for model in self._models.values())
        for name in [name for name in self._specs if name not in self._models]:
            if judged:
                self._newcomers.add(name)
            others = [spec for other, spec in self._known.items() if other != name]
            expected = expected_level(
                self._specs[name],
                others=others,
                models=self._models,
                prior_means=self._prior_means,
                recipe=self.recipe,
            )
            self._models[name] = self._maker.new(name, expected)

    def _prior_means(self) -> NDArray[np.float64]:
        return quality_prior_means(
            tuple(self._models.values()), recipe=self.recipe, tags=self._maker.tags, embedding=self._maker.embedding
        )

    def _settle_reference(self) -> None:
        if self.reference is None and self._specs:
            self.reference = max(
                self._specs, key=lambda name: _price_of(self._specs[name]).blended_usd_per_million_tokens
            )
        # Once: the scale is absolute, and another price of the reference LLM must not move the others' scores.
        if self._reference_price is None and self.reference in self._specs:
            self._reference_price = _price_of(self._specs[self.reference])

    def _learn_one(self, event: LearningEvent) -> None:
        taught, refused = self.counts.taught, self.counts.refused
        self._teach(event)
        self.counts.close_event(taught_before=taught, refused_before=refused)

    def _teach(self, event: LearningEvent) -> None:
        model = self._models.get(event.llm)
        if model is None:
            self.counts.ignored += 1
            return
        encoding = np.frombuffer(event.encoding, "<f4") if len(event.encoding) % 4 == 0 else np.empty(0, "<f4")
        if encoding.shape != (self.encoding_dimension,) or not np.isfinite(encoding).all():
            self.counts.refused += 1
            return
        features = self.features.features(encoding)
        self.ledger.newest_event_s = max(self.ledger.newest_event_s, event.created_at_s)
        try:
            if event.outcome is not None:
                self._learn_outcome(model, features, event, event.outcome)
            elif event.feedback is not None and self._learn_feedback(model, features, event, event.feedback):
                self.counts.feedback += 1
            else:
                self.counts.ignored += 1
        except (InvalidValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            # An event that cannot be learned from must not come back for ever and stop the learning from all others.
            self.counts.refused += 1
            _LOG.warning("event %d of decision %s cannot be learned from: %s", event.seq, event.decision_id, error)

    def _learn_feedback(
        self, model: LLMModel, features: NDArray[np.float32], event: LearningEvent, feedback: Feedback
    ) -> bool:
        if self.watch.stale(event.llm):
            self.watch.refresh(dict(zip(self._models, self._prior_means(), strict=True)))
        forecast = self.watch.forecast(event.llm, model.quality, features)
        weight = 1.0 + (self.recipe.outside_judgement_weight - 1.0) * fraction("out_of_domain", event.out_of_domain)
        taught = self.judging.learn(model, features, feedback, llm=event.llm, weight=weight)
        if taught is None:
            return False
        self._queries.add(features[None])
        if forecast is not None and taught.in_predictor:
            self.watch.judged(
                event.llm, self._models, features, taught, forecast, pool=self._specs, at_s=event.created_at_s
            )
        return True

    def _learn_outcome(
        self, model: LLMModel, features: NDArray[np.float32], event: LearningEvent, outcome: Outcome
    ) -> None:
        if outcome.cost_usd is not None:  # Also of calls that failed: they were billed all the same.
            self.ledger.spend(event.llm, outcome.cost_usd)
        if outcome.status is not OutcomeStatus.OK or outcome.tokens_out is None:
            self.counts.ignored += 1
            return
        price = self.price(event.llm, decision_id=event.decision_id)
        teach_call(
            model,
            features,
            tokens_in=event.tokens_in,
            outcome=outcome,
            price=price,
            in_flight=_under_way(event, outcome),
            max_in_flight=self._known[event.llm].max_in_flight if event.llm in self._known else None,
            at_s=event.created_at_s,
        )
        if price is not None and self._reference_price is not None:
            self._scale.add(outcome, tokens_in=event.tokens_in, price=price, reference=self._reference_price)
        self.counts.outcomes += 1

    def base_banks(self, names: list[str]) -> tuple[FrozenBank | None, FrozenBank | None]:
        """Return the bases of LLMs, of quality and of length; kept, for they change only when the pool does."""
        if self.bases is None:
            return None, None
        if self._frozen[0] != names:
            self._frozen = (names, self.bases.quality_bank(names), self.bases.length_bank(names))
        return self._frozen[1:]


def _under_way(event: LearningEvent, outcome: Outcome) -> int:
    """Return how many calls the LLM had under way when this one began."""
    if outcome.in_flight is not None:
        return outcome.in_flight
    # The decision counted the calls to the LLM that it chose; a fallback went to another.
    return event.in_flight if outcome.attempt == 0 else 0


def _price_of(spec: LLMSpec) -> Price:
    if spec.price is None:
        raise InvalidValueError("price", None, f"given for LLM {spec.name!r}")
    return spec.price
