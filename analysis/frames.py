"""The schema of every frame the kit makes, once: column, dtype, unit, meaning.

In: rows from any reader. Out: a DataFrame with the frame's columns, in order, in their dtypes, also when there are no
rows. Knows nothing of Redis files, Celery or reports.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.columns import scratch

TIME = "datetime64[us, UTC]"
TEXT = "str"
# Text of few different values, each held once: what is the same for thousands of rows.
WORD = "category"

_PART = 65_536
INTEGER = "Int64"
REAL = "float64"
FLAG = "boolean"
OBJECT = "object"
TEXTS = pd.ArrowDtype(pa.large_list(pa.large_string()))
"""A list of texts in each row, which comes out as Python's own; missing = not told."""


@dataclass(frozen=True)
class Column:
    """One column of a frame. ``unit`` is empty where the meaning says it all."""

    name: str
    dtype: Any
    meaning: str
    unit: str = ""

    @property
    def kind(self) -> str:
        """The dtype in a word for people."""
        return _KINDS[str(self.dtype)]


_KINDS = {
    TIME: "time", TEXT: "text", WORD: "word", INTEGER: "whole number", REAL: "number", FLAG: "yes or no",
    OBJECT: "list", str(TEXTS): "list of texts",
}  # fmt: skip


def _where(*, snapshot: bool = True, dtype: str = TEXT) -> tuple[Column, ...]:
    server = Column("server", dtype, "name of the folder under servers/; empty for a case of one server")
    if not snapshot:
        return (server,)
    return (server, Column("snapshot", dtype, "evidence file the row was read from, relative to the case"))


_KEY = (
    Column("db", INTEGER, "database number"),
    Column("key", TEXT, "whole key; bytes that are not UTF-8 as \\xNN"),
)
_PROBLEM = Column("problem", TEXT, "why the value could not be read as what its key says; missing where it could")
_OFFSET = Column("offset", INTEGER, "where the entry begins in the snapshot (its type byte)", "bytes")
_EXPIRES = Column("expires_at", TIME, "when the key expires; missing = no TTL")

FRAMES: dict[str, tuple[Column, ...]] = {
    "keys": (
        *_where(dtype=WORD),
        *_KEY,
        Column("type", WORD, "string, list, set, zset, hash, stream or module"),
        Column("encoding", WORD, "how the value is laid out in the file, in OBJECT ENCODING's words where they exist"),
        Column("length", INTEGER, "elements; of a string its bytes"),
        Column("bytes", INTEGER, "serialized size of the value in the file, after compression: not memory", "bytes"),
        _EXPIRES,
        Column("expired", FLAG, "past its expiry when the snapshot was taken, and still in it"),
        Column("idle", INTEGER, "since last use; only under an LRU policy", "s"),
        Column("freq", INTEGER, "LFU counter, 0-255; only under an LFU policy"),
        Column("field_ttls", INTEGER, "fields of a hash that have a TTL of their own"),
        Column("family", WORD, "what the key is to Celery, kombu, RQ or the application"),
        Column("prefix", WORD, "global key prefix in front of the family's own name"),
        Column("task_id", TEXT, "task (or group) the key belongs to"),
        _OFFSET,
    ),
    "tasks": (
        *_where(dtype=WORD),
        *_KEY,
        Column("task_id", TEXT, "ID of the task, or of the group for kind 'group'"),
        Column("kind", WORD, "task or group"),
        Column("status", WORD, "Celery state as stored: SUCCESS, FAILURE, STARTED, …"),
        Column("date_done", TIME, "as stored; a naive time is UTC (Celery up to 5.3)"),
        _EXPIRES,
        Column("stored_at", TIME, "when it was written, as far as it can be told"),
        Column("stored_from", WORD, "what stored_at rests on: log, command, date_done or expiry"),
        Column("name", WORD, "task name; stored only with result_extended"),
        Column("worker", WORD, "worker that ran it; stored only with result_extended"),
        Column("queue", WORD, "queue it came from; stored only with result_extended"),
        Column("retries", INTEGER, "stored only with result_extended"),
        Column("parent_id", TEXT, "task that called it"),
        Column("group_id", TEXT, "group it is a part of"),
        Column("children", OBJECT, "list of the IDs of tasks it called, or of a group's parts; missing = none"),
        Column("serializer", WORD, "json, pickle, yaml, msgpack or unknown: told from the bytes"),
        Column("expired", FLAG, "past its expiry when the snapshot was taken"),
        Column("size", INTEGER, "length of the stored value, uncompressed", "bytes"),
        _PROBLEM,
        _OFFSET,
    ),
    "messages": (
        *_where(),
        *_KEY,
        Column("task_id", TEXT, "header id"),
        Column("name", TEXT, "header task"),
        Column("queue", TEXT, "queue it waits in, or was taken from"),
        Column("priority", INTEGER, "priority step of the list it waits in"),
        Column("state", TEXT, "queued or unacked; as commands carried it: sent or taken"),
        Column("reserved_at", TIME, "score in unacked_index: when a worker took it"),
        Column("eta", TIME, "not before"),
        Column("expires", TIME, "to be discarded after"),
        Column("retries", INTEGER, "header retries"),
        Column("origin", TEXT, "process that published it"),
        Column("redelivered", FLAG, "was given back after a worker had taken it"),
        Column("root_id", TEXT, "first task of the workflow"),
        Column("parent_id", TEXT, "task that called it"),
        Column("group_id", TEXT, "group it is a part of"),
        Column("correlation_id", TEXT, "property correlation_id"),
        Column("reply_to", TEXT, "property reply_to"),
        Column("delivery_tag", TEXT, "field in unacked"),
        Column("ignore_result", FLAG, "header ignore_result: no result is to be stored"),
        Column("position", INTEGER, "place in its list; 0 is delivered last"),
        Column("size", INTEGER, "length of the message as stored", "bytes"),
        _PROBLEM,
        _OFFSET,
    ),
    "jobs": (
        *_where(),
        *_KEY,
        Column("task_id", TEXT, "task it is about"),
        Column("status", TEXT, "as found"),
        Column("created_at", TIME, "as found"),
        _EXPIRES,
        Column("expired", FLAG, "past its expiry when the snapshot was taken"),
        Column("size", INTEGER, "serialized size in the file", "bytes"),
        _PROBLEM,
        _OFFSET,
    ),
    "archive": (
        Column("record", WORD, "result (a task's or a group's) or job"),
        Column("server", WORD, "name of the folder under servers/; empty for a case of one server"),
        Column("seen_in", WORD, "evidence file it was read from, relative to its case"),
        Column("seen_sha256", WORD, "of that file; of an append-only file of several parts, of the list of their sums"),
        Column("seen_at", TIME, "when that was taken; missing where it has no time"),
        *_KEY,
        Column("task_id", TEXT, "task (or group) it belongs to"),
        Column("kind", WORD, "of a result: task or group"),
        Column("status", WORD, "as stored"),
        Column("date_done", TIME, "of a result, as stored"),
        Column("created_at", TIME, "of a job record, as found"),
        _EXPIRES,
        Column("expired", FLAG, "past its expiry when the snapshot was taken"),
        Column("stored_at", TIME, "when the result was written, as far as it can be told"),
        Column("stored_from", WORD, "what stored_at rests on"),
        Column("name", WORD, "task name"),
        Column("worker", WORD, "worker that ran it"),
        Column("queue", WORD, "queue it came from"),
        Column("retries", INTEGER, "as stored"),
        Column("parent_id", TEXT, "task that called it"),
        Column("group_id", TEXT, "group it is a part of"),
        Column("children", TEXTS, "IDs of the tasks it called, or of a group's parts"),
        Column("serializer", WORD, "of a result: json, pickle, yaml, msgpack or unknown"),
        Column("size", INTEGER, "as in the frames tasks and jobs", "bytes"),
        _PROBLEM,
        Column("digest", TEXT, "SHA-256 of the true content, in hexadecimal; missing where it could not be read"),
        Column("redacted", FLAG, "secrets in it were left out of the body"),
        Column("body", TEXT, "content as JSON; missing where it is not JSON or text (a pickle is never opened)"),
        Column("kit", WORD, "version of the kit that kept it"),
    ),
    "commands": (
        *_where(snapshot=False, dtype=WORD),
        Column("source", WORD, "evidence file, relative to the case"),
        Column("witness", WORD, "append-only file, replication backlog, MONITOR log, keyspace log, slowlog or ACL LOG"),
        Column("offset", INTEGER, "where in the source: byte, line, or number of the entry"),
        Column("not_before", TIME, "earliest time it can have run"),
        Column("not_after", TIME, "latest time it can have run"),
        Column("db", INTEGER, "database; missing where the source does not say"),
        Column("verb", WORD, "as spelled in the source; of a notification the event's name"),
        Column("keys", TEXTS, "the keys it names; of KEYS and SCAN the pattern"),
        Column("expires_at", TIME, "expiry that it writes, where it is written as a time"),
        Column("ttl", INTEGER, "time to live that it writes, where it is written so", "ms"),
        Column("detail", TEXT, "what else of its arguments tells: other database, option, host, channel, field"),
        Column("transaction", INTEGER, "number of the MULTI it stands in, within its source; missing = none"),
        Column("due_at", TIME, "expiry that the key had until then; missing = none, or not known"),
        Column(
            "payload_at",
            INTEGER,
            "where the content it wrote, or took away, begins (of MONITOR the line); for Case.content",
            "bytes",
        ),
        Column(
            "removed_by",
            WORD,
            "who took keys away: expiry, eviction, client, script, unknown; missing = nobody",
        ),
        Column("or_by", WORD, "who else it can have been; missing = nobody"),
        Column("client", WORD, "address of the client"),
        Column("client_name", WORD, "name the client had given itself"),
        Column("user", WORD, "ACL user of the client"),
        Column("task_id", TEXT, "task (or group) that its first key, or its content, belongs to"),
    ),
    "events": (
        *_where(snapshot=False),
        Column("at", TIME, "when; the earlier end where an hour is doubled"),
        Column("not_after", TIME, "the later end; equal to `at` where the time is exact to the source's precision"),
        Column("source", TEXT, "log file, relative to the case"),
        Column("line", INTEGER, "line number, from 1"),
        Column("process", TEXT, "worker, redis or application, with the process's own name where the line has it"),
        Column("kind", TEXT, "what it says: received, succeeded, …, server_started, purge, …"),
        Column("task_id", TEXT, "task it names"),
        Column("name", TEXT, "task name"),
        Column("count", INTEGER, "how many, where the line says it (deleted=4, Purged 3 messages)"),
        Column("seconds", REAL, "duration, where the line says it", "s"),
        Column("text", TEXT, "the line, without its time"),
    ),
    "servers": (
        *_where(snapshot=False),
        Column("source", TEXT, "evidence file, relative to the case"),
        Column("at", TIME, "when it was asked"),
        Column("at_from", TEXT, "what `at` rests on: file name, server clock or file time"),
        Column("flavor", TEXT, "redis or valkey"),
        Column("version", TEXT, "of the server"),
        Column("mode", TEXT, "standalone, sentinel or cluster"),
        Column("role", TEXT, "master or slave"),
        Column("run_id", TEXT, "changes at every start of the server"),
        Column("uptime", INTEGER, "uptime_in_seconds", "s"),
        Column("started_at", TIME, "at − uptime"),
        Column("restarted", FLAG, "another run_id, or a younger start, than the answer before"),
        Column("counters_reset", FLAG, "CONFIG RESETSTAT ran since start or since the answer before"),
        Column("counters_since", TIME, "from when the counters run; missing where a reset at an unknown time hides it"),
        Column("expired_keys", INTEGER, "keys deleted by their TTL since counters_since; missing = not reported"),
        Column("evicted_keys", INTEGER, "keys evicted since counters_since; missing = not reported"),
        Column("used_memory", INTEGER, "as reported", "bytes"),
        Column("maxmemory", INTEGER, "0 = no limit", "bytes"),
        Column("maxmemory_policy", TEXT, "as reported"),
        Column("connected_clients", INTEGER, "as reported"),
        Column("total_commands_processed", INTEGER, "since counters_since"),
        Column("rdb_last_save_time", TIME, "equals the start where nothing was saved"),
        Column("rdb_last_bgsave_status", TEXT, "ok or err; ok also where none ran"),
        Column("aof_enabled", FLAG, "as reported"),
        Column("aof_last_write_status", TEXT, "ok or err"),
        Column("master_link_status", TEXT, "up or down; of a replica only"),
    ),
    "counters": (
        *_where(snapshot=False),
        Column("source", TEXT, "evidence file, relative to the case"),
        Column("at", TIME, "when it was asked"),
        Column(
            "counter",
            TEXT,
            "INFO field, cmdstat_<command> (calls), cmdstat_<command>.rejected_calls, errorstat_<error>, db<N>.keys, "
            "db<N>.expires",
        ),
        Column("value", REAL, "as reported"),
        Column("delta", REAL, "growth since the answer before of the same run without a reset; else missing"),
    ),
    "clients": (
        *_where(snapshot=False),
        Column("source", TEXT, "evidence file, relative to the case"),
        Column("addr", TEXT, "address and port, or socket"),
        Column("name", TEXT, "CLIENT SETNAME"),
        Column("user", TEXT, "ACL user"),
        Column("db", INTEGER, "database it had selected"),
        Column("cmd", TEXT, "its last command"),
        Column("age", INTEGER, "since it connected", "s"),
        Column("idle", INTEGER, "since its last command", "s"),
        Column("lib", TEXT, "client library, where it says it"),
    ),
    "changes": (
        Column("server", WORD, "name of the folder under servers/; empty for a case of one server"),
        Column("before", WORD, "the earlier snapshot"),
        Column("after", WORD, "the later one"),
        *_KEY,
        Column("family", WORD, "what the key is to Celery, kombu, RQ or the application"),
        Column("task_id", TEXT, "task (or group) the key belongs to"),
        Column("change", WORD, "appeared, gone, value (another value), ttl (only another expiry)"),
        Column("value_changed", FLAG, "of a key that both hold; missing where its value cannot be read"),
        Column("ttl_changed", FLAG, "of a key that both hold: another expiry, or one where there was none"),
        Column("expires_before", TIME, "when the key expires, as the earlier snapshot has it"),
        Column("expires_after", TIME, "as the later one has it"),
        Column("due", FLAG, "of a key that is gone: its expiry had come when the later snapshot was taken"),
        Column("offset_before", INTEGER, "where its entry begins in the earlier snapshot", "bytes"),
        Column("offset_after", INTEGER, "where its entry begins in the later one", "bytes"),
    ),
    "cleanup": (
        Column("file", TEXT, "relative to the source tree"),
        Column("line", INTEGER, "from 1"),
        Column("function", TEXT, "function or class.method it stands in; of a script or a setting empty"),
        Column("call", TEXT, "the call, command or setting, as written"),
        Column(
            "does",
            WORD,
            "deletes, expires, flushes, renames, forgets, purges, searches (KEYS, SCAN) or sets (a setting)",
        ),
        Column("pattern", TEXT, "keys it takes as Redis would match them, * where they are not literal; missing = all"),
        Column("seconds", REAL, "TTL or retention that it writes; 0 = none, or at once", "s"),
        Column("reached", TEXT, "how it is reached: route, task, schedule, script; missing = nothing leads to it"),
        Column("settings", TEXT, "setting it writes, or that its pattern and times come from"),
    ),
    "evidence": (
        *_where(snapshot=False),
        Column("path", TEXT, "relative to the case"),
        Column(
            "kind", TEXT, "what it is: snapshot, info, config, slowlog, clients, worker log, redis log, application log"
        ),
        Column("sha256", TEXT, "of the file as it was read"),
        Column("size", INTEGER, "of the file", "bytes"),
        Column("from", TIME, "from when it testifies"),
        Column("to", TIME, "until when it testifies"),
        Column("complete", FLAG, "read to its end, and sound"),
        Column("stopped_at", INTEGER, "where reading stopped, if before the end: byte, or line of a log"),
        Column("reason", TEXT, "why it was read in part"),
    ),
    "timeline": (
        Column("at", TIME, "when; the earlier end of an interval"),
        Column("not_after", TIME, "the later end; equal to `at` where it is an instant"),
        Column("lane", TEXT, "server, task, message, result, job or case"),
        Column("kind", TEXT, "what happened"),
        Column("says", TEXT, "one sentence"),
        Column("source", TEXT, "evidence, with line, field or offset"),
        Column("certainty", TEXT, "shown, derived or inferred"),
        Column("contradicts", TEXT, "source of another row that cannot be true as well; missing = none"),
    ),
    "traces": (
        *_where(),
        *_KEY,
        Column("family", TEXT, "of the key"),
        Column(
            "role",
            TEXT,
            "what the ID is there: id, root_id, parent_id, group_id, child, correlation_id, key, command or log",
        ),
        Column("task_id", TEXT, "the task whose record names it"),
        Column("says", TEXT, "one sentence"),
        Column("source", TEXT, "evidence, with line, field or offset"),
    ),
}


ROWS: dict[str, str] = {
    "keys": "a key in a snapshot",
    "tasks": "a stored result",
    "messages": "a broker message",
    "jobs": "an application record of a task",
    "archive": "a stored result or job record as one snapshot held it, kept so that its history outlasts its TTL",
    "commands": "a write command that some witness saw",
    "events": "a log line that says something",
    "servers": "one INFO answer",
    "counters": "one figure of one INFO answer",
    "clients": "a client connection as CLIENT LIST shows it",
    "changes": "a key that two snapshots of one server, taken one after the other, do not both hold as it is",
    "cleanup": "a place in source code that deletes or expires",
    "evidence": "a file of the case",
    "timeline": "something in the life of one task, or of the server around it",
    "traces": "a place where a task ID was found",
}
"""What a row of each frame is."""


def frame(name: str, rows: Mapping[str, Any] | Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Rows, or columns, as the frame ``name``: every column of the schema, in its order and dtype, RangeIndex.

    A column that is not given is missing throughout. A column that the schema does not know raises KeyError: the
    schema is the one place where columns are added. Columns that have their dtype already are not copied.
    """
    schema = FRAMES[name]
    data: dict[str, Any]
    if isinstance(rows, Mapping):
        data = dict(rows)
    else:
        listed = list(rows)
        names = dict.fromkeys(key for row in listed for key in row)
        data = {key: [row.get(key) for row in listed] for key in names}
    known = {column.name for column in schema}
    if unknown := [key for key in data if key not in known]:
        raise KeyError(f"frame {name!r} has no column {', '.join(map(repr, unknown))}")
    length = max((len(values) for values in data.values()), default=0)
    columns = {
        column.name: _typed(data[column.name], column.dtype) if column.name in data else missing(column.dtype, length)
        for column in schema
    }
    return pd.DataFrame(columns, copy=False)


def _typed(values: Any, dtype: str) -> pd.Series:
    if isinstance(values, pd.Series):
        values = values.reset_index(drop=True)
        if values.dtype == dtype:
            return values
    if dtype == OBJECT:
        return pd.Series(list(values), dtype=object)
    if dtype == TIME and not isinstance(values, pd.Series):
        return pd.Series(pd.to_datetime(pd.Series(list(values), dtype=object), utc=True)).astype(TIME)
    if dtype == WORD:
        found = pd.Series(values)
        return found if found.dtype == "category" else found.astype(TEXT).astype(WORD)
    return pd.Series(values).astype(dtype)


def missing(dtype: str, count: int) -> pd.Series:
    """A column in which nothing is known; it takes memory only where it must."""
    if dtype == WORD:
        codes = scratch(count, np.int8)
        codes[:] = -1
        return words(codes, [])
    if dtype == TEXT:
        return text(_no_texts(count))
    return pd.Series([None] * count, dtype=object) if dtype == OBJECT else pd.Series(None, range(count), dtype=dtype)


@lru_cache(4)
def _no_texts(count: int) -> pa.Array:
    """Arrow's arrays do not change, so columns in which nothing is known can be one."""
    bounds = scratch(count + 1, np.int64)
    bounds[:] = 0
    buffers = [pa.py_buffer(bytes(count // 8 + 1)), pa.py_buffer(bounds), pa.py_buffer(b"")]
    return pa.Array.from_buffers(pa.large_string(), count, buffers)


def text(values: pa.Array | pa.ChunkedArray) -> pd.Series:
    """A column of text over Arrow's own memory."""
    return pd.Series(_STRINGS.__from_arrow__(values), copy=False)


def as_arrow(column: pd.Series) -> pa.Array:
    """A column of text as Arrow holds it, in one piece."""
    found = pa.array(column, pa.large_string())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def with_missing(values: pa.Array, gone: NDArray[np.bool_]) -> pa.Array:
    """Arrow's texts, of which some are missing; their memory stays the same."""
    _, bounds, octets = values.buffers()
    given = pa.py_buffer(np.packbits(~gone, bitorder="little")) if gone.any() else None
    return pa.Array.from_buffers(values.type, len(values), [given, bounds, octets], offset=values.offset)


_STRINGS = pd.StringDtype("pyarrow", na_value=np.nan)


def moments(numbers: NDArray[np.int64]) -> pd.Series:
    """A column of times from microseconds since 1970, over the same memory; the smallest number = missing."""
    # As numbers of a dtype with a zone: to give times a zone copies them.
    return pd.Series(pd.DatetimeIndex(numbers, dtype=pd.DatetimeTZDtype("us", "UTC"), copy=False), copy=False)


def in_micros(times: pd.Series) -> NDArray[np.int64]:
    """The numbers of a column of times (``moments``), over the same memory."""
    numbers: NDArray[np.int64] = pd.DatetimeIndex(times, copy=False).asi8
    return numbers


def micros_of(moment: pd.Timestamp) -> int:
    """A time as a column of times holds it."""
    return int(moment.as_unit("us").to_datetime64().astype(np.int64))


def words(codes: NDArray[np.signedinteger[Any]], names: Iterable[str]) -> pd.Series:
    """A column of words from each row's place in the list of ``names``; -1 = missing. Names that no row has are left
    out, and the others stand in their alphabet's order, however they were met.
    """
    listed = list(names)
    # In parts, for what numpy makes beside them is larger than the codes.
    parts = (np.unique(codes[begin : begin + _PART]) for begin in range(0, len(codes), _PART))
    used = sorted({place for part in parts for place in part.tolist()} - {-1}, key=lambda place: listed[place])
    if used != list(range(len(listed))):
        moved = np.full(len(listed) + 1, -1, np.min_scalar_type(-len(listed) - 1))
        moved[used] = np.arange(len(used))
        # Out of range, as -1 is, it is counted from the end.
        codes = np.take(moved, codes, out=scratch(len(codes), moved.dtype), mode="wrap")
        listed = [listed[place] for place in used]
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(listed, dtype=_STRINGS)), copy=False)


def words_in(column: pd.Series, chosen: Container[str]) -> NDArray[np.bool_]:
    """Which rows of a column of words have one, in capitals, that is among ``chosen``: each word is looked at once."""
    hits = np.array([word.upper() in chosen for word in column.cat.categories] + [False])
    found: NDArray[np.bool_] = hits[column.cat.codes.to_numpy()]
    return found


def texts_in(column: pd.Series, chosen: pd.Series) -> NDArray[np.bool_]:
    """Which rows of a column of text have one that is among ``chosen``, another column: ``isin`` of pandas makes a
    Python object of each of these first, which takes seconds for a million.
    """
    found = pc.is_in(as_arrow(column), value_set=as_arrow(chosen).drop_null())
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def holds(flag: Any) -> bool:
    """Whether one value of a FLAG column is known and set; what is missing is neither true nor false."""
    return bool(pd.notna(flag) and flag)


def counts(numbers: NDArray[np.int64], gone: int) -> pd.Series:
    """A column of whole numbers over the same memory; ``gone`` = missing."""
    mask = np.equal(numbers, gone, out=scratch(len(numbers), np.bool_))
    return pd.Series(pd.arrays.IntegerArray(numbers, mask), copy=False)


def repeated(word: str, count: int) -> pd.Series:
    """A column that is ``word`` throughout."""
    return words(np.zeros(count, np.int8), [word])


def concat(name: str, frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Frames of one schema, one under the other; of none, the empty frame."""
    parts = [part for part in frames if len(part)]
    if not parts:
        return frame(name)
    if len(parts) == 1:
        return parts[0].reset_index(drop=True)
    return pd.concat(_of_the_same_words(name, parts), ignore_index=True)


def _of_the_same_words(name: str, parts: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """The parts with the words of all of them in each, without which pandas would not keep them as words."""
    for column in [column.name for column in FRAMES[name] if column.dtype == WORD]:
        known = list(dict.fromkeys(word for part in parts for word in part[column].cat.categories))
        parts = [part.assign(**{column: part[column].cat.set_categories(known)}) for part in parts]
    return parts
