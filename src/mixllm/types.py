"""The frozen value objects that travel between rooms: what is asked, forecast, decided, observed and judged."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from mixllm.errors import InvalidValueError
from mixllm.units import finite, fraction, non_negative, positive, tokens_from_chars, usd_for_tokens

__all__ = [
    "Candidate",
    "Capability",
    "Decision",
    "DecisionRecord",
    "Endpoint",
    "Estimate",
    "Feedback",
    "FeedbackKind",
    "FeedbackReceipt",
    "Forecast",
    "Hold",
    "Ineligible",
    "LLMSpec",
    "LearnedState",
    "LearningEvent",
    "Outcome",
    "OutcomeEvent",
    "OutcomeStatus",
    "PlacedChange",
    "PoolChange",
    "Price",
    "Query",
    "Secret",
    "ShadowChoice",
    "StateInfo",
    "StoreHealth",
    "StoredDecision",
    "TagWeight",
    "Value",
    "WarmPrefix",
]

MAX_NAME_CHARS = 200
MAX_ID_CHARS = 200
IMPLICIT_SOURCES = "implicit:"
"""What the source of feedback begins with that nobody gave: it was read off the traffic."""
JUDGE_SOURCE = "judge"
"""The source of feedback that an LLM gave."""
MAX_COUNT = 2**53
"""No count of tokens or characters is larger: up to here floats are exact."""


class Capability(StrEnum):
    """What an LLM can do beyond plain text."""

    TOOLS = "tools"
    VISION = "vision"
    JSON = "json"
    AUDIO = "audio"


class Endpoint(StrEnum):
    """What an LLM can be called for: the paths of OpenAI's API that its server has."""

    CHAT = "chat"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"


class Secret:
    """A string that never shows in a repr, a log, an error or an encoding.

    Examples
    --------
    >>> Secret("sk-1234")
    Secret('***')
    >>> Secret("sk-1234").reveal()
    'sk-1234'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself; call it only where it goes on the wire."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the value objects: frozen, slotted, keyword-only, compared by content."""


class WarmPrefix(Value, frozen=True, kw_only=True):
    """The beginning of a prompt that an LLM's provider may still have in its cache.

    Parameters
    ----------
    llm
        The LLM.
    tokens
        How long it is.
    """

    llm: str
    tokens: int

    def __post_init__(self) -> None:
        _count_in_range("tokens", self.tokens, 0)


class Query(Value, frozen=True, kw_only=True):
    """One request, as the router sees it.

    Parameters
    ----------
    text
        The last real human ask; this is what is encoded. `mixllm.query_from_messages` finds it in a chat.
    tokens_in
        Tokens of the whole prompt; None estimates them from `prompt_chars`.
    prompt_chars
        Characters of the whole prompt, history and system prompt included; None takes those of `text`.
    max_tokens_out
        The request's own limit on the answer's length, if any.
    needs
        Capabilities that the LLM must have.
    endpoints
        What the LLM may be called for; it must serve one of them.
    allowed_llms
        Names of the LLMs that may answer; None allows the whole pool.
    max_cost_usd
        No LLM whose forecast cost is above this is eligible.
    min_quality
        No LLM whose forecast quality is below this is eligible.
    max_latency_s
        No LLM whose forecast latency is above this is eligible.
    max_ttft_s
        No LLM is eligible whose forecast time to the first token is above this.
    trade_off, deadline_s
        The paper's λ and τ for this query, in place of the router's own.
    streamed
        Whether the answer is wanted as a stream.
    choices
        How many answers are wanted in one call (``n``); each is paid for.
    key_id
        Who asks: a name of the API key that is not the key itself; empty where there is none.
    warm
        What the LLM of the conversation's last turn may have in its cache: it is expected to charge less for that.

    Examples
    --------
    >>> Query(text="What is 2 + 2?").prompt_tokens
    4
    """

    text: str
    tokens_in: int | None = None
    prompt_chars: int | None = None
    max_tokens_out: int | None = None
    needs: frozenset[Capability] = frozenset()
    endpoints: frozenset[Endpoint] = frozenset({Endpoint.CHAT})
    allowed_llms: frozenset[str] | None = None
    max_cost_usd: float | None = None
    min_quality: float | None = None
    max_latency_s: float | None = None
    max_ttft_s: float | None = None
    trade_off: float | None = None
    deadline_s: float | None = None
    streamed: bool = False
    choices: int = 1
    key_id: str = ""
    warm: WarmPrefix | None = None

    def __post_init__(self) -> None:
        _check_key_id(self.key_id)
        for field, least in (("tokens_in", 0), ("prompt_chars", 0), ("max_tokens_out", 1), ("choices", 1)):
            _count_in_range(field, getattr(self, field), least)
        if self.max_cost_usd is not None:
            non_negative("max_cost_usd", self.max_cost_usd)
        if self.min_quality is not None:
            fraction("min_quality", self.min_quality)
        if self.max_latency_s is not None:
            positive("max_latency_s", self.max_latency_s)
        if self.max_ttft_s is not None:
            positive("max_ttft_s", self.max_ttft_s)
        if self.trade_off is not None:
            non_negative("trade_off", self.trade_off)
        if self.deadline_s is not None:
            positive("deadline_s", self.deadline_s)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the whole prompt, counted or estimated."""
        if self.tokens_in is not None:
            return self.tokens_in
        return tokens_from_chars(len(self.text) if self.prompt_chars is None else self.prompt_chars)


class Price(Value, frozen=True, kw_only=True):
    """What an LLM's tokens cost.

    Parameters
    ----------
    usd_per_million_tokens_in, usd_per_million_tokens_out
        Price of a million prompt and answer tokens.
    usd_per_million_tokens_cached_in
        Price of a million prompt tokens read from the provider's cache; None prices them as other prompt tokens.
    usd_per_million_tokens_reasoning
        Price of a million reasoning tokens; None prices them as answer tokens.

    Examples
    --------
    >>> price = Price(usd_per_million_tokens_in=2.5, usd_per_million_tokens_out=10)
    >>> price.cost_usd(tokens_in=1000, tokens_out=100)
    0.0035
    """

    usd_per_million_tokens_in: float
    usd_per_million_tokens_out: float
    usd_per_million_tokens_cached_in: float | None = None
    usd_per_million_tokens_reasoning: float | None = None

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is not None:
                non_negative(field, value)

    @property
    def blended_usd_per_million_tokens(self) -> float:
        """One figure for the price: three prompt tokens to one answer token, the usual blend.

        Examples
        --------
        >>> Price(usd_per_million_tokens_in=2.5, usd_per_million_tokens_out=10).blended_usd_per_million_tokens
        4.375
        """
        return (3 * self.usd_per_million_tokens_in + self.usd_per_million_tokens_out) / 4

    def cost_usd(
        self, *, tokens_in: float, tokens_out: float, cached_tokens_in: float = 0, reasoning_tokens: float = 0
    ) -> float:
        """Return the cost of one call.

        Parameters
        ----------
        tokens_in, tokens_out
            All prompt and all answer tokens.
        cached_tokens_in, reasoning_tokens
            How many of those were read from the cache, and spent on reasoning.
        """
        cached_price = self.usd_per_million_tokens_cached_in
        reasoning_price = self.usd_per_million_tokens_reasoning
        cached = 0.0 if cached_price is None else min(cached_tokens_in, tokens_in)
        reasoning = 0.0 if reasoning_price is None else min(reasoning_tokens, tokens_out)
        return (
            usd_for_tokens(tokens_in - cached, self.usd_per_million_tokens_in)
            + usd_for_tokens(cached, cached_price or 0.0)
            + usd_for_tokens(tokens_out - reasoning, self.usd_per_million_tokens_out)
            + usd_for_tokens(reasoning, reasoning_price or 0.0)
        )


class LLMSpec(Value, frozen=True, kw_only=True):
    """One LLM of the pool: what it is called, where it answers, what it costs and what it can do.

    Parameters
    ----------
    name
        Its name in the pool, unique.
    model
        What its endpoint calls it; None takes `name`.
    api_base
        Base URL of its OpenAI-compatible endpoint, ``/v1`` included; None where only the library is used, and for the
        usual endpoint of a `provider`.
    api_key_env
        Name of the environment variable that holds its key. The key itself is not part of the spec.
    price
        What it costs; None looks it up in the shipped price list.
    context_window
        Most tokens of prompt and answer together; None: not known, never a reason to refuse.
    capabilities
        What it can do beyond plain text.
    provider
        The provider whose own protocol its endpoint speaks, by LiteLLM's name (``anthropic``, ``bedrock``); None:
        OpenAI's.
    endpoints
        What it can be called for; nothing is routed to one that has none, such as a generator of images.
    max_in_flight
        Calls that it serves at the same time before further ones wait; None: not known.
    requests_per_minute, tokens_per_minute
        Rate limits of its endpoint, prompt and answer tokens together; None: not known.
    timeout_s
        Total time limit of one call; for a stream, of each silence.
    connect_timeout_s, first_token_timeout_s
        Time limits for the connection, and for the first event of a stream; None takes those of the gateway.
    stream_usage
        Whether its endpoint knows ``stream_options.include_usage``.
    public_score
        Its score in [0, 1] on a public benchmark, the same one for every LLM of the pool that has one; shifts what is
        expected of it before any feedback.
    """

    name: str
    model: str | None = None
    api_base: str | None = None
    api_key_env: str | None = None
    price: Price | None = None
    context_window: int | None = None
    capabilities: frozenset[Capability] = frozenset({Capability.TOOLS, Capability.JSON})
    endpoints: frozenset[Endpoint] = frozenset({Endpoint.CHAT})
    max_in_flight: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout_s: float = 120.0
    connect_timeout_s: float | None = None
    first_token_timeout_s: float | None = None
    stream_usage: bool = True
    public_score: float | None = None
    provider: str | None = None

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= MAX_NAME_CHARS and self.name.isprintable() and self.name.strip() == self.name):
            raise InvalidValueError("name", self.name, f"1 to {MAX_NAME_CHARS} printable characters, no outer spaces")
        if self.name.startswith("mixllm/"):
            raise InvalidValueError("name", self.name, "a name that does not begin with 'mixllm/', which is reserved")
        if self.api_base is not None and not self.api_base.startswith(("http://", "https://")):
            raise InvalidValueError("api_base", self.api_base, "a URL that begins with http:// or https://")
        if self.api_base is not None and "@" in self.api_base.split("/")[2]:
            raise InvalidValueError("api_base", "***", "a URL without a user and password; put the key into api_key")
        _count_in_range("context_window", self.context_window, 1)
        for field in ("max_in_flight", "requests_per_minute", "tokens_per_minute"):
            _count_in_range(field, getattr(self, field), 1)
        positive("timeout_s", self.timeout_s)
        for field in ("connect_timeout_s", "first_token_timeout_s"):
            limit_s = getattr(self, field)
            if limit_s is not None:
                positive(field, limit_s)
        if self.public_score is not None:
            fraction("public_score", self.public_score)

    @property
    def upstream_model(self) -> str:
        """What the endpoint calls this LLM."""
        return self.model or self.name


class Estimate(Value, frozen=True, kw_only=True, gc=False):
    """A prediction: its mean and its standard deviation, in the unit of what is predicted."""

    mean: float
    std: float


class Forecast(Value, frozen=True, kw_only=True, gc=False):
    """What one LLM is expected to do with one query.

    The means of `ttft_s` and `latency_s` are the middle of the forecast, its median: as many calls take longer as
    shorter. The few very long ones, which pull the average up, are what the tails tell of.

    Parameters
    ----------
    quality
        Quality of the answer, in [0, 1].
    tokens_out
        Length of the answer in tokens.
    cost_usd
        Cost of the call.
    ttft_s
        Time to the first token, waiting included.
    wait_s
        Time in the LLM's queue.
    latency_s
        Time to the last token, waiting included.
    latency_low_s, latency_high_s
        5 % and 95 % quantile of the same; 0 where nobody knows.
    latency_tail_s, ttft_tail_s
        What the time to the last and to the first token stays under with the probability that deadlines ask for; 0
        where nobody knows.
    judgements
        How many judgements of this LLM's answers the quality rests on.
    spent_usd
        What its calls have cost so far.
    newcomer
        Whether it came into a pool that had been judged before.
    """

    quality: Estimate
    tokens_out: Estimate
    cost_usd: Estimate
    ttft_s: Estimate
    wait_s: float
    latency_s: Estimate
    latency_low_s: float = 0.0
    latency_high_s: float = 0.0
    latency_tail_s: float = 0.0
    ttft_tail_s: float = 0.0
    judgements: float = 0.0
    spent_usd: float = 0.0
    newcomer: bool = False


class TagWeight(Value, frozen=True, kw_only=True, gc=False):
    """A tag of the query and its probability."""

    tag: str
    probability: float


class Candidate(Value, frozen=True, kw_only=True, gc=False):
    """An LLM that could have taken the query: its forecast, its score and the probability of choosing it."""

    llm: str
    forecast: Forecast
    score: float
    propensity: float


class Ineligible(Value, frozen=True, kw_only=True, omit_defaults=True):
    """An LLM that a hard constraint ruled out, and why.

    Parameters
    ----------
    llm, reason
        Which, and why.
    failing
        Whether all that speaks against it is that it keeps failing: where every candidate has failed, it is asked too.
    """

    llm: str
    reason: str
    failing: bool = False


class ShadowChoice(Value, frozen=True, kw_only=True):
    """What a second policy would have done with the same query; it is logged and never acted on.

    Parameters
    ----------
    policy
        Its name.
    trade_off
        Its λ.
    llm
        What it would have chosen.
    propensities
        Its probability of each candidate, in the order of the decision's candidates; they sum to 1.
    """

    policy: str
    trade_off: float
    llm: str
    propensities: tuple[float, ...]


class Decision(Value, frozen=True, kw_only=True):
    """Which LLM takes the query, and everything needed to explain and to re-evaluate that choice.

    Parameters
    ----------
    decision_id
        Unique, sorts by time.
    created_at_s
        Unix time.
    llm
        The chosen LLM.
    reason
        One line on why.
    policy
        Name of the policy; "forced" where the caller named the LLM.
    trade_off
        The λ that was used.
    cost_scale_usd
        The c_ref that was used.
    model_version
        Version of the snapshot that made the forecasts.
    seed
        Seed of this decision's random draw.
    tokens_in
        Prompt tokens, counted or estimated.
    tags
        The query's most probable tags.
    candidates
        Every eligible LLM; propensities sum to 1.
    ineligible
        Every other LLM of the pool.
    out_of_domain
        How far the query lies outside of what was learned from, from 0 (inside) to 1 (nothing like it was seen).
    shadow
        What second policies would have done; usually empty.
    key_id
        Who asked (see `Query`).
    in_flight
        Calls to the chosen LLM that were under way when it was chosen.
    """

    decision_id: str
    created_at_s: float
    llm: str
    reason: str
    policy: str
    trade_off: float
    cost_scale_usd: float
    model_version: int
    seed: int
    tokens_in: int
    tags: tuple[TagWeight, ...]
    candidates: tuple[Candidate, ...]
    ineligible: tuple[Ineligible, ...] = ()
    out_of_domain: float = 0.0
    shadow: tuple[ShadowChoice, ...] = ()
    key_id: str = ""
    in_flight: int = 0

    @property
    def chosen(self) -> Candidate:
        """The candidate that was chosen."""
        return next(candidate for candidate in self.candidates if candidate.llm == self.llm)

    @property
    def propensity(self) -> float:
        """The probability with which the chosen LLM was chosen."""
        return self.chosen.propensity


class OutcomeStatus(StrEnum):
    """How a call ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    BROKEN_STREAM = "broken_stream"


class Outcome(Value, frozen=True, kw_only=True):
    """The facts of one call: tokens, cost, time and status.

    Parameters
    ----------
    llm
        The LLM that was called; None takes the decision's.
    status
        How the call ended; only ``ok`` calls teach length and latency.
    tokens_in, tokens_out
        As billed; None where nobody counted them.
    cached_tokens_in, reasoning_tokens
        Parts of the two above that are priced apart.
    cost_usd
        What the call cost; None prices the tokens.
    cost_estimated
        Whether nobody measured that cost: the call was given up before its end.
    latency_s, ttft_s
        Time to the last and to the first token.
    streamed
        Whether the answer was streamed.
    choices
        How many answers `tokens_out` is of, >= 1.
    attempt
        0 for the first call of a decision, 1 for the first fallback, and so on.
    error
        What went wrong, without secrets and prompts.
    key_id
        Whom the call is charged to (see `Query`); the router fills it in.
    """

    llm: str | None = None
    status: OutcomeStatus = OutcomeStatus.OK
    tokens_in: int | None = None
    tokens_out: int | None = None
    cached_tokens_in: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    cost_estimated: bool = False
    latency_s: float | None = None
    ttft_s: float | None = None
    streamed: bool = False
    choices: int = 1
    attempt: int = 0
    error: str | None = None
    key_id: str = ""

    def __post_init__(self) -> None:
        _check_key_id(self.key_id)
        for field in ("tokens_in", "tokens_out", "cached_tokens_in", "reasoning_tokens", "attempt"):
            _count_in_range(field, getattr(self, field), 0)
        _count_in_range("choices", self.choices, 1)
        for field in ("cost_usd", "latency_s", "ttft_s"):
            amount = getattr(self, field)
            if amount is not None:
                non_negative(field, amount)


class FeedbackKind(StrEnum):
    """Whether a judgement is a score in [0, 1] or a thumb."""

    REFINED = "refined"
    BINARY = "binary"


class Feedback(Value, frozen=True, kw_only=True):
    """One judgement of one answer.

    Parameters
    ----------
    feedback_id
        Idempotency key: the same id with the same content counts once.
    decision_id
        The decision whose answer is judged.
    kind
        A score, or thumbs.
    value
        In [0, 1]; 0 or 1 for thumbs.
    metric
        What is judged; only ``quality`` teaches the quality predictor.
    source
        Who judged, e.g. ``user`` or ``judge``.
    created_at_s
        Unix time.
    tags
        Labels that the caller wants kept.
    key_id
        Who sent it (see `Query`); bounds how much one key can teach.
    cost_usd
        What the judgement itself cost, e.g. a judge's call.
    """

    feedback_id: str
    decision_id: str
    kind: FeedbackKind
    value: float
    metric: str = "quality"
    source: str = "user"
    created_at_s: float = 0.0
    tags: tuple[tuple[str, str], ...] = ()
    key_id: str = ""
    cost_usd: float = 0.0

    def __post_init__(self) -> None:
        _check_key_id(self.key_id)
        non_negative("cost_usd", self.cost_usd)
        for field in ("feedback_id", "decision_id", "metric", "source"):
            text = getattr(self, field)
            if not 0 < len(text) <= 3 * MAX_ID_CHARS:
                raise InvalidValueError(field, text, f"1 to {3 * MAX_ID_CHARS} characters")
        fraction("value", self.value)
        finite("created_at_s", self.created_at_s)
        if self.kind is FeedbackKind.BINARY and self.value not in (0.0, 1.0):
            raise InvalidValueError("value", self.value, "0 or 1 where the feedback is binary")


class FeedbackReceipt(Value, frozen=True, kw_only=True):
    """That a feedback is durably stored, and whether it had been stored before."""

    feedback_id: str
    duplicate: bool


class DecisionRecord(Value, frozen=True, kw_only=True):
    """A decision with what learning needs of the query, as the store keeps it.

    Parameters
    ----------
    encoding
        The encoder's output as little-endian float32 bytes.
    prompt
        The text that was encoded, only where storing prompts is configured.
    """

    decision: Decision
    encoding: bytes
    prompt: str | None = None


class OutcomeEvent(Value, frozen=True, kw_only=True):
    """An outcome on its way to the store; its id is the decision's and the attempt's number."""

    decision_id: str
    outcome: Outcome
    created_at_s: float

    @property
    def event_id(self) -> str:
        """Idempotency key."""
        return f"{self.decision_id}/{self.outcome.attempt}"


class StoredDecision(Value, frozen=True, kw_only=True):
    """Everything the store knows of one decision."""

    decision: Decision
    outcomes: tuple[Outcome, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    prompt: str | None = None


class LearningEvent(Value, frozen=True, kw_only=True):
    """One thing to learn from: an outcome or a feedback, with the decision that it belongs to.

    Parameters
    ----------
    seq
        Its place in the store's order of events; strictly rising, gaps allowed.
    llm
        The LLM that answered.
    encoding
        The query's encoding as little-endian float32 bytes.
    tokens_in
        Prompt tokens as the decision saw them.
    outcome, feedback
        Exactly one of them.
    created_at_s
        Unix time of the event.
    key_id
        Who asked the query, and whom the event's cost is charged to: the decision's.
    out_of_domain
        How far outside the decision found the query (see `Decision`).
    in_flight
        Calls to the chosen LLM that were under way when it was chosen (see `Decision`).
    """

    seq: int
    decision_id: str
    llm: str
    encoding: bytes
    tokens_in: int
    outcome: Outcome | None = None
    feedback: Feedback | None = None
    created_at_s: float = 0.0
    key_id: str = ""
    out_of_domain: float = 0.0
    in_flight: int = 0

    @property
    def charge_usd(self) -> float:
        """What the event cost, as measured: that of the call, or of the judgement; 0 where nobody knows it."""
        if self.outcome is not None:
            return self.outcome.cost_usd or 0.0
        return 0.0 if self.feedback is None else self.feedback.cost_usd


class LearnedState(Value, frozen=True, kw_only=True):
    """A checkpoint of learned state, as the store keeps it.

    Parameters
    ----------
    version
        Version of the snapshot; rises with every checkpoint.
    position
        `LearningEvent.seq` of the last event learned from.
    created_at_s
        Unix time.
    payload
        Self-describing bytes with their own checksum (see `mixllm.learning.checkpoint`).
    """

    version: int
    position: int
    created_at_s: float
    payload: bytes


class StateInfo(Value, frozen=True, kw_only=True):
    """What the store knows of a checkpoint without reading it.

    Parameters
    ----------
    version, position, created_at_s
        See `LearnedState`.
    size_bytes
        Length of its payload.
    quarantined
        Why it is not to be used; None where it may be.
    """

    version: int
    position: int
    created_at_s: float
    size_bytes: int
    quarantined: str | None = None


class Hold(Value, frozen=True, kw_only=True, gc=False):
    """That an LLM would refuse a call now.

    Parameters
    ----------
    wait_s
        For how long; infinite where this call will never be taken.
    reason
        Why, and how long it still takes.
    """

    wait_s: float
    reason: str


class StoreHealth(Value, frozen=True, kw_only=True):
    """How a store is.

    Parameters
    ----------
    place
        What it is called, without secrets.
    problem
        Why it cannot be written now; None where it can.
    spooled, spooled_bytes
        Facts that wait on the local disk until it can.
    dropped
        Decisions and outcomes that were appended and not kept, since the start.
    """

    place: str
    problem: str | None = None
    spooled: int = 0
    spooled_bytes: int = 0
    dropped: int = 0


class PoolChange(Value, frozen=True, kw_only=True):
    """An LLM that was added to, changed in or removed from the pool at run time.

    Parameters
    ----------
    spec
        The LLM as it is now, or was last.
    active
        Whether it is in the pool.
    created_at_s
        Unix time.
    configured
        What the configuration said of it then; None where it said nothing. Where the configuration says otherwise
        after a restart, it was edited since, and goes before this change.
    """

    spec: LLMSpec
    active: bool
    created_at_s: float
    configured: LLMSpec | None = None


class PlacedChange(Value, frozen=True, kw_only=True):
    """A change of the pool and its place among the events, which is the same for everyone who reads the store.

    Parameters
    ----------
    number
        Rises with every change.
    after_seq
        `LearningEvent.seq` of the last event that was durable before it; 0 where there was none.
    change
        The change.
    """

    number: int
    after_seq: int
    change: PoolChange


def _count_in_range(field: str, count: int | None, least: int) -> None:
    if count is not None and not least <= count <= MAX_COUNT:
        raise InvalidValueError(field, count, f"between {least} and {MAX_COUNT}")


def _check_key_id(key_id: str) -> None:
    if len(key_id) > MAX_ID_CHARS:
        raise InvalidValueError("key_id", f"{len(key_id)} characters", f"at most {MAX_ID_CHARS} characters")
