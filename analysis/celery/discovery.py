"""Which keys outside Celery's own families are the application's records of tasks, where case.toml does not say.

In: keys that no other family claims, the task IDs that are known, and values. Out: for each such key the task it is
about. Does not know what becomes of the records. ``discovered_jobs`` states the rule.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.celery.decode import ValueOf
from analysis.celery.jobs import JobRecord, job_record
from analysis.celery.routing import rows

UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}"
VARIABLE = rf"{UUID}|[0-9a-fA-F]*[0-9][0-9a-fA-F]*"
STATES = frozenset(
    "queued pending created new scheduled submitted waiting received started running processing in_progress in-progress"
    " working retry retrying completed complete done finished success succeeded failed failure error errored cancelled"
    " canceled aborted revoked timeout timed_out stopped".split()
)
TASK_FIELDS = tuple("celery_id celery_task_id celery_task celery_uuid task_id taskid task_uuid async_id".split())
WORK_FIELDS = frozenset(
    (*TASK_FIELDS, "task", "task_name", "job_id", "job_type", "worker", "enqueued_at", "queue", "retries", "attempts")
)
CELERYS_OWN = r"celery-task(set)?-meta-|chord-unlock-|_kombu\.|unacked"
NOT_WORK = r"(?i)(^|[^a-z])(session|sess|cache|cached|lock|mutex|token|csrf|ratelimit|throttle)s?([^a-z]|$)"

_WORK_NAME = re.compile(r"(?i)(?<![a-z])(job|task|celery)s?(?![a-z])")
_HAS_UUID = re.compile(UUID)
_SAMPLE = 40
_MAX_SHAPES = 2_000
_MAX_FIELDS = 1_000
_MAX_RECORD = 2**20


class _Shape(NamedTuple):
    """Keys of one type whose names differ only in the ID, and in numbers and UUIDs before and after it.

    Of all snapshots, so that a key is told the same in all of them.
    """

    type: str
    before: str
    after: str


@dataclass
class _Members:
    """Keys of one shape: where each stands in ``keys``, the ID in its name, its place, whether it is small enough for a
    record.
    """

    positions: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    places: list[tuple[str, int]] = field(default_factory=list)
    small: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.positions)

    def record(self, number: int, value_of: ValueOf) -> JobRecord | None:
        if not self.small[number]:
            return None
        try:
            return job_record(value_of(*self.places[number]))
        except ValueError:
            return None

    def task(self, number: int, name: str, value_of: ValueOf) -> str:
        """The task of one of them: what its field ``name`` holds, else the ID in the key."""
        record = self.record(number, value_of)
        return (record.task_id(name) if record else None) or self.ids[number]


def discovered_jobs(keys: pd.DataFrame, value_of: ValueOf, known: Set[str]) -> dict[int, str]:
    """Position in ``keys`` → task ID, for the keys that are taken for job records. The rule:

    - Only hashes and strings whose name holds a UUID (dashed, or 32 hex digits; the last, where it holds several), or,
      behind a ``:``, ``/`` or ``|``, a ``known`` task ID of six characters or more. Never those whose name speaks of a
      session, cache, lock or token, nor names of Celery's own that are not what they say.
    - Keys that differ only in that ID, in numbers and in other UUIDs are judged together, of all databases and
      snapshots, on up to 40 of them. At least half of these must look like a record: a hash, or a JSON object, with a
      status or state that is a word of a job's life (queued, running, completed, …). Where some of the IDs in the names
      are known, those keys are judged for all, and any text will do as their state.
    - And they must have to do with tasks: an ID of the sample, in the name or in a field, is a known one; or the name
      says job or task; or half of them have a field that only work has (task, task_name, celery_id, worker,
      enqueued_at, …). So neither orders, payments nor users become jobs because they have a status and a time of
      creation.
    - Where the ID in the names is no known task but a field holds known ones, or has a name such as celery_id and holds
      another UUID, the task's ID is that field's.
    - Beside accepted keys, those named alike with an ID of another form are taken where they look like a record
      themselves.
    """
    found: dict[int, str] = {}
    shapes = _shapes(keys, known)
    for shape, members in sorted(shapes.items(), key=lambda item: -len(item[1]))[:_MAX_SHAPES]:
        of_known = [number for number, task_id in enumerate(members.ids) if task_id in known]
        judged = of_known or range(len(members))
        step = max(1, len(judged) // _SAMPLE)
        sample = [(members.ids[number], members.record(number, value_of)) for number in judged[::step][:_SAMPLE]]
        alike = [
            (task_id, record) for task_id, record in sample if record and _is_job(record, any_state=bool(of_known))
        ]
        if 2 * len(alike) < len(sample):
            continue
        name = _task_field(alike, known)
        if not (name or _is_work(shape, alike, known)):
            continue
        tasks = [members.task(number, name, value_of) for number in range(len(members))] if name else members.ids
        found.update(zip(members.positions, tasks, strict=True))
        others = _others(keys, shape, found)
        for number, position in enumerate(others.positions):
            if (record := others.record(number, value_of)) and _is_job(record):
                found[position] = others.task(number, name, value_of) if name else others.ids[number]
    return found


def _shapes(keys: pd.DataFrame, known: Set[str]) -> dict[_Shape, _Members]:
    """Candidates by UUID in the name, else by a known ID at its end."""
    shapes: dict[_Shape, _Members] = {}
    names = pa.array(keys["key"], pa.large_string())
    barred = pc.or_(pc.match_substring_regex(names, NOT_WORK), pc.match_substring_regex(names, CELERYS_OWN))
    usable = keys["type"].isin(("hash", "string")).to_numpy() & ~_booleans(barred)
    remaining = pa.array(usable.nonzero()[0])
    patterns = [rf"(?s)^(?P<before>(?:.*[^0-9a-fA-F])?)(?P<id>{UUID})(?P<after>(?:[^0-9a-fA-F].*)?)$"]
    if known:
        patterns += [r"(?s)^(?P<before>.*[:/|])(?P<id>[^:/|]{6,})$", r"(?s)^(?P<before>[^:/|]*[:/|])(?P<id>.{6,})$"]
    for number, pattern in enumerate(patterns):
        if not len(remaining):
            break
        parts = pc.extract_regex(names.take(remaining), pattern)
        matched = parts.is_valid()
        if number:
            matched = pc.and_(matched, pc.is_in(pc.struct_field(parts, "id"), pa.array(list(known), pa.large_string())))
        positions = remaining.filter(matched).to_numpy()
        chosen = parts.filter(matched)
        around = {
            name: pc.replace_substring_regex(pc.struct_field(chosen, name), VARIABLE, "0").dictionary_encode()
            for name in ("before", "after") if name == "before" or not number
        }  # fmt: skip
        around.setdefault("after", pa.array([""] * len(positions), pa.large_string()).dictionary_encode())
        ids = pc.struct_field(chosen, "id").to_pylist()
        words = pd.DataFrame({name: column.to_pandas() for name, column in around.items()})
        words["type"] = keys["type"].take(positions).to_numpy(dtype=object)
        groups = words.groupby(["type", "before", "after"], observed=True, sort=False).indices
        for shape, rows_of in groups.items():
            _place(shapes.setdefault(_Shape(*map(str, shape)), _Members()), keys, positions[rows_of])
            shapes[_Shape(*map(str, shape))].ids += [ids[row] for row in rows_of.tolist()]
        remaining = remaining.filter(pc.invert(matched))
    return shapes


def _place(members: _Members, keys: pd.DataFrame, positions: NDArray[np.int64]) -> None:
    """Add the keys at ``positions``, but for their IDs."""
    chosen = keys.take(positions)
    large = (chosen["bytes"] > _MAX_RECORD) | ((chosen["type"] == "hash") & (chosen["length"] > _MAX_FIELDS))
    members.positions += positions.tolist()
    members.places += rows(chosen, "snapshot", "offset")
    members.small += (~large.fillna(False)).to_numpy(dtype=bool).tolist()


def _others(keys: pd.DataFrame, shape: _Shape, found: dict[int, str]) -> _Members:
    """Keys of an accepted shape whose ID is neither a UUID nor known: their results may be what vanished."""
    others = _Members()
    if not shape.before or "0" in shape.before + shape.after:
        return others
    names = pa.array(keys["key"], pa.large_string())
    named = _booleans(pc.and_(pc.starts_with(names, shape.before), pc.ends_with(names, shape.after)))
    alike = named & (keys["type"] == shape.type).to_numpy(dtype=bool)
    chosen = []
    for position in alike.nonzero()[0].tolist():
        if position in found:
            continue
        name = names[position].as_py()
        task_id = name[len(shape.before) : len(name) - len(shape.after)]
        if task_id and not _HAS_UUID.search(task_id):
            chosen.append(position)
            others.ids.append(task_id)
    _place(others, keys, np.array(chosen, np.int64))
    return others


def _booleans(array: Any) -> Any:
    return array.to_numpy(zero_copy_only=False)


def _is_job(record: JobRecord, *, any_state: bool = False) -> bool:
    status = (record.status or "").strip().lower()
    return status in STATES or (any_state and bool(status))


def _is_work(shape: _Shape, sample: list[tuple[str, JobRecord]], known: Set[str]) -> bool:
    if any(task_id in known for task_id, _ in sample) or _WORK_NAME.search(f"{shape.before} {shape.after}"):
        return True
    return 2 * sum(not WORK_FIELDS.isdisjoint(record.fields) for _, record in sample) >= len(sample)


def _task_field(sample: list[tuple[str, JobRecord]], known: Set[str]) -> str | None:
    """The field that holds the task's ID, where the ID in the name is another one."""
    if any(task_id in known for task_id, _ in sample):
        return None
    holders: dict[str, int] = {}
    for _, record in sample:
        for name, value in record.fields.items():
            if isinstance(value, str) and value in known:
                holders[name] = holders.get(name, 0) + 1
    if holders:
        return max(holders, key=lambda name: holders[name])
    for name in TASK_FIELDS:
        values = [(task_id, record.task_id(name)) for task_id, record in sample]
        if any(value and value != task_id and _HAS_UUID.fullmatch(value) for task_id, value in values):
            return name
    return None
