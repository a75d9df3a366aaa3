"""How long calls take: planted speeds are found again, sizes are told by names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.evaluation.worlds import make_log

from mixllm.errors import InvalidValueError, LogError
from mixllm.evaluation.load.service import (
    Speed,
    fit_speed,
    lengths_of,
    measured_speeds,
    size_class,
    speeds_of,
)

PLANTED = Speed(ttft_s=0.4, prefill_s=0.001, tpot_s=0.02, scatter=0.25)


def calls(n: int = 3000, *, speed: Speed = PLANTED, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return latencies, prompt and answer lengths of calls at `speed`."""
    rng = np.random.default_rng(seed)
    into, out = rng.integers(20, 1500, n).astype(float), rng.integers(1, 400, n).astype(float)
    return speed.median_s(into, out) * np.exp(speed.scatter * rng.standard_normal(n)), into, out


def test_a_planted_speed_is_found() -> None:
    found = fit_speed(*calls())
    assert found.ttft_s == pytest.approx(PLANTED.ttft_s, rel=0.08)
    assert found.prefill_s == pytest.approx(PLANTED.prefill_s, rel=0.05)
    assert found.tpot_s == pytest.approx(PLANTED.tpot_s, rel=0.03)
    assert found.scatter == pytest.approx(PLANTED.scatter, rel=0.05)


def test_single_hangs_and_unknown_calls_do_not_count() -> None:
    latency_s, into, out = calls()
    latency_s[:10] = 300.0
    latency_s[10:20] = np.nan
    found = fit_speed(latency_s, into, out)
    assert found.tpot_s == pytest.approx(PLANTED.tpot_s, rel=0.05)
    assert found.scatter == pytest.approx(PLANTED.scatter, rel=0.1)


def test_the_mean_is_above_the_median() -> None:
    latency_s, into, out = calls(20_000)
    assert latency_s.mean() == pytest.approx(PLANTED.median_s(into, out).mean() * PLANTED.mean_factor, rel=0.01)


def test_too_few_calls_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="latency_s"):
        fit_speed(*calls(19))


def test_lengths_are_recorded_read_off_answers_or_guessed() -> None:
    log = make_log(np.ones((2, 3)), np.ones((2, 3)), prompts=("x" * 40, "y" * 80))
    recorded = np.array([[5.0, np.nan, np.nan], [7.0, np.nan, np.nan]])
    log = replace(log, tokens_out=recorded, answers=((None, "z" * 8, None), (None, None, None)))
    into, out = lengths_of(log)
    assert into.tolist() == [[10.0] * 3, [20.0] * 3]
    assert out[:, 0].tolist() == [5.0, 7.0]
    assert out[:, 1].tolist() == [2.0, 2.0]
    assert out[:, 2].tolist() == [100.0, 100.0]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("WizardLM/WizardLM-13B-V1.2", "13b"),
        ("meta/llama-2-70b-chat", "70b"),
        ("Mixtral-8x7B-Instruct-v0.1", "13b"),
        ("Phi-3-mini-4k-instruct", "13b"),
        ("gpt-3.5-turbo-1106", "13b"),
        ("claude-v2", "70b"),
        ("llama3.2-1b", "7b"),
        ("Qwen1.5-72B-Chat", "70b"),
    ],
)
def test_names_tell_sizes(name: str, size: str) -> None:
    assert size_class(name) == size


def measurements(file: Path, *, sizes: tuple[str, ...] = ("7b", "13b", "70b")) -> Path:
    """Write measurements of two providers in llmperf's form; one more only fails, another starts its models first."""
    rows = []
    rng = np.random.default_rng(0)
    for size in sizes:
        tpot_s = {"7b": 0.01, "13b": 0.02, "70b": 0.04}[size]
        for provider, ttft_s, failed in (
            ("a", 0.2, False),
            ("b", 0.4, False),
            ("c", 9.0, True),
            ("replicate", 9.0, False),
        ):
            for _ in range(30):
                noise = float(np.exp(0.1 * rng.standard_normal()))
                rows.append(
                    {
                        "provider_model": f"{provider}_{size}",
                        "ttft_s": ttft_s * noise,
                        "end_to_end_latency_s": (ttft_s + 100 * tpot_s) * noise,
                        "number_output_tokens": 101,
                        "number_input_tokens": 550,
                        "error_code": 429.0 if failed else None,
                    }
                )
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def test_measured_speeds_are_the_medians_of_providers(tmp_path: Path) -> None:
    found = measured_speeds(measurements(tmp_path / "measured.parquet"))
    for size, tpot_s in (("7b", 0.01), ("13b", 0.02), ("70b", 0.04)):
        assert found[size].tpot_s == pytest.approx(tpot_s, rel=0.1)
        assert float(found[size].first_token_s(np.array(550.0))) == pytest.approx(0.3, rel=0.1)
        assert found[size].scatter == pytest.approx(0.1, rel=0.3)


def test_measurements_stand_in_where_a_log_has_no_latencies(tmp_path: Path) -> None:
    latency_s, _, out = calls(60)
    log = make_log(np.ones((60, 2)), np.ones((60, 2)))
    unknown = np.full(60, np.nan)
    log = replace(
        log,
        llms=("here", "llama-70b"),
        latency_s=np.stack([latency_s, unknown], axis=1),
        tokens_out=np.stack([out, out], axis=1),
    )
    with pytest.raises(LogError, match="no latencies of 'llama-70b'"):
        speeds_of(log)
    file = measurements(tmp_path / "measured.parquet")
    here, there = speeds_of(log, measured=file)
    assert there == measured_speeds(file)["70b"]
    assert here != there


def test_measurements_that_lack_a_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="size 70b"):
        measured_speeds(measurements(tmp_path / "measured.parquet", sizes=("7b", "13b")))
    (tmp_path / "none.parquet").write_bytes(b"no table")
    with pytest.raises(LogError, match="no measurements"):
        measured_speeds(tmp_path / "none.parquet")
