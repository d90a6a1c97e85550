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
from analysis.evidence.clients import join_clients, read_clients
from analysis.evidence.commands import Told, is_telling, keys_of, told_by, verb_of
from analysis.evidence.config import read_config
from analysis.evidence.slowlog import read_slowlog
from analysis.frames import FRAMES, frame
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


def redis_cli_binary() -> str:
    return shutil.which("redis-cli") or pytest.skip("no redis-cli")


def redis_cli(server: RedisServer, *arguments: str | bytes) -> bytes:
    binary = redis_cli_binary()
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


def test_a_slow_command_tells_its_expiry_and_whether_it_takes_keys_away(tmp_path: Path) -> None:
    commands = ["SETEX k 60 v", "EXPIREAT k 1753324718", "PEXPIREAT k 1753324718001", "flushdb async", "KEYS *"]
    got = read_slowlog(file(tmp_path, [[n, 1753324718, 5, c.split()] for n, c in enumerate(commands)]), source="x")
    assert got["ttl"].tolist() == [60_000, pd.NA, pd.NA, pd.NA, pd.NA]
    assert got["expires_at"].tolist()[1:3] == [
        pd.Timestamp("2025-07-24T02:38:38Z"),
        pd.Timestamp("2025-07-24T02:38:38.001Z"),
    ]
    assert (got["removed_by"] == "client").tolist() == [False, True, False, True, False]
    assert got["detail"].fillna("").tolist() == ["", "", "", "ASYNC", ""]


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


DAY = 86_400_000
T = 1_753_324_718_000


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("SET k v", Told()),
        ("set k v ex 86400", Told(ttl_ms=DAY)),
        ("SET k v NX GET PX 5", Told(ttl_ms=5, detail="NX, GET")),
        ("SET k v XX KEEPTTL", Told(detail="XX, KEEPTTL")),
        (f"SET k EX PXAT {T}", Told(expires_at_ms=T)),
        ("SET k v EXAT 1", Told(expires_at_ms=1000)),
        ("SET k v IFEQ EX EX 7", Told(ttl_ms=7000, detail="IFEQ")),
        ("SET k v EX 0", Told()),
        ("SET k v EX", Told(detail="EX")),
        ("SETEX k 60 v", Told(ttl_ms=60_000)),
        ("PSETEX k 60 v", Told(ttl_ms=60)),
        ("SETEX k -1 v", Told()),
        ("SETEX k 60", Told()),
        ("GETEX k", Told()),
        ("GETEX k PERSIST", Told(detail="no TTL")),
        ("GETEX k EX 9", Told(ttl_ms=9000)),
        ("GETEX k EXAT 1", Told(expires_at_ms=1000, removes=True)),
        (f"GETEX k PXAT {T + 1}", Told(expires_at_ms=T + 1)),
        ("EXPIRE k 60", Told(ttl_ms=60_000)),
        ("expire k 0", Told(ttl_ms=0, removes=True)),
        ("EXPIRE k -1 xx", Told(ttl_ms=-1000, detail="XX", removes=True)),
        ("PEXPIRE k 60 GT", Told(ttl_ms=60, detail="GT")),
        (f"PEXPIREAT k {T}", Told(expires_at_ms=T, removes=True)),
        (f"PEXPIREAT k {T + 1} LT", Told(expires_at_ms=T + 1, detail="LT")),
        ("EXPIREAT k -5", Told(expires_at_ms=-5000, removes=True)),
        ("PERSIST k", Told(detail="no TTL")),
        ("RESTORE k 0 x", Told(detail="no TTL")),
        ("RESTORE k 500 x REPLACE IDLETIME 7", Told(ttl_ms=500, detail="REPLACE")),
        (f"RESTORE k {T} x replace absttl", Told(expires_at_ms=T, detail="REPLACE")),
        ("RESTORE k -1 x", Told()),
        ("DEL a b", Told(removes=True)),
        ("GETDEL a", Told(removes=True)),
        ("RENAME a b", Told(removes=True)),
        ("MOVE a 3", Told(detail="to db 3", removes=True)),
        ("COPY a b DB 3 REPLACE", Told(detail="to db 3, REPLACE")),
        ("COPY a b", Told()),
        ("SWAPDB 0 1", Told(detail="db 0 and db 1", removes=True)),
        ("FLUSHALL async", Told(detail="ASYNC", removes=True)),
        ("FLUSHDB", Told(removes=True)),
        ("MIGRATE h 6379 k 2 5000", Told(detail="to h:6379 db 2", removes=True)),
        ("MIGRATE h 1 k 2 9 COPY AUTH2 KEYS COPY", Told(detail="to h:1 db 2, COPY")),
        ("MIGRATE h 1 k 2 9 AUTH COPY KEYS COPY", Told(detail="to h:1 db 2", removes=True)),
        ("REPLICAOF h 6379", Told(detail="h:6379")),
        ("slaveof no one", Told(detail="NO ONE")),
        ("FAILOVER TO h 6379 FORCE TIMEOUT 9", Told(detail="to h:6379, FORCE")),
        (
            "CONFIG SET maxmemory 1mb requirepass s3cret",
            Told(detail=f"maxmemory=1mb, requirepass={MASK}"),
        ),
        ("CONFIG RESETSTAT", Told()),
        ("SHUTDOWN NOSAVE", Told(detail="NOSAVE")),
        ("DEBUG SET-ACTIVE-EXPIRE 0", Told(detail="SET-ACTIVE-EXPIRE 0")),
        ("FUNCTION FLUSH SYNC", Told(detail="SYNC")),
        ("FUNCTION RESTORE payload REPLACE", Told(detail="REPLACE")),
        ("EVALSHA f00 1 k v", Told(detail="f00")),
        ("PUBLISH c v", Told(detail="c")),
        ("LTRIM q 1 0", Told(detail="1 0")),
        ("HSET unacked tag body", Told(detail="tag")),
        ("HSETNX h f v", Told(detail="f")),
        ("HDEL h f g", Told(detail="f, g")),
        (
            "HSET h " + " ".join(f"f{n} v" for n in range(20)),
            Told(detail="f0, f1, f2, f3, f4, f5, f6, f7, … (12 more)"),
        ),
        ("ZADD unacked_index NX CH 1.5 tag", Told(detail="tag")),
        ("ZREM unacked_index tag", Told(detail="tag")),
        ("HEXPIRE h 60 NX FIELDS 2 f g", Told(detail="f, g: EX 60")),
        ("HPEXPIREAT h 5 FIELDS 1 f", Told(detail="f: PXAT 5")),
        ("HSETEX h FNX EX 9 FIELDS 1 f v", Told(detail="f: EX 9")),
        ("HGETDEL h FIELDS 1 f", Told(detail="f")),
        ("GET k", Told()),
    ],
)
def test_what_a_command_tells_beside_its_keys(command: str, told: Told) -> None:
    assert told_by(command.split(), at_ms=T) == told
    assert told_by(command.encode().split(), at_ms=T) == told


@pytest.mark.parametrize("number", ["x", "", "+1", "01", "1.5", " 1", "1e3", "-0", "9" * 19, "9" * 400, "٣", "-9" * 19])
@pytest.mark.parametrize("verb", ["EXPIRE", "EXPIREAT", "GETEX", "SETEX"])
def test_an_expiry_that_is_no_number_to_redis_is_missing(verb: str, number: str) -> None:
    arguments = [verb, "k", "EX", number] if verb == "GETEX" else [verb, "k", number, "v"]
    told = told_by(arguments, at_ms=T)
    assert (told.ttl_ms, told.expires_at_ms, told.removes) == (None, None, False)


def test_an_expiry_given_as_a_time_has_not_passed_where_nobody_knows_the_time() -> None:
    assert told_by(["PEXPIREAT", "k", str(T)]) == Told(expires_at_ms=T)
    assert told_by(["PEXPIREAT", "k", "0"]) == Told(expires_at_ms=0, removes=True)
    assert told_by(["PEXPIREAT", "k", str(2**63 - 1)]) == Told(expires_at_ms=253_402_300_799_999)


@pytest.mark.parametrize(
    "arguments", [[], [b""], ["DEL" * 50], *([verb] for verb in "SET MOVE COPY SWAPDB MIGRATE CONFIG HEXPIRE".split())]
)
def test_a_command_that_is_cut_tells_what_is_left(arguments: list[str]) -> None:
    assert told_by(arguments).detail is None


def test_what_is_told_is_short_and_without_secrets() -> None:
    told = told_by([b"EVAL", b"redis.call('set', 'url', 'redis://:s3cret@h/0')\n" + b"x" * 10**7, b"0"])
    assert told.detail and len(told.detail) < 200 and "s3cret" not in told.detail and "\n" not in told.detail
    assert told_by([b"HDEL", b"h", b"\xff"]).detail == "\\xff"


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


TAKEN = pd.Timestamp("2025-07-24T02:38:38Z")


def joined(clients: list[dict[str, Any]], commands: list[dict[str, Any]], **taken: pd.Timestamp) -> list[list[str]]:
    known = frame("clients", [{"server": "s", "source": "a", "addr": "1.1.1.1:5", "age": 60, **row} for row in clients])
    rows = []
    for command in commands:
        at = TAKEN - pd.Timedelta(seconds=command.get("ago", 30))
        row = {"server": "s", "client": "1.1.1.1:5", "verb": "DEL", "not_before": at, "not_after": at, **command}
        rows.append({name: value for name, value in row.items() if name != "ago"})
    got = join_clients(frame("commands", rows), known, taken)
    assert list(got.columns) == [column.name for column in FRAMES["commands"]]
    assert [str(got[name].dtype) for name in ("client_name", "user")] == ["category", "category"]
    return got[["client_name", "user"]].astype(object).fillna("").to_numpy().tolist()


def test_commands_get_the_name_and_the_user_of_their_connection() -> None:
    known = [{"name": "cleaner", "user": "bob"}]
    assert joined(known, [{}, {"client": "1.1.1.1:6"}, {"client": None}, {"server": "t"}], a=TAKEN) == [
        ["cleaner", "bob"],
        ["", ""],
        ["", ""],
        ["", ""],
    ]
    assert joined([], [{}], a=TAKEN) == [["", ""]] and joined(known, [], a=TAKEN) == []


def test_an_address_speaks_only_for_as_long_as_the_connection_lasted() -> None:
    known = [{"user": "bob"}]
    times: list[dict[str, Any]] = [{"ago": ago} for ago in (61, 62.5, 0, -1, -2.5)]
    assert [user for _, user in joined(known, times, a=TAKEN)] == ["bob", "", "bob", "bob", ""]
    undated: list[dict[str, Any]] = [{"ago": 9999}, {"ago": -9999}, {"not_before": None, "not_after": None}]
    assert joined(known, undated) == [["", "bob"]] * 3
    assert joined([{"user": "bob", "age": None}], undated, a=TAKEN) == [["", "bob"]] * 3


def test_two_connections_that_had_one_address_are_told_by_their_times_or_not_at_all() -> None:
    known = [{"user": "bob", "age": 10}, {"user": "eve", "source": "b", "age": 10}]
    times = [{"ago": 5}, {"ago": 25}, {"ago": 15}]
    before = TAKEN - pd.Timedelta(seconds=20)
    assert [user for _, user in joined(known, times, a=TAKEN, b=before)] == ["bob", "eve", ""]
    assert [user for _, user in joined(known, times)] == ["", "", ""]
    assert joined([known[0], {**known[0], "source": "b"}], [{"ago": 5}]) == [["", "bob"]]


def test_what_the_commands_own_source_says_stays() -> None:
    known = [{"name": "cleaner", "user": "bob"}]
    rows = [{"client_name": "cleaner"}, {"client_name": "other"}, {"user": "eve"}]
    assert joined(known, rows, a=TAKEN) == [["cleaner", "bob"], ["other", ""], ["cleaner", "eve"]]


def test_clients_of_a_unix_socket_share_an_address_and_are_not_told_apart() -> None:
    known = [{"addr": "/run/redis.sock:0", "user": "bob"}]
    rows = [{"client": "unix:/run/redis.sock"}, {"client": "/run/redis.sock:0"}]
    assert joined(known, rows, a=TAKEN) == [["", ""]] * 2
    ipv6 = [{"addr": "[::1]:5", "user": "bob"}]
    assert joined(ipv6, [{"client": "[::1]:5"}], a=TAKEN) == [["", "bob"]]


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
    assert deleted["removed_by"] == "client"
    for form in (["--json"], []):
        clients = read_clients(file(tmp_path, redis_cli(server, *form, "CLIENT", "LIST")), source="clients.txt")
        assert clients.loc[clients["name"] == "cleaner", "cmd"].tolist() == ["del"]
        taken = {"clients.txt": pd.Timestamp.now("UTC").floor("s").as_unit("us")}
        whose = join_clients(slow, clients, taken)
        assert whose.loc[whose["verb"] == "DEL", "user"].tolist() == ["default"]
