"""Ends that look like others: what a verdict makes of commands that came later, elsewhere, of another key or task.

Each stream is written by hand, so that what is true is known. A hostile review found every one of them told wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.investigation import look_into
from tests.evidence.test_aof import command

T = 1_753_000_000
TASK = "11111111-2222-4333-8444-555555555555"
OTHER = "aaaaaaaa-0000-4000-8000-000000000001"
KEY = f"celery-task-meta-{TASK}"
LATER = f"celery-task-meta-{OTHER}"


def at(second: int) -> bytes:
    return b"#TS:%d\r\n" % second


def stored(second: int, task: str = TASK, ttl: int = 86_400, prefix: str = "", **more: Any) -> bytes:
    done = datetime.fromtimestamp(second, UTC).isoformat()
    meta = {"status": "SUCCESS", "result": task[:2], "date_done": done, "task_id": task, **more}
    expiry = str((second + ttl) * 1000)
    return command("SET", f"{prefix}celery-task-meta-{task}", json.dumps(meta), "PXAT", expiry)


def case_of(folder: Path, aof: bytes = b"", files: Mapping[str, str | bytes] | None = None) -> analysis.Case:
    """A case of one append-only file that begins with SELECT 0, and of other files (``__`` in a name is a ``/``)."""
    given: dict[str, str | bytes] = {"appendonly.aof": command("SELECT", "0") + aof} if aof else {}
    for name, content in {**given, **(files or {})}.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return analysis.open_case(folder)


def test_an_expiry_in_a_quiet_file_is_none_of_a_client(tmp_path):
    # Without #TS the server's own DEL stands last, and nothing dates it.
    assert result(case_of(tmp_path, stored(T, ttl=60) + command("DEL", KEY)))[1] == "natural_expiry"


def test_a_worker_whose_clock_is_ahead_shortens_no_ttl(tmp_path):
    ahead = json.dumps({"status": "SUCCESS", "date_done": datetime.fromtimestamp(T + 7200, UTC).isoformat()})
    aof = command("SET", KEY, ahead, "PXAT", str((T + 86_400) * 1000)) + command("DEL", KEY)
    case = case_of(tmp_path, aof, {"case.toml": "[celery]\nresult_expires = 86400\n"})
    assert result(case)[1] != "ttl_shortened"


def result(case: analysis.Case) -> tuple[str, str, float]:
    record = analysis.investigate(case, TASK).records["result"]
    return record.status, record.cause, record.confidence


ALIVE = at(T) + stored(T)
GONE = {"deleted_by_client", "forgotten"}
SHORT = at(T) + stored(T, ttl=60) + at(T + 61) + command("DEL", KEY)
STATED = "[databases]\nresults = 0\n[celery]\nresult_expires = 60\n"


@pytest.mark.parametrize(
    ("aof", "toml", "causes"),
    [
        # What took it first took it; nothing takes it again.
        (ALIVE + at(T + 9) + command("del", KEY) + at(T + 3600) + command("FLUSHDB"), "", {"deleted_by_client"}),
        (SHORT + at(T + 99) + command("FLUSHALL"), STATED, {"natural_expiry"}),
        (SHORT + at(T + 99) + command("DEL", KEY, "other"), STATED, {"natural_expiry"}),
        # The same name in another database is another key.
        (
            SHORT + command("SELECT", "7") + at(T + 70) + command("SET", KEY, "z") + at(T + 75) + command("DEL", KEY)
            + command("SELECT", "0") + stored(T + 80, OTHER, ttl=60), STATED, {"natural_expiry"},
        ),
        # Behind damage an expiry is still an expiry.
        (
            at(T) + command("SET", "x", "12").replace(b"$2\r\n12", b"$7\r\n12") + SHORT + at(T + 62)
            + b"".join(command("SET", f"k{n}", "1") for n in range(20)), STATED, {"natural_expiry", "unknown"},
        ),
        # A prefix that was stated is that of the record.
        (
            SHORT.replace(KEY.encode(), b"app1_" + KEY.encode()).replace(b"$53\r\n", b"$58\r\n") + at(T + 70)
            + stored(T + 70, prefix="app2_") + command("del", f"app2_{KEY}"),
            STATED + 'key_prefix = "app1"\n', {"natural_expiry"},
        ),
    ],
)  # fmt: skip
def test_an_end_is_that_of_the_record(tmp_path, aof, toml, causes):
    status, cause, confidence = result(case_of(tmp_path, aof, {"case.toml": toml} if toml else None))
    assert cause in causes and status != "present"
    assert confidence > 0.5


@pytest.mark.parametrize(
    "again",
    [
        command("COPY", KEY, "kept") + command("DEL", KEY) + command("COPY", "kept", KEY),
        command("SWAPDB", "0", "1") + command("SWAPDB", "0", "1"),
        command("RENAME", KEY, "aside") + command("RENAME", "aside", KEY),
        command("DEL", KEY) + stored(T + 5),
    ],
    ids=["copied back", "swapped back", "renamed back", "stored again"],
)
def test_what_is_there_in_the_end_is_present(tmp_path, again):
    assert result(case_of(tmp_path, ALIVE + at(T + 5) + again))[:2] == ("present", "present")


def test_a_flush_on_another_server_is_none_of_its(tmp_path):
    monitor = f'{T + 9}.000000 [0 1.1.1.1:5] "FLUSHALL"\n'
    case = case_of(
        tmp_path,
        b"",
        {
            "servers__main__appendonly.aof": command("SELECT", "0") + ALIVE + at(T + 20) + command("GET", "x"),
            "servers__cache__monitor.log": monitor,
            "case.toml": 'environment = "main"\n',
        },
    )
    assert result(case)[1] != "server_flushed"


def test_a_removal_before_the_task_ended_took_no_result(tmp_path):
    log = f"[2025-07-20 08:30:00,000: INFO/ForkPoolWorker-1] Task app.add[{TASK}] succeeded in 0.1s: 3\n"
    monitor = f'{T - 9_000}.000000 [0 1.1.1.1:5] "DEL" "{KEY}"\n'
    cause = result(case_of(tmp_path, b"", {"worker.log": log, "monitor.log": monitor}))[1]
    assert cause not in GONE


def test_another_tasks_content_is_not_recovered(tmp_path):
    aof = at(T) + stored(T, OTHER) + stored(T) + at(T + 5) + command("DEL", LATER, KEY)
    found = look_into(case_of(tmp_path, aof), TASK).recovered["result"]
    assert [copy.content["task_id"] for copy in found] == [TASK]


def test_a_transaction_without_its_end_is_not_certain(tmp_path):
    status, _, confidence = result(case_of(tmp_path, ALIVE + command("MULTI") + command("DEL", KEY)))
    assert confidence < 0.9 and status == "present"


def test_text_in_a_cut_value_is_no_command(tmp_path):
    value = "x\r\n*1\r\n$8\r\nFLUSHALL\r\n" + "y" * 50
    aof = ALIVE + at(T + 5) + command("SET", "page", value)[:-40]
    case = case_of(tmp_path, aof)
    assert "FLUSHALL" not in set(case.commands["verb"])
    assert result(case)[:2] == ("present", "present")


def test_history_is_read_in_its_order_whatever_the_manifests(tmp_path):
    # Redis writes the newest part first among the history.
    manifest = "".join(
        f"file a.aof.{seq}.{kind} seq {seq} type {letter}\n"
        for seq, kind, letter in (
            (2, "incr.aof", "h"),
            (1, "incr.aof", "h"),
            (3, "base.aof", "b"),
            (3, "incr.aof", "i"),
        )
    )
    parts: dict[str, str | bytes] = {
        "d__a.aof.manifest": manifest,
        "d__a.aof.1.incr.aof": command("SELECT", "0") + at(T) + stored(T),
        "d__a.aof.2.incr.aof": command("SELECT", "0") + at(T + 9) + command("del", KEY),
        "d__a.aof.3.base.aof": command("SELECT", "0") + command("SET", "kept", "1"),
        "d__a.aof.3.incr.aof": at(T + 60) + command("SELECT", "0") + command("SET", "x", "1"),
    }
    assert result(case_of(tmp_path, b"", parts))[1] == "deleted_by_client"


def test_what_comes_after_a_missing_part_may_undo_what_is_seen(tmp_path):
    manifest = "file a.aof.1.incr.aof seq 1 type i\nfile a.aof.2.incr.aof seq 2 type i\n"
    part = command("SELECT", "0") + ALIVE + at(T + 9) + command("del", KEY)
    whole = result(case_of(tmp_path / "whole", ALIVE + at(T + 9) + command("del", KEY)))
    case = case_of(tmp_path / "part", b"", {"d__a.aof.manifest": manifest, "d__a.aof.1.incr.aof": part})
    assert result(case)[2] < whole[2]


def test_a_replica_tells_nothing_of_its_masters_memory(tmp_path):
    info = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n# Stats\r\nevicted_keys:0\r\n# Replication\r\nrole:slave\r\n"  # noqa: E501
    case = case_of(tmp_path, ALIVE + at(T + 9) + command("DEL", KEY), {"info-20250720T083700Z.txt": info})
    (row,) = case.commands.loc[case.commands["removed_by"].notna()].itertuples()
    assert row.or_by == "eviction"


def test_an_id_within_another_id_is_not_the_same(tmp_path):
    toml = '[jobs]\nkey = "job:{id}"\nexpires = 60\n'
    aof = at(T) + command("HSET", "job:task-1", "s", "x") + command("HSET", "job:task-12", "s", "x")
    aof += at(T + 9) + command("DEL", "job:task-12") + at(T + 99) + stored(T + 99, OTHER)
    record = analysis.investigate(case_of(tmp_path, aof, {"case.toml": toml}), "task-1").records["job"]
    assert (record.status, record.cause) == ("present", "present")


@pytest.mark.parametrize("done", ["0001-01-01T00:00:00", "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00"])
def test_times_out_of_the_calendar_stop_nothing(tmp_path, done):
    aof = ALIVE + stored(T, date_done=done) + command("PEXPIREAT", KEY, "-62135596800001") + command("DEL", KEY)
    looked = look_into(case_of(tmp_path, aof), TASK)
    assert len(looked.timeline) and looked.verdict.headline


def test_a_backlog_that_changed_an_expiry_does_not_keep_the_old_one(tmp_path, start_redis):
    server = start_redis()
    client = server.client()
    client.set(KEY, "{}", px=60_000)
    rdb = server.save().read_bytes()
    head = b"".join(command("SET", f"k{number}", "1") for number in range(20))
    raw = command("SELECT", "0") + head + command("PERSIST", KEY) + command("DEL", KEY)
    case = case_of(tmp_path, b"", {"dump.rdb": rdb, "backlog-5.resp": raw})
    (row,) = case.commands.loc[case.commands["removed_by"].notna()].itertuples()
    assert row.removed_by == "unknown"
    assert result(case)[1] != "natural_expiry" or result(case)[2] < 0.7
