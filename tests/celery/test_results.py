"""Task metadata of every Celery since 4, in every serializer, and what is none."""

from __future__ import annotations

import bz2
import json
import lzma
import pickle
import time
import tracemalloc
import zlib
from typing import Any

import pandas as pd
import pytest
import yaml

from analysis.celery.families import name_families
from analysis.celery.results import body_of, called_ids, tasks_frame
from analysis.celery.serializers import COMPRESSED, pickle_names
from tests.celery.conftest import keys_of

ID = "c93afef4-105f-425c-af86-9ced40d30ee0"
META: dict[str, Any] = {
    "status": "SUCCESS",
    "result": {"n": 1},
    "traceback": None,
    "children": [],
    "date_done": "2025-07-24T00:34:56.123456+00:00",
    "task_id": ID,
}
DONE = pd.Timestamp("2025-07-24T00:34:56.123456Z")


class Bomb:
    """Tells if it was ever unpickled."""

    went_off = False

    def __reduce__(self) -> Any:
        return exec, ("import tests.celery.test_results as t; t.Bomb.went_off = True",)


def task(value: Any, key: str = f"celery-task-meta-{ID}", **columns: Any) -> pd.Series:
    """The one row that a stored value makes."""
    stored = value if isinstance(value, (bytes, Exception)) else json.dumps(value).encode()
    keys, value_of = keys_of({key: stored}, **columns)
    tasks = tasks_frame(name_families(keys, value_of), value_of)
    assert len(tasks) == 1
    return tasks.iloc[0]


def test_plain_metadata() -> None:
    row = task(META, expires_at=pd.Timestamp("2025-07-25T00:34:56Z"))
    assert (row["task_id"], row["kind"], row["status"], row["serializer"]) == (ID, "task", "SUCCESS", "json")
    assert row["date_done"] == row["stored_at"] == DONE and row["stored_from"] == "date_done"
    assert row["expires_at"] == pd.Timestamp("2025-07-25T00:34:56Z") and row["expired"] is False or not row["expired"]
    assert row["size"] == len(json.dumps(META)) and pd.isna(row["problem"]) and pd.isna(row["retries"])


@pytest.mark.parametrize(
    "written",
    [
        "2025-07-24T00:34:56.123456",  # Celery up to 5.3: naive, UTC
        "2025-07-24T00:34:56.123456+00:00",  # 5.4
        "2025-07-23T20:34:56.123456-04:00",  # 5.5 and later: the app's own zone
        "2025-07-24T00:34:56.123456Z",  # kombu 4
        "2025-07-24 00:34:56.123456",
        {"__type__": "datetime", "__value__": "2025-07-24T00:34:56.123456+00:00"},  # kombu 5.3 and later
    ],
)
def test_date_done_of_every_version_is_the_same_instant(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        done = task(META | {"date_done": written})["date_done"]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert done == DONE


def test_unfinished_task_has_no_time() -> None:
    row = task(META | {"status": "STARTED", "date_done": None, "result": {"pid": 12, "hostname": "celery@w"}})
    assert row["status"] == "STARTED" and pd.isna(row["date_done"])
    assert pd.isna(row["stored_at"]) and pd.isna(row["stored_from"]) and pd.isna(row["problem"])


def test_extended_fields_and_stamps() -> None:
    extended = {"name": "shop.add", "args": [1], "kwargs": {"b": 2}, "worker": "celery@w", "retries": 2, "queue": "gpu"}
    stamped = {"stamped_headers": ["tenant"], "tenant": "acme", "parent_id": "p", "group_id": "g", "extra": 1}
    row = task(META | extended | stamped)
    assert (row["name"], row["worker"], row["queue"], row["retries"]) == ("shop.add", "celery@w", "gpu", 2)
    assert (row["parent_id"], row["group_id"]) == ("p", "g")
    body = body_of(json.dumps(META | extended | stamped).encode())
    assert (body.args, body.kwargs, body.stamps, body.meta["extra"]) == ([1], {"b": 2}, {"tenant": "acme"}, 1)
    assert body.date_done == DONE and body.status == "SUCCESS" and body.problem is None


def test_children_are_all_ids_called_and_no_parents() -> None:
    chain = [["b", [["a", None], None]], None]
    group = [["g", None], [[["p1", None], None], [["p2", None], [[["deep", None], None]]]]]
    assert task(META | {"children": [chain, group]})["children"] == ["b", "g", "p1", "p2", "deep"]
    assert called_ids([["old", None], [["x", None], None]]) == ["old", "x"]
    assert task(META | {"children": [[{"a": 1}, 5], "x", None, [[], []]]})["children"] is None


def test_children_nested_as_deep_as_json_goes_are_no_trouble() -> None:
    tree: Any = None
    for number in range(150):
        tree = [[f"c{number}", None], [tree] if tree else None]
    assert len(task(META | {"children": [tree]})["children"]) == 150


def test_saved_group() -> None:
    stored = {"result": [[["g", [["caller", None], None]], [[["a", None], None], [["b", None], None]]]][0]}
    row = task(stored, "celery-taskset-meta-g")
    assert (row["kind"], row["task_id"], row["children"], row["parent_id"]) == ("group", "g", ["a", "b"], "caller")
    assert pd.isna(row["status"]) and pd.isna(row["problem"])
    assert body_of(json.dumps(stored).encode()).child_ids == ("a", "b")
    assert task(b"[]", "celery-taskset-meta-00000000")["problem"] == "JSON, but not a saved group"


def test_infinity_and_nan_are_read_as_celery_reads_them() -> None:
    raw = b'{"status": "SUCCESS", "result": [NaN, Infinity, -Infinity, 1e999], "task_id": "x"}'
    assert task(raw, "celery-task-meta-x")["status"] == "SUCCESS"
    assert body_of(raw).result[1:] == [float("inf"), float("-inf"), float("inf")]


def test_last_of_a_doubled_key_counts() -> None:
    assert task(b'{"status": "PENDING", "status": "SUCCESS"}')["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"status": ["SUCCESS"]}, "status is no text"),
        ({"status": None}, "no status"),
        ({"date_done": 1721781296.5}, "date_done is no time"),
        ({"date_done": "yesterday"}, "date_done is no time"),
        ({"retries": 2**70}, "retries is no count"),
        ({"retries": -1}, "retries is no count"),
        ({"worker": {"a": 1}}, "worker is no text"),
        ({"parent_id": [1]}, "parent_id is no ID"),
        ({"task_id": "another"}, "says it is of task another"),
    ],
)
def test_field_of_a_wrong_type_is_left_out_and_named(fields: dict[str, Any], complaint: str) -> None:
    row = task(META | fields)
    assert row["problem"] == complaint and row["serializer"] == "json"
    assert all(pd.isna(row[name]) for name in fields if name != "task_id")


def test_count_written_as_text_is_a_count() -> None:
    assert task(META | {"retries": "3"})["retries"] == 3


@pytest.mark.parametrize("raw", [b"null", b"5", b'"SUCCESS"', b"[1, 2]", b"true"])
def test_json_that_is_no_object_is_a_problem(raw: bytes) -> None:
    row = task(raw)
    assert row["problem"] == "JSON, but not an object" and row["serializer"] == "json" and pd.isna(row["status"])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_named_and_never_loaded(protocol: int) -> None:
    row = task(pickle.dumps(META | {"result": Bomb()}, protocol))
    assert row["serializer"] == "pickle" and "builtins.exec" in row["problem"].replace("__builtin__", "builtins")
    assert body_of(pickle.dumps(Bomb(), protocol)).serializer == "pickle"
    assert not Bomb.went_off and pd.isna(row["status"])


@pytest.mark.parametrize(
    "raw", [b"", b".", b"\x80\x04", b"\x80\x09.", b"cos\nsystem\n", b"N", b"(dp0\nS'a", b"I9" * 9000 + b"."]
)
def test_bytes_that_only_begin_like_a_pickle_are_none(raw: bytes) -> None:
    assert pickle_names(raw) is None
    assert task(raw)["serializer"] == "unknown"


def test_pickle_that_claims_more_than_it_has_takes_no_memory() -> None:
    assert pickle_names(b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f" + b"x.") is None


def test_yaml_and_msgpack_are_told_and_left_alone() -> None:
    assert task(yaml.safe_dump(META).encode())["serializer"] == "yaml"
    assert task(b"{status: SUCCESS, result: 1, task_id: x}\n")["serializer"] == "yaml"
    packed = (
        b"\x86\xa6status\xa7SUCCESS\xa6result\x01\xa9traceback\xc0\xa8children\x90\xa9date_done\xc0\xa7task_id\xa1x"
    )
    row = task(packed)
    assert row["serializer"] == "msgpack" and row["problem"] == "msgpack: not read" and row["size"] == len(packed)


@pytest.mark.parametrize(
    ("method", "compress"),
    [("application/x-gzip", zlib.compress), ("application/x-bz2", bz2.compress), ("application/x-lzma", lzma.compress)],
)
def test_compressed_result_is_read(method: str, compress: Any) -> None:
    raw = COMPRESSED + method.encode() + b"\0" + compress(json.dumps(META).encode())
    assert task(raw)["status"] == "SUCCESS" and body_of(raw).compression == method


def test_compressed_result_that_is_a_bomb_damaged_or_foreign_costs_one_row() -> None:
    def stored(method: bytes, body: bytes) -> bytes:
        return COMPRESSED + method + b"\0" + body

    explosive = stored(b"application/x-gzip", zlib.compress(bytes(256 << 20)))
    tracemalloc.start()
    bomb = task(explosive)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "larger than 64 MiB inside" in bomb["problem"] and peak < 200 << 20
    assert "damaged" in task(stored(b"application/x-gzip", b"nonsense"))["problem"]
    assert task(stored(b"application/zstd", b"(\xb5/\xfd"))["problem"] == "compressed with application/zstd: not read"
    assert "compressed with" in task(COMPRESSED + b"\xff" * 300)["problem"]


def test_value_over_the_limit_is_never_read() -> None:
    keys, _ = keys_of({f"celery-task-meta-{ID}": b""}, length=65 << 20)

    def value_of(snapshot: str, offset: int) -> Any:
        raise AssertionError("the value was read")

    named = keys.assign(family="result", task_id=ID)
    row = tasks_frame(named, value_of).iloc[0]
    assert row["problem"] == "larger than 64 MiB: not decoded" and row["size"] == 65 << 20


def test_nesting_beyond_python_costs_one_row() -> None:
    deep = b'{"status": "SUCCESS", "result": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    keys, value_of = keys_of(
        {"celery-task-meta-a": deep, "celery-task-meta-b": json.dumps(META | {"task_id": "b"}).encode()}
    )
    tasks = tasks_frame(name_families(keys, value_of), value_of).set_index("task_id")
    assert tasks.loc["a", "problem"] == "JSON nested too deeply: not decoded" and tasks.loc["b", "status"] == "SUCCESS"


def test_value_that_cannot_be_read_costs_one_row() -> None:
    row = task(ValueError("offset 12: cut"))
    assert (row["problem"], row["serializer"], row["task_id"]) == ("offset 12: cut", "unknown", ID)


def test_bytes_that_are_not_utf8_are_replaced_and_told() -> None:
    row = task(json.dumps(META).encode().replace(b'"n"', b'"\xff\xfe"'))
    assert row["status"] == "SUCCESS" and row["problem"].startswith("not UTF-8 at byte")


def test_json_cut_in_the_middle_is_a_problem_of_json() -> None:
    row = task(json.dumps(META).encode()[:60])
    assert row["serializer"] == "json" and row["problem"].startswith("not JSON")


def test_no_text_of_the_frame_defies_utf8_or_grows_without_bound() -> None:
    raw = json.dumps(META | {"status": "S" * 10**6, "worker": "w" * 10**6})[:-1].encode()
    row = task(raw + b', "name": "\\ud800<script>\\u202e\\u0000", "queue": "\\udfff"}')
    assert row["name"] == "\ufffd<script>\u202e\x00" and row["queue"] == "\ufffd"
    assert len(row["status"]) == 64 and len(row["worker"]) == 1024
    body = body_of(b'{"status": "SUCCESS", "result": {"\\ud800": ["\\udc00\\ud800"]}}')
    assert body.result == {"\ufffd": ["\ufffd\ufffd"]}


def test_no_results_make_an_empty_frame() -> None:
    keys, value_of = keys_of({})
    tasks = tasks_frame(name_families(keys, value_of), value_of)
    assert len(tasks) == 0 and str(tasks["date_done"].dtype) == "datetime64[us, UTC]"


def test_hundred_thousand_results_take_seconds() -> None:
    values = {
        f"celery-task-meta-{number:032x}": json.dumps(META | {"task_id": f"{number:032x}"}).encode()
        for number in range(100_000)
    }
    keys, value_of = keys_of(values)
    started = time.perf_counter()
    named = name_families(keys, value_of)
    naming = time.perf_counter()
    tasks = tasks_frame(named, value_of)
    ended = time.perf_counter()
    print(f"families {naming - started:.2f} s, tasks {ended - naming:.2f} s")
    assert len(tasks) == 100_000 and tasks["problem"].isna().all()
    # two to ten times what it takes on two slow cores
    assert naming - started < 5 and ended - naming < 12
