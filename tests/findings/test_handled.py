"""What became of a message: its way through an append-only file, and what workers logged.

Streams are written by hand, so that what is true is known.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.findings.verdict import Verdict
from tests.evidence.test_aof import command
from tests.test_ends import OTHER, TASK, T, at, case_of, stored

TAG = "0a0b0c0d-1111-4222-8333-444455556666"
NAME = "shop.tasks.send_receipt"


def message(task: str = TASK, *, embed: Any = None, **headers: Any) -> dict[str, Any]:
    """A message as kombu pushes it."""
    body = json.dumps([[], {}, embed or {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": NAME, "id": task, "root_id": task, "ignore_result": False, **headers},
        "properties": {
            "correlation_id": task,
            "reply_to": "99999999-1111-4222-8333-444455556666",
            "body_encoding": "base64",
            "delivery_tag": TAG,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
        },
    }


def pushed(task: str = TASK, queue: str = "celery", **more: Any) -> bytes:
    return command("LPUSH", queue, json.dumps(message(task, **more)))


POPPED = command("RPOP", "celery")


def reserved(**more: Any) -> bytes:
    held = json.dumps([message(**more), "", "celery"])
    both = command("ZADD", "unacked_index", "1", TAG) + command("HSET", "unacked", TAG, held)
    return command("MULTI") + both + command("EXEC")


ACKED = command("MULTI") + command("ZREM", "unacked_index", TAG) + command("HDEL", "unacked", TAG) + command("EXEC")
OTHERS = at(T + 5) + stored(T + 5, OTHER) + at(T + 60) + command("SET", "later", "1")
RECEIVED = f"[2025-07-20 08:26:42,000: INFO/MainProcess] Task {NAME}[{TASK}] received\n"


def judged(folder: Path, aof: bytes, **files: str) -> Verdict:
    return analysis.investigate(case_of(folder, at(T) + aof, files), TASK)


def led(verdict: Verdict, record: str = "result") -> tuple[str, str]:
    return verdict.records[record].cause, verdict.records[record].status


@pytest.mark.parametrize(
    ("aof", "cause", "status"),
    [
        (pushed() + OTHERS, "queued", "in_flight"),
        (pushed() + POPPED + reserved() + OTHERS, "reserved", "in_flight"),
        (pushed() + POPPED + OTHERS, "lost_in_pop", "absent"),
        (pushed() + command("DEL", "celery") + OTHERS, "queue_purged", "absent"),
        (pushed() + command("del", "celery") + OTHERS, "deleted_by_client", "absent"),
        (pushed() + command("FLUSHDB") + OTHERS, "db_flushed", "absent"),
        (pushed() + command("RENAME", "celery", "aside") + OTHERS, "renamed_or_moved", "in_flight"),
        (
            pushed() + command("PEXPIREAT", "celery", str((T + 2) * 1000)) + at(T + 3) + command("DEL", "celery")
            + OTHERS, "queue_expired", "absent",
        ),
    ],
    ids="queued reserved popped purged deleted flushed renamed expired".split(),
)  # fmt: skip
def test_a_result_that_never_came_to_be_carries_what_its_message_met(tmp_path, aof, cause, status):
    verdict = judged(tmp_path, aof)
    assert led(verdict, "message") == (cause, status)
    assert led(verdict) == (cause, status)


def test_a_queue_made_anew_does_not_hold_what_went_with_the_old_one(tmp_path):
    verdict = judged(tmp_path, pushed() + command("DEL", "celery") + pushed(OTHER) + OTHERS)
    assert led(verdict, "message") == ("queue_purged", "absent")


def test_a_message_popped_at_the_very_end_is_not_called_lost(tmp_path):
    assert led(judged(tmp_path, pushed() + POPPED), "message")[0] != "lost_in_pop"


def test_a_message_that_a_worker_logged_was_not_lost_on_the_way(tmp_path):
    verdict = judged(tmp_path, pushed() + POPPED + OTHERS, **{"worker.log": RECEIVED})
    assert led(verdict, "message") == ("consumed", "absent")


def test_a_message_given_back_waits_again(tmp_path):
    aof = pushed() + POPPED + reserved() + ACKED + command("RPUSH", "celery", json.dumps(message())) + OTHERS
    assert led(judged(tmp_path, aof), "message") == ("queued", "in_flight")


HANDLED = pushed() + POPPED + reserved() + ACKED


def test_a_worker_that_starts_anew_had_died_with_the_task(tmp_path):
    log = RECEIVED + "[2025-07-20 08:30:00,000: INFO/MainProcess] celery@web-1 ready.\n"
    verdict = judged(tmp_path, HANDLED + OTHERS, **{"worker.log": log})
    assert led(verdict) == ("worker_killed", "absent")
    assert led(verdict, "message") == ("consumed", "absent")
    assert verdict.unexpected_loss is True


def test_a_task_whose_worker_goes_on_is_running(tmp_path):
    log = RECEIVED + "".join(
        f"[2025-07-20 08:26:4{n},000: INFO/MainProcess] Task {NAME}[{OTHER}{n}] received\n" for n in range(3, 6)
    )
    verdict = judged(tmp_path, HANDLED + OTHERS, **{"worker.log": log})
    assert led(verdict) == ("running", "in_flight")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (f"Discarding revoked task: {NAME}[{TASK}]", "revoked"),
        (f"Task {NAME}[{TASK}] reject requeue=False: no", "discarded"),
    ],
)
def test_what_a_worker_would_not_run_was_not_consumed(tmp_path, line, cause):
    log = RECEIVED + f"[2025-07-20 08:26:43,000: INFO/MainProcess] {line}\n"
    verdict = judged(tmp_path, HANDLED + OTHERS, **{"worker.log": log})
    assert led(verdict) == (cause, "absent")
    assert led(verdict, "message") == (cause, "absent")


def test_a_purge_that_a_log_tells_takes_what_was_sent(tmp_path):
    log = "[2025-07-20 08:26:43,000: INFO/MainProcess] purge: Erased 3 messages from the queue.\n"
    verdict = judged(tmp_path, pushed() + command("DEL", "celery") + OTHERS, **{"worker.log": log})
    assert verdict.records["message"].cause == "queue_purged"
    assert verdict.records["message"].confidence > 0.95


def test_a_body_whose_chord_expired_never_ran(tmp_path):
    body = {"chord": {"task": "shop.total", "options": {"task_id": TASK}}}
    group, parts = "77777777-1111-4222-8333-444455556666", [OTHER, OTHER[:-1] + "2"]
    aof = b"".join(pushed(part, embed=body, group=group) for part in parts)
    state = f"celery-taskset-meta-{group}"
    aof += command("SET", f"{state}.s", "2", "PXAT", str((T + 2) * 1000)) + command("ZADD", f"{state}.j", "0", "[1]")
    aof += at(T + 3) + command("DEL", f"{state}.s") + OTHERS
    line = "[2025-07-20 08:26:4{0},000: INFO/ForkPoolWorker-1] Task {1}[{2}] succeeded in 4.0s: 1\n"
    log = "".join(line.format(second, NAME, part) for second, part in enumerate(parts, 4))
    verdict = judged(tmp_path, aof, **{"worker.log": log})
    assert led(verdict) == ("chord_state_expired", "absent")


SENT = f"2025-07-20 08:27:00,000 INFO app: sent {TASK} to warehouse\n"


def test_what_an_application_says_it_sent_and_no_stream_shows_was_not_sent(tmp_path):
    others = b"".join(pushed(f"{OTHER[:-2]}{n:02}") for n in range(10, 20))
    verdict = judged(tmp_path, others + OTHERS, **{"app.log": SENT})
    chances = {h.cause: h.probability for h in verdict.of("result")}
    assert chances["never_published"] + chances["unroutable"] > 0.3
    unbound = command("DEL", "_kombu.binding.warehouse")
    verdict = judged(tmp_path, others + unbound + OTHERS, **{"app.log": SENT})
    assert led(verdict) == ("unroutable", "absent")


def monitored(second: float, db: int, *words: str) -> str:
    quoted = " ".join('"{}"'.format(word.replace("\\", "\\\\").replace('"', '\\"')) for word in words)
    return f"{T + second:.6f} [{db} 10.0.0.1:5] {quoted}\n"


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([monitored(3, 1, "DEL", "celery")], "queue_purged"),
        ([monitored(3, 1, "PEXPIRE", "celery", "1500")], "queue_expired"),
        (
            [
                monitored(3, 1, "HSET", "unacked", TAG, json.dumps([message(), "", "celery"])),
                monitored(4, 1, "HDEL", "unacked", TAG),
            ],
            "consumed",
        ),
    ],
    ids=["purged", "expired", "acknowledged"],
)
def test_monitor_shows_the_way_of_a_message(tmp_path, lines, cause):
    log = "".join([monitored(1, 1, "LPUSH", "celery", json.dumps(message())), *lines, monitored(60, 1, "GET", "x")])
    verdict = judged(tmp_path, b"", **{"monitor.log": log, "case.toml": "noticed_at = 2025-07-20T08:28:00Z\n"})
    assert verdict.records["message"].cause == cause
