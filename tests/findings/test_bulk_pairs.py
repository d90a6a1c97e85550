"""Two snapshots of one server, tasks in the logs, and one snapshot: what stands out, and what is usual turnover."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from analysis.findings.bulk import BulkFindings, bulk_findings, looks
from analysis.findings.scope.extents import EXTENTS, ORDERS, Scope
from analysis.findings.scope.naming import PATTERNS, REMOVALS, pattern_of
from analysis.frames import frame
from tests.findings.cases import at, snapshot
from tests.findings.streams import DAY, HOUR, key_of, told

Row = dict[str, Any]


def kept(number: int, age: float, *, family: str = "result", lives: float | None = DAY, **more: Any) -> Row:
    """A key that was stored ``age`` seconds before the first snapshot, which is taken at 0."""
    stem, db = {"result": ("celery-task-meta-", 2), "job": ("job:", 0)}.get(family, ("cache:", 3))
    expires = None if lives is None else at(lives - age)
    row = {"key": key_of(number, stem), "db": db, "family": family, "task_id": str(number), "expires_at": expires}
    return {**row, "at": at(-age), "gone": False, **more}


def pair(rows: Iterable[Row], until: float = HOUR, *, since: Iterable[Row] = (), more: Iterable[Iterable[Row]] = (),
         servers: Iterable[Row] = ()) -> BulkFindings:  # fmt: skip
    """What is found between snapshots at 0 and ``until``, of the second of which the keys ``since`` are new; ``more``:
    what each further snapshot held of before."""
    held = [list(rows)]
    held.append([row for row in held[0] if not row["gone"] and not _due(row, until)] + list(since))
    names, times = ["a.rdb", "b.rdb"], [0.0, until]
    for number, part in enumerate(more, start=2):
        held.append(list(part))
        names.append(f"{'abcdef'[number]}.rdb")
        times.append(until * number)
    keys, tasks, jobs, changes = [], [], [], []
    for name, part in zip(names, held, strict=True):
        for number, row in enumerate(part):
            where = {"server": "", "snapshot": name, "offset": number, "db": row["db"], "key": row["key"]}
            own = where | {"task_id": row["task_id"], "expires_at": row["expires_at"]}
            keys.append(own | {"family": row["family"]})
            if row["family"] == "result" and row["at"] is not None:
                stored = {"stored_at": row["at"], "stored_from": "date_done", "kind": "task", "name": row.get("name")}
                tasks.append(own | stored)
            if row["family"] == "job" and row["at"] is not None:
                jobs.append(own | {"created_at": row["at"]})
    for before, after, one, two, when in zip(names, names[1:], held, held[1:], times[1:], strict=False):
        places = {row["key"] for row in two}
        for number, row in enumerate(one):
            if row["key"] not in places:
                told = {"server": "", "before": before, "after": after, "db": row["db"], "key": row["key"]}
                told |= {"family": row["family"], "change": "gone", "expires_before": row["expires_at"]}
                changes.append(told | {"due": _due(row, when), "offset_before": number})
    shots = looks(frame("evidence", [snapshot(name, when) for name, when in zip(names, times, strict=True)]))
    return bulk_findings(
        frame("keys", keys), frame("tasks", tasks), shots, frame("changes", changes), jobs=frame("jobs", jobs),
        servers=frame("servers", servers),
    )  # fmt: skip


def _due(row: Row, when: float) -> bool:
    return row["expires_at"] is not None and row["expires_at"] <= at(when)


def day_of(number: int, **more: Any) -> list[Row]:
    """Results stored evenly over the day before the first snapshot."""
    return [kept(i, (i + 0.5) * DAY / number, **more) for i in range(number)]


def without(rows: list[Row], chosen: Callable[[int, Row], bool]) -> list[Row]:
    return [row | {"gone": bool(chosen(number, row))} for number, row in enumerate(rows)]


JOBS = [kept(i, i * HOUR, family="job", lives=None) for i in range(24 * 7)]


def test_what_expires_and_what_comes_new_is_no_pattern():
    found = pair(day_of(500), 6 * HOUR, since=[kept(900 + i, -i) for i in range(50)])
    assert told(found) == []
    # A quarter of them was due by then.
    assert found.patterns.iloc[0]["of"] == 375 and "375 keys that were not due" in found.patterns.iloc[0]["says"]
    assert found.headline.startswith("No removal stands out")


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        (lambda i, row: True, "flush"),
        (lambda i, row: row["family"] == "result", "prefix delete"),
        (lambda i, row: row["family"] == "result" and i % 3 == 0, "prefix delete"),
        (lambda i, row: row["family"] == "result" and i % 12 == 0, "deletion burst"),
        (lambda i, row: row["family"] == "result" and 200 <= i < 260, "gap"),
        (lambda i, row: row["family"] == "result" and i >= 200, "purge"),
        (lambda i, row: i % 4 == 0, "eviction"),
    ],
)
def test_what_went_is_named_by_what_it_has_in_common(chosen, name):
    rows = day_of(500)
    rows[150] = rows[150] | {"db": 2}
    found = pair(
        without([*rows, *(kept(2000 + i, i * HOUR, family="job", lives=None, db=2) for i in range(100))], chosen)
    )
    assert (name, True) in told(found)
    assert found.patterns.iloc[0]["strength"] == "likely"


def test_keys_of_one_task_name_and_keys_that_begin_alike_are_a_prefix_delete_however_few_they_are():
    rows = [row | {"name": "app.mail" if i % 10 == 0 else "app.report"} for i, row in enumerate(day_of(500))]
    found = pair(without(rows, lambda i, row: row["name"] == "app.mail" and i > 10))
    assert told(found) == [("prefix delete", True)]
    assert "of the tasks app.mail" in found.patterns.iloc[0]["says"]
    found = pair(without(day_of(500), lambda i, row: row["key"][17] == "a" and i > 10))
    assert told(found) == [("prefix delete", True)]
    assert "begins with a" in found.patterns.iloc[0]["says"]


def test_a_few_scattered_keys_of_many_are_removed_by_name_every_day():
    assert told(pair(without(day_of(500), lambda i, row: i % 25 == 0))) == []


def test_those_just_stored_are_removed_by_whoever_waited_for_them():
    rows = [*day_of(300), *(kept(1000 + i, i * 10, gone=True) for i in range(80))]
    assert told(pair(rows)) == []


def test_who_removes_results_hours_after_they_were_stored_leaves_as_many_of_each_age():
    # Half of them are removed, six hours after they were stored: the older ones have gone already.
    rows = [kept(i, i * 60) for i in range(1440) if i % 2 or i < 360]
    habit = without(rows, lambda i, row: int(row["task_id"]) % 2 == 0)
    assert told(pair(habit, 6 * HOUR)) == []
    # Where all of them had been kept until then, it is no habit.
    assert [
        removal for _, removal in told(pair(without(day_of(1440), lambda i, row: i < 360 and not i % 2), 6 * HOUR))
    ] == [True]


def test_a_clean_up_by_age_is_usual_and_one_that_goes_deeper_is_not():
    night = without(JOBS, lambda i, row: i > 24 * 6)
    assert told(pair([*day_of(300), *night], 12 * HOUR)) == []
    deep = without(JOBS, lambda i, row: i > 24)
    assert told(pair([*day_of(300), *deep], 12 * HOUR)) == [("purge", True)]


def test_what_the_counter_of_evictions_accounts_for_was_evicted_and_is_no_clean_up():
    rows = without([*day_of(300), *JOBS], lambda i, row: row["family"] == "job" and i > 300 + 24 * 6)
    info = [{"server": "", "at": at(when), "run_id": "r", "evicted_keys": number, "counters_since": at(-DAY)}
            for when, number in ((-10, 5), (12 * HOUR + 10, 30))]  # fmt: skip
    assert told(pair(rows, 12 * HOUR)) == []
    found = pair(rows, 12 * HOUR, servers=info)
    assert told(found) == [("eviction", True)]
    assert "INFO counts 25 evictions" in found.patterns.iloc[0]["says"]
    assert told(pair(rows, 12 * HOUR, servers=[info[0], info[1] | {"run_id": "s"}])) == []
    assert told(pair(rows, 12 * HOUR, servers=[info[0], info[1] | {"evicted_keys": 8}])) == []


def test_a_kind_that_is_there_again_was_turned_over():
    rows = [*day_of(300), *(kept(i, 0, family="other", lives=None, at=None, gone=True) for i in range(60))]
    again = [kept(500 + i, 0, family="other", lives=None, at=None) for i in range(60)]
    assert told(pair(rows, since=again)) == []
    assert told(pair(rows)) == [("flush", True)]  # all that DB 3 held


def test_what_goes_between_any_two_snapshots_is_the_rhythm():
    rows = without(day_of(600), lambda i, row: i % 8 == 0)
    left = [row for row in rows if not row["gone"] and not _due(row, HOUR)]
    steady = [row for i, row in enumerate(left) if i % 9]
    assert [name for name, _ in told(pair(rows))] == ["deletion burst"]
    assert told(pair(rows, more=[[row for row in steady if not _due(row, 2 * HOUR)]])) == []


def test_keys_that_were_due_together_are_a_stampede_where_they_were_stored_together():
    rows = [*day_of(300), *(kept(1000 + i, DAY - 2 * HOUR - i / 10) for i in range(150))]
    assert ("stampede", False) in told(pair(rows, 6 * HOUR))
    # As much is due at one moment, and was stored over hours.
    wave = [kept(1000 + i, i * 60, lives=i * 60 + 2 * HOUR) for i in range(150)]
    assert ("expiry wave", False) in told(pair([*day_of(300), *wave], 6 * HOUR))


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("witness", ["commands", "snapshots", "logs"])
def test_every_scope_has_one_name_which_the_verdict_and_the_notebook_share(extent, order, witness):
    one = Scope(witness, extent, order, 10, 10, ("result",), (2,), None, None, "", "")
    assert one.pattern in PATTERNS
    assert one.pattern == pattern_of(extent, order, ("result",), witness=witness, share=0.5)
    assert one.pattern in REMOVALS or extent in ("nothing", "not told", "one key", "a few keys")


# Tasks in the logs, against the last snapshot, which is taken at 0.


def logged(rows: Iterable[tuple[float, str, bool]], *, jobs: Iterable[float] = (), lives: float = DAY) -> BulkFindings:
    """``rows``: how long before the snapshot a task ended, its name, and whether its result is held."""
    listed = list(rows)
    events = [
        {"server": "", "at": at(-age), "not_after": at(-age), "source": "worker.log", "line": i, "process": "worker",
         "kind": "succeeded", "task_id": f"t{i}", "name": name, "text": ""}
        for i, (age, name, _) in enumerate(listed)
    ]  # fmt: skip
    where = {"server": "", "snapshot": "a.rdb"}
    tasks = [
        {**where, "db": 2, "key": f"celery-task-meta-t{i}", "task_id": f"t{i}", "kind": "task", "stored_at": at(-age),
         "stored_from": "date_done", "expires_at": at(lives - age), "offset": i}
        for i, (age, _, held) in enumerate(listed)
        if held
    ]  # fmt: skip
    made = [{**where, "db": 0, "key": f"job:{i}", "created_at": at(-age), "offset": 5000 + i}
            for i, age in enumerate(jobs)]  # fmt: skip
    keys = frame(
        "keys", [{k: row[k] for k in ("server", "snapshot", "db", "key", "offset")} for row in [*tasks, *made]]
    )
    return bulk_findings(
        keys, frame("tasks", tasks), looks(frame("evidence", [snapshot("a.rdb", 0)])), frame("changes"),
        jobs=frame("jobs", made), events=frame("events", events), retention_seconds=int(DAY),
    )  # fmt: skip


def work(chosen: Callable[[float, str], bool], number: int = 400) -> list[tuple[float, str, bool]]:
    """Tasks of two names over two days, of which the results are held that are not due and that ``chosen`` says."""
    ages = np.linspace(60, 2 * DAY, number)
    return [(float(age), name, age < DAY and chosen(float(age), name))
            for age, name in zip(ages, ["app.mail", "app.report"] * (number // 2), strict=True)]  # fmt: skip


def test_each_task_has_its_result_or_its_expiry_had_come():
    found = logged(work(lambda age, name: True))
    assert told(found) == []
    hours = found.looked.finished
    assert hours["missing"].sum() == 0 and hours["due"].sum() == 200 and hours["present"].sum() == 200
    assert found.looked.undue_from is not None and abs((at(-DAY) - found.looked.undue_from).total_seconds()) < 500


def test_results_that_are_missing_up_to_one_moment_went_at_once():
    rows = work(lambda age, name: age < 5 * HOUR)
    # A record that is as old shows that no database was emptied.
    assert told(logged(rows, jobs=[10 * HOUR])) == [("prefix delete", True)]
    row = logged(rows).patterns.iloc[0]
    assert (row["pattern"], row["removal"], row["strength"], row["witness"]) == ("flush", True, "likely", "logs")
    assert row["gone"] == row["of"] and row["expected"] == 0


def test_results_that_are_missing_between_two_moments_are_a_gap():
    assert told(logged(work(lambda age, name: not 6 * HOUR < age < 9 * HOUR))) == [("gap", True)]


def test_names_that_store_nothing_or_remove_what_they_read_are_left_out():
    assert told(logged(work(lambda age, name: name == "app.report"))) == []
    assert told(logged(work(lambda age, name: name == "app.report" or age < 400))) == []


def test_results_of_a_name_that_live_shortly_were_due():
    rows = [(age, name, held and (name == "app.report" or age < 3 * HOUR)) for age, name, held in work(lambda *_: True)]
    found = logged(rows)
    assert [removal for _, removal in told(found)] in ([], [False])


def test_what_is_missing_whenever_it_ended_is_a_hint():
    rng = np.random.default_rng(1)
    found = logged(work(lambda age, name: rng.uniform() > 0.4))
    assert told(found) == [("prefix delete", False)]
    assert "looks the same" in found.patterns.iloc[0]["says"]


# One snapshot alone.


def alone(ages: Iterable[float], source: str = "date_done") -> BulkFindings:
    rows = [kept(i, age, lives=30 * DAY) for i, age in enumerate(ages)]
    tasks = [{"server": "", "snapshot": "a.rdb", "db": 2, "key": row["key"], "task_id": row["task_id"], "kind": "task",
              "stored_at": row["at"], "stored_from": source, "expires_at": row["expires_at"], "offset": i}
             for i, row in enumerate(rows)]  # fmt: skip
    keys = frame("keys", [{k: row[k] for k in ("server", "snapshot", "db", "key", "offset")} for row in tasks])
    shots = looks(frame("evidence", [snapshot("a.rdb", 0)]))
    return bulk_findings(keys, frame("tasks", tasks), shots, frame("changes"), jobs=frame("jobs"))


WEEK = [age for age in np.arange(0, 7 * DAY, 60) if (age / HOUR) % 24 < 14]


def test_a_gap_in_one_snapshot_is_a_hint_and_nights_are_none():
    assert told(alone(WEEK)) == []
    found = alone([age for age in WEEK if not 50 * HOUR < age < 58 * HOUR])
    row = found.patterns.iloc[0]
    assert (row["pattern"], row["witness"], row["strength"], row["removal"]) == ("gap", "one snapshot", "hint", False)
    assert "cannot tell apart" in row["says"]


def test_a_time_that_was_derived_from_the_expiry_shows_no_gap():
    assert not len(alone([age for age in WEEK if not 50 * HOUR < age < 58 * HOUR], "expiry").patterns)
