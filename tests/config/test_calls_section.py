from __future__ import annotations

import json
from typing import Any

import pytest

from mixllm.config import parse_config
from mixllm.errors import ConfigError


def test_limits_of_one_llm_are_read_from_its_entry() -> None:
    params = {
        "model": "m",
        "api_base": "http://127.0.0.1:1/v1",
        "timeout": 9,
        "stream_timeout": 2,
        "connect_timeout": 1,
    }
    (spec,) = parse_config(json.dumps({"model_list": [{"model_name": "a", "litellm_params": params}]})).specs()
    assert (spec.timeout_s, spec.first_token_timeout_s, spec.connect_timeout_s) == (9.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("calls", "key"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 21}, "max_attempts"),
        ({"max_total_s": 0}, "max_total_s"),
        ({"first_token_timeout_s": -1}, "first_token_timeout_s"),
        ({"max_retry_wait_s": -1}, "max_retry_wait_s"),
        ({"breaker": {"failures": 0}}, "failures"),
        ({"breaker": {"failure_share": 0}}, "failure_share"),
        ({"breaker": {"open_s": 9, "max_open_s": 8}}, "max_open_s"),
        ({"hedge": {"max_share": 1.1}}, "max_share"),
        ({"hedge": {"factor": 0}}, "factor"),
    ],
)
def test_what_is_out_of_range_is_named(calls: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        parse_config(json.dumps({"calls": calls}))
