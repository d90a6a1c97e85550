"""What a server says of itself.

In: files with answers to ``INFO``. Out: ``InfoAnswer`` for each, and over all of them the frames ``servers`` and
``counters``. Knows when the counters began and which growth can be believed; not what a counter proves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import Unusable
from analysis.evidence.answers import read_text_answer
from analysis.frames import frame
from analysis.redact import MASK, redact_text, secret_name

_LINE = re.compile(r"(?P<name>[A-Za-z_][\w.|:/\-]{0,200}?):(?P<value>.*)")
_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,9})?")
_WHOLE = re.compile(r"-?\d{1,18}")
_DATABASE = re.compile(r"db(\d{1,9})")
# Numbers that name something, or may look like one.
_NAMES = frozenset(
    "redis_git_sha1 redis_git_dirty redis_build_id run_id process_id tcp_port arch_bits lru_clock master_replid "
    "master_replid2 redis_version valkey_version gcc_version server_time_usec".split()
)
# Counters that only grow until the server restarts or CONFIG RESETSTAT clears them (src/server.c, resetServerStats).
# Since commandstats are cleared with them, each of these and every cmdstat that went down tells of a reset.
_CLEARED = (
    "total_connections_received total_commands_processed total_net_input_bytes total_net_output_bytes "
    "rejected_connections expired_keys evicted_keys keyspace_hits keyspace_misses sync_full sync_partial_ok "
    "sync_partial_err"
).split()
_GROWS = frozenset(
    "total_net_repl_input_bytes total_net_repl_output_bytes expired_subkeys expired_fields expired_keys_active "
    "expired_time_cap_reached_count expire_cycle_cpu_milliseconds evicted_clients evicted_scripts "
    "total_eviction_exceeded_time total_forks total_error_replies unexpected_error_replies total_reads_processed "
    "total_writes_processed io_threaded_reads_processed io_threaded_writes_processed dump_payload_sanitizations "
    "lazyfreed_objects rdb_saves aof_rewrites acl_access_denied_auth acl_access_denied_cmd acl_access_denied_key "
    "acl_access_denied_channel acl_access_denied_db client_query_buffer_limit_disconnections "
    "client_output_buffer_limit_disconnections".split()
).union(_CLEARED)


@dataclass(frozen=True)
class InfoAnswer:
    """One INFO answer. ``row`` is its row of the frame ``servers``, but for what only the answers before it can tell.

    ``fields`` holds every line as reported, values of secret name masked. ``counters`` are its figures by the names
    of the frame ``counters``; ``sections`` says which lists were reported at all, so that a command missing from them
    ran 0 times.
    """

    path: Path
    source: str
    server: str
    fields: dict[str, str]
    row: dict[str, Any]
    counters: dict[str, float]
    keyspace: dict[int, dict[str, int]]
    sections: frozenset[str] = field(default_factory=frozenset)
    complete: bool = True
    reason: str | None = None


def read_info(
    path: Path,
    *,
    source: str,
    server: str = "",
    stamp: pd.Timestamp | None = None,
    file_time: pd.Timestamp | None = None,
) -> InfoAnswer:
    """An answer of any Redis (6.0+) or Valkey, of any of INFO's forms; lines are told by their names, wherever they
    stand.

    It is dated by ``stamp``, the time in its file's name (the collector's clock); without one by its own
    ``server_time_usec`` (6.2+); without that by ``file_time``, the file's own by default. Raises Unusable where the
    file holds no INFO answer.
    """
    text = read_text_answer(path)
    fields, headings = _fields(text)
    if (
        not {"redis_version", "valkey_version", "run_id", "uptime_in_seconds", "role", "used_memory", "expired_keys"}
        & fields.keys()
    ):
        raise Unusable("holds no field of an INFO answer", file=path.name)
    clock = _moment(fields.get("server_time_usec"), "us")
    if stamp is not None:
        at, at_from = stamp, "file name"
    elif clock is not None:
        at, at_from = clock, "server clock"
    else:
        written = pd.Timestamp(path.stat().st_mtime_ns, unit="ns", tz="UTC")
        at, at_from = file_time if file_time is not None else written, "file time"
    # INFO ends with Keyspace (modules may follow). An answer without it that stops within a line was cut.
    cut = bool(headings) and "keyspace" not in headings and not text.endswith("\n")
    counters, keyspace, lists = _figures(fields)
    return InfoAnswer(
        path=path,
        source=source,
        server=server,
        fields=fields,
        row={
            "server": server,
            "source": source,
            "at": at.as_unit("us"),
            "at_from": at_from,
            **_row(fields, at.as_unit("us")),
        },
        counters=counters,
        keyspace=keyspace,
        sections=frozenset(headings | lists),
        complete=not cut,
        reason="cut: it ends within a line" if cut else None,
    )


def _fields(text: str) -> tuple[dict[str, str], set[str]]:
    fields: dict[str, str] = {}
    headings: set[str] = set()
    for line in text.split("\n"):
        line = line.strip()
        if line.startswith("#"):
            headings.add(line.strip("# ").lower())
        elif found := _LINE.fullmatch(line):
            name, value = found["name"], found["value"]
            secret = (
                value
                and not _NUMBER.fullmatch(value)
                and not name.startswith(("cmdstat_", "errorstat_"))
                and secret_name(name)
            )
            fields.setdefault(name, MASK if secret else redact_text(value))
    return fields, headings


def _row(fields: dict[str, str], at: pd.Timestamp) -> dict[str, Any]:
    valkey = "valkey_version" in fields or fields.get("server_name") == "valkey"
    uptime = _whole(fields, "uptime_in_seconds")
    return {
        "flavor": "valkey" if valkey else "redis",
        # Valkey leaves redis_version at 7.2.4 for the sake of old clients.
        "version": fields.get("valkey_version") or (None if valkey else fields.get("redis_version")),
        "mode": fields.get("server_mode") or fields.get("redis_mode"),
        "role": fields.get("role"),
        "run_id": fields.get("run_id"),
        "uptime": uptime,
        "started_at": None if uptime is None or uptime > 2**33 else at - pd.Timedelta(seconds=uptime),
        "expired_keys": _whole(fields, "expired_keys"),
        "evicted_keys": _whole(fields, "evicted_keys"),
        "used_memory": _whole(fields, "used_memory"),
        "maxmemory": _whole(fields, "maxmemory"),
        "maxmemory_policy": fields.get("maxmemory_policy"),
        "connected_clients": _whole(fields, "connected_clients"),
        "total_commands_processed": _whole(fields, "total_commands_processed"),
        "rdb_last_save_time": _moment(fields.get("rdb_last_save_time"), "s"),
        "rdb_last_bgsave_status": fields.get("rdb_last_bgsave_status"),
        "aof_enabled": {"1": True, "0": False}.get(fields.get("aof_enabled", "")),
        "aof_last_write_status": fields.get("aof_last_write_status"),
        "master_link_status": fields.get("master_link_status"),
    }


def _figures(fields: dict[str, str]) -> tuple[dict[str, float], dict[int, dict[str, int]], set[str]]:
    counters: dict[str, float] = {}
    keyspace: dict[int, dict[str, int]] = {}
    lists: set[str] = set()
    for name, value in fields.items():
        if name.startswith("cmdstat_"):
            lists.add("commandstats")
            items = _items(value)
            counters |= {name: items["calls"]} if "calls" in items else {}
            counters |= {f"{name}.{item}": items[item] for item in ("rejected_calls", "failed_calls") if item in items}
        elif name.startswith("errorstat_"):
            lists.add("errorstats")
            items = _items(value)
            counters |= {name: items["count"]} if "count" in items else {}
        elif database := _DATABASE.fullmatch(name):
            items = _items(value)
            keyspace[int(database[1])] = {item: int(items[item]) for item in ("keys", "expires") if item in items}
            counters |= {f"{name}.{item}": items[item] for item in ("keys", "expires") if item in items}
        elif name not in _NAMES and _NUMBER.fullmatch(value):
            counters[name] = float(value)
    return counters, keyspace, lists


def _items(value: str) -> dict[str, float]:
    """``calls=4,usec=31`` by name; later versions add items, and some put text among them."""
    pairs = (item.partition("=") for item in value.split(","))
    return {name: float(number) for name, _, number in pairs if _NUMBER.fullmatch(number)}


def _whole(fields: dict[str, str], name: str) -> int | None:
    value = fields.get(name, "")
    return int(value) if _WHOLE.fullmatch(value) else None


def _moment(value: str | None, unit: str) -> pd.Timestamp | None:
    if not value or not value.isdecimal() or not 0 < int(value[:19]) < (2**33 if unit == "s" else 2**53):
        return None
    return pd.Timestamp(int(value), unit=unit, tz="UTC").as_unit("us")


def servers_frame(answers: Iterable[InfoAnswer]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames ``servers`` and ``counters`` of all answers, by server and time.

    ``restarted``: another run_id than in the answer before; where one of them has none, a start later than that
    answer. Missing in a server's first answer. ``counters_reset``: shown by ``CONFIG RESETSTAT`` in commandstats
    (7.0+; it is counted after it cleared them), by a counter of the same run that went down, or by a contradiction
    that only a reset explains. Missing where a reset cannot be excluded: before 7.0 ``cmdstat_config`` counts any
    CONFIG, and an answer may come without commandstats. ``counters_since``: the start, unless a reset was shown; its
    time is unknown, so then it is missing. ``delta``: only of counters that only grow, from the answer before of the
    same run with no reset between. A command that a reported list did not name yet had run 0 times; any other counter
    that is absent stays missing.
    """
    rows: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    ordered = sorted(answers, key=lambda answer: (answer.server, answer.row["at"], answer.source))
    for _, ours in groupby(ordered, key=lambda answer: answer.server):
        before: InfoAnswer | None = None
        reset_before: bool | None = False
        for answer in ours:
            restarted = _restarted(before, answer) if before else None
            same_run = before is not None and restarted is False
            # Where uptime went down within a run the answers are out of order, and nothing can be told from the pair.
            pair = before if same_run and not _backwards(before, answer) else None
            fell = pair is not None and _fell(pair, answer)
            own = _reset(answer)
            reset = True if fell or own or (same_run and reset_before) else own
            since = None if reset else answer.row["started_at"]
            rows.append({**answer.row, "restarted": restarted, "counters_reset": reset, "counters_since": since})
            figures += _counter_rows(None if fell else pair, answer)
            before, reset_before = answer, reset
    return frame("servers", rows), frame("counters", figures)


def _restarted(before: InfoAnswer, answer: InfoAnswer) -> bool | None:
    was, now = before.row, answer.row
    if was["run_id"] and now["run_id"]:
        return bool(was["run_id"] != now["run_id"])
    if was["uptime"] is None or now["uptime"] is None:
        return None
    return bool(now["started_at"] > was["at"] or now["uptime"] < was["uptime"])


def _backwards(before: InfoAnswer | None, answer: InfoAnswer) -> bool:
    was, now = before.row["uptime"] if before else None, answer.row["uptime"]
    return was is not None and now is not None and bool(now < was)


def _fell(before: InfoAnswer, answer: InfoAnswer) -> bool:
    """Whether a counter went down, or left the list of commands."""
    was, now = before.counters, answer.counters
    if any(name in was and name in now and now[name] < was[name] for name in _CLEARED):
        return True
    calls = [name for name in was if name.startswith("cmdstat_") and "." not in name]
    return _lists_commands(answer) and any(now.get(name, 0) < was[name] for name in calls)


def _lists_commands(answer: InfoAnswer) -> bool:
    """Whether commandstats were reported, and to their end: the section after them is there as well."""
    return {"commandstats", "keyspace"} <= answer.sections


def _reset(answer: InfoAnswer) -> bool | None:
    """What an answer says by itself of a reset since the start: True shown, False ruled out, None neither."""
    counters = answer.counters
    if counters.get("cmdstat_config|resetstat", 0) > counters.get("cmdstat_config|resetstat.failed_calls", 0):
        return True
    # A background save or rewrite that was timed has forked; the time survives a reset, the count of forks does not.
    timed = max(counters.get("rdb_last_bgsave_time_sec", -1), counters.get("aof_last_rewrite_time_sec", -1)) >= 0
    if timed and counters.get("total_forks", counters.get("latest_fork_usec")) == 0:
        return True
    # Every client of a master had to connect.
    if answer.row["role"] == "master" and counters.get("total_connections_received", float("inf")) < counters.get(
        "connected_clients", 0
    ):
        return True
    if not _lists_commands(answer):
        return None
    # From 7.0 on subcommands are counted on their own; before, RESETSTAT hides among other CONFIG calls.
    return None if "cmdstat_config" in counters else False


def _counter_rows(before: InfoAnswer | None, answer: InfoAnswer) -> Iterator[dict[str, Any]]:
    for name, value in answer.counters.items():
        was = None
        if before is not None and _only_grows(name):
            was = before.counters.get(name)
            listed = (
                "commandstats" if name.startswith("cmdstat_") else "errorstats" if name.startswith("errorstat_") else ""
            )
            if was is None and listed in before.sections:
                was = 0.0
        yield {
            "server": answer.server,
            "source": answer.source,
            "at": answer.row["at"],
            "counter": name,
            "value": value,
            # A server that tracks too many kinds of errors starts that list again: no growth can be told from it.
            "delta": value - was if was is not None and value >= was else None,
        }


def _only_grows(name: str) -> bool:
    return name in _GROWS or name.startswith(("cmdstat_", "errorstat_"))
