from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import Serving, decide, invoke, output_of, pool_config, refusal
from tests.small_router import small_router, teach

from mixllm import Router
from mixllm.config import load_config
from mixllm.playback import PlaybackServer
from mixllm.store import SQLiteStore
from mixllm.types import LearnedState


def learn_one(path: Path, text: str, *, up: bool = True) -> None:
    """Have a router learn one judgement, and end, as a gateway does."""
    with Router.from_config(load_config(path, environ={})) as router:
        router.feedback(router.route(text).decision_id, thumbs=up)


def on_file(path: Path, *arguments: str, code: int = 0) -> Any:
    return output_of("state", *arguments, "-c", str(path), code=code)


def judgements(path: Path, version: int) -> float:
    return float(sum(one["judgements"] for one in on_file(path, "show", str(version))["llms"]))


def test_back_and_forth_on_the_stores_file(config_path: Path) -> None:
    learn_one(config_path, "What is 1 + 1?")
    (good,) = on_file(config_path, "list")["states"]
    assert judgements(config_path, good["version"]) == 1
    learn_one(config_path, "What is 2 + 2?", up=False)
    bad = on_file(config_path, "list")["states"][-1]
    assert judgements(config_path, bad["version"]) == 2

    done = on_file(config_path, "rollback")
    assert (done["source"], done["position"], done["quarantined"]) == (good["version"], 2, [bad["version"]])
    assert judgements(config_path, done["version"]) == 1
    shown = invoke("state", "list", "-c", str(config_path)).stdout
    assert f"rolled back to version {good['version']}" in shown

    learn_one(config_path, "What is 3 + 3?")
    newest = on_file(config_path, "list")["states"][-1]
    assert judgements(config_path, newest["version"]) == 2, "what was rolled back is not learned again"

    assert on_file(config_path, "release", str(bad["version"])) == {"version": bad["version"], "released": True}
    again = on_file(config_path, "rollback", "--to", str(bad["version"]), "--relearn")
    assert again["position"] == bad["position"]
    learn_one(config_path, "What is 4 + 4?")
    newest = on_file(config_path, "list")["states"][-1]
    assert judgements(config_path, newest["version"]) == 4, "three events before, one after"


def test_what_people_read(config_path: Path) -> None:
    learn_one(config_path, "What is 1 + 1?")
    learn_one(config_path, "What is 2 + 2?")
    versions = [str(info["version"]) for info in on_file(config_path, "list")["states"]]
    listed = invoke("state", "list", "-c", str(config_path)).stdout
    assert all(version in listed for version in versions)
    shown = invoke("state", "show", versions[0], "-c", str(config_path)).stdout
    assert "atlas-large" in shown
    assert f"Version {versions[0]}" in shown
    said = invoke("state", "rollback", "-c", str(config_path)).stdout
    assert f"Went back to version {versions[0]}" in said
    assert "no gateway runs" in said
    assert f"In quarantine: {versions[1]}." in said
    released = invoke("state", "release", versions[1], "-c", str(config_path)).stdout
    assert f"mixllm state rollback --to {versions[1]}" in released


def test_a_running_gateway_does_it_itself(pool: PlaybackServer, tmp_path: Path) -> None:
    path = pool_config(pool, tmp_path / "mixllm.yaml", learning={"checkpoint_interval_s": 0.05})
    with Serving(["serve", "-c", str(path)]) as gateway:
        for number, thumb in enumerate(("--up", "--down")):
            invoke("feedback", decide(gateway.url, f"{number}")["decision_id"], thumb, "--url", gateway.url)
            wait_for_states(path, gateway.url, number + 1)
        states = output_of("state", "list", "-c", str(path), "--url", gateway.url)["states"]
        done = output_of("state", "rollback", "-c", str(path), "--url", gateway.url)
        assert done["source"] in [info["version"] for info in states[:-1]]
        details = output_of("state", "show", str(done["version"]), "-c", str(path), "--url", gateway.url)
        assert sum(one["judgements"] for one in details["llms"]) == 1
        aside = str(done["quarantined"][-1])
        assert output_of("state", "release", aside, "-c", str(path), "--url", gateway.url)["released"] is True
        said = invoke("state", "rollback", "--to", aside, "-c", str(path), "--url", gateway.url).stdout
        assert "in the running gateway" in said
        message = refusal(invoke("state", "rollback", "--to", "99999", "-c", str(path), "--url", gateway.url))
        assert "no checkpoint of version 99999" in message


def wait_for_states(path: Path, url: str, count: int) -> None:
    for _ in range(400):
        listed = output_of("state", "list", "-c", str(path), "--url", url)["states"]
        if len(listed) >= count:
            return
    raise AssertionError("no checkpoint was kept")


def test_a_gateway_that_was_named_and_does_not_answer_is_no_reason_to_take_the_file(config_path: Path) -> None:
    learn_one(config_path, "What is 1 + 1?")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    message = refusal(invoke("state", "rollback", "-c", str(config_path), "--url", url))
    assert "No gateway answers" in message


def test_what_is_not_there_is_said(config_path: Path, pool: PlaybackServer, tmp_path: Path) -> None:
    assert "does not exist" in refusal(invoke("state", "list", "-c", str(config_path)))
    in_memory = pool_config(pool, tmp_path / "memory.yaml", store={"kind": "memory"})
    assert "is in memory" in refusal(invoke("state", "rollback", "-c", str(in_memory)))
    SQLiteStore(path=config_path.with_suffix(".db")).close()
    assert "No checkpoint is kept yet" in invoke("state", "list", "-c", str(config_path)).stdout
    assert "no earlier checkpoint" in refusal(invoke("state", "rollback", "-c", str(config_path)))
    for command in ("show", "release"):
        assert "no checkpoint of version 7" in refusal(invoke("state", command, "7", "-c", str(config_path)))


def test_a_damaged_checkpoint_is_shown_as_such(config_path: Path) -> None:
    store = SQLiteStore(path=config_path.with_suffix(".db"))
    store.save_state(LearnedState(version=3, position=1, created_at_s=0.0, payload=b"?"))
    store.quarantine_state(3, "It is damaged.")
    store.close()
    shown = invoke("state", "show", "3", "-c", str(config_path)).stdout
    assert "In quarantine: It is damaged." in shown
    assert "It cannot be read" in shown
    checks = output_of("doctor", "-c", str(config_path), "--url", "http://127.0.0.1:9", "--timeout-s", "30")["checks"]
    found = {one["check"]: one for one in checks}
    assert found["quarantine"]["status"] == "warn"
    assert "1 checkpoints are kept and not used; version 3: It is damaged." in found["quarantine"]["detail"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with routers ``start``, and ``a`` and ``b`` that went on from it."""
    with small_router(seed=1) as start:
        teach(start, 6)
        start.save(tmp_path / "start")
    for name, first in (("a", 100), ("b", 200)):
        with Router.load(tmp_path / "start", seed=first) as router:
            teach(router, 9, first=first)
            router.save(tmp_path / name)
    return tmp_path


def test_merging(saved: Path) -> None:
    a, b, start, out = (str(saved / name) for name in ("a", "b", "start", "out"))
    done = output_of("state", "merge", a, b, "--since", start, "--out", out)
    assert sum(done["judgements"].values()) == pytest.approx(6 + 9 + 9)
    with Router.load(out) as router:
        assert sum(router.snapshot.judgements) == pytest.approx(24)
    assert "24 judgements" in invoke("state", "merge", b, a, "--since", start, "--out", out).stdout
    twice = output_of("state", "merge", a, b, "--out", out)
    assert sum(twice["judgements"].values()) == pytest.approx(30), "without --since, what is common counts twice"


def test_what_cannot_be_merged_is_said(saved: Path) -> None:
    a, b, out = (str(saved / name) for name in ("a", "b", "out"))
    for folders in ((a,), (a, a), (a, b, f"{b}/.")):
        assert "two or more different folders" in refusal(invoke("state", "merge", *folders, "--out", out), code=2)
    assert "holds no saved router" in refusal(invoke("state", "merge", a, str(saved), "--out", out))
    assert not Path(out).exists()
