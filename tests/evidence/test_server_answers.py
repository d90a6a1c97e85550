"""CONFIG GET, SLOWLOG GET and CLIENT LIST, as real servers and redis-cli give them, and as nobody should."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.errors import Unusable
from analysis.evidence.clients import read_clients
from analysis.evidence.commands import is_telling, keys_of, verb_of
from analysis.evidence.config import read_config
from analysis.evidence.slowlog import read_slowlog
from analysis.redact import MASK
from tests.conftest import StartRedis
from tests.servers import RedisServer


def file(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "answer.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def redis_cli(server: RedisServer, *arguments: str | bytes) -> bytes:
    binary = shutil.which("redis-cli")
    if binary is None:
        pytest.skip("no redis-cli")
    secret = ["-a", server.config["requirepass"], "--no-auth-warning"] if "requirepass" in server.config else []
    return subprocess.run([binary, "-p", str(server.port), *secret, *arguments], capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "content",
    [
        {"Maxmemory": "0", "requirepass": "s3cret", "masterauth": ""},
        ["maxmemory", "0", "requirepass", "s3cret", "masterauth", ""],
        [["maxmemory", "0"], ["requirepass", "s3cret"], ["masterauth", ""]],
        "maxmemory\n0\nrequirepass\ns3cret\nmasterauth\n\n",
        '1) "maxmemory"\n2) "0"\n3) "requirepass"\n4) "s3cret"\n5) "masterauth"\n6) ""\n',
        '127.0.0.1:6379> CONFIG GET *\n1) "maxmemory"\n2) "0"\n3) "requirepass"\n4) "s3cret"\n5) "masterauth"\n6) ""\n',
    ],
)
def test_settings_are_read_from_every_form_without_passwords(tmp_path: Path, content: Any) -> None:
    assert read_config(file(tmp_path, content)) == {"maxmemory": "0", "requirepass": MASK, "masterauth": ""}


def test_rules_of_users_keep_no_password(tmp_path: Path) -> None:
    got = read_config(file(tmp_path, {"user": "bob on >s3cret #5e884898da ~* +@all", "tls-key-file-pass": "s3cret"}))
    assert got == {"user": f"bob on {MASK} {MASK} ~* +@all", "tls-key-file-pass": MASK}


def test_bytes_that_are_not_utf8_do_not_stop_reading(tmp_path: Path) -> None:
    assert read_config(file(tmp_path, b'{"dir":"/d\xff\x01"}')) == {"dir": "/d\\xff\x01"}


@pytest.mark.parametrize("content", [b"", b"{", b"[[[[" * 50_000, b'"x"', b"{}", b"7", b"\x00\xff", b'{"a\\ud800":"b"'])
@pytest.mark.parametrize("reader", [read_config, lambda path: read_slowlog(path, source="x")])
def test_what_is_no_answer_is_unusable_in_one_line(tmp_path: Path, content: bytes, reader: Any) -> None:
    with pytest.raises(Unusable) as error:
        reader(file(tmp_path, content))
    assert "\n" not in str(error.value)


def test_slow_commands_are_dated_by_the_second_in_which_they_ended(tmp_path: Path) -> None:
    entries = [
        [9, 1753324718, 30_000, ["DEL", "a", "b"], "10.0.0.1:5", "cleaner"],
        [8, 1753324718, 5, ["GET", "a"], "10.0.0.1:5", ""],
        [7, 1753324717, 12_000, ["keys", "celery-task-meta-*"], "10.0.0.1:5", ""],
        [6, 1753324716, 12_000, ["FLUSHALL", "ASYNC"]],
    ]
    got = read_slowlog(file(tmp_path, entries), source="slowlog.json", server="s")
    assert got["offset"].tolist() == [6, 7, 9]
    assert got["verb"].tolist() == ["FLUSHALL", "keys", "DEL"]
    assert got["keys"].tolist() == [[], ["celery-task-meta-*"], ["a", "b"]]
    last = got.iloc[-1]
    assert last["not_before"] == pd.Timestamp("2025-07-24T02:38:37.970Z")
    assert last["not_after"] == pd.Timestamp("2025-07-24T02:38:38.999999Z")
    assert (last["client"], last["client_name"], last["server"]) == ("10.0.0.1:5", "cleaner", "s")
    assert got["db"].isna().all()


def test_one_bad_entry_costs_one_row(tmp_path: Path) -> None:
    entries: list[Any] = [
        {
            "id": 3,
            "start_time": 1753324718,
            "duration": 9,
            "command": "DEL a b",
            "client_address": "x",
            "client_name": "",
        },
        None,
        [],
        7,
        [5],
        [5, "x", None, []],
        [4, 1e300, -1, ["DEL", "c"]],
        [True, 10**30, "9", ["UNLINK", 7]],
        {"arguments": {}},
    ]
    got = read_slowlog(file(tmp_path, entries), source="x")
    assert sorted(got["keys"].tolist()) == [["7"], ["a", "b"], ["c"]]
    assert got["not_after"].isna().sum() == 2


def test_arguments_that_redis_left_out_are_not_taken_for_keys(tmp_path: Path) -> None:
    long = "k" * 128 + "... (20 more bytes)"
    entries = [
        [1, 1, 1, ["DEL", "a", long, "... (2 more arguments)"]],
        [2, 1, 1, ["BRPOP", "q", "r", "... (9 more arguments)"]],
    ]
    got = read_slowlog(file(tmp_path, entries), source="x")
    assert got["keys"].tolist() == [["a", long], ["q", "r"]]


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("SET k v EX 9", ["k"]),
        ("del a b", ["a", "b"]),
        ("BRPOP celery celery6 1", ["celery", "celery6"]),
        ("RENAME a b", ["a", "b"]),
        ("MSET a 1 b 2", ["a", "b"]),
        ("EVALSHA f00 2 a b arg", ["a", "b"]),
        ("EVAL s 99999999999999999999 a", ["a"]),
        ("EVAL s -1 a", []),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", ["d", "a", "b"]),
        ("SORT a BY x store d", ["a", "d"]),
        ("MIGRATE h 6379 k 0 5000", ["k"]),
        ("SCAN 0 match job:* COUNT 10", ["job:*"]),
        ("SCAN 0", []),
        ("FLUSHDB ASYNC", []),
        ("SWAPDB 0 1", []),
        ("GET a", []),
        ("SET", []),
        ("EVAL", []),
    ],
)
def test_keys_are_found_by_the_commands_own_table(command: str, keys: list[str]) -> None:
    assert keys_of(command.split()) == keys
    assert keys_of(command.encode().split()) == [key.encode() for key in keys]


def test_keys_of_migrate_stand_after_keys_where_its_own_is_empty() -> None:
    assert keys_of(["MIGRATE", "h", "1", "", "0", "9", "AUTH", "KEYS", "KEYS", "a", "b"])[-2:] == ["a", "b"]


def test_only_commands_that_change_keys_or_look_for_them_testify() -> None:
    assert all(
        is_telling(command.split())
        for command in ("DEL a", "flushall", "KEYS *", "SCAN 0", "config resetstat", "REPLICAOF h 1")
    )
    assert not any(
        is_telling(command.split()) for command in ("GET a", "CONFIG GET *", "PING", "AUTH x", "HELLO 3", "INFO")
    )
    assert not is_telling([]) and verb_of(["CONFIG", "RESETSTAT"]) == "CONFIG RESETSTAT"


def test_connections_of_every_version_are_read_by_name(tmp_path: Path) -> None:
    lines = (
        "id=4 addr=/run/my redis/redis.sock:0 fd=9 name= age=11550 idle=0 flags=U db=0 cmd=slowlog user=default\r\n"
        "id=5 addr=10.0.0.1:5 laddr=10.0.0.2:6379 name=sentinel-1 age=1 idle=2 db=12 future=x y cmd=client|list"
        " user=bob lib-name=redis-py(celery_v5.7.0) lib-ver=8.1.0\n"
        "garbage\n"
    )
    got = read_clients(file(tmp_path, lines), source="clients.txt")
    assert got["addr"].tolist() == ["/run/my redis/redis.sock:0", "10.0.0.1:5"]
    assert got["db"].tolist() == [0, 12] and got["age"].tolist() == [11550, 1]
    assert got["lib"].tolist()[1] == "redis-py(celery_v5.7.0) 8.1.0" and pd.isna(got["lib"].iloc[0])
    assert pd.isna(got["name"].iloc[0]) and got["user"].tolist() == ["default", "bob"]


@pytest.mark.parametrize("content", [b"", b"hello\n", b"NOAUTH Authentication required.\n", b"\xff" * 100])
def test_what_is_no_list_of_connections_is_unusable(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Unusable):
        read_clients(file(tmp_path, content), source="x")


@pytest.mark.redis7
def test_real_server_as_redis_cli_saves_it(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis(slowlog_log_slower_than=0, requirepass="s3cret", maxmemory="64mb")
    client = server.client(client_name="cleaner")
    client.mset({b"k\xff": 1, **{f"celery-task-meta-{n}": n for n in range(40)}})
    client.keys("celery-task-meta-*")
    client.delete(b"k\xff", *(f"celery-task-meta-{n}" for n in range(40)))
    for form in (["--json"], []):
        config = read_config(file(tmp_path, redis_cli(server, *form, "CONFIG", "GET", "*")))
        assert (config["maxmemory"], config["requirepass"], config["masterauth"]) == ("67108864", MASK, "")
    slow = read_slowlog(file(tmp_path, redis_cli(server, "--json", "SLOWLOG", "GET", "-1")), source="slowlog.json")
    assert "s3cret" not in slow.to_csv()
    deleted = slow[slow["verb"] == "DEL"].iloc[0]
    assert deleted["keys"][:2] == ["k\\xff", "celery-task-meta-0"] and len(deleted["keys"]) == 30
    assert deleted["client_name"] == "cleaner"
    assert abs(deleted["not_after"] - pd.Timestamp.now("UTC")) < pd.Timedelta(minutes=1)
    assert slow.loc[slow["verb"] == "KEYS", "keys"].tolist() == [["celery-task-meta-*"]]
    for form in (["--json"], []):
        clients = read_clients(file(tmp_path, redis_cli(server, *form, "CLIENT", "LIST")), source="clients.txt")
        assert clients.loc[clients["name"] == "cleaner", "cmd"].tolist() == ["del"]
