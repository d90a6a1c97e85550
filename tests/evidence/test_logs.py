"""Logs of workers, servers and applications say the same thing in every form in which they are kept."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from analysis.evidence.log_forms import succeeded_value
from analysis.evidence.log_kinds import KINDS
from analysis.evidence.logs import LONGEST_TEXT, LogReading, read_log
from tests.conftest import StartRedis, StartWorker

ID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
OTHER = "c93afef4-105f-425c-af86-9ced40d30ee0"
UTC, NEW_YORK = ZoneInfo("UTC"), ZoneInfo("America/New_York")
AT = "2025-07-24 02:05:01,500"
WORKER = f"[{AT}: INFO/MainProcess] "


def read(tmp_path: Path, content: str | bytes, zone: ZoneInfo = UTC, name: str = "x.log") -> LogReading:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    reading = read_log(path, source=name, server="s", zone=zone)
    assert set(reading.events["kind"]) <= KINDS.keys()
    return reading


def only(tmp_path: Path, content: str | bytes, zone: ZoneInfo = UTC) -> Any:
    events = read(tmp_path, content, zone).events
    assert len(events) == 1, events[["kind", "text"]]
    return events.iloc[0]


@pytest.mark.parametrize(
    ("message", "kind", "task_id", "name", "count", "seconds"),
    [
        (f"Task app.x[{ID}] received", "received", ID, "app.x", None, None),
        (f"Received task: app.x[{ID}]  ", "received", ID, "app.x", None, None),
        (f"Received task: app.x[{ID}]  ETA:[2025-07-24 03:00:00+00:00] ", "received", ID, "app.x", None, None),
        (f"Received task: app.x[{ID}]   expires:[2025-07-24 03:00:00+00:00]", "received", ID, "app.x", None, None),
        ("Task app.x[my own id] received", "received", "my own id", "app.x", None, None),
        ("Task app.x[job[1]] received", "received", "job[1]", "app.x", None, None),
        (f"Task accepted: app.x[{ID}] pid:17", "started", ID, "app.x", None, None),
        (f"Task app.x[{ID}] succeeded in 271.88s: {{'a': 1}}", "succeeded", ID, "app.x", None, 271.88),
        (f"Task app.x[{ID}] succeeded in 9.5e-05s: None", "succeeded", ID, "app.x", None, 9.5e-05),
        (f"Task app.x[{ID}] raised unexpected: ValueError('x')", "failed", ID, "app.x", None, None),
        (f"Task app.x[{ID}] raised expected: ValueError('x')", "failed", ID, "app.x", None, None),
        (f"Task app.x[{ID}] INTERNAL ERROR: x", "failed", ID, "app.x", None, None),
        (f"Task app.x[{ID}] retry: Retry in 180s: X()", "retried", ID, "app.x", None, 180),
        (f"Task app.x[{ID}] ignored", "ignored", ID, "app.x", None, None),
        (f"Task app.x[{ID}] reject requeue=False: no", "rejected", ID, "app.x", None, None),
        (f"Discarding revoked task: app.x[{ID}]", "revoked", ID, "app.x", None, None),
        (f"Tasks flagged as revoked: {ID}", "revoke_requested", ID, None, None, None),
        (f"Terminating {ID} (15)", "terminated", ID, None, None, None),
        (f"Soft time limit (300s) exceeded for app.x[{ID}]", "soft_time_limit", ID, "app.x", None, 300),
        (f"Hard time limit (300.5s) exceeded for app.x[{ID}]", "hard_time_limit", ID, "app.x", None, 300.5),
        ("Received and deleted unknown message.  Wrong destination?!?", "unknown_message", None, None, None, None),
        ("Can't decode message body: X() [type:'a' headers:{}]", "undecodable", None, None, None, None),
        ("Process 'ForkPoolWorker-3' pid:1 exited with 'signal 9 (SIGKILL)'", "child_exited", None, None, None, None),
        ("Task handler raised error: WorkerLostError('Worker exited')", "worker_lost", None, None, None, None),
        ("Task handler raised error: ConnectionError('x')", "handler_error", None, None, None, None),
        ("Task handler raised error: <TimeLimitExceeded: 1>", "hard_time_limit", None, None, None, None),
        ("Restoring 2 unacknowledged message(s)", "restoring", None, None, 2, None),
        ("UNABLE TO RESTORE 3 MESSAGES: x", "restore_failed", None, None, 3, None),
        ("Could not restore message: {}", "restore_failed", None, None, None, None),
        ("Couldn't ack 'tag', reason:ConnectionError()", "ack_failed", None, None, None, None),
        ("consumer: Connection to broker lost. Trying to re-", "broker_lost", None, None, None, None),
        ("consumer: Cannot connect to redis://h//: Error 111.", "broker_unreachable", None, None, None, None),
        ("Connected to redis://h:6379/1", "broker_connected", None, None, None, None),
        ("x.py:9: RuntimeWarning: Exception raised outside body: X():", "result_not_stored", None, None, None, None),
        ("Pool callback raised exception: X()", "result_not_stored", None, None, None, None),
        ("Failed operation _store_result.  Retrying 2 more times.", "backend_lost", None, None, None, None),
        ("Connection to Redis lost: Retry (1/20) now.", "backend_lost", None, None, None, None),
        (f"Chord '{ID}' raised: X()", "chord_failed", ID, None, None, None),
        (f"Chord callback for '{ID}' raised: X()", "chord_failed", ID, None, None, None),
        (f"GroupResult {ID} no longer exists", "group_gone", ID, None, None, None),
        ("celery@worker-1 ready.", "worker_ready", None, None, None, None),
        ("Got shutdown from remote", "worker_stopping", None, None, None, None),
        ("Unrecoverable error: AttributeError('x')", "worker_crashed", None, None, None, None),
        ("Scheduler: Sending due task nightly (app.cleanup)", "sent", None, "app.cleanup", None, None),
        ("missed heartbeat from celery@b", "heartbeat_missed", None, None, None, None),
        ("OOM command not allowed when used memory > 'maxmemory'.", "write_refused", None, None, None, None),
        ("MISCONF Redis is configured to save RDB snapshots", "write_refused", None, None, None, None),
    ],
)
def test_worker_is_understood_in_its_own_words(
    tmp_path: Path,
    message: str,
    kind: str,
    task_id: str | None,
    name: str | None,
    count: int | None,
    seconds: float | None,
) -> None:
    event = only(tmp_path, f"[{AT}: INFO/ForkPoolWorker-1] {message}\n")
    assert (event["kind"], event["process"]) == (kind, "worker ForkPoolWorker-1")
    told = {"task_id": task_id, "name": name, "count": count, "seconds": seconds}
    assert {key: None if pd.isna(event[key]) else event[key] for key in told} == told


FORMS = [
    "[2025-07-24 02:05:01,500: INFO/MainProcess] {}",
    "\x1b[32m[2025-07-24 02:05:01,500: INFO/MainProcess] {}\x1b[0m",
    "[2025-07-24T02:05:01.500Z: INFO/MainProcess] {}",
    "[2025-07-23 22:05:01,500-0400: INFO/MainProcess] {}",
    "2025-07-24 02:05:01,500 - celery.app.trace - INFO - {}",
    "2025-07-23T22:05:01.500-04:00 INFO celery.app.trace: {}",
    "INFO 2025-07-24 02:05:01,500 trace 12 99 {}",
    "[2025-07-24 02:05:01,500: INFO] {}",
    "[2025-07-24 02:05:01,500][INFO/ForkPoolWorker-2] {}",
    "[2025-07-24 02:05:01,500] {{trace.py:131}} INFO - {}",
    "2025-07-24 02:05:01.500 | INFO     | celery.app.trace:info:128 - {}",
    "worker-1  | [2025-07-24 02:05:01,500: INFO/MainProcess] {}",
    "Jul 24 02:05:02 host celery[12]: [2025-07-24 02:05:01,500: INFO/MainProcess] {}",
    "2025-07-24T02:05:01.500000000Z stdout F [2025-07-23 22:05:01,499: INFO/MainProcess] {}",
    "2025-07-24T02:05:01.5Z [2025-07-23 22:05:01,499: INFO/MainProcess] {}",
    '{{"asctime": "2025-07-24 02:05:01,500", "levelname": "INFO", "message": "{}"}}',
    '{{"@timestamp": "2025-07-24T02:05:01.500Z", "msg": "{}"}}',
    '{{"time": 1753322701.5, "event": "{}"}}',
    '{{"ts": 1753322701500, "event": "{}"}}',
    '{{"log": "[2025-07-23 22:05:01,499: INFO/MainProcess] {}\\n", "time": "2025-07-24T02:05:01.500Z"}}',
    '{{"text": "x", "record": {{"time": {{"repr": "x", "timestamp": 1753322701.5}}, "message": "{}"}}}}',
]


@pytest.mark.parametrize("form", FORMS)
def test_line_says_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    reading = read(tmp_path, form.format(f"Task app.x[{ID}] received"))
    event = reading.events.iloc[0]
    assert (event["kind"], event["task_id"], event["line"], event["server"]) == ("received", ID, 1, "s")
    assert event["process"].startswith("worker")
    assert event["at"] == event["not_after"] == pd.Timestamp("2025-07-24T02:05:01.5Z")
    assert (reading.kind, reading.lines, reading.complete) == ("worker log", 1, True)
    assert reading.first_at == reading.last_at == event["at"]


@pytest.mark.parametrize(
    "form",
    [
        "INFO:celery.app.trace:{}",
        "[INFO/ForkPoolWorker-1] {}",
        "INFO {}",
        "24/07/2025 02:05:01 INFO {}",
        "07/24/2025 02:05:01 AM - INFO - celery.app.trace - {}",
    ],
)
def test_line_of_logging_without_a_time_that_can_be_read_is_between_those_around_it(tmp_path: Path, form: str) -> None:
    late = WORKER.replace("02:05", "02:09")
    failed = f"Task app.x[{OTHER}] raised unexpected: X()"
    log = (
        f"{WORKER}{failed}\nTraceback (most recent call last):\n{form.format(f'Task app.x[{ID}] received')}\n{late}x\n"
    )
    events = read(tmp_path, log).events
    assert events["kind"].tolist() == ["failed", "received"] and events["task_id"].tolist() == [OTHER, ID]
    assert events["process"].str.startswith("worker").all() and not events["text"].iloc[0].endswith("received")
    assert events["at"].iloc[1] == pd.Timestamp("2025-07-24T02:05:01.5Z")
    assert events["not_after"].iloc[1] == pd.Timestamp("2025-07-24T02:09:01.5Z")


def test_task_names_itself_in_its_own_lines_in_every_form(tmp_path: Path) -> None:
    heads = (WORKER, f"[{AT}: INFO] ", f"{AT} INFO ", f"{AT} - INFO - ", f"[{AT}] [INFO] ")
    for head in heads:
        events = read(tmp_path, f"{head}app.cleanup[my-own]: deleted 12 jobs").events
        assert events["kind"].tolist() == ["mentioned", "purge"] and events["count"].tolist()[1] == 12, head
        assert (events["task_id"].iloc[0], events["name"].iloc[0]) == ("my-own", "app.cleanup")


@pytest.mark.parametrize(
    ("line", "zone", "at", "not_after"),
    [
        ("[2025-07-23 22:05:01,500: INFO/M] {}", NEW_YORK, "2025-07-24T02:05:01.5Z", "2025-07-24T02:05:01.5Z"),
        ("[2025-07-23 22:05:01: INFO/M] {}", NEW_YORK, "2025-07-24T02:05:01Z", "2025-07-24T02:05:01.999999Z"),
        (
            "[2025-07-24 02:05:01,123456789: INFO/M] {}",
            UTC,
            "2025-07-24T02:05:01.123456Z",
            "2025-07-24T02:05:01.123456Z",
        ),
        ("2025-07-24 02:05 {}", UTC, "2025-07-24T02:05:00Z", "2025-07-24T02:05:59.999999Z"),
        ("[2025-11-02 01:30:00,000: INFO/M] {}", NEW_YORK, "2025-11-02T05:30:00Z", "2025-11-02T06:30:00Z"),
        ("[2025-11-02 01:30:00: INFO/M] {}", NEW_YORK, "2025-11-02T05:30:00Z", "2025-11-02T06:30:00.999999Z"),
        ("[2025-11-02 01:30:00,000-0500: INFO/M] {}", NEW_YORK, "2025-11-02T06:30:00Z", "2025-11-02T06:30:00Z"),
        ("[2025-03-09 02:30:00,000: INFO/M] {}", NEW_YORK, "2025-03-09T06:30:00Z", "2025-03-09T07:30:00Z"),
        ("a - b [24/Jul/2025:02:05:01 +0200] {}", NEW_YORK, "2025-07-24T00:05:01Z", "2025-07-24T00:05:01.999999Z"),
        ("[Thu Jul 24 02:05:01.5 2025] {}", UTC, "2025-07-24T02:05:01.5Z", "2025-07-24T02:05:01.5Z"),
        ("Thu, 24 Jul 2025 02:05:01 GMT {}", NEW_YORK, "2025-07-24T02:05:01Z", "2025-07-24T02:05:01.999999Z"),
        ("2025/07/24 02:05:01 {}", UTC, "2025-07-24T02:05:01Z", "2025-07-24T02:05:01.999999Z"),
        (
            'time="2025-07-23T22:05:01-04:00" level=info msg="{}"',
            UTC,
            "2025-07-24T02:05:01Z",
            "2025-07-24T02:05:01.999999Z",
        ),
        ('{{"time": 1753322701, "msg": "{}"}}', NEW_YORK, "2025-07-24T02:05:01Z", "2025-07-24T02:05:01.999999Z"),
        ("1753322701.5 {}", NEW_YORK, "2025-07-24T02:05:01.5Z", "2025-07-24T02:05:01.5Z"),
        ("[9999-12-31 00:00:00,000: INFO/M] {}", UTC, None, None),
        ("[2025-13-45 99:00:00,000: INFO/M] {}", UTC, None, None),
        ("Jul 24 02:05:01 host app: {}", UTC, None, None),
        ("no time {}", UTC, None, None),
    ],
)
def test_time_spans_what_its_form_leaves_open(
    tmp_path: Path, line: str, zone: ZoneInfo, at: str | None, not_after: str | None
) -> None:
    event = only(tmp_path, line.format(f"purging job:{ID}"), zone)
    assert (event["kind"], event["task_id"]) == ("purge", ID)
    if at is None or not_after is None:
        assert pd.isna(event["at"]) and pd.isna(event["not_after"])
    else:
        assert (event["at"], event["not_after"]) == (pd.Timestamp(at), pd.Timestamp(not_after))


def test_time_without_a_year_takes_the_one_next_to_it(tmp_path: Path) -> None:
    log = f"{WORKER}x\nDec 31 23:59:58 host app: purged 7 jobs\n".replace("2025-07-24", "2026-01-01")
    log += "Jan  2 00:00:00 host app: purged 8 jobs\n"
    events = read(tmp_path, log).events
    assert events["at"].tolist() == [pd.Timestamp("2025-12-31T23:59:58Z"), pd.Timestamp("2026-01-02T00:00Z")]


@pytest.mark.parametrize(
    ("line", "kind", "count"),
    [
        ("INFO app.api.routers.jobs POST /api/jobs/purge 200 deleted=4 older_than=0", "purge", 4),
        ("INFO jobs: deleted 4 records", "delete", 4),
        ("Cleaned up 7 expired jobs", "purge", 7),
        ("cleanup finished, 12 old records were removed in 30 ms", "purge", 12),
        ("cleanup: removed records older than 30 days", "purge", None),
        ('{"message": "x"} purge done {"deleted_count": 3}', "purge", 3),
        ("purge_jobs count=5", "purge", 5),
        ("cleanup: nothing to delete", "purge", 0),
        ("No jobs to purge", "purge", 0),
        ("flushdb on redis db 2", "flush", None),
        ("cache cleared", "flush", None),
        ("Flushed all 12 keys of the cache", "flush", 12),
        ('1.2.3.4 "DELETE /api/jobs/7 HTTP/1.1" 204 0', "delete", None),
        ('1.2.3.4 "POST /api/jobs/purge HTTP/1.1" 403 0', "not_done", None),
        ("[12] [INFO] POST /api/jobs/purge 200", "purge", None),
        ("POST /api/jobs/purge 200 deleted=4", "purge", 4),
        ('request="POST /api/jobs/purge HTTP/1.1" remote=1.2.3.4 status=403', "not_done", None),
        ("path=/api/jobs/purge method=POST status_code=500", "not_done", None),
        ("path=/api/jobs/purge method=POST status_code=200", "purge", None),
        ("dry run: would delete 8 jobs", "not_done", 8),
        ("purge dry_run=False deleted=4 skipped=1", "purge", 4),
        ("skipping purge: locked", "not_done", None),
        ("failed to delete job 7", "not_done", None),
    ],
)
def test_application_tells_of_deleting_and_how_much(tmp_path: Path, line: str, kind: str, count: int | None) -> None:
    event = only(tmp_path, f"2025-07-24 02:05:00,000 {line}\n")
    assert (event["kind"], event["process"]) == (kind, "application")
    assert (None if pd.isna(event["count"]) else event["count"]) == count
    assert event["text"].endswith(line[-20:])


@pytest.mark.parametrize(
    "line",
    [
        '1.2.3.4 - - [24/Jul/2025:02:05:00 +0000] "GET /static/cleanup.js HTTP/1.1" 200 9',
        "2025-07-24 02:05:00 path=/api/jobs/purge method=GET status=200",
        "2025-07-24 02:05:00 flushing stdout",
        "2025-07-24 02:05:00 INFO app.cleanup scheduler starts",
        "2025-07-24 02:05:00 user 7 logged in",
        "2025-07-24 02:05:00 Received task: think about it",
        "Traceback (most recent call last):",
    ],
)
def test_line_that_says_nothing_is_no_event(tmp_path: Path, line: str) -> None:
    assert len(read(tmp_path, line).events) == 0


@pytest.mark.parametrize(
    "form",
    [
        '10.0.0.1 - bob [24/Jul/2025:02:05:00 +0000] "{} HTTP/1.1" {} 12 "-" "curl/8.1" 0.012',
        'INFO:     127.0.0.1:5000 - "{} HTTP/1.1" {} OK',
        '[2025-07-24 02:05:00 +0000] [12] [INFO] 10.0.0.1:80 - "{} HTTP/1.1" {}',
        '{{"time": "2025-07-24T02:05:00Z", "request": "{} HTTP/1.1", "remote_addr": "1.2.3.4", "status": "{}"}}',
        '{{"time": "2025-07-24T02:05:00Z", "request": "{} HTTP/1.1", "status": {}}}',
    ],
)
def test_access_logs_tell_what_was_asked_for_and_whether_it_was_granted(tmp_path: Path, form: str) -> None:
    asked = [
        ("POST /api/jobs/purge", 200, "purge"),
        ("POST /api/jobs/purge?older_than=0", 403, "not_done"),
        (f"DELETE /api/jobs/{ID}", 204, "delete"),
        (f"GET /api/jobs/{ID}", 404, "mentioned"),
    ]
    log = "\n".join(form.format(request, status) for request, status, _ in asked)
    events = read(tmp_path, log + "\n" + form.format("GET /purge", 200)).events
    assert events["kind"].tolist() == [kind for _, _, kind in asked] and events["count"].isna().all()
    assert events["task_id"].isna().tolist() == [True, True, False, False]


def test_line_that_names_tasks_is_an_event_for_each(tmp_path: Path) -> None:
    events = read(tmp_path, f"2025-07-24 02:05:00 deleting job:{ID}, celery-task-meta-{OTHER}, {ID}\n").events
    assert events[["kind", "task_id"]].values.tolist() == [["delete", ID], ["delete", OTHER]]


def test_task_that_cleans_up_is_not_what_was_cleaned_up(tmp_path: Path) -> None:
    log = f"{WORKER}app.cleanup[{ID}]: deleted 12 jobs\n{AT} purged 9 jobs request={OTHER}\n"
    log += json.dumps({"timestamp": AT, "event": "deleted jobs", "deleted": 3, "task_id": "own"})
    events = read(tmp_path, log).events
    got = [[kind, None if pd.isna(task) else task] for kind, task in events[["kind", "task_id"]].values.tolist()]
    assert got == [
        ["mentioned", ID],
        ["purge", None],
        ["purge", None],
        ["mentioned", OTHER],
        ["delete", None],
        ["mentioned", "own"],
    ]
    assert events["count"].dropna().tolist() == [12, 9, 3]


def test_lines_without_a_time_belong_to_the_event_before_them(tmp_path: Path) -> None:
    log = f"""{WORKER}Task app.x[{ID}] raised unexpected: ValueError('x')
Traceback (most recent call last):
  File "x.py", line 1, in run
ValueError: OOM command not allowed, password=s3cret
{WORKER}Received unregistered task of type 'app.gone'.
The message has been ignored and discarded.

The full contents of the message headers:
{{'lang': 'py', 'task': 'app.gone', 'id': '{OTHER}', 'shadow': None}}
{WORKER}x
"""
    events = read(tmp_path, log).events
    assert events["kind"].tolist() == ["failed", "unregistered"]
    assert events["task_id"].tolist() == [ID, OTHER] and events["name"].tolist() == ["app.x", "app.gone"]
    assert events["text"].iloc[0].endswith("ValueError: OOM command not allowed, password=[redacted]")


def test_what_a_worker_prints_happened_between_the_lines_around_it(tmp_path: Path) -> None:
    log = f"""purge: Erased 3 messages from the queue.

 -------------- worker1@app-1 v5.7.0 (collider)
--- ***** -----
-- ******* ---- Linux-6.1-x86_64-with-glibc2.36 2025-07-24 02:00:00
- ** ---------- .> transport:   redis://:s3cret@h/1
- ** ---------- .> results:     rpc://
{WORKER}worker1@app-1 ready.
Purged 1 message from 2 known task queues.
{WORKER.replace("02:05:01", "02:07:00")}x
worker: Warm shutdown (MainProcess)
"""
    events = read(tmp_path, log).events.set_index("kind")
    assert pd.isna(events.loc["queue_purged", "at"].iloc[0])
    assert events.loc["queue_purged", "count"].tolist() == [3, 1]
    assert events.loc["queue_purged", "not_after"].tolist() == [
        pd.Timestamp("2025-07-24T02:00:00.999999Z"),
        pd.Timestamp("2025-07-24T02:07:00.5Z"),
    ]
    assert events.loc["worker_started", "at"] == pd.Timestamp("2025-07-24T02:00Z")
    assert events.loc["worker_started", "text"].startswith("worker1@app-1 v5.7.0")
    assert events.loc["worker_results", "text"].endswith("rpc://")
    assert "s3cret" not in events.loc["worker_transport", "text"]
    assert pd.isna(events.loc["worker_stopping", "not_after"])
    assert events.loc["worker_stopping", "at"] == pd.Timestamp("2025-07-24T02:07:00.5Z")


SERVER_LINES = [
    ("C", "oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo", ["server_started"]),
    ("C", "oO0OoO0OoO0Oo Valkey is starting oO0OoO0OoO0Oo", ["server_started"]),
    ("M", "Ready to accept connections tcp", ["server_ready"]),
    ("M", "The server is now ready to accept connections at /run/redis.sock", ["server_ready"]),
    ("M", "DB loaded from disk: 0.012 seconds", ["data_loaded"]),
    ("M", "Done loading RDB, keys loaded: 5, keys expired: 3.", ["rdb_loaded", "expired_on_load"]),
    ("M", "Done loading RDB, keys loaded: 5, keys expired: 0, empty keys skipped: 0.", ["rdb_loaded"]),
    ("M", "RDB age 99 seconds", ["rdb_age"]),
    ("M", "DB saved on disk", ["saved_by_server"]),
    ("C", "DB saved on disk", ["saved_by_child"]),
    ("M", "Background saving error", ["save_failed"]),
    ("M", "User requested shutdown...", ["shutdown_requested"]),
    ("M", "Saving the final RDB snapshot before exiting.", ["final_save"]),
    ("M", "Redis is now ready to exit, bye bye...", ["server_stopped"]),
    ("S", "REPLICAOF 10.0.0.1:6379 enabled (user request from 'id=3 addr=1:2')", ["became_replica"]),
    ("M", "MASTER MODE enabled (user request from 'id=3')", ["became_master"]),
    ("M", "PRIMARY MODE enabled (failover request from 'id=3')", ["became_master"]),
    ("S", "MASTER <-> REPLICA sync: Flushing old data", ["resync_flush"]),
    ("S", "Full resync from master: 9f:1", ["resync_full"]),
    ("S", "Connection with master lost.", ["master_lost"]),
    ("M", "Setting secondary replication ID to 9f, valid up to offset: 1.", ["replid_changed"]),
    ("M", "!!! Truncating the AOF appendonly.aof at offset 54 !!!", ["aof_truncated"]),
    ("M", "Background AOF rewrite finished successfully", ["aof_rewritten"]),
    ("M", "=== REDIS BUG REPORT START: Cut & paste starting from here ===", ["server_crashed"]),
    ("M", "DB 2: 32 keys (32 volatile) in 64 slots HT.", ["db_size"]),
    ("X", "+switch-master main 10.0.0.1 1 10.0.0.2 1", ["failover"]),
    ("M", "Accepted 127.0.0.1:5", []),
]


@pytest.mark.parametrize(("role", "message", "kinds"), SERVER_LINES)
@pytest.mark.parametrize("form", ["12:{} 24 Jul 2025 02:05:01.500 * {}", "12:{} 2025-07-24T04:05:01.500+02:00 * {}"])
def test_server_is_understood_in_its_own_words(
    tmp_path: Path, form: str, role: str, message: str, kinds: list[str]
) -> None:
    reading = read(tmp_path, form.format(role, message))
    assert reading.events["kind"].tolist() == kinds and reading.kind == "redis log"
    assert reading.events["process"].eq(f"redis {role}").all()
    assert reading.first_at == pd.Timestamp("2025-07-24T02:05:01.5Z")


def test_server_figures_and_rarer_forms_of_its_log(tmp_path: Path) -> None:
    log = """12:M 24 Jul 2025 02:05:01.500 * Done loading RDB, keys loaded: 5, keys expired: 3.
12:M 24 Jul 2025 02:05:01.500 * RDB age 99 seconds
12:signal-handler (1753322701) Received SIGTERM scheduling shutdown...
12:M 1753322701500 * Ready to accept connections tcp
pid=9 role=RDB/AOF timestamp="24 Jul 2025 02:05:01.500" level=notice message="DB saved on disk"
pid=9 role=primary timestamp="2025-07-24T02:05:01.500+00:00" level=notice message="DB saved on disk"
"""
    events = read(tmp_path, log, UTC).events
    kinds = ["rdb_loaded", "expired_on_load", "rdb_age", "shutdown_signal", "server_ready"]
    assert events["kind"].tolist() == [*kinds, "saved_by_child", "saved_by_server"]
    assert events["count"].tolist()[:2] == [5, 3] and events["seconds"].iloc[2] == 99
    assert events["at"].dt.floor("s").nunique() == 1


def test_text_is_redacted_and_bounded_and_a_result_is_kept(tmp_path: Path) -> None:
    value = "{'url': 'redis://:s3cret@h', 'total_tokens': 18482, 'token': 's3cret'}"
    event = only(tmp_path, f"{WORKER}Task app.x[{ID}] succeeded in 1.5s: {value}\n")
    assert event["text"].endswith("{'url': 'redis://:[redacted]@h', 'total_tokens': 18482, 'token': '[redacted]'}")
    event = only(tmp_path, f"{WORKER}Task app.x[{ID}] succeeded in 1.5s: {'x' * 20_000}\n")
    assert event["text"].startswith(f"Task app.x[{ID}]") and len(event["text"]) < LONGEST_TEXT + 50


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("{'a': 1}", "{'a': 1}"),
        ("None", "None"),
        ("", ""),
        ("'it is (so'", "'it is (so'"),
        ('"it\'s so"', '"it\'s so"'),
        ("'it\\'s so' levelname=INFO", "'it\\'s so'"),
        ("{'a': 'b)'} levelname=INFO by=bob", "{'a': 'b)'}"),
        ("{'a': 1}\nprinted by the task", "{'a': 1}"),
        ("array([[1, 2],\n       [3, 4]])\nprinted", "array([[1, 2],\n       [3, 4]])"),
        ("<Order: 7 items> levelname=INFO", "<Order: 7 items>"),
        ("7 items of 9", "7 items of 9"),
        ("{'a': 'xx… (1,000 more characters)", "{'a': 'xx… (1,000 more characters)"),
    ],
)
def test_value_is_cut_out_of_the_text_of_its_event(given: str, value: str) -> None:
    text = f"Task app.x[{ID}] succeeded in 1.5s: {given}"
    assert succeeded_value(text) == succeeded_value("INFO celery.app.trace: " + text) == value


def test_no_other_event_has_a_value_and_no_value_takes_long() -> None:
    for text in (f"Task app.x[{ID}] received", f"Task app.x[{ID}] succeeded before", "succeeded in 1.5s: 7", ""):
        assert succeeded_value(text) is None
    for value in ("\\'" * 50_000, "'\"" * 50_000, "'" * 3 + "(" * 100_000, "\\" * 100_001):
        assert succeeded_value(f"Task a[1] succeeded in 1s: {value}") == value
    assert succeeded_value("Task " * 50_000) is None


def test_json_line_keeps_its_fields_but_no_secret(tmp_path: Path) -> None:
    line = {"time": AT, "msg": "purge finished", "deleted": 4, "api_key": "s3cret", "by": "bob", "nested": {"a": 1}}
    event = only(tmp_path, json.dumps(line))
    assert (event["kind"], event["count"]) == ("purge", 4)
    assert "by=bob" in event["text"] and "s3cret" not in event["text"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n\n",
        b"\0" * 3_000_000 + WORKER.encode() + b"celery@a ready.\n",
        b"\xff\xfe" + (WORKER + "celery@a ready.\r\n").encode("utf-16-le"),
        b"\xef\xbb\xbf" + WORKER.encode() + b"celery@a ready.\r\n",
        (WORKER + "x\n").encode("latin-1") + b"\xe4\n" + (WORKER + "celery@a ready.\n").encode("utf-16-le"),
        b"\xff\x80\n" + WORKER.encode() + b"Task \xff[\xfe] received\n",
        b"{" * 70_000 + b"\n" + b"[" * 70_000,
        b'{"time": 1e999, "msg": "\\ud800", "task_id": "\\udfff"}\n{"time": NaN}\n{"message": 7}\n[]\n',
        b"a | " * 20_000 + b"\n" + b"2025-01-01 00:00:00 " * 4000,
        (WORKER + "Task a[" + "b" * 70_000).encode(),
    ],
)
def test_foreign_and_hostile_content_is_read_to_its_end(tmp_path: Path, content: bytes) -> None:
    reading = read(tmp_path, content)
    assert reading.complete and reading.stopped_at is None
    reading.events["text"].str.encode("utf-8")
    if b"ready" in content.replace(b"\0", b""):
        assert reading.events["kind"].tolist() == ["worker_ready"]


def test_binary_file_is_no_sound_log(tmp_path: Path) -> None:
    reading = read(tmp_path, bytes(range(32)) * 9000)
    assert not reading.complete and reading.reason and len(reading.events) == 0


def test_line_of_a_hundred_megabytes_costs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with path.open("wb") as file:
        file.write(f"{WORKER}Task app.x[{ID}] succeeded in 1.5s: ".encode())
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(f"\n{WORKER}celery@a ready.\n".encode())
    tracemalloc.start()
    reading = read_log(path, source="x.log", zone=UTC)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.events["kind"].tolist() == ["succeeded", "worker_ready"] and reading.lines == 2
    assert peak < 16_000_000


def lines(count: int) -> bytes:
    return b"".join(f"{WORKER}Task app.x[{n:08}-{ID[9:]}] received\n".encode() for n in range(count))


def test_compressed_log_is_read_whatever_its_name(tmp_path: Path) -> None:
    content = lines(2000)
    reading = read(tmp_path, gzip.compress(content[:100_000]) + gzip.compress(content[100_000:]) + b"\0" * 512)
    assert (reading.complete, len(reading.events), reading.lines) == (True, 2000, 2000)


@pytest.mark.parametrize("damage", ["cut", "broken", "checksum"])
def test_damaged_compressed_log_keeps_what_can_be_read(tmp_path: Path, damage: str) -> None:
    raw = bytearray(gzip.compress(lines(20_000), compresslevel=1))
    if damage == "cut":
        del raw[len(raw) * 9 // 10 :]
    elif damage == "broken":
        raw[len(raw) * 9 // 10 :] = b"\xff" * (len(raw) // 10)
    else:
        raw[-6] ^= 0xFF
    reading = read(tmp_path, bytes(raw))
    assert not reading.complete and reading.reason and reading.stopped_at == reading.lines
    assert reading.lines == 20_000 if damage == "checksum" else 17_000 < reading.lines < 19_000


def test_compressed_log_that_swells_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.evidence.log_lines.LARGEST_INFLATED", 4 << 20)
    reading = read(tmp_path, gzip.compress(b"\n" * 30_000_000))
    assert not reading.complete and reading.lines < 10_000_000 and "unpacked" in str(reading.reason)


SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.mark.skipif(not SHARED.exists(), reason=f"no incidents at {SHARED}")
def test_logs_of_the_incidents_are_told_apart_and_leave_no_task_out() -> None:
    for path in sorted(SHARED.glob("incidents/*/*.log")):
        if path.name.startswith(("worker", "redis")):
            reading = read_log(path, source=path.name, zone=UTC)
            assert reading.kind == f"{path.name[:5].rstrip('-.')} log".replace("worke ", "worker ")
            text = path.read_text()
            for kind, words in (
                ("received", "] received\n"),
                ("succeeded", "] succeeded in "),
                ("server_started", "is starting"),
            ):
                assert reading.events["kind"].eq(kind).sum() == text.count(words)


APP = """
import os, time
from celery import Celery
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_task_logger
app = Celery("app", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
log = get_task_logger(__name__)

@app.task
def good(n):
    return {"n": n, "token": "s3cret", "total_tokens": n}

@app.task(ignore_result=True)
def cleanup():
    log.warning("deleted %d jobs", 12)

@app.task
def bad():
    raise ValueError("boom")

@app.task(bind=True, max_retries=1)
def again(self):
    raise self.retry(countdown=0, exc=KeyError("x"))

@app.task
def ignored():
    raise Ignore()

@app.task
def rejected():
    raise Reject("no", requeue=False)
"""


def test_real_worker_and_its_server_are_understood(start_redis: StartRedis, start_worker: StartWorker) -> None:
    from celery import Celery

    server = start_redis(requirepass="s3cret")
    worker = start_worker(APP, env={"BROKER": server.url(1), "TZ": "America/New_York"})
    app = Celery("app", broker=server.url(1), backend=server.url(1))
    names = ("bad", "again", "ignored", "rejected", "cleanup")
    sent = {name: app.send_task(f"{worker.app.stem}.{name}").id for name in names}
    expired = app.send_task(f"{worker.app.stem}.good", args=[1], expires=-1).id
    gone = app.send_task("app.gone").id
    good = app.send_task(f"{worker.app.stem}.good", args=[7], task_id="my own id").id
    assert worker.wait_for("[my own id] succeeded") and worker.wait_for(f"again[{sent['again']}] raised")
    worker.stop()
    server.shutdown(save=True)

    reading = read_log(worker.log, source="worker.log", zone=NEW_YORK)
    events = reading.events
    assert reading.kind == "worker log" and reading.complete
    assert not events["text"].str.contains("s3cret").any()

    def kinds(task_id: str) -> list[str]:
        return events.loc[events["task_id"].eq(task_id), "kind"].tolist()

    assert kinds(sent["bad"]) == ["received", "failed"]
    assert kinds(sent["again"])[:2] == ["received", "retried"] and kinds(sent["again"])[-1] == "failed"
    assert kinds(sent["ignored"]) == ["received", "ignored"]
    assert kinds(sent["rejected"]) == ["received", "rejected"]
    assert kinds(sent["cleanup"]) == ["received", "mentioned", "succeeded"]
    assert kinds(expired) == ["received", "revoked"]
    assert kinds(gone) == ["unregistered"]
    assert kinds(good) == ["received", "succeeded"]
    assert events.loc[events["kind"].eq("purge") | events["kind"].eq("delete"), "count"].tolist() == [12]
    told = events.loc[events["task_id"].eq(good), "text"].iloc[1]
    assert succeeded_value(told) == "{'n': 7, 'token': '[redacted]', 'total_tokens': 7}"
    now = pd.Timestamp.now("UTC")
    assert (now - events["at"].dropna()).between(pd.Timedelta(0), pd.Timedelta(minutes=2)).all()

    log = read_log(server.log, source="redis.log", zone=ZoneInfo("UTC"))
    assert log.kind == "redis log"
    told = log.events["kind"].tolist()
    assert told[0] == "server_started" and told[-1] == "server_stopped"
    assert {"server_ready", "shutdown_requested", "final_save", "saved_by_server"} <= set(told)
