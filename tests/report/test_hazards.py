"""Text from the data that wants to be more than text: in parts, charts, the executed notebook and every template."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbconvert.exporters import HTMLExporter

from analysis.findings.verdict import Evidence, Fact, Gap, Hypothesis, Record, Verdict
from analysis.frames import frame
from analysis.report import charts, page
from analysis.report.exporter import InvestigationExporter
from analysis.report.html import Html, listing, said, sentence, table, visible
from analysis.settings import UTC

HOSTILE = [
    r"$\foo$",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'quo\"tes`back`",
    "\u202egnp.exe\u202c",
    "nul\x00\x1b[31mred",
    "\ud800\udcff",
    "שלום",
    "中文任务",
    "Z" + "\u0301" * 40,
    "{{ 7*7 }}{% raw %}",
    "x" * 1_000_000,
]
WRITTEN = [text for text in HOSTILE if "\ud800" not in text]
SECRET = "redis://user:hunter2@host/0"
AT = pd.Timestamp("2026-11-23T14:08:52Z")


def _verdict(texts: list[str]) -> Verdict:
    text = " ".join(texts)
    weighed = tuple(
        Hypothesis("result", cause, 0.0, 5.0, 0.4, tuple(Evidence(t, t, 5.0, t) for t in texts))
        for cause in ("evicted", "unknown")
    )
    return Verdict(
        task_id=text,
        as_of=AT,
        headline=text,
        unexpected_loss=None,
        records={"result": Record("absent", "evicted", 0.4, tuple(texts))},
        hypotheses=weighed,
        gaps=tuple(Gap(t, ("evicted",), t) for t in texts),
        actions=tuple(texts),
        name=text,
        asked=text,
        summary="\n".join(texts),
        facts=tuple(Fact(t, t, t) for t in texts),
        considered=weighed,
    )


def _timeline(texts: list[str]) -> pd.DataFrame:
    rows = [
        {"at": AT + pd.Timedelta(seconds=n), "not_after": AT + pd.Timedelta(seconds=n), "lane": lane, "kind": text,
         "says": text, "source": text, "certainty": text}
        for n, text in enumerate(texts) for lane in ("server", "task", "result", "case")
    ]  # fmt: skip
    return frame("timeline", rows)


def _parts(texts: list[str], written: list[str]) -> dict[str, Html]:
    verdict, rows = _verdict(texts), pd.DataFrame({"key": written, "says": written})
    evidence = frame("evidence", [{"path": t, "kind": t, "sha256": t, "complete": False, "reason": t} for t in written])
    return {
        "first_screen": page.first_screen(verdict, UTC),
        "matrices": page.matrices(verdict),
        "actions": page.actions(verdict),
        "gaps": page.gaps(verdict),
        "timeline_table": page.timeline_table(_timeline(written), UTC),
        "evidence_list": page.evidence_list(evidence, ()),
        "facts_table": page.facts_table(pd.DataFrame({"fact": written, "value": written, "source": written})),
        "table": table(rows, label=texts[1]),
        "listing": listing(texts),
        "sentence": sentence(" ".join(texts)),
    }


@pytest.mark.parametrize("name", _parts(["a", "b"], ["a", "b"]))
def test_hostile_text_stays_text_in_every_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANALYSIS_SHOW_VALUES", raising=False)
    part = _parts(HOSTILE, WRITTEN)[name]
    for shown in (part.html, part.text):
        assert not {"\x00", "\x1b", "\u202e", "\u202c", "\ud800"} & set(shown)
        assert "\u0301" * 4 not in shown
        shown.encode("utf-8")
    assert "<script" not in part.html and "<img" not in part.html
    assert "more characters" in part.html
    assert len(part.html) < 200_000


@pytest.mark.parametrize("name", _parts(["a", "b"], ["a", "b"]))
def test_a_password_is_in_neither_form_of_any_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANALYSIS_SHOW_VALUES", raising=False)
    part = _parts([SECRET, f"password={SECRET}"], [SECRET, f"password={SECRET}"])[name]
    data, noted = part._repr_mimebundle_()
    assert "[redacted]" in part.html
    assert "hunter2" not in str(data) + str(noted) + repr(part)


def test_a_password_is_not_left_open_by_being_cut_off() -> None:
    for before in range(270, 300):
        assert "hunt" not in said("a " * (before // 2) + SECRET + "b" * 400, 300)


def test_values_that_are_to_be_shown_end_before_the_page_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYSIS_SHOW_VALUES", "1")
    assert said(SECRET) == SECRET
    assert len(said("x" * 1_000_000)) < 60_000


@pytest.mark.parametrize("character", ["\u3164", "\u115f", "\u2800", "\ufe0f", "\u034f", "\xa0", "\u2028", "\n", "\t"])
def test_what_is_not_seen_is_written_as_an_escape(character: str) -> None:
    assert visible(f"a{character}b") == visible("a") + visible(character) + "b"
    assert visible(character).isascii() and visible(character).startswith("\\")


@pytest.mark.parametrize("text", ["naïve café", "Ångström", "日本語", "עברית", "हिन्दी", "🙂", "a b"])
def test_text_of_living_scripts_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def _charts(**given: Any) -> list[Any]:
    bins = pd.DataFrame({"family": WRITTEN, "bin": WRITTEN, "keys": 1})
    hours = pd.DataFrame({"hour": AT.floor("h"), "family": WRITTEN, "keys": 1})
    return [
        charts.plot_timeline(_timeline(WRITTEN), zone=UTC, as_of=AT + pd.Timedelta(seconds=30), **given),
        charts.plot_remaining_ttl(bins, **given),
        charts.plot_keys_by_hour(hours, zone=UTC, **given),
    ]


def test_charts_draw_hostile_text_without_a_word_on_standard_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ax in _charts():
            data, noted = ax._repr_mimebundle_()
            [kind] = set(data) - {"text/plain"}
            assert "<script" not in data[kind]
            alt = noted[kind]["alt"]
            assert alt == data["text/plain"] and "script" in alt and len(alt) < 4_000
            alt.encode("utf-8")
            assert not {"\x00", "\u202e"} & set(alt)


def test_charts_on_the_callers_axes_take_no_dollar_for_mathematics() -> None:
    for _ in range(3):
        figure = Figure()
        for ax in _charts(ax=figure.add_subplot()):
            assert ax.get_figure() is figure
        figure.canvas.draw()


def _notebook() -> nbformat.NotebookNode:
    hostile = "".join(HOSTILE[:7])
    data = {"image/png": 'AAAA" onerror="alert(1)'}
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text=hostile),
        nbformat.v4.new_output(
            "error", ename="Unusable", evalue=f"one\ntwo {hostile}" + "y" * 5_000, traceback=[hostile]
        ),
        nbformat.v4.new_output("display_data", data=data, metadata={"image/png": {"alt": hostile}}),
        nbformat.v4.new_output("display_data", data={"text/markdown": hostile, "text/plain": hostile}),
        nbformat.v4.new_output("display_data", data={"application/javascript": "alert(1)", "text/plain": hostile}),
        nbformat.v4.new_output("display_data", data={"text/latex": hostile, "text/plain": hostile}),
    ]
    clean = [output for output in outputs if "\ud800" not in str(output)] or outputs
    cells = [nbformat.v4.new_code_cell("secret_source = 1", outputs=clean)]
    cells.insert(0, nbformat.v4.new_code_cell("task_id = 'x'", metadata={"tags": ["injected-parameters"]}))
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["title"] = hostile
    return notebook


def test_the_page_shows_hostile_outputs_as_text() -> None:
    html, _ = InvestigationExporter().from_notebook_node(_notebook())
    assert "<script" not in html and 'onerror="' not in html and "alert(1)&lt;/script" in html
    assert not {"\x00", "\x1b", "\u202e"} & set(html)
    html.encode("utf-8")


def test_a_cell_that_stopped_is_one_short_line() -> None:
    html, _ = InvestigationExporter().from_notebook_node(_notebook())
    line = html[html.index('class="stopped"') :].partition("</p>")[0]
    assert "Unusable: one two" in line and "\n" not in line.strip() and len(line) < 1_500


def test_the_page_has_no_input_no_script_and_a_policy_that_forbids_them() -> None:
    html, _ = InvestigationExporter().from_notebook_node(_notebook())
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert f'content="{policy}"' in html
    assert "secret_source" not in html and "task_id" not in html
    assert "http://" not in html and "https://" not in html


def test_parts_are_safe_in_nbconverts_own_template_too() -> None:
    part = page.first_screen(replace(_verdict(WRITTEN), summary=HOSTILE[1]), UTC)
    data, noted = part._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data=data, metadata=noted)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])])
    html, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)" in html
