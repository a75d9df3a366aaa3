"""Traces: a span for the request, its decision and each call, over real OTLP, in the trace of the caller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.running import GatewayProcess, chat_body, config_tree, entry

from mixllm.playback import ErrorStatus, PlaybackServer

CHAT = "/v1/chat/completions"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Taken:
    """What a server on loopback was sent: bodies and headers."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []


@contextmanager
def taking(answer: bytes = b"{}") -> Iterator[Taken]:
    taken = Taken()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            taken.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    taken.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spans_of(taken: Taken) -> list[dict[str, Any]]:
    import gzip

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans = []
    for body, headers in zip(taken.bodies, taken.headers, strict=True):
        data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {
                        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
                        for pair in span.attributes
                    }
                    spans.append(
                        {
                            "name": span.name,
                            "trace": span.trace_id.hex(),
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "status": span.status.code,
                            "text": str(span),
                            **attributes,
                        }
                    )
    return spans


def test_spans_of_a_request_its_decision_and_its_calls_come_over_otlp(playback: PlaybackServer, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    marker = "zyzzyva-in-a-prompt"
    with taking() as collector:
        telemetry = {"otlp_endpoint": f"{collector.url}/v1/traces", "service_name": "tested"}
        tree = config_tree(playback, tmp_path / "m.db", ["atlas-large"], telemetry=telemetry)
        with GatewayProcess(tree, tmp_path) as gateway:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            whole = gateway.ask("POST", CHAT, chat_body(text=marker), headers)
            streamed = gateway.ask("POST", CHAT, chat_body(text=marker, stream=True))
            playback.put_faults("atlas-large", ErrorStatus(status=400))
            failed = gateway.ask("POST", CHAT, chat_body("atlas-large", marker))
            assert (whole.status, streamed.status, failed.status) == (200, 200, 400)
            gateway.send(signal.SIGTERM)
            gateway.finish()
    spans = spans_of(collector)

    ours = [span for span in spans if span["trace"] == TRACE]
    request = next(span for span in ours if span["parent"] == PARENT)
    decision = next(span for span in ours if span["name"] == "mixllm.route")
    call = next(span for span in ours if "gen_ai.operation.name" in span)
    assert len(ours) == 3
    assert decision["parent"] == call["parent"] == request["id"]
    assert request["name"] == f"POST {CHAT}"
    assert request["http.response.status_code"] == 200
    assert request["mixllm.decision_id"] == decision["mixllm.decision_id"] == whole.inference_id
    assert decision["mixllm.llm"] == "atlas-large"
    assert call["gen_ai.operation.name"] == "chat"
    assert call["gen_ai.request.model"] == call["gen_ai.response.model"] == "atlas-large"
    usage = whole.json["usage"]
    assert call["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert call["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    calls = [span for span in spans if "gen_ai.operation.name" in span]
    assert len(calls) == 3
    assert all(span["gen_ai.usage.output_tokens"] > 0 for span in calls if "error.type" not in span)
    assert [span["error.type"] for span in calls if "error.type" in span] == ["UpstreamStatusError"]
    assert not any(marker in span["text"] for span in spans)


def test_the_endpoint_learns_which_trace_its_call_belongs_to(playback: PlaybackServer, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    answer = b'{"choices": [{"message": {"role": "assistant", "content": "x"}}], "model": "m"}'
    with taking() as collector, taking(answer) as endpoint:
        llm = entry(playback.llm_specs()[0], api_base=f"{endpoint.url}/v1")
        tree = config_tree(playback, tmp_path / "m.db", [], model_list=[llm])
        tree["telemetry"] = {"otlp_endpoint": collector.url}
        with GatewayProcess(tree, tmp_path) as gateway:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            assert gateway.ask("POST", CHAT, chat_body(), headers).status == 200
            gateway.send(signal.SIGTERM)
            gateway.finish()
    call = next(span for span in spans_of(collector) if "gen_ai.operation.name" in span)

    assert endpoint.headers[0]["traceparent"] == f"00-{TRACE}-{call['id']}-01"


def test_nothing_of_it_is_loaded_where_it_is_off(playback: PlaybackServer, tmp_path: Path) -> None:
    code = (
        "import sys, mixllm.gateway.serve, mixllm.gateway.tracing\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_without_the_extra_the_command_that_installs_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    settings = {
        "telemetry": {"otlp_endpoint": "http://127.0.0.1:1"},
        "store": {"kind": "memory"},
        "gateway": {"port": 0},
    }
    path.write_text(json.dumps(settings))
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from mixllm.config import load_config; from mixllm.gateway.serve import serve\n"
        f"serve(load_config({str(path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode != 0
    assert "pip install 'mixllm[otel]'" in done.stderr
