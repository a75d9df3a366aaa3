"""From judgements of answers to quality predictors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.dynamic_feedback import DynamicFeedback, FrozenScores
from mixllm.learning.key_shares import KeyShares
from mixllm.learning.recent_judgements import RecentJudgements
from mixllm.learning.recipe import LLMModel
from mixllm.learning.sources import FACE_VALUE, Channel, SourceChannels, combined
from mixllm.types import Feedback, FeedbackKind
from mixllm.units import fraction

__all__ = ["QUALITY_METRIC", "Judging", "Taught"]

QUALITY_METRIC = "quality"
"""The feedback metric that teaches quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What a judgement was taken for.

    Parameters
    ----------
    target
        The quality that was learned, corrected for its source's bias: within [-4, 5].
    weight
        How much it counted, 1 for a judgement with the recipe's noise.
    voice
        Name of the key that said it, where there are others that could contradict; empty where there are not.
    in_predictor
        Whether the quality predictor learned it, and not the dynamic-feedback score.
    """

    target: float
    weight: float
    voice: str = ""
    in_predictor: bool = True


class Judging:
    """Decides what a judgement says of the quality, and how much it counts.

    Parameters
    ----------
    reliability
        Whether sources are compared with each other and their judgements corrected and weighted; else every judgement
        is taken at face value.
    shares
        Bounds what one API key can teach; None takes the defaults.
    dynamic
        Learns thumbs in the place of the quality predictors; None: the predictors learn them too.
    """

    def __init__(
        self, *, reliability: bool = True, shares: KeyShares | None = None, dynamic: DynamicFeedback | None = None
    ) -> None:
        self.reliability = reliability
        self.shares = KeyShares() if shares is None else shares
        self.dynamic = dynamic
        self.channels = SourceChannels()
        self._recent = RecentJudgements()

    def learn(
        self, model: LLMModel, features: NDArray[np.float32], feedback: Feedback, *, llm: str, weight: float = 1.0
    ) -> Taught | None:
        """Teach `model` one judgement; return what it taught, or None where that is nothing.

        Parameters
        ----------
        model
            Predictors of the LLM that was judged.
        features
            z of the query, shape (D,).
        feedback
            The judgement.
        llm
            Name of the LLM.
        weight
            How much it counts for where it was given, > 0, before its key and its source are looked at.

        Raises
        ------
        InvalidValueError
            Where it cannot be learned from; what is known stays as it was.
        """
        if feedback.metric != QUALITY_METRIC:
            return None
        value = fraction("value", feedback.value)
        forecast = model.quality.predict(features).mean
        source = self.channels.name_of(feedback)
        channel = self.channels.channel(source) if self.reliability else FACE_VALUE
        # What its key may not teach, its key may not say of its source either.
        granted = self.shares.grant(llm, feedback.key_id, weight, at_s=feedback.created_at_s)
        voice = feedback.key_id if self.shares.bounds(llm, feedback.key_id) else ""
        by_thumb = self.dynamic is not None and feedback.kind is FeedbackKind.BINARY
        taught = Taught(
            target=channel.target(value),
            weight=granted * channel.weight,
            voice=voice,
            in_predictor=not by_thumb,
        )
        if taught.weight > 0.0:
            if self.dynamic is not None and by_thumb:
                self.dynamic.learn(llm, features, taught.target, expected=forecast, weight=taught.weight)
            else:
                model.quality.update_corrected(features, taught.target, weight=taught.weight)
        if self.reliability and granted > 0.0:
            self._compare(source, feedback, forecast, granted / weight, noise=model.quality.noise_variance)
        return taught if taught.weight > 0.0 else None

    def frozen_scores(self, llms: Sequence[str]) -> FrozenScores | None:
        """Return what thumbs add to the quality of these LLMs; None where the predictors have learned them."""
        return None if self.dynamic is None else self.dynamic.freeze(llms)

    def sources(self) -> Mapping[str, Channel]:
        """Return the channel of every source of feedback by its name, ``kind/source``."""
        return self.channels.channels()

    def merge(self, other: Self) -> None:
        """Add what `other` knows of sources, keys and thumbs."""
        self.channels.merge(other.channels)
        self.shares.merge(other.shares)
        self._recent.merge(other._recent)
        if self.dynamic is not None and other.dynamic is not None:
            self.dynamic.merge(other.dynamic)

    def state(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, tuple[str, ...]]]:
        """Return arrays, and the names of their rows; an array is missing where there is nothing to tell."""
        values, answers, sources = self._recent.state()
        shares, share_names = self.shares.state()
        arrays = {"channels": self.channels.state(), "recent": values}
        arrays |= {f"shares.{name}": array for name, array in shares.items()}
        names = {"channels": self.channels.names, "recent.answers": answers, "recent.sources": sources}
        names |= {f"shares.{name}": rows for name, rows in share_names.items()}
        if self.dynamic is not None:
            weights, llms = self.dynamic.state()
            arrays |= {f"dynamic.{name}": array for name, array in weights.items()}
            names["dynamic"] = llms
        return arrays, names

    def restored(self, arrays: Mapping[str, NDArray[np.float64]], names: Mapping[str, Sequence[str]]) -> Self:
        """Return judging with the same settings and this state; what the state does not tell is as at the start.

        Raises
        ------
        StateError
            Where it is damaged.
        """
        dynamic = None if self.dynamic is None else self.dynamic.cleared()
        made = type(self)(reliability=self.reliability, shares=self.shares.cleared(), dynamic=dynamic)
        made.load_state(arrays, names)
        return made

    def load_state(self, arrays: Mapping[str, NDArray[np.float64]], names: Mapping[str, Sequence[str]]) -> None:
        """Replace the state part by part; raises `StateError` where one is damaged."""
        self.shares.load_state(_within(arrays, "shares."), _within(names, "shares."))
        self.channels.load_state(names.get("channels", ()), arrays.get("channels", SourceChannels().state()))
        self._recent.load_state(
            arrays.get("recent", np.zeros(0)), names.get("recent.answers", ()), names.get("recent.sources", ())
        )
        if self.dynamic is not None and "dynamic" in names:
            self.dynamic.load_state(_within(arrays, "dynamic."), names["dynamic"])

    def _compare(self, source: str, feedback: Feedback, forecast: float, part: float, *, noise: float) -> None:
        others = [
            (value, self.channels.channel(name)) for name, value in self._recent.by_others(feedback.decision_id, source)
        ]
        estimate, settled = combined(forecast, others)
        self.channels.add(source, estimate=estimate, value=feedback.value, settled=settled * noise, weight=part)
        self._recent.add(feedback.decision_id, source, feedback.value)


_RowsT = TypeVar("_RowsT")


def _within(table: Mapping[str, _RowsT], prefix: str) -> dict[str, _RowsT]:
    return {name.removeprefix(prefix): rows for name, rows in table.items() if name.startswith(prefix)}
