"""MONITOR's lines, as real servers write them and as files end up holding them."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.errors import Unusable
from analysis.evidence import log_lines, monitor, testimony
from analysis.evidence.monitor import monitor_contents, read_monitor
from analysis.frames import FRAMES
from tests.conftest import StartRedis
from tests.servers import RedisServer

HEAD = b"1339518083.107412 [0 127.0.0.1:60866] "


def read(tmp_path: Path, content: bytes) -> testimony.Testimony:
    path = tmp_path / "monitor.log"
    path.write_bytes(content)
    return read_monitor(path, source="monitor.log", server="s")


def repr_of(raw: bytes) -> bytes:
    """As Redis' sdscatrepr writes an argument, without its quotes."""
    named = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t", b"\a": b"\\a", b"\b": b"\\b"}
    parts = (bytes((one,)) for one in raw)
    return b"".join(named.get(one, one if b" " <= one <= b"~" else b"\\x%02x" % one[0]) for one in parts)


class Recorder:
    """MONITOR over a socket of its own; ``lines`` are what ``redis-cli MONITOR`` would print."""

    def __init__(self, server: RedisServer) -> None:
        self.server, self.socket = server, socket.create_connection(("127.0.0.1", server.port))
        self.socket.sendall(b"MONITOR\r\n")
        assert self.socket.recv(5) == b"+OK\r\n"

    def lines(self) -> bytes:
        mark = f"end-{time.time_ns()}".encode()
        self.server.client().echo(mark.decode())
        said = b""
        while mark not in said or not said.endswith(b"\r\n"):
            said += self.socket.recv(65536)
        self.socket.close()
        return b"OK\n" + said.replace(b"\r\n+", b"\n").replace(b"\r\n", b"\n")[1:]


def test_real_server_shows_who_took_which_key_away(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    recorder = Recorder(server)
    began = pd.Timestamp.now("UTC")
    client = server.client(db=2)
    client.execute_command("SETEX", "a", 60, "s3cret-value")
    client.set(b'k\xff "\n\\x41', "v", px=500)
    client.delete("a", b'k\xff "\n\\x41')
    client.unlink("b")
    client.eval("redis.call('set', KEYS[1], 1) return redis.call('del', KEYS[1])", 1, "c")
    client.getdel("d")
    client.set("e", 1)
    client.expire("e", -1)
    with client.pipeline() as pipe:
        pipe.set("f", 1)
        pipe.delete("f")
        pipe.execute()
    with client.pipeline() as pipe:
        pipe.set("g", 1)
        pipe.execute()
    client.flushdb(asynchronous=True)
    client.get("a")
    client.publish("a", "s3cret-value")
    client.config_set("maxmemory", "64mb")
    address = client.client_info()["addr"]
    got = read(tmp_path, recorder.lines())
    ended = pd.Timestamp.now("UTC")

    rows = got.commands
    assert (got.complete, got.reason, got.gaps) == (True, None, ())
    assert list(rows.columns) == [column.name for column in FRAMES["commands"]]
    assert {column.name: rows[column.name].dtype for column in FRAMES["commands"]} == {
        column.name: column.dtype for column in FRAMES["commands"]
    }
    told = rows[["verb", "removed_by"]].astype(object).where(rows[["verb", "removed_by"]].notna(), None)
    assert list(zip(told["verb"], told["removed_by"], rows["keys"].map(list), strict=True)) == [
        ("SETEX", None, ["a"]),
        ("SET", None, ['k\\xff "\n\\x41']),
        ("DEL", "client", ["a", 'k\\xff "\n\\x41']),
        ("UNLINK", "client", ["b"]),
        ("EVAL", None, ["c"]),
        ("set", None, ["c"]),
        ("del", "script", ["c"]),
        ("GETDEL", "client", ["d"]),
        ("SET", None, ["e"]),
        ("EXPIRE", "client", ["e"]),
        ("SET", None, ["f"]),
        ("DEL", "client", ["f"]),
        ("SET", None, ["g"]),
        ("FLUSHDB", "client", []),
    ]
    assert rows["ttl"].dropna().tolist() == [60_000, 500, -1000]
    assert set(rows["db"]) == {2} and set(rows["client"]) == {address} and set(rows["server"]) == {"s"}
    assert rows["transaction"].tolist()[9:] == [pd.NA, 1, 1, 2, pd.NA]
    assert rows["detail"].iloc[-1] == "ASYNC" and "s3cret" not in rows.to_csv()
    assert (rows["not_before"] == rows["not_after"]).all() and rows["not_before"].is_monotonic_increasing
    assert began - pd.Timedelta(seconds=1) < got.first_at <= rows["not_before"].iloc[0]
    assert rows["not_before"].iloc[-1] < got.last_at < ended + pd.Timedelta(seconds=1)


def test_every_kind_of_client_is_read(tmp_path: Path) -> None:
    got = read(
        tmp_path,
        b'1339518083.107412 [0 127.0.0.1:60866] "keys" "*"\n'
        b'1339518083.107413 [11 unix:/run/my redis/r.sock] "del" "a"\n'
        b'1339518083.107414 [0 [::1]:5] "del" "b"\n'
        b'1339518083.107415 [0 [fe80::1%eth0]:5] "eval" "return 1" "0"\n'
        b'1339518083.107416 [0 lua] "del" "c"\n'
        b'+1339518083.107417 [0 10.0.0.1:5] "get" "d"\r\n'
        b'1339518083.107418 [0 lua] "del" "e"\r\n',
    ).commands
    assert got["client"].astype(object).where(got["client"].notna(), None).tolist() == [
        "127.0.0.1:60866",
        "unix:/run/my redis/r.sock",
        "[::1]:5",
        "[fe80::1%eth0]:5",
        "[fe80::1%eth0]:5",
        None,
    ]
    assert got["db"].tolist() == [0, 11, 0, 0, 0, 0] and got["offset"].tolist() == [1, 2, 3, 4, 5, 7]
    assert got["keys"].map(list).tolist() == [["*"], ["a"], ["b"], [], ["c"], ["e"]]
    assert got["not_after"].iloc[0] == pd.Timestamp("2012-06-12T16:21:23.107412Z")


def test_arguments_are_read_whatever_stands_in_them(tmp_path: Path) -> None:
    lines: list[tuple[bytes, list[str]]] = [
        (rb'"DEL" "a\" \"b" "\\x41" "\x41" "" "tab\t"', ['a" "b', "\\x41", "A", "", "tab\t"]),
        (b'"DEL" "' + b"k" * 200_000 + b'"', ["k" * 200_000]),
        (b'"DEL" "a " "b"', ["a ", "b"]),
        (rb'"DEL" "\xc3\xa9\xff"', ["é\\xff"]),
        (rb'"BRPOP" "celery\x06\x163" "1"', ["celery\x06\x163"]),
        (b'"HSET" "unacked" "t\\"1" "body"', ["unacked"]),
    ]
    got = read(tmp_path, b"\n".join(HEAD + line for line, _ in lines))
    assert got.commands["keys"].map(list).tolist() == [keys for _, keys in lines]
    assert got.commands["detail"].iloc[-1] == 't"1' and got.complete


def test_two_clients_keep_their_transactions_apart(tmp_path: Path) -> None:
    lines = [
        b'1.1.1.1:1] "multi"',
        b'2.2.2.2:2] "MULTI"',
        b'3.3.3.3:3] "del" "x"',
        b'2.2.2.2:2] "del" "y"',
        b'2.2.2.2:2] "EXEC"',
        b'2.2.2.2:2] "del" "y"',
        b'1.1.1.1:1] "eval" "s" "0"',
        b'lua] "del" "z"',
        b'1.1.1.1:1] "discard"',
        b'1.1.1.1:1] "del" "w"',
        b'unix:/s] "multi"',
        b'unix:/s] "del" "v"',
    ]
    got = read(tmp_path, b"".join(b"1339518083.107412 [0 " + line + b"\n" for line in lines)).commands
    assert got["transaction"].tolist() == [pd.NA, 2, pd.NA, 1, 1, pd.NA, pd.NA]


@pytest.mark.parametrize(
    ("torn", "keys"),
    [
        (b'"DEL" "a" "b', [["a"]]),
        (b'"DEL" "a" "', [["a"]]),
        (b'"DEL" "a\\', [[]]),
        (b'"BRPOP" "a" "b', [["a"]]),
        (b'"DE', []),
        (b"", []),
    ],
)
def test_a_torn_last_line_gives_what_it_has_and_is_said(tmp_path: Path, torn: bytes, keys: list[list[str]]) -> None:
    got = read(tmp_path, HEAD + b'"GET" "x"\n' + HEAD + torn)
    assert got.commands["keys"].map(list).tolist() == keys
    assert (got.complete, got.stopped_at) == (False, 2) and got.reason == "cut: it ends within a line"


def test_a_first_line_that_is_cut_and_a_last_one_without_its_end_are_no_fault(tmp_path: Path) -> None:
    got = read(tmp_path, b'0 127.0.0.1:5] "DEL" "z"\n' + HEAD + b'"DEL" "a"')
    assert got.complete and got.commands["keys"].map(list).tolist() == [["a"]]


def test_an_interrupted_recording_says_from_when_to_when(tmp_path: Path) -> None:
    later = HEAD.replace(b"083.", b"099.")
    got = read(
        tmp_path,
        b"127.0.0.1:6379> MONITOR\nOK\n" + HEAD + b'"MULTI"\n' + HEAD + b'"DEL" "a"\n'
        b"Error: Server closed the connection\n" + b"OK\n" + later + b'"DEL" "b"\n' + later + b'"PING"\nOK\n',
    )
    first, last = pd.Timestamp("2012-06-12T16:21:23.107412Z"), pd.Timestamp("2012-06-12T16:21:39.107412Z")
    assert [(gap.begin, gap.end) for gap in got.gaps] == [(first, last), (last, None)]
    assert not got.complete and got.stopped_at is None and "Server closed" in str(got.reason)
    assert (got.first_at, got.last_at, got.entries) == (first, last, 4)
    assert got.commands["transaction"].tolist() == [1, pd.NA]


def test_foreign_bytes_between_the_lines_cost_only_themselves(tmp_path: Path) -> None:
    garbage = b"\x00\x01\xfe garbage \x80\n"
    broken = HEAD + b'"DEL" "c" x "d" "e\n'
    got = read(tmp_path, b"\0" * 5000 + HEAD + b'"DEL" "a"\n' + garbage * 3 + broken + HEAD + b'"DEL" "b"\n')
    assert got.commands["keys"].map(list).tolist() == [["a"], ["c", "d"], ["b"]]
    assert not got.complete and got.stopped_at is None and ": 4," in str(got.reason) and "line 2" in str(got.reason)


def test_text_of_another_encoding_is_read(tmp_path: Path) -> None:
    text = (HEAD + b'"BRPOP" "a" "9"\r\n').decode()
    assert read(tmp_path, text.encode("utf-16")).commands["keys"].map(list).tolist() == [["a"]]
    assert read(tmp_path, text.encode("utf-8-sig")).commands["keys"].map(list).tolist() == [["a"]]


def test_of_a_line_that_is_too_long_the_options_after_the_value_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "LONGEST_LINE", 4096)
    monkeypatch.setattr(log_lines, "BLOCK", 4096)
    value = b'\\" \\"EX\\" \\"9' * 5_000
    lines = [
        b'"SET" "k" "' + value + b'\\" " "EX" "60"',
        b'"SET" "k" "' + value + b'\\\\" "PX" "70"',
        b'"DEL"' + b' "key"' * 5_000,
        b'"SET" "k" "' + value + b'"',
        b'"DEL" "b"',
    ]
    got = read(tmp_path, b"".join(HEAD + line + b"\n" for line in lines))
    assert got.commands["ttl"].fillna(0).tolist() == [60_000, 70, 0, 0, 0]
    counts = got.commands["keys"].map(len).tolist()
    assert counts[:2] + counts[3:] == [1, 1, 1, 1] and 600 < counts[2] < 1400
    assert got.reason == "keys after the first 0 MB of a line were left out, of lines: 1"
    assert read(tmp_path, HEAD + lines[0]).complete
    assert "cut" in str(read(tmp_path, HEAD + b'"SET" "k" "' + value).reason)


def test_an_expiry_that_has_passed_takes_the_key_away(tmp_path: Path) -> None:
    lines = [b'"PEXPIREAT" "k" "1339518083107"', b'"PEXPIREAT" "k" "1339518083108"', b'"SET" "k" "v" "PXAT" "9"']
    got = read(tmp_path, b"".join(HEAD + line + b"\n" for line in lines)).commands
    assert (got["removed_by"] == "client").tolist() == [True, False, False]
    assert got["expires_at"].iloc[1:].tolist() == [
        pd.Timestamp("2012-06-12T16:21:23.108Z"),
        pd.Timestamp("1970-01-01T00:00:00.009Z"),
    ]


def test_many_rows_are_the_same_in_one_part_and_in_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"".join(
        b"13395180%02d.107412 [%d 10.0.0.%d:5] " % (n, n % 3, n % 7) + b'"%s" "k%d"\n' % ((b"DEL", b"unlink")[n % 2], n)
        for n in range(60)
    )
    whole = read(tmp_path, lines).commands
    monkeypatch.setattr(testimony, "_ROWS_AT_ONCE", 7)
    pd.testing.assert_frame_equal(read(tmp_path, lines).commands, whole, check_categorical=False)
    assert len(whole) == 60


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=6), st.sampled_from([b"DEL", b"unlink"])), max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_key_comes_back_whatever_its_bytes(tmp_path: Path, commands: list[tuple[bytes, bytes]]) -> None:
    lines = [HEAD + b'"%s" "%s" "%s"\n' % (verb, repr_of(key), repr_of(key[::-1])) for key, verb in commands]
    got = read(tmp_path, HEAD + b'"PING"\n' + b"".join(lines))
    wanted = [
        [key.decode("utf-8", "backslashreplace"), key[::-1].decode("utf-8", "backslashreplace")] for key, _ in commands
    ]
    assert got.commands["keys"].map(list).tolist() == wanted and got.complete


@pytest.mark.parametrize(
    "content", [b"OK\n", b"hello\n" * 9, bytes(range(256)) * 99, b'{"a": 1}', b'9.9 [0 x] "DEL" "a"\n', b"\0" * 99]
)
def test_what_is_no_monitor_log_is_unusable(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Unusable) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)


def test_contents_that_are_json_are_told_by_their_line(tmp_path):
    path = tmp_path / "monitor.log"
    body = r"{\"id\": \"a\", \"text\": \"caf\xc3\xa9 \\\"x\\\"\"}"
    path.write_bytes(
        b"OK\n"
        + f'1753000000.000001 [1 10.0.0.1:5] "LPUSH" "celery" "{body}"\n'.encode()
        + b'1753000000.000002 [1 10.0.0.1:5] "LPUSH" "plain" "word"\n'
        + b'1753000000.000003 [1 10.0.0.1:5] "SETEX" "k" "60" "[1, 2]"\n'
    )
    rows = read_monitor(path, source="monitor.log").commands
    assert rows["payload_at"].dropna().tolist() == [2, 4]
    contents = monitor_contents(path, {2, 3, 99})
    assert json.loads(contents[2]) == {"id": "a", "text": 'café "x"'}
    assert contents[3] == b"word" and set(contents) == {2, 3}
