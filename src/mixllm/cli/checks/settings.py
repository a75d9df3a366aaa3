"""Checks of the configuration: routing, keys, prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from mixllm.cli.checks.finding import Finding, fail, ok, warn
from mixllm.cli.output import price_per_million
from mixllm.cli.validation import check_routing_values
from mixllm.config import Config, ModelEntry
from mixllm.errors import MissingExtraError, MixLLMError, UnknownPriceError
from mixllm.types import LLMSpec

__all__ = ["check_gateway_keys", "check_keys", "check_pool", "check_prices", "check_routing"]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def check_pool(config: Config, path: str) -> Iterator[Finding]:
    """Look at the LLMs that the file names."""
    if not config.model_list:
        yield warn("config", f"{path} is valid; it names no LLM", "Add entries to model_list, or: mixllm llms add")
        return
    faulty = False
    for entry in config.model_list:
        try:
            entry.spec()
        except MixLLMError as error:
            faulty = True
            yield fail("config", str(error), f"Correct the entry in {path}.")
    if not faulty:
        yield ok("config", f"{path} is valid: {len(config.model_list)} LLMs")


def check_routing(config: Config) -> Finding:
    """Look at the recipe and the reference LLM."""
    try:
        check_routing_values(config)
    except MixLLMError as error:
        return fail("routing", str(error), "Correct the value.")
    return ok("routing", f"policy {config.routing.policy.name}, λ {config.routing.trade_off:g}")


def check_keys(entries: Sequence[ModelEntry], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look whether each LLM has the key that it needs."""
    missing = []
    for entry in entries:
        spec = entry.spec()
        if entry.secret() is not None:
            yield warn(
                f"key {spec.name}",
                "is written into the file",
                "Put it into a variable and write api_key: os.environ/NAME.",
            )
        elif spec.api_key_env is not None and not environ.get(spec.api_key_env):
            missing.append(spec.name)
            yield fail(
                f"key {spec.name}",
                f"variable {spec.api_key_env} is not set",
                f"export {spec.api_key_env}=… where the gateway runs.",
            )
        elif spec.api_key_env is None and urlsplit(spec.api_base or "").hostname not in _LOOPBACK:
            yield warn(
                f"key {spec.name}",
                "none is configured",
                "Where the endpoint asks for one, write api_key: os.environ/NAME.",
            )
    if entries and not missing:
        yield ok("keys", f"every variable that {len(entries)} LLMs name is set")


def check_gateway_keys(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look whether clients' keys can be read, and are asked for where others can reach the gateway."""
    try:
        from mixllm.gateway.access import check_exposure
        from mixllm.gateway.keys import key_ring
    except ModuleNotFoundError:
        yield fail(
            "gateway keys", "the gateway is not installed", str(MissingExtraError("mixllm serve", "gateway")) + "."
        )
        return
    try:
        keys = key_ring(config.gateway, environ)
        check_exposure(config.gateway.host, keys)
    except MixLLMError as error:
        yield fail("gateway keys", str(error), "Correct gateway.api_keys or gateway.host.")
        return
    said = f"{len(keys)} keys" if len(keys) else f"none are asked for, on {config.gateway.host} alone"
    yield ok("gateway keys", said)


def check_prices(specs: Sequence[LLMSpec]) -> Iterator[Finding]:
    """Look whether the price of each LLM is known."""
    from mixllm.registry import priced

    known = []
    for spec in specs:
        try:
            price = priced(spec).price
        except (UnknownPriceError, MissingExtraError) as error:
            yield fail(
                f"price {spec.name}",
                str(error),
                "Give input_cost_per_token and output_cost_per_token in its model_info, or in the section judge.",
            )
            continue
        assert price is not None
        if price.blended_usd_per_million_tokens == 0:
            yield warn(f"price {spec.name}", "is 0", "Right where it is really free; else give its price.")
            continue
        known.append(f"{spec.name} {price_per_million(price)}{'' if spec.price is not None else ' (list)'}")
    if known:
        yield ok("prices", f"per million tokens in / out: {', '.join(known)}")
