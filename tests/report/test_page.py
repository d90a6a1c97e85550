"""The page in a real browser: nothing asked for, nothing complained of, readable by everybody, and it fits a phone, the
dark and paper. Every kind of report, on every hard kind of case (``pages``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Chromium, Page
from tests.report.pages import HOSTILE, NOTEBOOKS, TASK, make_pages

# A4 less the margins of the style sheet, in CSS pixels.
PAPER = 680
# What reaches beyond the right edge, but for what lies in a region that scrolls by itself.
BEYOND = """[...document.querySelectorAll('body *')].filter(one => {
  const box = one.getBoundingClientRect();
  return box.width && box.right > document.documentElement.clientWidth + 1 && !one.parentElement.closest('.scroll');
}).map(one => one.outerHTML.slice(0, 150))"""
CUT = """[...document.querySelectorAll('body *')].filter(one =>
  one.getBoundingClientRect().right > document.documentElement.clientWidth + 1
  || (one.clientWidth && one.scrollWidth > one.clientWidth + 1)).map(one => one.outerHTML.slice(0, 150))"""
HIDDEN = """[...document.querySelectorAll('p, td, th, li, dt, dd, img, pre, h2, h3')].filter(one =>
  !one.closest('nav') && !one.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true}))
  .map(one => one.outerHTML.slice(0, 150))"""
LOST = """[...document.querySelectorAll('a')].filter(a => a.protocol !== 'file:'
  || !a.getAttribute('href').startsWith('#') || !document.getElementById(a.hash.slice(1))).map(a => a.outerHTML)"""
TWICE = """[...document.querySelectorAll('[id]')].map(one => one.id)
  .filter((id, place, all) => all.indexOf(id) !== place)"""
# Sections with figures of which none leads to a file of evidence.
UNFOUNDED = """[...document.querySelectorAll('main > section, main > details')].filter(one =>
  one.querySelector('table, img') && !one.querySelector('a[href^="#file-"], #evidence'))
  .map(one => one.querySelector('h2').innerText)"""
REGIONS = """[...document.querySelectorAll('table, img')].filter(one => {
  const region = one.closest('[role=region]');
  return !region || region.tabIndex !== 0 || !region.getAttribute('aria-label');
}).map(one => one.outerHTML.slice(0, 150))"""


@dataclass(frozen=True)
class Seen:
    """What was seen of one page; lists hold what should not be there."""

    text: str
    requests: list[str]
    messages: list[str]
    light: list[str]
    dark: list[str]
    phone: list[str]
    printed_narrow: list[str]
    printed_hidden: list[str]
    facts: dict[str, Any]


FACTS = {
    "lost": LOST,
    "twice": TWICE,
    "regions": REGIONS,
    "unfounded": UNFOUNDED,
    "title": "document.title",
    "language": "document.documentElement.lang",
    "headings": "document.querySelectorAll('h1').length",
    "contents": "document.querySelectorAll('nav a').length",
    "answered": "document.querySelector('.verdict')?.getBoundingClientRect().bottom ?? 0",
    "meta": "document.querySelector('.meta')?.innerText ?? ''",
    "alts": "[...document.images].map(i => i.naturalWidth > 0 ? i.alt : 'broken')",
    "folded": "document.querySelectorAll('.verdict details, details .verdict, details .matrix').length",
    "unsaid": "[...document.querySelectorAll('summary')].filter(s => !s.querySelector('.inside')).length",
}


def look(page: Page, bare: Page, path: Path) -> Seen:
    """What is to be seen of the page in ``path``; ``bare`` is a tab in which the page's policy does not hold."""
    page.emulate(width=1280)
    page.visit(path)
    facts = {name: page.evaluate(expression) for name, expression in FACTS.items()}
    phone: list[str] = []
    for width in (375, 768):
        page.emulate(width=width)
        phone += page.evaluate(BEYOND)
        phone += ["page"] * (page.evaluate("document.documentElement.scrollWidth") > width)
    page.emulate(width=PAPER, media="print")
    narrow, hidden = page.evaluate(CUT), page.evaluate(HIDDEN)
    light, dark = _examine(bare, path)
    text = path.read_text(encoding="utf-8")
    return Seen(text, page.requests, page.messages, light, dark, phone, narrow, hidden, facts)


def _examine(page: Page, path: Path) -> tuple[list[str], list[str]]:
    """What axe-core says of the page with everything open: all of it in light colours, contrast in dark ones."""
    page.emulate(width=1280)
    page.visit(path)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    light = page.breaches()
    page.emulate(width=1280, dark=True)
    return light, page.breaches("color-contrast")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def seen(pages: dict[str, Path], chromium: Chromium) -> dict[str, Seen]:
    with chromium.open("about:blank") as page, chromium.open("about:blank", bypass_csp=True) as bare:
        return {name: look(page, bare, path) for name, path in pages.items()}


def _wrong(seen: dict[str, Seen], what: str) -> dict[str, list[str]]:
    return {name: found for name, page in seen.items() if (found := getattr(page, what, None) or page.facts.get(what))}


def test_there_is_a_page_of_every_notebook(pages):
    assert {name.partition(" ")[0] for name in pages} == set(NOTEBOOKS)
    assert len(pages) > 10


@pytest.mark.parametrize("what", ["requests", "messages"])
def test_a_page_asks_for_nothing_and_the_console_is_silent(seen, what):
    assert _wrong(seen, what) == {}


def test_a_page_is_no_larger_than_a_mail_may_be(seen):
    assert {name: len(page.text) for name, page in seen.items() if len(page.text.encode()) > 600_000} == {}


@pytest.mark.parametrize("what", ["light", "dark"])
def test_axe_finds_nothing_serious_in_either_colours(seen, what):
    assert _wrong(seen, what) == {}


def test_nothing_makes_a_phone_scroll_sideways(seen):
    assert _wrong(seen, "phone") == {}


def test_tables_and_charts_scroll_in_regions_with_a_name_that_take_the_focus(seen):
    assert _wrong(seen, "regions") == {}


def test_nothing_is_cut_or_folded_away_on_paper(seen):
    assert _wrong(seen, "printed_narrow") == {}
    assert _wrong(seen, "printed_hidden") == {}


def test_links_lead_somewhere_in_the_page_and_names_for_them_are_there_once(seen):
    assert _wrong(seen, "lost") == {}
    assert _wrong(seen, "twice") == {}


def test_every_section_with_figures_leads_to_their_evidence(seen):
    demo = {name: page for name, page in seen.items() if name.endswith(" demo")}
    # What is not there comes from nowhere.
    assert {name: set(found) - {"What is missing"} for name, found in _wrong(demo, "unfounded").items()} == {
        "deletion_investigation demo": set()
    }


def test_verdict_and_matrix_never_fold_and_what_folds_says_how_much_it_is(seen):
    assert _wrong(seen, "folded") == {}
    assert _wrong(seen, "unsaid") == {}


def test_every_picture_has_a_description_and_is_drawn(seen):
    for name, page in seen.items():
        assert all(len(alt) > 40 for alt in page.facts["alts"]), name
        assert "o description" not in page.text and "ithout a description" not in page.text, name
    assert len(seen["deletion_investigation demo"].facts["alts"]) == 1


def test_the_answer_is_on_the_first_screen_with_what_it_rests_on(seen):
    for name, page in seen.items():
        assert 0 < page.facts["answered"] < 700, name
        assert "redacted" in page.facts["meta"] and "Made with analysis" in page.facts["meta"], name
        assert "As of" in page.facts["meta"] or "no time" in page.facts["meta"], name


def test_the_page_has_a_title_a_language_contents_and_one_first_heading(seen):
    for name, page in seen.items():
        subject, _, kind = page.facts["title"].rpartition(" · ")
        assert kind.lower().replace(" ", "_") in NOTEBOOKS, name
        assert subject and ".ipynb" not in subject and "tmp" not in subject, name
        assert page.facts["language"] == "en" and page.facts["headings"] == 1 and page.facts["contents"] > 2, name


def test_every_source_of_the_demo_leads_to_its_file(pages, chromium: Chromium):
    with chromium.open(pages["deletion_investigation demo"]) as page:
        stray = (
            "[...document.querySelectorAll('.src')].filter(one => !one.querySelector('a')).map(one => one.innerText)"
        )
        # What case.toml states is no file of evidence, and a prior has no source.
        assert all(one.startswith(("case.toml", "the prior")) for one in page.evaluate(stray))
        led = page.evaluate("document.getElementById(document.querySelector('.basis a').hash.slice(1)).innerText")
        assert led.startswith("dump.rdb")


def test_no_path_is_a_name_for_links_and_no_text_is_a_row(pages, chromium: Chromium):
    with chromium.open(pages["deletion_investigation hostile"]) as page:
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert any(id.startswith("file-") for id in ids) and "file-abc" not in ids
        assert page.evaluate("document.querySelectorAll('script, b, main img[src=x]').length") == 0
        assert HOSTILE[0] in page.evaluate("document.body.innerText")


def test_a_link_opens_what_its_end_is_folded_into(pages, chromium: Chromium):
    with chromium.open(pages["deletion_investigation demo"], height=600) as page:
        assert page.evaluate("document.querySelectorAll('details.section[open]').length") == 0
        page.do(lambda tab: tab.click("nav a >> text=Appendix"))
        page.settle()
        assert page.evaluate("document.querySelectorAll('details.section[open]').length") == 1
        shown = "document.querySelector('details.section[open] h2').getBoundingClientRect()"
        assert 0 <= page.evaluate(f"{shown}.top") < 600


def test_one_click_selects_the_whole_id(pages, chromium: Chromium):
    with chromium.open(pages["deletion_investigation demo"]) as page:
        page.do(lambda tab: tab.click(f"h1 code >> text={TASK}", position={"x": 60, "y": 8}))
        assert page.evaluate("getSelection().toString()") == TASK


def test_dark_screens_get_dark_paper_and_print_does_not(pages, chromium: Chromium):
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    with chromium.open(next(iter(pages.values())), dark=True) as page:
        assert page.evaluate(ground) == "rgb(15, 20, 25)"
        page.emulate(width=PAPER, dark=True, media="print")
        assert page.evaluate(ground) == "rgb(255, 255, 255)"
