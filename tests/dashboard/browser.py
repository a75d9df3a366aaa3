"""Debian's Chromium without a screen, driven over its own debugging protocol: two pipes, and nothing to install."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Browser", "find_chromium"]

_DEADLINE_S = 20.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
    "--remote-debugging-pipe",
)


def find_chromium() -> str:
    """Return where Chromium is; raises where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise AssertionError(
            "There is no Chromium for the tests of the dashboard. Run 'make browser' as root, or 'apt-get install "
            "chromium'; MIXLLM_NO_BROWSER=1 leaves these tests out."
        )
    return found


class Browser:
    """One page, while the context is open.

    Parameters
    ----------
    folder
        Where its profile goes.

    Attributes
    ----------
    complaints
        What went wrong in the page's script, and what its policy forbade.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.complaints: list[str] = []
        self._number = 0
        self._session: str | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        theirs, self._to = os.pipe()
        self._from, answers = os.pipe()
        line = f'exec "$0" "$@" 3<&{theirs} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, find_chromium(), *_FLAGS, f"--user-data-dir={self.folder}", "about:blank"],
            pass_fds=(theirs, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(answers)
        targets = self.tell("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.tell("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.tell(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return what it answers."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript is worth in the page."""
        answer = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Return as soon as an expression of JavaScript is true."""
        deadline_s = time.monotonic() + _DEADLINE_S
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < deadline_s, f"{expression}; the page: {self.text('body')!r}; {self.complaints}"
            time.sleep(0.02)

    def open(self, url: str) -> None:
        """Load a page."""
        self.tell("Page.navigate", url=url)
        self.wait_for(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def text(self, selector: str) -> str:
        """Return the text that an element shows."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def shows(self, selector: str) -> str:
        """Return an expression for whether an element can be seen."""
        return f"document.querySelector({json.dumps(selector)}).checkVisibility()"

    def type_into(self, selector: str, text: str) -> None:
        """Put the focus on a field, and type there as the keyboard does; Enter at the end."""
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.tell("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
            self.tell("Input.dispatchKeyEvent", type=kind, **key, **({"text": "\r"} if kind == "keyDown" else {}))

    def _next(self) -> dict[str, Any]:
        deadline_s = time.monotonic() + _DEADLINE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline_s - time.monotonic()))
            assert ready, "Chromium does not answer"
            read = os.read(self._from, 1 << 20)
            assert read, "Chromium has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["source"] != "network":
            self.complaints.append(str(parameters["entry"]["text"]))
