"""The overview's charts and tables: what nobody saw is hatched or a dash, never zero, and no label covers another."""

from __future__ import annotations

from itertools import combinations
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from analysis.findings.overview import OverviewFindings
from analysis.findings.overview.hours import ENDED, FAILED, HELD, KEPT
from analysis.report import overview_page
from analysis.report.figure import ShownAxes
from analysis.report.html import MISSING
from analysis.report.overview_charts import MOST_FAMILIES, plot_families, plot_results_by_hour
from tests.findings.cases import at, event, info, message, result, snapshot
from tests.findings.overviews import found, key

ZONE = ZoneInfo("America/New_York")
HOSTILE = ["$\\foo$", "<script>alert(1)</script>", "\u202egnp.exe", "nul\x00", "w" * 5_000, "שלום"]


def _apart(ax: object) -> ShownAxes:
    assert isinstance(ax, ShownAxes)
    ax.figure.canvas.draw()
    width, height = ax.figure.bbox.size
    boxes = [(text.get_text(), *text.get_window_extent().extents) for text in ax.texts if text.get_text()]
    for text, left, bottom, right, top in boxes:
        assert left >= -1 and bottom >= -1 and right <= width + 1 and top <= height + 1, text
    for (one, *a), (other, *b) in combinations(boxes, 2):
        apart = a[2] <= b[0] + 1 or b[2] <= a[0] + 1 or a[3] <= b[1] + 1 or b[3] <= a[1] + 1
        assert apart, f"{one!r} covers {other!r}"
    return ax


def _looked(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    table = pd.DataFrame(
        [(what, name, "snapshot", at(since), at(until)) for what, name, since, until in rows],
        columns=["what", "source", "kind", "since", "until"],
    )
    return table.astype({"since": "datetime64[us, UTC]", "until": "datetime64[us, UTC]"})


def _hours(count: int, *rows: str) -> pd.DataFrame:
    at_hours = pd.date_range("2026-03-01T12:00", periods=count, freq="h", tz="UTC")
    return pd.concat([pd.DataFrame({"hour": at_hours, "what": what, "tasks": range(1, count + 1)}) for what in rows])


def _hatched(ax: object) -> dict[int, list[tuple[float, float]]]:
    """By row, from and to which hour each hatched part reaches."""
    assert isinstance(ax, ShownAxes)
    found: dict[int, list[tuple[float, float]]] = {}
    for patch in ax.patches:
        if isinstance(patch, Rectangle) and patch.get_hatch():
            row = int(patch.get_y() // 52)
            found.setdefault(row, []).append((patch.get_x() / 3600, (patch.get_x() + patch.get_width()) / 3600))
    return found


@pytest.mark.parametrize("count", [1, 30, 5_000])
@pytest.mark.parametrize("name", ["d.rdb", "servers/<b>/" + "w" * 300])
def test_results_by_hour_keep_their_labels_apart_however_long_they_reach(count, name):
    looked = _looked((HELD, name, -86_400, count * 3600), (ENDED, "logs/worker.log", 0, count * 1800))
    ax = _apart(plot_results_by_hour(_hours(count, HELD, FAILED, ENDED), looked, zone=ZONE))
    alt = str(ax.get_label())
    assert f"{HELD}: " in alt and f"{FAILED}: " in alt and f"most: {count:,}" in alt or count > 240
    assert len(str(ax._repr_mimebundle_()[0])) < 300_000


def test_hours_of_which_no_source_of_a_row_can_tell_are_hatched_in_that_row():
    hours = _hours(24, HELD)
    ax = plot_results_by_hour(hours, _looked((HELD, "d.rdb", 6 * 3600, 20 * 3600)))
    assert _hatched(ax) == {0: [(0, 6), (20, 24)]}
    both = _looked((HELD, "d.rdb", 6 * 3600, 20 * 3600), (ENDED, "w.log", 0, 24 * 3600))
    assert _hatched(plot_results_by_hour(hours, both)) == {0: [(0, 6), (20, 24)]}
    failed = plot_results_by_hour(_hours(24, HELD, FAILED), _looked((HELD, "d.rdb", 0, 12 * 3600)))
    assert _hatched(failed) == {0: [(12, 24)], 1: [(12, 24)]}


def test_families_beyond_the_largest_are_drawn_as_one_and_their_sum_is_told():
    keys = [key("d.rdb", f"{family}{n}", family=f"family-{family}") for family in range(12) for n in range(12 - family)]
    ax = _apart(plot_families(found(evidence=[snapshot("d.rdb", 0)], keys=keys).families))
    assert f"{12 - MOST_FAMILIES + 1} other families: {sum(range(1, 6))} keys, 150 bytes" in str(ax.get_label())


def test_hostile_names_stay_names():
    families = pd.DataFrame({"family": HOSTILE, "keys": 1, "bytes": 1})
    looked = _looked(*((HELD, name, 0, 3600) for name in HOSTILE))
    for ax in (plot_families(families), plot_results_by_hour(_hours(3, HELD), looked, zone=ZONE)):
        data, _ = _apart(ax)._repr_mimebundle_()
        assert all("<script" not in str(part) for kind, part in data.items() if kind != "text/plain")


def test_where_there_is_nothing_to_draw_there_is_a_sentence():
    nothing = found()
    for ax in (plot_families(nothing.families), plot_results_by_hour(nothing.hours, nothing.looked)):
        assert isinstance(ax, ShownAxes) and ax.sentence
        assert "text/html" in ax._repr_mimebundle_()[0]


def _parts(over: OverviewFindings) -> dict[str, str]:
    names = ("remarks", "queues", "unacked", "states", "names", "hours", "families", "databases", "largest", "growth",
             "servers", "clients")  # fmt: skip
    return {name: getattr(overview_page, name)(over).text for name in names}


def test_an_hour_that_nobody_saw_is_a_dash_and_one_without_results_a_zero():
    log = {"server": "", "path": "w.log", "kind": "worker log", "from": at(0), "to": at(7000)}
    tasks = [result("d.rdb", task_id=str(n), stored=n * 3600) for n in range(5)]
    over = found(evidence=[snapshot("d.rdb", 20_000), log], tasks=tasks, events=[event("succeeded", 60)])
    rows = [line.split("  ") for line in _parts(over)["hours"].splitlines() if line.startswith("2026-03-01")]
    told = {row[0][11:13]: [part.strip() for part in row[1:] if part.strip()] for row in rows}
    assert told["12"] == ["1", "0", "1"] and told["13"] == ["1", "0", "0"] and told["14"] == ["1", "0", MISSING]
    assert KEPT.capitalize() not in _parts(over)["hours"]


def test_an_empty_case_has_a_sentence_in_every_part():
    for name, text in _parts(found()).items():
        assert text and ("no " in text.lower() or "not" in text.lower() or "nothing" in text.lower()), name


def test_a_case_that_tells_only_of_the_keys_claims_nothing_of_the_server():
    over = found(evidence=[snapshot("d.rdb", 0)], keys=[key("d.rdb", "x", family="binding")])
    assert "Memory, disk and evictions are not known" in _parts(over)["remarks"]
    assert "how the servers were is not known" in _parts(over)["servers"]


def test_servers_stand_side_by_side_with_their_sums_and_what_is_not_told_is_a_dash():
    names = [f"shard-{number}" for number in range(5)]
    shots = [snapshot(f"{name}.rdb", 0, server=name) for name in names]
    keys = [key(f"{name}.rdb", str(n), server=name) for number, name in enumerate(names) for n in range(number + 1)]
    answers = [info(60, uptime=1e6, server=name, used_memory=1_000_000) for name in names[:4]]
    text = _parts(found(evidence=shots, keys=keys, infos=answers))["servers"]
    [sums] = [line.split() for line in text.splitlines() if line.startswith("all ")]
    assert sums[2:4] == ["15", "15"] and "4" in sums and "MB" in sums
    assert "the sum is without it" in text
    assert text.count("Memory used") == 2


def test_the_oldest_messages_are_listed_and_the_rest_counted():
    waits = [message("d.rdb", task_id=f"task-{n}", state="unacked", reserved_at=at(n)) for n in range(25)]
    text = _parts(found(evidence=[snapshot("d.rdb", 100)], messages=waits))["unacked"]
    assert "task-9" in text and "task-10" not in text and "15 more are not listed." in text
