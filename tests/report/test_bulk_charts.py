"""Charts and tables of bulk removal: shares, not counts; hours without a witness are hatched; empty is a sentence."""

from __future__ import annotations

from base64 import b64decode
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.findings.told import STRENGTHS, WITNESSES, Pattern, patterns_frame
from analysis.report import bulk_page
from analysis.report.charts import plot_finished_tasks, plot_keys_by_hour, plot_removals, plot_shares, show
from analysis.report.figure import KEPT, LARGEST_PICTURE, LOST, ShownAxes, picture
from tests.findings.cases import START, at
from tests.findings.streams import HOUR, found_in, key_of, took, wrote

NEW_YORK = ZoneInfo("America/New_York")
CHARTS = {
    plot_shares: ["witness", "server", "family", "since", "until", "gone", "of", "share"],
    plot_removals: ["server", "hour", "family", "by", "keys"],
    plot_finished_tasks: ["hour", "present", "missing", "due"],
    plot_keys_by_hour: ["hour", "family", "keys"],
}


def seen(kind: str, since: float, until: float) -> pd.DataFrame:
    row = {"source": "it.log", "kind": kind, "server": "", "since": at(since), "until": at(until)}
    return pd.DataFrame([row])


def hours(gone: list[int], of: list[int], family: str = "result", witness: str = "commands") -> pd.DataFrame:
    rows = [
        {"witness": witness, "server": "", "family": family, "since": at(i * HOUR), "until": at((i + 1) * HOUR),
         "gone": some, "of": all_, "share": some / all_ if all_ else np.nan}
        for i, (some, all_) in enumerate(zip(gone, of, strict=True))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def boxes(ax: Axes) -> list[Rectangle]:
    return [
        patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_fill() and not patch.get_hatch()
    ]


def words(ax: Axes) -> str:
    return " | ".join(text.get_text() for text in ax.texts)


@pytest.mark.parametrize(("plot", "columns"), CHARTS.items())
def test_without_numbers_there_is_a_sentence_and_no_chart(plot, columns):
    ax = plot(pd.DataFrame({name: [] for name in columns}))
    assert isinstance(ax, ShownAxes) and ax.sentence.endswith(".") and not ax.patches


def test_the_heat_map_shows_shares_and_the_largest_is_said_with_its_numbers():
    ax = plot_shares(hours([0, 5, 200], [10, 1000, 200]), zone=NEW_YORK)
    none, few, all_ = (to_hex(box.get_facecolor()) for box in boxes(ax))
    assert none == "#ffffff" and all_ == LOST and few not in (none, all_)
    assert "most: all, 200 of 200, from 14:00, 1 March" in words(ax) and "New York, 2026" in words(ax)
    assert "200 of 200" in str(ax.get_label())


def test_a_time_of_which_no_witness_speaks_is_hatched_and_not_white():
    rows = hours([0, 0, 1], [10, 0, 10])
    ax = plot_shares(rows)
    hatched = [patch for patch in ax.patches if patch.get_hatch() and isinstance(patch, Rectangle)]
    # Before and behind what is told, and the hour of which nothing is.
    spans = sorted((patch.get_x(), patch.get_width()) for patch in hatched)
    begin = boxes(ax)[0].get_x()
    assert (begin + HOUR, HOUR) in spans and len(spans) == 3
    assert len(boxes(ax)) == 2


def test_removals_before_due_are_filled_and_those_at_expiry_a_line():
    rows = [{"server": "", "hour": START, "family": "result", "by": by, "keys": number}
            for by, number in (("client", 30), ("eviction", 10), ("expiry", 7), ("unsure", 99))]  # fmt: skip
    ax = plot_removals(pd.DataFrame(rows), seen=seen("append-only file", 0, 2 * HOUR))
    assert "most: 40 before due at 12:00, 1 March; 7 at expiry" in words(ax)
    assert "40 before they were due, 7 at their expiry" in str(ax.get_label())
    filled = [patch for patch in ax.patches if to_hex(patch.get_facecolor()) == LOST]
    assert len(filled) == 1
    assert any(patch.get_hatch() for patch in ax.patches), "hours outside the witness are hatched"
    assert "it.log" in words(ax)


def test_finished_tasks_stand_up_with_a_result_and_hang_without_one():
    rows = pd.DataFrame({"hour": [at(i * HOUR) for i in range(20)], "present": 5, "missing": 0, "due": 0})
    rows.loc[3, ["present", "missing"]] = 0, 7
    rows.loc[0, "due"] = 4
    ax = plot_finished_tasks(rows, until=at(20 * HOUR), undue_from=at(HOUR), seen=seen("worker log", 0, 20 * HOUR))
    assert {to_hex(patch.get_facecolor()) for patch in ax.patches} >= {KEPT, LOST}
    assert "every result is due before" in words(ax)
    assert "95 with a result in the last snapshot, 7 without one, 4 whose result was due" in str(ax.get_label())
    line = next(line for line in ax.lines if line.get_linestyle() == "--")
    assert list(np.asarray(line.get_xdata())) == [HOUR, HOUR]


def test_a_year_of_hours_and_hostile_names_are_a_small_picture():
    rng = np.random.default_rng(1)
    parts = [hours(list(rng.integers(0, 50, 8760)), [100] * 8760, f"<b>{number}\u202e$x^2$") for number in range(12)]
    ax = plot_shares(pd.concat(parts))
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    kind, data = picture(figure)
    size = len(b64decode(data)) if kind == "image/png" else len(data)
    assert size < LARGEST_PICTURE
    assert "\u202e" not in words(ax)


def test_the_axes_of_others_are_drawn_on():
    own = Figure().add_subplot()
    assert plot_shares(hours([1], [2]), ax=own) is own
    assert not isinstance(own, ShownAxes) and show(own)


def test_every_pattern_is_told_with_its_figures_and_all_is_not_rounded():
    rows = [wrote(i, key_of(i)) for i in range(60)] + [took(9 * HOUR, *(key_of(i * 7 % 60) for i in range(60)))]
    found = found_in(rows)
    text = bulk_page.patterns(found).text
    assert "Prefix delete (removed before due), by commands: DEL removed 60 results of DB 2" in text
    assert "all" in text and "99.9" not in text
    shares, removers = bulk_page.shares(found), bulk_page.removers(found)
    assert shares and removers and "60" in shares.text and "client" in removers.text
    quiet = found_in([wrote(i, key_of(i)) for i in range(60)])
    assert "Nothing stands out, by commands" in bulk_page.patterns(quiet).text
    assert "no figures" in bulk_page.patterns(quiet).text
    nothing = found_in([])
    assert "No evidence tells of removals" in bulk_page.patterns(nothing).text
    # The chart has said why there is none.
    assert [bulk_page.shares(nothing), bulk_page.removers(nothing), bulk_page.finished(nothing)] == [None] * 3


def test_rows_of_patterns_are_in_their_order_and_dtypes_also_when_there_are_none():
    some = [
        Pattern("nothing", "logs", "n"),
        Pattern("stampede", "commands", "s", gone=900),
        Pattern("gap", "logs", "g", gone=9, of=18, strength="likely", removal=True),
        Pattern("flush", "commands", "f", gone=5, removal=True),
    ]
    table = patterns_frame(some)
    assert list(table["pattern"]) == ["flush", "gap", "stampede", "nothing"]
    assert table.loc[1, "share"] == 0.5 and pd.isna(table.loc[0, "share"])
    empty = patterns_frame(())
    assert list(empty.dtypes) == list(table.dtypes) and len(empty) == 0
    assert set(WITNESSES) == {"commands", "snapshots", "logs", "one snapshot"} and list(STRENGTHS)[0] == "shown"
