"""``python -m benchmarks.fuzzing.api --cases 100000 --seed 1``: schemathesis against a real gateway over a played pool.

Cases are made from the description that the gateway serves: half of them fit it, half do not. Names of LLMs, ids of
decisions and versions of checkpoints are often replaced by ones that exist, so that requests get beyond the first
check. Making a case takes far longer than answering it, so each is also sent with changes of its own: other values in
other places of its body, and bytes changed, which are held to the description as well. The run is made of batches, each
of one operation; a batch can be made again alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hypothesis
import jsonschema_rs
import numpy as np
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from tests.gateway.running import Gateway, chat_body, config_for

from benchmarks.fuzzing.mutations import mutated
from benchmarks.fuzzing.trees import changed_tree
from benchmarks.measuring import store
from mixllm.playback import AnswerBook, PlaybackServer, synthetic_log

__all__ = ["fuzz_api"]

KEY = "sk-fuzzing"
LIMIT_S = 20.0
"""Most time for one answer: what is slower counts as a hang."""

_BATCH = 40
_VARIATIONS = 9
"""How often a case is sent again with changes."""

_FAULTS_OF_OTHERS = frozenset({502, 503, 504})
_WORDS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"1e999",
    b"-1",
    b"\\ud800",
    b"NaN",
    b"/",
    b"%00",
    b"%2F",
    b"..",
    b"?a=b",
)
_NOT_HOME = re.compile(rb"https?://(?!127\.0\.0\.1:9/)")
_NOWHERE = "http://127.0.0.1:9/v1"
"""Where LLMs that a case adds are called: nobody is there."""

_SKIPPED_CHECKS = frozenset(
    {
        "not_a_server_error",  # ours knows which are the endpoints'
        "positive_data_acceptance",  # a body may fit its schema and name an LLM that is not there
        "negative_data_rejection",  # what the gateway does not know it passes on
        "unsupported_method",
        "missing_required_header",
        "ignored_auth",
        "use_after_free",
        "ensure_resource_availability",
        "object_level_authorization",
    }
)


class _Run:
    """The cases that were sent, and what was wrong."""

    def __init__(self, gateway: Gateway, pool: PlaybackServer) -> None:
        self.gateway = gateway
        self.pool = pool
        self.session = requests.Session()
        self.statuses: Counter[str] = Counter()
        self.faults: dict[str, dict[str, Any]] = {}
        self.slowest_s = 0.0
        self.decisions: list[str] = []
        description = requests.get(f"{gateway.url}/openapi.json", timeout=LIMIT_S).json()
        self.described = _Described(description)
        self.connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=LIMIT_S)
        self.schema = schemathesis.openapi.from_dict(description)
        self.schema.config.update(base_url=gateway.url)
        self.operations: list[Any] = [made.ok() for made in self.schema.get_all_operations() if isinstance(made, Ok)]
        checks = schemathesis.checks.CHECKS.get_all()
        self.checks = [check for check in checks if check.__name__ not in _SKIPPED_CHECKS]

    @property
    def sent(self) -> int:
        """How many cases were sent."""
        return sum(self.statuses.values())

    def close(self) -> None:
        """Close its connections."""
        self.session.close()
        self.connection.close()

    def batch(self, number: int, *, seed: int, cases: int, variations: int) -> None:
        """Send one batch and look at the gateway afterwards."""
        operation = self.operations[number % len(self.operations)]
        mode = GenerationMode.NEGATIVE if number // len(self.operations) % 2 else GenerationMode.POSITIVE
        rng = np.random.default_rng([seed, number])
        self._refill()
        before, seen = self.gateway.learned(), Counter(self.statuses)
        try:
            strategy = operation.as_strategy(generation_mode=mode)
        except hypothesis.errors.Unsatisfiable:
            return

        @hypothesis.seed(int(rng.integers(2**31)))
        @hypothesis.settings(
            max_examples=cases,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=strategy)
        def send(case: Any) -> None:
            self._send(case, rng)
            for _ in range(variations):
                self._send_changed(case, rng)

        try:
            send()
        except hypothesis.errors.Unsatisfiable:
            return  # No negative case: the operation takes nothing.
        answered = {status.rpartition(" ")[2] for status in self.statuses - seen}
        if all(status.startswith("4") for status in answered) and self.gateway.learned() != before:
            self._fault(f"{operation.label}: refused requests changed what is learned", {"batch": number})
        self._still_works(number)

    def _send(self, case: Any, rng: np.random.Generator) -> None:
        self._make_real(case, rng)
        headers = {} if rng.random() < 0.02 else {"authorization": f"Bearer {KEY}"}
        case.headers.update(headers)
        began_s = time.perf_counter()
        name = case.operation.label
        try:
            response = case.call(base_url=self.gateway.url, session=self.session, timeout=LIMIT_S)
        except requests.exceptions.Timeout:
            self._fault(f"{name}: no answer in {LIMIT_S} s", _told(case))
            return
        except (requests.exceptions.InvalidHeader, UnicodeError):
            self.statuses["not sent"] += 1
            return
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began_s)
        self.statuses[f"{name} {response.status_code}"] += 1
        if response.status_code >= 500 and response.status_code not in _FAULTS_OF_OTHERS:
            self._fault(f"{name}: status {response.status_code}", _told(case))
        ids = response.headers.get("x-mixllm-inference-id")
        if ids:
            self.decisions = [*self.decisions[-50:], ids[0]]
        try:
            case.validate_response(response, checks=self.checks)
        except schemathesis.core.failures.FailureGroup as group:
            for failure in group.exceptions:
                what = str(getattr(failure, "title", failure))
                self._fault(f"{name}: {what} ({response.status_code})", {"says": str(failure)[:600], **_told(case)})

    def _send_changed(self, case: Any, rng: np.random.Generator) -> None:
        """Send the case with a body of other values or bytes, or with another path."""
        name, method = case.operation.label, case.operation.method.upper()
        path = quote(case.formatted_path, safe="/%")
        headers = {"authorization": f"Bearer {KEY}", **{str(key): str(value) for key, value in case.headers.items()}}
        body: bytes | None = None
        if isinstance(case.body, (dict, list, str, int, float, bool, type(None))):
            example = self.described.example(name) if rng.random() < 0.5 else None
            tree = changed_tree(case.body if example is None else example, rng, most=3 if example is None else 2)
            self._keep_at_home(tree, rng)
            body = json.dumps(tree).encode("utf-8", "replace")
            body = mutated(body, rng, words=_WORDS, most=3) if rng.random() < 0.3 else body
            headers["content-type"] = "application/json" if rng.random() < 0.98 else "text/plain"
        elsewhere = body is None or rng.random() < 0.1
        if elsewhere:
            path = "/" + quote(mutated(path.encode()[1:], rng, words=_WORDS, most=2), safe="/%")
        if _NOT_HOME.search(body or b""):
            return  # Changed bytes made an address of it that is not on this machine.
        began_s = time.perf_counter()
        try:
            self.connection.request(method, path, body, headers)
            reply = self.connection.getresponse()
            content, status = reply.read(), reply.status
        except TimeoutError:
            self.connection.close()
            self._fault(f"{name}: no answer in {LIMIT_S} s", {"path": path, "body": repr(body)[:2000]})
            return
        except (http.client.HTTPException, OSError, ValueError) as error:
            self.connection.close()
            self.statuses[f"not sent or not answered: {type(error).__name__}"] += 1
            return
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began_s)
        wrong: str | None = None
        if elsewhere:
            name = f"{method} elsewhere"  # Another operation, or none.
            wrong = f"status {status}" if status >= 500 and status not in _FAULTS_OF_OTHERS else None
        else:
            wrong = self.described.problem(name, status, reply.headers.get("content-type", ""), content)
        self.statuses[f"{name} {status}"] += 1
        if wrong is not None:
            facts = {"path": path, "body": repr(body)[:2000], "answer": repr(content)[:500]}
            self._fault(f"{name}: {wrong}", facts)

    def _keep_at_home(self, tree: Any, rng: np.random.Generator) -> None:
        if not isinstance(tree, dict):
            return
        for place in (tree, tree.get("litellm_params")):
            if isinstance(place, dict) and "api_base" in place and (place["api_base"] is None or rng.random() < 0.95):
                place["api_base"] = _NOWHERE

    def _make_real(self, case: Any, rng: np.random.Generator) -> None:
        """Put names and ids that exist into the case now and then."""
        names = [spec.name for spec in self.gateway.router.llms] or ["x"]
        parameters = case.path_parameters or {}
        for name in parameters:
            if rng.random() < 0.4:
                there: dict[str, list[Any]] = {"name": names, "id": self.decisions or ["x"], "version": [1, 2, 3]}
                known = there[name]
                parameters[name] = known[int(rng.integers(len(known)))]
        body = case.body
        if not isinstance(body, dict):
            return
        if "model" in body and "messages" in body and rng.random() < 0.7:
            body["model"] = "mixllm/auto" if rng.random() < 0.5 else names[int(rng.integers(len(names)))]
        if body.get("messages") and isinstance(body["messages"], list) and rng.random() < 0.5:
            body["messages"].append({"role": "user", "content": "What is the capital of France?"})
        if "inference_id" in body and self.decisions and rng.random() < 0.6:
            body["inference_id"] = self.decisions[int(rng.integers(len(self.decisions)))]
        if "name" in body:
            body.setdefault("api_base", _NOWHERE)
        for place in (body, body.get("litellm_params")):
            if isinstance(place, dict) and isinstance(place.get("api_base"), str):
                place["api_base"] = _NOWHERE

    def _refill(self) -> None:
        """Bring the played LLMs back, and take away those that cases added."""
        router = self.gateway.router
        played = {spec.name: spec for spec in self.pool.llm_specs()}
        for spec in router.llms:
            if spec != played.get(spec.name):
                router.remove_llm(spec.name)
        there = {spec.name for spec in router.llms}
        for name, spec in played.items():
            if name not in there:
                router.add_llm(spec)

    def _still_works(self, number: int) -> None:
        self._refill()
        headers = {"authorization": f"Bearer {KEY}"}
        live = self.gateway.ask("GET", "/health/live")
        reply = self.gateway.ask("POST", "/v1/chat/completions", chat_body(), headers)
        if live.status != 200 or reply.status != 200:
            self._fault("the gateway does not work any more", {"batch": number, "body": reply.body[:300].decode()})
        else:
            self.decisions.append(reply.inference_id)

    def _fault(self, name: str, facts: dict[str, Any]) -> None:
        known = self.faults.setdefault(name, {"count": 0, **facts})
        known["count"] += 1


class _Described:
    """What the description says of answers, compiled."""

    def __init__(self, description: dict[str, Any]) -> None:
        self._answers: dict[str, dict[str, dict[str, Any]]] = {}
        self._examples: dict[str, Any] = {}
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                body = operation.get("requestBody", {"content": {}})["content"].get("application/json", {})
                self._examples[f"{method.upper()} {path}"] = body.get("example")
                answers = {status: answer["content"] for status, answer in operation["responses"].items()}
                self._answers[f"{method.upper()} {path}"] = {
                    status: {
                        kind: jsonschema_rs.validator_for(
                            {**told.get("schema", {}), "components": description["components"]}
                        )
                        for kind, told in content.items()
                    }
                    for status, content in answers.items()
                }

    def example(self, name: str) -> Any:
        """Return the body that can be sent as it is; None where none is told."""
        return self._examples[name]

    def problem(self, name: str, status: int, content_type: str, content: bytes) -> str | None:
        """Return what of an answer is not as described; None where all is."""
        described = self._answers[name].get(str(status))
        if described is None:
            return f"status {status} is not described"
        kind = content_type.partition(";")[0].strip()
        if kind not in described:
            return f"{kind!r} is not described for status {status}"
        if kind != "application/json":
            return None
        try:
            tree = json.loads(content)
        except ValueError:
            return f"no JSON for status {status}"
        error = next(iter(described[kind].iter_errors(tree)), None)
        return None if error is None else f"another shape for status {status}: {error.message[:200]}"


def fuzz_api(
    *,
    cases: int,
    seed: int,
    batch: int = _BATCH,
    variations: int = _VARIATIONS,
    limit_s: float = float("inf"),
    partial: Path | None = None,
) -> dict[str, Any]:
    """Send at least `cases` cases and return what came of them.

    Parameters
    ----------
    cases
        How many.
    seed
        Of the cases: those of batch n come from (seed, n).
    batch
        Cases of a batch that schemathesis makes.
    variations
        How often each of them is sent again with changes.
    limit_s
        Begin no gateway after so long.
    partial
        Where the state of the run is kept, for the next one to go on; None: nowhere.
    """
    result: dict[str, Any] = {"seed": seed, "done": 0, "next_batch": 0, "wall_s": 0.0, "slowest_s": 0.0}
    result |= {"peak_rss_mib": 0.0, "statuses": {}, "faults": {}}
    if partial is not None and partial.exists():
        result |= json.loads(partial.read_text())
    began_s = time.monotonic()
    logging.disable(logging.WARNING)  # It says every line that is no HTTP.
    with PlaybackServer(AnswerBook(log=synthetic_log(queries=40, seed=5)), time_scale=0, keep_requests=1) as pool:
        while result["done"] < cases and time.monotonic() - began_s < limit_s:
            _round(result, pool, cases=cases, seed=seed, batch=batch, variations=variations)
            rate = result["done"] / result["wall_s"]
            print(f"api: {result['done']:,} of {cases:,}, {rate:.0f}/s, faults: {list(result['faults'])}", flush=True)
            if partial is not None:
                partial.parent.mkdir(parents=True, exist_ok=True)
                partial.write_text(json.dumps(result))
    return result


def _round(result: dict[str, Any], pool: PlaybackServer, *, cases: int, seed: int, batch: int, variations: int) -> None:
    """Send a batch to each operation of a fresh gateway; an old one has come to know many LLMs that are gone."""
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        config = config_for(
            pool,
            Path(folder) / "mixllm.db",
            calls={"max_attempts": 1, "breaker": {"enabled": False}},
            routing={"max_cooldown_s": 1e-6},
            gateway={"api_keys": [KEY], "access_log": False, "max_body_bytes": 100_000},
        )
        with Gateway(config) as gateway, closing(_Run(gateway, pool)) as run:
            for _ in run.operations:
                if result["done"] + run.sent < cases:
                    run.batch(result["next_batch"], seed=seed, cases=batch, variations=variations)
                    result["next_batch"] += 1
    result["done"] += run.sent
    result["wall_s"] = round(result["wall_s"] + time.monotonic() - started_s, 1)
    result["slowest_s"] = round(max(result["slowest_s"], run.slowest_s), 3)
    result["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    result["statuses"] = dict(sorted((Counter(result["statuses"]) + run.statuses).items()))
    for name, fault in run.faults.items():
        result["faults"].setdefault(name, {**fault, "count": 0})["count"] += fault["count"]


def _told(case: Any) -> dict[str, Any]:
    body = case.body if isinstance(case.body, (dict, list, str, int, float, bool, type(None))) else repr(case.body)
    parameters = {"path": case.path_parameters, "query": case.query}
    return {"body": json.dumps(body, default=repr)[:2000], "parameters": json.dumps(parameters, default=repr)[:500]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzzing.api")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--partial", type=Path, default=Path(tempfile.gettempdir()) / "mixllm-fuzzing")
    options = parser.parse_args()
    partial = options.partial / f"api-{options.seed}.json"
    result = fuzz_api(cases=options.cases, seed=options.seed, limit_s=options.limit_s, partial=partial)
    command = f"python -m benchmarks.fuzzing.api --cases {options.cases} --seed {options.seed}"
    print(store("fuzz_api", result, command=command))
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
