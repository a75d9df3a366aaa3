"""From an alarm to what is known after it: what is forgotten, that nobody else moves, that the healed are found."""

from __future__ import annotations

import dataclasses
import logging
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.learning.learners import forecasts, make, same
from tests.learning.world import Vector, World, events, feedback_event

from mixllm.errors import StateError
from mixllm.learning import Checkpoint, Learner
from mixllm.learning.drift_watch import DriftStatus
from mixllm.learning.forgetting import SHARES, Recent, share_to_keep
from mixllm.learning.probation import Probation
from mixllm.predictors import BlockPrior, QualityPredictor

PRIOR = BlockPrior(tags=1, embedding=1, tag_precision=150, embedding_precision=400, bias_precision=100, bias_mean=0.7)


def status(learner: Learner, llm: str) -> DriftStatus:
    return next(one for one in learner.watch.statuses() if one.llm == llm)


def judged(learner: Learner, world: World, llm: str, count: int, quality: float) -> None:
    """Let `count` answers be right or wrong."""
    first = learner.position + 1
    learner.learn(
        [
            feedback_event(seq, llm, world.encoding(), float(world.rng.uniform() < quality))
            for seq in range(first, first + count)
        ]
    )


def collapsed(seed: int, *, before: int = 800) -> tuple[World, Learner]:
    """Return a world and a learner that has just found out that the middle LLM fell."""
    world, learner = World(seed), make()
    learner.learn(events(world, 300))
    judged(learner, world, "middle", before, 0.85)
    for _ in range(200):
        judged(learner, world, "middle", 1, 0.3)
        if status(learner, "middle").falls:
            return world, learner
    raise AssertionError("not noticed")


def test_a_collapse_is_noticed_forgotten_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        world, learner = collapsed(1)
    assert "quality of LLM 'middle': a fall" in caplog.text
    made = status(learner, "middle")
    assert (made.falls, made.rises, made.on_probation, made.statistic) == (1, 0, True, 0.0)
    assert made.last_alarm_s is not None
    forecast = forecasts(learner, world.encoding())["middle"]
    assert forecast.quality.mean < 0.6, "what was learned before counts little"
    assert forecast.judgements < 200


def test_a_forgotten_past_moves_nobody_else() -> None:
    world, learner = World(2), make()
    learner.learn(events(world, 600))
    queries = [world.encoding() for _ in range(10)]
    before = [forecasts(learner, x) for x in queries]
    model = learner._models["middle"].quality
    model.forget(0.0, Recent.none(model.dimension).sums())
    for x, known in zip(queries, before, strict=True):
        now = forecasts(learner, x)
        assert now["small"] == known["small"]
        assert now["large"] == known["large"]
        assert now["middle"].quality.std > known["middle"].quality.std
        assert now["middle"].judgements == 0.0
    # Nor does what is learned of it later, but as it would have without the forgetting.
    straight = make()
    straight.learn(events(World(2), 600))
    late = [feedback_event(601 + place, "middle", x, 0.9) for place, x in enumerate(queries)]
    for one in (learner, straight):
        one.learn(late)
    assert forecasts(learner, queries[0])["large"] == forecasts(straight, queries[0])["large"]


def test_a_rise_is_forgotten_into_as_well() -> None:
    world, learner = World(3), make()
    judged(learner, world, "small", 600, 0.3)
    for _ in range(200):
        judged(learner, world, "small", 1, 0.9)
        if status(learner, "small").rises:
            break
    assert status(learner, "small").rises == 1
    assert not status(learner, "small").on_probation
    judged(learner, world, "small", 60, 0.9)
    assert forecasts(learner, world.encoding())["small"].quality.mean > 0.7


def test_without_a_change_there_is_no_alarm_while_an_llm_is_learned() -> None:
    for seed in range(4, 8):
        world, learner = World(seed), make()
        for llm, quality in (("large", 0.2), ("small", 0.95)):
            judged(learner, world, llm, 700, quality)
        assert sum(one.falls + one.rises for one in learner.watch.statuses()) == 0


def test_an_llm_that_fell_is_looked_at_again_ever_more_seldom() -> None:
    world, learner = collapsed(9)
    x = world.encoding()
    looks = []
    low = forecasts(learner, x)["middle"].quality.mean
    for answer in range(4_000):
        before = learner._models["middle"].quality.observations
        judged(learner, world, "large", 1, 0.7)
        if learner._models["middle"].quality.observations != before:
            looks.append(answer + 1)
            high = forecasts(learner, x)["middle"].quality.mean
            assert high > low + 0.1, "it is expected again to be what it was"
            assert learner._models["middle"].quality.observations == pytest.approx(30)
            judged(learner, world, "middle", 15, 0.3)
            assert forecasts(learner, x)["middle"].quality.mean < high - 0.05, "and shows that it is not"
    waits = np.diff([0, *looks])
    assert 2 <= len(looks) <= 4
    assert all(later > 1.5 * earlier for earlier, later in pairwise(waits))


def test_one_that_has_healed_is_trusted_again() -> None:
    world, learner = collapsed(10)
    judged(learner, world, "large", 600, 0.7)
    judged(learner, world, "middle", 120, 0.85)
    assert not status(learner, "middle").on_probation
    assert np.mean([forecasts(learner, world.encoding())["middle"].quality.mean for _ in range(30)]) > 0.75


def test_everything_outlasts_a_restart() -> None:
    world, learner = collapsed(11)
    judged(learner, world, "middle", 5, 0.0)
    judged(learner, world, "large", 3, 0.0)
    restored = make()
    restored.restore(Checkpoint.from_bytes(learner.checkpoint().to_bytes()))
    assert same(restored.checkpoint(), learner.checkpoint())
    assert restored.watch.statuses() == learner.watch.statuses()
    rest = [
        feedback_event(learner.position + 1 + place, "middle", world.encoding(), float(place % 2))
        for place in range(600)
    ]
    for one in (learner, restored):
        one.learn(rest)
    mine, theirs = learner.checkpoint(), restored.checkpoint()
    for name, array in mine.arrays.items():
        np.testing.assert_allclose(theirs.arrays[name], array, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "name", ["1.drift.test", "1.drift.expected", "1.drift.recent.targets", "1.drift.probation.counts", "watch"]
)
def test_a_damaged_watch_is_refused(name: str) -> None:
    _, learner = collapsed(12)
    checkpoint = learner.checkpoint()
    arrays = {**checkpoint.arrays, name: np.full_like(checkpoint.arrays[name], np.nan)}
    if name.endswith("targets"):
        arrays[name] = np.full(3, np.nan)
    other = make()
    with pytest.raises(StateError, match="Load another checkpoint"):
        other.restore(dataclasses.replace(checkpoint, arrays=arrays))
    assert other.position == 0


def test_an_older_checkpoint_has_no_watch() -> None:
    world, learner = World(13), make()
    learner.learn(events(world, 100))
    checkpoint = learner.checkpoint()
    kept = {
        name: array
        for name, array in checkpoint.arrays.items()
        if not any(
            part in name for part in ("drift", "watch", "spent", "prices", "newest", "level_precision", "newcomer")
        )
    }
    other = make()
    other.restore(dataclasses.replace(checkpoint, arrays=kept))
    x = world.encoding()
    assert forecasts(other, x)["small"].quality.mean == pytest.approx(forecasts(learner, x)["small"].quality.mean)
    other.learn(events(world, 100, first=101))


def test_a_watch_that_is_off_forgets_nothing() -> None:
    world, learner = World(14), make(answers_per_false_alarm=0)
    judged(learner, world, "middle", 300, 0.9)
    judged(learner, world, "middle", 300, 0.1)
    assert learner.watch.statuses() == []
    assert forecasts(learner, world.encoding())["middle"].judgements == 600.0
    assert not any(".drift." in name for name in learner.checkpoint().arrays)


def test_of_two_learners_the_test_nearer_to_an_alarm_goes_on() -> None:
    _, fallen = collapsed(15)
    other = make()
    judged(other, World(16), "middle", 50, 0.5)
    judged(other, World(16), "small", 50, 0.5)
    judged(fallen, World(17), "middle", 3, 0.0)
    nearer = status(fallen, "middle")
    assert nearer.statistic > status(other, "middle").statistic
    other.merge(fallen.checkpoint())
    assert status(other, "middle") == nearer
    assert {one.llm for one in other.watch.statuses()} >= {"small", "middle"}


# --- how much is forgotten --------------------------------------------------------------------------------------------


def taught(qualities: list[float], *, seed: int = 0) -> tuple[QualityPredictor, list[Vector]]:
    rng = np.random.default_rng(seed)
    model = QualityPredictor(prior=PRIOR, noise_variance=0.2)
    rows = []
    for quality in qualities:
        z = np.array([rng.uniform(), rng.normal(), 1.0], np.float32)
        model.update(z, quality)
        rows.append(z)
    return model, rows


def since(rows: list[Vector], qualities: list[float]) -> Recent:
    return Recent(
        features=np.stack(rows[-len(qualities) :]), targets=np.array(qualities), weights=np.ones(len(qualities))
    )


@pytest.mark.parametrize(("after", "expected"), [(0.9, {1.0}), (0.85, {1.0}), (0.1, {0.0})])
def test_the_data_choose_how_much_is_kept(after: float, expected: set[float]) -> None:
    recent = [after] * 60
    model, rows = taught([0.9] * 500 + recent)
    assert share_to_keep(model, since(rows, recent), prior_mean=PRIOR.mean()) in expected


def test_what_is_forgotten_is_gone_and_the_recent_stays() -> None:
    model, rows = taught([0.9] * 200 + [0.1] * 50)
    fresh, _ = taught([0.1] * 0)
    recent = since(rows, [0.1] * 50)
    for z in rows[-50:]:
        fresh.update(z, 0.1)
    lifetime = model.lifetime_state()
    model.forget(0.0, recent.sums())
    z = np.array([0.5, 0.5, 1.0])
    assert model.predict(z).mean == pytest.approx(fresh.predict(z).mean, abs=1e-6)
    assert model.predict(z).std == pytest.approx(fresh.predict(z).std, rel=1e-6)
    assert model.observations == pytest.approx(50)
    assert all(np.array_equal(model.lifetime_state()[name], lifetime[name]) for name in lifetime)
    copy = model.clone()
    copy.load_state(model.state())
    assert np.array_equal(copy.lifetime_state()["gram"], lifetime["gram"])


@given(
    qualities=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    weights=st.lists(st.floats(1e-3, 1e3), min_size=40, max_size=40),
    kept=st.lists(st.sampled_from([*SHARES, 0.37]), min_size=1, max_size=6),
    newest=st.integers(0, 40),
)
def test_forgetting_never_makes_a_variance_negative(
    qualities: list[float], weights: list[float], kept: list[float], newest: int
) -> None:
    rng = np.random.default_rng(len(qualities))
    model = QualityPredictor(prior=PRIOR, noise_variance=0.2)
    prior_std = [model.predict(z).std for z in np.eye(3)]
    rows = rng.normal(size=(len(qualities), 3)).astype(np.float32)
    for z, quality, weight in zip(rows, qualities, weights, strict=False):
        model.update(z, quality, weight=weight)
    whole = Recent(features=rows, targets=np.array(qualities), weights=np.array(weights[: len(qualities)]))
    recent = whole.newest(newest)
    for share in kept:
        before = [model.predict(z).std for z in np.eye(3)]
        model.forget(share, recent.sums())
        assert np.linalg.eigvalsh(model.covariance).min() > 0
        assert model.residual_variance() > 0
        for z, earlier, most in zip(np.eye(3), before, prior_std, strict=True):
            assert earlier * (1 - 1e-6) <= model.predict(z).std <= most * (1 + 1e-6)
    probation = Probation.after_fall(model.state(), recent.sums())
    model.forget(0.0, probation.before)
    assert np.linalg.eigvalsh(model.covariance).min() > 0
    assert model.observations <= 30 * (1 + 1e-9)


def test_two_models_of_which_one_forgot_add_up() -> None:
    one, _ = taught([0.9] * 100)
    other, _ = taught([0.2] * 100, seed=1)
    one.forget(0.0, Recent.none(3).sums())
    one.merge(other)
    assert one.observations == pytest.approx(100)
    assert one.lifetime_state()["sums"][1] == pytest.approx(200)


def test_a_fallen_llm_that_left_is_kept_as_it_is() -> None:
    world, learner = collapsed(17)
    learner.drop_llm("middle")
    before = learner._models["middle"].quality.state()
    judged(learner, world, "large", 1_200, 0.7)
    after = learner._models["middle"].quality.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_one_key_alone_among_several_gives_no_alarm_and_others_confirm_it() -> None:
    x = World(40).encoding()
    learner = make()
    said = [feedback_event(seq, "small", x, float(seq % 5 > 0), key_id=f"key {seq % 6}") for seq in range(1, 301)]
    farmed = [feedback_event(300 + seq, "small", x, 0.0, key_id="farmer") for seq in range(1, 41)]
    learner.learn([*said, *farmed])
    assert (status(learner, "small").falls, status(learner, "small").statistic) == (0, 1.0)
    learner.learn([feedback_event(340 + seq, "small", x, 0.0, key_id=f"key {seq % 6}") for seq in range(1, 13)])
    assert status(learner, "small").falls == 1


def test_a_collapse_is_left_and_a_healed_llm_is_used_again() -> None:
    """Greedy choices alone: what brings the healed one back are the looks of its probation."""
    rng, world, learner = np.random.default_rng(18), World(18), make()
    truth = {"small": 0.4, "middle": 0.65, "large": 0.9}
    chosen: list[str] = []
    best = "large"
    for query in range(3_600):
        if query == 500:
            truth["large"] = 0.35
        elif query == 1_100:
            truth["large"] = 0.9
        x = world.encoding()
        if query % 10 == 0:
            best = max(forecasts(learner, x).items(), key=lambda item: item[1].quality.mean)[0]
        chosen.append(best)
        learner.learn([feedback_event(query + 1, best, x, float(rng.uniform() < truth[best]))])
    shares = [np.mean([llm == "large" for llm in chosen[start : start + 300]]) for start in (200, 800, 3_300)]
    assert shares[0] > 0.9
    assert shares[1] < 0.2
    assert shares[2] > 0.9
    assert status(learner, "large").falls == 1
    assert not status(learner, "large").on_probation
