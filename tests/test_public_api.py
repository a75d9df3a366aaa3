"""What `import mixllm` gives, what it does not load, and that everything public is documented."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

import mixllm

HEAVY = (
    "aiohttp",
    "click",
    "genai_prices",
    "httptools",
    "matplotlib",
    "openai",
    "pandas",
    "prometheus_client",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "sqlite3",
    "starlette",
    "tokenizers",
    "torch",
    "transformers",
    "uvicorn",
    "uvloop",
    "wordllama",
    "yaml",
)
"""What `import mixllm` must not load."""

BARE = """
import socket, sys

class Refused(socket.socket):
    def connect(self, *address):
        raise AssertionError("the network is used")
    connect_ex = connect
socket.socket = Refused
socket.create_connection = socket.getaddrinfo = Refused.connect
sys.addaudithook(lambda event, args: (_ for _ in ()).throw(AssertionError(f"{event} {args}"))
                 if event in ("socket.connect", "socket.getaddrinfo", "socket.bind") else None)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own: no HOME, no keys, no network, warnings are errors."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "SYSTEMROOT", "LD_LIBRARY_PATH"}}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BARE + code],
        capture_output=True,
        text=True,
        timeout=60,
        env=kept,
        check=False,
        cwd="/",
    )


def test_importing_loads_nothing_heavy() -> None:
    done = run(f"import mixllm\nprint(sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert done.stderr == ""
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("mixllm.types", set()),
        ("mixllm.config", set()),
        ("mixllm.predictors", set()),
        ("mixllm.decision", set()),
        ("mixllm.tags", set()),
        ("mixllm.registry", set()),
        ("mixllm.learning", set()),
        ("mixllm.router", set()),
        ("mixllm.dashboard", set()),
        ("mixllm.store", set()),
        ("mixllm.encoders", set()),
        ("mixllm.conformance.predictor", set()),
        ("mixllm.conformance.policy", set()),
        ("mixllm.assembly", {"sqlite3", "tokenizers"}),
    ],
)
def test_each_room_loads_no_more_than_its_own(module: str, allowed: set[str]) -> None:
    done = run(f"import {module}\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert done.stderr == ""
    assert set(done.stdout.split()) <= allowed


def test_a_router_works_without_home_keys_and_network() -> None:
    """RouteLLM and LiteLLM need a key, a GPU or the network to be imported."""
    done = run(
        "from mixllm import LLMSpec, Outcome, Price, Router\n"
        "price = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=1)\n"
        "with Router(llms=[LLMSpec(name='a', price=price), LLMSpec(name='gpt-4o')]) as router:\n"
        "    decision = router.route('What is the capital of France?')\n"
        "    router.record(decision.decision_id, Outcome(tokens_in=1, tokens_out=1, latency_s=1.0))\n"
        "    router.feedback(decision.decision_id, thumbs=True)\n"
        "    print(router.learn() >= 0, len(router.llms))\n"
    )
    assert done.stderr == ""
    assert done.stdout == "True 2\n"


def test_every_public_name_resolves() -> None:
    assert mixllm.__all__ == sorted(mixllm.__all__)
    for name in mixllm.__all__:
        assert getattr(mixllm, name).__name__ == name
        assert name in dir(mixllm)
    assert mixllm.__version__ in dir(mixllm) or "__version__" in dir(mixllm)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mixllm' has no attribute 'Rooter'"):
        _ = mixllm.Rooter
    assert not hasattr(mixllm, "import_module_of_somebody_else")


def modules() -> list[str]:
    """Return the name of every module of the package."""
    found = pkgutil.walk_packages(mixllm.__path__, "mixllm.")
    return ["mixllm", *(module.name for module in found if not module.name.endswith("__main__"))]


MODULES = modules()


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_documented_and_its_all_resolves(name: str) -> None:
    module = importlib.import_module(name)
    assert inspect.getdoc(module)
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    for public in exported:
        assert getattr(module, public) is not None


def documented(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield what needs a docstring: the module's public classes and functions, and their public methods."""
    for name in getattr(module, "__all__", []):
        public = getattr(module, name)
        if not (inspect.isclass(public) or inspect.isroutine(public)) or public.__module__ != module.__name__:
            continue
        yield name, public
        if not inspect.isclass(public):
            continue
        for member, value in vars(public).items():
            if not member.startswith("_") and (
                inspect.isroutine(value) or isinstance(value, (property, classmethod, staticmethod))
            ):
                yield f"{name}.{member}", value


@pytest.mark.parametrize("name", MODULES)
def test_every_public_object_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    bare = [label for label, thing in documented(module) if not inspect.getdoc(thing)]
    assert bare == []


def test_the_search_for_docstrings_finds_what_has_none() -> None:
    module = ModuleType("m")
    exec(
        "class A:\n    'a'\n    def f(self): ...\n    def _g(self): ...\ndef h(): ...\n__all__ = ['A', 'h']",
        vars(module),
    )
    assert [label for label, thing in documented(module) if not inspect.getdoc(thing)] == ["A.f", "h"]
