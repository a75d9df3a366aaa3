"""The shape of the configuration: LiteLLM's ``model_list`` for the pool, and a section for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from mixllm.config.budget import BudgetConfig
from mixllm.config.calls import CallsConfig
from mixllm.config.conversations import ConversationsConfig
from mixllm.config.keys import KeyConfig
from mixllm.config.pool import ModelEntry
from mixllm.config.section import Section, check_given
from mixllm.config.signals import JudgeConfig, SignalsConfig
from mixllm.config.store import StoreConfig
from mixllm.config.telemetry import TelemetryConfig
from mixllm.errors import InvalidValueError
from mixllm.types import LLMSpec, Secret
from mixllm.units import fraction, non_negative, positive

__all__ = [
    "Config",
    "DomainConfig",
    "EncoderConfig",
    "FeedbackConfig",
    "GatewayConfig",
    "LearningConfig",
    "OutOfDomainConfig",
    "PolicyConfig",
    "PrivacyConfig",
    "RoutingConfig",
    "ShadowConfig",
    "StoreConfig",
    "TagsConfig",
]

_MAX_WORKERS = 32


class PolicyConfig(Section, frozen=True, kw_only=True):
    """How scores become a choice.

    Parameters
    ----------
    name
        ``greedy``, ``ucb`` (the paper's), ``squarecb`` or ``thompson``.
    exploration
        ``ucb``: α.
    gap_weight
        ``squarecb``: γ.
    scale, early_scale, early_judgements
        ``thompson``: multiply the standard deviations (see `mixllm.decision.ThompsonPolicy`).
    max_cost_ratio, min_quality
        Bounds on exploration (see `mixllm.decision.ExplorationBounds`).
    warmup_judgements, warmup_share
        LLMs judged less often than this get this share of the traffic between them; 0 switches it off.
    newcomer_judgements, newcomer_optimism
        To the score of an LLM that came into a pool that had been judged before, so many standard deviations are added
        until it has been judged this often; 0 switches it off. ``greedy`` does without.
    warmup_max_cost_usd
        An LLM whose calls have cost more than this is not explored so any further; None: no bound.
    """

    name: Literal["greedy", "ucb", "squarecb", "thompson"] = "thompson"
    exploration: float = 0.01
    gap_weight: float = 100.0
    scale: float = 0.3
    early_scale: float = 1.0
    early_judgements: float = 20.0
    max_cost_ratio: float | None = None
    min_quality: float | None = None
    warmup_judgements: int = 0
    warmup_share: float = 0.2
    newcomer_judgements: int = 500
    newcomer_optimism: float = 1.25
    warmup_max_cost_usd: float | None = None

    def __post_init__(self) -> None:
        non_negative("exploration", self.exploration)
        positive("gap_weight", self.gap_weight)
        positive("scale", self.scale)
        positive("early_scale", self.early_scale)
        non_negative("early_judgements", self.early_judgements)
        check_given(non_negative, self, "max_cost_ratio")
        check_given(fraction, self, "min_quality")
        non_negative("warmup_judgements", self.warmup_judgements)
        fraction("warmup_share", self.warmup_share)
        non_negative("newcomer_judgements", self.newcomer_judgements)
        non_negative("newcomer_optimism", self.newcomer_optimism)
        check_given(positive, self, "warmup_max_cost_usd")


class ShadowConfig(Section, frozen=True, kw_only=True):
    """A second policy that decides beside the live one; it is logged and never acted on.

    Parameters
    ----------
    name
        What its choices are logged under.
    trade_off
        Its λ (written ``lambda`` in the file); None takes the live policy's.
    policy
        How its scores become a choice.
    """

    name: str = "shadow"
    trade_off: float | None = msgspec.field(default=None, name="lambda")
    policy: PolicyConfig = PolicyConfig()

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InvalidValueError("name", self.name, "more than blanks")
        if self.trade_off is not None:
            non_negative("lambda", self.trade_off)


class OutOfDomainConfig(Section, frozen=True, kw_only=True):
    """What is done with queries unlike those that were learned from.

    Parameters
    ----------
    enabled
        Whether anything is; the score is reported in any case.
    shrinkage, widening, threshold, pessimism
        See `mixllm.decision.OutOfDomainRule`.
    """

    enabled: bool = True
    shrinkage: float = 0.0
    widening: float = 1.0
    threshold: float = 0.5
    pessimism: float = 0.0

    def __post_init__(self) -> None:
        fraction("shrinkage", self.shrinkage)
        non_negative("widening", self.widening)
        fraction("threshold", self.threshold)
        non_negative("pessimism", self.pessimism)


class RoutingConfig(Section, frozen=True, kw_only=True):
    """How quality, cost and time are traded.

    Parameters
    ----------
    trade_off
        λ (written ``lambda`` in the file): 1.4 is the paper's; the larger, the more quality counts.
    reference_llm
        The LLM whose mean cost is the scale of cost; None takes the dearest.
    wait_weight, wait_steepness_per_s, wait_onset, deadline_s, queue_weight
        β, γ, ξ, τ and η of the waiting penalties (see `mixllm.decision.ScoreWeights`).
    max_cost_share
        The mean cost may be this share of what always asking the reference LLM would cost: λ falls where it is more;
        None: no limit.
    caution, caution_judgements
        How much more quality counts while the pool has been judged little (see `mixllm.decision.ScoreWeights`).
    max_latency_s, max_ttft_s
        Longest time to the last token, and of streams to the first, for requests that set none; None: no limit.
    deadline_quantile
        The probability with which limits on time are to be met.
    max_wait_s
        An LLM whose queue makes a call wait longer gets no further ones.
    max_cooldown_s
        An LLM that refuses calls is left alone for no longer than this, whatever it asks for.
    policy
        How scores become a choice.
    shadow
        Policies that decide beside it, for comparison.
    out_of_domain
        What is done with queries unlike those that were learned from.
    conversations
        How far a conversation stays with its LLM; the gateway's affair.
    """

    trade_off: float = msgspec.field(default=1.4, name="lambda")
    reference_llm: str | None = None
    wait_weight: float = 0.1
    wait_steepness_per_s: float = 0.5
    wait_onset: float = 0.8
    deadline_s: float = 30.0
    queue_weight: float = 0.3
    max_cost_share: float | None = None
    caution: float = 0.0
    caution_judgements: float = 300.0
    max_latency_s: float | None = None
    max_ttft_s: float | None = None
    deadline_quantile: float = 0.95
    max_wait_s: float = 30.0
    max_cooldown_s: float = 60.0
    policy: PolicyConfig = PolicyConfig()
    shadow: tuple[ShadowConfig, ...] = ()
    out_of_domain: OutOfDomainConfig = OutOfDomainConfig()
    conversations: ConversationsConfig = ConversationsConfig()

    def __post_init__(self) -> None:
        names = [shadow.name for shadow in self.shadow]
        if len(set(names)) < len(names):
            raise InvalidValueError("shadow", names, "without two entries of the same name")
        non_negative("lambda", self.trade_off)
        non_negative("wait_weight", self.wait_weight)
        positive("wait_steepness_per_s", self.wait_steepness_per_s)
        fraction("wait_onset", self.wait_onset)
        positive("deadline_s", self.deadline_s)
        non_negative("queue_weight", self.queue_weight)
        if self.max_cost_share is not None and not 0 < self.max_cost_share <= 1:
            raise InvalidValueError("max_cost_share", self.max_cost_share, "above 0, at most 1")
        check_given(positive, self, "max_latency_s")
        check_given(positive, self, "max_ttft_s")
        if not 0 < self.deadline_quantile < 1:
            raise InvalidValueError("deadline_quantile", self.deadline_quantile, "in (0, 1)")
        positive("max_wait_s", self.max_wait_s)
        positive("max_cooldown_s", self.max_cooldown_s)


class EncoderConfig(Section, frozen=True, kw_only=True):
    """Which encoder turns text into vectors.

    Parameters
    ----------
    kind
        ``wordllama`` (shipped), ``folder`` (a local model2vec folder), ``transformer`` (a local folder of a sentence
        transformer), ``endpoint`` (any ``/v1/embeddings``) or ``hashing`` (for tests).
    path
        The folder, for ``folder`` and ``transformer``.
    max_chars
        Longer texts are bounded to this, head and tail.
    api_base, model, dimension
        For ``endpoint``: its base URL, its model's name, and the length of that model's vectors.
    api_key_env
        For ``endpoint``: the environment variable with its key; None sends none.
    timeout_s
        For ``endpoint``: time limit of a call.
    """

    kind: Literal["wordllama", "folder", "transformer", "endpoint", "hashing"] = "wordllama"
    path: str | None = None
    max_chars: int = 8000
    api_base: str | None = None
    model: str | None = None
    dimension: int | None = None
    api_key_env: str | None = None
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        needed: dict[str, tuple[str, ...]] = {
            "folder": ("path",),
            "transformer": ("path",),
            "endpoint": ("api_base", "model", "dimension"),
        }
        for key in needed.get(self.kind, ()):
            if not getattr(self, key):
                raise InvalidValueError(key, getattr(self, key), f"given where the kind is {self.kind!r}")
        if self.api_base is not None:
            _check_api_base(self.api_base)
        positive("max_chars", self.max_chars)
        positive("timeout_s", self.timeout_s)
        check_given(positive, self, "dimension")


def _check_api_base(api_base: str) -> None:
    if not api_base.startswith(("http://", "https://")):
        raise InvalidValueError("api_base", api_base, "a URL that begins with http:// or https://")
    if "@" in api_base.split("/")[2]:
        raise InvalidValueError("api_base", "***", "a URL without a user and password; put the key into api_key_env")


class DomainConfig(Section, frozen=True, kw_only=True):
    """A domain of queries: its name, and words that its queries use."""

    name: str
    description: str

    def __post_init__(self) -> None:
        for key in ("name", "description"):
            if not getattr(self, key).strip():
                raise InvalidValueError(key, getattr(self, key), "more than blanks")


class TagsConfig(Section, frozen=True, kw_only=True):
    """How queries are tagged and their vectors shortened.

    Parameters
    ----------
    domains
        The domains; empty takes the shipped ones.
    temperature
        Softness of the tags.
    projection_dimension
        Length of the shortened vector.
    surface
        Whether predictors also see what a text looks like: its length, options, digits, markup (see
        `mixllm.encoders.SurfaceEncoder`).
    """

    domains: tuple[DomainConfig, ...] = ()
    temperature: float = 0.05
    projection_dimension: int = 64
    surface: bool = True

    def __post_init__(self) -> None:
        names = [domain.name for domain in self.domains]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidValueError("domains", twice, "without two domains of the same name")
        positive("temperature", self.temperature)
        positive("projection_dimension", self.projection_dimension)


class FeedbackConfig(Section, frozen=True, kw_only=True):
    """What is made of feedback.

    Parameters
    ----------
    treatment
        ``noisy-label`` (sources are compared with each other, their judgements corrected and weighted), ``plain`` (all
        at face value) or ``dynamic`` (scores as with ``noisy-label``, thumbs by the paper's dynamic-feedback score).
    max_key_share, key_judgements, key_window_s, unbounded_keys
        Bounds on what one API key can teach of an LLM (see `mixllm.learning.key_shares.KeyShares`).
    """

    treatment: Literal["noisy-label", "plain", "dynamic"] = "noisy-label"
    max_key_share: float = 0.2
    key_judgements: float = 50.0
    key_window_s: float = 86_400.0
    unbounded_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.max_key_share <= 1:
            raise InvalidValueError("max_key_share", self.max_key_share, "above 0, at most 1")
        non_negative("key_judgements", self.key_judgements)
        positive("key_window_s", self.key_window_s)


class LearningConfig(Section, frozen=True, kw_only=True):
    """How learning goes.

    Parameters
    ----------
    process
        Whether a process of its own learns for the gateway and all its workers; None: where system and store allow it.
    checkpoint_interval_s
        How often learned state is kept.
    kept_checkpoints, kept_daily_checkpoints
        How many of the newest checkpoints the store keeps, and on how many days the day's last one too.
    stalled_after_s
        Learning counts as stalled where an event waits for longer than this and nothing is learned meanwhile.
    recipe
        Priors and noise by name (see `mixllm.learning.Recipe`); what is not named keeps its default.
    model
        Folder that `mixllm train` or `Router.save` wrote: what is known before any feedback.
    drift_answers_per_false_alarm
        How seldom the test of each LLM's quality may give a false alarm (see `mixllm.learning.drift`); 0 switches the
        watch off.
    feedback
        What is made of feedback.
    """

    process: bool | None = None
    checkpoint_interval_s: float = 30.0
    kept_checkpoints: int = 10
    kept_daily_checkpoints: int = 7
    stalled_after_s: float = 60.0
    recipe: Mapping[str, float] = {}
    model: str | None = None
    drift_answers_per_false_alarm: float = 10_000.0
    feedback: FeedbackConfig = FeedbackConfig()

    def __post_init__(self) -> None:
        positive("checkpoint_interval_s", self.checkpoint_interval_s)
        if self.kept_checkpoints < 2:
            raise InvalidValueError(
                "kept_checkpoints", self.kept_checkpoints, ">= 2, so that there is one to go back to"
            )
        non_negative("kept_daily_checkpoints", self.kept_daily_checkpoints)
        positive("stalled_after_s", self.stalled_after_s)
        non_negative("drift_answers_per_false_alarm", self.drift_answers_per_false_alarm)


class GatewayConfig(Section, frozen=True, kw_only=True):
    """The HTTP server.

    Parameters
    ----------
    host, port
        Where it listens; anything but loopback needs `api_keys` or `keys`.
    api_keys
        Keys that clients must present, literally or as ``os.environ/NAME``; each may do everything.
    keys
        Keys with rights and limits of their own (see `KeyConfig`). Without these and `api_keys` none is asked for.
    audit_path
        File to which every call that changes the gateway is appended, one JSON object a line; None: the log alone.
    access_log
        Whether every request is logged, in one line.
    llm_key_variables
        Environment variables that LLMs added at run time may use as their keys, beside those of the pool.
    max_body_bytes
        Larger requests are refused.
    connect_timeout_s
        Time limit for connecting to an LLM's endpoint, for LLMs without one of their own.
    workers
        Processes that serve; all of them share the store.
    shared_traffic
        Whether gateways on the same store file see each other's calls, rate limits and cooldowns, and those of one
        machine share the rates of keys.
    max_in_flight, max_in_flight_bytes
        Requests to LLMs that are under way at the same time, and the size of all their bodies; further ones are
        refused (429).
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[Secret, ...] = ()
    keys: tuple[KeyConfig, ...] = ()
    audit_path: str | None = None
    access_log: bool = False
    llm_key_variables: tuple[str, ...] = ()
    max_body_bytes: int = 4 * 1024 * 1024
    connect_timeout_s: float = 5.0
    workers: int = 1
    shared_traffic: bool = True
    max_in_flight: int = 2000
    max_in_flight_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidValueError("port", self.port, "between 0 and 65535")
        if self.max_body_bytes < 1024:
            raise InvalidValueError("max_body_bytes", self.max_body_bytes, ">= 1024")
        positive("connect_timeout_s", self.connect_timeout_s)
        if not 1 <= self.workers <= _MAX_WORKERS:
            raise InvalidValueError("workers", self.workers, f"between 1 and {_MAX_WORKERS}")
        positive("max_in_flight", self.max_in_flight)
        if self.max_in_flight_bytes < self.max_body_bytes:
            raise InvalidValueError(
                "max_in_flight_bytes", self.max_in_flight_bytes, f">= max_body_bytes = {self.max_body_bytes}"
            )
        if not self.host.strip():
            raise InvalidValueError("host", self.host, "an address or a host name")
        if not all(key.reveal().strip() for key in self.api_keys):
            raise InvalidValueError("api_keys", self.api_keys, "without blank keys")
        names = [key.name for key in self.keys]
        if len(set(names)) < len(names):
            raise InvalidValueError("keys", names, "without two keys of the same name")
        if self.audit_path is not None and (not self.audit_path.strip() or "\0" in self.audit_path):
            raise InvalidValueError("audit_path", self.audit_path, "the path of a file")


class PrivacyConfig(Section, frozen=True, kw_only=True):
    """What is kept of people's texts.

    Parameters
    ----------
    store_prompts
        Whether the store keeps the text that was encoded; its vector is kept in any case, for learning.
    """

    store_prompts: bool = False


class Config(Section, frozen=True, kw_only=True):
    """A whole configuration; every section has defaults but the pool, which may come later at run time."""

    model_list: tuple[ModelEntry, ...] = ()
    routing: RoutingConfig = RoutingConfig()
    budget: BudgetConfig = BudgetConfig()
    encoder: EncoderConfig = EncoderConfig()
    tags: TagsConfig = TagsConfig()
    learning: LearningConfig = LearningConfig()
    store: StoreConfig = StoreConfig()
    gateway: GatewayConfig = GatewayConfig()
    calls: CallsConfig = CallsConfig()
    signals: SignalsConfig = SignalsConfig()
    judge: JudgeConfig | None = None
    privacy: PrivacyConfig = PrivacyConfig()
    telemetry: TelemetryConfig = TelemetryConfig()

    def __post_init__(self) -> None:
        names = [entry.model_name for entry in self.model_list]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidValueError("model_list", twice, "without two entries of the same model_name")

    def specs(self) -> tuple[LLMSpec, ...]:
        """Return the pool."""
        return tuple(entry.spec() for entry in self.model_list)

    def secrets(self) -> dict[str, Secret]:
        """Return the literal keys, by LLM."""
        found = {entry.model_name: entry.secret() for entry in self.model_list}
        return {name: secret for name, secret in found.items() if secret is not None}
