"""Watches every LLM for changes of its quality, and sees to it that what no longer holds is forgotten."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import StateError
from mixllm.learning.drift import Drift, DriftTest
from mixllm.learning.forgetting import KEPT_RECENT, Recent, share_to_keep
from mixllm.learning.judging import Taught
from mixllm.learning.probation import Probation
from mixllm.learning.recipe import LLMModel
from mixllm.predictors import QualityPredictor, base_at
from mixllm.types import Estimate, Value
from mixllm.units import non_negative

__all__ = ["DriftStatus", "DriftWatch"]

_LOG = logging.getLogger(__name__)

_OTHERS_SHARE = 0.25
"""What others than the loudest key must add to the test's sum, as a share of its threshold, for an alarm."""

_REFRESH_EVERY = 64
"""Judgements after which the forecasts that are tested take over anew what the pool has in common."""


class DriftStatus(Value, frozen=True, kw_only=True):
    """How an LLM's quality holds.

    Parameters
    ----------
    llm
        Its name.
    statistic
        The test's sum as a share of the threshold, in [0, 1).
    falls, rises
        Alarms so far.
    last_alarm_s
        Unix time of the last; None where there was none.
    on_probation
        Whether it fell, and is looked at again now and then.
    """

    llm: str
    statistic: float
    falls: int
    rises: int
    last_alarm_s: float | None
    on_probation: bool


@dataclass(slots=True, kw_only=True)
class _Watched:
    """One LLM: its test, the judgements since the change that the test would find, and what is done after a fall."""

    test: DriftTest
    prior_mean: NDArray[np.float64]
    newest: deque[tuple[NDArray[np.float32], float, float]] = field(default_factory=lambda: deque(maxlen=KEPT_RECENT))
    voices: deque[tuple[str, Mapping[Drift, float]]] = field(default_factory=lambda: deque(maxlen=KEPT_RECENT))
    probation: Probation | None = None

    def recent(self) -> Recent:
        """Return the judgements since the possible change."""
        if not self.newest:
            return Recent.none(len(self.prior_mean))
        features, targets, weights = zip(*self.newest, strict=True)
        return Recent(features=np.stack(features), targets=np.array(targets), weights=np.array(weights))


class DriftWatch:
    """The drift tests of all LLMs, and what follows an alarm; not thread-safe, the learner's lock holds.

    Parameters
    ----------
    answers_per_false_alarm
        See `DriftTest`; 0 switches all of it off.

    Notes
    -----
    Where several API keys judge, no single one can give an alarm: without the key that added most to the sum since the
    possible change, a quarter of the threshold must be left. Else a key that farms would have forgotten what all the
    others said.

    After an alarm the evidence from before the change is kept at the share that makes the judgements since then least
    surprising (see `share_to_keep`). After a fall the LLM is on probation (see `Probation`): at times that are ever
    further apart it is expected again, with little weight, to be what it was, so that one that has healed is found.
    """

    def __init__(self, *, answers_per_false_alarm: float) -> None:
        self.answers_per_false_alarm = non_negative("answers_per_false_alarm", answers_per_false_alarm)
        self._watched: dict[str, _Watched] = {}
        self._until_refresh = _REFRESH_EVERY
        self._judged_any = False

    @property
    def on(self) -> bool:
        """Whether anything is watched."""
        return self.answers_per_false_alarm > 0

    def stale(self, llm: str) -> bool:
        """Whether `refresh` is due before the next judgement of this LLM."""
        return self.on and (self._until_refresh <= 0 or llm not in self._watched)

    def refresh(self, prior_means: Mapping[str, NDArray[np.float64]]) -> None:
        """Take over the prior means of all LLMs, each of shape (D,)."""
        due = self._until_refresh <= 0
        for llm, mean in prior_means.items():
            if llm not in self._watched:
                self._watched[llm] = self._new(mean)
            elif due:
                self._watched[llm].prior_mean = mean
        if due:
            self._until_refresh = _REFRESH_EVERY

    def forecast(self, llm: str, model: QualityPredictor, features: NDArray[np.float32]) -> Estimate | None:
        """Return what is expected of an answer at `features`, before its judgement is learned; None where off."""
        return model.predict_from(features, self._watched[llm].prior_mean) if self.on else None

    def judged(
        self,
        llm: str,
        models: Mapping[str, LLMModel],
        features: NDArray[np.float32],
        taught: Taught,
        forecast: Estimate,
        *,
        pool: Iterable[str],
        at_s: float,
    ) -> None:
        """Test a judgement that was learned just now, and forget where it gives an alarm.

        Parameters
        ----------
        llm
            Whose answer was judged.
        models
            Every LLM's predictors.
        features, taught, forecast
            z of the query, what was learned, and what `forecast` had said before.
        pool
            The LLMs that may be chosen.
        at_s
            Unix time.
        """
        watched, model = self._watched[llm], models[llm].quality
        self._until_refresh -= 1
        self._judged_any = True
        watched.newest.append((features, taught.target - base_at(model.base, features), taught.weight))
        drift = watched.test.add(
            taught.target,
            forecast,
            weight=taught.weight,
            at_s=at_s,
            believed=lambda drift: _of_several(watched, drift, taught.voice),
        )
        watched.voices.append((taught.voice, watched.test.gains))
        if drift is not None:
            self._forget(llm, watched, model, drift)
        while len(watched.newest) > watched.test.run:
            watched.newest.popleft()
        while len(watched.voices) > watched.test.run:
            watched.voices.popleft()
        for name in pool:
            self._tick(name, models, judged=taught.weight if name == llm else 0.0)

    def statuses(self) -> list[DriftStatus]:
        """Return how every LLM's quality holds that was ever judged."""
        return [
            DriftStatus(
                llm=llm,
                statistic=watched.test.statistic,
                falls=watched.test.alarms[Drift.FALL],
                rises=watched.test.alarms[Drift.RISE],
                last_alarm_s=watched.test.last_alarm_s,
                on_probation=watched.probation is not None,
            )
            for llm, watched in list(self._watched.items())
        ]

    def state(self, llm: str) -> dict[str, NDArray[np.float64]]:
        """Return what is known of one LLM, ready to be saved; empty where nothing is."""
        watched = self._watched.get(llm)
        if watched is None or not self._judged_any:
            return {}
        arrays = {"test": watched.test.state(), "expected": watched.prior_mean.copy()}
        arrays |= {f"recent.{name}": array for name, array in watched.recent().state().items()}
        if watched.probation is not None:
            arrays |= {f"probation.{name}": array for name, array in watched.probation.state().items()}
        return arrays

    def common_state(self) -> NDArray[np.float64]:
        """Return what belongs to no LLM, shape (1,)."""
        return np.array([float(self._until_refresh)])

    def restored(
        self,
        states: Mapping[str, Mapping[str, NDArray[np.float64]]],
        common: NDArray[np.float64] | None,
        *,
        dimension: int,
    ) -> DriftWatch:
        """Return a watch with the same setting and these states, which may be missing; raises `StateError`."""
        watch = type(self)(answers_per_false_alarm=self.answers_per_false_alarm)
        if common is not None:
            if common.shape != (1,) or not 0 <= common[0] <= _REFRESH_EVERY:
                raise StateError("The checkpoint's drift watch is damaged. Load another checkpoint.")
            watch._until_refresh = int(common[0])  # noqa: SLF001 -- its own class
        for llm, state in states.items():
            if state and self.on:
                watch._watched[llm] = watch._read(state, dimension)  # noqa: SLF001 -- its own class
                watch._judged_any = True  # noqa: SLF001 -- its own class
        return watch

    def _new(self, prior_mean: NDArray[np.float64]) -> _Watched:
        return _Watched(test=DriftTest(answers_per_false_alarm=self.answers_per_false_alarm), prior_mean=prior_mean)

    def _read(self, state: Mapping[str, NDArray[np.float64]], dimension: int) -> _Watched:
        expected, test = state.get("expected"), state.get("test")
        if test is None or expected is None or expected.shape != (dimension,) or not np.isfinite(expected).all():
            raise StateError("The checkpoint's drift test is damaged. Load another checkpoint.")
        watched = self._new(expected.astype(np.float64))
        watched.test.load_state(test)
        recent = Recent.from_state(_part(state, "recent."), dimension=dimension)
        watched.newest.extend(zip(recent.features, recent.targets.tolist(), recent.weights.tolist(), strict=True))
        probation = _part(state, "probation.")
        if probation:
            watched.probation = Probation.from_state(probation, dimension=dimension)
        return watched

    def _forget(self, llm: str, watched: _Watched, model: QualityPredictor, drift: Drift) -> None:
        since = watched.recent().newest(watched.test.run_of(drift))
        kept, sums = share_to_keep(model, since, prior_mean=watched.prior_mean), since.sums()
        if drift is Drift.RISE:
            watched.probation = None
        elif kept < 1 and watched.probation is None:
            watched.probation = Probation.after_fall(model.state(), sums)
        elif watched.probation is not None:
            watched.probation = watched.probation.longer()
        if kept < 1:
            model.forget(kept, sums)
        watched.test.restart()
        _LOG.warning(
            "quality of LLM %r: a %s in its last %d judgements; %.0f %% of what was learned before them is kept",
            llm,
            drift.value,
            len(since),
            100 * kept,
        )

    def _tick(self, llm: str, models: Mapping[str, LLMModel], *, judged: float) -> None:
        watched = self._watched.get(llm)
        if watched is None or watched.probation is None:
            return
        probation = watched.probation.answered(judged=judged)
        if probation.over:
            watched.probation = None
        elif probation.due <= 0:
            models[llm].quality.forget(0.0, probation.before)
            watched.test.restart()
            watched.newest.clear()
            watched.voices.clear()
            watched.probation = probation.longer()
            _LOG.info("LLM %r fell once: it is looked at again", llm)
        else:
            watched.probation = probation


def _of_several(watched: _Watched, drift: Drift, voice: str) -> bool:
    """Return whether an alarm does not rest on one key alone, with the judgement of `voice` that is tested just now."""
    since = [*watched.voices, (voice, watched.test.gains)][-watched.test.run_of(drift) :]
    added: dict[str, float] = {}
    for name, gains in since:
        added[name] = added.get(name, 0.0) + gains[drift]
    loudest = max((gain for name, gain in added.items() if name), default=0.0)
    return loudest <= 0.0 or sum(added.values()) - loudest >= _OTHERS_SHARE * watched.test.threshold


def _part(state: Mapping[str, NDArray[np.float64]], prefix: str) -> dict[str, NDArray[np.float64]]:
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
