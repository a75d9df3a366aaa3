from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.evaluation.simulation.planted import features, make_seat, make_stream, topic_data
from tests.evaluation.simulation.recording import Recording

from mixllm.errors import InvalidValueError, MissingExtraError
from mixllm.evaluation.contender import Predictions, TestData, TrainingData
from mixllm.evaluation.simulation.mixllm_player import MixLLMPlayer
from mixllm.evaluation.simulation.peers import trained_offline
from mixllm.evaluation.simulation.peers.epsilon_greedy import EpsilonGreedy
from mixllm.evaluation.simulation.players import DEFAULT_POLICIES, checked_policies, make_player
from mixllm.evaluation.simulation.playing import play
from mixllm.evaluation.simulation.schedule import Change, Schedule
from mixllm.evaluation.simulation.stream import StreamSettings

CHANGES = Schedule(
    changes=(
        Change(at=20, change="remove", llm="second-topic"),
        Change(at=30, change="price", llm="dear", factor=0.5),
        Change(at=40, change="add", llm="second-topic"),
        Change(at=10, change="add", llm="dear"),
    )
)


@pytest.mark.parametrize("policy", ["mixllm", "mabwiser-linucb:0.1", "epsilon-greedy"])
def test_learners_find_out_who_knows_which_topic(policy: str) -> None:
    stream = make_stream(StreamSettings(queries=210))
    recording = Recording(make_player(policy, make_seat(stream)))
    run = play(stream, recording)
    seat = make_seat(stream)
    single = play(stream, make_player("best-single", seat))
    last = np.array([choice == "first-topic" for choice in recording.choices[140:]])
    truth = stream.quality[140:, 0] == 1
    assert last[truth].mean() > 0.8
    assert last[~truth].mean() < 0.2
    assert run.last_third_reward > single.last_third_reward


@pytest.mark.parametrize("policy", ["mixllm-demo", "paretobandit-own-cost", *DEFAULT_POLICIES])
def test_no_request_goes_to_an_llm_before_it_comes_and_after_it_is_gone(policy: str) -> None:
    stream = make_stream(StreamSettings(queries=45, schedule=CHANGES, feedback_delay=3))
    recording = Recording(make_player(policy, make_seat(stream)))
    play(stream, recording)
    assert "dear" not in recording.choices[:10]
    assert "second-topic" not in recording.choices[20:40]


@pytest.mark.parametrize("policy", DEFAULT_POLICIES)
@pytest.mark.parametrize("feedback", ["binary", "none"])
def test_every_policy_bears_thumbs_and_silence(policy: str, feedback: str) -> None:
    stream = make_stream(StreamSettings(queries=12, feedback=feedback))  # type: ignore[arg-type]
    recording = Recording(make_player(policy, make_seat(stream)))
    play(stream, recording)
    assert {told.quality for told in recording.told} <= ({0.0, 1.0} if feedback == "binary" else {None})


@pytest.mark.parametrize("policy", ["mixllm-thompson", *DEFAULT_POLICIES])
def test_the_same_seed_gives_the_same_choices(policy: str) -> None:
    stream = make_stream(StreamSettings(queries=25))
    runs = [Recording(make_player(policy, make_seat(stream, seed=9))) for _ in range(2)]
    for run in runs:
        play(stream, run)
    assert runs[0].choices == runs[1].choices


def test_mixllm_sees_the_features_that_its_peers_are_given() -> None:
    stream = make_stream(StreamSettings(queries=5))
    player = make_player("mixllm", make_seat(stream))
    assert isinstance(player, MixLLMPlayer)
    for number in range(5):
        arrival = stream.arrival(number)
        seen = player.router.features.features(player.router.encoder.encode(arrival.text))
        assert seen == pytest.approx(arrival.features, abs=1e-6)
    assert player.router.features.fingerprint == features().fingerprint
    player.close()


def test_a_new_price_is_in_the_very_next_decision_and_nothing_is_forgotten() -> None:
    # Ten thousand times dearer at query 100: nobody in their right mind asks it once more.
    dearer = Schedule(changes=(Change(at=100, change="price", llm="first-topic", factor=1e4),))
    stream = make_stream(StreamSettings(queries=140, schedule=dearer))
    recording = Recording(make_player("mixllm", make_seat(stream)))
    play(stream, recording)
    assert "first-topic" in recording.choices[90:100]
    assert "first-topic" not in recording.choices[100:]
    cheaper = Schedule(changes=(*dearer.changes, Change(at=110, change="price", llm="first-topic", factor=1.0)))
    stream = make_stream(StreamSettings(queries=120, schedule=cheaper))
    recording = Recording(make_player("mixllm", make_seat(stream)))
    play(stream, recording)
    assert "first-topic" in recording.choices[110:120]


def test_the_reference_may_come_later() -> None:
    later = Schedule(changes=(Change(at=30, change="add", llm="dear"),))
    stream = make_stream(StreamSettings(queries=60, schedule=later))
    player = make_player("mixllm", make_seat(stream))
    assert isinstance(player, MixLLMPlayer)
    assert {spec.name for spec in player.router.llms} == {"first-topic", "second-topic"}
    scale_usd = float(topic_data().log.mean_cost_usd()[2])
    run = play(stream, player)
    assert 0.5 * scale_usd < player.router.snapshot.cost_scale_usd < 2 * scale_usd
    assert run.shares["first-topic"] > 0


def test_epsilon_of_one_is_chance_and_of_zero_is_greed() -> None:
    stream = make_stream()
    chance = play(stream, EpsilonGreedy(epsilon=1.0, rng=np.random.default_rng(0)))
    assert min(chance.shares.values()) > 0.2
    with pytest.raises(InvalidValueError, match="epsilon"):
        EpsilonGreedy(epsilon=1.1, rng=np.random.default_rng(0))
    with pytest.raises(InvalidValueError, match="penalty"):
        EpsilonGreedy(epsilon=0.1, rng=np.random.default_rng(0), penalty=0)


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        ([], "one name or more"),
        (["random", "random"], "each once"),
        (["paretobandid"], "Did you mean 'paretobandit'"),
        (["random:1"], "without a number"),
        (["mixllm-ucb:high"], "a number >= 0"),
        (["mixllm-ucb:-1"], "a number >= 0"),
        (["mixllm-ucb:inf"], "a number >= 0"),
    ],
)
def test_unknown_policies_are_refused(policies: list[str], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        checked_policies(policies)
    assert checked_policies(None) == DEFAULT_POLICIES


@pytest.mark.parametrize(("policy", "package"), [("paretobandit", "pareto_bandit"), ("mabwiser-lints", "mabwiser.mab")])
def test_peers_that_are_not_installed(policy: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"mixllm\[peers\]"):
        make_player(policy, make_seat(make_stream(StreamSettings(queries=3))))


def test_what_is_trained_offline_knows_the_topics_from_the_start() -> None:
    pytest.importorskip("scipy")
    stream = make_stream()
    run = play(stream, make_player("mixllm-offline", make_seat(stream)))
    learner = play(stream, make_player("mixllm", make_seat(stream)))
    assert run.regret < 0.2 * learner.regret
    again = play(stream, make_player("mixllm-offline", make_seat(stream)))
    assert again.shares == run.shares


def test_what_is_trained_offline_never_saw_the_queries_that_it_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[set[str]] = []
    asked: list[set[str]] = []

    class Noting:
        def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
            trained.append(set(training.log.query_ids))
            self.llms = len(training.log.llms)

        def predict(self, test: TestData) -> Predictions:
            rows = [data.texts.index(text) for text in test.texts]
            asked.append({data.log.query_ids[row] for row in rows})
            return Predictions(quality=np.zeros((len(test), self.llms)), cost_usd=np.zeros((len(test), self.llms)))

    data = topic_data()
    monkeypatch.setattr(trained_offline, "MixLLMRouter", Noting)
    make_player("mixllm-offline", make_seat(make_stream()))
    assert len(trained) == len(asked) == 3
    assert all(not known & routed for known, routed in zip(trained, asked, strict=True))
    assert set.union(*asked) == set(data.log.query_ids)
