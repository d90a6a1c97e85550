"""Who testifies and when: moments, intervals, and the times of which none speaks."""

from __future__ import annotations

import pandas as pd

from analysis.findings.witnesses import unwitnessed, witnesses
from analysis.frames import frame


def at(hour: float) -> pd.Timestamp:
    return pd.Timestamp("2026-11-23T00:00:00Z") + pd.Timedelta(hours=hour)


def evidence() -> pd.DataFrame:
    rows = [
        {"path": "b.log", "kind": "worker log", "from": at(5), "to": at(9)},
        {"path": "a.log", "kind": "worker log", "from": at(1), "to": at(3)},
        {"path": "dump.rdb", "kind": "snapshot", "from": at(8), "to": at(8)},
        {"path": "clients.txt", "kind": "clients"},
    ]
    return frame("evidence", rows)


def test_what_carries_no_time_is_no_witness_and_the_rest_stands_in_order_of_time():
    assert list(witnesses(evidence())["source"]) == ["a.log", "b.log", "dump.rdb"]
    assert list(witnesses(evidence(), ["snapshot"])["since"]) == [at(8)]


def test_hours_without_a_witness_are_those_between_before_and_behind_its_intervals():
    seen = witnesses(evidence(), ["worker log"])
    gaps = unwitnessed(seen, at(0), at(12))
    assert list(gaps.itertuples(index=False, name=None)) == [(at(0), at(1)), (at(3), at(5)), (at(9), at(12))]
    assert list(unwitnessed(seen, at(2), at(7)).itertuples(index=False, name=None)) == [(at(3), at(5))]


def test_overlapping_witnesses_leave_no_gap_and_no_witness_leaves_all():
    two = pd.DataFrame({"since": [at(1), at(2)], "until": [at(6), at(3)]})
    assert not len(unwitnessed(two, at(1), at(6)))
    assert list(unwitnessed(witnesses(evidence(), ["info"]), at(1), at(2))["until"]) == [at(2)]
