from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.cli.running import LIMIT_S, environment, invoke, output_of, refusal, run
from tests.tags.labelling.llm_server import LLMServer, llm_server, planted_queries

from mixllm.logs import RoutingLog, write_log
from mixllm.tags.labelling import TagLabels

IDS, QUERIES, DOMAINS = planted_queries(48, seed=2)
PRICES = ["--price-in", "1000", "--price-out", "2000"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of planted queries."""
    unknown = np.full((48, 1), np.nan)
    log = RoutingLog(
        name="planted",
        query_ids=tuple(IDS),
        prompts=tuple(QUERIES),
        systems=(None,) * 48,
        labels={},
        llms=("one",),
        quality=np.ones((48, 1)),
        cost_usd=np.ones((48, 1)),
        tokens_in=unknown,
        tokens_out=unknown,
        latency_s=unknown,
        ttft_s=unknown,
    )
    folder = tmp_path_factory.mktemp("log") / "planted"
    write_log(log, folder)
    return folder


@pytest.fixture
def llm() -> Iterator[LLMServer]:
    with llm_server() as running:
        yield running


def arguments(data: Path, llm: LLMServer, out: Path, *more: str, prices: bool = True) -> list[str]:
    base = ["tag", "--data", str(data), "--api-url", llm.base_url, "--model", "mixllm/auto", "--out", str(out)]
    return [*base, *(PRICES if prices else []), *more]


def test_from_a_log_to_domains(data: Path, llm: LLMServer, tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    llm.mishaps = ["prose", "truncated", "count", None, "html"]
    env = {"TAG_KEY": "sk-only-for-this-test"}
    said = output_of(*arguments(data, llm, out, "--yes", "--api-key-env", "TAG_KEY", "--batch", "8"), env=env)
    labels = TagLabels.load(out)
    assert labels.query_ids == tuple(IDS)
    assert said["version"] == labels.vocabulary.version
    assert (said["queries"], said["tagged"], said["failed"]) == (48, 48, 0)
    assert said["estimate"]["calls"] == 6
    assert said["spent_usd"] > 6 * 0.2
    assert sum(domain["queries"] for domain in said["domains"]) == pytest.approx(48)
    # Purity: nearly each query's domain is that of most queries of its own.
    found = labels.weights.argmax(axis=1).tolist()
    groups = {label: [DOMAINS[row] for row in range(48) if found[row] == label] for label in set(found)}
    assert sum(max(map(group.count, group)) for group in groups.values()) >= 46
    assert {body["model"] for body in llm.bodies} == {"mixllm/auto"}
    assert {headers["Authorization"] for headers in llm.headers} == {"Bearer sk-only-for-this-test"}


def test_people_see_domains_and_no_prompt(data: Path, llm: LLMServer, tmp_path: Path) -> None:
    result = invoke(*arguments(data, llm, tmp_path / "labels.json", "--yes"))
    assert result.exit_code == 0, result.stderr
    assert "48 queries to ask mixllm/auto about: about 5 calls" in result.stderr
    assert "48 of 48 queries have a domain; $1.00 spent" in result.stderr
    assert "algebra" in result.stdout
    assert "Please help me" not in result.stdout + result.stderr


def test_the_estimate_calls_nothing_and_leaves_nothing(data: Path, llm: LLMServer, tmp_path: Path) -> None:
    more = ["--estimate-only", "--max-cost-usd", "0.01"]
    said = output_of(*arguments(data, llm, tmp_path / "labels.json", *more))
    assert said["estimate"]["calls"] == 5
    assert said["estimate"]["cost_usd"] > 0.01
    shown = invoke(*arguments(data, llm, tmp_path / "labels.json", *more)).stdout
    assert "about 5 calls" in shown
    assert "above the cap of $0.01" in shown
    assert llm.bodies == []
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_it_wants_yes(data: Path, llm: LLMServer, tmp_path: Path) -> None:
    message = refusal(run(*arguments(data, llm, tmp_path / "labels.json")), code=2)
    assert "there is no terminal to ask. Give --yes" in message
    assert llm.bodies == []


def test_a_capped_run_goes_on_with_a_higher_cap(data: Path, llm: LLMServer, tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    base = arguments(data, llm, out, "--yes", "--batch", "4")
    message = refusal(invoke(*base, "--max-cost-usd", "4"))
    assert "The cap is reached" in message
    assert "higher --max-cost-usd" in message
    assert not out.exists()
    first = len(llm.bodies)
    assert 0 < first < 12
    said = output_of(*base, "--max-cost-usd", "20")
    assert len(llm.bodies) == 12
    assert said["spent_usd"] == pytest.approx(12 * 0.2)
    # Everything is answered: grouping anew asks nobody, and needs no --yes.
    anew = output_of(*arguments(data, llm, out, "--max-domains", "2"))
    assert len(anew["domains"]) == 2
    assert (anew["calls"], len(llm.bodies)) == (0, 12)


def heed_interrupts() -> None:
    """Let the new process end at SIGINT also where these tests run in the background, whose jobs ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_killed_goes_on(data: Path, llm: LLMServer, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "labels.json"
    llm.mishaps = [None, None, "hang"]
    base = arguments(data, llm, out, "--yes", "--batch", "8", "--concurrency", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "mixllm", *base],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )
    try:
        ends = time.monotonic() + LIMIT_S
        while len(llm.bodies) < 3 and time.monotonic() < ends:
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (130, -signal.SIGKILL)
    assert b"Traceback" not in errors
    assert not out.exists()
    said = output_of(*base)
    assert said["tagged"] == 48
    assert said["calls"] == 4
    assert [len(batch) for batch in llm.batches] == [8] * 7


@pytest.mark.parametrize(
    ("more", "message", "code"),
    [
        (["--price-in", "1"], "--price-in and --price-out go together", 2),
        (["--model", "no-such-model"], "No price is known for 'no-such-model'", 1),
        ([*PRICES, "--data", "nowhere"], "nowhere", 1),
        (["--api-base", "ftp://x"], "must begin with http", 2),
        ([*PRICES, "--yes", "--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY of --api-key-env is not set", 1),
        ([*PRICES, "--out", "no/labels.json"], "is no folder", 1),
        (["--price-in", "-1", "--price-out", "1"], "must be a finite number >= 0", 1),
        ([*PRICES, "--timeout-s", "0"], "timeout_s", 1),
        ([*PRICES, "--reasoning-tokens", "-1"], "reasoning_tokens", 1),
    ],
)
def test_wrong_usage_is_a_message(
    data: Path, llm: LLMServer, tmp_path: Path, more: list[str], message: str, code: int
) -> None:
    assert message in refusal(invoke(*arguments(data, llm, tmp_path / "l.json", *more, prices=False)), code=code)
    assert llm.bodies == []


def test_what_is_no_labels_file_is_not_replaced(data: Path, llm: LLMServer, tmp_path: Path) -> None:
    out = tmp_path / "notes.json"
    out.write_text("mine")
    assert "is no file of labels" in refusal(invoke(*arguments(data, llm, out, "--yes")))
    assert out.read_text() == "mine"
    assert llm.bodies == []


def test_another_model_does_not_go_on(data: Path, llm: LLMServer, tmp_path: Path) -> None:
    base = arguments(data, llm, tmp_path / "labels.json", "--yes")
    assert invoke(*base).exit_code == 0
    assert "is the journal of the model 'mixllm/auto'" in refusal(invoke(*base, "--model", "other"))


def test_an_endpoint_that_refuses_the_key_says_so(data: Path, llm: LLMServer, tmp_path: Path) -> None:
    llm.mishaps = [401] * 4
    result = invoke(*arguments(data, llm, tmp_path / "labels.json", "--yes"))
    assert result.exit_code == 1
    assert "status 401. Check its key" in result.stderr
    assert json.loads((tmp_path / "labels.json.journal.jsonl").read_text().splitlines()[0])["model"] == "mixllm/auto"
