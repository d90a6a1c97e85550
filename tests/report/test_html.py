"""Parts of a page: text stays text, what is missing is a dash, long tables are counted, empty ones say a sentence."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.findings.rules import RULES
from analysis.findings.ttl.remaining import BIN_NAMES, NONE
from analysis.findings.verdict import Evidence, Fact, Hypothesis, Record, Verdict
from analysis.report import charts, page
from analysis.report.html import (
    Html,
    amount,
    block,
    files_listed,
    folded,
    linked,
    listing,
    said,
    sentence,
    table,
    visible,
)
from analysis.settings import UTC

HOSTILE = "<script>alert('x')</script>\"`$\\foo$`\u202e\x00"


def test_hostile_text_is_escaped_in_every_part():
    frame = pd.DataFrame({HOSTILE: [HOSTILE]})
    for part in (table(frame, label=HOSTILE), listing([HOSTILE]), page.headline(HOSTILE)):
        html = part._repr_html_()
        assert "<script" not in html and "&lt;script&gt;" in html
        assert "\u202e" not in html and "\x00" not in html


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain é 漢字 🙂", "plain é 漢字 🙂"),
        ("a\u202eb", "a\\u202eb"),
        ("\x00\x1b", "\\x00\\x1b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_nothing_hides_in_text(text, seen):
    assert visible(text) == seen


def test_values_are_shortened_and_say_by_how_much(monkeypatch):
    monkeypatch.delenv("ANALYSIS_SHOW_VALUES", raising=False)
    short = said("A" * 10_000)
    assert len(short) < 400 and "9,7" in short
    monkeypatch.setenv("ANALYSIS_SHOW_VALUES", "1")
    assert said("A" * 10_000) == "A" * 10_000


def test_a_table_shows_times_with_their_zone_numbers_with_separators_and_gaps_as_dashes():
    frame = pd.DataFrame(
        {
            "at": pd.to_datetime(["2025-07-24T00:34:55Z", None], utc=True),
            "n": pd.array([1234567, None], dtype="Int64"),
            "yes": pd.array([True, None], dtype="boolean"),
            "f": [0.5, float("nan")],
        }
    )
    html = table(frame, label="x").html
    for text in ("2025-07-24 00:34:55 UTC", "1,234,567", ">yes<", "0.5"):
        assert text in html
    assert html.count(">–<") == 4


def test_a_long_table_counts_what_it_does_not_show():
    assert "800 more rows are not shown here." in table(pd.DataFrame({"n": range(1000)}), label="x").html


def test_an_empty_table_is_a_sentence():
    part = table(pd.DataFrame({"n": []}), label="x", empty="There is none.")
    assert "<table" not in part.html and "There is none." in part.html


def test_a_long_table_folds_and_says_how_much_it_is():
    short, long = (table(pd.DataFrame({"n": range(rows)}), label="Keys") for rows in (24, 25))
    assert "<details" not in short.html
    assert "<details" in long.html and "25 rows" in long.text.splitlines()[0]
    assert "<details" not in table(pd.DataFrame({"n": range(90)}), label="Keys", folds=False).html


def test_what_folds_keeps_its_parts_and_counts_them():
    part = folded("More", table(pd.DataFrame({"n": [1, 2]}), label="x"), listing(["a", "b", "c"]), block("xy", "y"))
    assert part.text.splitlines()[0] == "More 2 rows, 3 entries, 2 lines"
    assert "<table" in part.html and "&lt;table" not in part.html
    assert amount(sentence("Nothing to count.").html) == ""
    assert amount("", 2) == "2 charts"


def test_lines_to_copy_stay_lines_and_text():
    part = block(["  one  two", HOSTILE, "three"], "Sums")
    assert part.text.splitlines()[0] == "  one  two" and part.text.splitlines()[-1] == "three"
    assert len(part.text.splitlines()) == 3
    assert "<script" not in part.html


def test_numbers_have_the_unit_that_their_frame_gives_them():
    frame = pd.DataFrame({"size": pd.array([5], "Int64"), "uptime": ["2 h"], "bytes": pd.array([7], "Int64")})
    heads = {"size": "Size", "uptime": "Up", "bytes": "Bytes in the file"}
    html = table(frame, label="x", schema="evidence", columns=heads).html
    assert ">Size (bytes)<" in html and ">Bytes in the file<" in html
    html = table(frame, label="x", schema="servers", columns=heads).html
    # A text that says its unit needs none, and a frame's units are those of its own columns.
    assert ">Up<" in html and ">Size<" in html
    assert ">Bytes in the file<" in table(frame, label="x", schema="keys", columns=heads).html


def test_numbers_on_the_present_state_say_from_which_files_they_are():
    at = pd.Timestamp("2025-07-24T02:38:38Z")
    rows = {"server": ["a", "a", "b"], "snapshot": ["old.rdb", "new.rdb", "x.manifest"], "latest": [False, True, True],
            "kind": ["snapshot", "snapshot", "append-only file"], "taken_at": [at, at, pd.NaT]}  # fmt: skip
    told = "From new.rdb (2025-07-24 02:38:38 UTC) and the end of x.manifest (without a time), the last of each server."
    assert page.taken(pd.DataFrame(rows)).text == told
    assert page.taken(pd.DataFrame(rows).head(2)).text == "From new.rdb (2025-07-24 02:38:38 UTC)."
    assert page.taken(pd.DataFrame(rows).head(0)).text == "There is no snapshot in the evidence."


FILES = pd.DataFrame({"path": ["dump.rdb", "logs/app.log", "a & <b>.log", "src"]})
LISTED = files_listed(table(FILES, label="x", ids=[f"file-{number}" for number in range(4)]).html)


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("dump.rdb, byte 33472", '<a href="#file-0">dump.rdb, byte 33472</a>'),
        ("dump.rdb.", '<a href="#file-0">dump.rdb</a>.'),
        ("(logs/app.log:9)", '(<a href="#file-1">logs/app.log:9</a>)'),
        ("dump.rdb; logs/app.log:9", '<a href="#file-0">dump.rdb</a>; <a href="#file-1">logs/app.log:9</a>'),
        ("a & <b>.log:7", '<a href="#file-2">a &amp; &lt;b&gt;.log:7</a>'),
        ("src/app/records.py:77", '<a href="#file-3">src/app/records.py:77</a>'),
        ("dump.rdb.old, old-dump.rdb, x/dump.rdb, dump.rdb-1, srcs", None),
        ("case.toml, noticed_at", None),
    ],
)
def test_a_source_leads_to_its_file_and_to_no_other(source, link):
    for part in (sentence(source), table(pd.DataFrame({"source": [source]}), label="x"), listing([source])):
        html = linked(part.html, LISTED)
        assert (link in html) if link else ("<a" not in html)
    assert "<a" not in linked(table(pd.DataFrame({"says": ["dump.rdb"]}), label="x").html, LISTED)


def test_text_cannot_make_itself_a_file_or_a_link():
    forged = '<tr id="file-0"><td class="c"><code>evil</code><p data-from>dump.rdb'
    assert files_listed(sentence(forged).html) == {}
    assert '<a href="#file-0">dump.rdb</a>' in linked(sentence(forged).html, LISTED)
    assert "<tr" not in linked(sentence(forged).html, LISTED)
    assert linked(sentence("dump.rdb").html, {}) == sentence("dump.rdb").html


def _verdict(loss: bool | None) -> Verdict:
    evidence = (Evidence("x", "a.log:1", -20.0, HOSTILE),)
    weighed = (
        Hypothesis("result", "evicted", -3.0, 10.0, 0.9, (Evidence("y", "info.txt", 13.0, "it did"),)),
        Hypothesis("result", "present", 0.0, -20.0, 0.0001, evidence),
        Hypothesis("result", "unknown", 13.0, 13.0, 0.1, ()),
    )
    return Verdict(
        task_id=HOSTILE,
        as_of=pd.Timestamp("2025-07-24T02:38:38Z"),
        headline=HOSTILE,
        unexpected_loss=loss,
        records={"result": Record("absent", "evicted", 0.9)},
        hypotheses=weighed,
        gaps=(),
        actions=(),
        asked=HOSTILE,
        name=HOSTILE,
        summary=HOSTILE,
        facts=(Fact("Result", "Evicted", HOSTILE),),
        considered=weighed,
    )


@pytest.mark.parametrize(
    ("loss", "word"), [(True, "✗ Unexpected loss"), (False, "✓ No unexpected loss"), (None, "? Not decided")]
)
def test_the_first_screen_says_in_words_what_its_colour_says(loss, word):
    html = page.first_screen(_verdict(loss), UTC).html
    assert word in html and "<script" not in html


def test_the_matrix_shows_signs_sources_and_what_speaks_against():
    html = page.matrices(_verdict(True)).html
    for text in ("+13", "−20", "−3", "info.txt", "a.log:1", "90 %", "&lt; 0.1 %"):
        assert text in html
    assert "<script" not in html


def test_charts_take_hostile_text_and_draw_on_given_axes():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    bins = pd.DataFrame({"family": [HOSTILE, "x" * 10_000], "bin": [NONE, BIN_NAMES[3]], "keys": [3, 1_000_000]})
    assert charts.plot_remaining_ttl(bins, ax=ax) is ax
    picture = charts.show(charts.plot_remaining_ttl(bins))
    assert isinstance(picture, charts.Chart)
    data, metadata = picture._repr_mimebundle_()
    assert data["image/svg+xml"].startswith("<svg") and len(data["image/svg+xml"]) < 300_000
    assert "1,000,000" in metadata["image/svg+xml"]["alt"]


def test_a_chart_with_nothing_to_draw_is_a_sentence():
    from analysis.frames import frame

    empty = [
        charts.plot_timeline(frame("timeline"), zone=UTC),
        charts.plot_remaining_ttl(pd.DataFrame(columns=["family", "bin", "keys"])),
        charts.plot_keys_by_hour(pd.DataFrame(columns=["hour", "family", "keys"]), zone=UTC),
    ]
    for ax in empty:
        shown = charts.show(ax)
        assert isinstance(shown, Html)
        assert shown.html.startswith("<p") and "<svg" not in shown.html


def test_the_appendix_names_every_rule_and_the_fact_it_rests_on():
    text = page.appendix(_verdict(True)).text
    assert len(RULES) > 10
    assert [rule.id for rule in RULES.values() if f"{rule.id}: {rule.rests_on}" not in " ".join(text.split())] == []
