from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.evaluation.simulation.planted import topic_data

import mixllm.evaluation.simulation
from mixllm.errors import ConfigError, InvalidValueError
from mixllm.evaluation.simulation.journal import JOURNAL_FILE
from mixllm.evaluation.simulation.plots import write_figures
from mixllm.evaluation.simulation.results import RESULTS_FILE, SimulationResults, ranked, write_results
from mixllm.evaluation.simulation.schedule import Change, Schedule
from mixllm.evaluation.simulation.simulating import Done, SimulationSettings, simulate
from mixllm.evaluation.simulation.stream import StreamSettings

POLICIES = ("mixllm", "random", "oracle")
STREAM = StreamSettings(queries=30)


@pytest.fixture(scope="module")
def results() -> SimulationResults:
    return simulate(topic_data(), SimulationSettings(stream=STREAM, policies=POLICIES, seeds=2, first_seed=5))


def test_results_have_what_other_programs_read(results: SimulationResults, tmp_path: Path) -> None:
    write_results(results, tmp_path)
    found = json.loads((tmp_path / RESULTS_FILE).read_text())
    assert set(found["policies"]) == set(POLICIES)
    for policy in found["policies"].values():
        for metric in ("reward", "regret", "last_third_reward"):
            assert set(policy[metric]) == {"mean", "se"}
    assert found["policies"]["oracle"]["regret"] == {"mean": 0.0, "se": 0.0}
    assert found["seeds"] == [5, 6]
    assert found["points"] == list(range(1, 31))
    assert found["settings"]["trade_off"] == 1.4


def test_leads_are_paired_by_seed(results: SimulationResults) -> None:
    assert set(results.lead) == {"random", "oracle"}
    for policy, lead in results.lead.items():
        ours, theirs = results.policies["mixllm"].reward.mean, results.policies[policy].reward.mean
        assert ours is not None
        assert theirs is not None
        assert lead.reward.mean == pytest.approx(ours - theirs, abs=1e-5)
    assert results.lead["oracle"].seeds_ahead == 0
    assert ranked(results)[0] == "oracle"


def test_a_stopped_simulation_goes_on_where_it_was(tmp_path: Path) -> None:
    settings = SimulationSettings(stream=STREAM, policies=("random", "epsilon-greedy"), seeds=2, out=tmp_path)

    class StoppedError(Exception):
        pass

    def stop(done: Done) -> None:
        if done.done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        simulate(topic_data(), settings, on_progress=stop)
    journal = tmp_path / JOURNAL_FILE
    assert len(journal.read_bytes().splitlines()) == 3
    with journal.open("ab") as file:
        file.write(b'{"key": "torn')
    steps: list[Done] = []
    first = simulate(topic_data(), settings, on_progress=steps.append)
    assert [step.done for step in steps] == [1, 2, 3, 4]
    lines = [line for line in journal.read_bytes().splitlines() if line.startswith(b'{"key":"')]
    assert len(lines) == 4
    assert simulate(topic_data(), settings) == first
    assert len(journal.read_bytes().splitlines()) < 10


def test_another_setting_takes_nothing_from_the_journal_and_fresh_starts_anew(tmp_path: Path) -> None:
    def run(stream: StreamSettings, *, fresh: bool = False) -> int:
        simulate(
            topic_data(),
            SimulationSettings(stream=stream, policies=("random",), seeds=1, out=tmp_path, fresh=fresh),
        )
        return sum(line.startswith(b"{") for line in (tmp_path / JOURNAL_FILE).read_bytes().splitlines())

    assert run(STREAM) == 1
    assert run(STREAM) == 1
    assert run(StreamSettings(queries=30, feedback="binary")) == 2
    drop = Schedule(changes=(Change(at=9, change="quality", llm="dear", factor=0.5),))
    assert run(StreamSettings(queries=30, schedule=drop)) == 3
    assert run(STREAM, fresh=True) == 1


def test_settings_and_folders_that_cannot_be_used(tmp_path: Path) -> None:
    for bad in ({"seeds": 0}, {"first_seed": -1}):
        with pytest.raises(InvalidValueError, match=next(iter(bad))):
            SimulationSettings(**bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="policies"):
        simulate(topic_data(), SimulationSettings(policies=("nobody",)))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="--out"):
        simulate(topic_data(), SimulationSettings(stream=STREAM, policies=("random",), seeds=1, out=file))


def test_figures(results: SimulationResults, tmp_path: Path) -> None:
    paths = write_figures(results, tmp_path)
    assert sorted(path.name for path in paths) == [
        f"simulation-{name}.{kind}" for name in ("regret", "reward") for kind in ("png", "svg")
    ]
    before = paths[0].read_bytes()
    write_figures(results, tmp_path)
    assert paths[0].read_bytes() == before
    assert results.log not in ("", None)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_figures(results, paths[0])
    with pytest.raises(ConfigError, match="cannot be written"):
        write_results(results, paths[0])


def test_the_room_loads_no_peer_and_no_figure() -> None:
    code = (
        "import sys, mixllm.evaluation.simulation as room\n"
        "[getattr(room, name) for name in room.__all__]\n"
        "import mixllm.evaluation.simulation.players, mixllm.evaluation.simulation.plots\n"
        "print(sorted({'sklearn', 'matplotlib', 'mabwiser', 'pareto_bandit', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="nothing"):
        _ = mixllm.evaluation.simulation.nothing
    assert callable(mixllm.evaluation.simulation.simulate)
    assert callable(mixllm.evaluation.simulation.play)
