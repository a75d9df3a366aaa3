"""The one file that knows every concrete class: configuration in, a working router out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from mixllm.clock import SystemClock
from mixllm.config import (
    BreakerConfig,
    BudgetConfig,
    Config,
    EncoderConfig,
    FeedbackConfig,
    LearningConfig,
    OutOfDomainConfig,
    PolicyConfig,
    RoutingConfig,
    StoreConfig,
    TagsConfig,
)
from mixllm.decision import (
    DecisionMaker,
    ExplorationBounds,
    GreedyPolicy,
    OutOfDomainRule,
    Period,
    ScoreWeights,
    SharePacer,
    SquareCBPolicy,
    ThompsonPolicy,
    UCBPolicy,
    WarmUpPolicy,
)
from mixllm.encoders import HashingEncoder, StaticEncoder, SurfaceEncoder
from mixllm.errors import ConfigError, EncoderError, InvalidValueError, RegistryError, StateError, did_you_mean
from mixllm.interfaces import Clock, Encoder, FeatureMap, Policy, Store
from mixllm.learning import Bases, Checkpoint, Learner, LearningWorker, Recipe
from mixllm.learning.cost_scale import scale_ratio
from mixllm.learning.dynamic_feedback import DynamicFeedback
from mixllm.learning.feature_model import FeatureModel
from mixllm.learning.judging import Judging
from mixllm.learning.key_shares import KeyShares
from mixllm.learning.merging import learned_since
from mixllm.registry import BreakerRules, Breakers, priced
from mixllm.router import Budget, BudgetLimits, CostShare, KeyLimits, PoolDifference, RouterCore, Shadow, Shadows
from mixllm.saved_router import SavedRouter
from mixllm.store import MemoryStore, SQLiteStore
from mixllm.tags import DEFAULT_DOMAINS, Domain, PrototypeTagger, TagFeatures, TruncatedProjection
from mixllm.types import LLMSpec

__all__ = [
    "PoolDifference",
    "Router",
    "build_breaker_rules",
    "build_cost_share",
    "build_encoder",
    "build_features",
    "build_judging",
    "build_limits",
    "build_maker",
    "build_policy",
    "build_recipe",
    "build_shadows",
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
    budget
        What may be spent; None: no limit.
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
    quarantine
        Whether checkpoints that are found unusable are marked in the store.
    breaker
        When an LLM that fails is left alone; None takes the defaults. It learns of failures from the gateway, or from
        `breakers` directly.

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
        budget: BudgetLimits | None = None,
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
        quarantine: bool = True,
        breaker: BreakerConfig | None = None,
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
            answers_per_false_alarm=self.learning_config.drift_answers_per_false_alarm,
            judging=build_judging(self.learning_config.feedback, dimension=features.dimension),
        )
        if start is not None:
            learner.restore(_in_the_scale_of(learner, start))
        clock = clock or SystemClock()
        super().__init__(
            encoder=built_encoder,
            features=features,
            learner=learner,
            maker=build_maker(self.routing_config),
            store=store if store is not None else MemoryStore(),
            clock=clock,
            rng=np.random.default_rng(seed),
            price=priced,
            store_prompts=store_prompts,
            checkpoint_interval_s=self.learning_config.checkpoint_interval_s,
            stalled_after_s=self.learning_config.stalled_after_s,
            quarantine=quarantine,
            budget=None if budget is None else Budget(limits=budget, clock=clock),
            cost_share=build_cost_share(self.routing_config),
            shadows=build_shadows(self.routing_config),
            deadline_quantile=self.routing_config.deadline_quantile,
            max_latency_s=self.routing_config.max_latency_s,
            max_ttft_s=self.routing_config.max_ttft_s,
            max_cooldown_s=self.routing_config.max_cooldown_s,
            breakers=Breakers(clock=clock, rules=build_breaker_rules(breaker or BreakerConfig())),
        )

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        seed: int | None = None,
        environ: Mapping[str, str] | None = None,
        quarantine: bool = True,
    ) -> Self:
        """Build the router that `config` describes, with its store opened.

        With ``learning.model`` it starts from that folder: encoder, tags and priors are the folder's, the pool and the
        routing are the configuration's. What the store tells is learned on top of it.

        Parameters
        ----------
        config
            The configuration.
        seed
            Of the decisions' random draws.
        environ
            Where the store's URL and keys of the budget given as ``os.environ/NAME`` are looked up; None takes the
            process's environment.
        quarantine
            Whether checkpoints that are found unusable are marked in the store.

        Raises
        ------
        ConfigError, UnknownPriceError, EncoderError, StateError, StoreError
            Where a part of it cannot be built.
        """
        specs = config.specs()
        limits = build_limits(config.budget, os.environ if environ is None else environ)
        encoder, tags, learning, trained, start = config.encoder, config.tags, config.learning, None, None
        bases = None
        if config.learning.model is not None:
            saved = SavedRouter.from_folder(Path(config.learning.model))
            trained, start, bases = saved.features, saved.checkpoint, saved.bases
            encoder, tags = saved.encoder_for(config.encoder), saved.tags_for(config.tags)
            learning = saved.learning_for(config.learning)
        store = build_store(config.store, config.learning, environ=environ)
        try:
            return cls(
                llms=specs,
                routing=config.routing,
                budget=limits,
                encoder=encoder,
                tags=tags,
                learning=learning,
                store=store,
                store_prompts=config.privacy.store_prompts,
                seed=seed,
                trained=trained,
                start=start,
                bases=bases,
                quarantine=quarantine,
                breaker=config.calls.breaker,
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
        router = cls.from_config(config, seed=seed, quarantine=False)
        router._leave_store()  # noqa: SLF001 -- its own class
        return router

    def reconfigure(self, config: Config, *, limits: BudgetLimits | None) -> PoolDifference:
        """Have the pool, the trade-off, the policies and the budget's limits of another configuration.

        Everything else stays; decisions under way are made with what they began with.

        Parameters
        ----------
        config
            The configuration.
        limits
            The new limits of the budget; None leaves those that it has.

        Raises
        ------
        ConfigError, UnknownPriceError, InvalidValueError
            Where a part of it cannot be built; nothing has changed then.
        """
        maker, shadows = build_maker(config.routing), build_shadows(config.routing)
        difference = self.put_pool(config.specs())
        if limits is not None and self.budget is not None:
            self.budget.relimit(limits)
        self.maker, self.shadows = maker, shadows
        routing = config.routing
        self.cost_share = build_cost_share(routing, before=self.cost_share)
        self._observe_costs()
        self.max_latency_s, self.max_ttft_s = routing.max_latency_s, routing.max_ttft_s
        self.deadline_quantile = routing.deadline_quantile
        self.routing_config = msgspec.structs.replace(routing, reference_llm=self.routing_config.reference_llm)
        self.store_prompts = config.privacy.store_prompts
        if difference.added:
            self.worker.checkpoint(always=True)  # as `add_llm` does
        return difference

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
                quarantine=False,
            )
        except (ConfigError, EncoderError, InvalidValueError, RegistryError) as error:
            raise StateError(f"{folder} cannot be made a router again: {error}") from error
        saved.check_encoder(router.encoder)
        router.adopt(saved.checkpoint)
        return router

    def merge(self, other: str | Path | Checkpoint, *, since: str | Path | Checkpoint | None = None) -> None:
        """Add what another router has learned: as if this one had learned from both.

        LLMs that this pool does not have are kept for when they join it. The result is kept at once.

        Parameters
        ----------
        other
            Folder that the other router was saved into, or its checkpoint.
        since
            Folder or checkpoint that both routers started from: what it knows is not added a second time.

        Raises
        ------
        StateError
            Where a state is missing, damaged, newer, was learned with another encoder or other tags, or is what is
            known here already; everything stays as it was.

        Notes
        -----
        Merging the same state again counts it again: merge what the other has learned since the last time. See
        `mixllm.learning.merging`.
        """
        checkpoint = _checkpoint_of(other)
        self.worker.merge(checkpoint if since is None else learned_since(checkpoint, _checkpoint_of(since)))

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
            stalled_after_s=self.learning_config.stalled_after_s,
        )
        self.worker.make_change = self._make_change


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
        "thompson": ThompsonPolicy(
            scale=config.scale,
            early_scale=config.early_scale,
            early_judgements=config.early_judgements,
            bounds=bounds,
        ),
    }
    policy = policies[config.name]
    # Who asks for the best score alone gets it.
    newcomer_judgements = 0 if config.name == "greedy" else config.newcomer_judgements
    if config.warmup_judgements == newcomer_judgements == 0:
        return policy
    return WarmUpPolicy(
        policy=policy,
        judgements=config.warmup_judgements,
        share=config.warmup_share,
        newcomer_judgements=newcomer_judgements,
        newcomer_optimism=config.newcomer_optimism,
        max_cost_usd=config.warmup_max_cost_usd,
        bounds=bounds,
    )


def build_maker(config: RoutingConfig) -> DecisionMaker:
    """Return what decides as `config` says."""
    return DecisionMaker(
        weights=_score_weights(config),
        policy=build_policy(config.policy),
        out_of_domain=_out_of_domain_rule(config.out_of_domain),
        max_wait_s=config.max_wait_s,
    )


def build_cost_share(config: RoutingConfig, *, before: CostShare | None = None) -> CostShare | None:
    """Return the limit on cost relative to the reference LLM that `config` sets; None where it sets none.

    Where it is the limit that there was `before`, that one goes on.
    """
    if config.max_cost_share is None:
        return None
    pacer = SharePacer(share=config.max_cost_share, weights=_score_weights(config))
    if before is not None and (before.pacer.share, before.pacer.weights) == (pacer.share, pacer.weights):
        return before
    return CostShare(pacer=pacer)


def build_shadows(config: RoutingConfig) -> Shadows | None:
    """Return the policies that decide beside the live one; None where there are none."""
    weights = _score_weights(config)
    shadows = [
        Shadow(
            name=shadow.name,
            maker=DecisionMaker(
                weights=weights if shadow.trade_off is None else replace(weights, trade_off=shadow.trade_off),
                policy=build_policy(shadow.policy),
                out_of_domain=_out_of_domain_rule(config.out_of_domain),
            ),
        )
        for shadow in config.shadow
    ]
    return Shadows(shadows) if shadows else None


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


def build_limits(config: BudgetConfig, environ: Mapping[str, str]) -> BudgetLimits | None:
    """Return the limits that `config` describes; None where it sets none.

    Raises
    ------
    ConfigError
        Where a key's variable is not set, or a key is listed twice.
    """
    if not config.limits_anything:
        return None
    keys: dict[str, KeyLimits] = {}
    for entry in config.keys:
        key_id = entry.key_id(environ)
        if key_id in keys:
            raise ConfigError(f"budget.keys: {key_id} is listed twice. Remove one of the entries.")
        keys[key_id] = KeyLimits(usd=entry.usd, max_request_usd=entry.max_request_usd)
    named = config.period if config.period_s is None else None
    return BudgetLimits(
        period=Period(name=named, seconds=config.period_s),
        usd=config.usd,
        each_key_usd=config.each_key_usd,
        max_request_usd=config.max_request_usd,
        keys=keys,
        when_spent=config.when_spent,
    )


def build_breaker_rules(config: BreakerConfig) -> BreakerRules | None:
    """Return when breakers open; None where they never do."""
    if not config.enabled:
        return None
    return BreakerRules(
        failures=config.failures,
        failure_share=config.failure_share,
        min_calls=config.min_calls,
        window_s=config.window_s,
        open_s=config.open_s,
        max_open_s=config.max_open_s,
    )


def build_judging(config: FeedbackConfig, *, dimension: int) -> Judging:
    """Return what becomes of feedback as `config` says, over features of length `dimension`."""
    return Judging(
        reliability=config.treatment != "plain",
        shares=KeyShares(
            max_share=config.max_key_share,
            min_judgements=config.key_judgements,
            window_s=config.key_window_s,
            unbounded=config.unbounded_keys,
        ),
        dynamic=DynamicFeedback(dimension=dimension) if config.treatment == "dynamic" else None,
    )


def build_store(
    config: StoreConfig, learning: LearningConfig | None = None, *, environ: Mapping[str, str] | None = None
) -> Store:
    """Open the store that `config` describes.

    Parameters
    ----------
    config
        Which one.
    learning
        How many checkpoints it keeps.
    environ
        Where a URL given as ``os.environ/NAME`` is looked up; None takes the process's environment.

    Raises
    ------
    ConfigError, MissingExtraError, StoreError
        Where it cannot be opened.
    """
    learning = learning or LearningConfig()
    kept, kept_daily = learning.kept_checkpoints, learning.kept_daily_checkpoints
    if config.kind == "memory":
        return MemoryStore(keep_states=kept, keep_daily_states=kept_daily)
    if config.kind == "postgres":
        from mixllm.store import PostgresStore  # brings a database driver, which few need

        return PostgresStore(
            url=config.database_url(os.environ if environ is None else environ),
            schema=config.schema,
            spool=Path(config.spool),
            max_spool_bytes=config.max_spool_bytes,
            max_commit_delay_s=config.max_commit_delay_s,
            connect_patience_s=config.connect_patience_s,
            keep_states=kept,
            keep_daily_states=kept_daily,
        )
    return SQLiteStore(
        path=Path(config.path),
        max_commit_delay_s=config.max_commit_delay_s,
        keep_states=kept,
        keep_daily_states=kept_daily,
    )


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
        queue_weight=config.queue_weight,
        deadline_s=config.deadline_s,
        caution=config.caution,
        caution_judgements=config.caution_judgements,
    )


def _out_of_domain_rule(config: OutOfDomainConfig) -> OutOfDomainRule | None:
    if not config.enabled:
        return None
    return OutOfDomainRule(
        shrinkage=config.shrinkage,
        widening=config.widening,
        threshold=config.threshold,
        pessimism=config.pessimism,
    )


def _in_the_scale_of(learner: Learner, start: Checkpoint) -> Checkpoint:
    """Return `start` before any event, its scale of cost as the learner's reference LLM would have it."""
    price = None if learner.reference is None else learner.price(learner.reference)
    arrays = dict(start.arrays)
    if learner.reference != start.reference and "scale" in arrays:
        arrays["scale"] = arrays["scale"] * (scale_ratio(start.reference_price, price), 1.0)
    # The scale begins with the price of now, not with that of the log.
    now = None if start.reference is None else learner.price(start.reference)
    return replace(start, position=0, arrays=arrays, reference_price=now or start.reference_price)


def _checkpoint_of(state: str | Path | Checkpoint) -> Checkpoint:
    return state if isinstance(state, Checkpoint) else SavedRouter.from_folder(Path(state)).checkpoint


def _known_reference(reference: str | None, llms: Sequence[LLMSpec]) -> str | None:
    names = [spec.name for spec in llms]
    if reference is not None and reference not in names:
        raise ConfigError(
            f"routing.reference_llm: no LLM named {reference!r} in the pool.{did_you_mean(reference, names)}"
        )
    return reference
