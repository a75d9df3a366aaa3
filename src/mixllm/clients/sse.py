"""Server-sent events out of bytes: pure, incremental, and indifferent to where the chunks are cut."""

from __future__ import annotations

from mixllm.errors import InvalidValueError

__all__ = ["DEFAULT_MAX_EVENT_BYTES", "DONE", "SSEParser"]

DONE = b"[DONE]"
"""The data of the event that ends a stream of the OpenAI protocol."""

DEFAULT_MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Far above any chunk of text; an endpoint may put a whole image into one event."""

_BOM = b"\xef\xbb\xbf"


class SSEParser:
    r"""Parser of ``text/event-stream``, after the WHATWG's HTML standard, section 9.2.6.

    Lines end with LF, CR or CR LF; lines that begin with a colon are comments; several ``data`` lines of one event are
    joined with LF; one byte order mark at the start is skipped; an event without ``data`` is no event. Of the fields
    only ``data`` is kept: the OpenAI protocol uses no other.

    Parameters
    ----------
    max_event_bytes
        Most bytes of data in one event, and of one line.

    Examples
    --------
    >>> parser = SSEParser()
    >>> parser.feed(b': ping\n\ndata: {"a"')
    []
    >>> parser.feed(b': 1}\r\n\r\ndata: [DONE]\n\n')
    [b'{"a": 1}', b'[DONE]']
    """

    __slots__ = ("_data", "_data_bytes", "_partial", "_partial_bytes", "_skip_lf", "_start", "max_event_bytes")

    def __init__(self, *, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        if max_event_bytes < 1:
            raise InvalidValueError("max_event_bytes", max_event_bytes, ">= 1")
        self.max_event_bytes = max_event_bytes
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._skip_lf = False
        self._start: bytes | None = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of every event that `chunk` completes, in order.

        Raises
        ------
        InvalidValueError
            Where an event or a line is longer than `max_event_bytes`; the parser is of no further use then.
        """
        if self._start is not None:
            chunk = self._without_bom(chunk)
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if not chunk:
            return []
        lines = self._lines(chunk)
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._add(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._data:
                    events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                    self._data = []
                    self._data_bytes = 0
            elif line == b"data":
                self._add(b"")
        return events

    @property
    def unfinished(self) -> bytes | None:
        """Data of the event that the blank line is still missing for; None where there is none.

        The standard drops it at the end of the stream. Some endpoints end theirs right after ``[DONE]``.
        """
        data = list(self._data)
        line = b"".join(self._partial)
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        return b"\n".join(data) if data else None

    def _without_bom(self, chunk: bytes) -> bytes:
        start = (self._start or b"") + chunk
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(_BOM)

    def _lines(self, chunk: bytes) -> list[bytes]:
        lines = chunk.splitlines()
        last_byte = chunk[-1]
        if last_byte == 0x0A:
            rest = b""
        elif last_byte == 0x0D:
            # The line is over; a LF at the start of the next chunk would belong to it.
            self._skip_lf = True
            rest = b""
        else:
            rest = lines.pop()
        if self._partial and lines:
            self._partial.append(lines[0])
            lines[0] = b"".join(self._partial)
            self._partial = []
            self._partial_bytes = 0
        if rest:
            self._partial.append(rest)
            self._partial_bytes += len(rest)
            # A line carries the name of its field besides the data.
            self._check(self._partial_bytes - len(b"data: "))
        return lines

    def _add(self, data: bytes) -> None:
        self._data.append(data)
        self._data_bytes += len(data) + (len(self._data) > 1)  # with the LF that joins them: empty ones count too
        self._check(self._data_bytes)

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self.max_event_bytes:
            raise InvalidValueError("event", f"{size_bytes} bytes", f"at most {self.max_event_bytes} bytes long")
