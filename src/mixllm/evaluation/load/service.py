"""How long an LLM takes for an answer when nobody waits: fitted to a log, or to measured providers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, LogError
from mixllm.evaluation.extra import bench_extra
from mixllm.logs import RoutingLog
from mixllm.types import Value
from mixllm.units import non_negative, positive, tokens_from_chars

__all__ = ["Speed", "fit_speed", "lengths_of", "measured_speeds", "size_class", "speeds_of"]

_FEWEST_CALLS = 20
_PROMPT_SHARE = 0.3
"""Share of the time to the first token that is taken to grow with the prompt, where all measured prompts are equally
long."""

_LEFT_OUT_PROVIDERS = ("replicate",)
"""Providers whose models were started when a request came: minutes that a served LLM does not have."""

_UNKNOWN_TOKENS = 100.0
_COLUMNS = ("ttft_s", "end_to_end_latency_s", "number_output_tokens", "number_input_tokens")
_CLASSES = ("7b", "13b", "70b")
_SMALL_HOSTED = ("mini", "flash", "haiku", "instant", "gpt-3.5", "small", "mixtral", "jamba-1.5-mini")


class Speed(Value, frozen=True, kw_only=True):
    """Time of one LLM's answers.

    Parameters
    ----------
    ttft_s
        Time to the first token of an empty prompt.
    prefill_s
        What each token of the prompt adds to it.
    tpot_s
        Time per token of the answer.
    scatter
        σ of the lognormal factor, with median 1, by which the whole call is slower or faster.

    Notes
    -----
    ttft = (ttft_s + prefill_s · tokens_in) · e^{σZ}, latency = (ttft_s + prefill_s · tokens_in + tpot_s · tokens_out) ·
    e^{σZ}, Z ~ N(0, 1), one Z for each call.
    """

    ttft_s: float
    prefill_s: float
    tpot_s: float
    scatter: float

    def __post_init__(self) -> None:
        positive("ttft_s", self.ttft_s)
        for name in ("prefill_s", "tpot_s", "scatter"):
            non_negative(name, getattr(self, name))

    def first_token_s(self, tokens_in: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the median time to the first token, shape of `tokens_in`."""
        return np.asarray(self.ttft_s + self.prefill_s * tokens_in)

    def median_s(self, tokens_in: NDArray[np.float64], tokens_out: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the median time to the last token."""
        return np.asarray(self.first_token_s(tokens_in) + self.tpot_s * tokens_out)

    @property
    def mean_factor(self) -> float:
        """What the mean of a call's time is over its median, e^{σ²/2}."""
        return float(np.exp(0.5 * self.scatter**2))


def fit_speed(latency_s: NDArray[np.float64], tokens_in: NDArray[np.float64], tokens_out: NDArray[np.float64]) -> Speed:
    """Return the speed whose medians explain recorded latencies best.

    Parameters
    ----------
    latency_s, tokens_in, tokens_out
        Of n calls, shape (n,); rows with NaN, and with a latency of 0, are left out.

    Raises
    ------
    InvalidValueError
        Where fewer than twenty calls are known.

    Notes
    -----
    Least squares of log latency, all three coefficients >= 0, with a soft loss beyond three times the scatter of most
    calls: single calls of a hundred seconds are there in every log. The scatter is the standard deviation of the
    residuals within four of their robust deviations.
    """
    with bench_extra("Fitting service times"):
        from scipy.optimize import least_squares

    known = np.isfinite(latency_s) & np.isfinite(tokens_in) & np.isfinite(tokens_out) & (latency_s > 0)
    if known.sum() < _FEWEST_CALLS:
        raise InvalidValueError("latency_s", f"{int(known.sum())} known calls", f"at least {_FEWEST_CALLS}")
    times, into, out = latency_s[known], tokens_in[known], tokens_out[known]
    columns = np.stack([np.ones_like(times), into, out], axis=1)
    mean_s = times.mean()
    scale = np.array([np.quantile(times, 0.25), mean_s / max(into.mean(), 1.0), mean_s / max(out.mean(), 1.0)])
    goal = np.log(times)

    def residuals(share: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.log(columns @ (share * scale)) - goal)

    start = np.array([0.5, 0.05, 0.5])
    found = least_squares(residuals, start, bounds=([1e-6, 0.0, 0.0], np.inf), loss="soft_l1", f_scale=1.0)
    left = residuals(found.x)
    spread = 1.4826 * float(np.median(np.abs(left - np.median(left))))
    inner = left[np.abs(left) <= 4.0 * spread] if spread > 0 else left
    ttft_s, prefill_s, tpot_s = (found.x * scale).tolist()
    return Speed(ttft_s=ttft_s, prefill_s=prefill_s, tpot_s=tpot_s, scatter=float(inner.std()))


def lengths_of(log: RoutingLog) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return tokens of prompts and answers, shape (n, K), all known.

    Where they are not recorded, a token per four characters; where there is no answer either, the LLM's mean length,
    else a hundred.
    """
    tokens_in = log.tokens_in.copy()
    guess = np.array([tokens_from_chars(len(p) + len(s or "")) for p, s in zip(log.prompts, log.systems, strict=True)])
    tokens_in = np.where(np.isnan(tokens_in), guess[:, None], tokens_in)
    tokens_out = log.tokens_out.copy()
    if log.answers is not None:
        written = np.array(
            [[np.nan if answer is None else tokens_from_chars(len(answer)) for answer in row] for row in log.answers]
        )
        tokens_out = np.where(np.isnan(tokens_out), written, tokens_out)
    for column in range(len(log.llms)):
        missing = np.isnan(tokens_out[:, column])
        if missing.any():
            tokens_out[missing, column] = _UNKNOWN_TOKENS if missing.all() else tokens_out[~missing, column].mean()
    return tokens_in, tokens_out


def speeds_of(log: RoutingLog, *, measured: Path | None = None) -> tuple[Speed, ...]:
    """Return the speed of each LLM of a log.

    Parameters
    ----------
    log
        Its own latencies are used wherever it has enough of them.
    measured
        llmperf's measurements, for LLMs without latencies (see `measured_speeds`).

    Raises
    ------
    LogError
        Where an LLM has no latencies, and `measured` is not given.
    """
    tokens_in, tokens_out = lengths_of(log)
    classes = None
    speeds = []
    for column, llm in enumerate(log.llms):
        latency_s = log.latency_s[:, column]
        if np.isfinite(latency_s).sum() >= _FEWEST_CALLS:
            speeds.append(fit_speed(latency_s, tokens_in[:, column], tokens_out[:, column]))
            continue
        if classes is None:
            if measured is None:
                raise LogError(
                    f"Log {log.name!r} has no latencies of {llm!r}. Name a file of measurements: --speeds FILE."
                )
            classes = measured_speeds(measured)
        speeds.append(classes[size_class(llm)])
    return tuple(speeds)


def size_class(llm: str) -> str:
    """Return which of the measured sizes, ``7b``, ``13b`` or ``70b``, an LLM is taken to be as fast as.

    A size in its name decides: up to 9 billion parameters, up to 20, more. Of a mixture of experts one expert counts
    twice. Without a size in the name, what is sold as the small one of its family is taken as 13b, all else as 70b.

    Examples
    --------
    >>> [size_class(name) for name in ("mistral-7b-chat", "mixtral-8x7b-chat", "Yi-34B-Chat", "gpt-4o-mini", "gpt-4o")]
    ['7b', '13b', '70b', '13b', '70b']
    """
    name = llm.lower()
    mixture = re.search(r"(\d+)x(\d+(?:\.\d+)?)b\b", name)
    single = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)b\b", name)
    if mixture is not None:
        size = 2 * float(mixture.group(2))
    elif single is not None:
        size = float(single.group(1))
    elif any(word in name for word in _SMALL_HOSTED):
        size = 13.0
    else:
        return _CLASSES[2]
    return _CLASSES[0] if size <= 9 else _CLASSES[1] if size <= 20 else _CLASSES[2]


def measured_speeds(file: Path) -> dict[str, Speed]:
    """Return the speed of each size class in llmperf's measurements.

    Parameters
    ----------
    file
        Parquet of ray-project/llmperf-leaderboard: ``provider_model``, ``ttft_s``, ``end_to_end_latency_s``,
        ``number_output_tokens``, ``number_input_tokens``, ``error_code``.

    Raises
    ------
    LogError
        Where it cannot be read, or holds no successful request of a size.
    MissingExtraError
        Where pyarrow is not installed.

    Notes
    -----
    Of each provider the median TTFT, the median of (latency − TTFT)/(tokens − 1), and the standard deviation of log
    latency within the requests; of each size the median over its providers. All prompts there have 550 tokens, so that
    what a token of the prompt costs cannot be told: three tenths of the TTFT are taken to grow with the prompt.
    """
    with bench_extra("Reading measurements"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        table = pq.read_table(file, columns=["provider_model", *_COLUMNS, "error_code"]).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise LogError(f"{file}: no measurements can be read ({error}). Give llmperf's parquet file.") from error
    providers = np.array(table["provider_model"])
    usable = np.array([error is None or error != error for error in table["error_code"]])  # NaN is not itself
    ttft_s, latency_s, out, into = columns = tuple(np.array(table[name], np.float64) for name in _COLUMNS)
    usable &= np.isfinite(ttft_s) & np.isfinite(latency_s) & (out > 1) & (latency_s > ttft_s) & (ttft_s > 0)
    usable &= np.isfinite(into)
    found: dict[str, list[tuple[float, ...]]] = {size: [] for size in _CLASSES}
    for provider in np.unique(providers).tolist():
        rows = usable & (providers == provider)
        size = provider.rpartition("_")[2]
        if size in found and not provider.startswith(_LEFT_OUT_PROVIDERS) and rows.sum() >= _FEWEST_CALLS:
            found[size].append(_provider_speed(*(column[rows] for column in columns)))
    for size, speeds in found.items():
        if not speeds:
            raise LogError(f"{file}: no successful requests of size {size}. Give llmperf's parquet file.")
    middle = {size: np.median(np.array(speeds), axis=0).tolist() for size, speeds in found.items()}
    return {
        size: Speed(ttft_s=ttft, prefill_s=prefill, tpot_s=tpot, scatter=scatter)
        for size, (ttft, prefill, tpot, scatter) in middle.items()
    }


def _provider_speed(
    ttft_s: NDArray[np.float64], latency_s: NDArray[np.float64], out: NDArray[np.float64], into: NDArray[np.float64]
) -> tuple[float, ...]:
    first_s = float(np.median(ttft_s))
    return (
        first_s * (1.0 - _PROMPT_SHARE),
        first_s * _PROMPT_SHARE / float(np.median(into)),
        float(np.median((latency_s - ttft_s) / (out - 1))),
        float(np.log(latency_s).std()),
    )
