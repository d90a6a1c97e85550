"""Headless Chromium for tests: opens a page, tells what it asked for and what it complained of, takes pictures.

In: an HTML file. Out: requests, console messages, breaches of accessibility, PNG and PDF files. Speaks through
Playwright; knows nothing of pytest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

SECONDS = 30
QUIET_SECONDS = 0.1
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
T = TypeVar("T")


@cache
def find_chromium() -> Path | None:
    """A Chromium or Chrome on PATH, else None."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    return None


class Chromium:
    """A running headless browser. Every page is a tab in a profile of its own.

    Playwright's plain interface keeps an event loop running in its thread, in which nothing else of asyncio could:
    so it has one to itself, and everything is called there.
    """

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="playwright")
        self._playwright = self.do(lambda: sync_playwright().start())
        try:
            self._browser = self.do(
                lambda: self._playwright.chromium.launch(
                    executable_path=binary, args=list(FLAGS), timeout=SECONDS * 1000
                )
            )
        except BaseException:
            self.do(self._playwright.stop)
            self._thread.shutdown()
            raise

    def do(self, call: Callable[[], T]) -> T:
        """Call something of Playwright's in the thread it lives in."""
        return self._thread.submit(call).result()

    @contextmanager
    def open(
        self,
        html: Path | str,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        media: str = "screen",
        bypass_csp: bool = False,
    ) -> Iterator[Page]:
        """The page of an HTML file or a URL, loaded, with nothing more to come. ``media``: ``screen`` or ``print``.

        ``bypass_csp`` is for what is put into the page to examine it; what the page itself breaks is not told then.
        """
        context = self.do(lambda: self._browser.new_context(bypass_csp=bypass_csp))
        try:
            page = Page(self, self.do(context.new_page))
            page.emulate(width=width, height=height, dark=dark, media=media)
            page.visit(html)
            yield page
        finally:
            self.do(context.close)

    def screenshot(self, html: Path, png: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> Path:
        """A picture of the first screen; ``Page.screenshot`` has the whole page."""
        with self.open(html, width=width, height=height, dark=dark) as page:
            return page.screenshot(png)

    def close(self) -> None:
        self.do(self._browser.close)
        self.do(self._playwright.stop)
        self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Page:
    """One tab. ``requests``: what it asked for beside itself; ``messages``: everything its console shows, uncaught
    errors, and what the browser itself says, such as a breach of the CSP.
    """

    def __init__(self, chromium: Chromium, tab: Tab) -> None:
        self._chromium, self._tab, self.url = chromium, tab, ""
        self.requests: list[str] = []
        self.messages: list[str] = []
        chromium.do(self._listen)

    def _listen(self) -> None:
        self._tab.set_default_timeout(SECONDS * 1000)
        self._tab.on("console", lambda message: self.messages.append(message.text))
        self._tab.on("pageerror", lambda error: self.messages.append(str(error)))
        # Redirects and blocked requests are told too.
        self._tab.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        if url != self.url and not url.startswith("data:"):
            self.requests.append(url)

    def do(self, call: Callable[[Tab], T]) -> T:
        """Whatever else Playwright's own page can do."""
        return self._chromium.do(lambda: call(self._tab))

    def visit(self, html: Path | str) -> None:
        """Open another page in this tab; what was said of the one before is forgotten."""
        self.url = html.resolve().as_uri() if isinstance(html, Path) else html
        self.requests, self.messages = [], []
        self.do(lambda tab: tab.goto(self.url, wait_until="load"))
        self.settle()

    def settle(self) -> None:
        """Wait a moment, so that what the browser had to say has come."""
        self.do(lambda tab: tab.wait_for_timeout(QUIET_SECONDS * 1000))

    def emulate(self, *, width: int, height: int = 900, dark: bool = False, media: str = "screen") -> None:
        """How wide the window is, which colours its owner likes, and whether it is paper."""
        self.do(lambda tab: tab.set_viewport_size({"width": width, "height": height}))
        self.do(
            lambda tab: tab.emulate_media(
                color_scheme="dark" if dark else "light", media="print" if media == "print" else "screen"
            )
        )

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, as JSON can carry it."""
        return self.do(lambda tab: tab.evaluate(expression))

    def breaches(self, *rules: str) -> list[str]:
        """What axe-core finds serious or critical, a line each; ``rules``: only those of its rules."""
        options = {"resultTypes": ["violations"]} | (
            {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
        )
        if not self.evaluate("'axe' in window"):
            self.evaluate(Axe().axe_script)
        found = self.evaluate(f"axe.run({json.dumps(options)})")
        return [
            f"{breach['id']}: {node['html'][:120]} {node['failureSummary'][:300]}"
            for breach in found["violations"]
            if breach["impact"] in ("serious", "critical")
            for node in breach["nodes"]
        ]

    def screenshot(self, png: Path, *, whole: bool = False) -> Path:
        """What is seen, or the whole page, as PNG."""
        self.do(lambda tab: tab.screenshot(path=png, full_page=whole))
        return png

    def pdf(self, pdf: Path) -> Path:
        """The page as it is printed."""
        self.do(lambda tab: tab.pdf(path=pdf, prefer_css_page_size=True, print_background=False))
        return pdf
