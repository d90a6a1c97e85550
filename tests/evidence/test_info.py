"""INFO of any version is read by names, and growth is believed only within one run without a reset."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pandas as pd
import pytest

from analysis.errors import Unusable
from analysis.evidence.info import InfoAnswer, read_info, servers_frame
from tests.conftest import StartRedis

STAMP = pd.Timestamp("2025-07-24T02:38:38Z")
HEAD = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:{run}\r\nuptime_in_seconds:{uptime}\r\n"
STATS = "# Stats\r\ntotal_connections_received:9\r\ntotal_commands_processed:{commands}\r\nexpired_keys:{expired}\r\n"
TAIL = "# Replication\r\nrole:master\r\n# Commandstats\r\n{calls}# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=0\r\n"


def answer(
    tmp_path: Path,
    minute: int,
    *,
    run: str = "a",
    commands: int = 10,
    expired: int = 0,
    uptime: int | None = None,
    **calls: int,
) -> InfoAnswer:
    listed = "".join(f"cmdstat_{name.replace('__', '|')}:calls={n},usec=1\r\n" for name, n in calls.items())
    text = (HEAD + STATS + TAIL).format(
        run=run, uptime=minute * 60 if uptime is None else uptime, commands=commands, expired=expired, calls=listed
    )
    path = tmp_path / f"info-{minute}.txt"
    path.write_text(text, newline="")
    return read_info(path, source=path.name, stamp=STAMP + pd.Timedelta(minutes=minute))


def read(tmp_path: Path, text: str | bytes, **options: pd.Timestamp) -> InfoAnswer:
    path = tmp_path / "info.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_info(path, source="info.txt", **options)


def delta(counters: pd.DataFrame, name: str, source: str) -> float:
    rows = counters[(counters["counter"] == name) & (counters["source"] == source)]
    assert len(rows) == 1
    return float(rows["delta"].iloc[0])


def test_commandstats_errorstats_and_keyspace_of_every_version_are_read_by_name(tmp_path: Path) -> None:
    text = (
        "redis_version:6.0.16\ncmdstat_del:calls=4,usec=31,usec_per_call=7.75\n"
        "cmdstat_set:calls=3,usec=9,usec_per_call=3.00,rejected_calls=2,failed_calls=1\n"
        "cmdstat_config|resetstat:calls=1,usec=5,usec_per_call=5.00,rejected_calls=0,failed_calls=0\n"
        "errorstat_OOM:count=2\nlatency_percentiles_usec_set:p50=1.0,p99=2.0\n"
        "db0:keys=3,expires=1,avg_ttl=0,subexpiry=0\ndb12:keys=4,expires=2,avg_ttl=9,keys_with_volatile_items=1\n"
        "expired_keys:33\nused_memory_peak_perc:98.44%\nrun_id:9fd3\nredis_git_sha1:00000000\n"
    )
    got = read(tmp_path, text, stamp=STAMP)
    assert got.keyspace == {0: {"keys": 3, "expires": 1}, 12: {"keys": 4, "expires": 2}}
    assert got.counters == {
        "cmdstat_del": 4,
        "cmdstat_set": 3,
        "cmdstat_set.rejected_calls": 2,
        "cmdstat_set.failed_calls": 1,
        "cmdstat_config|resetstat": 1,
        "cmdstat_config|resetstat.rejected_calls": 0,
        "cmdstat_config|resetstat.failed_calls": 0,
        "errorstat_OOM": 2,
        "db0.keys": 3,
        "db0.expires": 1,
        "db12.keys": 4,
        "db12.expires": 2,
        "expired_keys": 33,
    }


def test_absent_field_is_missing_and_never_zero(tmp_path: Path) -> None:
    servers, counters = servers_frame([read(tmp_path, "redis_version:7.0.15\nrun_id:a\n", stamp=STAMP)])
    row = servers.iloc[0]
    for name in (
        "expired_keys",
        "evicted_keys",
        "uptime",
        "started_at",
        "maxmemory",
        "aof_enabled",
        "counters_since",
        "restarted",
    ):
        assert pd.isna(row[name]), name
    assert len(counters) == 0


def test_valkey_gives_its_own_version_and_mode(tmp_path: Path) -> None:
    text = "redis_version:7.2.4\nserver_name:valkey\nvalkey_version:9.1.2\nserver_mode:cluster\nrun_id:a\n"
    row = read(tmp_path, text, stamp=STAMP).row
    assert (row["flavor"], row["version"], row["mode"]) == ("valkey", "9.1.2", "cluster")


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "\ufeff{}",
        "127.0.0.1:6379> INFO all\n{}",
        "127.0.0.1:6379[2]> info\r\n\r\n{}",
        "$4509\r\n{}",
        "txt:{}",
        '"{}"',
    ],
)
def test_what_a_shell_or_an_editor_did_to_the_answer_does_no_harm(tmp_path: Path, around: str) -> None:
    body = "# Server\r\nredis_version:7.0.15\r\nrun_id:a\r\n# Keyspace\r\ndb0:keys=3,expires=1\r\n"
    if around == '"{}"':
        body = body.replace("\r\n", "\\r\\n")
    got = read(tmp_path, around.format(body), stamp=STAMP)
    assert (got.row["version"], got.keyspace, got.complete) == ("7.0.15", {0: {"keys": 3, "expires": 1}}, True)


def test_answer_saved_by_powershell_is_read(tmp_path: Path) -> None:
    got = read(tmp_path, "redis_version:7.0.15\r\nrole:master\r\n".encode("utf-16"), stamp=STAMP)
    assert got.row["role"] == "master"


def test_time_comes_from_the_name_then_the_server_then_the_file(tmp_path: Path) -> None:
    dated = "redis_version:7.0.15\nserver_time_usec:1753324718123456\nuptime_in_seconds:60\n"
    named = read(tmp_path, dated, stamp=STAMP).row
    assert (named["at"], named["at_from"]) == (STAMP, "file name")
    told = read(tmp_path, dated).row
    assert (told["at"], told["at_from"]) == (pd.Timestamp("2025-07-24T02:38:38.123456Z"), "server clock")
    assert told["started_at"] == pd.Timestamp("2025-07-24T02:37:38.123456Z")
    path = tmp_path / "info.txt"
    path.write_text("redis_version:6.0.16\n")
    os.utime(path, (1753324718, 1753324718))
    kept = read_info(path, source="info.txt").row
    assert (kept["at"], kept["at_from"]) == (STAMP, "file time")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n",
        b"NOAUTH Authentication required.\n",
        b"(error) NOPERM no\n",
        b"hello\n",
        bytes(range(256)) * 9,
        b"Error: x",
    ],
)
def test_what_is_no_answer_is_unusable_in_one_line(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(Unusable) as error:
        read(tmp_path, text, stamp=STAMP)
    assert "\n" not in str(error.value) and "info.txt" in str(error.value)


def test_answer_that_was_cut_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    got = read(tmp_path, "# Server\nredis_version:7.0.15\n# Stats\nexpired_keys:3\nevicted_ke", stamp=STAMP)
    assert not got.complete and got.reason and got.row["expired_keys"] == 3


def test_secret_in_an_answer_is_masked(tmp_path: Path) -> None:
    got = read(
        tmp_path,
        "redis_version:7\nmaster_auth:s3cret\nx_url:redis://:s3cret@h\ncmdstat_auth:calls=2,usec=1\n",
        stamp=STAMP,
    )
    assert "s3cret" not in repr(got) and got.counters["cmdstat_auth"] == 2


def test_growth_is_told_within_a_run(tmp_path: Path) -> None:
    answers = [
        answer(tmp_path, 20, commands=90, expired=7, del_=0, flushdb=1, get=5),
        answer(tmp_path, 10, commands=40, expired=4, get=5),
    ]
    servers, counters = servers_frame(answers)
    assert servers["source"].tolist() == ["info-10.txt", "info-20.txt"]
    assert servers["restarted"].tolist() == [pd.NA, False]
    assert not servers["counters_reset"].any()
    assert servers["counters_since"].tolist() == servers["started_at"].tolist()
    assert delta(counters, "expired_keys", "info-20.txt") == 3
    assert delta(counters, "cmdstat_flushdb", "info-20.txt") == 1
    assert delta(counters, "cmdstat_get", "info-20.txt") == 0
    assert pd.isna(delta(counters, "expired_keys", "info-10.txt"))
    assert pd.isna(delta(counters, "db0.keys", "info-20.txt"))


def test_no_growth_is_told_across_a_restart(tmp_path: Path) -> None:
    answers = [answer(tmp_path, 10, expired=4), answer(tmp_path, 20, run="b", expired=9, commands=99, uptime=60)]
    servers, counters = servers_frame(answers)
    assert servers["restarted"].tolist() == [pd.NA, True]
    assert servers["counters_since"].iloc[1] == STAMP + pd.Timedelta(minutes=19)
    assert pd.isna(delta(counters, "expired_keys", "info-20.txt"))


def test_restart_is_seen_without_run_id_by_a_younger_start(tmp_path: Path) -> None:
    answers = [answer(tmp_path, 10, run=""), answer(tmp_path, 20, run="", uptime=60)]
    assert servers_frame(answers)[0]["restarted"].tolist() == [pd.NA, True]


def test_counter_that_went_down_tells_of_a_reset_from_then_on(tmp_path: Path) -> None:
    answers = [
        answer(tmp_path, 10, expired=4, commands=50, get=9),
        answer(tmp_path, 20, expired=5, commands=60, get=2),
        answer(tmp_path, 30, expired=8, commands=70, get=3),
        answer(tmp_path, 40, run="b", expired=0, commands=5, uptime=60),
    ]
    servers, counters = servers_frame(answers)
    assert servers["counters_reset"].tolist() == [False, True, True, False]
    assert servers["counters_since"].isna().tolist() == [False, True, True, False]
    assert pd.isna(delta(counters, "expired_keys", "info-20.txt"))
    assert delta(counters, "expired_keys", "info-30.txt") == 3


def test_config_calls_before_7_leave_a_reset_open_and_none_rule_it_out(tmp_path: Path) -> None:
    assert servers_frame([answer(tmp_path, 10, config=1)])[0]["counters_reset"].isna().all()
    assert servers_frame([answer(tmp_path, 10, get=1)])[0]["counters_reset"].tolist() == [False]
    unlisted = read(tmp_path, HEAD.format(run="a", uptime=9), stamp=STAMP)
    assert servers_frame([unlisted])[0]["counters_reset"].isna().all()
    assert servers_frame([answer(tmp_path, 10, config__get=1, get=1)])[0]["counters_reset"].tolist() == [False]


def test_answers_out_of_order_tell_neither_a_reset_nor_growth(tmp_path: Path) -> None:
    answers = [
        answer(tmp_path, 10, expired=9, commands=90, uptime=900, get=4, set=1),
        answer(tmp_path, 20, expired=4, commands=40, uptime=300, get=1, set=2),
    ]
    servers, counters = servers_frame(answers)
    assert servers["counters_reset"].tolist() == [False, False]
    assert counters["delta"].isna().all()


def test_servers_do_not_mix(tmp_path: Path) -> None:
    one, other = answer(tmp_path, 10, expired=4, get=1), answer(tmp_path, 20, expired=9, get=1)
    path = tmp_path / "info-20.txt"
    other = read_info(path, source="servers/b/info-20.txt", server="b", stamp=STAMP)
    _, counters = servers_frame([other, one])
    assert counters["delta"].isna().all()


@pytest.mark.redis7
def test_real_server_shows_growth_a_reset_and_a_restart(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    started = pd.Timestamp.now("UTC")
    answers: list[InfoAnswer] = []

    def ask() -> None:
        path = tmp_path / f"info{len(answers)}.txt"
        path.write_bytes(server.info_text("everything"))
        answers.append(read_info(path, source=path.name))

    client = server.client()
    ask()
    client.mset({"a": 1, "b": 2})
    client.set("c", 1, px=1)
    time.sleep(0.02)
    assert client.get("c") is None
    client.delete("a", "b")
    client.flushdb()
    ask()
    client.config_resetstat()
    ask()
    server.shutdown()
    server.start()
    ask()
    servers, counters = servers_frame(answers)
    assert servers["at_from"].eq("server clock").all()
    assert abs(servers["started_at"].iloc[0] - started) < pd.Timedelta(seconds=5)
    assert servers["restarted"].tolist() == [pd.NA, False, False, True]
    assert servers["counters_reset"].tolist() == [False, False, True, False]
    assert servers["counters_since"].isna().tolist() == [False, False, True, False]
    assert delta(counters, "expired_keys", "info1.txt") == 1
    assert delta(counters, "cmdstat_del", "info1.txt") == 1
    assert delta(counters, "cmdstat_flushdb", "info1.txt") == 1
    assert counters.loc[counters["source"].isin(["info2.txt", "info3.txt"]), "delta"].isna().all()
    assert servers["version"].iloc[0].split(".")[0] == str(server.version[0])


@pytest.mark.redis7
def test_reset_shows_in_a_plain_answer_by_the_fork_that_is_not_counted(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    client = server.client()
    client.bgsave()
    while client.info("persistence")["rdb_bgsave_in_progress"]:
        time.sleep(0.02)
    path = tmp_path / "info.txt"
    path.write_bytes(server.info_text("default"))
    assert servers_frame([read_info(path, source="info.txt")])[0]["counters_reset"].isna().all()
    client.config_resetstat()
    path.write_bytes(server.info_text("default"))
    assert servers_frame([read_info(path, source="info.txt")])[0]["counters_reset"].tolist() == [True]


def test_answer_cut_within_its_commands_neither_shows_nor_rules_out_a_reset(tmp_path: Path) -> None:
    whole = answer(tmp_path, 10, get=4, del_=1)
    text = (tmp_path / "info-10.txt").read_text().partition("cmdstat_del_")[0].replace(":600", ":660")
    cut = read(tmp_path, text, stamp=STAMP + pd.Timedelta(minutes=11))
    servers, _ = servers_frame([whole, cut])
    assert servers["counters_reset"].tolist() == [False, pd.NA]
