"""The stub upstream in trouble: ``python -m benchmarks.reliability.upstream PORT SHARE [DELAY_S]``.

Which requests fail how is in `benchmarks.reliability.troubles`; the number of a request is in its text
(``request-17.``), the LLM is its ``model``. Answers take a while, so that kills find requests under way.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

import uvloop

from benchmarks.reliability.troubles import trouble
from benchmarks.serving.stub import ANSWER, STREAM, Connection, is_streamed, serve

_NUMBER = re.compile(rb"request-(\d+)\.")
_ERROR = b'{"error": {"message": "Something broke.", "type": "server_error"}}'
_FAILURE = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_ERROR)
) + _ERROR
_CUT_AFTER = 5


class _Troubled(Connection):
    share = 0.3
    delay_s = 0.05

    def answer(self, body: bytes) -> None:
        asyncio.get_running_loop().call_later(self.delay_s, self._answer_now, body)

    def _answer_now(self, body: bytes) -> None:
        if self.transport.is_closing():
            return
        number = _NUMBER.search(body)
        fault = None
        if number is not None:
            fault = trouble(int(number[1]), json.loads(body)["model"], share=self.share)
        streamed = is_streamed(body)
        if fault is None:
            self._step(STREAM if streamed else [ANSWER], 0)
        elif fault == "500":
            self.transport.write(_FAILURE)
        elif fault == "drop":
            self.transport.close()
        elif fault == "cut in the middle":
            self.transport.write(b"".join(STREAM[:_CUT_AFTER]) if streamed else ANSWER[:-20])
            asyncio.get_running_loop().call_later(self.delay_s, self.transport.close)
        elif fault == "cut before the first chunk":
            self.transport.write(STREAM[0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if streamed else ANSWER[:60])
            asyncio.get_running_loop().call_later(self.delay_s, self.transport.close)
        # A hang: nothing, until the gateway has had enough.

    def _step(self, parts: list[bytes], place: int) -> None:
        if place < len(parts) and not self.transport.is_closing():
            self.transport.write(parts[place])
            asyncio.get_running_loop().call_later(self.delay_s / 5, self._step, parts, place + 1)


if __name__ == "__main__":
    _Troubled.share = float(sys.argv[2])
    if len(sys.argv) > 3:
        _Troubled.delay_s = float(sys.argv[3])
    uvloop.run(serve(_Troubled, int(sys.argv[1])))
