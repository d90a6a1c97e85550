"""Keys get the family that name, type and content show, whatever database and prefix; nothing else does."""

from __future__ import annotations

import json
import time
from typing import Any

import pandas as pd
import pytest

from analysis.celery.families import FAMILIES, name_families
from analysis.celery.jobs import JobsSettings
from analysis.celery.results import tasks_frame
from analysis.celery.serializers import COMPRESSED
from tests.celery.conftest import Stream, keys_of
from tests.celery.test_messages import encoded, message, raw

ID = "c93afef4-105f-425c-af86-9ced40d30ee0"
DONE = b'{"status": "SUCCESS", "result": 1}'
RESERVED = [(b"tag", json.dumps([message(), "", "celery"]).encode())]


def named(values: dict[Any, Any]) -> dict[str, tuple[str, str, str | None]]:
    """key → (family, prefix, task_id)."""
    keys, value_of = keys_of(values)
    filled = name_families(keys, value_of)
    assert set(filled["family"]) <= set(FAMILIES) and filled["prefix"].notna().all()
    ids = filled["task_id"].astype(object).where(filled["task_id"].notna(), None)
    return dict(zip(filled["key"], zip(filled["family"], filled["prefix"], ids, strict=True), strict=True))


def family(key: Any, value: Any, **others: Any) -> str:
    return named({key: value} | others)[key if isinstance(key, str) else key[1]][0]


@pytest.mark.parametrize("prefix", ["", "app1_", "team:", "ünï-", "a\nb.", "celery-task-met"])
@pytest.mark.parametrize("task_id", [ID, "order/17: blue", "1", "☃", "with\nnewline", "a.s", "celery-task-meta-x"])
def test_result_of_any_id_behind_any_prefix(prefix: str, task_id: str) -> None:
    key = f"{prefix}celery-task-meta-{task_id}"
    assert named({(7, key): DONE}) == {key: ("result", prefix, task_id)}


def test_result_key_that_is_not_utf8_keeps_its_escapes() -> None:
    keys, value_of = keys_of({b"celery-task-meta-\xff\xfe": DONE})
    assert name_families(keys, value_of)["task_id"].tolist() == ["\\xff\\xfe"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"celery-task-meta-{ID}", [(b"status", b"SUCCESS")]),
        (f"celery-task-meta-{ID}", [b"SUCCESS"]),
        ("celery-task-meta-", DONE),
        ("celery-taskset-meta-", DONE),
        ("unacked", [(b"user", b"7")]),
        ("unacked", b"7"),
        ("unacked_index", [(b"a", b"1")]),
        ("_kombu.binding.celery", b"x"),
        ("celery", [b"job one", b"job two"]),
        ("celery", [b'{"body": "x"}']),
        (ID, [b"1", b"2"]),
    ],
)
def test_name_with_the_wrong_type_or_content_is_not_believed(key: str, value: Any) -> None:
    assert family(key, value) == "other"


@pytest.mark.parametrize("value", [b"1", b"<html>results", b'{"page": 3}', b'["a"]'])
def test_what_others_keep_about_a_result_is_no_result(value: bytes) -> None:
    keys = {f"lock:celery-task-meta-{ID}": value, f"celery-task-meta-{ID}": DONE}
    found = named(keys)
    assert found[f"lock:celery-task-meta-{ID}"][0] == "other" and found[f"celery-task-meta-{ID}"][0] == "result"


@pytest.mark.parametrize("value", [b"\x80\x04N.", b"status: SUCCESS\n", COMPRESSED + b"x\0y", b'{"status": "SUCC'])
def test_prefixed_result_in_any_serializer_or_damaged_is_a_result(value: bytes) -> None:
    assert family(f"app_celery-task-meta-{ID}", value) == "result"


def test_chord_bookkeeping_belongs_to_its_group() -> None:
    group = f"celery-taskset-meta-{ID}"
    values = {
        group: b'{"result": [["g", null], []]}',
        group + ".j": [(b"[1]", 0.0)],
        group + ".t": b"0",
        group + ".s": b"12",
        group + ".d": {b"x:0"},
        group + ".c": b"0123456789abcdef0123456789abcdef",
        "app_celery-taskset-meta-z.j": [b"[1]"],
        "app_celery-taskset-meta-z.c": b"done",
        "app_chord-unlock-z": b"3",
        "celery-taskset-meta-mine.s": b'{"result": [["mine.s", null], []]}',
        "celery-taskset-meta-t.c": b'{"result": [["t.c", null], []]}',
    }
    found = named(values)
    assert found[group] == ("group_result", "", ID)
    assert {found[group + suffix] for suffix in (".j", ".t", ".s", ".d", ".c")} == {("chord", "", ID)}
    assert found["app_celery-taskset-meta-z.j"] == found["app_celery-taskset-meta-z.c"] == ("chord", "app_", "z")
    assert found["app_chord-unlock-z"] == ("chord", "app_", "z")
    assert found["celery-taskset-meta-mine.s"] == ("group_result", "", "mine.s")
    assert found["celery-taskset-meta-t.c"] == ("group_result", "", "t.c")


def test_brokers_of_two_prefixes_in_one_database_are_kept_apart() -> None:
    to_celery = raw()
    to_gpu = raw(properties={"delivery_info": {"exchange": "gpu", "routing_key": "gpu"}})
    values = {
        "_kombu.binding.celery": {b"celery\x06\x16\x06\x16celery"},
        "app1_kombu.binding.celery": {b"celery\x06\x16\x06\x16celery"},
        "app1_kombu.binding_permanent.gpu": {b"gpu\x06\x16\x06\x16gpu"},
        "app1_kombu.binding.gpu": {b"gpu\x06\x16\x06\x16gpu"},
        "app1_kombu.binding_deadlines": [(b"celery.pidbox", 1.0)],
        "celery": [to_celery],
        "celery\x06\x163": [to_celery],
        "app1celery": [to_celery],
        "app1gpu\x06\x169": [to_gpu],
        "unacked": RESERVED,
        "app1unacked": RESERVED,
        "app1unacked_index": [(b"tag", 5.0)],
        "app1unacked_mutex": b"token",
    }
    found = named(values)
    families = {key: value[0] for key, value in found.items()}
    assert {key for key, value in found.items() if value[1] == "app1"} == {
        key for key in values if key.startswith("app1")
    }
    assert families["celery\x06\x163"] == families["app1gpu\x06\x169"] == families["app1celery"] == "queue"
    assert families["app1_kombu.binding_deadlines"] == families["app1_kombu.binding_permanent.gpu"] == "binding"
    assert (families["unacked"], families["app1unacked_index"]) == ("unacked", "unacked_index")
    assert families["app1unacked_mutex"] == "unacked_mutex"


def test_unacked_hash_of_another_name_is_found_with_its_index() -> None:
    values = {"reserved": RESERVED, "reserved_at": [(b"tag", 5.0)], "scores": [(b"else", 5.0)], "users": [(b"a", b"b")]}
    families = {key: found[0] for key, found in named(values).items()}
    assert families == {"reserved": "unacked", "reserved_at": "unacked_index", "scores": "other", "users": "other"}


def test_unacked_hash_full_of_damage_is_told_by_the_index_beside_it() -> None:
    assert family("unacked", [(b"t", b"garbage")], unacked_index=[(b"t", 5.0)]) == "unacked"


def test_queue_is_told_by_any_of_its_elements_or_by_the_routing_table() -> None:
    assert family("celery", [b"garbage"] * 3 + [raw()] + [b"garbage"] * 3) == "queue"
    assert family("celery", [b"garbage"] * 500 + [raw()]) == "queue"
    bound = {"_kombu.binding.celery": {b"celery\x06\x16\x06\x16celery"}}
    assert family("celery", [b"garbage"], **bound) == family("celery\x06\x163", [b"garbage"], **bound) == "queue"


def test_queue_among_a_thousand_lists_named_alike_is_found() -> None:
    lists: dict[Any, Any] = {f"timeline:{number}": [b"post"] for number in range(1000)}
    found = named(lists | {"q-7": [raw()], "q-8": [b"x"]})
    assert [key for key, value in found.items() if value[0] != "other"] == ["q-7"]


def test_reply_list_is_told_by_content_and_pickled_one_by_its_name() -> None:
    meta = {"status": "SUCCESS", "result": 3, "task_id": "t", "children": [], "traceback": None}
    assert family(ID, [raw({}, encoded(meta))]) == "reply"
    assert family("results.of.web-1", [raw({}, encoded(meta))]) == "reply"
    pickled = raw({}, encoded(b"\x80\x04N."), content_type="application/x-python-serialize")
    assert family(ID, [pickled]) == "reply" and family("celery", [pickled]) == "queue"


def test_message_of_no_task_in_a_queue_keeps_the_queue() -> None:
    assert family("celery", [raw({}, encoded({"hello": 1}))]) == "queue"


def test_events_and_answers_to_control_are_control() -> None:
    event = {"type": "worker-heartbeat", "hostname": "celery@w", "timestamp": 1.5, "utcoffset": 0}
    assert family(f"celeryev.{ID}", [raw({"hostname": "celery@w"}, encoded(event))]) == "control"
    assert (
        family(f"{ID}.reply.celery.pidbox", [raw({"ticket": "x"}, encoded({"celery@w": {"ok": "pong"}}))]) == "control"
    )


def test_rq_keys() -> None:
    values = {
        "rq:job:abc": [(b"status", b"finished")],
        "rq:job:abc:dependents": {b"d"},
        "rq:results:abc": Stream([("1-0", [])]),
        "rq:finished:default": [(b"abc", 5.0)],
        "rq:queue:default": [b"abc"],
        "rq:queues": {b"rq:queue:default"},
        "rq:failed:default": b"a string",
    }
    found = named(values)
    assert found["rq:job:abc"] == ("rq_job", "", "abc") and found["rq:results:abc"] == ("rq_results", "", "abc")
    assert found["rq:finished:default"][0] == "rq_registry"
    assert {
        found[key][0] for key in ("rq:job:abc:dependents", "rq:queue:default", "rq:queues", "rq:failed:default")
    } == {"rq"}


def test_value_that_cannot_be_read_costs_no_more_than_its_family() -> None:
    broken = ValueError("cut")
    values: dict[Any, Any] = {f"celery-task-meta-{ID}": broken, f"p_celery-task-meta-{ID}": broken, "x": broken}
    assert [value[0] for value in named(values).values()] == ["result", "result", "other"]
    keys, value_of = keys_of({"celery": broken}, type="list")
    assert name_families(keys, value_of)["family"].tolist() == ["other"]


def test_families_are_told_apart_by_database_and_snapshot() -> None:
    values = {
        (1, "_kombu.binding.celery"): {b"celery\x06\x16\x06\x16celery"},
        (2, "celery"): [b"x"],
        (1, "celery"): [b"x"],
    }
    keys, value_of = keys_of(values)
    assert name_families(keys, value_of)["family"].tolist() == ["binding", "other", "queue"]


def names_of(dtypes: pd.Series) -> list[str]:
    """The dtypes; of words without which words they are."""
    return [dtype.name for dtype in dtypes]


def test_frame_keeps_its_rows_columns_and_types() -> None:
    keys, value_of = keys_of({"b": b"1", f"celery-task-meta-{ID}": DONE, "a": b"2"})
    filled = name_families(keys, value_of)
    assert list(filled.columns) == list(keys.columns) and filled["key"].tolist() == keys["key"].tolist()
    assert names_of(filled.dtypes) == names_of(keys.dtypes) and keys["family"].isna().all()
    empty = name_families(*keys_of({}))
    assert len(empty) == 0 and names_of(empty.dtypes) == names_of(keys.dtypes)
    assert name_families(pd.concat([keys, keys]), value_of)["family"].tolist() == ["other", "result", "other"] * 2


def test_keys_whose_sizes_are_unknown_are_named_all_the_same() -> None:
    group = f"app_celery-taskset-meta-{ID}"
    held = {
        f"celery-task-meta-{ID}": DONE,
        group: b'{"result": [["g", null], []]}',
        group + ".s": b"2",
        f"job:{ID}": [(b"status", b"done")],
        "celery": [raw()],
        "held": RESERVED,
    }
    keys, value_of = keys_of(held, length=None, bytes=None)
    for stated in (None, JobsSettings(key="job:{id}")):
        named = name_families(keys, value_of, stated)
        assert named["family"].tolist() == ["result", "group_result", "chord", "job", "queue", "unacked"]
        assert tasks_frame(named, value_of)["status"].tolist()[0] == "SUCCESS"


def test_every_family_says_what_it_means_and_who_writes_it() -> None:
    assert all(told.meaning and told.writer and told.form and name == told.name for name, told in FAMILIES.items())


def test_two_hundred_thousand_keys_of_others_take_seconds_and_few_reads() -> None:
    values: dict[Any, Any] = {f"session:{number:032x}": [(b"user", b"1")] for number in range(100_000)}
    values |= {f"user:{number:032x}": [(b"name", b"x")] for number in range(50_000)}
    values |= {f"feed:{number}": [b"post"] for number in range(50_000)}
    keys, value_of = keys_of(values)
    reads = 0

    def counted(snapshot: str, offset: int) -> Any:
        nonlocal reads
        reads += 1
        return value_of(snapshot, offset)

    started = time.perf_counter()
    filled = name_families(keys, counted)
    print(f"{time.perf_counter() - started:.2f} s, {reads} values read")
    assert set(filled["family"]) == {"other"} and reads < 500
    assert time.perf_counter() - started < 30
