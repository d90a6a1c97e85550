"""The overview: figures checked by hand, risks that are said where they are and not where they are not, and what no
evidence tells said to be unknown.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis.findings.overview import OverviewFindings
from analysis.findings.overview.held import NO_NAME, NOT_READ
from analysis.findings.overview.hours import ENDED, FAILED, HELD, KEPT, seen_in
from analysis.findings.overview.remarks import NOTE, RISK
from analysis.settings import Settings
from tests.findings.cases import at, event, info, message, result, snapshot
from tests.findings.overviews import found, key


def weights(over: OverviewFindings, words: str) -> list[str]:
    """Of the remarks with these words, how much each weighs."""
    rows = over.remarks.loc[over.remarks["says"].str.contains(words, regex=False)]
    return list(rows["weight"])


def answer(over: OverviewFindings, label: str) -> str:
    return next(one.answer for one in over.figures if one.label.startswith(label))


def test_an_empty_case_is_said_to_tell_nothing():
    over = found()
    assert over.headline == "No snapshot and no INFO answer is in this case, so what Redis held is not known."
    assert {one.answer for one in over.figures} == {"not known"}
    assert all(not len(rows) for name, rows in over.numbers.items() if name != "figures")
    assert over.numbers["figures"]["answer"].tolist() == ["not known"] * 6


def test_info_alone_tells_keys_and_no_result_or_queue():
    counters = {"db0.keys": 5, "db0.expires": 2, "db3.keys": 7, "db3.expires": 0}
    over = found(infos=[info(60, uptime=100, counters=counters)])
    assert "INFO counted 12 keys in 2 databases; there is no snapshot" in over.headline
    assert over.databases["info_keys"].tolist() == [5, 7] and over.databases["keys"].isna().all()
    assert answer(over, "Keys held") == "12"
    assert answer(over, "Messages waiting") == "not known" == answer(over, "Task results")


def test_worker_logs_alone_tell_what_ended_and_not_what_is_held():
    log = {"server": "", "path": "worker.log", "kind": "worker log", "from": at(0), "to": at(7200), "complete": True}
    events = [event("succeeded", 60, task_id="a"), event("failed", 4000, task_id="b"), event("received", 10)]
    over = found(evidence=[log], events=events)
    assert "what Redis held is not known" in over.headline
    assert over.summary == (
        "Worker logs tell of 2 tasks that ended, between 12:01 UTC on 1 March 2026 and 13:06 UTC on 1 March 2026.",
    )
    assert over.hours["what"].unique().tolist() == [ENDED]
    assert over.looked[["since", "until"]].values.tolist() == [[at(0), at(7200)]]


def test_families_and_databases_add_up_to_what_was_held_last():
    keys = [
        key("old.rdb", "gone"),
        key("new.rdb", "r1", bytes=30),
        key("new.rdb", "r2", bytes=50, expires=None),
        key("new.rdb", "c", family="other", db=0, bytes=920, expired=True),
    ]
    over = found(evidence=[snapshot("old.rdb", 0), snapshot("new.rdb", 50)], keys=keys)
    by = over.families.set_index("family")
    assert by.loc["result", ["keys", "bytes", "largest", "with_ttl", "without_ttl"]].tolist() == [2, 80, 50, 1, 1]
    assert by.loc["other", "past_expiry"] == 1
    assert by["share"].sum() == pytest.approx(1) and by.loc["other", "share_bytes"] == pytest.approx(0.92)
    assert over.databases.set_index("db")["keys"].to_dict() == {0: 1, 2: 2}
    assert over.largest["key"].tolist() == ["c", "r2", "r1"]
    assert "this Redis held 3 keys, none of them a task's result; no message waited" in over.headline


def test_an_empty_snapshot_held_nothing_which_is_not_unknown():
    over = found(evidence=[snapshot("dump.rdb", 0)], infos=[info(60, uptime=100, counters={"db0.keys": 2})])
    assert over.headline.startswith("At 12:00 UTC on 1 March 2026 this Redis held no key;")
    assert over.servers["keys"].tolist() == [0] and over.databases["keys"].tolist() == [0]


def test_a_part_of_a_snapshot_is_said_to_be_one():
    over = found(evidence=[snapshot("dump.rdb", 0, complete=False)], keys=[key("dump.rdb", "x")])
    assert "held at least 1 key" in over.headline
    assert "Not all of dump.rdb could be read." in over.summary


def test_results_by_state_count_what_cannot_be_read_apart():
    tasks = [
        result("d.rdb", task_id="a"),
        result("d.rdb", task_id="b"),
        result("d.rdb", task_id="c", status="FAILURE"),
        result("d.rdb", task_id="d", status=None, serializer="pickle"),
        result("d.rdb", task_id="g", kind="group", status=None),
    ]
    over = found(evidence=[snapshot("d.rdb", 0)], keys=[key("d.rdb", "x")], tasks=tasks)
    assert over.states.set_index("status")["results"].to_dict() == {"SUCCESS": 2, "FAILURE": 1, NOT_READ: 1}
    assert over.states["share"].tolist() == [0.5, 0.25, 0.25]
    assert "4 of them task results" in over.headline
    assert "1 result of 4 is a failure. 1 result is in a form that is not read." in over.summary


def test_a_task_is_named_by_its_result_else_by_a_log():
    tasks = [
        result("d.rdb", task_id="a", name="app.a"),
        result("d.rdb", task_id="b", status="FAILURE"),
        result("d.rdb", task_id="c"),
    ]
    events = [event("failed", 5, task_id="b", name="app.b"), event("retried", 4, task_id="b", name="app.b")]
    waits = [message("d.rdb", task_id="m", name="app.a"), message("d.rdb", task_id="n", state="unacked", name="app.b")]
    names = found(evidence=[snapshot("d.rdb", 9)], tasks=tasks, events=events, messages=waits).names.set_index("name")
    assert names.loc["app.a", ["succeeded", "waiting"]].tolist() == [1, 1]
    assert names.loc["app.b", ["failed", "unacked", "log_failed", "log_retried"]].tolist() == [1, 1, 1, 1]
    assert names.loc[NO_NAME, "succeeded"] == 1


def queue(shot: str, name: str = "celery", length: int = 2, **more: Any) -> dict[str, Any]:
    return key(shot, name, family="queue", db=1, expires=None, length=length, type="list", **more)


def test_queues_have_their_depth_their_next_message_and_since_when_it_waits():
    waits = [
        message("old.rdb", task_id="first", position=0),
        message("new.rdb", task_id="first", position=1, priority=0),
        message("new.rdb", task_id="second", position=0, priority=0, eta=at(500), expires=at(20)),
        message("new.rdb", task_id="third", position=0, priority=6, key="celery\x06\x166"),
    ]
    keys = [queue("old.rdb", length=1), queue("new.rdb"), queue("new.rdb", "celery\x06\x166", 1)]
    shots = [snapshot("old.rdb", 0), snapshot("new.rdb", 50)]
    declared = [("", "new.rdb", 1, "celery"), ("", "new.rdb", 1, "mail"), ("", "old.rdb", 1, "past")]
    over = found(evidence=shots, keys=keys, messages=waits, declared=declared)
    rows = over.queues.set_index(["queue", "priority"])
    assert rows["waiting"].to_dict() == {("celery", 0): 2, ("celery", 6): 1, ("mail", 0): 0}
    assert rows["then"].fillna(-1).to_dict() == {("celery", 0): 1, ("celery", 6): 0, ("mail", 0): -1}
    assert rows.loc[("celery", 0), ["next_task", "with_eta", "past_expires"]].tolist() == ["first", 1, 1]
    assert rows.loc[("celery", 0), "since"] == at(0)
    assert rows.loc[("celery", 0), "since_from"] == "already waiting in old.rdb"
    assert pd.isna(rows.loc[("celery", 6), "since"])
    assert "3 messages waited, and workers held none" in over.headline
    assert weights(over, "1 message that waited had passed") == [NOTE]


def test_a_push_tells_since_when_the_next_message_waits():
    pushed = {"server": "", "source": "a.aof", "witness": "append-only file", "offset": 99, "verb": "LPUSH"}
    commands = [{**pushed, "task_id": "m", "keys": ["celery"], "not_before": at(3), "not_after": at(4)}]
    waits = [message("d.rdb", task_id="m", position=0)]
    over = found(evidence=[snapshot("d.rdb", 50)], keys=[queue("d.rdb")], messages=waits, commands=commands)
    assert over.queues[["since", "since_from"]].values.tolist() == [[at(4), "sent: a.aof, byte 99"]]


def test_a_list_that_cannot_be_read_still_has_its_depth():
    waits = [message("d.rdb", task_id=None, queue="celery", problem="compressed beyond its size")]
    over = found(evidence=[snapshot("d.rdb", 50)], keys=[queue("d.rdb", length=700)], messages=waits)
    assert over.queues["waiting"].tolist() == [700] and answer(over, "Messages waiting") == "700"


def test_the_oldest_unacknowledged_message_has_its_age_as_of_the_snapshot():
    waits = [
        message("d.rdb", task_id="young", state="unacked", reserved_at=at(9000), redelivered=False),
        message("d.rdb", task_id="old", state="unacked", reserved_at=at(0), redelivered=True, name="app.long"),
        message("d.rdb", task_id="when", state="unacked", redelivered=False),
    ]
    over = found(evidence=[snapshot("d.rdb", 10_000)], messages=waits)
    [row] = over.unacked.to_dict("records")
    assert (row["held"], row["oldest_task"], row["oldest_name"], row["age"]) == (3, "old", "app.long", 10_000.0)
    assert (row["undated"], row["redelivered"], row["oldest_at"]) == (1, 1, at(0))
    assert over.oldest["task_id"].tolist() == ["old", "young", "when"]
    assert "workers held 3." in over.headline
    assert "Of the messages that workers held, the oldest was taken at 12:00 UTC on 1 March 2026." in over.summary
    assert weights(over, "consistent with a long task") == [NOTE]
    late = found(evidence=[snapshot("d.rdb", 3000)], messages=[waits[1]])
    assert weights(late, "consistent with a long task") == []


def test_hours_count_measured_times_only_and_know_how_far_back_a_snapshot_tells():
    tasks = [
        result("d.rdb", task_id="a", stored=0),
        result("d.rdb", task_id="b", stored=60, status="FAILURE"),
        result("d.rdb", task_id="c", stored=3700),
        result("d.rdb", task_id="d", stored=9, stored_from="expiry"),
        result("d.rdb", task_id="e", stored_at=None, stored_from=None, date_done=None),
    ]
    over = found(evidence=[snapshot("d.rdb", 7200)], tasks=tasks, stated=Settings(result_expires=5000))
    counted = over.hours.set_index(["what", "hour"])["tasks"].to_dict()
    assert counted == {(HELD, at(0)): 2, (HELD, at(3600)): 1, (FAILED, at(0)): 1}
    assert over.undated == 2
    assert over.looked[["what", "since", "until"]].values.tolist() == [[HELD, at(2200), at(7200)]]
    hours = pd.Series([at(-3600), at(0), at(7200), at(10_800)])
    assert seen_in(over.looked, FAILED, hours).tolist() == [False, True, True, False]
    assert not seen_in(over.looked, ENDED, hours).any()
    assert answer(over, "Results of the last") == "1"
    assert "1.39 h" in next(one.label for one in over.figures if one.label.startswith("Results of the last"))


def test_an_archive_tells_of_hours_whose_results_have_expired_and_is_no_look():
    kept = {"server": "", "path": "archive/p.parquet", "kind": "archive", "from": at(7200), "to": at(7200)}
    tasks = [
        result("archive/p.parquet", task_id="gone", stored=5000),
        result("archive/p.parquet", task_id="there", stored=90_000),
        result("d.rdb", task_id="there", stored=90_000),
    ]
    over = found(evidence=[kept, snapshot("d.rdb", 100_000)], tasks=tasks, stated=Settings(result_expires=3600))
    counted = over.hours.set_index("what")["tasks"].to_dict()
    assert counted == {HELD: 1, KEPT: 1}
    assert over.looked.set_index("what")["since"].to_dict() == {HELD: at(96_400), KEPT: at(3600)}
    assert over.states["results"].tolist() == [1]


@pytest.mark.parametrize(
    ("loaded", "aof", "stored", "since"),
    [
        (None, False, 90_000, 89_000),
        (0, False, 90_000, 89_000),
        (5, False, 90_000, 13_600),
        (0, True, 90_000, 13_600),
        (None, False, 88_000, 13_600),
    ],
)
def test_a_look_tells_nothing_of_the_time_before_a_start_with_nothing(loaded, aof, stored, since):
    counters = {} if loaded is None else {"rdb_last_load_keys_loaded": loaded, "rdb_last_load_keys_expired": 0}
    answer = info(90_000, uptime=1000, counters=counters, aof_enabled=aof)
    held, look = [result("d.rdb", stored=stored)], [snapshot("d.rdb", 100_000)]
    over = found(evidence=look, tasks=held, infos=[answer], stated=Settings(result_expires=86_400))
    assert over.looked["since"].tolist() == [at(since)]


def test_results_that_are_kept_for_ever_are_told_from_the_first_one_on():
    over = found(
        evidence=[snapshot("d.rdb", 7200)], tasks=[result("d.rdb", stored=60, expires=None)],
        stated=Settings(result_expires=0),
    )  # fmt: skip
    assert over.looked["since"].tolist() == [at(0)]


ROOMY = {"maxmemory": 1_000_000, "used_memory": 100_000}
FULL = {"maxmemory": 1_000_000, "used_memory": 950_000}


@pytest.mark.parametrize(
    ("answer", "words", "weight"),
    [
        ({**FULL, "maxmemory_policy": "allkeys-lru"}, "any key can be evicted", RISK),
        ({**ROOMY, "maxmemory_policy": "allkeys-lru"}, "once it is full, any key can be evicted", NOTE),
        ({**FULL, "maxmemory_policy": "volatile-ttl"}, "keys with a TTL can be evicted", RISK),
        ({**FULL, "maxmemory_policy": "noeviction"}, "writes are refused", RISK),
        ({**ROOMY, "maxmemory_policy": "noeviction"}, "once it is full, writes are refused", NOTE),
        ({"evicted_keys": 9}, "9 keys were evicted since 11:59 UTC", RISK),
        ({"rdb_last_bgsave_status": "err"}, "The last background save failed", RISK),
        ({"aof_enabled": True, "aof_last_write_status": "err"}, "The last write to the append-only file failed", RISK),
        ({"role": "slave", "master_link_status": "down"}, "link to its master was down", RISK),
        ({"role": "slave"}, "do not tell what its master removed", NOTE),
        ({"counters_reset": True}, "counters were reset", NOTE),
        ({"counters": {"errorstat_OOM": 3, "errorstat_ERR": 8}}, "It refused 3 with OOM since", RISK),
        ({"counters": {"rejected_connections": 2}}, "refused 2 connections", RISK),
        ({"counters": {"cmdstat_flushdb": 2}}, "FLUSHDB was called 2 times", NOTE),
    ],
)
def test_what_is_a_risk_is_said_with_its_fact_and_its_field(answer, words, weight):
    over = found(infos=[info(60, uptime=100, **answer)])
    assert weights(over, words) == [weight]
    row = over.remarks.loc[over.remarks["says"].str.contains(words, regex=False)].iloc[0]
    assert row["because"] and row["source"].startswith("info0.txt, ")


def test_a_healthy_server_has_no_risk_and_only_its_recent_start_is_noted():
    calm: dict[str, Any] = {
        "maxmemory": 0,
        "used_memory": 100_000,
        "maxmemory_policy": "noeviction",
        "aof_enabled": True,
    }
    calm |= {"rdb_last_bgsave_status": "ok", "aof_last_write_status": "ok"}
    over = found(infos=[info(60, uptime=100, **calm)])
    assert over.remarks["weight"].tolist() == [NOTE]
    assert found(infos=[info(60, uptime=1e6, **calm)]).remarks.empty


@pytest.mark.parametrize(
    ("saved", "changes", "config", "words", "weight"),
    [
        (-940, 5, {"save": ""}, "a restart loses all keys (5 unsaved changes by then)", RISK),
        (30, 5, {"save": ""}, "a restart loses what was written since 12:00 UTC on 1 March 2026", RISK),
        (30, 5, {"save": "3600 1"}, "a crash would have lost what was written since the snapshot", NOTE),
        (-940, 5, {}, "had saved nothing since its start (5 unsaved changes by then)", RISK),
        (-940, 0, {}, "", None),
    ],
)
def test_what_a_restart_would_lose_follows_from_what_is_written_to_disk(saved, changes, config, words, weight):
    told: dict[str, Any] = {"aof_enabled": False, "rdb_last_save_time": at(saved), "maxmemory": 0}
    counters = {"rdb_changes_since_last_save": changes}
    over = found(infos=[info(60, uptime=1000, counters=counters, **told)], config={"": config} if config else None)
    on_disk = over.remarks.loc[over.remarks["source"].str.contains("aof_enabled")]
    assert on_disk["weight"].tolist() == ([weight] if weight else [])
    assert on_disk["says"].str.contains(words, regex=False).all()
    appending = {**told, "aof_enabled": True}
    over = found(infos=[info(60, uptime=1000, counters=counters, **appending)], config={"": config})
    assert not over.remarks["source"].str.contains("aof_enabled").any()


def test_a_server_started_after_the_snapshot_may_no_longer_hold_what_that_holds():
    over = found(evidence=[snapshot("d.rdb", 0)], keys=[key("d.rdb", "x")], infos=[info(600, uptime=60)])
    assert weights(over, "after the look of 12:00 UTC") == [RISK]
    over = found(evidence=[snapshot("d.rdb", 590)], keys=[key("d.rdb", "x")], infos=[info(600, uptime=60)])
    assert weights(over, "after the look") == [] and weights(over, "50 s before") == [NOTE]


def test_results_without_a_ttl_and_beside_other_keys_are_noted():
    keys = [key("d.rdb", "r", expires=None), key("d.rdb", "cache", family="other")]
    over = found(evidence=[snapshot("d.rdb", 0)], keys=keys)
    assert weights(over, "1 result has no TTL") == [NOTE]
    assert weights(over, "DB 2 holds 1 result beside 1 key") == [NOTE]
    apart = [key("d.rdb", "r"), key("d.rdb", "cache", family="other", db=0)]
    assert found(evidence=[snapshot("d.rdb", 0)], keys=apart).remarks.empty


def test_a_queue_with_a_ttl_and_routing_tables_that_are_gone_are_risks():
    keys = [
        key("old.rdb", "_kombu.binding.celery", family="binding", db=1, expires=None),
        queue("new.rdb", expires_at=at(900)),
    ]
    over = found(evidence=[snapshot("old.rdb", 0), snapshot("new.rdb", 50)], keys=keys)
    assert weights(over, "The queue celery has a TTL") == [RISK]
    assert weights(over, "Its routing tables, 1 key in DB 1 on 1 March 2026 at 12:00 UTC, were gone") == [RISK]
    assert over.growth.set_index("family")["change"].to_dict() == {"binding": -1, "queue": 1}
    kept = [*keys, key("new.rdb", "_kombu.binding.celery", family="binding", db=1, expires=None)]
    over = found(evidence=[snapshot("old.rdb", 0), snapshot("new.rdb", 50)], keys=kept)
    assert weights(over, "Its routing tables") == []


def test_a_save_in_the_second_of_the_start_is_one_where_saves_are_counted():
    told = {"aof_enabled": False, "rdb_last_save_time": at(-939), "maxmemory": 0}
    for saves, words in ((0, "a restart loses all keys"), (1, "a restart loses what was written since 11:44 UTC")):
        counters = {"rdb_changes_since_last_save": 5, "rdb_saves": saves}
        answer = info(60, uptime=1000, counters=counters, **told)
        assert weights(found(infos=[answer], config={"": {"save": ""}}), words) == [RISK]


def test_messages_that_nobody_waits_for_are_consistent_with_no_worker():
    listed = {"server": "", "path": "clients.txt", "kind": "clients"}
    one = {"server": "", "source": "clients.txt", "addr": "127.0.0.1:1", "db": 1, "age": 10, "idle": 1}
    evidence, keys = [snapshot("d.rdb", 0), listed], [queue("d.rdb")]
    for verbs, told in ((["get"], [NOTE]), (["get", "brpop"], []), ([], [])):
        clients = [{**one, "cmd": verb} for verb in verbs]
        assert weights(found(evidence=evidence, keys=keys, clients=clients), "no client in CLIENT LIST") == told


def test_clients_are_counted_by_name_and_library_in_the_last_list_of_their_server():
    lists = [{"server": "", "path": f"c{n}.txt", "kind": "clients", "from": at(n), "to": at(n)} for n in (1, 2)]
    row = {"server": "", "name": "worker", "lib": "redis-py 8.1.0", "user": "default", "db": 1, "age": 9, "idle": 1}
    clients = [{**row, "source": "c1.txt", "addr": "old"}]
    clients += [{**row, "source": "c2.txt", "addr": str(n), "db": n, "cmd": "brpop", "age": n} for n in (0, 1)]
    [one] = found(evidence=lists, clients=clients).clients.to_dict("records")
    assert (one["connections"], one["dbs"], one["commands"], one["oldest"]) == (2, "0 and 1", "brpop", 1)


def test_two_servers_stand_side_by_side_and_neither_speaks_for_the_other():
    keys = [key("a.rdb", "x", server="main"), key("b.rdb", "y", server="other"), key("b.rdb", "z", server="other")]
    shots = [snapshot("a.rdb", 0, server="main"), snapshot("b.rdb", 60, server="other")]
    answers = [info(60, uptime=1e6, server="main", used_memory=5, maxmemory=0, evicted_keys=3)]
    over = found(evidence=shots, keys=keys, infos=answers)
    side = over.servers.set_index("server")
    assert side["keys"].to_dict() == {"main": 1, "other": 2}
    assert pd.isna(side.loc["other", "memory"]) and side.loc["main", "evicted"] == 3
    assert "Between 12:00 UTC on 1 March 2026 and 12:01 UTC" in over.headline
    assert ", 2 servers held 3 keys" in over.headline
    assert over.summary[-1].startswith("A risk: on main, 3 keys were evicted since ")


def test_growth_needs_two_dated_snapshots_of_one_server():
    keys = [key("a.rdb", "x"), key("b.rdb", "x"), key("b.rdb", "y")]
    dated = found(evidence=[snapshot("a.rdb", 0), snapshot("b.rdb", 9)], keys=keys).growth
    assert dated[["family", "then", "now", "change", "bytes_then", "bytes_now"]].values.tolist() == [
        ["result", 1, 2, 1, 10, 20]
    ]
    assert found(evidence=[snapshot("a.rdb", None), snapshot("b.rdb", 9)], keys=keys).growth.empty
    tied = found(evidence=[snapshot("a.rdb", 9), snapshot("b.rdb", 9)], keys=keys)
    assert tied.growth.empty


def test_a_server_without_a_snapshot_and_a_replica_are_named_where_sums_are_told():
    keys = [key("a.rdb", "x", server="main"), key("b.rdb", "x", server="copy")]
    shots = [snapshot("a.rdb", 0, server="main"), snapshot("b.rdb", 0, server="copy")]
    answers = [info(60, uptime=1e6, server="copy", role="slave"), info(60, uptime=1e6, server="dark")]
    over = found(evidence=shots, keys=keys, infos=answers)
    assert over.summary[0] == (
        "Of dark no snapshot tells what was held. Of main no INFO answer tells how it was. A replica holds its "
        "master's keys: where both are in the case, these are counted twice."
    )
