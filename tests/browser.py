"""Headless Chromium for tests: opens a page, tells what it asked for and what it complained of, takes pictures.

In: an HTML file. Out: requests, console messages, PNG files. Speaks the DevTools protocol; knows nothing of pytest.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websocket import WebSocketTimeoutException, create_connection

SECONDS = 30
QUIET_SECONDS = 0.3
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


@cache
def find_chromium() -> Path | None:
    """A Chromium or Chrome on PATH, else None."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    return None


class Chromium:
    """A running headless browser with an empty profile in ``folder``. Every page is a tab of its own."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.binary = binary
        self._log = folder / "chromium.log"
        port_file = folder / "profile" / "DevToolsActivePort"
        with self._log.open("wb") as log:
            command = [str(binary), *FLAGS, f"--user-data-dir={port_file.parent}", "about:blank"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        port, path = self._devtools(port_file)
        self._socket = create_connection(f"ws://127.0.0.1:{port}{path}", timeout=SECONDS, suppress_origin=True)
        self._last_id = 0
        self.events: list[dict[str, Any]] = []

    def _devtools(self, port_file: Path) -> tuple[int, str]:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            lines = port_file.read_text().splitlines() if port_file.exists() else []
            if len(lines) == 2:
                return int(lines[0]), lines[1]
            time.sleep(0.02)
        self._end_process()
        raise RuntimeError(f"{self.binary} did not start:\n{self._log.read_text(errors='replace')[-2000:]}")

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One DevTools command and its result; events that come meanwhile are added to ``events``."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self.events.append(answer)

    def listen(self, seconds: float) -> bool:
        """Take one event if it comes within ``seconds``; whether it did."""
        self._socket.settimeout(seconds)
        try:
            self.events.append(json.loads(self._socket.recv()))
            return True
        except WebSocketTimeoutException:
            return False
        finally:
            self._socket.settimeout(SECONDS)

    @contextmanager
    def open(
        self, html: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False, media: str = "screen"
    ) -> Iterator[Page]:
        """The page of an HTML file or a URL, loaded, with nothing more to come. ``media``: ``screen`` or ``print``."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        try:
            session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            page = Page(self, session, html.resolve().as_uri() if isinstance(html, Path) else html)
            page.emulate(width=width, height=height, dark=dark, media=media)
            page.load()
            yield page
        finally:
            self.call("Target.closeTarget", targetId=target)

    def screenshot(self, html: Path, png: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> Path:
        """A picture of the first screen; ``Page.screenshot`` has the whole page."""
        with self.open(html, width=width, height=height, dark=dark) as page:
            return page.screenshot(png)

    def close(self) -> None:
        """End it the orderly way, which also reaps its helpers; else by force."""
        self.call("Browser.close")
        self._socket.close()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._end_process()

    def _end_process(self) -> None:
        try:
            os.killpg(self._process.pid, 9)
        except ProcessLookupError:
            pass
        self._process.wait(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Page:
    """One tab. ``requests``: what it asked for beside itself; ``messages``: everything its console shows."""

    def __init__(self, chromium: Chromium, session: str, url: str) -> None:
        self._chromium, self._session, self.url = chromium, session, url

    def load(self) -> None:
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        if error := self.call("Page.navigate", url=self.url).get("errorText"):
            raise RuntimeError(f"{self.url}: {error}")
        deadline = time.monotonic() + SECONDS
        while not self._events("Page.loadEventFired"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.url} did not load")
            self._chromium.listen(SECONDS)
        self.settle()

    def settle(self) -> None:
        """Wait until nothing has happened for a moment."""
        deadline = time.monotonic() + SECONDS
        while self._chromium.listen(QUIET_SECONDS) and time.monotonic() < deadline:
            pass

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._chromium.call(method, self._session, **params)

    def emulate(self, *, width: int, height: int, dark: bool = False, media: str = "screen") -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def _events(self, *methods: str) -> list[dict[str, Any]]:
        mine = [event for event in self._chromium.events if event.get("sessionId") == self._session]
        return [event["params"] for event in mine if event["method"] in methods]

    @property
    def requests(self) -> list[str]:
        """URLs asked for, redirects and blocked ones too; without the page itself and data inside it."""
        asked = [event["request"]["url"] for event in self._events("Network.requestWillBeSent")]
        return [url for url in asked if url != self.url and not url.startswith("data:")]

    @property
    def messages(self) -> list[str]:
        """Console calls, uncaught errors, and what the browser itself says, such as a breach of the CSP."""
        said = []
        for event in self._events("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            if "args" in event:
                said.append(" ".join(str(part.get("value", part.get("description"))) for part in event["args"]))
            elif "entry" in event:
                said.append(event["entry"]["text"])
            else:
                details = event["exceptionDetails"]
                said.append(details.get("exception", {}).get("description", details["text"]))
        return said

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, as JSON can carry it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def screenshot(self, png: Path, *, whole: bool = False) -> Path:
        """What is seen, or the whole page, as PNG."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        png.write_bytes(base64.b64decode(picture["data"]))
        return png

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
