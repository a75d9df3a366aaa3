"""The one file that knows every concrete class: configuration in, a working router out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from mixllm.clock import SystemClock
from mixllm.config import (
    Config,
    EncoderConfig,
    LearningConfig,
    PolicyConfig,
    RoutingConfig,
    StoreConfig,
    TagsConfig,
)
from mixllm.decision import (
    DecisionMaker,
    ExplorationBounds,
    GreedyPolicy,
    ScoreWeights,
    SquareCBPolicy,
    ThompsonPolicy,
    UCBPolicy,
    WarmUpPolicy,
)
from mixllm.encoders import HashingEncoder, StaticEncoder, SurfaceEncoder
from mixllm.errors import ConfigError, EncoderError, InvalidValueError, RegistryError, StateError, did_you_mean
from mixllm.interfaces import Clock, Encoder, FeatureMap, Policy, Store
from mixllm.learning import Bases, Checkpoint, Learner, LearningWorker, Recipe
from mixllm.learning.feature_model import FeatureModel
from mixllm.registry import priced
from mixllm.router import RouterCore
from mixllm.saved_router import SavedRouter
from mixllm.store import MemoryStore, SQLiteStore
from mixllm.tags import DEFAULT_DOMAINS, Domain, PrototypeTagger, TagFeatures, TruncatedProjection
from mixllm.types import LLMSpec

__all__ = [
    "Router",
    "build_encoder",
    "build_features",
    "build_policy",
    "build_recipe",
    "build_store",
    "build_untrained_encoder",
]


class Router(RouterCore):
    """A router with everything in it: route · record · feedback · add_llm · remove_llm · save · load.

    Parameters
    ----------
    llms
        The pool to start with; LLMs without a price are looked up in the shipped price list.
    routing
        Trade-off and policy.
    encoder
        Which encoder.
    tags
        Which domains.
    learning
        Priors and checkpoints.
    store
        Where decisions, outcomes and feedback live; None keeps them in memory. The router closes it.
    store_prompts
        Whether the store keeps texts.
    clock
        Time; None takes the system's.
    seed
        Of the decisions' random draws; None takes a new one each time.
    trained
        Features that offline training made; None takes the training-free ones of `tags`.
    start
        What is known before any event of `store`; learned on the same features.
    bases
        What offline training fitted under the predictors; None where it fitted nothing.

    Examples
    --------
    >>> from mixllm import LLMSpec, Outcome, Price, Router
    >>> small = LLMSpec(name="small", price=Price(usd_per_million_tokens_in=0.1, usd_per_million_tokens_out=0.4))
    >>> large = LLMSpec(name="large", price=Price(usd_per_million_tokens_in=3, usd_per_million_tokens_out=15))
    >>> with Router(llms=[small, large], seed=7) as router:
    ...     decision = router.route("What is the capital of France?")
    ...     kept = router.record(decision.decision_id, Outcome(tokens_in=9, tokens_out=7, latency_s=0.4))
    ...     receipt = router.feedback(decision.decision_id, thumbs=True)
    >>> decision.llm, receipt.duplicate
    ('small', False)
    """

    def __init__(
        self,
        *,
        llms: Sequence[LLMSpec] = (),
        routing: RoutingConfig | None = None,
        encoder: EncoderConfig | None = None,
        tags: TagsConfig | None = None,
        learning: LearningConfig | None = None,
        store: Store | None = None,
        store_prompts: bool = False,
        clock: Clock | None = None,
        seed: int | None = None,
        trained: FeatureModel | None = None,
        start: Checkpoint | None = None,
        bases: Bases | None = None,
    ) -> None:
        self.routing_config = routing or RoutingConfig()
        self.encoder_config = encoder or EncoderConfig()
        self.tags_config = tags or TagsConfig()
        self.learning_config = learning or LearningConfig()
        self.trained = trained
        self.bases = bases
        built_encoder: Encoder
        features: FeatureMap
        if trained is None:
            built_encoder = build_untrained_encoder(self.encoder_config, self.tags_config)
            features = build_features(self.tags_config, built_encoder)
        else:
            built_encoder, features = trained.build(build_encoder(self.encoder_config))
        learner = Learner(
            features=features,
            encoding_dimension=built_encoder.dimension,
            specs=[priced(spec) for spec in llms],
            recipe=build_recipe(self.learning_config),
            reference=_known_reference(self.routing_config.reference_llm, llms),
            bases=bases,
        )
        if start is not None:
            learner.restore(_in_the_scale_of(learner, start))
        super().__init__(
            encoder=built_encoder,
            features=features,
            learner=learner,
            maker=DecisionMaker(
                weights=_score_weights(self.routing_config), policy=build_policy(self.routing_config.policy)
            ),
            store=store if store is not None else MemoryStore(),
            clock=clock or SystemClock(),
            rng=np.random.default_rng(seed),
            price=priced,
            store_prompts=store_prompts,
            checkpoint_interval_s=self.learning_config.checkpoint_interval_s,
        )

    @classmethod
    def from_config(cls, config: Config, *, seed: int | None = None) -> Self:
        """Build the router that `config` describes, with its store opened.

        With ``learning.model`` it starts from that folder: encoder, tags and priors are the folder's, the pool and the
        routing are the configuration's. What the store tells is learned on top of it.

        Raises
        ------
        ConfigError, UnknownPriceError, EncoderError, StateError, StoreError
            Where a part of it cannot be built.
        """
        specs = config.specs()
        encoder, tags, learning, trained, start = config.encoder, config.tags, config.learning, None, None
        bases = None
        if config.learning.model is not None:
            saved = SavedRouter.from_folder(Path(config.learning.model))
            trained, start, bases = saved.features, saved.checkpoint, saved.bases
            encoder, tags = saved.encoder_for(config.encoder), saved.tags_for(config.tags)
            learning = saved.learning_for(config.learning)
        store = build_store(config.store)
        try:
            return cls(
                llms=specs,
                routing=config.routing,
                encoder=encoder,
                tags=tags,
                learning=learning,
                store=store,
                store_prompts=config.privacy.store_prompts,
                seed=seed,
                trained=trained,
                start=start,
                bases=bases,
            )
        except BaseException:
            store.close()
            raise

    @classmethod
    def peek(cls, config: Config, *, seed: int | None = None) -> Self:
        """Build the router that `config` describes, in memory, knowing what its store knows.

        It routes and learns for itself: nothing is written into the configured store, which may be in use by another
        process and need not exist.

        Raises
        ------
        ConfigError, UnknownPriceError, EncoderError, StoreError
            Where a part of it cannot be built.
        """
        if config.store.kind == "sqlite" and not Path(config.store.path).exists():
            config = msgspec.structs.replace(config, store=StoreConfig(kind="memory"))
        router = cls.from_config(config, seed=seed)
        router._leave_store()  # noqa: SLF001 -- its own class
        return router

    def save(self, path: str | Path) -> None:
        """Write everything learned so far and the settings into the folder `path`.

        The folder must be missing, empty or a saved router, which is replaced. It appears whole or not at all. It
        holds no key, no prompt and no decision.

        Raises
        ------
        StateError
            Where `path` holds something, or cannot be written.
        """
        self.learn()
        SavedRouter(
            llms=self.llms,
            routing=self.routing_config,
            encoder=self.encoder_config,
            encoder_fingerprint=self.encoder.fingerprint,
            tags=self.tags_config,
            learning=msgspec.structs.replace(self.learning_config, model=None),  # all of it is in the folder itself
            features=self.trained,
            checkpoint=self.learner.checkpoint(),
            bases=self.bases,
        ).to_folder(Path(path))

    @classmethod
    def load(cls, path: str | Path, *, store: Store | None = None, seed: int | None = None) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            The folder.
        store
            An empty store to continue in; None keeps new events in memory.
        seed
            Of the decisions' random draws.

        Raises
        ------
        StateError
            Where the folder is missing, damaged, newer, or was made with another encoder, or `store` is not empty. The
            store stays open and as it was.
        """
        folder = Path(path)
        saved = SavedRouter.from_folder(folder)
        try:
            router = cls(
                llms=saved.llms,
                routing=saved.routing_of_pool(),
                encoder=saved.encoder,
                tags=saved.tags,
                learning=saved.learning,
                store=store,
                seed=seed,
                trained=saved.features,
                bases=saved.bases,
            )
        except (ConfigError, EncoderError, InvalidValueError, RegistryError) as error:
            raise StateError(f"{folder} cannot be made a router again: {error}") from error
        saved.check_encoder(router.encoder)
        router.adopt(saved.checkpoint)
        return router

    def _leave_store(self) -> None:
        """Close the store as it is, and go on in memory; before anything was routed."""
        self.store.close()
        self.store = MemoryStore()
        self.learner.restore(replace(self.learner.checkpoint(), position=0))
        self.worker = LearningWorker(
            store=self.store,
            learner=self.learner,
            publish=self._publish,
            clock=self.clock,
            checkpoint_interval_s=self.learning_config.checkpoint_interval_s,
        )


def build_untrained_encoder(config: EncoderConfig, tags: TagsConfig) -> Encoder:
    """Return what encodes for a router without trained features: with surface features where `tags` asks for them."""
    base = build_encoder(config)
    return SurfaceEncoder(base=base) if tags.surface else base


def build_encoder(config: EncoderConfig) -> Encoder:
    """Return the encoder that `config` names."""
    if config.kind == "hashing":
        return HashingEncoder()
    if config.kind == "wordllama":
        return StaticEncoder.wordllama(max_chars=config.max_chars)
    if config.kind == "endpoint":
        return _endpoint_encoder(config)
    if config.path is None:
        raise ConfigError(f"encoder: kind {config.kind!r} needs a path. Give encoder.path.")
    if config.kind == "transformer":
        from mixllm.encoders import TransformerEncoder

        return TransformerEncoder.from_folder(Path(config.path), max_chars=config.max_chars)
    return StaticEncoder.from_folder(Path(config.path), max_chars=config.max_chars)


def build_features(config: TagsConfig, encoder: Encoder) -> FeatureMap:
    """Return the feature map that `config` describes, over the encodings of `encoder`.

    Surface features are read where `encoder` gives them.
    """
    base, surface = encoder, 0
    if isinstance(encoder, SurfaceEncoder):
        base, surface = encoder.base, encoder.dimension - encoder.base.dimension
    domains = tuple(Domain(name=domain.name, description=domain.description) for domain in config.domains)
    tagger = PrototypeTagger.from_domains(
        encoder=base, domains=domains or DEFAULT_DOMAINS, temperature=config.temperature
    )
    projection = TruncatedProjection(centre=tagger.centre, dimension=min(config.projection_dimension, base.dimension))
    return TagFeatures(tagger=tagger, projection=projection, surface=surface)


def build_policy(config: PolicyConfig) -> Policy:
    """Return the policy that `config` names, warmed up where it says so."""
    bounds = ExplorationBounds(max_cost_ratio=config.max_cost_ratio, min_quality=config.min_quality)
    policies: dict[str, Policy] = {
        "greedy": GreedyPolicy(),
        "ucb": UCBPolicy(exploration=config.exploration, bounds=bounds),
        "squarecb": SquareCBPolicy(gap_weight=config.gap_weight, bounds=bounds),
        "thompson": ThompsonPolicy(scale=config.scale, bounds=bounds),
    }
    policy = policies[config.name]
    if config.warmup_judgements == 0:
        return policy
    return WarmUpPolicy(policy=policy, judgements=config.warmup_judgements, share=config.warmup_share, bounds=bounds)


def build_recipe(config: LearningConfig) -> Recipe:
    """Return the recipe of `config`; raises `ConfigError` for a name that it does not have."""
    known = Recipe.__slots__
    for name in config.recipe:
        if name not in known:
            raise ConfigError(
                f"learning.recipe: unknown name {name!r}.{did_you_mean(name, known)} Valid names: {', '.join(known)}."
            )
    try:
        return Recipe(**config.recipe)
    except InvalidValueError as error:
        raise ConfigError(f"learning.recipe: {error}") from error


def build_store(config: StoreConfig) -> Store:
    """Open the store that `config` describes."""
    if config.kind == "memory":
        return MemoryStore()
    return SQLiteStore(path=Path(config.path), max_commit_delay_s=config.max_commit_delay_s)


def _endpoint_encoder(config: EncoderConfig) -> Encoder:
    if config.api_base is None or config.model is None or config.dimension is None:
        raise ConfigError("encoder: kind 'endpoint' needs api_base, model and dimension. Give all three.")
    from mixllm.encoders import EndpointEncoder  # brings an HTTP client, which few need

    return EndpointEncoder(
        api_base=config.api_base,
        model=config.model,
        dimension=config.dimension,
        api_key_env=config.api_key_env,
        timeout_s=config.timeout_s,
        max_chars=config.max_chars,
    )


def _score_weights(config: RoutingConfig) -> ScoreWeights:
    return ScoreWeights(
        trade_off=config.trade_off,
        wait_weight=config.wait_weight,
        wait_steepness_per_s=config.wait_steepness_per_s,
        wait_onset=config.wait_onset,
        deadline_s=config.deadline_s,
        caution=config.caution,
        caution_judgements=config.caution_judgements,
    )


def _in_the_scale_of(learner: Learner, start: Checkpoint) -> Checkpoint:
    """Return `start` before any event, its scale of cost as the learner's reference LLM would have it.

    Answers of the one are taken to be as long as those of the other, until the reference's own come in.
    """
    price = None if learner.reference is None else learner.price(learner.reference)
    arrays = dict(start.arrays)
    if price is not None and start.reference_price is not None and learner.reference != start.reference:
        before = start.reference_price.blended_usd_per_million_tokens
        if before > 0 and "scale" in arrays:
            arrays["scale"] = arrays["scale"] * (price.blended_usd_per_million_tokens / before, 1.0)
    return replace(start, position=0, arrays=arrays)


def _known_reference(reference: str | None, llms: Sequence[LLMSpec]) -> str | None:
    names = [spec.name for spec in llms]
    if reference is not None and reference not in names:
        raise ConfigError(
            f"routing.reference_llm: no LLM named {reference!r} in the pool.{did_you_mean(reference, names)}"
        )
    return reference
