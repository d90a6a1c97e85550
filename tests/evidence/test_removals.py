"""Who took a key: what the rules make of one stream, and of a server that evicts and expires."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.evidence.command_times import UNKNOWN, narrowed, seconds
from analysis.evidence.removals import Removing, attributed, end_of
from analysis.frames import frame
from tests.evidence.test_replay import _read

AT = pd.Timestamp("2026-11-25T12:00:00Z")
SECOND = pd.Timedelta(seconds=1)


def commands(*rows: dict[str, Any]) -> pd.DataFrame:
    return frame("commands", [{"source": "a", "keys": ["k"], "verb": "DEL", **row} for row in rows])


def hands(rows: pd.DataFrame, *, partial: bool = False, **known: Any) -> list[tuple[str | None, str | None]]:
    followed = np.full(len(rows), not partial)
    found = attributed(
        rows, Removing(**{"expires_with": frozenset(("DEL",)), "evicts_with": frozenset(("DEL",)), **known}), followed
    )
    pairs = zip(found["removed_by"], found["or_by"], strict=True)
    return [tuple(None if pd.isna(word) else str(word) for word in pair) for pair in pairs]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("row", "known", "hand"),
    [
        ({"keys": ["a", "b"]}, {}, ("client", None)),
        ({"verb": "del"}, {}, ("client", "script")),
        ({"transaction": 1}, {}, ("client", "script")),
        ({"due_at": AT, "not_before": AT}, {}, ("expiry", None)),
        ({"due_at": AT, "not_before": AT - SECOND, "not_after": AT + 9 * SECOND}, {}, ("expiry", "client")),
        ({"due_at": AT, "not_before": AT - 9 * SECOND, "not_after": AT + SECOND}, {}, ("client", "expiry")),
        ({"due_at": AT, "not_after": AT - SECOND}, {"evicts": False}, ("client", None)),
        ({"due_at": AT, "not_after": AT - SECOND}, {}, ("client", "eviction")),
        ({}, {"evicts": False}, ("client", None)),
        ({}, {"only_with_ttl": True}, ("client", None)),
        ({}, {"partial": True}, ("unknown", None)),
        ({"verb": "UNLINK", "due_at": AT, "not_after": AT - SECOND}, {}, ("client", None)),
        ({"verb": "FLUSHALL", "keys": []}, {}, ("client", None)),
        ({"verb": "SET"}, {}, (None, None)),
    ],
)  # fmt: skip
def test_one_command(row, known, hand):
    assert hands(commands(row), **known) == [hand]


def test_a_run_before_a_write_is_eviction_where_the_server_has_evicted():
    rows = commands({"keys": ["a"]}, {"keys": ["b"]}, {"keys": ["w"], "verb": "SET"}, {"keys": ["c"]})
    assert hands(rows, evicts=True) == [
        ("eviction", "client"),
        ("eviction", "client"),
        (None, None),
        ("client", "eviction"),
    ]
    assert hands(rows, evicts=False)[:2] == [("client", None)] * 2


def test_in_a_steady_state_the_counter_must_have_room_for_all():
    rows = commands(*({"keys": [f"k{n}"], "verb": "DEL" if n % 2 == 0 else "SET"} for n in range(20)))
    assert hands(rows, evicts=True, evicted=10)[0] == ("eviction", "client")
    assert hands(rows, evicts=True, evicted=2)[0] == ("client", "eviction")


def test_a_write_that_finds_its_key_expired_takes_it_first():
    rows = commands({"transaction": 1, "due_at": AT, "not_before": AT}, {"transaction": 1, "verb": "SET"})
    assert hands(rows)[0] == ("expiry", None)
    apart = commands(
        {"transaction": 1, "due_at": AT, "not_before": AT}, {"transaction": 1, "verb": "SET", "keys": ["o"]}
    )
    assert hands(apart)[0] == ("client", "script")


def test_the_end_is_told_by_the_keys_that_are_left():
    keys = frame("keys", [{"key": str(n), "expires_at": AT + n * SECOND} for n in range(20)])
    assert end_of(keys, pd.Series([AT])) == AT + 2 * SECOND
    assert end_of(keys, pd.Series([AT + 60 * SECOND])) is None
    assert end_of(frame("keys"), pd.Series([AT])) is None


def test_times_are_narrowed_by_what_is_known_of_some():
    none = np.full(5, UNKNOWN)
    low, high = narrowed(none, none, np.array([1, 3]), np.array([10, 30]), np.array([12, 32]))
    assert low.tolist() == [UNKNOWN, 10, 10, 30, 30]
    assert high.tolist() == [12, 12, 32, 32, UNKNOWN]
    # Of times that contradict each other as many as possible are kept.
    low, _ = narrowed(none, none, np.array([0, 1, 2, 3]), np.array([10, 900, 20, 30]), np.array([10, 900, 20, 30]))
    assert low.tolist() == [10, 10, 20, 30, 30]
    # What contradicts the seconds written is left out, and where those go back nothing is made.
    low, high = seconds(np.array([10, 10, 20, 20, 20]), 25)
    assert (low.tolist(), high.tolist()) == ([10, 10, 20, 20, 20], [20, 20, 25, 25, 25])
    assert narrowed(low, high, np.array([1]), np.array([500]), np.array([500]))[0].tolist() == low.tolist()
    back, none_after = seconds(np.array([20, 10, 30]), UNKNOWN)
    assert none_after.tolist()[0] == UNKNOWN
    assert narrowed(back, none_after, np.array([2]), np.array([31]), np.array([32]))[0].tolist() == back.tolist()


def test_a_server_that_evicts_and_expires(start_redis):
    server = start_redis(
        appendonly="yes", appendfsync="always", aof_timestamp_enabled="yes", maxmemory_policy="allkeys-lru",
    ) if _stamps() else pytest.skip("needs aof-timestamp-enabled")  # fmt: skip
    client = server.client()
    for number in range(300):
        client.set(f"cache:{number}", "x" * 2000, ex=90_000)
    client.set("short", "1", px=300)
    client.set("named", "1", ex=90_000)
    client.delete("named")
    time.sleep(1.6)
    client.get("short")
    used = server.info()["used_memory"]
    client.config_set("maxmemory", used - 100_000)
    client.set("last", "1")
    evicted = server.info()["evicted_keys"]
    assert evicted > 5
    file = _read(server)
    assert file.state is not None
    end = end_of(file.state.keys, file.commands["not_before"])
    found = attributed(file.commands, Removing(frozenset(("DEL",)), frozenset(("DEL",)), evicts=True, ends_by=end))
    by = {keys[0]: hand for keys, hand in zip(found["keys"], found["removed_by"], strict=True) if isinstance(hand, str)}
    assert by["short"] == "expiry"
    assert by["named"] == "client"
    gone = found.loc[found["keys"].map(lambda keys: keys[0].startswith("cache:")) & found["removed_by"].notna()]
    assert evicted - 1 <= len(gone) <= evicted
    # One that goes alone looks like a client's, and is never said to be one for sure.
    by_memory = gone["removed_by"].eq("eviction")
    assert by_memory.mean() > 0.5 and (by_memory | gone["or_by"].notna()).all()


def _stamps() -> bool:
    from tests.servers import find_redis

    found = find_redis()
    return found is not None and found.version >= (7, 0)
