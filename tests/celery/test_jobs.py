"""Records of tasks that the application keeps: where case.toml states them, and where they have to be found."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pandas as pd
import pytest

from analysis.celery.families import name_families
from analysis.celery.jobs import JobsSettings, jobs_frame
from tests.celery.conftest import keys_of
from tests.celery.test_messages import HEADERS, raw

NOTHING = JobsSettings()


def ids(count: int, start: int = 0) -> list[str]:
    return [str(uuid.UUID(int=(start + number) << 64)) for number in range(1, count + 1)]


def record(**fields: str) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in fields.items()]


def done(task_id: str) -> dict[str, Any]:
    return {f"celery-task-meta-{task_id}": b'{"status": "SUCCESS", "result": 1}'}


def jobs_of(values: dict[Any, Any], settings: JobsSettings | None = None, **columns: Any) -> pd.DataFrame:
    keys, value_of = keys_of(values, **columns)
    return jobs_frame(name_families(keys, value_of, settings), value_of, settings)


def found(values: dict[Any, Any], settings: JobsSettings | None = None) -> dict[str, str]:
    """key → task ID of the jobs."""
    frame = jobs_of(values, settings)
    return dict(zip(frame["key"], frame["task_id"], strict=True))


# ---- stated


def test_stated_template_takes_hashes_and_strings_of_any_id_and_nothing_else() -> None:
    values = {
        "job:1": record(status="done"),
        "job:☃ 2": b'{"status": "queued"}',
        "job:": record(status="done"),
        "xjob:3": record(status="done"),
        "job:list": [b"a"],
        "job:next": b"17",
        (3, "job:4"): record(a="b"),
    }
    assert found(values, JobsSettings(key="job:{id}")) == {"job:1": "1", "job:☃ 2": "☃ 2", "job:4": "4"}
    around = {"v1.(jobs)[1].meta": record(status="x"), "v1x(jobs)[1]xmeta": record(status="x")}
    assert found(around, JobsSettings(key="v1.(jobs)[{id}].meta")) == {"v1.(jobs)[1].meta": "1"}


def test_what_hangs_on_a_stated_record_is_no_record() -> None:
    (task,) = ids(1)
    values = {
        f"job:{task}": record(status="x"),
        f"job:{task}:log": b"text",
        "job:7": record(a="b"),
        "job:7:args": b"{}",
    }
    assert set(found(values, JobsSettings(key="job:{id}"))) == {f"job:{task}", "job:7"}


def test_stated_field_holds_the_task() -> None:
    values = {"job:17": record(status="done", Celery_ID="t-1"), "job:18": record(status="new"), "job:19": b"no json"}
    settings = JobsSettings(key="job:{id}", task_field="celery_id")
    assert found(values, settings) == {"job:17": "t-1", "job:18": "18", "job:19": "19"}


def test_stated_template_switches_the_search_off_and_leaves_celery_its_keys() -> None:
    (task,) = ids(1)
    values = done(task) | {f"task:{task}": record(status="done"), "celery-task-meta-{x": b'{"status": "SUCCESS"}'}
    assert found(values, JobsSettings(key="celery-task-{id}")) == {}
    assert found(values, JobsSettings(key="job:{id}")) == {}
    assert found(values, JobsSettings(expires=5)) == {f"task:{task}": task}


# ---- found


def test_record_of_a_known_task_is_found_whatever_its_name() -> None:
    known, other = ids(2)
    values = done(known) | {
        f"render/{known}/state": record(state="running"),
        f"render/{other}/state": record(state="ok"),
    }
    assert found(values) == {f"render/{known}/state": known, f"render/{other}/state": other}


def test_states_in_the_applications_own_words_do_where_the_names_hold_known_tasks() -> None:
    tasks = ids(100)
    values: dict[Any, Any] = {f"film:{task}": record(state="colour grading") for task in tasks}
    assert len(found(values | done(tasks[61]))) == 100 and found(values) == {}


def test_records_of_many_owners_are_one_kind() -> None:
    tasks, owners = ids(60), ids(60, start=500)
    values: dict[Any, Any] = {
        f"user:{owner}:2025-07-{number:02}:job:{task}": record(status="done")
        for number, (owner, task) in enumerate(zip(owners, tasks, strict=True))
    }
    assert sorted(found(values).values()) == sorted(tasks)


def test_digest_in_a_name_is_no_task() -> None:
    values: dict[Any, Any] = {f"job:{task.replace('-', '') * 2}": record(status="done") for task in ids(3)}
    assert found(values) == {}


def test_record_of_a_waiting_message_is_found_alone() -> None:
    (task,) = ids(1)
    values = {(1, "celery"): [raw(HEADERS | {"id": task})], (0, f"thing:{task}"): record(status="queued")}
    assert found(values) == {f"thing:{task}": task}


def test_records_whose_results_are_all_gone_are_found_by_what_they_say() -> None:
    records: dict[Any, Any] = {f"job:{task}": record(status="completed", created_at="2025-07-24") for task in ids(3)}
    assert len(found(records)) == 3
    by_fields: dict[Any, Any] = {f"export:{task}": record(state="failed", worker="w1") for task in ids(3)}
    assert len(found(by_fields)) == 3


def test_json_records_are_found_too() -> None:
    values: dict[Any, Any] = {f"job:{task}": b'{"Status": "QUEUED", "createdAt": 1753315200000}' for task in ids(3)}
    frame = jobs_of(values)
    assert frame["status"].tolist() == ["QUEUED"] * 3
    assert set(frame["created_at"]) == {pd.Timestamp("2025-07-24T00:00Z")}


def test_task_id_is_taken_from_the_field_that_holds_known_ones() -> None:
    tasks, own = ids(3), ids(3, start=100)
    pairs = list(zip(own, tasks, strict=True))
    values: dict[Any, Any] = {f"upload:{key}": record(status="done", handle=task) for key, task in pairs}
    assert found(values | done(tasks[1])) == {f"upload:{key}": task for key, task in pairs}


def test_task_id_is_taken_from_a_field_named_for_it_when_all_results_are_gone() -> None:
    tasks, own = ids(3), ids(3, start=100)
    values: dict[Any, Any] = {
        f"upload:{key}": record(status="done", celery_id=task) for key, task in zip(own, tasks, strict=True)
    }
    assert sorted(found(values).values()) == sorted(tasks)


def test_custom_ids_are_found_by_the_known_ones_and_bring_their_like() -> None:
    values = done("order-17-blue") | {
        "job:order-17-blue": record(status="done"),
        "job:order-18-red": record(status="done"),
        "job:index": record(order="x"),
    }
    assert found(values) == {"job:order-17-blue": "order-17-blue", "job:order-18-red": "order-18-red"}


def test_record_is_told_the_same_in_every_snapshot() -> None:
    tasks = ids(4)
    values: dict[Any, Any] = {f"upload:{task}": record(status="done") for task in tasks}
    before, value_of = keys_of(values | done(tasks[0]))
    after = before[before["key"] == f"upload:{tasks[3]}"].assign(snapshot="later.rdb")

    def of_both(snapshot: str, offset: int) -> Any:
        return value_of("dump.rdb", offset)

    named = name_families(pd.concat([before, after], ignore_index=True), of_both)
    assert named.loc[named["snapshot"] == "later.rdb", "family"].tolist() == ["job"]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("session:{}", {"status": "completed", "task": "x"}),
        ("view-cache:{}", {"status": "done", "task": "x"}),
        ("user:{}", {"state": "created", "created_at": "2025-07-24"}),
        ("order:{}", {"status": "pending", "created_at": "2025-07-24", "total": "3"}),
        ("job:{}", {"title": "Welder", "city": "Porto"}),
        ("house:{}", {"state": "Ohio", "worker": "w"}),
        ("profile:{}", {"name": "x"}),
    ],
)
def test_sessions_caches_and_business_objects_are_no_jobs(name: str, fields: dict[str, str]) -> None:
    tasks = ids(5)
    values: dict[Any, Any] = {name.format(task): record(**fields) for task in tasks}
    assert found(values) == {}
    as_json: dict[Any, Any] = {name.format(task): json.dumps(fields).encode() for task in tasks}
    assert found(as_json) == {}


def test_session_of_a_known_task_is_no_job() -> None:
    (task,) = ids(1)
    assert found(done(task) | {f"session:{task}": record(status="running")}) == {}
    assert found(done("1") | {"user:1": record(status="running")}) == {}


def test_few_likenesses_among_many_do_not_make_a_kind() -> None:
    values: dict[Any, Any] = {f"job:{task}": record(title="Welder") for task in ids(30)}
    assert found(values | {f"job:{task}": record(status="running") for task in ids(5)}) == {}


def test_large_values_are_not_opened_to_look_for_records() -> None:
    keys, _ = keys_of({f"job:{task}": b"" for task in ids(3)}, bytes=2 << 20)

    def value_of(snapshot: str, offset: int) -> Any:
        raise AssertionError("a large value was read")

    assert set(name_families(keys, value_of)["family"]) == {"other"}


# ---- the frame


def test_rq_job_is_a_record_and_its_pickle_stays_shut() -> None:
    fields = [*record(status="finished", created_at="2026-11-23T12:00:00.000000Z"), (b"data", b"x\x9c\x80\x04.")]
    row = jobs_of({"rq:job:abc": fields}, expires_at=pd.Timestamp("2026-11-24T00:00Z")).iloc[0]
    assert (row["task_id"], row["status"]) == ("abc", "finished") and pd.isna(row["problem"])
    assert row["created_at"] == pd.Timestamp("2026-11-23T12:00Z") and row["expires_at"] == pd.Timestamp(
        "2026-11-24T00:00Z"
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2025-07-24T02:00:00+02:00", "2025-07-24T00:00Z"),
        ("2025-07-24 00:00:00", "2025-07-24T00:00Z"),
        ("1753315200", "2025-07-24T00:00Z"),
        ("1753315200.5", "2025-07-24T00:00:00.5Z"),
        ("1753315200000", "2025-07-24T00:00Z"),
        ("1753315200000000", "2025-07-24T00:00Z"),
        ("20250724", "2025-07-24T00:00Z"),
        ("17", None),
        ("nan", None),
        ("1e999", None),
        ("soon", None),
        ("9" * 5000, None),
    ],
)
def test_creation_time_in_every_form(written: str, expected: str | None) -> None:
    row = jobs_of({"job:1": record(status="x", created_at=written)}, JobsSettings(key="job:{id}")).iloc[0]
    assert (None if pd.isna(row["created_at"]) else row["created_at"]) == (expected and pd.Timestamp(expected))
    number = json.dumps({"created": float(written)}) if written.isdigit() and len(written) < 20 else None
    if number and len(written) != 8:
        again = jobs_of({"job:1": number.encode()}, JobsSettings(key="job:{id}")).iloc[0]
        assert again["created_at"] is row["created_at"] or again["created_at"] == row["created_at"]


def test_later_field_of_creation_serves_where_the_earlier_holds_no_time() -> None:
    fields = record(created_at="", enqueued_at="2025-07-24T00:00:00Z")
    assert jobs_of({"job:1": fields}, JobsSettings(key="job:{id}"))["created_at"][0] == pd.Timestamp(
        "2025-07-24T00:00Z"
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"no json", "not JSON: expecting value at character 0"),
        (b"[1]", "JSON, but not an object"),
        (b"{}", "an empty record"),
        (b"{" * 100_000, "not JSON: expecting property name enclosed in double quotes at character 1"),
        (b'{"a":' * 100_000, "JSON nested too deeply: not decoded"),
        (ValueError("cut at byte 7"), "cut at byte 7"),
    ],
)
def test_record_that_cannot_be_read_costs_one_row(value: Any, problem: str) -> None:
    frame = jobs_of({"job:1": value, "job:2": record(status="done")}, JobsSettings(key="job:{id}"))
    assert frame["problem"].fillna("").tolist() == [problem, ""] and frame["status"].fillna("").tolist() == ["", "done"]


def test_texts_of_records_can_always_be_written_as_utf8() -> None:
    fields = [(b"status", b"\xff\xfe\x00<script>"), (b"\xff", b"x" * 2_000_000)]
    frame = jobs_of({"job:1": fields, "job:2": b'{"status": "\\ud800"}'}, JobsSettings(key="job:{id}"))
    assert frame["status"].tolist() == ["\\xff\\xfe\x00<script>", "\ufffd"]
    odd = jobs_of(
        {"job:1": b'{"status": ["x"], "created_at": {"a": 1}, "created": true}'}, JobsSettings(key="job:{id}")
    )
    assert odd["status"].isna().all() and odd["created_at"].isna().all()
