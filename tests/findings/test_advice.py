"""What to do and what is missing, for every cause: in order, safe first, with what each step changes."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from functools import cache

import pytest

from analysis.findings.causes import CAUSES, PRIORS
from analysis.findings.telling.advice import DECIDES, actions, gaps
from analysis.findings.telling.missing import keeps_backlog
from analysis.findings.telling.recorders import RECORDERS, advice_of
from analysis.findings.telling.remedies import REMEDIES
from analysis.findings.telling.servers import argument, quoted, through_disk
from analysis.findings.verdict import Record
from analysis.findings.view import View
from analysis.frames import frame
from analysis.settings import Settings
from tests.findings.cases import at, info, message, result, snapshot, view
from tests.findings.telling import (
    AOF,
    KNOWN,
    found,
    gone,
    records,
    seen_as,
    streamed,
    waiting,
    well_formed,
    with_code,
)

WRITES = (
    "CONFIG SET", "CONFIG REWRITE", "RESETSTAT", "SET ", "DEL ", "UNLINK", "EXPIRE ", "RENAME ", "MOVE ", "RESTORE ",
    "FLUSH", "SWAPDB", "BGSAVE", "BGREWRITEAOF", "SAVE ", "SHUTDOWN", "DEBUG", "ACL SETUSER", "REPLICAOF", "restart it",
    "Send the task", "set ",
)  # fmt: skip


def asked(version: str = "7.0.15", role: str = "master", **config: str) -> View:
    """A result that is gone from a server of which one INFO answer is there."""
    shown = gone(infos=[info(700, uptime=5000, version=version, role=role)])
    return replace(shown, config={"": config}) if config else shown


@cache
def _servers() -> tuple[View, ...]:
    replica = asked("6.2.7", "slave", **{"repl-diskless-sync": "no", "dir": "/var/lib/redis"})
    return gone(), streamed(), view(), asked(), asked("6.0.9"), replica, asked(appendonly="no", save="")


def all_views(cause: str) -> tuple[View, ...]:
    return seen_as(cause), *_servers()


def test_every_cause_has_a_remedy_and_known_recorders():
    assert set(REMEDIES) == {*KNOWN, "unknown"}
    assert {name for remedy in REMEDIES.values() for name in remedy.recorders} <= set(RECORDERS)


def test_every_cause_of_the_contract_has_evidence_that_would_decide_it():
    decided = {cause for causes in DECIDES.values() for cause in causes}
    assert decided == set(KNOWN)


@pytest.mark.parametrize("cause", [*KNOWN, "unknown"])
def test_there_is_advice_on_every_cause_and_the_first_writes_nothing(cause):
    for confidence in (0.4, 0.995):
        for shown in all_views(cause):
            met = records(cause, confidence) if cause != "unknown" else records("unknown", confidence)
            told = actions(shown, met, CAUSES[cause].loss == "yes")
            assert told
            for one in told:
                well_formed(one)
            assert not any(verb in told[0] for verb in WRITES), told[0]
            assert len(set(told)) == len(told)


@pytest.mark.parametrize("record", ["job", "message"])
def test_what_the_other_records_met_is_advised_on_too(record):
    for cause in PRIORS[record]:
        if CAUSES[cause].loss == "yes":
            met = {**records("present"), record: Record("absent", cause, 0.95)}
            told = actions(seen_as("present"), met, True)
            prevent = advice_of(REMEDIES[cause].prevent, seen_as("present"), record)
            assert any(prevent in one for one in told), cause


@pytest.mark.parametrize("cause", [*KNOWN, "unknown"])
def test_a_read_of_a_key_is_said_to_reclaim_it_on_a_master(cause):
    for shown in all_views(cause):
        for one in actions(shown, records(cause), None):
            if re.search(r"redis-cli -n \d+ (GET|TTL|EXISTS|DUMP)", one):
                assert "once the key has expired, reading it on a master deletes it" in one


@pytest.mark.parametrize("cause", [*KNOWN, "unknown"])
def test_no_advice_takes_a_snapshot_through_a_disk_or_touches_the_backlog(cause):
    disk = asked("6.2.7", **{"repl-diskless-sync": "no"})
    for shown in (disk, asked("6.0.9")):
        texts = [*actions(shown, records(cause), None), *(gap.how for gap in gaps(shown, {cause, "evicted"}))]
        for text in texts:
            assert "CONFIG SET repl-backlog-size" not in text
            assert "--rdb" not in text or "Do not use redis-cli --rdb" in text
    assert through_disk(disk) and through_disk(asked("6.0.9"))
    assert not through_disk(asked("7.0.15")) and not through_disk(asked("6.2.7", **{"repl-diskless-sync": "yes"}))


def test_a_change_of_configuration_is_said_to_be_one():
    for cause in KNOWN:
        for shown in all_views(cause):
            for one in actions(shown, records(cause, 0.8), True):
                for sentence in re.split(r"(?<=\.) (?=[A-Z])", one):
                    if "CONFIG SET" in sentence:
                        assert re.search(r"change|costs", one), one


def test_no_secret_setting_gets_into_a_sentence():
    secrets = {"requirepass": "hunter2", "masterauth": "hunter2", "dir": "/data", "appendonly": "yes"}
    shown = asked(**secrets)
    for cause in KNOWN:
        texts = [*actions(shown, records(cause, 0.8), True), *(gap.how for gap in gaps(shown, CAUSES))]
        assert not any("hunter2" in text for text in texts)


def test_files_are_asked_for_by_the_names_of_this_server():
    [first] = [one for one in actions(asked("6.2.7", dir="/data/my redis"), records("unknown"), None) if "cp -a" in one]
    assert first == (
        "Copy appendonly.aof from the server's disk before it is written anew: cp -a '/data/my redis/appendonly.aof' "
        "CASE/. Copying changes nothing on the server."
    )
    shown = replace(asked("7.2.4"), evidence=frame("evidence", [{"kind": "info", "path": "info.txt", "server": ""}]))
    [first] = [one for one in actions(shown, records("unknown"), None) if "cp -a" in one]
    assert "cp -a appendonlydir dump.rdb CASE/, in the folder that redis-cli CONFIG GET dir names." in first
    assert not any("cp -a" in one for one in actions(asked(appendonly="no", save=""), records("unknown"), None))


def test_what_lives_in_memory_is_saved_with_the_words_of_the_version():
    for version, words in (("6.2.7", "redis-cli INFO all >"), ("7.0.15", "redis-cli INFO everything >")):
        shown = replace(gone(), servers=asked(version).servers)
        assert any(words in one for one in actions(shown, records("evicted"), True))


def test_on_a_replica_the_master_is_asked_too_and_set():
    told = actions(asked(role="slave"), records("evicted", 0.8), True)
    assert any("Save the same answers of its master" in one for one in told)
    assert any("on its master as well, for this server is a replica" in one for one in told)
    shown = view(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb")], infos=[info(90, uptime=900, role="slave")])
    assert "It is read on a replica, which deletes nothing" in actions(shown, records("present"), False)[0]


def test_a_backlog_that_the_server_keeps_is_read_before_anything_else():
    shown = gone(infos=[info(700, uptime=5000, counters={"repl_backlog_active": 1})])
    assert keeps_backlog(shown)
    assert actions(shown, records("unknown"), None)[0].startswith("Have the server's replication backlog read first")
    assert not keeps_backlog(gone(infos=[info(700, uptime=5000, counters={"repl_backlog_active": 0})]))


def test_content_that_was_found_is_pointed_at_and_logs_only_hold_a_part():
    [found_in] = [one for one in actions(gone(), records("evicted"), True) if "recovered/result.json" in one]
    assert found_in.startswith("The result's content is still in a snapshot and a worker's log: ")
    shown = streamed()
    [found_in] = [one for one in actions(shown, records("evicted"), True) if "recovered/result.json" in one]
    assert "in a worker's log (as it was logged, cut where it is long)" in found_in


def test_bytes_that_are_not_opened_are_named():
    shown = view(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", expires=50, serializer="pickle")])
    told = actions(shown, records("natural_expiry"), False)
    assert any("written as pickle: they are not opened here" in one for one in told)


def test_prevention_names_the_place_in_the_code():
    shown = with_code(gone(), does="flushes", call="cache.clear()")
    assert any("Look at app/records.py:77, which flushes" in one for one in actions(shown, records("db_flushed"), True))
    shown = with_code(gone(), does="sets", settings="result_expires", pattern="celery-task-meta-*", line=6)
    told = actions(shown, records("natural_expiry"), False)
    assert any("raise result_expires (now 86,400 s, set at app/records.py:6)" in one for one in told)


def test_advice_on_a_mere_likeliest_cause_is_given_with_that_reserve():
    told = actions(gone(), records("evicted", 0.4), None)
    assert any(one.startswith("If it was “Evicted”: Give Celery a Redis of its own") for one in told)


def test_what_is_on_already_is_not_advised_for_next_time():
    dated = asked(**{"appendonly": "yes", "aof-timestamp-enabled": "yes"})
    undated = asked(**{"appendonly": "yes", "aof-timestamp-enabled": "no"})
    off, old = asked(appendonly="no"), asked("6.2.7")
    last = {name: actions(shown, records("unknown"), None)[-1] for name, shown in
            (("dated", dated), ("undated", undated), ("off", off), ("old", old))}  # fmt: skip
    assert all(text.startswith("To be able to tell next time, ") for text in last.values())
    assert "append-only file" not in last["dated"]
    assert "set aof-timestamp-enabled yes, so that the append-only file dates" in last["undated"]
    assert "turn on the append-only file with aof-timestamp-enabled yes (a change" in last["off"]
    assert "times in it need Redis 7.0" in last["old"]


def test_what_is_certain_and_no_loss_asks_for_no_recorder():
    assert not any("next time" in one for one in actions(gone(), records("natural_expiry"), False))


def test_a_key_is_an_argument_that_a_shell_takes_as_it_is():
    assert argument("plain-key") == "plain-key"
    hostile = "a'; rm -rf / #"
    assert shlex.split(quoted("GET", 2, hostile)) == ["redis-cli", "-n", "2", "GET", hostile]
    assert argument("celery\x06\x166") == r"$'celery\x06\x166'"
    assert argument(r"\xff'k") == r"$'\xff\'k'"
    assert argument("ключ") == r"$'\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87'"
    assert "verdict.json names" in quoted("GET", 0, "k" * 300)


def test_a_message_past_its_time_is_left_to_its_worker_first():
    shown = waiting(expires=at(10))
    first = actions(shown, records("queued"), False)[0]
    assert first.startswith("Leave the message where it is: a worker that meets it discards it")


@pytest.mark.parametrize("cause", KNOWN)
def test_every_gap_says_how_to_have_it(cause):
    competing = {cause, "evicted", "deleted_by_client"}
    for shown in all_views(cause):
        for gap in gaps(shown, competing):
            assert set(gap.would_decide) <= set(competing) and gap.would_decide
            assert gap.missing and gap.how.endswith(".")
            well_formed(gap.how if gap.how[0].isupper() else gap.how.capitalize())


def test_the_most_telling_gap_stands_first():
    def first(*competing: str, **chances: float) -> str:
        return gaps(view(), competing, chances=chances or None)[0].missing

    assert first("evicted", "db_flushed", "consumed") == "append-only file"
    assert first("worker_killed", "revoked", "discarded") == "worker log"
    assert first("replaced_by_resync", "failover_lost_writes") == "Redis server log"
    assert first("wrong_node", "present") == "snapshot"
    both = ("deleted_by_client", "clock_jump", "failover_lost_writes")
    assert first(*both, deleted_by_client=0.9, clock_jump=0.02) == "append-only file"
    assert first(*both, deleted_by_client=0.02, clock_jump=0.5, failover_lost_writes=0.4) == "Redis server log"
    assert gaps(view(), ()) == ()


def missing(shown: View) -> dict[str, str]:
    return {gap.missing: gap.how for gap in gaps(shown, CAUSES)}


def test_evidence_that_is_there_and_falls_short_is_a_gap():
    undated = replace(streamed(), config={"": {"aof-timestamp-enabled": "no"}})
    dated = replace(streamed(), config={"": {"aof-timestamp-enabled": "yes"}})
    assert "times in the append-only file" in missing(undated)
    assert "times in the append-only file" not in missing(dated)
    assert "INFO from before the loss" in missing(gone(infos=[info(700, uptime=5000)]))
    assert "INFO from before the loss" not in missing(gone(infos=[info(90, uptime=5000), info(700, uptime=5610)]))
    reset = missing(gone(infos=[info(700, uptime=5000, counters_since=None, counters_reset=True)]))
    assert "INFO's counters began at a time that is not known" in reset["the counters from before they began"]
    cut = {**AOF, "complete": False, "stopped_at": 1234}
    assert "Reading stopped at byte 1,234" in missing(streamed(evidence=(cut,)))["the rest of appendonly.aof"]


def test_a_log_that_does_not_reach_is_a_gap():
    log = {"server": "", "path": "redis.log", "kind": "redis log", "complete": True}
    short = gone().evidence.to_dict("records")
    for begin, end, lacks in ((-10, 700, False), (300, 700, True), (-10, 100, True)):
        row = {**log, "from": at(begin), "to": at(end)}
        shown = replace(gone(), evidence=frame("evidence", [*short, row]))
        assert ("a Redis server log of the whole time" in missing(shown)) is lacks


def test_a_stream_that_keeps_nothing_is_not_asked_for():
    assert "This server keeps none (appendonly no)" in missing(asked(appendonly="no"))["append-only file"]
    assert "snapshot" not in missing(streamed(evidence=({**AOF, "kind": "append-only file"},)))


def test_gaps_without_job_records_ask_for_no_application_log():
    assert "application log" not in {gap.missing for gap in gaps(view(), CAUSES, ("result", "message"))}


def test_results_of_an_expired_message_are_told_with_the_stated_time():
    shown = view(
        evidence=[snapshot("a.rdb", 100)],
        messages=[message("a.rdb", expires=at(1))],
        stated=Settings(noticed_at=at(200)),
    )
    assert "1 March 2026 at 12:00 UTC" in actions(shown, {**records("queued"), "message": found("queued")}, False)[0]
