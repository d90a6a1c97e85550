"""TTLs: retention in force, deviations, changes, forecasts, estimates: checked by hand or against a simulation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.celery.jobs import JobsSettings
from analysis.findings.bulk import looks
from analysis.findings.ttl import TtlFindings, retention, ttl_findings
from analysis.findings.ttl.forecast import BEYOND
from analysis.findings.ttl.remaining import NONE, PAST, UNDATED
from analysis.findings.ttl.written import written_shares
from analysis.frames import frame
from analysis.settings import Settings
from tests.findings.cases import at, result, snapshot

DAY = 86_400


def key(name: str, *, expires: float | None = 100, family: str = "result", **more: Any) -> dict[str, Any]:
    """A row of ``keys``."""
    moment = None if expires is None else at(expires)
    row = {"server": "", "snapshot": "a.rdb", "db": 2, "key": name, "family": family, "expires_at": moment, "bytes": 10}
    return {**row, **more}


def stored(number: int, *, at_second: float = 0, life: float | None = DAY, **more: Any) -> dict[str, Any]:
    """A row of ``tasks``, and with ``as_key`` of ``keys``."""
    expires = None if life is None else at_second + life
    name = f"celery-task-meta-{number}"
    return result("a.rdb", stored=at_second, expires=expires, task_id=str(number), key=name, **more)


def found_in(
    tasks: Iterable[Mapping[str, Any]] = (),
    *,
    keys: Iterable[Mapping[str, Any]] = (),
    jobs: Iterable[Mapping[str, Any]] = (),
    shots: Iterable[Mapping[str, Any]] = (snapshot("a.rdb", 0),),
    stated: Settings | None = None,
    cleanup: Iterable[Mapping[str, Any]] = (),
    config: Mapping[str, Mapping[str, str]] | None = None,
    **frames: Iterable[Mapping[str, Any]],
) -> TtlFindings:
    """The findings of a case in which every result and job record is a key as well."""
    tasks, jobs = list(tasks), list(jobs)
    taken = ("server", "snapshot", "db", "key", "expires_at")
    every = [*keys]
    every += [{name: row[name] for name in taken} | {"family": "result", "bytes": 10} for row in tasks]
    every += [{name: row[name] for name in taken} | {"family": "job", "bytes": 10} for row in jobs]
    evidence = frame("evidence", shots)
    return ttl_findings(
        frame("keys", every),
        frame("tasks", tasks),
        frame("jobs", jobs),
        looks(evidence),
        stated or Settings(),
        events=frame("events", frames.get("events", ())),
        commands=frame("commands", frames.get("commands", ())),
        cleanup=frame("cleanup", cleanup),
        servers=frame("servers", frames.get("servers", ())),
        config=config or {},
        evidence=evidence,
    )


def job(name: str, *, created: float = 0, expires: float | None = None, status: str = "completed") -> dict[str, Any]:
    """A row of ``jobs``."""
    moment = None if expires is None else at(expires)
    row = {"server": "", "snapshot": "a.rdb", "db": 0, "key": f"job:{name}", "task_id": name, "status": status}
    return {**row, "created_at": at(created), "expires_at": moment}


def test_bins_count_past_expiry_and_no_ttl_apart():
    rows = [("past", -5), ("minute", 59), ("hour", 3599), ("years", 1e9), ("never", None)]
    bins = found_in(keys=[key(name, expires=when) for name, when in rows]).bins.set_index("bin")
    assert bins["keys"].to_dict() == {PAST: 1, "up to 1 min": 1, "1 min – 1 h": 1, "over 1 year": 1, NONE: 1}
    assert bins["share"].tolist() == [0.2] * 5


def test_a_snapshot_without_a_time_has_no_remaining_ttl():
    found = found_in(keys=[key("x")], shots=[snapshot("a.rdb", None)])
    assert found.bins.set_index("bin")["keys"].to_dict() == {UNDATED: 1}
    assert found.forecast.begin is None and not len(found.forecast.hours)
    assert "undated" in found.headline


@pytest.mark.parametrize(
    ("lives", "stated", "seconds", "certainty"),
    [
        ([3600, 3600, 3600.4], None, 3600, "observed"),
        ([3600, 3600, 60], 86400, 86400, "stated"),
        ([1, 100, 10_000, 77_777], None, 86400, "assumed"),
        ([], None, 86400, "assumed"),
        ([None, None], None, 0, "observed"),
        ([3600, 3600], 0, 0, "stated"),
    ],
)
def test_retention_is_stated_else_observed_else_assumed(lives, stated, seconds, certainty):
    tasks = frame("tasks", [result("a.rdb", task_id=str(i), expires=life) for i, life in enumerate(lives)])
    kept = retention(tasks, stated)
    assert (kept.seconds, kept.certainty) == (seconds, certainty)


def test_an_expiry_never_measures_the_retention_it_was_used_to_derive():
    derived = {"stored_at": at(0), "stored_from": "expiry", "date_done": None}
    rows = [stored(number, **derived) for number in range(5)]
    assert retention(frame("tasks", rows), None).certainty == "assumed"
    found = found_in(rows)
    assert not len(found.stored) and not len(found.force) and not len(found.written)
    assert found.observable["says"].tolist() == [
        "not observable: only the expiry is known, and it measures no retention"
    ]
    assert "not observable" in found.headline


def test_keys_off_the_stated_policy_are_counted_and_listed_the_farthest_first():
    rows = [*(stored(n) for n in range(7)), stored(7, life=60), stored(8, life=2 * DAY), stored(9, life=DAY - 100)]
    found = found_in(rows, stated=Settings(result_expires=DAY))
    [whole] = found.force.itertuples()
    assert (whole.keys, whole.stated, whole.outlive, whole.short) == (10, DAY, 1, 2)
    assert whole.observed == pytest.approx(DAY) and whole.share == 0.7
    off = found.deviations.set_index("key")["off"]
    assert off.to_dict() == {
        "celery-task-meta-8": DAY, "celery-task-meta-7": 60 - DAY, "celery-task-meta-9": -100
    }  # fmt: skip
    assert off.index[0] == "celery-task-meta-8"
    assert found.deviations["says"].tolist() == ["outlives it", "falls short of it", "falls short of it"]
    assert "3 of 10 live otherwise" in found.headline


def test_without_a_stated_policy_the_common_life_is_the_measure_and_no_life_in_common_is_none():
    rows = [*(stored(n) for n in range(9)), stored(9, life=60)]
    found = found_in(rows)
    assert found.force["short"].tolist() == [1] and found.force["stated"].isna().all()
    found = found_in([stored(n, life=100 * (n + 1) ** 2) for n in range(10)])
    assert found.force["observed"].isna().all() and not len(found.deviations)
    assert "none in common" in found.force["lives"].iloc[0]


def test_a_key_counts_for_one_policy_only():
    rows = [stored(n, life=DAY + n % 4) for n in range(40)]
    found = found_in(rows)
    assert found.force["lives"].iloc[0] == "1 d (30) and 1 d (10)"


def test_what_is_stated_as_kept_for_ever_and_has_a_ttl_falls_short():
    found = found_in([stored(n) for n in range(4)], stated=Settings(result_expires=0))
    assert found.force["short"].tolist() == [4]
    assert found.deviations["policy"].isna().all()
    assert "stay until removed" in found.headline


def test_lives_that_are_all_off_alike_may_be_two_clocks():
    found = found_in([stored(n, at_second=n, life=DAY + 40) for n in range(20)], stated=Settings(result_expires=DAY))
    assert "all alike 40 s more than stated: clocks that differ would show the same" in found.force["says"].iloc[0]
    rows = [stored(n, at_second=n, life=DAY + 40 * (n % 3)) for n in range(20)]
    assert "clocks" not in found_in(rows, stated=Settings(result_expires=DAY)).force["says"].iloc[0]


def test_a_ttl_that_changed_at_a_time_is_told_and_one_that_lies_beside_another_is_not():
    old = [stored(n, at_second=60 * n, life=DAY) for n in range(50)]
    new = [stored(50 + n, at_second=60 * (60 + n), life=3600) for n in range(50)]
    [change] = found_in([*new, *old]).changes.itertuples()
    assert (round(change.from_seconds), round(change.to_seconds)) == (DAY, 3600)
    assert (change.last_before, change.first_after) == (at(60 * 49), at(60 * 60))
    back = found_in([*new, *old]).policies["look_back"].iloc[0]
    assert back.startswith("1 h 00 min after it was stored since 2026-03-01 13:00:00 UTC")
    headline = found_in([*new, *old], stated=Settings(result_expires=DAY)).headline
    assert "and those stored from 1 March 2026 at 13:00 UTC on live 1 h 00 min" in headline
    beside = [stored(n, at_second=60 * n, life=DAY if n % 2 else 3600) for n in range(100)]
    found = found_in(beside)
    assert not len(found.changes)
    mail = [{**row, "name": "app.mail"} for row in (*old, *new)]
    steady = [stored(200 + n, at_second=60 * n, life=7200, name="app.report") for n in range(110)]
    assert found_in([*mail, *steady]).changes["name"].tolist() == ["app.mail"]
    assert found.force["lives"].iloc[0] == "1 h 00 min (50) and 1 d (50)"


def test_task_names_have_rows_of_their_own_also_by_the_logs():
    line = {"server": "", "at": at(0), "not_after": at(0), "source": "w.log", "line": 1, "process": "worker",
            "kind": "received", "text": "received"}  # fmt: skip
    rows = [*(stored(n, name="app.mail") for n in range(5)), *(stored(5 + n, life=3600) for n in range(5))]
    found = found_in(rows, events=[{**line, "task_id": str(5 + n), "name": "app.report"} for n in range(5)])
    told = found.force.loc[found.force["name"].notna()].set_index("name")["observed"].round()
    assert told.to_dict() == {"app.mail": DAY, "app.report": 3600}


def test_a_value_that_cannot_be_read_is_dated_by_its_end_in_a_log_and_a_running_one_by_nothing():
    blind: dict[str, Any] = {"date_done": None, "stored_at": None, "stored_from": None}
    line = {"server": "", "not_after": at(7), "source": "w.log", "line": 1, "process": "worker", "text": ""}
    lines = [{**line, "at": at(-50), "kind": "succeeded", "task_id": str(n), "name": "app.mail"} for n in (1, 2)]
    late = {**line, "at": at(5000), "kind": "succeeded", "task_id": "3", "name": "app.mail"}
    rows = [
        stored(1, **blind, status=None), stored(2, **blind, status="STARTED"), stored(3, **blind, status=None)
    ]  # fmt: skip
    found = found_in(rows, events=[*lines, late])
    assert found.stored[["key", "stored_from", "seconds"]].values.tolist() == [
        ["celery-task-meta-1", "log", DAY + 50.0]
    ]


def test_what_monitor_saw_written_is_dated_by_it_and_an_append_only_file_dates_nothing():
    seen = {"server": "", "source": "monitor.log", "offset": 1, "db": 3, "verb": "SETEX", "not_before": at(-60),
            "not_after": at(-60), "keys": ["cache:1"]}  # fmt: skip
    rows = [key("cache:1", expires=240, family="other", db=3), key("cache:2", expires=240, family="other", db=3)]
    found = found_in(keys=rows, commands=[{**seen, "witness": "MONITOR log"}])
    assert found.stored[["key", "stored_from", "seconds"]].values.tolist() == [["cache:1", "command", 300.0]]
    assert not len(found_in(keys=rows, commands=[{**seen, "witness": "append-only file"}]).stored)
    later = {**seen, "not_before": at(500), "not_after": at(500), "witness": "MONITOR log"}
    assert not len(found_in(keys=rows, commands=[later]).stored)


def test_results_without_a_ttl_should_have_one_where_one_is_stated_or_most_have_one():
    endless = [stored(8, life=None), stored(9, life=None)]
    found = found_in([stored(1), *endless], stated=Settings(result_expires=DAY))
    assert found.endless["key"].tolist() == ["celery-task-meta-8", "celery-task-meta-9"]
    assert "2 keys have no TTL and should have one" in found.headline
    assert "[celery] result_expires states" in found.endless["why"].iloc[0]
    assert len(found_in([stored(1), stored(2), *endless]).endless) == 2
    assert not len(found_in([stored(1), *endless]).endless)
    assert not len(found_in([stored(1), *endless], stated=Settings(result_expires=0)).endless)


def test_job_records_should_have_a_ttl_where_the_case_states_it():
    records = [job("a", status="running"), job("b")]
    found = found_in(jobs=records, stated=Settings(jobs=JobsSettings("job:{id}", None, 3600)))
    assert found.endless[["key", "status"]].values.tolist() == [["job:a", "running"], ["job:b", "completed"]]
    assert not len(found_in(jobs=records, stated=Settings(jobs=JobsSettings("job:{id}", None, 0))).endless)


def test_a_key_among_many_of_one_name_that_have_a_ttl_should_have_one():
    cached = [key(f"cache:page:{n}", family="other") for n in range(30)]
    rows = [*cached, key("cache:page:odd", family="other", expires=None), key("config", family="other", expires=None)]
    assert found_in(keys=rows).endless["key"].tolist() == ["cache:page:odd"]


def test_the_forecast_counts_by_hour_up_to_its_horizon_and_the_rest_apart():
    rows = [
        key("a", expires=600), key("b", expires=700, bytes=90), key("c", expires=4000), key("gone", expires=-5),
        key("far", expires=8 * DAY), key("never", expires=None),
    ]  # fmt: skip
    found = found_in(keys=rows)
    assert found.forecast.hours[["hour", "keys", "bytes"]].values.tolist() == [[at(0), 2, 100], [at(3600), 1, 10]]
    apart = found.forecast.apart.set_index("when")
    assert apart["keys"].to_dict() == {"past expiry": 1, BEYOND: 1, "no TTL": 1}
    assert apart.loc[BEYOND, "last"] == at(8 * DAY)


def simulated(rate: float, life: float, taken: float, seed: int, *, since: float = 0) -> pd.DataFrame:
    """What a snapshot at ``taken`` holds of keys written at random, ``rate`` a second from ``since`` on, as
    ``held.when_stored`` gives them.
    """
    chance = np.random.default_rng(seed)
    begun = chance.uniform(since, taken, chance.poisson(rate * (taken - since)))
    begun = begun[begun + life > taken]
    moments = pd.Timestamp("2026-03-01T00:00:00Z") + pd.to_timedelta(begun, unit="s")
    kept = pd.Series(moments).astype("datetime64[us, UTC]")
    rows = pd.DataFrame({"stored_at": kept, "expires_at": kept + pd.Timedelta(seconds=life), "seconds": life})
    name = f"app.live_{life:.0f}"
    return rows.assign(
        shown="result", name=name, taken_at=pd.Timestamp("2026-03-01T00:00:00Z") + pd.Timedelta(seconds=taken)
    )


def test_shares_of_keys_held_are_biased_and_the_estimate_corrects_them():
    # 3,600 keys an hour live ten minutes, 360 an hour live a day: nine of eleven written, one of fifteen held.
    inside, written, held = 0, [], []
    for seed in range(40):
        both = pd.concat([simulated(1, 600, 3 * DAY, seed), simulated(0.1, DAY, 3 * DAY, 1000 + seed)])
        shares = written_shares(both).set_index("name")
        short = shares.loc["app.live_600"]
        inside += int(short["low"] <= 3600 <= short["high"])
        written.append(short["share_written"])
        held.append(short["share_held"])
        assert shares["says"].str.startswith("borne out").all()
    assert np.mean(held) == pytest.approx(600 / 9240, abs=0.005)
    assert np.mean(written) == pytest.approx(10 / 11, abs=0.005)
    # Of 40 intervals of 95 %, 34 or more hold the truth in 99.9 of 100 cases.
    assert inside >= 34


def test_where_writing_was_not_even_for_a_lifetime_the_estimate_says_that_it_does_not_hold():
    both = pd.concat([simulated(1, 600, 3 * DAY, 1), simulated(0.1, DAY, 3 * DAY, 2, since=3 * DAY - 3 * 3600)])
    shares = written_shares(both).set_index("name")
    young = shares.loc["app.live_86400"]
    assert young["per_hour"] < 0.2 * 360
    assert young["says"].startswith("does not hold: the oldest has lived 1")
    assert shares.loc["app.live_600", "says"].startswith("borne out")
    later = simulated(1, 600, DAY, 1).assign(taken_at=pd.Timestamp("2026-02-01T00:00:00Z"))
    assert "clocks or zones differ" in written_shares(later)["says"].iloc[0]


@pytest.mark.parametrize("life", [60, 7200])
def test_the_interval_of_what_is_written_is_the_exact_one_of_statsmodels(life):
    from statsmodels.stats.rates import confint_poisson

    rows = simulated(0.01, life, DAY, 5)
    [told] = written_shares(rows).itertuples()
    low, high = confint_poisson(len(rows), life / 3600, method="exact-c")
    assert (told.low, told.high) == pytest.approx((low, high), rel=1e-9)


def test_few_keys_do_not_show_whether_writing_was_even():
    assert "too few" in written_shares(simulated(0.01, 600, DAY, 1))["says"].iloc[0]


def test_the_policies_are_written_down_with_who_deletes_and_how_far_one_can_look_back():
    place = {"file": "app/purge.py", "line": 7, "function": "purge", "call": "store.delete(key)", "does": "deletes",
             "pattern": "job:*", "reached": "route POST /purge"}  # fmt: skip
    found = found_in(
        [stored(n, at_second=-60 * n) for n in range(5)],
        jobs=[job("x")],
        keys=[key("celery", family="queue", expires=None, db=1)],
        stated=Settings(result_expires=DAY, jobs=JobsSettings("job:{id}", None, 0)),
        cleanup=[place, {**place, "line": 9, "pattern": "session:*"}],
        config={"": {"maxmemory": "100", "maxmemory-policy": "volatile-lru"}},
    )
    rows = found.policies.set_index("family")
    assert rows.loc["result", "stated"] == "1 d, case.toml, [celery] result_expires"
    assert "eviction under maxmemory, by volatile-lru" in rows.loc["result", "deleted_by"]
    assert "from 2026-02-28 12:00:00 UTC" in rows.loc["result", "look_back"]
    assert "the oldest held is of 2026-03-01 11:56:00 UTC" in rows.loc["result", "look_back"]
    assert "src/app/purge.py:7 deletes it (route POST /purge)" in rows.loc["job", "deleted_by"]
    assert "purge.py:9" not in rows.loc["job", "deleted_by"]
    assert "not eviction: volatile-lru takes only keys with a TTL" in rows.loc["queue", "deleted_by"]
    assert [line.split(" | ")[0] for line in found.markdown.splitlines() if line.startswith("| ")] == [
        "| Key family", "| ---", "| result", "| queue", "| job"
    ]  # fmt: skip


def test_a_policy_that_is_stated_and_of_which_nothing_is_held_has_a_row():
    rows = found_in(stated=Settings(result_expires=DAY)).policies
    assert rows[["family", "keys", "observed"]].values.tolist() == [["result", 0, "not observable: no key is held"]]


def test_code_that_sets_another_expiry_than_the_case_states_is_told():
    place = {"file": "app/config.py", "line": 3, "call": "result_expires = 60", "does": "sets", "seconds": 60.0,
             "settings": "result_expires"}  # fmt: skip
    found = found_in([stored(n) for n in range(4)], stated=Settings(result_expires=DAY), cleanup=[place])
    assert "not stated alike" in found.force["says"].iloc[0] and "src/app/config.py:3" in found.force["says"].iloc[0]
    assert found_in([stored(n, life=60) for n in range(4)], cleanup=[place]).force["stated"].tolist() == [60]


def test_markdown_of_hostile_keys_stays_in_its_cell():
    found = found_in([*(stored(n) for n in range(9)), {**stored(9, life=60), "key": "a|b\n# <script>`x`"}],
                     stated=Settings(result_expires=DAY))  # fmt: skip
    [line] = [line for line in found.markdown.splitlines() if "script" in line]
    assert line.startswith("- a\\|b \\# \\<script\\>\\`x\\` (DB 2, result): lives 1 min 00 s instead of 1 d")


def test_servers_are_told_apart():
    production = [{**stored(n), "server": "production", "snapshot": "p.rdb"} for n in range(4)]
    staging = [{**stored(n, life=3600), "server": "staging", "snapshot": "s.rdb"} for n in range(4)]
    shots = [snapshot("p.rdb", 10, server="production"), snapshot("s.rdb", 20, server="staging")]
    found = found_in([*production, *staging], shots=shots)
    assert found.force.set_index("family")["observed"].round().to_dict() == {
        "production: result": DAY, "staging: result": 3600
    }  # fmt: skip
    assert not len(found.deviations)
    assert found.headline == (
        "In the last snapshots of 2 servers, up to 12:00 UTC on 1 March 2026, all of 8 keys had a TTL. Results on "
        "production live 1 d (4 of 4 that say when they were stored); no retention is stated. Results on staging live "
        "1 h 00 min (4 of 4 that say when they were stored); no retention is stated."
    )


def test_only_the_last_snapshot_of_a_server_counts():
    early = [{**stored(n, life=3600), "snapshot": "old.rdb"} for n in range(4)]
    found = found_in([*early, *(stored(n) for n in range(3))], shots=[snapshot("old.rdb", -100), snapshot("a.rdb", 0)])
    assert found.shots[["snapshot", "keys"]].values.tolist() == [["a.rdb", 3]]
    assert found.force["observed"].round().tolist() == [DAY]


def test_an_archive_lengthens_the_history_and_adds_no_key_that_is_held():
    file = "archive/a.parquet"
    seen = {**snapshot(file, -2 * DAY), "kind": "archive"}
    old = [{**stored(n, at_second=-2 * DAY - 60 * n, life=3600), "snapshot": file} for n in range(5)]
    held = [stored(10 + n, at_second=-60 * n) for n in range(5)]
    twice = {**held[0], "snapshot": file}
    keys = [{name: row[name] for name in ("server", "snapshot", "db", "key", "expires_at")} | {"family": "result"}
            for row in held]  # fmt: skip
    tasks = frame("tasks", [*held, *old, twice])
    shots = frame("evidence", [snapshot("a.rdb", 0), seen])
    found = ttl_findings(
        frame("keys", keys), tasks, frame("jobs"), looks(shots), Settings(), events=frame("events"),
        commands=frame("commands"), cleanup=frame("cleanup"), servers=frame("servers"), config={}, evidence=shots,
    )  # fmt: skip
    assert (len(found.stored), len(found.history)) == (5, 10)
    assert found.observable["keys"].tolist() == [5] and found.force["keys"].tolist() == [5]
    [change] = found.changes.itertuples()
    assert (round(change.from_seconds), round(change.to_seconds)) == (3600, DAY)
    assert "the archive has some from 2026-02-27 11:56:00 UTC on" in found.policies["look_back"].iloc[0]
    assert found.seen["kind"].tolist() == ["archive", "snapshot"]


def test_a_snapshot_without_a_key_is_no_lack_of_evidence():
    assert found_in().headline == "At 12:00 UTC on 1 March 2026, no key was held, so nothing can be said about TTLs."


def test_a_job_record_that_outlives_its_policy_may_have_been_renewed():
    records = [job(str(n), created=-n, expires=3600 - n + (50 if n == 3 else 0)) for n in range(5)]
    found = found_in(jobs=records, stated=Settings(jobs=JobsSettings("job:{id}", None, 3600)))
    assert found.deviations["says"].tolist() == [
        "outlives it, counted from its creation: a later write may have renewed it"
    ]


def test_nothing_at_all_is_said_in_sentences():
    found = found_in(shots=())
    assert found.headline == "There is no key in the evidence, so nothing can be said about TTLs."
    assert all(not len(rows) for name, rows in found.numbers.items())
