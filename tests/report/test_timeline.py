"""The timeline chart: what became of each record is drawn as it is known, and every label can be read."""

from __future__ import annotations

from itertools import combinations
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from analysis.findings.verdict import Record
from analysis.frames import frame
from analysis.report.charts import plot_keys_by_hour, plot_remaining_ttl, plot_timeline
from analysis.report.figure import ShownAxes
from analysis.report.time_axis import tick_labels, tick_times
from analysis.report.timeline_plan import Lane, plan_timeline

NEW_YORK = ZoneInfo("America/New_York")
AS_OF = pd.Timestamp("2025-07-24T02:38:38Z")
PRESENT = {"result": Record("present", "present", 1.0)}
ABSENT = {"result": Record("absent", "evicted", 0.9)}


def _rows(*rows: str) -> pd.DataFrame:
    """Rows written as ``2025-07-24T00:30:23 task received [certainty]``."""
    split = [row.split() for row in rows]
    return frame(
        "timeline",
        [
            {"at": pd.Timestamp(at, tz="UTC"), "not_after": pd.Timestamp(at, tz="UTC"), "lane": lane, "kind": kind,
             "says": kind, "source": "a.log:1", "certainty": (rest or ["shown"])[0]}
            for at, lane, kind, *rest in split
        ],
    )  # fmt: skip


LIFE = (
    "2025-07-23T23:26:08 server server_started derived",
    "2025-07-24T00:30:23 task received",
    "2025-07-24T00:34:55 task succeeded",
    "2025-07-24T00:34:55 result stored",
    "2025-07-24T02:05:00 job purged inferred",
    "2025-07-24T02:30:00 case noticed stated",
    "2025-07-24T02:38:38 case snapshot",
    "2025-07-24T02:38:38 case info",
    "2025-07-25T00:34:55 result expires",
)


def _lane(rows: pd.DataFrame, title: str, records: dict[str, Record] | None = None) -> Lane:
    plan = plan_timeline(rows, AS_OF, records)
    assert plan is not None
    return next(lane for lane in plan.lanes if lane.title == title)


def test_a_record_that_stood_is_drawn_to_the_end_and_says_when_it_expires() -> None:
    [bar] = _lane(_rows(*LIFE), "Result", PRESENT).bars
    assert (bar.tone, bar.end, bar.inferred) == ("kept", AS_OF, False)
    assert bar.label == "stored 00:34:55, expires 25 July 2025, 00:34"


def test_a_record_that_is_gone_nobody_knows_when_is_dashed_and_says_so() -> None:
    [bar] = _lane(_rows(*LIFE), "Result", ABSENT).bars
    assert (bar.tone, bar.end, bar.inferred) == ("lost", AS_OF, True)
    assert "gone by 02:38:38; when is not recorded" in bar.label


@pytest.mark.parametrize(("kind", "dashed"), [("flushed", False), ("evicted", False), ("gone", True)])
def test_a_record_ends_where_its_end_is_known(kind: str, dashed: bool) -> None:
    [bar] = _lane(_rows(*LIFE, f"2025-07-24T01:00:00 result {kind}"), "Result", ABSENT).bars
    assert bar.end == pd.Timestamp("2025-07-24T01:00:00Z")
    assert (bar.tone, bar.inferred) == ("lost", dashed)


def test_an_inferred_end_is_dashed_and_named_so_in_words() -> None:
    [bar] = _lane(_rows(*LIFE), "Job record", {"job": Record("absent", "purged_by_cleanup", 0.94)}).bars
    assert bar.inferred and bar.label == "purged 02:05:00, inferred"
    plan = plan_timeline(_rows(*LIFE), AS_OF, ABSENT)
    assert plan is not None and "purged 02:05:00, inferred (inferred)" in plan.in_words()


def test_every_run_of_a_restarted_server_is_a_bar_of_its_own() -> None:
    lane = _lane(_rows(*LIFE, "2025-07-24T01:00:00 server server_started"), "Redis server")
    first, second = lane.bars
    assert first.end == second.begin == pd.Timestamp("2025-07-24T01:00:00Z")
    assert second.label == "restarted 01:00:00"


def test_a_stopped_server_has_a_gap() -> None:
    stop, start = "2025-07-24T01:00:00 server server_stopped", "2025-07-24T01:30:00 server server_started"
    first, second = _lane(_rows(*LIFE, stop, start), "Redis server").bars
    assert first.end < second.begin


def test_a_server_up_for_months_does_not_squeeze_the_task_into_a_dot() -> None:
    rows = _rows("2025-03-01T00:00:00 server server_started", *LIFE[1:])
    plan = plan_timeline(rows, AS_OF)
    assert plan is not None and AS_OF - plan.begin < pd.Timedelta(hours=5)
    [bar] = _lane(rows, "Redis server").bars
    assert bar.cut and bar.label == "started 1 March 2025, 00:00"


def test_a_task_without_an_end_says_so() -> None:
    [bar] = _lane(_rows("2025-07-24T00:30:23 task received"), "Task").bars
    assert bar.inferred and bar.end == AS_OF and "its end is not recorded" in bar.label


def test_a_result_that_nothing_dates_gets_a_note_and_no_bar() -> None:
    lane = _lane(_rows("2025-07-24T00:30:23 task received"), "Result", ABSENT)
    assert not lane.bars and lane.note == "no trace of it with a time"


def test_a_result_of_a_task_that_waits_is_not_drawn_as_there() -> None:
    waiting = {name: Record("in_flight", "queued", 1.0) for name in ("result", "message")}
    rows = _rows("2025-07-23T23:26:08 server server_started derived")
    result, message = _lane(rows, "Result", waiting), _lane(rows, "Message", waiting)
    assert not result.bars and result.note.startswith("not there yet")
    assert message.note.startswith("there; since when")


def test_what_happened_in_the_second_of_as_of_is_shown() -> None:
    lane = _lane(_rows(*LIFE, "2025-07-24T02:38:38.591 server saved_by_server"), "Redis server")
    assert [mark.label for mark in lane.marks] == ["saved 02:38:38"]


def test_a_kind_that_came_often_is_labelled_once() -> None:
    often = [f"2025-07-24T00:3{n}:00 task retried" for n in range(1, 5)]
    labels = [mark.label for mark in _lane(_rows(*LIFE, *often), "Task").marks if mark.label]
    assert labels == ["retried 00:34:00 (the last of 4)"]


def test_over_several_days_every_time_has_its_date() -> None:
    plan = plan_timeline(_rows(*LIFE), pd.Timestamp("2025-07-30T00:00:00Z"), PRESENT)
    assert plan is not None
    task = next(lane for lane in plan.lanes if lane.title == "Task")
    assert "24 July, 00:30:23" in task.bars[0].label


def _boxes(ax: ShownAxes) -> list[tuple[str, float, float, float, float]]:
    figure = ax.figure
    figure.canvas.draw()
    texts = [text for text in ax.texts if text.get_text()]
    return [(text.get_text(), *text.get_window_extent().extents) for text in texts]


DENSE = [f"2025-07-24T00:3{n % 5}:{10 + n:02d} task step_{n}" for n in range(24)]
EVIDENCE = [f"2025-07-24T02:{10 + n}:00 case witness_{n}" for n in range(12)]
LONG = "2025-07-24T00:31:00 task " + "w" * 5_000


@pytest.mark.parametrize("more", [[], DENSE, EVIDENCE, [LONG], [*DENSE, *EVIDENCE, LONG]], ids=len)
@pytest.mark.parametrize("records", [PRESENT, ABSENT])
def test_no_label_covers_another_or_leaves_the_picture(more: list[str], records: dict[str, Record]) -> None:
    ax = plot_timeline(_rows(*LIFE, *more), zone=NEW_YORK, as_of=AS_OF, records=records)
    assert isinstance(ax, ShownAxes)
    boxes = _boxes(ax)
    width, height = ax.figure.bbox.size
    for text, left, bottom, right, top in boxes:
        assert left >= -1 and bottom >= -1 and right <= width + 1 and top <= height + 1, text
    for (one, *a), (other, *b) in combinations(boxes, 2):
        apart = a[2] <= b[0] + 1 or b[2] <= a[0] + 1 or a[3] <= b[1] + 1 or b[3] <= a[1] + 1
        assert apart, f"{one!r} covers {other!r}"


@pytest.mark.parametrize("families", [1, 3, 30])
@pytest.mark.parametrize("hours", [1, 30, 5_000])
def test_charts_of_many_keys_keep_their_labels_apart(families: int, hours: int) -> None:
    names = [f"family-{'x' * n}" for n in range(families)]
    at = pd.date_range("2025-01-01", periods=hours, freq="h", tz="UTC")
    stored = pd.concat([pd.DataFrame({"hour": at, "family": name, "keys": range(1, hours + 1)}) for name in names])
    names_of_bins = ["past expiry", "under 1 min", "under 1 year", "no TTL", "another bin with a long name"]
    bins = pd.concat([pd.DataFrame({"family": n, "bin": names_of_bins, "keys": 1_234_567}) for n in names])
    for ax in (plot_keys_by_hour(stored, zone=NEW_YORK), plot_remaining_ttl(bins)):
        assert isinstance(ax, ShownAxes)
        for (one, *a), (other, *b) in combinations(_boxes(ax), 2):
            apart = a[2] <= b[0] + 1 or b[2] <= a[0] + 1 or a[3] <= b[1] + 1 or b[3] <= a[1] + 1
            assert apart, f"{one!r} covers {other!r}"
        assert len(str(ax._repr_mimebundle_()[0])) < 250_000


def test_the_same_timeline_is_the_same_picture() -> None:
    first, second = (plot_timeline(_rows(*LIFE), zone=NEW_YORK, as_of=AS_OF)._repr_mimebundle_() for _ in range(2))  # type: ignore[attr-defined]
    assert first == second


def test_ticks_are_round_and_carry_their_date_where_it_changes() -> None:
    times = tick_times(pd.Timestamp("2025-07-23T23:26:08Z"), AS_OF)
    assert [f"{time:%H:%M}" for time in times] == ["00:00", "01:00", "02:00"]
    assert tick_labels(times) == ["24 July, 00:00", "01:00", "02:00"]
    assert tick_labels(times, NEW_YORK) == ["23 July, 20:00", "21:00", "22:00"]


@pytest.mark.parametrize("seconds", [1, 10, 61, 3_600, 86_400, 30 * 86_400, 20 * 365 * 86_400])
def test_there_are_ticks_on_every_scale(seconds: int) -> None:
    begin = pd.Timestamp("2025-07-23T23:26:08.5Z")
    times = tick_times(begin, begin + pd.Timedelta(seconds=seconds))
    assert 1 <= len(times) <= 6
    assert all(begin <= time <= begin + pd.Timedelta(seconds=seconds) for time in times)


def test_the_alternative_text_tells_what_is_drawn() -> None:
    alt = str(plot_timeline(_rows(*LIFE), zone=NEW_YORK, as_of=AS_OF, records=PRESENT).get_label())
    for words in ("23 July 2025", "Redis server: started 23:26:08", "expires 25 July 2025", "Job record: purged"):
        assert words in alt
