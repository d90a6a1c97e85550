"""RQ's books, places that keys were moved to, last commands of clients, what else vanished, what senders say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.findings.conclude import conclude
from analysis.findings.verdict import Verdict
from analysis.findings.view import Registered, View
from analysis.frames import frame
from analysis.settings import Settings
from tests.evidence.test_aof import command
from tests.findings.cases import TASK, at, event, info, result, snapshot, view
from tests.findings.test_conclude import concluded, led, share
from tests.findings.test_handled import OTHERS, judged, pushed
from tests.test_ends import OTHER
from tests.test_ends import TASK as WRITTEN

STATED = Settings(result_expires=86400, databases={"results": 2})


def told(seen: View, record: str, cause: str) -> float:
    return share(conclude(seen), cause, record)


@pytest.mark.parametrize(("until", "expired"), [(50, True), (5000, False)])
def test_an_rq_job_gone_before_its_registrys_time_did_not_expire(until, expired):
    entry = Registered("a.rdb", 0, "rq:finished:default", 40, at(until))
    seen = replace(view(evidence=[snapshot("a.rdb", 100)]), registered=(entry,))
    assert (told(seen, "job", "natural_expiry") > 0.8) is expired
    assert told(seen, "job", "never_published") < 0.01


def test_a_result_in_another_database_was_swapped_there_where_swapdb_ran():
    held = {"evidence": [snapshot("a.rdb", 500)], "tasks": [result("a.rdb", db=5, stored=100)], "stated": STATED}

    def infos(calls: int) -> list[dict[str, object]]:
        return [info(550, uptime=460, counters={"cmdstat_swapdb": calls, "db5.keys": 1})]

    assert led(concluded(**held, infos=infos(1))) == ("db_swapped", "present")
    assert led(concluded(**held, infos=infos(0))) == ("wrong_database", "present")


def test_what_was_seen_elsewhere_before_was_moved():
    shots = [snapshot("a.rdb", 100), snapshot("b.rdb", 500)]
    tasks = [result("a.rdb", db=2), result("b.rdb", db=5)]
    verdict = concluded(evidence=shots, tasks=tasks, stated=STATED)
    assert share(verdict, "wrong_database") < 0.05
    assert share(verdict, "db_swapped") + share(verdict, "renamed_or_moved") > 0.9
    assert verdict.records["result"].status == "present"


def test_what_was_stored_where_it_is_was_moved_by_nobody():
    shots = [snapshot("a.rdb", 100), snapshot("b.rdb", 500)]
    verdict = concluded(evidence=shots, tasks=[result("a.rdb", db=5), result("b.rdb", db=5)], stated=STATED)
    assert led(verdict) == ("wrong_database", "present")


def _gone(clients: list[dict[str, object]]) -> Verdict:
    lived = [event("received", 0), event("succeeded", 5)]
    seen = view(evidence=[snapshot("a.rdb", 500)], events=lived, stated=STATED)
    return conclude(replace(seen, clients=frame("clients", clients)))


def test_a_celery_connection_that_deleted_last_has_forgotten():
    of_celery: dict[str, object] = {
        "source": "clients.txt",
        "addr": "10.0.0.1:5",
        "cmd": "del",
        "lib": "redis-py(celery_v5.4.0)",
    }
    other = {**of_celery, "lib": "redis-py(other)"}
    assert share(_gone([of_celery]), "forgotten") > 5 * share(_gone([other]), "forgotten")


def test_a_connection_that_flushed_last_may_have_flushed_it():
    flushed: dict[str, object] = {"source": "clients.txt", "addr": "10.0.0.1:5", "cmd": "flushall"}
    assert share(_gone([flushed]), "server_flushed") > 3 * share(_gone([]), "server_flushed")


@pytest.mark.parametrize(
    ("text", "more"),
    [("order 7: transaction rolled back, {}", "never_published"), ("order 7: {} sent to warehouse", "unroutable")],
)
def test_what_the_sender_says_bears_on_what_was_sent(tmp_path, text, more):
    log = f"2025-07-20 08:27:00,000 INFO app: {text.format(WRITTEN)}\n"
    verdict = judged(tmp_path, pushed(OTHER) + OTHERS + command("SET", "x", "1"), **{"app.log": log})
    chances = {h.cause: h.probability for h in verdict.of("message")}
    less = {"never_published": "unroutable", "unroutable": "never_published"}[more]
    assert chances[more] > chances[less]


def test_no_rule_looks_at_a_task_that_is_not_there_and_fails():
    verdict = conclude(view(task_id=TASK))
    assert led(verdict) == ("unknown", "unknown")
