"""Every snapshot of the corpus reads as the server that wrote it said: Redis 6.0 to 8.0, Valkey 9.1."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.errors import Unusable
from analysis.evidence.rdb import Snapshot, read_rdb

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
NAMES = sorted(f"{path.parent.name}/{path.stem}" for path in CORPUS.glob("*/*.json"))
# The server answered PTTL, and the test's own clock was added to that (Redis 6.0 and 6.2 have no PEXPIRETIME).
CLOCKS_APART_MS = 100


@pytest.fixture(scope="module", params=NAMES or ["absent"])
def case(request: pytest.FixtureRequest) -> tuple[Snapshot, dict[str, Any]]:
    path = CORPUS / f"{request.param}.rdb"
    if not path.exists():
        pytest.skip(f"no corpus at {CORPUS}")
    return read_rdb(path), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def told(text: Any) -> bytes | tuple[int, str]:
    """A text of the corpus: itself, or what it says of a long one."""
    if isinstance(text, str):
        return text.encode()
    return base64.b64decode(text["b64"]) if "b64" in text else (text["len"], text["sha256"])


def same(text: bytes, said: Any) -> bool:
    said = told(said)
    return text == said if isinstance(said, bytes) else (len(text), hashlib.sha256(text).hexdigest()) == said


def key_of(expected: dict[str, Any]) -> tuple[int, str]:
    name = told(expected["key"])
    assert isinstance(name, bytes)
    return expected["db"], name.decode("utf-8", "backslashreplace")


def rows_of(snapshot: Snapshot) -> dict[tuple[int, str], Any]:
    return {(row.db, row.key): row for row in snapshot.keys.itertuples()}


def test_snapshot_is_whole(case: tuple[Snapshot, dict[str, Any]]) -> None:
    snapshot, said = case
    assert (snapshot.complete, snapshot.stopped_at, snapshot.reason) == (True, None, None)
    assert snapshot.checksum == ("off" if "nochecksum" in str(snapshot.path) else "verified")
    assert snapshot.size == said["rdb_bytes"] == snapshot.path.stat().st_size
    assert said["magic"].endswith(f"{snapshot.version:03}")
    assert snapshot.flavor == ("valkey" if said["server"].startswith("v") else "redis")
    assert said["server_version"] == snapshot.aux.get("valkey-ver", snapshot.aux.get("redis-ver"))
    assert snapshot.taken_at is not None
    assert abs(snapshot.taken_at - pd.Timestamp(said["made_at_ms"], unit="ms", tz="UTC")) < pd.Timedelta(seconds=20)


def test_keys_are_those_of_the_server(case: tuple[Snapshot, dict[str, Any]]) -> None:
    snapshot, said = case
    expected = {key_of(one): one for one in said["keys"]}
    found = rows_of(snapshot)
    assert len(snapshot.keys) == len(found) and found.keys() == expected.keys()
    assert {key: row.type for key, row in found.items()} == {key: one["type"] for key, one in expected.items()}


def test_expiries_are_those_of_the_server(case: tuple[Snapshot, dict[str, Any]]) -> None:
    snapshot, said = case
    found = rows_of(snapshot)
    assert snapshot.taken_at is not None
    for one in said["keys"]:
        row = found[key_of(one)]
        exact, about = one["expire_ms"], one.get("expire_ms_approx")
        if about is None and exact is None:
            assert row.expires_at is pd.NaT and not row.expired
            continue
        ms = (row.expires_at - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(milliseconds=1)
        if exact == "set":
            assert ms > said["made_at_ms"]
        else:
            assert abs(ms - about) <= CLOCKS_APART_MS if about is not None else ms == exact
        # The server saved within the second that ctime names.
        assert one.get("logically_expired_at_save", False) == (row.expires_at.floor("s") <= snapshot.taken_at)


def test_idle_and_freq_are_those_of_the_server(case: tuple[Snapshot, dict[str, Any]]) -> None:
    snapshot, said = case
    found = rows_of(snapshot)
    for one in said["keys"]:
        row = found[key_of(one)]
        # A second may have passed between the question and the save.
        assert row.idle - one["idle"] in (0, 1) if "idle" in one else pd.isna(row.idle)
        assert row.freq == one["freq"] if "freq" in one else pd.isna(row.freq)


def test_encodings_are_those_of_the_server(case: tuple[Snapshot, dict[str, Any]]) -> None:
    snapshot, said = case
    found = rows_of(snapshot)
    differ = {
        (one["key"], one["encoding"], row.encoding)
        for one in said["keys"]
        if one.get("encoding") is not None and one["encoding"] != (row := found[key_of(one)]).encoding
    }
    # A file does not say what is a matter of memory. APPEND leaves a number as raw. Whether a short string is embstr or
    # raw hangs on the length of its key in Valkey from 8.1 on (object.c, shouldEmbedStringObject).
    explained = {("str:append_int", "raw", "int")}
    if snapshot.flavor == "valkey":
        explained |= {one for one in differ if {*one[1:]} == {"embstr", "raw"}}
    assert differ <= explained


def test_values_are_those_of_the_server(case: tuple[Snapshot, dict[str, Any]]) -> None:
    snapshot, said = case
    found = rows_of(snapshot)
    for one in said["keys"]:
        row = found[key_of(one)]
        value: Any = snapshot.value(row.offset)
        assert row.length == len(value), row.key
        assert same_value(one["type"], value, one["value"]), row.key
        if "xinfo" in one:
            assert row.length == one["xinfo"]["length"]


def same_value(kind: str, value: Any, said: Any) -> bool:
    match kind:
        case "string":
            return same(value, said)
        case "list":
            return len(value) == len(said) and all(map(same, value, said))
        case "set":
            return sorted(value) == sorted(map(told, said))
        case "zset":
            # The server sends scores as %.17g, in its own order of equal ones.
            order = [(float(score), told(member)) for member, score in said]
            return sorted((score, member) for member, score in value) == sorted(order)
        case "hash":
            texts = {field: text for field, text in value}
            return len(texts) == len(value) == len(said) and all(same(texts[told(f)], text) for f, text in said)
        case "stream":
            flat = [(name, [text for pair in pairs for text in pair]) for name, pairs in value]
            return flat == [(name, list(map(told, fields))) for name, fields in said]
    return False


def test_field_expiries_are_those_of_the_server(case: tuple[Snapshot, dict[str, Any]]) -> None:
    snapshot, said = case
    found = rows_of(snapshot)
    for one in said["keys"]:
        row = found[key_of(one)]
        expected = {field.encode(): ms for field, ms in one.get("field_expire_ms", {}).items()}
        assert snapshot.field_expiries(row.offset) == expected
        assert (0 if pd.isna(row.field_ttls) else row.field_ttls) == len(expected)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("aof/*/appendonlydir/*.base.rdb")), ids=lambda path: path.parts[-3])
def test_the_base_of_an_append_only_file_is_a_snapshot(path: Path) -> None:
    snapshot = read_rdb(path)
    assert (snapshot.complete, snapshot.checksum, snapshot.aux["aof-base"]) == (True, "verified", "1")


@pytest.mark.parametrize("path", sorted(CORPUS.glob("aof/*/appendonly.aof")), ids=lambda path: path.parts[-2])
def test_a_snapshot_in_front_of_an_append_only_file_is_read_and_the_rest_is_said(path: Path) -> None:
    if not path.read_bytes().startswith(b"REDIS"):
        with pytest.raises(Unusable):
            read_rdb(path)
        return
    snapshot = read_rdb(path)
    assert (snapshot.checksum, snapshot.aux["aof-preamble"], snapshot.complete) == ("verified", "1", False)
    assert snapshot.stopped_at is not None and path.read_bytes()[snapshot.stopped_at :].startswith(b"*")
