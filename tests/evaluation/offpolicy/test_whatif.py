"""The question as a whole: targets, refusals, reports, and inputs that stay as they were."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from tests.evaluation.offpolicy.planted import (
    LLMS,
    forecast_of,
    log_of,
    made,
    quality_of,
    scores_of,
    soft,
    truth,
)

from mixllm.decision import GreedyPolicy, SquareCBPolicy, ThompsonPolicy, UCBPolicy, WarmUpPolicy
from mixllm.errors import InvalidValueError, NoSupportError
from mixllm.evaluation.offpolicy import LoggedDecisions, Settings, SupportLimits, TargetPolicy, what_if
from mixllm.evaluation.offpolicy.report import table_rows
from mixllm.interfaces import Policy

SQUARECB = SquareCBPolicy(gap_weight=10.0)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def greedy_at_4(contexts: Any) -> Any:
    return soft(scores_of(*forecast_of(contexts), trade_off=4.0), epsilon=0.0)


def arrays_of(log: LoggedDecisions) -> dict[str, Any]:
    names = LoggedDecisions.__dataclass_fields__
    return {name: one for name in names if isinstance(one := getattr(log, name), np.ndarray)}


def test_another_trade_off_is_estimated_right() -> None:
    log, contexts = log_of(np.random.default_rng(0), decisions=3000)
    target = TargetPolicy(policy=GreedyPolicy(), trade_off=4.0)
    np.testing.assert_allclose(target.propensities(log), greedy_at_4(contexts))
    report = what_if(log, target, settings=Settings(level=0.99), rng=rng())
    quality, cost = truth(greedy_at_4)
    assert set(report.quality.estimates) == {"ips", "snips", "dr"}
    for name in report.quality.estimates:
        found, spent, score = (
            getattr(report, reward).estimates[name].target for reward in ("quality", "cost_usd", "score")
        )
        assert found.low < quality < found.high
        assert spent.low < cost < spent.high
        assert score.low < 0.8 * quality - 0.2 * cost / report.cost_scale_usd < score.high
    logged = report.quality.logged.value
    assert logged == pytest.approx(float(log.quality.mean()))
    better = report.quality.estimates["dr"]
    assert better.difference.value == pytest.approx(better.target.value - logged)
    assert better.difference.low > 0
    assert 30 < report.quality.support.effective_sample_size < 3000
    assert report.quality.support.mean_weight == pytest.approx(1.0, abs=0.1)
    assert sum(one.target_share for one in report.llms.values()) == pytest.approx(1.0)
    assert (report.decisions, report.judged_share, report.warnings) == (3000, 1.0, ())


def test_the_logged_policy_itself_differs_in_nothing() -> None:
    log, _ = log_of(np.random.default_rng(1))
    target = TargetPolicy(policy=SQUARECB)
    np.testing.assert_allclose(target.propensities(log), log.propensities, atol=1e-12)
    report = what_if(log, target, rng=rng())
    for reward in (report.quality, report.cost_usd, report.score):
        assert reward.estimates["snips"].difference.value == pytest.approx(0.0, abs=1e-12)
        assert reward.support.effective_sample_size == pytest.approx(len(log))
    assert report.warnings == ()


def test_nothing_of_the_input_is_changed_or_can_be() -> None:
    """Open Bandit Pipeline's replay mutates what it is given."""
    log, _ = log_of(np.random.default_rng(2), judged=np.array([0.5, 0.9, 0.9]))
    before = {name: one.copy() for name, one in arrays_of(log).items()}
    target = TargetPolicy(policy=SQUARECB, trade_off=2.0, without=frozenset({"middle"}))
    first = what_if(log, target, settings=Settings(direct="ridge"), rng=rng())
    assert what_if(log, target, settings=Settings(direct="ridge"), rng=rng()) == first
    for name, one in arrays_of(log).items():
        np.testing.assert_array_equal(one, before[name])
        with pytest.raises(ValueError, match="read-only"):
            one[0] = one[0]
    given = np.full((2, 3), 1 / 3)
    kept = made(propensities=given, chosen=np.array([0, 1]))
    given[:] = 7.0
    assert kept.propensities.max() < 1


@pytest.mark.parametrize(
    "policy",
    [
        GreedyPolicy(),
        UCBPolicy(exploration=0.5),
        SquareCBPolicy(gap_weight=3.0),
        ThompsonPolicy(),
        WarmUpPolicy(policy=UCBPolicy(), judgements=100, share=0.3),
    ],
)
def test_every_policy_can_be_asked_about(policy: Policy) -> None:
    log, _ = log_of(np.random.default_rng(3))
    chosen = TargetPolicy(policy=policy, trade_off=2.0).propensities(log)
    np.testing.assert_allclose(chosen.sum(axis=1), 1.0)
    assert what_if(log, TargetPolicy(policy=policy, trade_off=2.0), rng=rng()).policy == policy.name


def test_without_an_llm_the_others_take_its_queries() -> None:
    log, contexts = log_of(np.random.default_rng(4), decisions=3000)
    target = TargetPolicy(policy=GreedyPolicy(), trade_off=20.0, without=frozenset({"large"}))
    chosen = target.propensities(log)
    assert not chosen[:, LLMS.index("large")].any()
    report = what_if(log, target, settings=Settings(level=0.99), rng=rng())
    expected = float((chosen * quality_of(contexts)).sum(axis=1).mean())
    found = report.quality.estimates["dr"].target
    assert found.low < expected < found.high
    assert report.llms["large"].target_share == 0
    assert report.without == ("large",)


def test_decisions_that_nobody_left_could_take_are_left_out_and_counted() -> None:
    log, _ = log_of(np.random.default_rng(5))
    candidates = np.array(log.candidates)
    propensities = np.array(log.propensities)
    chosen = np.array(log.chosen)
    candidates[:40, 1:] = False
    propensities[:40] = [1.0, 0.0, 0.0]
    chosen[:40] = 0
    only = made(
        candidates=candidates,
        propensities=propensities,
        chosen=chosen,
        quality=log.quality,
        scores=log.scores,
        quality_mean=log.quality_mean,
    )
    report = what_if(only, TargetPolicy(policy=SQUARECB, without=frozenset({"small"})), rng=rng())
    assert (report.decisions, report.unanswerable) == (len(log) - 40, 40)
    with pytest.raises(NoSupportError, match="Leave out fewer"):
        what_if(only, TargetPolicy(policy=SQUARECB, without=frozenset(LLMS)), rng=rng())


def test_an_llm_that_the_log_has_never_seen_is_refused() -> None:
    log, _ = log_of(np.random.default_rng(6))
    with pytest.raises(NoSupportError, match=r"never seen an LLM named 'smal'\. Did you mean 'small'"):
        what_if(log, TargetPolicy(policy=SQUARECB, without=frozenset({"smal"})), rng=rng())


def test_a_log_of_a_certain_policy_supports_only_itself() -> None:
    log, _ = log_of(np.random.default_rng(7), logging="greedy")
    with pytest.raises(NoSupportError, match=r"never tried.*propensity 1, as greedy and ucb.*squarecb or thompson"):
        what_if(log, TargetPolicy(policy=GreedyPolicy(), trade_off=50.0), rng=rng())
    with pytest.raises(NoSupportError, match="100% of the logged decisions"):
        what_if(log, TargetPolicy(policy=SQUARECB), rng=rng())
    same = what_if(log, TargetPolicy(policy=GreedyPolicy()), rng=rng())
    assert same.quality.estimates["ips"].difference.value == pytest.approx(0.0, abs=1e-12)


def test_too_few_decisions_are_refused_and_few_are_warned_of() -> None:
    log, _ = log_of(np.random.default_rng(8), decisions=400)
    target = TargetPolicy(policy=GreedyPolicy(), trade_off=4.0)
    with pytest.raises(NoSupportError, match=r"worth \d+\.\d of the policy's own, and 399 are needed"):
        what_if(log, target, settings=Settings(limits=SupportLimits(min_effective=399)), rng=rng())
    small = log.select(np.arange(400) < 150)
    assert "intervals are rough" in "".join(what_if(small, target, rng=rng()).warnings)


def test_judgements_that_are_missing_are_said() -> None:
    nobody, _ = log_of(np.random.default_rng(9), judged=np.zeros(3))
    with pytest.raises(NoSupportError, match="No decision of the log has a known quality"):
        what_if(nobody, TargetPolicy(policy=SQUARECB), settings=Settings(direct="ridge"), rng=rng())
    one_never, _ = log_of(np.random.default_rng(9), judged=np.array([1.0, 1.0, 0.0]))
    with pytest.raises(NoSupportError, match=r"never with a known quality \(large"):
        what_if(one_never, TargetPolicy(policy=SQUARECB, trade_off=4.0), rng=rng())
    some, _ = log_of(np.random.default_rng(9), judged=np.array([0.9, 0.9, 0.3]))
    report = what_if(some, TargetPolicy(policy=SQUARECB, trade_off=2.0), rng=rng())
    assert report.judged_share == pytest.approx(float((~np.isnan(some.quality)).mean()))
    assert report.llms["large"].judged_share == pytest.approx(0.3, abs=0.1)
    assert "of the decisions were judged" in report.warnings[0]
    assert "large" in report.warnings[1]
    assert report.cost_usd.support.seen == len(some)


def test_a_little_without_support_is_a_warning() -> None:
    log, _ = log_of(np.random.default_rng(10), decisions=1000)
    propensities = np.array(log.propensities)
    chosen = np.array(log.chosen)
    propensities[:3], chosen[:3] = [1.0, 0.0, 0.0], 0
    bent = made(propensities=propensities, chosen=chosen, scores=log.scores, quality=log.quality)
    report = what_if(bent, TargetPolicy(policy=SQUARECB), rng=rng())
    assert 0 < report.quality.support.unsupported_share < 0.01
    assert any("may be off by up to" in warning for warning in report.warnings)
    with pytest.raises(NoSupportError):
        what_if(
            bent,
            TargetPolicy(policy=SQUARECB),
            settings=Settings(limits=SupportLimits(max_unsupported=0.0)),
            rng=rng(),
        )


def test_wrong_propensities_are_noticed() -> None:
    log, _ = log_of(np.random.default_rng(11), decisions=2000)
    lied = made(
        propensities=np.roll(log.propensities, 1, axis=1),
        chosen=log.chosen,
        scores=log.scores,
        quality=log.quality,
    )
    report = what_if(lied, TargetPolicy(policy=SQUARECB), rng=rng())
    assert any("do not fit what was chosen" in warning for warning in report.warnings)


def test_clipped_weights_are_said() -> None:
    log, _ = log_of(np.random.default_rng(12))
    report = what_if(
        log,
        TargetPolicy(policy=GreedyPolicy(), trade_off=4.0),
        settings=Settings(clip=2.0, estimators=("ips",)),
        rng=rng(),
    )
    assert any("were cut to 2" in warning for warning in report.warnings)
    assert (report.clip, list(report.score.estimates)) == (2.0, ["ips"])


def test_the_report_is_frozen_json_and_rows() -> None:
    log, _ = log_of(np.random.default_rng(13))
    report = what_if(log, TargetPolicy(policy=SQUARECB, trade_off=2.0), settings=Settings(interval="normal"), rng=rng())
    with pytest.raises(AttributeError):
        report.level = 0.5  # type: ignore[misc]
    tree = msgspec.json.decode(msgspec.json.encode(report))
    assert tree["quality"]["estimates"]["dr"]["target"]["low"] < tree["quality"]["estimates"]["dr"]["target"]["high"]
    rows = list(table_rows(report))
    assert [row.estimator for row in rows] == ["logged", "ips", "snips", "dr"] * 3
    assert rows[0].difference is None
    wide = what_if(
        log,
        TargetPolicy(policy=SQUARECB, trade_off=2.0),
        settings=Settings(interval="normal", level=0.99),
        rng=rng(),
    )
    assert wide.quality.logged.high > report.quality.logged.high


@pytest.mark.parametrize(
    "bad",
    [
        {"estimators": ()},
        {"estimators": ("drr",)},
        {"level": 1.0},
        {"interval": "exact"},
        {"direct": "forest"},
        {"clip": 0.0},
        {"replicates": 0},
    ],
)
def test_settings_refuse(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(bad))):
        Settings(**bad)


def test_targets_and_limits_refuse() -> None:
    with pytest.raises(InvalidValueError, match="trade_off"):
        TargetPolicy(policy=SQUARECB, trade_off=-1.0)
    with pytest.raises(InvalidValueError, match="min_effective"):
        SupportLimits(min_effective=-1)
    with pytest.raises(InvalidValueError, match="max_unsupported"):
        SupportLimits(max_unsupported=2)

    class Half(GreedyPolicy):
        def propensities(self, **given: Any) -> Any:
            return 0.5 * super().propensities(**given)

    log, _ = log_of(np.random.default_rng(14), decisions=2)
    with pytest.raises(InvalidValueError, match="propensities sum to 1"):
        TargetPolicy(policy=Half()).propensities(log)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"llms": ("a", "a", "b")}, "llms"),
        ({"chosen": np.array([0, 3])}, "chosen"),
        ({"chosen": np.array([0, 2])}, "propensities"),
        ({"propensities": np.array([[0.5, 0.4, 0.0], [0.5, 0.5, 0.0]])}, "propensities"),
        ({"propensities": np.array([[1.5, -0.5, 0.0], [0.5, 0.5, 0.0]])}, "propensities"),
        ({"propensities": np.array([[np.nan, 0.5, 0.5], [0.5, 0.5, 0.0]])}, "propensities"),
        ({"candidates": np.array([[True, False, True], [True, True, True]])}, "propensities"),
        ({"candidates": np.ones((3, 3), np.bool_)}, "candidates"),
        ({"quality": np.array([0.5, 1.5])}, "quality"),
        ({"quality": np.array([0.5, -0.5])}, "quality"),
        ({"cost_usd": np.array([0.5, np.inf])}, "cost_usd"),
        ({"cost_usd": np.array([0.5])}, "cost_usd"),
        ({"scores": np.full((2, 3), np.nan)}, "scores"),
        ({"trade_off": np.array([1.0, -1.0])}, "trade_off"),
        ({"cost_scale_usd": np.array([1.0, 0.0])}, "cost_scale_usd"),
    ],
)
def test_logged_decisions_refuse(bad: dict[str, Any], named: str) -> None:
    good: dict[str, Any] = {
        "propensities": np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]),
        "chosen": np.array([0, 1]),
    }
    assert len(made(**good)) == 2
    with pytest.raises(InvalidValueError, match=f"^{named} must be"):
        made(**{**good, **bad})
    with pytest.raises(InvalidValueError, match="rows must be"):
        made(**good).select(np.array([True]))
