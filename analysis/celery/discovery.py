"""Which keys outside Celery's own families are the application's records of tasks, where case.toml does not say.

In: keys that no other family claims, the task IDs that are known, and values. Out: for each such key the task it is
about. Does not know what becomes of the records. ``discovered_jobs`` states the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

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


class _Member(NamedTuple):
    position: int
    task_id: str
    snapshot: str
    offset: int
    small: bool

    def record(self, value_of: ValueOf) -> JobRecord | None:
        if not self.small:
            return None
        try:
            return job_record(value_of(self.snapshot, self.offset))
        except ValueError:
            return None


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
        of_known = [member for member in members if member.task_id in known]
        judged = of_known or members
        step = max(1, len(judged) // _SAMPLE)
        sample = [(member.task_id, member.record(value_of)) for member in judged[::step][:_SAMPLE]]
        alike = [
            (task_id, record) for task_id, record in sample if record and _is_job(record, any_state=bool(of_known))
        ]
        if 2 * len(alike) < len(sample):
            continue
        field = _task_field(alike, known)
        if not (field or _is_work(shape, alike, known)):
            continue
        for member in members:
            found[member.position] = _task_of(member, field, value_of)
        for member in _others(keys, shape, found):
            if (record := member.record(value_of)) and _is_job(record):
                found[member.position] = _task_of(member, field, value_of)
    return found


def _shapes(keys: pd.DataFrame, known: Set[str]) -> dict[_Shape, list[_Member]]:
    """Candidates by UUID in the name, else by a known ID at its end."""
    shapes: dict[_Shape, list[_Member]] = {}
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
        before = pc.replace_substring_regex(pc.struct_field(chosen, "before"), VARIABLE, "0").to_pylist()
        after = [""] * len(before)
        if not number:
            after = pc.replace_substring_regex(pc.struct_field(chosen, "after"), VARIABLE, "0").to_pylist()
        ids = pc.struct_field(chosen, "id").to_pylist()
        for row, start, task_id, end in zip(_placed(keys, positions), before, ids, after, strict=True):
            position, kind, snapshot, offset, small = row
            member = _Member(position, task_id, snapshot, offset, small)
            shapes.setdefault(_Shape(kind, start, end), []).append(member)
        remaining = remaining.filter(pc.invert(matched))
    return shapes


def _placed(keys: pd.DataFrame, positions: Any) -> Iterator[tuple[Any, ...]]:
    """(position, type, snapshot, offset, small enough for a record) of the keys at ``positions``."""
    chosen = keys.take(positions)
    large = (chosen["bytes"] > _MAX_RECORD) | ((chosen["type"] == "hash") & (chosen["length"] > _MAX_FIELDS))
    small = ~large.fillna(False).to_numpy(dtype=bool)
    places = rows(chosen, "type", "snapshot", "offset")
    return ((at, *place, fits) for at, place, fits in zip(positions.tolist(), places, small.tolist(), strict=True))


def _others(keys: pd.DataFrame, shape: _Shape, found: dict[int, str]) -> Iterator[_Member]:
    """Keys of an accepted shape whose ID is neither a UUID nor known: their results may be what vanished."""
    if not shape.before or "0" in shape.before + shape.after:
        return
    names = pa.array(keys["key"], pa.large_string())
    named = _booleans(pc.and_(pc.starts_with(names, shape.before), pc.ends_with(names, shape.after)))
    alike = named & (keys["type"] == shape.type).to_numpy(dtype=bool)
    for position, _, snapshot, offset, small in _placed(keys, alike.nonzero()[0]):
        name = names[position].as_py()
        task_id = name[len(shape.before) : len(name) - len(shape.after)]
        if position not in found and task_id and not _HAS_UUID.search(task_id):
            yield _Member(position, task_id, snapshot, offset, small)


def _booleans(array: Any) -> Any:
    return array.to_numpy(zero_copy_only=False)


def _task_of(member: _Member, field: str | None, value_of: ValueOf) -> str:
    record = member.record(value_of) if field else None
    return (record.task_id(field) if record and field else None) or member.task_id


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
