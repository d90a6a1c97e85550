"""A real JupyterLab for tests: served from a folder, driven in a browser as a person would.

In: a folder of notebooks, a browser. Out: ``Notebook``s that are run, changed and read. Nothing of the user's own
Jupyter is read or written; knows nothing of pytest.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page as Tab
from playwright.sync_api import TimeoutError

from tests.browser import Chromium, Page

SECONDS = 120
TRIES = 6
TOKEN = "of-the-tests"


class Lab:
    """A JupyterLab on ``folder`` whose own files are in ``home``; ``url`` is where it answers."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._log = home / "lab.log"
        # Else cells that are out of sight are not in the page, and cannot be asked.
        settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
        settings.mkdir(parents=True)
        (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
        own = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("RUNTIME", "CONFIG", "DATA")}
        own |= {"HOME": str(home), "IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [
            sys.executable, "-m", "jupyterlab", str(folder / "start_here.ipynb"), "--no-browser", "--allow-root",
            "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}",
        ]  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=home, env=kept | own, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self.url = self._address(home / "runtime")
        except BaseException:
            self.close()
            raise

    def _address(self, runtime: Path) -> str:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            for path in runtime.glob("jpserver-*.json"):
                try:
                    return str(json.loads(path.read_text())["url"])
                except ValueError:
                    pass  # it is being written
            time.sleep(0.05)
        raise RuntimeError(f"JupyterLab did not start:\n{self._log.read_text(errors='replace')[-2000:]}")

    @contextmanager
    def open(self, browser: Chromium, name: str) -> Iterator[Notebook]:
        """A notebook in the browser, with its kernel ready."""
        with browser.open(f"{self.url}lab/tree/{name}?reset&token={TOKEN}", height=1000) as page:
            yield Notebook(page)

    def close(self) -> None:
        """End it with its kernels."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(SECONDS)


class Notebook:
    """The notebook that is seen in a JupyterLab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.ready()

    def ready(self) -> None:
        """Wait until its kernel is, and has nothing to do."""
        self.page.do(lambda tab: tab.wait_for_selector("text=/Python 3.*Idle/", timeout=SECONDS * 1000))

    def run_all(self) -> None:
        """Menu Run, Run All Cells; and wait for the end."""
        self.page.do(_run_all)
        self.ready()

    def write(self, number: int, source: str) -> None:
        """Put ``source`` in the place of what stands in a code cell, by the keyboard."""

        def typed(tab: Tab) -> None:
            tab.locator(_SEEN + " .jp-CodeCell .cm-content").nth(number).click()
            tab.keyboard.press("ControlOrMeta+A")
            tab.keyboard.insert_text(source)

        self.page.do(typed)

    def shown(self) -> list[str]:
        """The text of each output that is seen."""
        return self.page.do(lambda tab: tab.locator(_SEEN + " .jp-OutputArea-output").all_inner_texts())

    def follow(self, link: str) -> None:
        """Click a link in a text, and wait for the notebook that it opens."""
        self.page.do(lambda tab: tab.locator(_SEEN).get_by_role("link", name=link, exact=True).click())
        self.page.do(lambda tab: tab.wait_for_selector(f".jp-mod-current >> text={link}.ipynb"))
        self.ready()


# Notebooks that are open behind the one that is seen stay in the page, hidden.
_SEEN = ".jp-NotebookPanel:not(.lm-mod-hidden)"
_PROMPTS = _SEEN + " .jp-CodeCell .jp-InputPrompt"


def _run_all(tab: Tab) -> None:
    before = max(map(int, re.findall(r"\[(\d+)\]", " ".join(tab.locator(_PROMPTS).all_inner_texts()))), default=0)
    first = "([prompts, before]) => Number(document.querySelector(prompts).textContent.match(/\\d+/)) > before"
    waiting = "prompts => [...document.querySelectorAll(prompts)].some(prompt => prompt.textContent.includes('*'))"
    for _ in range(TRIES):
        tab.get_by_role("menuitem", name="Run", exact=True).click()
        tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            tab.wait_for_function(first, arg=[_PROMPTS, before], timeout=SECONDS / TRIES * 1000)
            break
        except TimeoutError:
            # A notebook that has just come to the front may not have its kernel yet; then this does nothing.
            tab.keyboard.press("Escape")
    # A cell that stops takes those behind it out of the line.
    tab.wait_for_function(f"prompts => !({waiting})(prompts)", arg=_PROMPTS, timeout=SECONDS * 1000)
