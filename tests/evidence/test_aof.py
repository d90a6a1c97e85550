"""Append-only files of real servers: what is left and what was taken, by whom and when; and what damage costs."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from analysis import kernels
from analysis.errors import Unusable
from analysis.evidence.aof import CommandFile, open_parts, read_append_only, read_backlog
from analysis.evidence.aof_manifest import INCREMENT, PartName, read_manifest, told_by_names
from analysis.evidence.aof_state import Replayed
from analysis.evidence.rdb_values import ValueUnreadable
from analysis.evidence.removals import Removing, attributed, end_of
from tests.evidence.edits import EDITS, edited

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus" / "aof"
SETS = sorted(CORPUS.iterdir()) if CORPUS.is_dir() else []
# How the corpus calls what took a key, and who that is.
HANDS = {
    "DEL": "client", "UNLINK": "client", "expired": "expiry", "EXPIRE in the past": "client", "FLUSHDB": "client",
    "RENAME": "client", "Lua del": "client",
}  # fmt: skip
DAY_MS = 86_400_000
NOW_MS = 1_795_440_000_000


def read(folder: Path) -> CommandFile:
    """The append-only file in a folder, of one part or of several."""
    manifests = list(folder.glob("*/*.manifest"))
    if manifests:
        named, problems = read_manifest(manifests[0])
        assert problems == []
        given = [(part, manifests[0].parent / part.name, part.name) for part in named]
    else:
        given = [(PartName("appendonly.aof", 0, INCREMENT), folder / "appendonly.aof", "appendonly.aof")]
    parts, failed = open_parts(given)
    assert failed == []
    return read_append_only(parts, source="the file")


def command(*words: str | bytes) -> bytes:
    raw = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in raw)


def of_bytes(tmp_path: Path, raw: bytes, **more: Any) -> CommandFile:
    path = tmp_path / "appendonly.aof"
    path.write_bytes(raw)
    parts, _ = open_parts([(PartName(path.name, 0, INCREMENT), path, path.name)])
    return read_append_only(parts, source=path.name, **more)


def state_of(file: CommandFile) -> dict[tuple[int, str], Any]:
    state = left(file)
    return {(row.db, row.key): state.value(row.offset) for row in state.keys.itertuples()}


def left(file: CommandFile) -> Replayed:
    assert file.state is not None
    return file.state


def removals(file: CommandFile, folder: str = "") -> pd.DataFrame:
    verb = "UNLINK" if folder.startswith("v") else "DEL"
    assert file.state is not None
    known = Removing(
        frozenset((verb,)), frozenset((verb,)), ends_by=end_of(file.state.keys, file.commands["not_before"])
    )
    found = attributed(file.commands, known)
    return found.loc[found["removed_by"].notna()]


pytestmark = pytest.mark.filterwarnings("error")
corpus = pytest.mark.skipif(not SETS, reason="../shared is not here")


@corpus
@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_the_keys_left_are_those_of_the_server(folder):
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["keys"]
    file = read(folder)
    assert file.state is not None
    rows = {(int(row.db), row.key): row for row in file.state.keys.itertuples()}
    assert set(rows) == {(key["db"], key["key"]) for key in expected}
    for key in expected:
        row = rows[key["db"], key["key"]]
        assert row.type == key["type"]
        due = None if pd.isna(row.expires_at) else round(row.expires_at.timestamp() * 1000)
        said = key.get("expire_ms", key.get("expire_ms_approx"))
        # Redis 6.2 has no PEXPIRETIME: the clock and PTTL were added.
        if isinstance(said, str):
            assert due is not None and abs(due - int(re.findall(r"\d{13}", said)[0])) <= 100
        else:
            assert due == said
        assert plain(file.state.value(row.offset)) == key["value"]


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return [plain(list(member) if isinstance(member, tuple) else member) for member in value]


@corpus
@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_the_deletions_are_those_of_the_server_in_order_kind_and_time(folder):
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["deletions_in_order"]
    found = removals(read(folder), folder.name)
    assert len(found) == len(expected)
    for row, deletion in zip(found.itertuples(), expected, strict=True):
        named = deletion["key"].removeprefix("db5/")
        assert row.keys[:1] == [named] if deletion["how"] != "FLUSHDB" else (row.keys == [] and row.db == 5)
        assert row.removed_by == HANDS[deletion["how"]]
        assert deletion["how"] != "Lua del" or row.or_by == "script"
        at = pd.Timestamp(deletion["at_ms"], unit="ms", tz="UTC")
        assert pd.isna(row.not_before) or row.not_before <= at
        assert pd.isna(row.not_after) or at <= row.not_after
        if folder.name.endswith("-ts"):
            assert pd.notna(row.not_before)


@corpus
@pytest.mark.parametrize("folder", [f for f in SETS if f.name.endswith("torn")], ids=lambda folder: folder.name)
def test_a_torn_end_is_said_with_its_place(folder):
    file = read(folder)
    torn = file.parts[-1]
    path = next(path for path in folder.rglob("*") if path.name == torn.source)
    assert not torn.complete
    assert path.read_bytes()[torn.stopped_at :].startswith(b"*3\r\n$3\r\nSET\r\n$4\r\ntorn")
    assert "torn" not in left(file).keys["key"].tolist()


# Times, content, damage.

STREAM = b"".join(
    (
        b"#TS:1795440000\r\n",
        command("SELECT", "0"),
        command("SET", "k", "v", "PXAT", str(NOW_MS + DAY_MS)),
        command("RPUSH", "l", "a", "b", "c"),
        b"#TS:1795440007\r\n",
        command("DEL", "k"),
        command("SELECT", "3"),
        command("HSET", "h", "f", "1", "g", "2"),
        command("LPOP", "l"),
    )
)


LONGER = STREAM + b"".join(command("SET", f"key{number}", "v" * number) for number in range(60)) + command("GET", "l")


def test_times_come_from_the_seconds_before_and_after(tmp_path):
    found = of_bytes(tmp_path, STREAM).commands
    first, second = pd.Timestamp(1795440000, unit="s", tz="UTC"), pd.Timestamp(1795440007, unit="s", tz="UTC")
    assert found["not_before"].tolist() == [first, first, second, second, second]
    # A command of another second has its own written before it.
    lag = pd.Timedelta(seconds=1.2)
    assert found["not_after"].tolist() == [first + lag] * 2 + [second + lag] * 3
    assert found["db"].tolist() == [0, 0, 0, 3, 3]
    assert found["due_at"].tolist()[2] == pd.Timestamp(NOW_MS + DAY_MS, unit="ms", tz="UTC")


def test_content_is_found_after_it_was_taken_away(tmp_path):
    file = of_bytes(tmp_path, STREAM)
    wrote, took = file.commands["payload_at"].iloc[[0, 2]]
    assert wrote == took
    assert file.content(took) == b"v"
    with pytest.raises(ValueUnreadable):
        file.content(3)


def test_a_transaction_without_its_end_is_in_the_commands_and_not_in_the_state(tmp_path):
    raw = STREAM + command("MULTI") + command("DEL", "h") + command("SET", "new", "1")
    file = of_bytes(tmp_path, raw)
    assert state_of(file)[3, "h"] == [(b"f", b"1"), (b"g", b"2")]
    assert (3, "new") not in state_of(file)
    assert file.commands["verb"].tolist()[-2:] == ["DEL", "SET"]
    assert file.commands["transaction"].notna().tolist()[-3:] == [False, True, True]
    assert not file.parts[0].complete and file.parts[0].stopped_at == len(STREAM)


def test_a_wrong_length_costs_what_it_hits_and_the_state_behind_it(tmp_path):
    head = STREAM + command("SET", "before", "1")
    rest = b"".join(command("SELECT", "1") + command("SET", f"n{number}", "x" * number) for number in range(40))
    damaged = head + command("SET", "hit", "22").replace(b"$2\r\n22", b"$9\r\n22") + command("SET", "lost", "3") + rest
    file = of_bytes(tmp_path, damaged)
    names = [keys[0] for keys in file.commands["keys"]]
    assert "before" in names and names[-40:] == [f"n{number}" for number in range(40)]
    assert file.commands["db"].iloc[-1] == 1
    lost = file.commands.loc[[keys == ["lost"] for keys in file.commands["keys"]], "db"]
    assert lost.isna().all()
    assert not file.parts[0].complete and file.parts[0].stopped_at == len(head)
    assert (3, "before") in state_of(file) and not left(file).complete
    assert not any(db == 1 for db, _ in state_of(file))


@pytest.mark.parametrize(
    "raw",
    [
        b"*1\r\n$536870913\r\nx", b"*999999999\r\n$1\r\n", b"*-1\r\n", b"*3\r\n$-5\r\n", b"#" * 5000,
        b"*1\r\n$1\r\nxy\r\n", b"\0" * 64,
    ],
    ids=repr,
)  # fmt: skip
def test_lengths_that_cannot_be_take_no_memory_and_end_the_reading(tmp_path, raw):
    file = of_bytes(tmp_path, STREAM + raw)
    assert len(file.commands) == 5
    assert not file.parts[0].complete and file.parts[0].stopped_at == len(STREAM)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS)
def test_every_damage_is_survived_and_both_builds_say_the_same(tmp_path, edits):
    told = {}
    for build in ("plain", "compiled"):
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv(kernels.SWITCH, build)
            file = of_bytes(tmp_path, edited(LONGER, edits))
            told[build] = (_json(file.commands), file.parts, left(file).reason, _json(left(file).keys))
    assert told["plain"] == told["compiled"]


def _json(rows: pd.DataFrame) -> str:
    return str(rows.to_json(date_format="iso"))


# Several parts.


def parts_in(folder: Path) -> Callable[..., CommandFile]:
    def made(manifest: str, **files: bytes) -> CommandFile:
        for name, raw in files.items():
            (folder / name.replace("_", ".")).write_bytes(raw)
        (folder / "a.manifest").write_text(manifest)
        named, _ = read_manifest(folder / "a.manifest")
        parts, _ = open_parts([(part, folder / part.name, part.name) for part in named])
        return read_append_only(parts, source="a.manifest")

    return made


def test_history_is_read_for_its_commands_alone(tmp_path):
    file = parts_in(tmp_path)(
        "file a.1.incr.aof seq 1 type h\nfile a.2.base.aof seq 2 type b\n"
        "file a.2.incr.aof seq 2 type i startoffset 7\n",
        a_1_incr_aof=command("SELECT", "0") + command("SET", "old", "1") + command("DEL", "old"),
        a_2_base_aof=command("SELECT", "0") + command("SET", "kept", "2"),
        a_2_incr_aof=command("SELECT", "0") + command("APPEND", "kept", "3"),
    )
    assert state_of(file) == {(0, "kept"): b"23"}
    assert [row.source for row in file.commands.itertuples()] == ["a.1.incr.aof"] * 2 + ["a.2.incr.aof"]
    assert file.content(file.commands["payload_at"].iloc[1]) == b"1"


def test_a_manifest_names_nothing_outside_of_its_folder(tmp_path):
    (tmp_path / "a.manifest").write_text(
        'file ../x seq 1 type b\nfile "/etc/passwd" seq 1 type i\nrubbish\nfile a.aof seq 1 type i\n'
    )
    named, problems = read_manifest(tmp_path / "a.manifest")
    assert [part.name for part in named] == ["a.aof"]
    assert problems == [
        "line 1 names a file outside of its folder, which is not read",
        "line 2 names a file outside of its folder, which is not read",
        "line 3 names no part",
    ]
    (tmp_path / "a.manifest").write_bytes(b"\xff\0" * 100)
    with pytest.raises(Unusable):
        read_manifest(tmp_path / "a.manifest")


def test_without_a_manifest_the_names_tell_the_parts():
    names = ["a.aof.3.incr.aof", "a.aof.2.base.rdb", "a.aof.2.incr.aof", "a.aof.1.incr.aof", "other.aof"]
    (stem, parts), *none = told_by_names(names).items()
    assert stem == "a.aof" and none == []
    assert [(part.name, part.type) for part in parts] == [
        ("a.aof.1.incr.aof", "h"), ("a.aof.2.base.rdb", "b"), ("a.aof.2.incr.aof", "i"), ("a.aof.3.incr.aof", "i"),
    ]  # fmt: skip


# A backlog.


def test_a_backlog_begins_torn_and_its_database_is_unknown_until_the_first_select(tmp_path):
    head = command("SET", "torn", "x" * 90)[30:]
    known = b"".join(command("SET", f"a{number}", "1", "PX", "5000") for number in range(20))
    raw = head + known + command("DEL", "a3") + command("SELECT", "2") + command("SET", "b", "1") + command("PING")
    (tmp_path / "backlog-100.resp").write_bytes(raw)
    file = read_backlog(tmp_path / "backlog-100.resp", source="backlog-100.resp")
    assert file.state is None
    assert file.parts[0].complete
    assert file.commands["db"].isna().sum() == 21 and file.commands["db"].iloc[-1] == 2
    assert file.commands["ttl"].iloc[0] == 5000
    found = attributed(file.commands, Removing(), file.followed)
    assert found["removed_by"].iloc[20] == "unknown"


def test_what_is_no_backlog_is_refused(tmp_path):
    path = tmp_path / "backlog-1.resp"
    path.write_bytes(b"HTTP/1.1 200 OK\r\n\r\n" * 50)
    with pytest.raises(Unusable):
        read_backlog(path, source=path.name)


# A stream that asks for memory.


def test_short_commands_that_make_much_take_no_memory(tmp_path):
    raw = command("SELECT", "0") + b"".join(
        command("SETRANGE", f"k{number}", str(2**29 - 5), "x") for number in range(50)
    )
    list_of_many = command("RPUSH", "l", *["x"] * 5_000)
    raw += list_of_many + b"".join(command("COPY", "l", f"copy{number}") for number in range(2_000))
    tracemalloc.start()
    file = of_bytes(tmp_path, raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 900 * 2**20
    rows = {row.key: row for row in left(file).keys.itertuples()}
    assert len(rows) == 2_051
    with pytest.raises(ValueUnreadable, match="commands made more than 256 MB"):
        left(file).value(rows["k49"].offset)
    with pytest.raises(ValueUnreadable, match="commands made more than 256 MB"):
        left(file).value(rows["copy1999"].offset)


@pytest.mark.parametrize(
    "words",
    [
        ("HPEXPIREAT", "h", "5", "NX"), ("HSETEX", "h", "FIELDS"), ("LMOVE", "l", "l", "LEFT"), ("XADD", "s", "MAXLEN"),
        ("ZADD", "z", "nan-ish", "a"), ("SELECT", "x"), ("SWAPDB", "0"),
        ("COPY", "l"), ("SET", "k", "v", "PXAT"), ("ZREMRANGEBYSCORE", "z", "a", "b"), ("XDEL", "s", "1-x"),
        ("LSET", "l", "99", "v"),
        ("__class__", "x"), ("RUN", "x"), ("SETBIT", "b", "-1", "1"), ("INCRBY", "n", "9" * 30), ("MOVE", "k", "z"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_commands_that_a_server_would_refuse_do_nothing(tmp_path, words):
    known = STREAM + command("SELECT", "0") + command("ZADD", "z", "1", "a") + command("XADD", "s", "1-1", "f", "v")
    before = state_of(of_bytes(tmp_path, known))
    after = of_bytes(tmp_path, known + command(*words) + command("SET", "last", "1"))
    kept = {key: value for key, value in state_of(after).items() if key[1] != "last"}
    assert kept == before and after.parts[0].complete
