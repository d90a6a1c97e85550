"""What became of the records of a purge list: never more than the snapshots show, and nothing about who did it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis.errors import Unusable
from analysis.findings.bulk import looks
from analysis.findings.purge import PurgeFindings, verify_purge, with_order
from analysis.findings.purge_list import LARGEST, LONGEST, read_ids
from analysis.findings.purge_words import MOST, purge_headline, purge_lines, purge_notes
from analysis.frames import frame
from tests.findings.cases import at, message, snapshot

A, B, C = (f"{letter * 8}-1111-4111-8111-111111111111" for letter in "abc")
BEFORE, AFTER = snapshot("1.rdb", 0), snapshot("2.rdb", 100)


def key(shot: str, name: str, family: str = "other", *, expires: float | None = None, **more: Any) -> dict[str, Any]:
    """A row of ``keys``; of a job record and a result the task is what the name ends in."""
    own = name.rpartition(":")[2] if family == "job" else name.removeprefix("celery-task-meta-")
    told = {"task_id": own} if family in ("job", "result") else {}
    moment = None if expires is None else at(expires)
    row = {"server": "", "snapshot": shot, "db": 0, "key": name, "family": family, "expires_at": moment}
    return {**row, "expired": False, **told, **more}


def job(shot: str, own: str, **more: Any) -> dict[str, Any]:
    return key(shot, f"job:{own}", "job", **more)


def look(ids: list[str], keys: list[dict[str, Any]], shots: list[dict[str, Any]], **more: Any) -> PurgeFindings:
    """The findings on IDs; a row of family job has its row of ``jobs``, with the status done."""
    same = ("server", "snapshot", "db", "key", "expires_at", "expired", "task_id")
    jobs = [{**{name: row[name] for name in same}, "status": "done"} for row in keys if row["family"] == "job"]
    messages = frame("messages", more.pop("messages", []))
    return verify_purge(
        ids, frame("keys", keys), frame("jobs", jobs), messages, looks(frame("evidence", shots)), **more
    )


def told(found: PurgeFindings) -> dict[str, str]:
    """What is said of each ID."""
    gone = {row.id: "gone" if row.seen_before else "absent" for row in found.gone.itertuples()}
    open_ = {row.id: "undecided" for row in found.undecided.itertuples()}
    answers = {**gone, **open_, **{row.id: "remains" for row in found.remaining.itertuples()}}
    assert found.ids == len(answers) == len(found.gone) + len(found.undecided) + len(found.remaining)
    return answers


def also(found: PurgeFindings) -> dict[str, str]:
    return dict(zip(found.also_gone["key"], found.also_gone["relation"], strict=True))


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\r\n\r\n  # why\r\n b \r\nb", ["a", "b"]),
        (b"a\rb", ["a", "b"]),
        (b"a # b\n", ["a # b"]),
        ("ä\\xff\x1b".encode(), ["ä\\xff\x1b"]),
    ],
)
def test_a_list_is_an_id_a_line(data, ids):
    assert read_ids(data, "ids.txt") == ids


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "ids.txt: is empty"),
        (b"# none\n\n", "ids.txt: names no ID"),
        (b"a\nb\0c\n", "ids.txt, line 2: holds a NUL byte"),
        (b"REDIS0011\n\xfa\tredis-ver", "ids.txt, line 2: is not UTF-8"),
        ("a\nb\n".encode("utf-16"), "ids.txt, line 1: is UTF-16"),
        (b"a\n" + b"x" * (LONGEST + 1), "ids.txt, line 2: is longer than 65,536 bytes"),
        (b"a\n" * (LARGEST // 2 + 1), "ids.txt: is larger than 64 MB"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_list_is_refused_with_file_and_line(data, said):
    with pytest.raises(Unusable) as refused:
        read_ids(data, "ids.txt")
    assert str(refused.value).startswith(said)


def test_gone_remaining_and_never_seen_are_told_apart():
    keys = [job("1.rdb", A), job("1.rdb", B), job("2.rdb", B)]
    found = look([A, B, C], keys, [BEFORE, AFTER])
    assert told(found) == {A: "gone", B: "remains", C: "absent"}
    [gone, _] = found.gone.to_dict("records")
    assert found.gone["absent_from"].tolist() == ["2.rdb", "2.rdb"]
    assert (gone["where"], gone["last_seen"], gone["absent_from"]) == ([f"db0:job:{A}"], "1.rdb", "2.rdb")
    [left] = found.remaining.to_dict("records")
    assert (left["where"], left["status"], left["taken_at"]) == ([f"db0:job:{B}"], "done", at(100))
    headline = "1 of 3 given job records is gone, 1 is in no snapshot, 1 remains; nothing else went with them."
    assert purge_headline(found) == headline


def test_an_id_is_a_task_the_records_own_or_a_whole_key_and_never_a_prefix():
    keys = [job("1.rdb", "17", task_id=A), job("1.rdb", "18", db=3, task_id=B), key("1.rdb", "list:19", "other")]
    keys.append(key("1.rdb", "shop:job:20", "job", server="two", snapshot="two.rdb", task_id=C))
    shots = [BEFORE, snapshot("two.rdb", 0, server="two")]
    there = [A, "17", "job:17", "db3:job:18", "list:19", "two/db0:shop:job:20", "job:20", "20"]
    absent = ["job:1", A[:8], "db0:job:18", "one/db0:shop:job:20", "19", "shop", A.upper()]
    assert told(look(there + absent, keys, shots)) == {
        **dict.fromkeys(there, "remains"),
        **dict.fromkeys(absent, "absent"),
    }
    stated = look(["17", B, "20", "19"], keys, shots, around=("job:", ""))
    assert told(stated) == {"17": "remains", B: "remains", "20": "absent", "19": "absent"}
    assert told(look(["19"], keys, shots, around=("list:", ""))) == {"19": "remains"}


def test_one_snapshot_shows_what_remains_and_nothing_of_before():
    found = look([A, B], [job("2.rdb", A)], [AFTER])
    assert told(found) == {A: "remains", B: "absent"}
    assert not len(found.also_gone) and not len(found.windows)
    assert "There is only one snapshot (2.rdb)" in " ".join(purge_notes(found))
    nothing = look([B], [job("2.rdb", A)], [AFTER])
    assert purge_headline(nothing) == "The given job record is not there, but no snapshot shows that it ever was."


def test_what_was_not_read_of_the_last_snapshot_may_hold_it():
    keys = [job("1.rdb", A), job("1.rdb", B), job("2.rdb", B)]
    found = look([A, B, C], keys, [BEFORE, {**AFTER, "complete": False}])
    assert told(found) == {A: "undecided", B: "remains", C: "undecided"}
    assert found.undecided["seen_before"].tolist() == [True, False]
    assert not len(found.also_gone)
    assert "2.rdb was read in part" in " ".join(purge_notes(found))


@pytest.mark.parametrize("times", [(0, 0), (None, 0)])
def test_where_the_order_of_snapshots_is_not_known_only_what_they_agree_on_counts(times):
    shots = [snapshot("1.rdb", times[0]), snapshot("2.rdb", times[1])]
    found = look([A, B, C], [job("1.rdb", A), job("1.rdb", B), job("2.rdb", B), key("1.rdb", "x")], shots)
    assert told(found) == {A: "undecided", B: "remains", C: "absent"}
    assert not len(found.also_gone)
    assert "1.rdb and 2.rdb is the last is not known" in " ".join(purge_notes(found))


def test_a_state_whose_time_is_only_the_earliest_may_be_the_last():
    keys = [job("2.rdb", A), job("1.rdb", B), job("2.rdb", B)]
    assert told(look([A, B, C], keys, [BEFORE, AFTER])) == {A: "remains", B: "remains", C: "absent"}
    found = look([A, B, C], keys, [BEFORE, AFTER], open_ended=["1.rdb"])
    assert told(found) == {A: "undecided", B: "remains", C: "absent"}
    # Where it comes last by its time already, it does whatever its true one.
    last = look([A, B], [job("1.rdb", A), *keys[1:]], [BEFORE, AFTER], open_ended=["2.rdb"])
    assert told(last) == {A: "gone", B: "remains"}


def test_an_expired_record_that_is_still_in_the_file_is_gone_and_said_to_be_in_it():
    found = look([A], [job("1.rdb", A), job("2.rdb", A, expires=99, expired=True)], [BEFORE, AFTER])
    assert told(found) == {A: "gone"}
    assert found.gone[["due", "still_in_file", "seen_before"]].values.tolist() == [[True, True, True]]
    assert "the file holds its content" in " ".join(purge_notes(found))


def test_it_remains_where_any_record_of_it_does():
    shots = [snapshot("a1", 0, server="a"), snapshot("a2", 100, server="a"), snapshot("b1", 50, server="b")]
    keys = [
        job("a1", A, server="a"),
        job("b1", A, server="b"),
        job("a1", B, server="a"),
        job("a1", B, server="a", db=1),
    ]
    keys += [job("a2", B, server="a", db=1), key("a1", "x", server="a"), key("b1", "x", server="b")]
    found = look([A, B], keys, shots, servers=["a", "b", "c"])
    assert told(found) == {A: "remains", B: "remains"}
    assert found.remaining["where"].tolist() == [[f"b/db0:job:{A}"], [f"a/db1:job:{B}"]]
    assert found.remaining["gone_from"].tolist() == [[f"a/db0:job:{A}"], [f"a/db0:job:{B}"]]
    assert also(found) == {"x": "other"}
    twice = look([A], [job("2.rdb", A), job("2.rdb", A, db=1)], [AFTER])
    assert twice.remaining["where"].tolist() == [[f"db0:job:{A}", f"db1:job:{A}"]]
    assert "no snapshot of server c" in " ".join(purge_notes(found))


def test_what_went_with_them_is_sorted_by_what_it_has_to_do_with_them():
    gone = [
        job("1.rdb", A, expires=50),
        job("1.rdb", B),
        key("1.rdb", f"celery-task-meta-{A}", "result", db=2),
        key("1.rdb", "x"),
    ]
    gone += [key("1.rdb", f"job:{A}:logs"), key("1.rdb", f"celery-task-meta-{C}", "result", db=2)]
    gone += [key("1.rdb", "in time", expires=99), key("1.rdb", "same second", expires=100.9)]
    gone += [key("1.rdb", "early", expires=101), job("1.rdb", "7"), key("1.rdb", "job:7:logs")]
    stay = [key(shot, "stays", db=db) for shot in ("1.rdb", "2.rdb") for db in (0, 2)]
    found = look([A, "7"], gone + stay, [BEFORE, AFTER])
    assert also(found) == {
        f"job:{B}": "other_job",
        f"celery-task-meta-{A}": "of_given",
        f"job:{A}:logs": "of_given",
        "job:7:logs": "of_given",
        "x": "other",
        f"celery-task-meta-{C}": "other",
        "early": "other",
    }
    assert found.expired_meanwhile.to_dict("records") == [{"server": "", "db": 0, "family": "other", "keys": 2}]
    assert not len(found.emptied)
    assert purge_headline(found) == (
        "All 2 given job records are gone; 2 keys of no known family and 1 result of theirs, 1 job record not asked "
        "for and 3 other keys went with them."
    )


def test_only_the_interval_in_which_they_went_is_told():
    shots = [snapshot(f"{number}.rdb", number * 100) for number in range(4)]
    rows = {"0.rdb": "early with back", "1.rdb": "with late x back", "2.rdb": "late x", "3.rdb": "back x"}
    keys = [key(shot, name) for shot, names in rows.items() for name in names.split()]
    keys += [job("0.rdb", A), job("1.rdb", A), job("3.rdb", B)]
    assert also(look([A], keys, shots)) == {"with": "other"}
    # No given record went: then it is the last interval.
    nothing = look([B], keys, shots)
    assert also(nothing) == {"late": "other"}
    assert "No given record is known to have disappeared" in " ".join(purge_notes(nothing))


def test_a_snapshot_read_in_part_between_two_ends_no_interval():
    shots = [BEFORE, snapshot("part.rdb", 50, complete=False), AFTER]
    keys = [job("1.rdb", A), key("part.rdb", "x"), key("1.rdb", "y"), key("2.rdb", "z"), key("1.rdb", "z")]
    found = look([A], keys, shots)
    assert told(found) == {A: "gone"} and also(found) == {"x": "other", "y": "other"}
    assert found.gone["absent_from"].tolist() == ["2.rdb"]


def test_a_database_of_which_nothing_is_left_is_no_purge():
    keys = [
        job("1.rdb", A),
        key("1.rdb", "x"),
        key("1.rdb", "_kombu.binding.celery", "binding"),
        key("1.rdb", "y"),
        key("1.rdb", "y", db=1),
    ]
    keys += [key("2.rdb", "_kombu.binding.celery", "binding"), key("2.rdb", "new"), key("2.rdb", "y", db=1)]
    found = look([A], keys, [BEFORE, AFTER])
    assert found.emptied[["db", "held"]].values.tolist() == [[0, 4]]
    assert "nothing is left of what db0 held" in purge_headline(found)
    # Where there was nothing else, or the rest was due, it is what a purge leaves.
    alone = look([A], [job("1.rdb", A), key("1.rdb", "brief", expires=50)], [BEFORE, AFTER])
    assert not len(alone.emptied) and len(alone.expired_meanwhile) == 1


def test_without_any_known_record_keys_that_hold_the_id_are_taken():
    keys = [
        key("2.rdb", f"legacy_{A}_v2"),
        key("2.rdb", "work/nightly-17/state"),
        key("2.rdb", f"celery-task-meta-{C}", "result"),
    ]
    found = look([A, B, C, "nightly-17"], keys, [AFTER])
    assert told(found) == {A: "remains", "nightly-17": "remains", B: "absent", C: "absent"}
    assert found.by_name and "holds an ID" not in purge_headline(found)
    assert "whose names hold an ID were taken" in " ".join(purge_notes(found))
    assert found.results_left == 1
    assert not look([f"legacy_{A}_v2"], keys, [AFTER]).by_name
    assert told(look([A], keys, [AFTER], around=("job:", ""))) == {A: "absent"}
    assert told(look([A], [*keys, job("2.rdb", B)], [AFTER])) == {A: "absent"}


def test_messages_of_theirs_that_wait_no_more_are_told_as_such():
    waits = [message("1.rdb", task_id=A), message("1.rdb", task_id=B), message("1.rdb", task_id=C, state="unacked")]
    keys = [job("1.rdb", A), job("1.rdb", C), key("2.rdb", "x")]
    found = look([A, C], keys, [BEFORE, AFTER], messages=[*waits, message("2.rdb", task_id=C)])
    assert found.also_gone[["task_id", "family", "relation", "key"]].values.tolist() == [
        [A, "queue", "message", "celery"]
    ]
    assert "was delivered, or purged" in " ".join(purge_notes(found))


def test_what_is_printed_ends_and_hides_nothing():
    ids = [f"id\x1b{number:05d}" for number in range(2 * MOST)]
    keys = [job("1.rdb", name) for name in ids] + [job("1.rdb", f"x\x1b{number}") for number in range(50)]
    lines = list(purge_lines(look(ids, keys, [BEFORE, AFTER]), repr))
    assert len(lines) < 20 and "  … and 10 more (--json lists all)" in lines
    assert not [line for line in lines if "\x1b" in line]
    assert lines[-1].startswith("Note: That keys disappeared in the same interval does not show")
    assert [line for line in lines if "50 job records" in line and line.count("x\\x1b") == 3]


def test_times_are_kept_as_times_also_where_nothing_is_known():
    found = look([A], [], [AFTER])
    assert isinstance(found.gone["absent_at"].dtype, pd.DatetimeTZDtype) and told(found) == {A: "absent"}


@pytest.mark.parametrize(("second", "others", "left"), [(50, 2, 2), (150, 2, 3), (50, 1, 2)])
def test_a_state_of_unknown_place_gives_way_to_a_before_and_an_after(second, others, left):
    shots = looks(frame("evidence", [*[BEFORE, AFTER][:others], snapshot("a.aof", second)]))
    assert len(with_order(shots, ["a.aof"])) == left
