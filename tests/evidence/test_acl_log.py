"""ACL LOG, as a real server and redis-cli give it, and as nobody should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis

from analysis.errors import Unusable
from analysis.evidence.acl_log import read_acl_log
from tests.conftest import StartRedis
from tests.evidence.test_server_answers import redis_cli

STAMP = pd.Timestamp("2025-07-24T02:38:38Z")
ENTRY = {
    "count": 1,
    "reason": "command",
    "context": "toplevel",
    "object": "flushall",
    "username": "bob",
    "age-seconds": "4.096",
    "client-info": "id=8 addr=10.0.0.1:5 laddr=10.0.0.2:6379 fd=11 name=cleaner age=0 db=2 cmd=flushall user=bob",
}


def read(tmp_path: Path, content: Any, stamp: pd.Timestamp | None = STAMP) -> pd.DataFrame:
    path = tmp_path / "acl-log.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_acl_log(path, source="acl-log.json", server="s", stamp=stamp)


@pytest.mark.redis7
def test_real_server_tells_who_was_denied_what(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    admin = server.client()
    admin.acl_setuser(
        "bob", enabled=True, passwords="+s3cret", keys=["b*"], commands=["+get", "+del", "+multi", "+exec"]
    )
    bob = server.client(db=0, username="bob", password="s3cret", client_name=None, protocol=2)
    for command in (["FLUSHALL"], ["DEL", "celery-task-meta-1"], ["CONFIG", "SET", "maxmemory", "1"]):
        with pytest.raises(redis.exceptions.NoPermissionError):
            bob.execute_command(*command)
    with pytest.raises(redis.exceptions.AuthenticationError):
        server.client(username="eve", password="wr0ng", protocol=2).ping()
    taken = pd.Timestamp.now("UTC").floor("s").as_unit("us")
    path = tmp_path / "acl-log.json"
    path.write_bytes(redis_cli(server, "--json", "ACL", "LOG"))
    got = read_acl_log(path, source="acl-log.json", stamp=taken)
    # redis-py's own greeting is denied as well.
    got = got[~got["verb"].astype(str).str.startswith(("client", "hello"))]
    assert got["verb"].tolist() == ["flushall", "del", "config|set", "AUTH"]
    assert got["detail"].tolist() == ["denied: command", "denied: key", "denied: command", "denied: auth"]
    assert got["keys"].map(list).tolist() == [[], ["celery-task-meta-1"], [], []]
    assert got["user"].tolist() == ["bob"] * 3 + ["eve"]
    assert got["client"].str.match(r"127\.0\.0\.1:\d+$").all() and got["removed_by"].isna().all()
    assert (got["not_before"] <= got["not_after"]).all()
    assert ((got["not_after"] - pd.Timestamp.now("UTC")).abs() < pd.Timedelta(seconds=20)).all()


def test_an_age_makes_a_time_only_with_the_stamp_and_only_of_the_last_attempt(tmp_path: Path) -> None:
    last = pd.Timestamp("2025-07-24T02:38:33.904Z")
    second = pd.Timedelta(microseconds=999_999)
    got = read(tmp_path, [ENTRY | {"count": 3}, ENTRY | {"age-seconds": 4.096}])
    assert got["not_before"].tolist() == [last, pd.NaT] and got["not_after"].tolist() == [last + second] * 2
    assert got["detail"].tolist() == ["denied: command", "denied: command, 3 times"]
    assert read(tmp_path, [ENTRY], None)["not_after"].isna().all()


def test_an_entrys_own_times_need_no_stamp(tmp_path: Path) -> None:
    dated = {"entry-id": 7, "timestamp-created": 1753324718123, "timestamp-last-updated": 1753324719000, "count": 2}
    got = read(tmp_path, [ENTRY | dated], None).iloc[0]
    assert got["not_before"] == pd.Timestamp("2025-07-24T02:38:38.123Z")
    assert (got["not_after"], got["offset"]) == (pd.Timestamp("2025-07-24T02:38:39Z"), 7)


def test_maps_and_flat_arrays_are_the_same(tmp_path: Path) -> None:
    flat = [part for pair in ENTRY.items() for part in pair]
    pd.testing.assert_frame_equal(read(tmp_path, [ENTRY]), read(tmp_path, [flat]))
    row = read(tmp_path, [flat]).iloc[0]
    assert (row["client"], row["client_name"], row["db"], row["server"]) == ("10.0.0.1:5", "cleaner", 2, "s")


def test_nothing_denied_looks_like_a_command_that_ran(tmp_path: Path) -> None:
    reasons = ["command", "key", "channel", "auth", "database", "", None, 7, ["x"]]
    got = read(tmp_path, [ENTRY | {"reason": reason, "context": "lua"} for reason in reasons])
    assert len(got) == len(reasons) and got["detail"].str.match(r"denied: \S+.*, in lua$").all()
    assert got["removed_by"].isna().all() and got["ttl"].isna().all() and set(got["witness"]) == {"ACL LOG"}
    assert read(tmp_path, [ENTRY | {"reason": "channel", "object": "c"}])["verb"].tolist() == ["flushall"]
    assert got["detail"].tolist()[-3] == "denied: channel flushall, in lua"


def test_secrets_are_not_shown_and_bad_entries_cost_one_row(tmp_path: Path) -> None:
    odd: list[Any] = [
        None,
        7,
        [],
        ENTRY | {"object": "redis://:s3cret@h/0", "age-seconds": "x", "count": -1, "client-info": "x=1"},
        ENTRY | {"object": None, "username": None, "client-info": None, "timestamp-created": 10**15},
        ENTRY | {"object": "k" * 10**6},
    ]
    got = read(tmp_path, odd)
    assert len(got) == 3 and "s3cret" not in got.to_csv() and got["verb"].dropna().str.len().max() < 200
    assert got["offset"].tolist() == [5, 4, 3] and got["not_after"].dropna().dt.year.tolist() == [2025, 2025]


def test_an_empty_log_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, []).empty


@pytest.mark.parametrize("content", [b"", b"{", b"7", b"{}", b"[7]", b'[["a","b"]]', b"[[[[" * 9999, b"\x00\xff"])
def test_what_is_no_acl_log_is_unusable(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Unusable) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)
