"""Stored results: task metadata of Celery 4 to 5.7, and saved groups.

In: the `keys` frame with families, and values. Out: the `tasks` frame; the whole content of one value on demand.
Does not know messages, nor when a result should have gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.celery.cut import Cut
from analysis.celery.decode import MAX_VALUE, ValueOf, count_in, id_in, instant, text_in
from analysis.celery.routing import rows
from analysis.celery.serializers import Stored, unpack
from analysis.evidence import texts
from analysis.evidence.rdb import Snapshot
from analysis.frames import as_arrow, frame, text

_MAX_STATUS = 64


@dataclass(frozen=True)
class ResultBody:
    """All that one stored value says. ``result`` of a failure is a dict with exc_type, exc_message and exc_module; of a
    group the nested IDs. ``children`` is the tree as stored, ``child_ids`` the IDs in it. ``stamps`` are the stamped
    headers, ``meta`` all of it as decoded. ``problem`` says what could not be read; then the rest may be empty.
    """

    serializer: str
    compression: str = ""
    status: str | None = None
    result: Any = None
    traceback: str | None = None
    children: Any = None
    child_ids: tuple[str, ...] = ()
    date_done: pd.Timestamp | None = None
    task_id: str | None = None
    group_id: str | None = None
    parent_id: str | None = None
    name: str | None = None
    args: Any = None
    kwargs: Any = None
    worker: str | None = None
    retries: int | None = None
    queue: str | None = None
    stamps: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


def tasks_frame(keys: pd.DataFrame, value_of: ValueOf, snapshots: Mapping[str, Snapshot] | None = None) -> pd.DataFrame:
    """The `tasks` frame: a row for each key of family result (kind ``task``) or group_result (kind ``group``).

    ``task_id`` is the key's. ``date_done`` without an offset is UTC, as Celery up to 5.3 writes it; where there is one
    it is ``stored_at`` too, and ``stored_from`` is ``date_done``. ``children`` lists every ID called, groups and their
    parts alike; of a group its parts; missing where there are none. A value that is not JSON, is larger than 64 MiB, or
    is not what Celery stores costs its row the columns that hang on it, and says so in ``problem``; a single field of a
    wrong type is left out and named there.

    Of large ``snapshots`` (by name) the plain results are cut by position, on all cores; the frame is the same.
    """
    positions = np.flatnonzero(keys["family"].isin(("result", "group_result")))
    chosen = keys[["server", "snapshot", "db", "family", "expires_at", "expired", "offset"]].take(positions)
    names = {name: text(texts.take(as_arrow(keys[name]), positions)) for name in ("key", "task_id")}
    chosen = chosen.reset_index(drop=True).assign(**names)
    found = Cut(len(chosen))
    for name, snapshot in (snapshots or {}).items():
        if snapshot.kernels.compiled:
            here = (chosen["snapshot"].eq(name) & chosen["family"].eq("result")).to_numpy(dtype=bool)
            found.cut(snapshot, np.flatnonzero(here), chosen["offset"], chosen["task_id"])
    left = found.left
    told = chosen.take(left).assign(length=keys["length"].take(positions[left]).to_numpy())
    for row, (snapshot, offset, family, key_id, length) in zip(
        left.tolist(), rows(told, "snapshot", "offset", "family", "task_id", "length"), strict=True
    ):
        stored, size = _stored(value_of, snapshot, offset, length)
        described = _group(stored, key_id) if family == "group_result" else _task(stored, key_id)
        found.put(row, {**described, "size": size})
    return frame("tasks", {**{name: chosen[name] for name in chosen if name != "family"}, **found.columns()})


def body_of(value: bytes) -> ResultBody:
    """The whole content of one stored value, of a task or a group. Never raises for what the bytes are."""
    stored = unpack(value)
    meta = stored.data
    if not isinstance(meta, dict):
        return ResultBody(stored.serializer, stored.compression, problem=stored.problem or "JSON, but not an object")
    is_group = "status" not in meta and isinstance(meta.get("result"), list)
    described = _group(stored, None) if is_group else _task(stored, None)
    stamped = meta.get("stamped_headers")
    names = stamped if isinstance(stamped, list) else []
    stamps = {name: meta[name] for name in names if isinstance(name, str) and name in meta}
    done = described.get("date_done")
    return ResultBody(
        serializer=stored.serializer,
        compression=stored.compression,
        status=described.get("status"),
        result=meta.get("result"),
        traceback=text_in(meta.get("traceback"), MAX_VALUE),
        children=meta.get("children"),
        child_ids=tuple(described.get("children") or ()),
        date_done=None if done is None else pd.Timestamp(done, unit="us", tz="UTC"),
        task_id=id_in(meta.get("task_id")),
        args=meta.get("args"),
        kwargs=meta.get("kwargs"),
        stamps=stamps,
        meta=meta,
        problem=described.get("problem"),
        **{name: described.get(name) for name in ("group_id", "parent_id", "name", "worker", "retries", "queue")},
    )


def _stored(value_of: ValueOf, snapshot: str, offset: int, length: int) -> tuple[Stored, int]:
    if not pd.isna(length) and length > MAX_VALUE:
        return Stored("unknown", problem=f"larger than {MAX_VALUE >> 20} MiB: not decoded"), length
    try:
        value = value_of(snapshot, offset)
    except ValueError as error:
        return Stored("unknown", problem=str(error)), length
    if not isinstance(value, bytes):
        return Stored("unknown", problem="not a string"), length
    return unpack(value), len(value)


def _task(stored: Stored, key_id: str | None) -> dict[str, Any]:
    meta = stored.data
    if not isinstance(meta, dict):
        return {"kind": "task", "serializer": stored.serializer, "problem": stored.problem or "JSON, but not an object"}
    complaints = [stored.problem] if stored.problem else []

    def take(name: str, read: Any) -> Any:
        data = meta.get(name)
        found = read(data) if data is not None else None
        if found is None and data is not None and data != "":
            complaints.append(f"{name} is no {_EXPECTED[name]}")
        return found

    status = take("status", _status)
    if status is None and not complaints:
        complaints.append("no status")
    stored_id = id_in(meta.get("task_id"))
    if key_id and stored_id and stored_id != key_id:
        complaints.append(f"says it is of task {text_in(stored_id, 200)}")
    return {
        "kind": "task",
        "status": status,
        "date_done": take("date_done", instant),
        "name": take("name", text_in),
        "worker": take("worker", text_in),
        "queue": take("queue", text_in),
        "retries": take("retries", count_in),
        "parent_id": take("parent_id", id_in),
        "group_id": take("group_id", id_in),
        "children": called_ids(meta.get("children")) or None,
        "serializer": stored.serializer,
        "problem": "; ".join(complaints) or None,
    }


_EXPECTED = {
    "status": "text",
    "date_done": "time",
    "name": "text",
    "worker": "text",
    "queue": "text",
    "retries": "count",
    "parent_id": "ID",
    "group_id": "ID",
}


def _status(data: Any) -> str | None:
    return text_in(data, _MAX_STATUS)


def _group(stored: Stored, key_id: str | None) -> dict[str, Any]:
    """A saved group: ``{"result": [[group ID, parent], [part, …]]}`` (celery/result.py, GroupResult.as_tuple)."""
    described: dict[str, Any] = {"kind": "group", "serializer": stored.serializer}
    meta = stored.data
    tree = meta.get("result") if isinstance(meta, dict) else None
    if not isinstance(tree, list) or len(tree) != 2 or not isinstance(tree[1], list):
        return {**described, "problem": stored.problem or "JSON, but not a saved group"}
    own = tree[0][0] if isinstance(tree[0], list) and tree[0] else None
    parent = tree[0][1] if isinstance(tree[0], list) and len(tree[0]) > 1 else None
    problem = stored.problem
    if key_id and isinstance(own, str) and own != key_id:
        problem = problem or f"says it is of group {text_in(own, 200)}"
    parent_ids = called_ids([parent])
    return {
        **described,
        "children": called_ids(tree[1]) or None,
        "parent_id": parent_ids[0] if parent_ids else None,
        "problem": problem,
    }


def called_ids(children: Any) -> list[str]:
    """IDs in the tuples of results that Celery stores, in order and each once: ``[[id, parent], [part, …] or null]``.

    Parents are left out: they called, they were not called. Anything of another shape is passed over.
    """
    found: dict[str, None] = {}
    waiting = [children]
    while waiting:
        item = waiting.pop()
        if not isinstance(item, list):
            continue
        own = _own_id(item[0]) if len(item) == 2 and (item[1] is None or isinstance(item[1], list)) else None
        if own is not None:
            found[own] = None
            waiting.append(item[1])
        else:
            waiting.extend(reversed(item))
    return list(found)


def _own_id(data: Any) -> str | None:
    """The ID of ``[id, parent]``, or of the bare ``id`` of Celery 3."""
    if isinstance(data, list):
        data = data[0] if data else None
    return id_in(data) if isinstance(data, (str, dict)) else None
