"""Counters over a record's life: only what they counted in it counts."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.findings.tally import tally
from analysis.findings.view import View
from analysis.settings import Settings
from tests.findings.cases import at, event, info, snapshot, view
from tests.findings.test_conclude import concluded, share


def seen(*answers: dict[str, Any], born: float = 100, missed: float = 500) -> View:
    return view(
        evidence=[snapshot("a.rdb", missed)],
        events=[event("succeeded", born)],
        infos=answers,
        stated=Settings(result_expires=86400),
    )


def flushes(when: float, calls: int, uptime: float = 1000, **more: object) -> dict[str, Any]:
    return info(when, uptime=uptime, source=f"info-{when}.txt", counters={"cmdstat_flushdb": calls}, **more)


def test_what_was_counted_before_the_record_is_not_held_against_it():
    counted = tally(seen(flushes(50, 3), flushes(600, 3)), "result", "cmdstat_flushdb")
    assert counted is not None and counted.grew == 0
    assert counted.still > 0.99


def test_growth_within_the_life_is_sure_to_fall_in_it():
    counted = tally(seen(flushes(90, 3), flushes(450, 4)), "result", "cmdstat_flushdb")
    assert counted is not None and counted.grew == 1
    assert counted.chance == pytest.approx(350 / 360)


def test_growth_over_more_than_the_life_falls_in_it_by_chance():
    counted = tally(seen(flushes(600, 1)), "result", "cmdstat_flushdb")  # since −400: 400 of 1,000 s are its life
    assert counted is not None
    assert counted.chance == pytest.approx(0.4, abs=0.01)


def test_a_restart_begins_anew():
    answers = (flushes(90, 3), flushes(450, 1, uptime=200, run_id="r2", restarted=True))
    counted = tally(seen(*answers), "result", "cmdstat_flushdb")
    assert counted is not None and counted.grew == 1
    assert counted.chance == pytest.approx(1.0)


def test_a_reset_between_two_answers_of_one_run_begins_anew():
    answers = (flushes(90, 3), flushes(450, 4, counters_reset=True, counters_since=None))
    counted = tally(seen(*answers), "result", "cmdstat_flushdb")
    assert counted is not None and counted.grew == 4


def test_what_is_not_reported_is_not_zero():
    assert tally(seen(info(600, uptime=1000, counters={"cmdstat_info": 0})), "result", "no_such_field") is None
    silent = dict(flushes(600, 0), counters={})
    assert tally(seen(silent), "result", "cmdstat_flushdb") is None


def test_a_replica_tells_nothing_of_deletions():
    assert tally(seen(flushes(600, 4, role="slave")), "result", "cmdstat_flushdb") is None


def keyspace(when: float, calls: int, **sizes: int) -> dict[str, Any]:
    row = flushes(when, calls)
    row["counters"] |= {f"{name}.keys": size for name, size in sizes.items()}
    return row


def test_a_flush_of_another_database_is_none_of_its():
    def flushed(before: dict[str, Any], after: dict[str, Any]) -> float:
        verdict = concluded(
            evidence=[snapshot("a.rdb", 500)],
            events=[event("succeeded", 100)],
            infos=[before, after],
            stated=Settings(result_expires=86400, databases={"results": 2}, noticed_at=at(600)),
        )
        return share(verdict, "db_flushed")

    other = flushed(keyspace(150, 0, db0=90, db2=50), keyspace(450, 1, db2=60))
    own = flushed(keyspace(150, 0, db0=90, db2=50), keyspace(450, 1, db0=95))
    assert own > 0.85
    assert other < 0.02


def test_workers_own_locks_are_no_deletions():
    def by_hand(dels: int, scripts: int) -> float:
        counters = {"cmdstat_del": dels, "cmdstat_evalsha": scripts}
        verdict = concluded(
            evidence=[snapshot("a.rdb", 500)],
            events=[event("succeeded", 100)],
            infos=[info(450, uptime=360, counters=counters)],
            stated=Settings(result_expires=86400),
        )
        return share(verdict, "deleted_by_client")

    assert by_hand(7, 0) > 4 * by_hand(7, 7)
