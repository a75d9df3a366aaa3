"""MixLLM as the routing strategy of a real LiteLLM Router, in this process and over a gateway."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # LiteLLM asks the network for prices on import
litellm = pytest.importorskip("litellm")

from tests.gateway.running import Gateway, closed_port, config_for  # noqa: E402

from mixllm.integrations.litellm import (  # noqa: E402
    DECISION_ID,
    Chooser,
    GatewayChooser,
    MixLLMStrategy,
    RouterChooser,
)
from mixllm.playback import AnswerBook, PlaybackServer, synthetic_log  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's and pydantic's own
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
LLMS = ("atlas-large", "boreal-pro", "ember-mini")


@pytest.fixture(scope="module")
def pool() -> Iterator[PlaybackServer]:
    with PlaybackServer(AnswerBook(log=synthetic_log(queries=40, seed=5)), time_scale=0) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(config_for(pool, tmp_path_factory.mktemp("litellm") / "m.db", LLMS)) as running:
        yield running


def litellm_router(pool: PlaybackServer, chooser: Chooser) -> tuple[Any, MixLLMStrategy]:
    entries = [
        {
            "model_name": "auto",
            "litellm_params": {"model": f"openai/{spec.name}", "api_base": spec.api_base, "api_key": "unused"},
            "model_info": {"id": spec.name},
        }
        for spec in pool.llm_specs()
        if spec.name in LLMS
    ]
    router = litellm.Router(model_list=entries, num_retries=0)
    strategy = MixLLMStrategy(chooser, deployments=lambda model: router.get_model_list(model_name=model))
    router.set_custom_routing_strategy(strategy)
    return router, strategy


@pytest.mark.parametrize("remote", [False, True])
async def test_litellm_s_router_calls_whom_mixllm_chooses(
    pool: PlaybackServer, gateway: Gateway, *, remote: bool
) -> None:
    chosen: list[str] = []
    chooser: Chooser = GatewayChooser(gateway.url) if remote else RouterChooser(gateway.router)
    ask = chooser.choose

    def noted(messages: Any, allowed: frozenset[str]) -> tuple[str, str]:
        assert allowed == set(LLMS)
        llm, decision_id = ask(messages, allowed)
        chosen.append(llm)
        assert gateway.router.decision(decision_id).decision.llm == llm
        return llm, decision_id

    chooser.choose = noted  # type: ignore[method-assign]
    router, _ = litellm_router(pool, chooser)
    for _ in range(4):
        before = dict(pool.requests_by_llm)
        await router.acompletion(model="auto", messages=MESSAGES)
        called = [llm for llm, count in pool.requests_by_llm.items() if count > before.get(llm, 0)]
        assert called == [chosen[-1]]
    assert len(chosen) == 4


async def test_the_decision_is_there_for_feedback(pool: PlaybackServer, gateway: Gateway) -> None:
    _, strategy = litellm_router(pool, RouterChooser(gateway.router))
    kwargs: dict[str, Any] = {}
    deployment = await strategy.async_get_available_deployment("auto", MESSAGES, request_kwargs=kwargs)
    assert deployment is not None
    receipt = gateway.router.feedback(kwargs["metadata"][DECISION_ID], thumbs=True)
    assert not receipt.duplicate
    assert gateway.in_flight() == 0


async def test_litellm_goes_on_where_mixllm_cannot_be_asked(pool: PlaybackServer, caplog: Any) -> None:
    router, _ = litellm_router(pool, GatewayChooser(f"http://127.0.0.1:{closed_port()}", timeout_s=0.5))
    answer = await router.acompletion(model="auto", messages=MESSAGES)
    assert answer.choices[0].message.content
    assert "chose no deployment of 'auto'" in caplog.text
    assert "France" not in caplog.text


def test_an_unknown_group_has_no_deployment(gateway: Gateway) -> None:
    strategy = MixLLMStrategy(RouterChooser(gateway.router), deployments=lambda _: None)
    assert strategy.get_available_deployment("nothing", MESSAGES) is None


def test_it_has_what_litellm_asks_of_a_strategy() -> None:
    from litellm.types.router import CustomRoutingStrategyBase

    for name in ("get_available_deployment", "async_get_available_deployment"):
        asked = inspect.signature(getattr(CustomRoutingStrategyBase, name)).parameters
        assert list(inspect.signature(getattr(MixLLMStrategy, name)).parameters) == list(asked)
