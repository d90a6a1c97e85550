"""What vanished together, by each witness: hand-made frames for each extent and order, and for what looks like them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.findings.bulk import bulk_findings, looks
from analysis.findings.deeds import Fate
from analysis.findings.scope import scope, scope_between, scope_sentence, scopes_of_case
from analysis.findings.scope.cohort import cohort
from analysis.findings.scope.extents import EXTENTS, ORDERS, Scope, leads, nearly_all, run_of
from analysis.findings.scope.sweeps import sweeps, swept, worst
from analysis.frames import frame
from tests.findings.cases import TASK, at, event, result, snapshot, view

AOF = "appendonly.aof.1.incr.aof"


@dataclass
class Pair:
    """Two snapshots of a server, a.rdb and b.rdb at 0 s and 100 s, as frames."""

    keys: pd.DataFrame
    changes: pd.DataFrame
    shots: pd.DataFrame

    def scope(self, key: str | None = None, db: int | None = None, **more: Any) -> Scope:
        return scope_between(self.keys, self.changes, self.shots, "", "a.rdb", "b.rdb", key, db, **more)


Held = Mapping[tuple[int, str], Mapping[str, Any]]


def pair(
    before: Held, after: Iterable[tuple[int, str]], *, changed: Iterable[tuple[int, str]] = (), **shot: Any
) -> Pair:
    """``after``: which keys are held by b.rdb; ``changed``: of those the ones that have another value."""
    later, other = set(after), set(changed)
    assert other <= later
    keys, changes = [], []
    for number, ((db, name), more) in enumerate(before.items()):
        row = {"server": "", "snapshot": "a.rdb", "db": db, "key": name, "family": "result", "offset": number, **more}
        keys.append(row)
        change = "gone" if (db, name) not in later else "value" if (db, name) in other else None
        if change:
            expires = row.get("expires_at")
            told = {"before": "a.rdb", "after": "b.rdb", "db": db, "key": name, "change": change, "server": ""}
            due = expires is not None and expires <= at(100) if change == "gone" else None
            changes.append({**told, "offset_before": number, "expires_before": expires, "due": due})
    for number, (db, name) in enumerate(sorted(later)):
        keys.append({"server": "", "snapshot": "b.rdb", "db": db, "key": name, "family": "result", "offset": number})
        if (db, name) not in before:
            told = {"before": "a.rdb", "after": "b.rdb", "db": db, "key": name, "change": "appeared", "server": ""}
            changes.append({**told, "offset_after": number})
    shots = looks(frame("evidence", [snapshot("a.rdb", 0), snapshot("b.rdb", 100, **shot)]))
    return Pair(frame("keys", keys), frame("changes", changes), shots)


def some(db: int, stem: str, number: int, **more: Any) -> dict[tuple[int, str], dict[str, Any]]:
    """Keys of one kind, each due a day after START unless it is told otherwise; a callable gives each its own."""
    given = {"expires_at": at(86400), **more}
    return {
        (db, f"{stem}{i:03}"): {name: value(i) if callable(value) else value for name, value in given.items()}
        for i in range(number)
    }


RESULTS = some(2, "celery-task-meta-", 30)
JOBS = some(0, "job:", 20, family="job", expires_at=None)
CACHE = some(0, "cache:", 40, family="other")


@pytest.mark.parametrize(
    ("before", "taken", "extent", "gone", "left"),
    [
        (RESULTS | JOBS, [], "nothing", 0, 50),
        (RESULTS | JOBS, list(RESULTS)[:1], "one key", 1, 49),
        (RESULTS | JOBS, list(RESULTS)[:4], "a few keys", 4, 46),
        (RESULTS | JOBS, list(RESULTS), "one database", 30, 20),
        (RESULTS, list(RESULTS), "the only database", 30, 0),
        (RESULTS | JOBS, [*RESULTS, *JOBS], "all databases", 50, 0),
        (JOBS | CACHE, list(JOBS), "one prefix", 20, 40),
        (JOBS | CACHE | RESULTS, [*list(JOBS)[::3], *list(CACHE)[::3], *list(RESULTS)[::3]], "scattered", 31, 59),
    ],
)
def test_the_extent_is_told_from_shares_of_what_the_earlier_snapshot_held(before, taken, extent, gone, left):
    found = pair(before, set(before) - set(taken)).scope()
    assert (found.extent, found.gone, found.left) == (extent, gone, left)
    assert found.extent in EXTENTS and found.order == ""
    assert (found.since, found.until) == (at(0), at(100))


def test_a_database_that_is_empty_is_no_flush_where_others_lost_many_too():
    small = some(3, "celery-task-meta-x", 8)
    found = pair(small | JOBS | CACHE, [name for i, name in enumerate(JOBS | CACHE) if i % 3]).scope()
    assert (found.extent, found.databases) == ("scattered", (0, 3))


def test_two_empty_databases_beside_one_that_kept_its_keys_are_not_one_nor_all():
    small = some(3, "celery-task-meta-x", 8) | some(4, "page:", 8, family="other")
    found = pair(small | JOBS, JOBS).scope()
    assert (found.extent, found.databases) == ("scattered", (3, 4))


def test_keys_written_after_a_flush_do_not_make_it_look_partial():
    new = [(2, f"celery-task-meta-new{i}") for i in range(40)]
    found = pair(RESULTS | JOBS, [*JOBS, *new]).scope()
    assert (found.extent, found.gone, found.databases) == ("one database", 30, (2,))


def test_a_key_that_was_written_again_is_no_survivor_of_a_flush():
    again = list(RESULTS)[:10]
    found = pair(RESULTS | JOBS, [*JOBS, *again], changed=again).scope()
    assert (found.extent, found.gone) == ("one database", 20)


def test_bindings_are_written_again_as_they_were_and_queues_come_and_go():
    bindings = {(1, "_kombu.binding.celery"): {"family": "binding"}, (1, "_kombu.binding.other"): {"family": "binding"}}
    work = {(1, "celery"): {"family": "queue"}, (1, "unacked"): {"family": "unacked"}}
    broker = some(1, "report:", 6, family="other")
    found = pair(bindings | work | broker | JOBS, [*JOBS, (1, "_kombu.binding.celery")]).scope()
    assert (found.extent, found.databases, found.gone) == ("one database", (1,), 7)
    drained = pair(work | JOBS, JOBS).scope()
    assert (drained.extent, drained.gone) == ("nothing", 0)


def test_a_worker_that_stops_takes_the_bindings_of_its_own_queues_along():
    own = {(1, "_kombu.binding.reply.celery.pidbox"): {"family": "binding"}}
    assert pair(own | JOBS, JOBS).scope().extent == "nothing"


def test_keys_without_a_ttl_that_stayed_refute_a_flush():
    config = some(2, "config:", 6, family="other", expires_at=None)
    found = pair(RESULTS | config | JOBS, [*config, *JOBS]).scope()
    assert found.extent == "one prefix"
    assert "all 30 results of DB 2" in found.says and "26 keys of other kinds stayed" in found.says


def test_what_was_due_is_mentioned_and_not_counted():
    due = some(2, "old:", 7, expires_at=at(50))
    found = pair(RESULTS | due | JOBS, [*list(RESULTS)[1:], *JOBS]).scope()
    assert (found.extent, found.gone) == ("one key", 1)
    assert "8 keys disappeared, 1 of them before their expiry" in found.says
    only = pair(due | JOBS, JOBS).scope()
    assert (only.extent, only.gone) == ("nothing", 0)
    assert "each of them after its own expiry" in only.says


def test_what_is_due_and_still_in_the_file_is_no_survivor():
    late = some(2, "late:", 20, expires_at=at(90))
    assert pair(RESULTS | late | JOBS, [*late, *JOBS]).scope().extent == "one database"


def test_one_database_that_held_one_kind_only_says_that_a_removal_of_that_kind_looks_the_same():
    assert "would look the same" in pair(RESULTS | JOBS, JOBS).scope().says
    mixed = RESULTS | some(2, "app:", 6, family="other")
    assert "would look the same" not in pair(mixed | JOBS, JOBS).scope().says


def test_a_database_that_stands_in_another_one_was_exchanged():
    moved = [(5, name) for _, name in RESULTS]
    found = pair(RESULTS | JOBS, [*moved, *JOBS]).scope()
    assert found.extent == "two databases"
    one = pair(RESULTS | JOBS, [*list(RESULTS)[1:], (5, next(iter(RESULTS))[1]), *JOBS]).scope()
    assert one.extent == "one key" and "in another database instead" in one.says


def test_keys_of_several_kinds_that_begin_alike_are_one_prefix():
    tenant = some(0, "t7:page:", 9, family="other") | some(0, "t7:job:", 9, family="job")
    found = pair(tenant | JOBS | CACHE, [*JOBS, *CACHE]).scope()
    assert found.extent == "one prefix" and "“t7:”" in found.says


def stored(before: Held, seconds: Iterable[float | None]) -> pd.DataFrame:
    times = [pd.NaT if one is None else at(one) for one in seconds]
    assert len(times) == len(before)
    offsets = pd.Series(range(len(times)), dtype="Int64")
    return pd.DataFrame({"snapshot": "a.rdb", "offset": offsets, "at": pd.Series(times, dtype="datetime64[us, UTC]")})


@pytest.mark.parametrize(
    ("chosen", "order", "says"),
    [
        (slice(0, 17), "age", "stored first"),
        (slice(12, 20), "newest", "stored last"),
        (slice(6, 13), "", "stored from"),
    ],
)
def test_one_range_of_the_times_of_storing_is_one_age(chosen, order, says):
    before = JOBS | RESULTS
    taken = set(list(JOBS)[chosen])
    times = stored(before, [-1000 + 10 * i for i in range(20)] + [None] * 30)
    found = pair(before, set(before) - taken).scope(stored=times)
    assert (found.extent, found.order, found.gone) == ("one age", order, len(taken))
    assert says in found.says


def test_without_times_of_storing_the_expiry_tells_the_age():
    before = some(2, "a:", 15, expires_at=lambda i: at(1000 + i)) | some(0, "b:", 15, expires_at=lambda i: at(1000 + i))
    kept = [name for i, name in enumerate(before) if i % 15 >= 6]
    found = pair(before, kept).scope()
    assert (found.extent, found.order, found.gone) == ("one age", "ttl", 12)


def test_a_range_that_so_few_would_make_by_chance_is_no_age():
    before = some(0, "job:", 8, family="job")
    times = stored(before, range(8))
    found = pair(before, list(before)[5:7]).scope(stored=times)
    assert found.extent == "scattered"


def idle(number: int, seconds: Any) -> dict[tuple[int, str], dict[str, Any]]:
    half = number // 2
    return some(0, "a:", half, family="other", idle=seconds) | some(2, "b:", half, idle=lambda i: seconds(i + half))


def test_those_longest_idle_went_first_which_is_how_redis_evicts():
    random = np.random.default_rng(7)
    seconds = random.permutation(200)
    before = idle(200, lambda i: int(seconds[i]))
    # Of those in the older half two in three: sampled as Redis does, not strictly the oldest.
    taken = {name for i, name in enumerate(before) if seconds[i] > 100 and i % 3}
    found = pair(before, set(before) - taken).scope()
    assert (found.extent, found.order) == ("scattered", "idle")
    assert "used least of late" in found.says
    other = pair(before, [name for i, name in enumerate(before) if i % 2]).scope()
    assert (other.extent, other.order) == ("scattered", "")


def test_the_least_often_used_went_first_under_an_lfu_policy():
    before = some(0, "a:", 40, family="other", freq=lambda i: i) | some(2, "b:", 40, freq=lambda i: i)
    taken = {name for i, name in enumerate(before) if i % 40 < 20 and i % 4}
    assert pair(before, set(before) - taken).scope().order == "idle"


def test_those_nearest_their_expiry_went_first():
    before = some(0, "a:", 40, family="other", expires_at=lambda i: at(1000 + 37 * i % 400))
    before |= some(2, "b:", 40, expires_at=lambda i: at(1000 + 37 * i % 400))
    due = [more["expires_at"] for more in before.values()]
    taken = {name for i, name in enumerate(before) if due[i] < at(1180) and i % 4}
    found = pair(before, set(before) - taken).scope()
    assert (found.extent, found.order) == ("scattered", "ttl")


def test_keys_without_a_ttl_that_a_volatile_policy_spares_do_not_make_an_order():
    before = some(0, "a:", 40, family="other", idle=lambda i: 37 * i % 40)
    before |= some(0, "c:", 80, family="other", expires_at=None, idle=0)
    taken = {name for i, name in enumerate(before) if i < 40 and i % 2}
    assert pair(before, set(before) - taken).scope().order == ""


def test_a_record_that_went_alone_is_looked_at_among_its_own_kind():
    before = RESULTS | JOBS | CACHE
    name = list(RESULTS)[3]
    found = pair(before, set(before) - set(JOBS) - {name}).scope(name[1], name[0])
    assert (found.extent, found.gone, found.left, found.own) == ("one key", 1, 29, True)
    assert "Beside it went 20 other keys" in found.says and "all 20 job records" in found.says


def test_a_record_that_is_not_one_of_them_is_said_to_be_none_of_them():
    found = pair(RESULTS | JOBS, RESULTS).scope("celery-task-meta-x", 2)
    assert (found.extent, found.own) == ("one database", False)
    assert "The record asked about is not one of them" in found.says
    assert pair(RESULTS | JOBS, JOBS).scope("celery-task-meta-003", 2).own
    assert not pair(RESULTS | JOBS, JOBS).scope("celery-task-meta-003", 7).own


def test_what_a_damaged_snapshot_lacks_is_not_told():
    found = pair(RESULTS | JOBS, [], complete=False).scope()
    assert (found.extent, found.gone) == ("not told", 0)
    assert "read in part" in found.says


def test_of_two_snapshots_of_one_second_neither_is_known_to_be_the_first():
    both = pair(RESULTS | JOBS, JOBS)
    shots = looks(frame("evidence", [snapshot("a.rdb", 100), snapshot("b.rdb", 100)]))
    assert replace(both, shots=shots).scope().extent == "not told"
    assert "same second" in scope_sentence(scopes_of_case(both.keys, frame("tasks"), shots, both.changes))


def test_snapshots_without_a_time_count_only_what_never_expires():
    both = pair(RESULTS | JOBS, [])
    shots = looks(frame("evidence", [snapshot("a.rdb", None), snapshot("b.rdb", None)]))
    found = replace(both, shots=shots).scope()
    assert (found.gone, found.families, found.since) == (20, ("job",), None)


def test_empty_frames_have_nothing_to_tell():
    shots = looks(frame("evidence", [snapshot("a.rdb", 0), snapshot("b.rdb", 100)]))
    found = scope_between(frame("keys"), frame("changes"), shots, "", "a.rdb", "b.rdb", TASK, 2)
    assert (found.extent, found.says) == (
        "nothing",
        "Between 2026-03-01 12:00:00 UTC and 2026-03-01 12:01:40 UTC no key disappeared.",
    )
    assert cohort(frame("tasks"), frame("events"), shots, 3600) is None
    assert worst(frame("commands")) is None


def test_chance_makes_no_order_and_no_range():
    values = np.arange(20, dtype="float64")
    last = np.arange(20) >= 10
    assert leads(values, last) == 1.0 and leads(values, ~last) == 0.0
    assert leads(values, np.arange(20) >= 18) == 0.5  # two are too few
    assert leads(values, np.arange(20) % 2 == 0) == 0.5
    assert leads(np.zeros(20), last) == 0.5
    assert run_of(np.arange(10), np.arange(10) < 5) is not None
    assert run_of(np.arange(8), np.arange(8) < 4) is None
    assert run_of(np.arange(60), (np.arange(60) < 40) & (np.arange(60) != 9)) is not None
    assert run_of(np.arange(60), (np.arange(60) < 40) & (np.arange(60) % 4 > 0)) is None
    assert [nearly_all(19, 1), nearly_all(18, 1), nearly_all(0, 0)] == [True, False, False]
    assert set(ORDERS) == {"", "idle", "ttl", "age", "newest"}


# Logs


def ended(number: int, *, start: float = -1000.0, step: float = 10.0, **more: Any) -> list[dict[str, Any]]:
    return [event("succeeded", start + step * i, **{"task_id": f"t{i}", "name": "work", **more}) for i in range(number)]


def logged(events: list[dict[str, Any]], held: Iterable[str], **more: Any) -> Scope:
    tasks = frame("tasks", [result("a.rdb", task_id=one) for one in held])
    shots = looks(frame("evidence", [snapshot("a.rdb", 0)]))
    asked = {"retention_seconds": 3600, "task_id": "t3", **more}
    found = cohort(tasks, frame("events", events), shots, **asked)
    assert found is not None
    return found


def test_every_task_that_ended_within_the_retention_is_there_or_missing():
    found = logged(ended(20), [f"t{i}" for i in range(20) if i not in (3, 7)])
    assert (found.extent, found.gone, found.left, found.own) == ("a few keys", 2, 18, True)
    whole = logged(ended(20), [f"t{i}" for i in range(20)])
    assert (whole.extent, whole.gone, whole.own) == ("nothing", 0, False)
    assert "each has its result there" in whole.says


def test_what_ended_before_the_retention_or_just_before_the_snapshot_is_not_compared():
    found = logged(ended(20, start=-3700.0), [f"t{i}" for i in range(11, 20)])
    assert (found.gone, found.left) == (0, 9)
    late = logged([*ended(5), event("succeeded", -1, task_id="late", name="work")], [f"t{i}" for i in range(5)])
    assert (late.gone, late.left) == (0, 5)
    forever = logged(ended(20, start=-9e6), ["t19"], retention_seconds=0)
    assert (forever.gone, forever.left) == (19, 1)


def test_what_ended_before_a_result_that_is_there_had_been_stored_too():
    found = logged(ended(20, start=-2.0, step=0.1), ["t18", "t19"])
    assert (found.gone, found.left, found.extent) == (18, 2, "one age")


@pytest.mark.parametrize(
    ("missing", "extent", "order"),
    [
        (range(0, 12), "one age", "age"),
        (range(25, 40), "one age", "newest"),
        (range(10, 22), "one age", ""),
        (range(0, 40), "all results", ""),
        (range(0, 40, 3), "scattered", ""),
    ],
)
def test_the_missing_are_one_window_of_time_or_all_or_neither(missing, extent, order):
    found = logged(ended(40), [f"t{i}" for i in range(40) if i not in set(missing)])
    assert (found.extent, found.order, found.gone) == (extent, order, len(missing))


def test_that_anything_was_stored_is_not_shown_where_no_result_is_held():
    assert "is not shown by this" in logged(ended(12), []).says


def test_names_of_which_no_result_is_held_are_left_out_and_said():
    silent = [event("succeeded", -500 + i, task_id=f"s{i}", name="silent") for i in range(9)]
    found = logged([*ended(10), *silent], [f"t{i}" for i in range(10)], task_id="s1")
    assert (found.extent, found.gone, found.left) == ("nothing", 0, 10)
    assert "9 other tasks of 1 name" in found.says and "this one's among them" in found.says


def test_tasks_that_a_worker_ignored_store_nothing():
    ignored = [event("ignored", -900, task_id=f"t{i}") for i in range(5)]
    found = logged([*ended(10), *ignored], [f"t{i}" for i in range(5, 10)])
    assert (found.gone, found.left) == (0, 5)


def test_the_missing_are_of_one_worker():
    events = [*ended(10), *(row | {"task_id": f"u{i}", "source": "other.log"} for i, row in enumerate(ended(10)))]
    found = logged(events, [f"u{i}" for i in range(10)])
    assert (found.extent, found.gone) == ("one worker", 10)


def test_the_missing_are_of_one_name():
    events = [*ended(10), *(row | {"task_id": f"u{i}", "name": "other"} for i, row in enumerate(ended(10)))]
    tasks = frame("tasks", [*(result("a.rdb", task_id="t3"),), *(result("b.rdb", task_id=f"u{i}") for i in range(10))])
    shots = looks(frame("evidence", [snapshot("a.rdb", -500), snapshot("b.rdb", 0)]))
    found = cohort(tasks, frame("events", events), shots, 3600)
    assert found is not None and (found.extent, found.gone) == ("one task name", 10)


def test_what_another_server_holds_is_not_missing_here():
    tasks = frame("tasks", [result("x.rdb", task_id=f"t{i}", server="x") for i in range(5)])
    tasks = pd.concat([tasks, frame("tasks", [result("y.rdb", task_id=f"t{i}", server="y") for i in range(5, 9)])])
    shots = looks(frame("evidence", [snapshot("x.rdb", 0, server="x"), snapshot("y.rdb", 0, server="y")]))
    found = cohort(tasks, frame("events", ended(9)), shots, 3600, {"x"})
    assert found is not None and (found.gone, found.left) == (0, 5)
    assert cohort(tasks, frame("events", ended(9)), shots, 3600, {"z"}) is None


def test_of_two_last_snapshots_of_one_second_neither_is_known_to_be_the_last():
    tasks = frame("tasks", [result("a.rdb", task_id=f"t{i}") for i in range(9)])
    shots = looks(frame("evidence", [snapshot("a.rdb", 0), snapshot("b.rdb", 0)]))
    assert cohort(tasks, frame("events", ended(9)), shots, 3600) is None


# Commands


def command(verb: str, keys: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    row = {"server": "", "source": AOF, "witness": "append-only file", "db": 2, "verb": verb, "keys": list(keys)}
    removed = "client" if verb.upper() in ("DEL", "UNLINK", "FLUSHDB", "FLUSHALL", "SWAPDB") else None
    return {**row, "removed_by": removed, **more}


def commands(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    return frame("commands", [{"offset": 10 * i, **row} for i, row in enumerate(rows)])


def written(number: int, stem: str = "celery-task-meta-", **more: Any) -> list[dict[str, Any]]:
    return [command("SET", [f"{stem}{i}"], **more) for i in range(number)]


def fate(stream: pd.DataFrame, row: int, key: str, *, db: int | None = 2, family: int = 1) -> Fate:
    taken = stream.iloc[row].copy()
    taken["keys"] = list(taken["keys"]) if taken["keys"] is not None else None
    return Fate(taken, key, db, None, None, family)


def test_a_flush_took_what_its_stream_shows_written_before_it():
    rows = [*written(9), *written(4, "app:"), *written(3, db=0), command("DEL", ["app:0"]), command("FLUSHDB")]
    stream = commands([*rows, *written(2, "later:")])
    found = swept(stream, fate(stream, len(rows) - 1, "celery-task-meta-1"), "result")
    assert found is not None
    assert (found.extent, found.gone, found.families, found.databases) == (
        "one database",
        12,
        ("result", "other"),
        (2,),
    )
    assert "at least 9 results and 3 other keys" in found.says
    everything = commands([*rows[:-1], command("FLUSHALL")])
    found = swept(everything, fate(everything, len(rows) - 1, "celery-task-meta-1"))
    assert found is not None and (found.extent, found.gone, found.databases) == ("all databases", 15, (0, 2))


def test_a_second_flush_took_only_what_was_written_since_the_first():
    stream = commands(
        [*written(9), command("FLUSHDB"), *written(2, "new:"), command("FLUSHDB", db=0), command("FLUSHDB")]
    )
    found = swept(stream, fate(stream, len(stream) - 1, "new:1"))
    assert found is not None and found.gone == 2


def test_a_list_that_was_popped_from_is_not_known_to_be_there():
    rows = [*written(6), command("LPUSH", ["q"]), command("RPOP", ["q"]), command("FLUSHDB")]
    stream = commands(rows)
    found = swept(stream, fate(stream, len(rows) - 1, "celery-task-meta-1"))
    assert found is not None and found.gone == 6


def test_how_many_keys_a_flush_took_is_not_told_by_a_witness_that_sees_a_part():
    stream = commands([command("FLUSHALL", witness="slowlog", source="slowlog.json", db=None)])
    found = swept(stream, fate(stream, 0, "x"))
    assert found is not None and (found.extent, found.gone) == ("all databases", 0)
    assert "does not tell" in found.says


def test_swapdb_exchanges_two_databases():
    stream = commands([*written(9), command("SWAPDB", detail="db 2 and db 5", db=None)])
    found = swept(stream, fate(stream, 9, "celery-task-meta-1"))
    assert found is not None and found.extent == "two databases" and "db 2 and db 5" in found.says


@pytest.mark.parametrize(
    ("taken", "extent", "order", "left"),
    [
        (range(0, 1), "one key", "", 19),
        (range(0, 4), "a few keys", "", 16),
        (range(0, 20), "one prefix", "", 0),
        (range(0, 14), "one age", "age", 6),
        (range(9, 20), "one age", "newest", 9),
        (range(0, 20, 2), "scattered", "", 10),
    ],
)
def test_one_command_with_many_keys_took_all_of_a_kind_or_the_oldest_or_some(taken, extent, order, left):
    names = [f"celery-task-meta-{i}" for i in taken]
    stream = commands([*written(20), command("DEL", names), *written(3, "celery-task-meta-new")])
    found = swept(stream, fate(stream, 20, names[0], family=len(names)), "result")
    assert found is not None
    assert (found.extent, found.order, found.gone, found.left) == (extent, order, len(names), left)


def test_a_loop_of_single_removals_is_one_sweep_and_a_trickle_is_none():
    loop = [command("DEL", [f"celery-task-meta-{i}"]) for i in range(8)]
    assert sweeps(commands([*written(8), *loop]))["keys"].tolist() == [8]
    between = [command("LPUSH", ["q"])] * 5
    trickle = [row for one in loop for row in (one, *between)]
    assert sweeps(commands([*written(8), *trickle]))["keys"].tolist() == [1] * 8


def test_batches_of_one_scan_are_one_sweep_though_others_write_between():
    times = {"not_before": at(5), "not_after": at(6)}
    one = command("UNLINK", [f"job:{i}" for i in range(50)], **times)
    two = command("UNLINK", [f"job:{i}" for i in range(50, 90)], **times)
    stream = commands([one, *written(30), two, *written(30), command("DEL", ["job:x"], not_before=at(400))])
    found = sweeps(stream)
    assert sorted(found["keys"]) == [1, 90] and found["commands"].max() == 2


def test_what_is_evicted_is_of_any_kind_and_a_loop_of_one():
    gone = {"removed_by": "eviction", "or_by": "client"}
    mixed = [command("DEL", [f"{'abc'[i % 3]}:{i}"], **gone) for i in range(30)]
    stream = commands([*written(2), *mixed])
    found = swept(stream, fate(stream, 2, "a:0"))
    assert found is not None and (found.extent, found.gone, found.left) == ("scattered", 30, 2)
    loop = [command("DEL", [f"celery-task-meta-{i}"], **gone) for i in range(12)]
    stream = commands([*written(12), *loop])
    found = swept(stream, fate(stream, 15, "celery-task-meta-3"), "result")
    assert found is not None and (found.extent, found.gone) == ("one prefix", 12)
    assert "evicted is not ruled out" in found.says


def test_among_evictions_of_other_kinds_a_run_of_one_kind_is_no_loop():
    gone = {"removed_by": "client", "or_by": "eviction"}
    rows = [command("DEL", [f"{'ab'[i % 2]}:{i}"], **gone) for i in range(30)]
    stream = commands(rows)
    found = swept(stream, fate(stream, 4, "a:4"))
    assert found is not None and found.extent == "scattered"
    assert "14 keys of other kinds went among them" in found.says


def test_what_went_at_its_own_expiry_took_nothing_along():
    stream = commands([*written(9), command("DEL", ["celery-task-meta-1"], removed_by="expiry")])
    assert swept(stream, fate(stream, 9, "celery-task-meta-1")) is None


def test_by_a_witness_that_sees_a_part_how_many_were_spared_is_not_told():
    names = [f"job:{i}" for i in range(30)]
    stream = commands([command("DEL", names, witness="slowlog", source="slowlog.json", db=None)])
    found = swept(stream, fate(stream, 0, "job:3", db=None, family=30), "job")
    assert found is not None and (found.extent, found.gone) == ("many keys", 30)


def test_the_worst_of_a_case_is_what_took_most_of_celery_and_counts_once_by_two_witnesses():
    names = [f"celery-task-meta-{i}" for i in range(12)]
    times = {"not_before": at(5), "not_after": at(6)}
    rows = [
        *written(12),
        *written(90, "thumb:", db=5),
        command("FLUSHDB", db=5, **times),
        command("DEL", names, **times),
    ]
    seen = command("DEL", names, witness="slowlog", source="slowlog.json", db=None, **times)
    found = worst(commands([seen, *rows]))
    assert found is not None and (found.extent, found.gone, found.source) == ("one prefix", 12, AOF)
    assert "1 other removal" in found.says
    assert worst(commands([*written(12), command("DEL", names[:2])])) is None


def test_evictions_come_behind_the_snapshots_in_the_sentence_of_a_case_too():
    gone = {"removed_by": "eviction", "or_by": "client"}
    stream = commands([command("DEL", [f"{'abc'[i % 3]}:{i}"], **gone) for i in range(30)])
    both = pair(RESULTS | JOBS, JOBS)
    told = scopes_of_case(both.keys, frame("tasks"), both.shots, both.changes, commands=stream)
    assert [(one.witness, one.gone) for one in told] == [("snapshots", 30), ("commands", 30)]


def test_evictions_that_are_told_as_a_run_of_one_kind_are_not_told_again():
    gone = {"removed_by": "eviction", "or_by": "client"}
    found = worst(commands([*written(12), *(command("DEL", [f"celery-task-meta-{i}"], **gone) for i in range(12))]))
    assert found is not None and found.extent == "one prefix" and "beside it" not in found.says


# One record, and the sentence


def test_commands_come_before_snapshots_and_snapshots_before_logs():
    key = f"celery-task-meta-{TASK}"
    both = pair(RESULTS | {(2, key): {"expires_at": at(86400), "task_id": TASK}} | JOBS, JOBS)
    case = view(
        evidence=[snapshot("a.rdb", 0), snapshot("b.rdb", 100)],
        tasks=[result("a.rdb", stored=-50)],
        events=[event("succeeded", -50, name="work")],
    )
    case = replace(case, keys=both.keys, changes=both.changes)
    stream = commands([*written(9), command("SET", [key]), command("FLUSHDB", not_before=at(20), not_after=at(21))])
    told = scope(replace(case, commands=stream), "result")
    assert [one.witness for one in told] == ["commands", "snapshots", "logs"]
    assert [one.extent for one in told] == ["one database", "one database", "one key"]
    assert all(one.own for one in told)
    assert scope_sentence(told) == told[0].says
    assert [one.witness for one in scope(case, "result")] == ["snapshots", "logs"]


def test_nothing_vanished_with_a_record_that_is_there():
    case = view(evidence=[snapshot("a.rdb", 0)], tasks=[result("a.rdb", stored=-50)])
    assert scope(case, "result") == ()


def test_a_record_that_is_in_another_database_now_went_with_the_rest_of_its_own():
    key = f"celery-task-meta-{TASK}"
    before = RESULTS | {(2, key): {"expires_at": at(86400), "task_id": TASK}} | JOBS
    both = pair(before, [*((5, name) for db, name in before if db == 2), *JOBS])
    case = view(
        evidence=[snapshot("a.rdb", 0), snapshot("b.rdb", 100)],
        tasks=[result("a.rdb", stored=-50), result("b.rdb", stored=-50, db=5)],
    )
    told = scope(replace(case, keys=both.keys, changes=both.changes), "result")
    assert [(one.extent, one.own) for one in told] == [("two databases", True)]


def test_a_removal_in_a_torn_stream_of_a_record_that_is_there_took_nothing_along():
    key = f"celery-task-meta-{TASK}"
    part = {"server": "", "path": AOF, "kind": "append-only part", "complete": False}
    case = view(evidence=[snapshot("b.rdb", 100), part], tasks=[result("b.rdb", stored=-50)])
    case = replace(case, commands=commands([command("SET", [key]), command("FLUSHDB")]))
    assert len(case.fates("result")) == 1
    assert scope(case, "result") == ()


def test_an_eviction_that_the_commands_only_make_likely_comes_behind_the_snapshots():
    key = f"celery-task-meta-{TASK}"
    both = pair(RESULTS | {(2, key): {"expires_at": at(86400), "task_id": TASK}} | JOBS, JOBS)
    case = view(evidence=[snapshot("a.rdb", 0), snapshot("b.rdb", 100)], tasks=[result("a.rdb", stored=-50)])
    gone = command("DEL", [key], removed_by="eviction", or_by="client", not_before=at(20), not_after=at(21))
    stream = commands([*written(9), command("SET", [key]), gone])
    told = scope(replace(case, keys=both.keys, changes=both.changes, commands=stream), "result")
    assert [(one.witness, one.extent) for one in told] == [("snapshots", "one database"), ("commands", "one key")]


def test_without_two_snapshots_around_its_end_the_logs_have_the_word_and_it_is_said():
    case = view(
        evidence=[snapshot("a.rdb", 0)],
        tasks=[result("a.rdb", task_id=f"t{i}") for i in range(1, 20)],
        events=[*ended(20), event("succeeded", -500, name="work")],
    )
    told = scope(case, "result")
    assert [(one.witness, one.extent) for one in told] == [("snapshots", "not told"), ("logs", "a few keys")]
    said = scope_sentence(told)
    assert "neither shown nor ruled out" in said and "2 have no result there" in said


def test_the_report_and_the_bulk_notebook_say_the_same():
    both = pair(RESULTS | {(2, f"celery-task-meta-{TASK}"): {"expires_at": at(86400), "task_id": TASK}} | JOBS, JOBS)
    case = view(evidence=[snapshot("a.rdb", 0), snapshot("b.rdb", 100)], tasks=[result("a.rdb", stored=-50)])
    case = replace(case, keys=both.keys, changes=both.changes)
    bulk = bulk_findings(case.keys, case.tasks, case.shots, case.changes, jobs=case.jobs, commands=case.commands)
    assert scope_sentence(scope(case, "result")) == scope_sentence(bulk.scopes)
    assert bulk.headline == f"Flush, as it seems: {scope_sentence(bulk.scopes)}"
    assert "all 31 keys of DB 2" in bulk.headline


def test_of_several_pairs_and_servers_the_one_in_which_most_went_is_told():
    both = pair(RESULTS | JOBS, JOBS)
    rows = [snapshot("a.rdb", 0), snapshot("b.rdb", 100), snapshot("c.rdb", 200), snapshot("x/d.rdb", 0, server="x")]
    told = scopes_of_case(both.keys, frame("tasks"), looks(frame("evidence", rows)), both.changes)
    assert [(one.source, one.gone) for one in told] == [("a.rdb, b.rdb", 30)]


def test_what_a_scope_holds_is_plain():
    found = pair(RESULTS | JOBS, JOBS).scope()
    assert all(type(db) is int for db in found.databases) and all(type(one) is str for one in found.families)
    assert type(found.gone) is int and type(found.own) is bool
