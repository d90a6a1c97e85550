"""The page in a real browser: nothing asked for, nothing complained of, and it fits a phone, the dark and paper."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import Chromium

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reports of the demo, and of a case without evidence of the task."""
    out = tmp_path_factory.mktemp("reports")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    demo = str(ROOT / "data" / "demo")
    for arguments in (
        ["investigate", "c93afef4-105f-425c-af86-9ced40d30ee0", "no-such-task-anywhere", demo],
        ["ttl", demo],
        ["bulk", demo],
    ):
        command = [sys.executable, "-m", "analysis", *arguments, "--out", str(out), "--quiet"]
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=120)
    return {path.relative_to(out).as_posix(): path for path in out.rglob("*.html")}


def test_there_is_a_page_for_each(pages):
    assert len(pages) == 4


def test_a_page_asks_for_nothing_and_the_console_is_silent(pages, chromium: Chromium):
    for name, path in pages.items():
        assert path.stat().st_size < 400_000, name
        with chromium.open(path) as page:
            assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == [], name
            assert page.messages == [], name


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_the_page_never_scrolls_sideways(pages, chromium: Chromium, width):
    for name, path in pages.items():
        with chromium.open(path, width=width) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_the_answer_is_on_the_first_screen(pages, chromium: Chromium):
    for name, path in pages.items():
        with chromium.open(path, width=1280, height=900) as page:
            bottom = page.evaluate("document.querySelector('.verdict').getBoundingClientRect().bottom")
            assert 0 < bottom < 700, name


def test_every_picture_has_a_description_and_is_drawn(pages, chromium: Chromium):
    for name, path in pages.items():
        with chromium.open(path) as page:
            alts = page.evaluate("[...document.images].map(i => i.naturalWidth > 0 ? i.alt : 'broken')")
            assert all(len(alt) > 40 and "without a description" not in alt for alt in alts), name
    with chromium.open(next(path for name, path in pages.items() if name.startswith("c93afef4"))) as page:
        assert page.evaluate("document.images.length") == 1


def test_links_of_the_contents_lead_somewhere(pages, chromium: Chromium):
    for name, path in pages.items():
        with chromium.open(path) as page:
            lost = "[...document.querySelectorAll('a')].filter(a => !document.getElementById(a.hash.slice(1))).length"
            assert page.evaluate("document.querySelectorAll('nav a').length") > 2, name
            assert page.evaluate(lost) == 0, name


def test_the_page_has_a_title_a_language_and_one_first_heading(pages, chromium: Chromium):
    for name, path in pages.items():
        with chromium.open(path) as page:
            assert page.evaluate("document.documentElement.lang") == "en", name
            subject, _, kind = page.evaluate("document.title").rpartition(" · ")
            assert kind in ("Deletion investigation", "TTL distributions", "Bulk patterns")
            assert subject and "/" not in subject and ".ipynb" not in subject, name
            assert page.evaluate("document.querySelectorAll('h1').length") == 1, name


def test_dark_screens_get_dark_paper_and_print_does_not(pages, chromium: Chromium):
    path = next(iter(pages.values()))
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    with chromium.open(path, dark=True) as page:
        assert page.evaluate(ground) == "rgb(15, 20, 25)"
    with chromium.open(path, dark=True, media="print") as page:
        assert page.evaluate(ground) == "rgb(255, 255, 255)"
