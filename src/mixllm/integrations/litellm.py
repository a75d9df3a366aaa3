"""A routing strategy for LiteLLM's Router that asks MixLLM which deployment takes a request."""

from __future__ import annotations

import asyncio
import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from mixllm.encoders import query_from_messages
from mixllm.errors import InvalidValueError, MixLLMError, UpstreamError
from mixllm.router import RouterCore
from mixllm.types import Query, Secret
from mixllm.units import positive

__all__ = ["DECISION_ID", "Chooser", "GatewayChooser", "MixLLMStrategy", "RouterChooser"]

_LOG = logging.getLogger(__name__)

DECISION_ID = "mixllm_decision_id"
"""Where a request's ``metadata`` holds the id of the decision, for feedback."""

_MAX_ANSWER_BYTES = 4 * 1024 * 1024

_Deployment = dict[str, Any]
_Messages = Sequence[Mapping[str, Any]]


class Chooser(Protocol):
    """Chooses an LLM by name."""

    def choose(self, messages: _Messages, allowed: frozenset[str]) -> tuple[str, str]:
        """Return the LLM among `allowed` that takes the request, and the decision's id; raises `MixLLMError`."""


class RouterChooser:
    """Asks a router in this process.

    Parameters
    ----------
    router
        Its pool has an LLM for each deployment, of the same name.
    """

    def __init__(self, router: RouterCore) -> None:
        self.router = router

    def choose(self, messages: _Messages, allowed: frozenset[str]) -> tuple[str, str]:
        """Return the LLM that takes the request, and the decision's id."""
        query = (
            query_from_messages(messages, allowed_llms=allowed) if messages else Query(text="", allowed_llms=allowed)
        )
        # LiteLLM makes the call: what comes of it is told with `record`, by whoever wants to.
        decision = self.router.route(query, expect_outcome=False)
        return decision.llm, decision.decision_id


class GatewayChooser:
    """Asks a gateway's ``POST /v1/route``.

    Parameters
    ----------
    url
        The gateway, such as ``http://127.0.0.1:8080``.
    api_key
        A key of it with the scope ``chat``; None where it asks for none.
    timeout_s
        How long its answer may take.
    """

    def __init__(self, url: str, *, api_key: Secret | None = None, timeout_s: float = 2.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidValueError("url", url, "a URL that begins with http:// or https://")
        self.url = url.rstrip("/")
        self.api_key = api_key
        self.timeout_s = positive("timeout_s", timeout_s)

    def choose(self, messages: _Messages, allowed: frozenset[str]) -> tuple[str, str]:
        """Return the LLM that takes the request, and the decision's id."""
        body = {"messages": messages, "mixllm": {"allowed_llms": sorted(allowed)}}
        headers = {"content-type": "application/json"}
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key.reveal()}"
        request = urllib.request.Request(f"{self.url}/v1/route", msgspec.json.encode(body), headers)  # noqa: S310 -- checked
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:  # noqa: S310
                decision = msgspec.json.decode(answer.read(_MAX_ANSWER_BYTES), type=_Chosen)
        except (OSError, msgspec.DecodeError) as error:
            raise UpstreamError(
                "mixllm", f"the gateway at {self.url} did not decide ({type(error).__name__})."
            ) from error
        return decision.llm, decision.decision_id


class _Chosen(msgspec.Struct, frozen=True):
    llm: str
    decision_id: str


class MixLLMStrategy:
    """Picks the deployment of a model group that MixLLM chooses.

    A deployment is the LLM that its ``model_info.id`` names. Where MixLLM cannot be asked, or knows none of them, the
    group's first deployment is taken, and the log says so: LiteLLM goes on answering.

    It has the methods of LiteLLM's ``CustomRoutingStrategyBase`` and is taken for one, without importing LiteLLM.

    Parameters
    ----------
    chooser
        Whom to ask.
    deployments
        Returns the deployments of a model group: ``lambda model: router.get_model_list(model_name=model)``.

    Examples
    --------
    >>> chooser = GatewayChooser("http://127.0.0.1:8080")
    >>> strategy = MixLLMStrategy(chooser, deployments=lambda model: [])
    >>> # router.set_custom_routing_strategy(strategy)
    """

    def __init__(self, chooser: Chooser, *, deployments: Callable[[str], Sequence[_Deployment] | None]) -> None:
        self.chooser = chooser
        self.deployments = deployments

    async def async_get_available_deployment(
        self,
        model: str,
        messages: Sequence[dict[str, Any]] | None = None,
        input: str | Sequence[Any] | None = None,  # noqa: A002 -- LiteLLM's name
        specific_deployment: bool | None = False,
        request_kwargs: dict[str, Any] | None = None,
    ) -> _Deployment | None:
        """Return the deployment, without keeping the event loop waiting."""
        return await asyncio.to_thread(
            self.get_available_deployment, model, messages, input, specific_deployment, request_kwargs
        )

    def get_available_deployment(
        self,
        model: str,
        messages: Sequence[dict[str, Any]] | None = None,
        input: str | Sequence[Any] | None = None,  # noqa: A002
        specific_deployment: bool | None = False,
        request_kwargs: dict[str, Any] | None = None,
    ) -> _Deployment | None:
        """Return the deployment that takes the request; None where the group has none."""
        del specific_deployment
        found = list(self.deployments(model) or ())
        by_name = {str((deployment.get("model_info") or {}).get("id")): deployment for deployment in found}
        if not messages and isinstance(input, str):
            messages = [{"role": "user", "content": input}]
        try:
            llm, decision_id = self.chooser.choose(messages or (), frozenset(by_name))
            deployment = by_name[llm]
        except (MixLLMError, KeyError) as error:
            _LOG.warning("MixLLM chose no deployment of %r (%s): the first one is taken", model, type(error).__name__)
            return found[0] if found else None
        if request_kwargs is not None:
            request_kwargs.setdefault("metadata", {})[DECISION_ID] = decision_id
        return deployment
