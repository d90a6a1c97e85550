"""Queued and reserved messages of both protocols, whole and broken."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

import pandas as pd
import pytest

from analysis.celery.families import name_families
from analysis.celery.messages import message_body, messages_frame, replies
from tests.celery.conftest import keys_of

CALL = [[1, "två"], {"b": 2}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
HEADERS = {
    "lang": "py",
    "task": "shop.add",
    "id": "t-1",
    "root_id": "r-1",
    "parent_id": "p-1",
    "group": "g-1",
    "retries": 1,
    "eta": "2025-07-24T02:00:00+02:00",
    "expires": "2025-07-25T00:00:00",
    "origin": "gen1@web",
    "ignore_result": False,
}


def encoded(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.b64encode(raw).decode()


def message(headers: Any = None, body: Any = None, **parts: Any) -> dict[str, Any]:
    """A message as kombu stores it; keywords named ``x_y`` replace properties, the others replace parts."""
    properties: dict[str, Any] = {
        "correlation_id": "t-1",
        "reply_to": "client",
        "delivery_tag": "tag-1",
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "priority": 0,
        "body_encoding": "base64",
    }
    envelope = {
        "body": encoded(CALL) if body is None else body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": HEADERS if headers is None else headers,
        "properties": properties | parts.pop("properties", {}),
    }
    return envelope | {name.replace("_", "-"): value for name, value in parts.items()}


def raw(*args: Any, **parts: Any) -> bytes:
    return json.dumps(message(*args, **parts)).encode()


def frame_of(values: dict[Any, Any]) -> pd.DataFrame:
    keys, value_of = keys_of(values)
    return messages_frame(name_families(keys, value_of), value_of)


def one(element: bytes) -> pd.Series:
    frame = frame_of({"celery": [element, raw()]})
    assert len(frame) == 2
    return frame.iloc[0]


def test_protocol_2_is_read_from_its_headers() -> None:
    row = one(raw())
    assert (row["task_id"], row["name"], row["queue"], row["state"]) == ("t-1", "shop.add", "celery", "queued")
    assert (row["root_id"], row["parent_id"], row["group_id"]) == ("r-1", "p-1", "g-1")
    assert (row["retries"], row["origin"], row["reply_to"], row["delivery_tag"]) == (1, "gen1@web", "client", "tag-1")
    assert row["eta"] == pd.Timestamp("2025-07-24T00:00Z") and row["expires"] == pd.Timestamp("2025-07-25T00:00Z")
    assert not row["redelivered"] and not row["ignore_result"] and pd.isna(row["problem"])
    assert pd.isna(row["reserved_at"]) and row["size"] == len(raw())


def test_protocol_1_is_read_from_its_body() -> None:
    body = {"task": "old.add", "id": "t-9", "args": [1], "kwargs": {}, "retries": 0, "eta": "2017-01-01T00:00:00+00:00"}
    element = raw({}, encoded(body | {"taskset": "g-9", "callbacks": None}))
    row = one(element)
    assert (row["task_id"], row["name"], row["group_id"]) == ("t-9", "old.add", "g-9")
    assert row["eta"] == pd.Timestamp("2017-01-01T00:00Z") and pd.isna(row["problem"])
    assert message_body(element).args == [1] and message_body(element).protocol == 1


def test_position_and_priority_follow_from_the_lists() -> None:
    low, high = raw(), raw(HEADERS | {"id": "t-2"}, properties={"priority": 7})
    frame = frame_of({(1, "celery"): [low, low], (1, "celery\x06\x166"): [high]})
    assert frame["priority"].tolist() == [0, 0, 6] and frame["position"].tolist() == [0, 1, 0]
    assert set(frame["queue"]) == {"celery"} and set(frame["db"]) == {1}


def test_priority_separator_of_the_users_own_is_learnt_from_the_routing_table() -> None:
    to_gpu = raw(properties={"delivery_info": {"exchange": "work", "routing_key": "fast"}})
    frame = frame_of({"_kombu.binding.work": {b"fast||gpu"}, "gpu": [to_gpu], "gpu|4": [to_gpu], "gpu|x": [to_gpu]})
    found = dict(zip(frame["key"], zip(frame["queue"], frame["priority"], strict=True), strict=True))
    assert found == {"gpu": ("gpu", 0), "gpu|4": ("gpu", 4), "gpu|x": ("gpu|x", 0)}


def test_separator_shows_in_a_message_where_no_routing_table_is_left() -> None:
    frame = frame_of({"celery:3": [raw()], "app1celery\x06\x169": [raw()]})
    assert frame["queue"].tolist() == ["celery", "celery"] and frame["priority"].tolist() == [3, 9]


def test_unacked_message_finds_its_queue_through_the_routing_table_and_its_time_in_the_index() -> None:
    held = [
        (b"tag-1", json.dumps([message(), "work", "fast"]).encode()),
        (b"tag-2", json.dumps([message(properties={"priority": 6}), "", "direct"]).encode()),
        (b"tag-3", json.dumps([message(), "unknown", "key"]).encode()),
        (b"tag-4", b"[1, 2]"),
    ]
    values = {
        "app1_kombu.binding.work": {b"fast\x06\x16\x06\x16gpu", b"slow\x06\x16\x06\x16cpu"},
        "_kombu.binding.work": {b"fast\x06\x16\x06\x16another"},
        "app1unacked": held,
        "app1unacked_index": [(b"tag-1", 1753315200.25), (b"tag-2", float("inf")), (b"gone", 1.0)],
    }
    frame = frame_of(values).set_index("delivery_tag")
    assert frame["queue"].fillna("").to_dict() == {"tag-1": "gpu", "tag-2": "direct", "tag-3": "key", "tag-4": ""}
    assert frame.loc["tag-1", "reserved_at"] == pd.Timestamp("2025-07-24T00:00:00.25Z")
    assert frame["reserved_at"].isna().tolist() == [False, True, True, True] and frame.loc["tag-2", "priority"] == 6
    assert frame.loc["tag-4", "problem"] == "JSON, but not [message, exchange, routing key]"
    assert set(frame["state"]) == {"unacked"}


@pytest.mark.parametrize("where", ["headers", "delivery_info"])
def test_message_given_back_is_marked(where: str) -> None:
    restored = message()
    if where == "headers":
        restored["headers"] = HEADERS | {"redelivered": True}
    else:
        restored["properties"]["delivery_info"]["redelivered"] = True
    assert one(json.dumps(restored).encode())["redelivered"]


def test_task_without_an_id_goes_by_its_correlation_id() -> None:
    assert one(raw({"task": "shop.add"}))["task_id"] == "t-1"


def test_id_given_as_a_uuid_is_read() -> None:
    wrapped = {"__type__": "uuid", "__value__": {"hex": "c93afef4105f425caf869ced40d30ee0"}}
    assert one(raw(HEADERS | {"id": wrapped}))["task_id"] == "c93afef4-105f-425c-af86-9ced40d30ee0"


@pytest.mark.parametrize(
    ("element", "problem"),
    [
        (b"\xff\xfe\x00", "not UTF-8 at byte 0"),
        (b"", "not JSON: expecting value at character 0"),
        (b"[" * 200_000, "JSON nested too deeply: not decoded"),
        (b'{"body": "x", "properties": []}', "JSON, but not a kombu message"),
        (b"5" * 5000, "JSON with a number of more than 4300 digits: not decoded"),
        (raw({}, "!!!"), "body is not base64"),
        (raw({}, encoded(b"plain")), "body not JSON: expecting value at character 0"),
        (raw({}, encoded(["hello"])), "names no task"),
        (raw([], {"a": 1}), "names no task"),
        (
            raw({}, None, content_type="application/x-python-serialize"),
            "body is application/x-python-serialize: not read",
        ),
    ],
)
def test_bad_element_costs_one_row(element: bytes, problem: str) -> None:
    row = one(element)
    assert row["problem"] == problem and row["queue"] == "celery" and row["size"] == len(element)


def test_headers_of_wrong_types_never_raise() -> None:
    odd = {
        "task": ["x"],
        "id": {"a": 1},
        "retries": "many",
        "eta": 5,
        "expires": [],
        "ignore_result": "no",
        "group": 7.5,
    }
    row = one(raw(odd | {"origin": None, "root_id": 2**70, "parent_id": True}, properties={"correlation_id": None}))
    for name in (
        "task_id",
        "name",
        "retries",
        "eta",
        "expires",
        "ignore_result",
        "group_id",
        "origin",
        "root_id",
        "parent_id",
    ):
        assert pd.isna(row[name]), name


def test_list_that_cannot_be_read_keeps_its_queue() -> None:
    keys, value_of = keys_of({"celery": [raw()]})

    def unreadable(snapshot: str, offset: int) -> Any:
        raise ValueError("cut at byte 9")

    row = messages_frame(name_families(keys, value_of), unreadable).iloc[0]
    assert (row["problem"], row["queue"], row["state"]) == ("cut at byte 9", "celery", "queued")


def test_body_is_decoded_on_demand_from_queue_and_unacked_alike() -> None:
    element = raw()
    body = message_body(element)
    assert (body.args, body.kwargs, body.embed, body.protocol, body.problem) == (*CALL, 2, None)
    assert message_body(json.dumps([message(), "", "celery"]).encode()) == body
    assert message_body(raw(None, json.dumps(CALL), properties={"body_encoding": None})).args == [1, "två"]
    zipped = raw(HEADERS | {"compression": "application/x-gzip"}, encoded(zlib.compress(json.dumps(CALL).encode())))
    assert message_body(zipped).kwargs == {"b": 2}


def test_pickled_body_is_named_and_its_headers_still_read() -> None:
    element = raw(None, encoded(pickle.dumps(CALL)), content_type="application/x-python-serialize")
    assert one(element)["task_id"] == "t-1" and pd.isna(one(element)["problem"])
    body = message_body(element)
    assert body.problem == "body is application/x-python-serialize: not read" and body.args is None


@pytest.mark.parametrize("broken", [b"", b"{}", b"[]", b"\xff", b'{"body": null, "properties": {}}', b"[[], 1, 2]"])
def test_body_of_what_is_no_message_is_a_problem(broken: bytes) -> None:
    assert message_body(broken).problem


def test_replies_are_listed_with_their_task_and_are_no_messages() -> None:
    meta = {"status": "SUCCESS", "result": 3, "task_id": "t-5", "children": [], "traceback": None}
    values = {"5b3bf819-bb20-37af-9605-cc05fa3ad760": [raw({}, encoded(meta)), b"broken"]}
    keys, value_of = keys_of(values)
    named = name_families(keys, value_of)
    assert len(messages_frame(named, value_of)) == 0
    found = replies(named, value_of)
    assert [(reply.task_id, reply.status) for reply in found] == [("t-5", "SUCCESS"), (None, None)]
    assert found[1].problem


def test_texts_of_messages_can_always_be_written_as_utf8() -> None:
    element = json.dumps(message(HEADERS | {"task": "\ud800<script>\u202e", "origin": "\x00" * 5000})).encode()
    row = one(element)
    assert row["name"] == "\ufffd<script>\u202e" and len(row["origin"]) == 1024
