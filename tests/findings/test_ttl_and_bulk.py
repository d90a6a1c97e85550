"""TTLs and what went between snapshots: figures checked by hand, and sentences that claim no more than they show."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis.celery.jobs import JobsSettings
from analysis.findings.bulk import bulk_findings, gone_between, looks
from analysis.findings.ttl import NONE, PAST, remaining_bins, retention, ttl_findings
from analysis.frames import frame
from analysis.settings import Settings
from tests.findings.cases import at, result, snapshot


def key(shot: str, name: str, *, expires: float | None = 100, family: str = "result", db: int = 2) -> dict[str, Any]:
    moment = None if expires is None else at(expires)
    return {"server": "", "snapshot": shot, "db": db, "key": name, "family": family, "expires_at": moment, "bytes": 10}


def shots(*rows: dict[str, Any]) -> pd.DataFrame:
    return looks(frame("evidence", rows))


def test_bins_count_past_expiry_and_no_ttl_apart():
    keys = frame(
        "keys",
        [
            key("a.rdb", "past", expires=-5),
            key("a.rdb", "minute", expires=59),
            key("a.rdb", "hour", expires=3599),
            key("a.rdb", "years", expires=1e9),
            key("a.rdb", "never", expires=None),
        ],
    )
    counted = remaining_bins(keys, {"a.rdb": at(0)}).set_index("bin")["keys"].to_dict()
    assert counted == {PAST: 1, "under 1 min": 1, "under 1 h": 1, "1 year or more": 1, NONE: 1}


def test_a_snapshot_without_a_time_has_no_remaining_ttl():
    counted = remaining_bins(frame("keys", [key("a.rdb", "x")]), {"a.rdb": pd.NaT}).set_index("bin")["keys"].to_dict()
    assert counted == {"snapshot without a time": 1}


@pytest.mark.parametrize(
    ("lives", "stated", "seconds", "certainty"),
    [
        ([3600, 3600, 3600.4], None, 3600, "observed"),
        ([3600, 3600, 60], 86400, 86400, "stated"),
        ([1, 100, 10_000, 77_777], None, 86400, "assumed"),
        ([], None, 86400, "assumed"),
        ([None, None], None, 0, "observed"),
        ([3600, 3600], 0, 0, "stated"),
    ],
)
def test_retention_is_stated_else_observed_else_assumed(lives, stated, seconds, certainty):
    tasks = frame("tasks", [result("a.rdb", task_id=str(i), expires=life) for i, life in enumerate(lives)])
    kept = retention(tasks, stated)
    assert (kept.seconds, kept.certainty) == (seconds, certainty)


def test_an_expiry_never_measures_the_retention_it_was_used_to_derive():
    derived = {"stored_at": at(0), "stored_from": "expiry", "date_done": None}
    tasks = frame("tasks", [result("a.rdb", expires=3600, **derived)])
    assert retention(tasks, None).certainty == "assumed"


def test_the_ttl_report_compares_what_is_stated_with_what_is_observed():
    tasks = frame("tasks", [result("a.rdb", task_id=str(i), expires=life) for i, life in enumerate([3600, 3600, 60])])
    keys = frame("keys", [key("a.rdb", "k", expires=None), key("a.rdb", "j", expires=100)])
    found = ttl_findings(keys, tasks, frame("jobs"), shots(snapshot("a.rdb", 0)), Settings(result_expires=3600))
    assert "1 result lives otherwise: 60 s" in found.retention["says"].iloc[0]
    assert list(found.endless["key"]) == ["k"]
    assert found.headline.startswith("Of 2 keys held, 1 has a TTL and 1 has none")
    assert "1 result has no TTL" in found.headline


def test_job_records_stand_in_the_retention_table_when_they_are_stated():
    stated = Settings(jobs=JobsSettings("job:{id}", None, 0))
    found = ttl_findings(frame("keys"), frame("tasks"), frame("jobs"), shots(), stated)
    row = found.retention.set_index("what").loc["job records"]
    assert (row["stated"], row["observed"]) == ("kept until removed", "no record left to observe")


def test_one_snapshot_cannot_show_a_bulk_removal_and_says_so():
    keys = frame("keys", [key("a.rdb", "x")])
    found = bulk_findings(keys, frame("tasks"), shots(snapshot("a.rdb", 0)), frame("changes"))
    assert found.pairs == 0
    assert "neither shown nor ruled out" in found.headline


def test_nothing_at_all_shows_nothing_and_rules_nothing_out():
    found = bulk_findings(frame("keys"), frame("tasks"), shots(), frame("changes"), commands=frame("commands"))
    assert "neither shown nor ruled out" in found.headline
    assert (found.pairs, found.scopes, len(found.gone)) == (0, (), 0)


def gone(name: str, number: int, *, expires: float | None, **more: Any) -> dict[str, Any]:
    row = {"server": "", "before": "a.rdb", "after": "b.rdb", "db": 2, "key": name, "family": "result"}
    due = expires is not None and expires <= 100
    moment = None if expires is None else at(expires)
    return {**row, "change": "gone", "due": due, "expires_before": moment, "offset_before": number, **more}


def test_what_went_between_two_snapshots_is_told_apart_by_its_expiry():
    held = [("due", 50.0, 2), ("early", 5000.0, 2), ("stays", 5000.0, 2), ("endless", None, 0)]
    keys = frame(
        "keys",
        [
            *(key("a.rdb", name, expires=until, db=db) | {"offset": i} for i, (name, until, db) in enumerate(held)),
            key("b.rdb", "stays") | {"offset": 0},
        ],
    )
    changes = frame(
        "changes",
        [
            gone("due", 0, expires=50),
            gone("early", 1, expires=5000),
            gone("endless", 3, expires=None, family="job", db=0),
            gone("new", 9, expires=None, change="appeared", offset_before=None),
            gone("stays", 2, expires=None, change="ttl"),
        ],
    )
    pair = shots(snapshot("b.rdb", 100), snapshot("a.rdb", 0))
    told = gone_between(changes, pair).set_index("key")["due"].to_dict()
    assert told == {"due": True, "early": False, "endless": False}
    found = bulk_findings(keys, frame("tasks"), pair, changes)
    assert "3 keys disappeared, 2 of them before their expiry or without one" in found.headline
    assert "is not shown" in found.headline
    assert found.gone["early"].sum() == 2


def test_what_was_due_in_the_second_of_the_later_snapshot_may_have_been_due():
    changes = frame("changes", [gone("x", 0, expires=100.9, due=False), gone("y", 1, expires=101)])
    told = gone_between(changes, shots(snapshot("a.rdb", 0), snapshot("b.rdb", 100)))
    assert told.set_index("key")["due"].to_dict() == {"x": True, "y": False}
