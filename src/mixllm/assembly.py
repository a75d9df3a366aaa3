"""The one file that knows every concrete class: configuration in, a working router out."""

from __future__ import annotations

import tempfile
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
from mixllm.encoders import HashingEncoder, StaticEncoder
from mixllm.errors import ConfigError, EncoderError, InvalidValueError, RegistryError, StateError, did_you_mean
from mixllm.interfaces import Clock, Encoder, FeatureMap, Policy, Store
from mixllm.learning import Checkpoint, Learner, LearningWorker, Recipe
from mixllm.learning.manifest import open_manifest, seal_manifest
from mixllm.registry import priced
from mixllm.router import RouterCore
from mixllm.store import MemoryStore, SQLiteStore
from mixllm.tags import DEFAULT_DOMAINS, Domain, PrototypeTagger, TagFeatures, TruncatedProjection
from mixllm.types import LLMSpec

__all__ = ["Router", "build_encoder", "build_features", "build_policy", "build_recipe", "build_store"]

_MANIFEST = "router.json"
_SCHEMA = 1


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    llms: tuple[LLMSpec, ...]
    routing: RoutingConfig
    encoder: EncoderConfig
    encoder_fingerprint: str
    tags: TagsConfig
    learning: LearningConfig


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
    ) -> None:
        self.routing_config = routing or RoutingConfig()
        self.encoder_config = encoder or EncoderConfig()
        self.tags_config = tags or TagsConfig()
        self.learning_config = learning or LearningConfig()
        built_encoder = build_encoder(self.encoder_config)
        features = build_features(self.tags_config, built_encoder)
        super().__init__(
            encoder=built_encoder,
            features=features,
            learner=Learner(
                features=features,
                encoding_dimension=built_encoder.dimension,
                specs=[priced(spec) for spec in llms],
                recipe=build_recipe(self.learning_config),
                reference=_known_reference(self.routing_config.reference_llm, llms),
            ),
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

        Raises
        ------
        ConfigError, UnknownPriceError, EncoderError, StoreError
            Where a part of it cannot be built.
        """
        specs = config.specs()
        store = build_store(config.store)
        try:
            return cls(
                llms=specs,
                routing=config.routing,
                encoder=config.encoder,
                tags=config.tags,
                learning=config.learning,
                store=store,
                store_prompts=config.privacy.store_prompts,
                seed=seed,
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
        target = Path(path)
        if target.exists() and not _replaceable(target):
            raise StateError(f"{target} exists and is no saved router. Choose another folder, or remove it.")
        manifest = _Manifest(
            schema=_SCHEMA,
            llms=self.llms,
            routing=self.routing_config,
            encoder=self.encoder_config,
            encoder_fingerprint=self.encoder.fingerprint,
            tags=self.tags_config,
            learning=self.learning_config,
        )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
                folder = Path(scratch) / "new"
                folder.mkdir()
                (folder / _MANIFEST).write_bytes(msgspec.json.format(seal_manifest(manifest)))
                self.learner.checkpoint().to_folder(folder)
                _swap_in(folder, target, old=Path(scratch) / "old")
        except OSError as error:
            raise StateError(
                f"{target} cannot be written ({error.strerror}). Check the path and its rights."
            ) from error

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
        manifest = _read_manifest(folder)
        checkpoint = Checkpoint.from_folder(folder)
        try:
            router = cls(
                llms=manifest.llms,
                routing=_with_reference_of_pool(manifest),
                encoder=manifest.encoder,
                tags=manifest.tags,
                learning=manifest.learning,
                store=store,
                seed=seed,
            )
        except (ConfigError, EncoderError, InvalidValueError, RegistryError) as error:
            raise StateError(f"{folder} cannot be made a router again: {error}") from error
        _check_encoder(router.encoder, manifest)
        router.adopt(checkpoint)
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


def build_encoder(config: EncoderConfig) -> Encoder:
    """Return the encoder that `config` names."""
    if config.kind == "hashing":
        return HashingEncoder()
    if config.kind == "wordllama":
        return StaticEncoder.wordllama(max_chars=config.max_chars)
    if config.path is None:
        raise ConfigError("encoder: kind 'folder' needs a path. Give encoder.path.")
    return StaticEncoder.from_folder(Path(config.path), max_chars=config.max_chars)


def build_features(config: TagsConfig, encoder: Encoder) -> FeatureMap:
    """Return the feature map that `config` describes, over the encodings of `encoder`."""
    domains = tuple(Domain(name=domain.name, description=domain.description) for domain in config.domains)
    tagger = PrototypeTagger.from_domains(
        encoder=encoder, domains=domains or DEFAULT_DOMAINS, temperature=config.temperature
    )
    dimension = min(config.projection_dimension, encoder.dimension)
    return TagFeatures(tagger=tagger, projection=TruncatedProjection(centre=tagger.centre, dimension=dimension))


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


def _known_reference(reference: str | None, llms: Sequence[LLMSpec]) -> str | None:
    names = [spec.name for spec in llms]
    if reference is not None and reference not in names:
        raise ConfigError(
            f"routing.reference_llm: no LLM named {reference!r} in the pool.{did_you_mean(reference, names)}"
        )
    return reference


def _check_encoder(encoder: Encoder, manifest: _Manifest) -> None:
    if encoder.fingerprint != manifest.encoder_fingerprint:
        raise StateError(
            f"The router was saved with encoder {manifest.encoder_fingerprint!r}, but this installation has "
            f"{encoder.fingerprint!r}. Install the same encoder."
        )


def _with_reference_of_pool(manifest: _Manifest) -> RoutingConfig:
    """Return the routing without a reference LLM that has left the pool: the state knows it, and its price."""
    if manifest.routing.reference_llm in {spec.name for spec in manifest.llms}:
        return manifest.routing
    return msgspec.structs.replace(manifest.routing, reference_llm=None)


def _swap_in(folder: Path, target: Path, *, old: Path) -> None:
    """Put `folder` in the place of `target`; where that fails, `target` is what it was."""
    if not target.exists():
        folder.rename(target)
        return
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise


def _replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / _MANIFEST).is_file() or not any(folder.iterdir()))


def _read_manifest(folder: Path) -> _Manifest:
    try:
        sealed = (folder / _MANIFEST).read_bytes()
    except OSError as error:
        raise StateError(f"{folder} holds no saved router ({error.strerror}): expected {_MANIFEST}.") from error
    return open_manifest(sealed, kind=_Manifest, schema=_SCHEMA, name=str(folder / _MANIFEST))
