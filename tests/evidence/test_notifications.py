"""Keyspace notifications, as real servers send them, redis-cli prints them and recorders keep them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.errors import Unusable
from analysis.evidence import testimony
from analysis.evidence.notifications import read_notifications, with_doubts
from tests.conftest import StartRedis
from tests.evidence.test_server_answers import redis_cli_binary

AT = "2026-11-23T14:09:12.345678Z "


def read(tmp_path: Path, content: bytes | str) -> testimony.Testimony:
    path = tmp_path / "keyspace.log"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_notifications(path, source="keyspace.log", server="s")


def event(name: str, key: str, *, at: str = AT, db: int = 0) -> str:
    return f'{at}"pmessage","__keyevent@*__:*","__keyevent@{db}__:{name}","{key}"\n'


def plain(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Rows as tuples, what is missing as None, keys joined."""
    table = frame[list(columns)].astype(object)
    table = table.where(table.notna(), None)
    if "keys" in columns:
        table["keys"] = frame["keys"].map(" ".join)
    return list(table.itertuples(index=False, name=None))


def test_real_server_as_redis_cli_prints_it(start_redis: StartRedis, tmp_path: Path) -> None:
    binary = redis_cli_binary()
    server = start_redis(notify_keyspace_events="KEA", maxmemory_policy="allkeys-random")
    client = server.client()
    recorders = []
    for form, pattern in ((["--csv"], "__key*__:*"), ([], "__key*@*__:*")):
        path = tmp_path / f"keyspace{len(form)}.log"
        with path.open("wb") as out:
            command = [binary, "-p", str(server.port), *form, "psubscribe", pattern]
            recorders.append((path, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)))
    deadline = time.monotonic() + 10
    while client.pubsub_numpat() < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    server.client(db=5).set("f", 1)
    server.client(db=5).flushdb()
    client.set(b'k\xff,"', "v", px=30)
    client.mset({"a": 1, "b": 1, "c": 1, "d": 1})
    client.unlink("a", "absent")
    client.getdel("b")
    client.expire("c", -1)
    client.rename("d", "e")
    client.move("e", 3)
    client.rpush("queue", 1)
    client.rpop("queue")
    client.eval("return redis.call('del', KEYS[1])", 1, "queue")
    time.sleep(0.05)
    client.get(b'k\xff,"')
    server.client(db=3).set("g", 1)
    client.config_set("maxmemory", 1)
    client.config_set("maxmemory", 0)
    client.publish("other", "x")
    frames = []
    for path, process in recorders:
        deadline = time.monotonic() + 10
        while path.read_bytes().count(b"evicted") < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        process.wait()
        got = read_notifications(path, source=path.name)
        assert (got.complete, got.reason) == (True, None)
        assert got.commands["not_before"].isna().all() and got.first_at is None
        frames.append(got.commands)
    rows = [row for row in plain(frames[0], "db", "verb", "keys", "removed_by", "or_by", "detail") if row[3]]
    assert rows[:7] == [
        (0, "del", "a", "client", "script", None),
        (0, "del", "b", "client", "script", None),
        (0, "del", "c", "client", "script", None),
        (0, "rename_from", "d", "client", "script", "to e"),
        (0, "move_from", "e", "client", "script", "to db 3"),
        (0, "del", "queue", "client", "script", "after rpop"),
        (0, "expired", 'k\\xff,"', "expiry", None, None),
    ]
    assert {(verb, by) for _, verb, _, by, _, _ in rows[7:]} == {("evicted", "eviction")}
    assert plain(frames[0], "db", "verb", "keys") == plain(frames[1], "db", "verb", "keys")


def test_the_recorders_lines_are_dated_to_the_microsecond(tmp_path: Path) -> None:
    got = read(
        tmp_path,
        event("del", "the key", db=2)
        + event("expired", "b", at="2026-11-23T15:09:13+01:00 ")
        + event("evicted", "c", at="2026-11-23 12:09:14,5 -0200 ".replace(" -", "-")),
    )
    assert plain(got.commands, "offset", "db", "verb", "keys") == [
        (1, 2, "del", "the key"),
        (2, 0, "expired", "b"),
        (3, 0, "evicted", "c"),
    ]
    assert got.commands["not_before"].tolist() == [
        pd.Timestamp(f"2026-11-23T14:09:{second}Z") for second in ("12.345678", "13", "14.5")
    ]
    assert got.commands["not_after"].equals(got.commands["not_before"])
    assert (got.first_at, got.last_at) == (got.commands["not_before"].iloc[0], got.commands["not_before"].iloc[-1])
    assert got.complete and (got.commands["server"] == "s").all()


def test_an_event_over_two_channels_or_two_patterns_is_one(tmp_path: Path) -> None:
    def heard(form: str, pattern: str) -> str:
        channel, text = ("keyevent@0__:del", "k") if form == "event" else ("keyspace@0__:k", "del")
        return f'{AT}"pmessage","{pattern}","__{channel}","{text}"\n'

    four = heard("space", "a") + heard("space", "b") + heard("event", "a") + heard("event", "b")
    assert len(read(tmp_path, four).commands) == 1
    assert len(read(tmp_path, four * 3).commands) == 3
    assert len(read(tmp_path, heard("event", "a") * 3).commands) == 3
    assert len(read(tmp_path, '"message","__keyevent@0__:del","k"\n' * 2).commands) == 2


def test_only_del_of_the_same_key_right_after_a_pop_is_the_end_of_a_list(tmp_path: Path) -> None:
    got = read(
        tmp_path,
        event("rpop", "q")
        + event("del", "r")
        + event("rpop", "q")
        + event("del", "q", db=1)
        + event("set", "q")
        + event("del", "q"),
    )
    assert got.commands["detail"].isna().all()


def test_keys_are_read_as_redis_cli_escapes_them(tmp_path: Path) -> None:
    got = read(tmp_path, event("del", r"a\",\"b\xff\\x41\n") + event("del", r"\xc3\xa9") + event("del", ""))
    assert plain(got.commands, "keys") == [('a","b\\xff\\x41\n',), ("é",), ("",)]


def test_the_numbered_form_of_a_terminal_is_read(tmp_path: Path) -> None:
    got = read(
        tmp_path,
        "Reading messages... (press Ctrl-C to quit)\n"
        '1) "psubscribe"\n2) "__key*__:*"\n3) (integer) 1\n'
        '1) "pmessage"\n2) "__key*__:*"\n3) "__keyevent@0__:expired"\n4) "a\\"b"\n'
        '1) "pmessage"\n2) "__key*__:*"\n'
        '1) "message"\n2) "__keyevent@0__:del"\n3) "c"\n',
    )
    assert plain(got.commands, "offset", "verb", "keys") == [(5, "expired", 'a"b'), (11, "del", "c")]
    assert not got.complete and "line 9" in str(got.reason)


def test_what_tells_of_no_change_is_no_row(tmp_path: Path) -> None:
    got = read(tmp_path, event("keymiss", "a") + event("new", "b") + '"message","other","x"\n' + event("set", "b"))
    assert plain(got.commands, "verb", "removed_by") == [("set", None)] and got.entries == 4


def test_what_was_missed_is_said_with_its_times(tmp_path: Path) -> None:
    later, last = AT.replace("09:12", "10:00"), AT.replace("09:12", "20:00")
    begin, end = pd.Timestamp(AT.strip()), pd.Timestamp(later.strip())
    for said in (
        f"{AT}# connection lost: redis://:s3cret@h:1/0 closed\n",
        "Error: Server closed the connection\n",
        f'{later}"psubscribe","__keyevent@*__:*",1\n',
    ):
        got = read(tmp_path, f"{AT}# watching\n" + event("del", "a") + said + event("del", "b", at=later))
        assert [(gap.begin, gap.end) for gap in got.gaps] == [(begin, end)]
        assert not got.complete and "interrupted 1×" in str(got.reason) and "s3cret" not in str(got.reason)
        assert len(got.commands) == 2 and got.stopped_at is None
    twice = f'{later}"psubscribe","a",1\n{later}"psubscribe","b",2\n'
    assert len(read(tmp_path, event("del", "a") + twice + event("del", "b", at=later)).gaps) == 1
    calm = read(
        tmp_path, f'{AT}"psubscribe","a",1\n{AT}"psubscribe","b",2\n' + event("del", "a") + f"{last}# stopped\n"
    )
    assert calm.complete and calm.last_at == pd.Timestamp(last.strip())


@pytest.mark.parametrize(
    "line",
    [
        'pmessage\n__key*__:*\n__keyspace@0__:half a key\n"other half',
        '"pmessage","p", junk "__keyevent@0__:del","a\\n"',
        '"pmessage","__keyevent@0__:del","a"',
        '"message","__keyevent@0__:del"',
    ],
)
def test_what_is_no_notification_costs_only_itself(tmp_path: Path, line: str) -> None:
    got = read(tmp_path, event("del", "a") + line + "\n" + event("del", "b"))
    assert plain(got.commands, "verb", "keys") == [("del", "a"), ("del", "b")]
    assert got.stopped_at is None and got.reason == "lines that are no notifications: 1, the first is line 2"


def test_a_time_without_a_zone_is_no_time(tmp_path: Path) -> None:
    got = read(tmp_path, event("del", "a", at="2026-11-23T14:09:12 ") + event("del", "b", at="2026-02-30T14:09:12Z "))
    assert got.commands["not_before"].isna().all() and len(got.commands) == 2
    assert "zone, or of no day: 2" in str(got.reason)


@pytest.mark.parametrize(
    "torn", ['"pmessage","__keyevent@*__:*","__keyevent@2__:del","the k', AT, '1) "pmessage"', "x"]
)
def test_a_torn_last_line_is_said(tmp_path: Path, torn: str) -> None:
    got = read(tmp_path, event("del", "a") + torn)
    assert plain(got.commands, "keys") == [("a",)]
    assert (got.complete, got.stopped_at) == (False, 2) and "cut" in str(got.reason)


def test_who_else_it_can_have_been_depends_on_the_server(tmp_path: Path) -> None:
    commands = read(tmp_path, event("del", "a") + event("expired", "b") + event("set", "c")).commands
    assert plain(with_doubts(commands), "or_by") == [("script",), (None,), (None,)]
    assert plain(with_doubts(commands, valkey=["s"]), "or_by") == [("script",), ("client",), (None,)]
    assert plain(with_doubts(commands, replicas=["s"]), "or_by") == [("expiry",), (None,), (None,)]
    assert plain(with_doubts(commands, valkey=["other"], replicas=[""]), "or_by") == plain(commands, "or_by")


@pytest.mark.parametrize(
    "content",
    [b"OK\n", b"hello\n" * 9, bytes(range(256)) * 99, b'"a","b"\n', b"pmessage\n" * 3, b'"psubscribe","a",1\n'],
)
def test_what_holds_no_notification_is_unusable(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Unusable) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)
