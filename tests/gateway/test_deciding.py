"""An encoder that waits for another server keeps only its own requests waiting."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.encoders.embedding_server import Asked, embeddings_of, open_server
from tests.gateway.running import Gateway, chat_body, config_for

from mixllm.playback import PlaybackServer

SLOW = "this one takes long"


def test_a_slow_encoder_does_not_hold_up_other_requests(playback: PlaybackServer, tmp_path: Path) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def answer(asked: Asked) -> tuple[int, bytes]:
        if asked.body["input"] == [SLOW]:
            arrived.set()
            assert go_on.wait(10)
        return embeddings_of(asked)

    with open_server(answer) as embeddings, ThreadPoolExecutor(1) as elsewhere:
        encoder = {"kind": "endpoint", "api_base": embeddings.url, "model": "any", "dimension": 16}
        with Gateway(config_for(playback, tmp_path / "m.db", encoder=encoder)) as gateway:
            try:
                slow = elsewhere.submit(gateway.chat, text=SLOW)
                assert arrived.wait(10)
                assert gateway.ask("GET", "/health/ready").status == 200
                assert gateway.chat(text="a quick one").status == 200
                assert gateway.ask("POST", "/v1/route", chat_body(text="another one")).status == 200
                assert not slow.done()
            finally:
                go_on.set()
            assert slow.result(10).status == 200
