"""Where judgements come from beside people: what traffic itself tells, and an LLM that judges a share of it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mixllm.config.pool import ModelEntry, ModelParams
from mixllm.config.section import Section
from mixllm.errors import InvalidValueError
from mixllm.types import JUDGE_SOURCE, LLMSpec, Secret
from mixllm.units import fraction, non_negative, positive

__all__ = ["ImplicitSignal", "JudgeConfig", "SignalsConfig"]

ImplicitSignal: TypeAlias = Literal["regenerate", "error", "empty", "cut"]

_MAX_RUBRIC_CHARS = 20_000
_MAX_TEXT_CHARS = 200_000
_BOUNDS = {
    "max_question_chars": (16, _MAX_TEXT_CHARS),
    "max_answer_chars": (16, _MAX_TEXT_CHARS),
    "reasoning_tokens": (0, 100_000),
    "max_in_flight": (1, 256),
    "max_queue": (1, 100_000),
}
_MAX_TRACKED = 10_000_000


class SignalsConfig(Section, frozen=True, kw_only=True):
    """Which events of the traffic count as thumbs down.

    Parameters
    ----------
    implicit
        Any of ``regenerate`` (the same conversation is sent again), ``error`` (the LLM failed), ``empty`` (its answer
        says nothing) and ``cut`` (its answer was cut off, not by the client's limit); none by default.
    regenerate_window_s
        How long after an answer the same conversation counts as asked again.
    max_tracked
        Most answers that are remembered for that, the newest ones.
    """

    implicit: tuple[ImplicitSignal, ...] = ()
    regenerate_window_s: float = 120.0
    max_tracked: int = 10_000

    def __post_init__(self) -> None:
        if len(set(self.implicit)) < len(self.implicit):
            raise InvalidValueError("implicit", list(self.implicit), "without two signals of the same name")
        positive("regenerate_window_s", self.regenerate_window_s)
        if not 1 <= self.max_tracked <= _MAX_TRACKED:
            raise InvalidValueError("max_tracked", self.max_tracked, f"between 1 and {_MAX_TRACKED}")


class JudgeConfig(Section, frozen=True, kw_only=True):
    """An LLM that judges a share of the answers, in the background.

    Parameters
    ----------
    model
        Name at its endpoint, with a provider's prefix (``openai/gpt-4o-mini``) or without.
    api_base
        Base URL of its OpenAI-compatible endpoint; needed where the prefix has no known one.
    api_key_env
        The environment variable with its key; None sends none.
    input_cost_per_token, output_cost_per_token
        Price in USD, where the shipped list does not know it.
    share
        Share of the answers that is judged.
    rubric
        What makes an answer good, in words; None takes the shipped one.
    timeout_s
        Time limit of a call.
    max_question_chars, max_answer_chars
        Longer texts are bounded to this, head and tail.
    reasoning_tokens
        Tokens that the judge may think for; above 0 the request is one for reasoning models.
    max_in_flight
        Calls under way at the same time.
    max_queue
        Answers that wait to be judged; further ones are not judged.
    drain_s
        How long a gateway that stops waits for what is still to be judged.
    """

    model: str
    api_base: str | None = None
    api_key_env: str | None = None
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    share: float = 0.05
    rubric: str | None = None
    timeout_s: float = 30.0
    max_question_chars: int = 8000
    max_answer_chars: int = 8000
    reasoning_tokens: int = 0
    max_in_flight: int = 2
    max_queue: int = 100
    drain_s: float = 5.0

    def __post_init__(self) -> None:
        for key, (least, most) in _BOUNDS.items():
            count = getattr(self, key)
            if not least <= count <= most:
                raise InvalidValueError(key, count, f"between {least} and {most}")
        fraction("share", self.share)
        positive("timeout_s", self.timeout_s)
        non_negative("drain_s", self.drain_s)
        if self.api_key_env is not None and not self.api_key_env.isidentifier():
            # Not shown: it may be the key itself.
            raise InvalidValueError("api_key_env", "***", "the name of an environment variable, not the key itself")
        if self.rubric is not None and not (self.rubric.strip() and len(self.rubric) <= _MAX_RUBRIC_CHARS):
            raise InvalidValueError("rubric", self.rubric, f"1 to {_MAX_RUBRIC_CHARS} characters, not all blank")

    def entry(self) -> ModelEntry:
        """Return the judge as if it were an entry of ``model_list``."""
        return ModelEntry(
            model_name=JUDGE_SOURCE,
            litellm_params=ModelParams(
                model=self.model,
                api_base=self.api_base,
                api_key=None if self.api_key_env is None else Secret(f"os.environ/{self.api_key_env}"),
                timeout=self.timeout_s,
                input_cost_per_token=self.input_cost_per_token,
                output_cost_per_token=self.output_cost_per_token,
            ),
        )

    def spec(self) -> LLMSpec:
        """Return the judge as an LLM to call; raises `ConfigError` where it cannot be one."""
        return self.entry().spec()
