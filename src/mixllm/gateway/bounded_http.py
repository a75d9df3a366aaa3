"""uvicorn's HTTP protocol with a bound on what comes before a request's body; without one, it could fill memory."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["MAX_HEAD_BYTES", "BoundedProtocol"]

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers together; what is a little smaller gets an answer with a reason (see `KeyGuard`)."""


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request line and headers do not end."""

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what came, and refuse to wait for the rest of a head that is too long."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The headers are longer than {MAX_HEAD_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count what comes next on this connection as the next head."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0
