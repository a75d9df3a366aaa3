"""The router: route · record · feedback · add_llm · remove_llm, on protocols alone."""

from mixllm.router.core import RouterCore

__all__ = ["RouterCore"]
