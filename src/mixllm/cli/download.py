"""Files from the web: whole or not at all, bounded, and with what to do by hand where there is no network."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mixllm.cli.masking import masked_url
from mixllm.errors import LogError
from mixllm.types import Value

__all__ = ["Downloaded", "digest_of", "download"]

_CHUNK_BYTES = 1024 * 1024
_SCHEMES = ("http://", "https://")


class Downloaded(Value, frozen=True, kw_only=True):
    """A file that is there: where, its size, its SHA-256, and whether it was fetched just now."""

    path: str
    url: str
    size_bytes: int
    sha256: str
    fetched: bool


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and none from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.startswith(_SCHEMES) or (req.full_url.startswith("https://") and newurl.startswith("http://")):
            fp.close()
            raise urllib.error.URLError(f"it redirects to {masked_url(newurl)}, which is not safe to follow")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    target: Path,
    *,
    max_bytes: int,
    timeout_s: float,
    total_timeout_s: float,
    begins_with: bytes,
    on_progress: Callable[[int, int | None], None],
) -> Downloaded:
    """Fetch `url` into `target`, which appears when it is complete.

    Parameters
    ----------
    url
        Where it is; ``http`` or ``https``.
    target
        The file; its folder is made where it is missing.
    max_bytes
        Largest file that is accepted.
    timeout_s, total_timeout_s
        Time limit of each step, and of the whole.
    begins_with
        First bytes of every right file: a page that says "log in" has others.
    on_progress
        Called with the bytes that are there, and with all of them where the server says how many.

    Raises
    ------
    LogError
        Where it cannot be fetched, is too large, incomplete, or something else; nothing is left behind.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise LogError(f"{target} cannot be written ({error.strerror}). Give another folder with --out.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            size_bytes, sha256 = _copy(
                url,
                file,
                max_bytes=max_bytes,
                timeout_s=timeout_s,
                deadline_s=time.monotonic() + total_timeout_s,
                begins_with=begins_with,
                on_progress=on_progress,
            )
        Path(scratch).chmod(0o644)
        Path(scratch).replace(target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise LogError(
            f"{masked_url(url)} cannot be fetched ({reason}). Where there is no network, download that file on another "
            f"machine and put it at {target}"
        ) from error
    finally:
        with suppress(FileNotFoundError):
            Path(scratch).unlink()
    return Downloaded(path=str(target), url=masked_url(url), size_bytes=size_bytes, sha256=sha256, fetched=True)


def digest_of(file: Path) -> tuple[int, str]:
    """Return size and SHA-256 of a file that is there already; raises `LogError`."""
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256")
        return file.stat().st_size, digest.hexdigest()
    except OSError as error:
        raise LogError(f"{file} cannot be read ({error.strerror}). Check the path.") from error


def _copy(
    url: str,
    file: IO[bytes],
    *,
    max_bytes: int,
    timeout_s: float,
    deadline_s: float,
    begins_with: bytes,
    on_progress: Callable[[int, int | None], None],
) -> tuple[int, str]:
    opener = urllib.request.build_opener(_Redirects)
    request = urllib.request.Request(url, headers={"User-Agent": "mixllm"})  # noqa: S310 -- http and https only
    digest = hashlib.sha256()
    done = 0
    with opener.open(request, timeout=timeout_s) as answer:
        total = _length(answer)
        if total is not None and total > max_bytes:
            raise ValueError(f"it has {total} bytes, more than the {max_bytes} that are accepted")
        while chunk := answer.read(_CHUNK_BYTES):
            if not done and not chunk.startswith(begins_with):
                raise ValueError("it is another kind of file, perhaps a page of the server")
            done += len(chunk)
            if done > max_bytes:
                raise ValueError(f"it has more than the {max_bytes} bytes that are accepted")
            if time.monotonic() > deadline_s:
                raise TimeoutError("it took too long")
            file.write(chunk)
            digest.update(chunk)
            on_progress(done, total)
    if not done or (total is not None and done != total):
        raise ValueError(f"it ended after {done} bytes of {total or 'some'}")
    return done, digest.hexdigest()


def _length(answer: Any) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None
