"""A server that lost its memory: what each kind of start, resync and promotion means for a record."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis.findings.verdict import Verdict
from analysis.settings import Settings
from tests.findings.cases import at, event, info, result, snapshot
from tests.findings.test_conclude import concluded, led, share


def line(kind: str, when: float, number: int, **more: Any) -> dict[str, Any]:
    """A row of ``events`` from a Redis server's log."""
    row = {"source": "redis.log", "line": number, "process": "redis", "task_id": None, "name": None}
    return event(kind, when, **{**row, **more})


LIVED = [event("received", 0), event("succeeded", 5, seconds=4.9)]
NOTICED = Settings(noticed_at=at(900), result_expires=86400)


def after_start(*loading: dict[str, Any], before: float = 300) -> Verdict:
    """A task that ended at 5 s, a start at 600 s, a snapshot without it at 800 s."""
    log = [line("saved_by_child", before, 1), line("server_started", 600, 2), *loading, line("server_ready", 601, 9)]
    return concluded(evidence=[snapshot("a.rdb", 800)], events=[*LIVED, *log], stated=NOTICED)


def test_a_start_that_loads_nothing_loses_all():
    verdict = after_start()
    assert led(verdict) == ("restart_data_loss", "absent")
    assert verdict.records["result"].confidence > 0.9


def loads(age: float, **more: Any) -> list[dict[str, Any]]:
    return [
        line("rdb_age", 600, 4, seconds=age),
        line("rdb_loaded", 600, 5, count=12),
        line("data_loaded", 600, 6, text="DB loaded from disk: 0.001 seconds", **more),
    ]


def test_a_snapshot_from_before_the_record_brings_it_not_back():
    verdict = after_start(*loads(700), before=-100)
    assert led(verdict) == ("stale_snapshot_restored", "absent")
    assert verdict.records["result"].confidence > 0.9


def test_a_snapshot_from_after_the_record_did_not_lose_it():
    verdict = after_start(*loads(300))
    assert share(verdict, "restart_data_loss") + share(verdict, "stale_snapshot_restored") < 0.02


def test_an_append_only_file_did_not_lose_it_unless_its_end_was_cut():
    loaded = line("data_loaded", 600, 6, text="DB loaded from append only file: 0.001 seconds")
    assert share(after_start(loaded), "restart_data_loss") < 0.05
    cut = line("aof_truncated", 600, 5)
    assert share(after_start(cut, loaded), "restart_data_loss") > 0.3


def test_what_expired_while_the_server_was_down_was_left_out_on_load():
    stopped = [line("final_save", 50, 1), line("server_stopped", 50, 2), line("server_started", 600, 3)]
    loading = [*loads(550), line("expired_on_load", 600, 7, count=3), line("server_ready", 601, 9)]
    verdict = concluded(
        evidence=[snapshot("a.rdb", 800)],
        events=[*LIVED, *stopped, *loading],
        stated=Settings(noticed_at=at(900), result_expires=120),
    )
    assert led(verdict) == ("expired_on_load", "absent")
    assert verdict.unexpected_loss is False


def test_a_result_held_before_a_start_that_loaded_nothing_is_not_there_any_more():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 100)],
        tasks=[result("a.rdb", stored=5)],
        events=[*LIVED, line("server_started", 600, 2), line("server_ready", 601, 3)],
    )
    assert led(verdict) == ("restart_data_loss", "absent")


def test_a_replica_that_drops_its_data_has_replaced_it():
    log = [line("became_replica", 500, 1), line("resync_flush", 501, 2, text="Flushing old data")]
    verdict = concluded(evidence=[snapshot("a.rdb", 800)], events=[*LIVED, *log], stated=NOTICED)
    assert led(verdict) == ("replaced_by_resync", "absent")
    earlier = [line("became_replica", -500, 1), line("resync_flush", -499, 2)]
    verdict = concluded(evidence=[snapshot("a.rdb", 800)], events=[*LIVED, *earlier], stated=NOTICED)
    assert share(verdict, "replaced_by_resync") < 0.02


def test_a_promotion_soon_after_the_write_may_have_lost_it():
    soon = concluded(evidence=[snapshot("a.rdb", 800)], events=[*LIVED, line("became_master", 7, 1)], stated=NOTICED)
    late = concluded(evidence=[snapshot("a.rdb", 800)], events=[*LIVED, line("became_master", 700, 1)], stated=NOTICED)
    assert share(soon, "failover_lost_writes") > 2 * share(late, "failover_lost_writes")


def test_what_only_the_old_master_holds_was_lost_in_the_failover():
    shots = [snapshot("old/a.rdb", 50, server="old"), snapshot("new/b.rdb", 800, server="new")]
    promoted = line("became_master", 60, 1, server="new", text="MASTER MODE enabled")
    verdict = concluded(
        evidence=shots,
        tasks=[result("old/a.rdb", server="old")],
        events=[*LIVED, promoted],
        stated=Settings(environment="new"),
    )
    assert led(verdict)[0] == "failover_lost_writes"


def test_two_runs_are_two_starts_however_soon_they_follow():
    answers = [info(10, uptime=9, source="one.txt"), info(12, uptime=1, run_id="r2", source="two.txt")]
    verdict = concluded(evidence=[snapshot("a.rdb", 800)], events=LIVED, infos=answers, stated=NOTICED)
    assert share(verdict, "restart_data_loss") > 0.3


@pytest.mark.parametrize(("grown", "jumped"), [(7200, True), (600, False)])
def test_an_uptime_that_grew_more_than_the_time_that_passed_is_a_step_of_the_clock(grown, jumped):
    first = info(0, uptime=1000, source="one.txt", at_from="file name")
    then = info(600, uptime=1000 + grown, source="two.txt", at_from="file name", expired_keys=9)
    stated = Settings(noticed_at=at(700), result_expires=3600)
    verdict = concluded(evidence=[snapshot("a.rdb", 650)], events=LIVED, infos=[first, then], stated=stated)
    assert (share(verdict, "clock_jump") > 0.5) is jumped
    assert pd.notna(verdict.as_of)
