"""The application's own records of tasks: hashes, or strings that hold a JSON object; and RQ's job hashes.

In: the `keys` frame with families, and values. Out: the `jobs` frame. Which keys are records is told in ``families``.
RQ's pickled, compressed fields are never opened.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.celery.decode import (
    ValueOf,
    id_in,
    instant_or_epoch,
    load_json,
    printable,
    text_in,
    times,
)
from analysis.celery.routing import rows
from analysis.frames import frame

STATUS_FIELDS = ("status", "state", "job_status", "task_status", "job_state")
CREATED_FIELDS = (
    "created_at",
    "created",
    "createdat",
    "date_created",
    "created_on",
    "submitted_at",
    "submittedat",
    "submitted",
    "enqueued_at",
    "enqueuedat",
    "queued_at",
    "requested_at",
)
"""In this order: the earlier in the life of a record, the better. Compared in lower case."""


@dataclass(frozen=True)
class JobsSettings:
    """``[jobs]`` of case.toml: ``key`` is a template such as ``job:{id}``; ``task_field`` the field that holds the task
    ID where ``{id}`` is another; ``expires`` the stated retention in seconds (0 = kept until purged). None = not
    stated.
    """

    key: str | None = None
    task_field: str | None = None
    expires: int | None = None

    @property
    def around(self) -> tuple[str, str] | None:
        """Text before and after ``{id}`` in the key; None where no usable template is stated."""
        if not self.key or self.key.count("{id}") != 1:
            return None
        before, _, after = self.key.partition("{id}")
        return before, after


@dataclass(frozen=True)
class JobRecord:
    """One record: its ``fields`` by name in lower case, as text or JSON data; the first of names that differ only in
    case.
    """

    fields: dict[str, Any]
    problem: str | None = None

    @property
    def status(self) -> str | None:
        for name in STATUS_FIELDS:
            if name in self.fields:
                return text_in(self.fields[name], 128)
        return None

    @property
    def created_at(self) -> int | None:
        """Microseconds since 1970, UTC, from the first field of creation that holds a time; without an offset it is
        UTC.
        """
        for name in CREATED_FIELDS:
            if name in self.fields and (found := instant_or_epoch(self.fields[name])) is not None:
                return found
        return None

    def task_id(self, field: str) -> str | None:
        return id_in(self.fields.get(field.lower()))


def job_record(value: Any, only: Set[str] | None = None) -> JobRecord:
    """A record from a hash (fields and values as bytes) or from a string that holds a JSON object; else with
    ``problem``. ``only``: the names of fields to keep, in lower case, where others are of no matter; one of the others
    stands for them all.
    """
    if isinstance(value, bytes):
        data, problem = load_json(value)
        if not isinstance(data, dict):
            return JobRecord({}, problem or "JSON, but not an object")
        fields: dict[str, Any] = {}
        for name, content in data.items():
            fields.setdefault(name.lower(), content)
        return JobRecord(fields, problem)
    if not isinstance(value, list) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return JobRecord({}, "neither a hash nor a string")
    fields, other = {}, None
    for octets, content in value:
        if not isinstance(content, bytes):
            continue
        name = printable(octets).lower()
        if only is None or name in only:
            fields.setdefault(name, printable(content))
        else:
            other = other or (name, content)
    if other and not fields:
        fields[other[0]] = printable(other[1])
    return JobRecord(fields)


def jobs_frame(keys: pd.DataFrame, value_of: ValueOf, settings: JobsSettings | None = None) -> pd.DataFrame:
    """The `jobs` frame: a row for each key of family job or rq_job.

    ``status`` is the field status (or state, job_status, …) as found; ``created_at`` the field created_at (or created,
    submitted_at, enqueued_at, …), ISO or epoch. ``task_id`` is the key's, or what ``settings.task_field`` holds. A
    value that cannot be read, or that holds no record, costs its row everything but the key's own columns, and says so
    in ``problem``.
    """
    records = keys[keys["family"].isin(("job", "rq_job"))]
    field = settings.task_field if settings else None
    told = {*STATUS_FIELDS, *CREATED_FIELDS, *([field.lower()] if field else [])}
    status: list[str | None] = []
    created: list[int | None] = []
    problems: list[str | None] = []
    ids: list[str | None] = []
    for snapshot, offset, task_id, family in rows(records, "snapshot", "offset", "task_id", "family"):
        try:
            record = job_record(value_of(snapshot, offset), told)
        except ValueError as error:
            record = JobRecord({}, str(error))
        status.append(record.status)
        created.append(record.created_at)
        ids.append((record.task_id(field) if field and family == "job" else None) or task_id)
        problems.append(record.problem or (None if record.fields else "an empty record"))
    same = ("server", "snapshot", "db", "key", "expires_at", "expired", "offset")
    return frame(
        "jobs",
        {
            **{name: records[name] for name in same},
            "task_id": ids,
            "status": status,
            "created_at": times(created),
            "size": records["bytes"],
            "problem": problems,
        },
    )
