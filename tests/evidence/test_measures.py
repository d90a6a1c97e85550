"""LATENCY LATEST and MEMORY STATS, as a real server and redis-cli give them, and as nobody should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.errors import Unusable
from analysis.evidence.measures import read_latency, read_memory_stats
from tests.conftest import StartRedis
from tests.evidence.test_server_answers import redis_cli

STAMP = pd.Timestamp("2025-07-24T02:38:38Z")


def file(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "answer.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def figures(counters: pd.DataFrame) -> dict[str, float]:
    assert counters["counter"].is_unique and counters["delta"].isna().all()
    return dict(zip(counters["counter"], counters["value"], strict=True))


@pytest.mark.redis7
def test_real_server_as_redis_cli_saves_it(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis(latency_monitor_threshold=1, enable_debug_command="yes")
    client = server.client(db=3)
    client.set("a", 1, ex=99)
    client.execute_command("DEBUG", "SLEEP", "0.01")
    latency = read_latency(file(tmp_path, redis_cli(server, "--json", "LATENCY", "LATEST")), source="latency.json")
    found = figures(latency)
    assert 10 <= found["latency_command.last_ms"] <= found["latency_command.max_ms"] < 10_000
    assert abs(found["latency_command.last_at"] - pd.Timestamp.now("UTC").timestamp()) < 60
    memory = read_memory_stats(
        file(tmp_path, redis_cli(server, "--json", "MEMORY", "STATS")), source="memory-stats.json", stamp=STAMP
    )
    found = figures(memory)
    assert found["memory_keys.count"] == 1 and found["memory_db3.overhead.hashtable.main"] > 0
    assert found["memory_peak.allocated"] >= found["memory_total.allocated"] > 100_000
    assert (memory["at"] == STAMP).all() and set(memory["source"]) == {"memory-stats.json"}


def test_four_fields_and_the_six_of_valkey(tmp_path: Path) -> None:
    entries = [["expire-cycle", 1753324718, 7, 30], ["eviction-del", 1753324719, 1, 2, 9, 4], ["fork", "5", "6", "x"]]
    got = read_latency(file(tmp_path, entries), source="x", server="s", stamp=STAMP)
    assert set(got["server"]) == {"s"} and (got["at"] == STAMP).all()
    assert figures(got) == {
        "latency_expire-cycle.last_at": 1753324718,
        "latency_expire-cycle.last_ms": 7,
        "latency_expire-cycle.max_ms": 30,
        "latency_eviction-del.last_at": 1753324719,
        "latency_eviction-del.last_ms": 1,
        "latency_eviction-del.max_ms": 2,
        "latency_eviction-del.sum_ms": 9,
        "latency_eviction-del.count": 4,
        "latency_fork.last_at": 5,
        "latency_fork.last_ms": 6,
    }


def test_no_event_is_no_row_and_a_bad_one_costs_itself(tmp_path: Path) -> None:
    got = read_latency(file(tmp_path, []), source="x")
    assert got.empty
    got = read_latency(file(tmp_path, [None, 7, ["a"], ["b", 1, 2], [5, 1, 1, 1], ["fork", 1, 2, 3]]), source="x")
    assert len(got) == 3 and got["at"].isna().all()


def test_maps_and_flat_arrays_of_memory_are_the_same(tmp_path: Path) -> None:
    stats = {
        "peak.allocated": 9,
        "db.0": {"overhead.hashtable.main": 72, "overhead.hashtable.expires": 0},
        "db.12": ["overhead.hashtable.main", 5],
        "allocator-fragmentation.ratio": "1.25",
        "fragmentation": "nan",
        "db.dict.rehashing.count": 0,
        "flag": True,
        "odd": [1, 2],
        "note": "text",
    }
    wanted = {
        "memory_peak.allocated": 9,
        "memory_db0.overhead.hashtable.main": 72,
        "memory_db0.overhead.hashtable.expires": 0,
        "memory_db12.overhead.hashtable.main": 5,
        "memory_allocator-fragmentation.ratio": 1.25,
        "memory_db.dict.rehashing.count": 0,
    }
    assert figures(read_memory_stats(file(tmp_path, stats), source="x")) == wanted
    flat = [part for pair in stats.items() for part in pair]
    assert figures(read_memory_stats(file(tmp_path, flat), source="x")) == wanted


@pytest.mark.parametrize(
    "content", [b"", b"{", b"7", b'[["a"]]', b"[7]", b"[[[[" * 9999, b"\x00\xff", b'{"a":{"b":1}}', b'"x"']
)
@pytest.mark.parametrize("reader", [read_latency, read_memory_stats])
def test_what_is_no_answer_is_unusable(tmp_path: Path, content: bytes, reader: Any) -> None:
    with pytest.raises(Unusable) as error:
        reader(file(tmp_path, content), source="x")
    assert "\n" not in str(error.value)
