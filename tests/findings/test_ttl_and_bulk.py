"""What went between snapshots: figures checked by hand, and sentences that claim no more than they show."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.findings.bulk import bulk_findings, gone_between, looks
from analysis.frames import frame
from tests.findings.cases import at, snapshot


def key(shot: str, name: str, *, expires: float | None = 100, family: str = "result", db: int = 2) -> dict[str, Any]:
    moment = None if expires is None else at(expires)
    return {"server": "", "snapshot": shot, "db": db, "key": name, "family": family, "expires_at": moment, "bytes": 10}


def shots(*rows: dict[str, Any]) -> pd.DataFrame:
    return looks(frame("evidence", rows))


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
