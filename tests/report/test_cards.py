"""What is held by hand shows itself: the same in HTML and in text, with what was left out, and without secrets."""

from __future__ import annotations

import inspect
import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis.errors import Unusable
from analysis.frames import FRAMES, ROWS
from analysis.report.html import Html, sentence
from analysis.report.look import in_notebook, on_page
from analysis.showing import ShowsItself
from tests.evidence.rdb_writer import Rdb

ROOT = Path(__file__).resolve().parents[2]
TASK = "c93afef4-105f-425c-af86-9ced40d30ee0"


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "data" / "demo", tmp_path / "case"))


@pytest.fixture(scope="module")
def case() -> analysis.Case:
    return analysis.open_case(ROOT / "data" / "demo")


def both(thing: Any) -> tuple[str, str]:
    """HTML, and plain text with single blanks."""
    return thing._repr_html_(), " ".join(repr(thing).split())


def test_a_case_shows_its_evidence_period_servers_and_frames(case):
    html, text = both(case)
    for shown in (html, text):
        assert "Was task c93afef4 deleted?" in shown
        assert "8 files, 13,979 bytes: clients, config, snapshot" in shown
        assert "2025-07-23 23:26:08 to 2025-07-24 02:38:38 UTC" in shown
        assert "(2025-07-23 19:26:08 to 2025-07-23 22:38:38 America/New_York); 3 files carry no time" in shown
        assert "Redis 6.0.16, master, asked at 2025-07-24 02:38:38 UTC" in shown
        assert "in reports shortened, and secrets redacted" in shown
        assert f".keys {len(case.keys)} · .tasks {len(case.tasks)} · .events {len(case.events)}" in shown
    for path in case.evidence["path"]:
        assert f"<code>{path}</code>" in html and path in text


def test_a_case_says_whether_values_are_shown_as_they_are(case, monkeypatch):
    monkeypatch.setenv("ANALYSIS_SHOW_VALUES", "1")
    assert "Values shown as they are" in both(case)[1]


def test_a_case_says_what_was_left_out_or_read_in_part_and_counts_what_it_does_not_name(demo):
    (demo / "dump.rdb").write_bytes((demo / "dump.rdb").read_bytes()[:1100])
    for number in range(9):
        (demo / f"broken-{number}.rdb").write_bytes(b"not a snapshot at all")
    html, text = both(analysis.open_case(demo))
    for shown in (html, text):
        assert "dump.rdb: read in part" in shown and "broken-0.rdb" in shown
        assert "and 4 more" in shown and "broken-8.rdb" not in shown
    assert re.search(r"dump\.rdb snapshot [\d: -]+ UTC [\d: -]+ UTC in part", text)


def test_each_server_has_a_line_also_where_it_never_answered(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "servers" / name).mkdir(parents=True)
        (tmp_path / "servers" / name / "a.rdb").write_bytes(Rdb(11).aux("ctime", 1_000).select(0).text("k", "v").end())
    shutil.copy(ROOT / "data/demo/info-20250724T023838Z.txt", tmp_path / "servers" / "one")
    shutil.copytree(ROOT / "data/demo/logs", tmp_path / "logs")
    _, text = both(analysis.open_case(tmp_path))
    assert "Servers one: Redis 6.0.16, master, asked at" in text
    assert "two: there is no INFO answer, so its version and role are not known" in text
    assert text.count("no INFO answer") == 1


def test_an_empty_case_has_a_card_too(tmp_path):
    html, text = both(analysis.open_case(tmp_path))
    assert "none: no file could be read as evidence" in text and "no time is told" in text
    assert "all are empty" in text and "<details>" in html


def test_to_show_a_case_compares_no_snapshots(tmp_path):
    for name, at in (("a.rdb", 1_000), ("b.rdb", 2_000)):
        (tmp_path / name).write_bytes(Rdb(11).aux("ctime", at).select(0).text("k", str(at)).end())
    case = analysis.open_case(tmp_path)
    assert ".changes –" in both(case)[1]
    assert "changes" not in vars(case)


def test_nothing_in_a_case_is_markup_or_a_secret_and_nothing_hides(demo):
    (demo / "case.toml").write_text('name = "<img src=x> redis://:hunter2@host/0 \\u202e' + "x" * 5_000 + '"\n')
    (demo / "<b>bold\u202e.log").write_text("2025-07-24 01:00:00 INFO purge deleted=1\n")
    html, text = both(analysis.open_case(demo))
    assert "<img" not in html and "<b>" not in html and "&lt;b&gt;bold" in html
    for shown in (html, text):
        assert "hunter2" not in shown and "\u202e" not in shown and "[redacted]" in shown
        assert "x" * 200 not in shown


def test_a_verdict_and_an_investigation_show_the_answer_and_how_sure_it_is(case):
    looked = analysis.look_into(case, TASK[:8])
    for thing in (looked, looked.verdict):
        for shown in both(thing):
            assert (
                looked.verdict.headline in shown and f"✓ No unexpected loss · app.tasks.run_job · task {TASK}" in shown
            )
            assert "Very likely (93 %)" in shown and "2025-07-24 02:38:38 UTC" in shown
    assert "America/New_York" in repr(looked)


def test_whatever_the_package_offers_gives_what_shows_itself(case):
    """Also what is added later: a function that takes a case, and whatever else it asks for is a task's ID."""
    offered = {name: getattr(analysis, name) for name in analysis.__all__}
    takes = {name: list(inspect.signature(one).parameters) for name, one in offered.items() if inspect.isfunction(one)}
    of_a_case = [name for name, parameters in takes.items() if parameters[0] == "case"]
    assert {"investigate", "look_into", "find_ttl", "find_bulk"} <= set(of_a_case)
    for name in of_a_case:
        given = ["c93afef4"] if "task_id" in takes[name] else []
        found = offered[name](case, *given)
        assert isinstance(found, ShowsItself), f"{name} gives {type(found).__name__}"
        told: Any = found.verdict if isinstance(found, analysis.Investigation) else found
        assert told.headline in " ".join(repr(found).split())
        assert "<table" in found._repr_html_() and " object at 0x" not in repr(found)
        with pytest.raises(Unusable, match=f"{name} takes a case, .* not str$"):
            offered[name]("data/demo", *given)


def test_findings_name_their_frames_and_how_long_they_are(case):
    found = analysis.find_ttl(case)
    frames = [field.name for field in fields(found) if isinstance(getattr(found, field.name), pd.DataFrame)]
    assert "quantiles" in frames
    for name in frames:
        assert f".{name}" in repr(found) and f".{name}" in found._repr_html_()


@pytest.mark.parametrize("given", [None, 5, b"data/demo", ["data/demo"]])
def test_a_case_is_named_by_a_path_and_by_nothing_else(given):
    with pytest.raises(Unusable, match="a case is named by the path of a folder or a file"):
        analysis.open_case(given)


@pytest.mark.parametrize("name", FRAMES)
def test_every_column_is_described_with_its_unit(name):
    described = analysis.describe(name)
    rows = described.html.split("<tr>")[2:]
    assert ROWS[name] in described.text and len(rows) == len(FRAMES[name])
    for column, row in zip(FRAMES[name], rows, strict=True):
        cells = re.findall(r"<bdi>(.*?)</bdi>", row)
        assert cells[0] == column.name and cells[1] == column.kind and cells[2] == column.unit
        assert column.kind in ("time", "text", "word", "whole number", "number", "yes or no", "list", "list of texts")


def test_a_frame_is_described_with_how_much_of_it_is_known(case):
    text = analysis.describe(case.keys).text
    assert "Known, of 7 rows" in text
    assert re.search(r"^expires_at +time .* 4$", text, re.MULTILINE)
    assert re.search(r"^bytes +whole number +bytes .* 7$", text, re.MULTILINE)


def test_some_columns_or_more_are_enough_where_they_are_one_frames_alone(case):
    assert "In keys, " in analysis.describe(case.keys[["encoding", "bytes"]].head(2)).text
    assert "In tasks, " in analysis.describe(case.tasks.assign(mine=1)).text


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (pd.DataFrame(columns=["task_id", "status"]), "these columns are in tasks, jobs"),
        (pd.DataFrame({"mine": [1]}), "no frame of the kit"),
        (pd.DataFrame(), "no frame of the kit"),
        ("nothing", "there is no frame 'nothing'; there are keys, tasks"),
        (5, "give a frame of a case, or its name, not int"),
    ],
)
def test_what_is_no_frame_of_the_kit_is_refused_in_one_line(given, reason):
    with pytest.raises(Unusable, match=reason):
        analysis.describe(given)


def test_the_look_of_a_notebook_is_not_carried_into_the_page():
    part = sentence("a < b")
    assert on_page(part._repr_html_()) == part.html
    assert on_page(in_notebook("<p>x</p>")) == "<p>x</p>"
    assert on_page("<p>x</p>\n</div>") == "<p>x</p>\n</div>"
    of_an_earlier_kit = re.sub(
        r"(?s)(<style class=.kit.>).*(</style>)", r"\1.kit { color: red }\2", in_notebook("<p>x</p>")
    )
    assert "red" in of_an_earlier_kit and on_page(of_an_earlier_kit) == "<p>x</p>"


def test_a_part_within_a_part_is_markup_once():
    assert Html("<p>x</p>").__html__() == "<p>x</p>"
