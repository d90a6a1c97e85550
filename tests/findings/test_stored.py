"""Whether a result was to be stored, was stored, or was written over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analysis.settings import Settings
from tests.evidence.test_aof import command
from tests.findings.cases import TASK as SEEN
from tests.findings.cases import result, snapshot
from tests.findings.test_conclude import concluded, share
from tests.findings.test_handled import ACKED, NAME, OTHERS, POPPED, RECEIVED, judged, led, message, pushed, reserved
from tests.test_ends import KEY, TASK, T, stored

DONE = f"[2025-07-20 08:26:43,000: INFO/ForkPoolWorker-1] Task {NAME}[{TASK}] succeeded in 0.1s: 1\n"
LOG = {"worker.log": RECEIVED + DONE}


def handled(**headers: Any) -> bytes:
    return pushed(**headers) + POPPED + reserved(**headers) + ACKED


def test_a_header_that_says_so_means_that_nothing_was_to_be_stored(tmp_path):
    verdict = judged(tmp_path, handled(ignore_result=True) + OTHERS, **LOG)
    assert led(verdict) == ("result_ignored", "absent")
    assert verdict.records["result"].confidence > 0.95
    assert verdict.unexpected_loss is False


def test_a_success_without_a_store_was_to_store_nothing(tmp_path):
    verdict = judged(tmp_path, handled() + OTHERS, **LOG)
    assert led(verdict) == ("result_ignored", "absent")
    causes = {h.cause: h.probability for h in verdict.of("result")}
    assert causes["natural_expiry"] < 0.01 and causes["deleted_by_client"] < 0.01


def test_a_reply_list_holds_what_rpc_sends(tmp_path):
    reply = {**message(), "headers": {}}
    reply["properties"] = {"correlation_id": TASK, "delivery_tag": "t", "delivery_info": {}}
    aof = handled() + command("LPUSH", "99999999-1111-4222-8333-444455556666", json.dumps(reply)) + OTHERS
    assert led(judged(tmp_path, aof, **LOG)) == ("rpc_backend", "absent")


def test_a_store_that_was_refused_left_no_result(tmp_path):
    log = RECEIVED + (
        "[2025-07-20 08:26:43,000: ERROR/MainProcess] Pool callback raised exception: "
        "OutOfMemoryError(\"OOM command not allowed when used memory > 'maxmemory'.\")\n"
    )
    verdict = judged(tmp_path, handled() + OTHERS, **{"worker.log": log})
    assert led(verdict) == ("result_never_stored", "absent")
    assert verdict.unexpected_loss is True


def test_an_error_of_the_backend_in_its_place_is_no_result(tmp_path):
    failure = {"exc_type": "ConnectionError", "exc_message": ["refused"], "exc_module": "redis.exceptions"}
    meta = json.dumps({"status": "FAILURE", "result": failure, "traceback": None, "task_id": TASK})
    verdict = judged(tmp_path, handled() + command("SET", KEY, meta, "PXAT", str((T + 86_400) * 1000)) + OTHERS)
    assert led(verdict) == ("result_never_stored", "present")
    raised = json.dumps({"status": "FAILURE", "result": failure, "traceback": "Traceback …", "task_id": TASK})
    verdict = judged(tmp_path, handled() + command("SET", KEY, raised, "PXAT", str((T + 86_400) * 1000)) + OTHERS)
    assert led(verdict) == ("present", "present")


@pytest.mark.parametrize("value", ['{"status": "archived"}', "gone", "[1]"])
def test_another_value_over_a_success_is_no_result(tmp_path, value):
    verdict = judged(tmp_path, handled() + stored(T) + command("SET", KEY, value) + OTHERS)
    assert led(verdict)[0] == "overwritten"
    assert verdict.unexpected_loss is True


def test_states_on_the_way_to_success_are_not_written_over(tmp_path):
    verdict = judged(tmp_path, handled() + stored(T, status="STARTED") + stored(T + 1) + OTHERS)
    assert led(verdict) == ("present", "present")


def test_a_serializer_that_its_reader_does_not_know():
    odd = result("a.rdb", serializer="pickle", problem="pickle: not read")
    given = {"evidence": [snapshot("a.rdb", 100)], "tasks": [odd]}
    stated = concluded(**given, stated=Settings(result_serializer="json"))
    assert led(stated) == ("undecodable", "present")
    siblings = [result("a.rdb", task_id=f"{SEEN[:-1]}{n}", key=f"celery-task-meta-{n}") for n in range(1, 6)]
    among = concluded(evidence=given["evidence"], tasks=[odd, *siblings])
    assert led(among) == ("undecodable", "present")
    assert led(concluded(**given)) == ("present", "present")


def test_a_result_that_was_seen_was_stored_by_a_task_that_had_ended():
    earlier = {"evidence": [snapshot("a.rdb", 100), snapshot("b.rdb", 500)]}
    gone = concluded(**earlier, tasks=[result("a.rdb")])
    for cause in ("running", "worker_killed", "result_ignored", "result_never_stored", "queue_purged", "discarded"):
        assert share(gone, cause) < 0.001, cause
    failed = concluded(**earlier, tasks=[result("a.rdb", status="FAILURE")])
    assert share(failed, "running") < 0.001
    assert share(failed, "result_never_stored") > 0.001  # the failure may be the backend's own
    started = concluded(**earlier, tasks=[result("a.rdb", status="STARTED")])
    assert share(started, "worker_killed") > 0.01
