"""Broker messages: what waits in queues, and what workers have taken and not acknowledged.

In: the `keys` frame with families, and values. Out: the `messages` frame; arguments of one message, and answers in
reply lists, on demand. Does not know results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.celery.decode import (
    ValueOf,
    count_in,
    epoch_seconds,
    flag_in,
    id_in,
    instant,
    printable,
    text_in,
    times,
)
from analysis.celery.envelopes import Envelope, read_envelope, read_reserved
from analysis.celery.routing import Routing, Routings, routings, rows
from analysis.frames import frame, words_in

_PUSHES, _TAKES = ("LPUSH", "RPUSH"), ("HSET", "HMSET", "HSETNX")
_MOST_NESTED = 10_000
_TIMES = ("reserved_at", "eta", "expires")
_COLUMNS = (
    "server snapshot db key offset task_id name queue priority state retries origin redelivered root_id parent_id"
    " group_id correlation_id reply_to delivery_tag ignore_result position size problem"
).split()


@dataclass(frozen=True)
class MessageBody:
    """The call a message carries: ``args``, ``kwargs``, and ``embed`` (callbacks, errbacks, chain, chord). ``problem``
    says why not.
    """

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    embed: dict[str, Any] | None = None
    protocol: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Reply:
    """A result of the rpc:// backend that waits in its client's list."""

    snapshot: str
    db: int
    key: str
    task_id: str | None
    status: str | None
    problem: str | None


def messages_frame(keys: pd.DataFrame, value_of: ValueOf) -> pd.DataFrame:
    """The `messages` frame: a row for each element of each queue and each field of each unacked hash; rpc replies are
    not among them.

    ``position`` is the index in the list: workers take from its end, so 0 is delivered last. ``priority`` is the step
    of the list, of an unacked message its property. ``queue`` of an unacked message follows from exchange and routing
    key through the routing table of the same snapshot, database and prefix; where there is none it is the routing key.
    ``reserved_at`` is the tag's score in unacked_index of that database. Without a header ``id`` (protocol 2) and
    without one in the body (protocol 1), ``task_id`` is the correlation ID. An element that cannot be read is one row
    with ``problem``.
    """
    tables = routings(keys[keys["family"] == "binding"], value_of)
    columns: dict[str, list[Any]] = {name: [] for name in (*_COLUMNS, *_TIMES)}
    for message in _queued(keys, value_of, tables):
        _append(columns, message)
    for message in _unacked(keys, value_of, tables):
        _append(columns, message)
    return frame("messages", {**columns, **{name: times(columns[name]) for name in _TIMES}})


def sent_messages(commands: pd.DataFrame, content_of: Callable[[str, int], bytes]) -> pd.DataFrame:
    """Messages as commands carried them (rows of the frame ``commands``), in the form of the `messages` frame:
    ``state`` is ``sent`` where they were pushed to a list (``queue`` is its name), ``taken`` where a worker put them in
    its hash.

    ``content_of`` is ``Case.content``; what it cannot read is left out. ``snapshot`` and ``offset`` are the command's.
    """
    columns: dict[str, list[Any]] = {name: [] for name in (*_COLUMNS, *_TIMES)}
    carried = commands.loc[commands["payload_at"].notna() & words_in(commands["verb"], (*_PUSHES, *_TAKES))]
    for row in carried.itertuples():
        try:
            raw = content_of(str(row.source), int(row.payload_at))
        except ValueError:
            continue
        taken = str(row.verb).upper() in _TAKES
        message = read_reserved(raw)[0] if taken else read_envelope(raw)[0]
        if message is None or not isinstance(row.keys, list) or not row.keys:
            continue
        place = {"server": row.server, "snapshot": row.source, "db": row.db, "key": row.keys[0], "offset": row.offset}
        queue = message.routing_key if taken else row.keys[0]
        described = {**_described(message, None), "queue": queue, "size": len(raw)}
        _append(columns, {**place, **described, "state": "taken" if taken else "sent"})
    return frame("messages", {**columns, **{name: times(columns[name]) for name in _TIMES}})


def calls(raw: bytes, task_id: str) -> bool:
    """Whether a message asks for a task of this ID to be called behind it: as its chord's body, a callback, or the next
    of its chain (celery/app/amqp.py, ``embed``).
    """
    if not (embed := message_body(raw).embed):
        return False
    return _holds(embed, task_id)


def _holds(data: Any, task_id: str) -> bool:
    waiting, left = [data], _MOST_NESTED
    while waiting and left:
        item, left = waiting.pop(), left - 1
        if isinstance(item, dict):
            if item.get("task_id") == task_id:
                return True
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False


def message_body(raw: bytes) -> MessageBody:
    """Arguments of one message, from an element of a queue or a value of the unacked hash. JSON only; never unpickled.

    Protocol 2 holds ``[args, kwargs, embed]``; protocol 1 a dict with args, kwargs, callbacks, errbacks and chord.
    """
    message, problem = read_envelope(raw)
    if message is None:
        message, _, _, _ = read_reserved(raw)
    if message is None:
        return MessageBody(problem=problem)
    data, problem = message.content
    if isinstance(data, list) and len(data) == 3:
        args, kwargs, embed = data
        protocol = 2
    elif isinstance(data, dict) and "task" in data:
        args, kwargs = data.get("args"), data.get("kwargs")
        embed = {name: data.get(name) for name in ("callbacks", "errbacks", "chord")}
        protocol = 1
    else:
        return MessageBody(problem=problem or "body is neither [args, kwargs, embed] nor a task of protocol 1")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        problem = problem or "arguments are not a list and an object"
    return MessageBody(
        args if isinstance(args, list) else None,
        kwargs if isinstance(kwargs, dict) else None,
        embed if isinstance(embed, dict) else None,
        protocol,
        problem,
    )


def replies(keys: pd.DataFrame, value_of: ValueOf) -> list[Reply]:
    """The results that wait in reply lists (family reply): rpc:// keeps them there, and nowhere else, until their
    client takes them.
    """
    found = []
    chosen = keys[keys["family"] == "reply"]
    for snapshot, db, key, offset in rows(chosen, "snapshot", "db", "key", "offset"):
        for element in _elements(value_of, snapshot, offset)[0]:
            message, problem = read_envelope(element)
            data, unread = message.content if message else (None, problem)
            meta = data if isinstance(data, dict) else {}
            task_id = id_in(meta.get("task_id")) or (message.correlation_id if message else None)
            found.append(Reply(snapshot, db, key, task_id, text_in(meta.get("status"), 64), problem or unread))
    return found


def _queued(keys: pd.DataFrame, value_of: ValueOf, tables: Routings) -> Iterator[dict[str, Any]]:
    chosen = keys[keys["family"] == "queue"]
    for place, prefix in _places(chosen, "queued"):
        snapshot, db = place["snapshot"], place["db"]
        name, table = place["key"][len(prefix) :], _table(tables, snapshot, db, prefix)
        elements, unread = _elements(value_of, snapshot, place["offset"])
        if unread:
            queue, step = table.split(name) or (name, 0)
            yield {**place, "queue": queue, "priority": step, "problem": unread}
        split = None
        for position, element in enumerate(elements):
            message, problem = read_envelope(element)
            split = split or table.split(name, message.sent_to if message else "")
            queue, step = split or (name, 0)
            yield {
                **place,
                "position": position,
                "size": len(element),
                **_described(message, problem),
                "queue": queue,
                "priority": step,
            }


def _unacked(keys: pd.DataFrame, value_of: ValueOf, tables: Routings) -> Iterator[dict[str, Any]]:
    taken = _reservations(keys, value_of)
    chosen = keys[keys["family"] == "unacked"]
    for place, prefix in _places(chosen, "unacked"):
        snapshot, db = place["snapshot"], place["db"]
        fields, unread = _elements(value_of, snapshot, place["offset"])
        table = _table(tables, snapshot, db, prefix)
        if unread:
            yield {**place, "problem": unread}
        for tag, element in fields:
            message, exchange, routing_key, problem = read_reserved(element)
            yield {
                **place,
                "size": len(element),
                **_described(message, problem),
                "queue": text_in(table.queue_for(exchange, routing_key)),
                "priority": count_in(message.properties.get("priority")) if message else None,
                "delivery_tag": printable(tag),
                "reserved_at": taken.get((snapshot, db, tag)),
            }


def _places(keys: pd.DataFrame, state: str) -> Iterator[tuple[dict[str, Any], str]]:
    columns = ("server", "snapshot", "db", "key", "offset")
    for *place, prefix in rows(keys, *columns, "prefix"):
        yield {**dict(zip(columns, place, strict=True)), "state": state}, prefix


def _reservations(keys: pd.DataFrame, value_of: ValueOf) -> dict[tuple[str, int, bytes], int | None]:
    """Delivery tag → when it was taken. Tags are UUIDs, so the indices of one database can share a dict."""
    taken: dict[tuple[str, int, bytes], int | None] = {}
    chosen = keys[keys["family"] == "unacked_index"]
    for snapshot, db, offset in rows(chosen, "snapshot", "db", "offset"):
        for tag, score in _elements(value_of, snapshot, offset)[0]:
            taken[snapshot, db, tag] = epoch_seconds(score)
    return taken


def _elements(value_of: ValueOf, snapshot: str, offset: int) -> tuple[list[Any], str | None]:
    try:
        value = value_of(snapshot, offset)
    except ValueError as error:
        return [], str(error)
    return (value, None) if isinstance(value, list) else ([], "neither a list nor a hash")


def _table(tables: Routings, snapshot: str, db: int, prefix: str) -> Routing:
    found = tables.get((snapshot, db), [])
    return next((table for table in found if table.prefix == prefix), Routing(prefix))


def _described(message: Envelope | None, problem: str | None) -> dict[str, Any]:
    """What the message says of itself. A protocol 1 message says it in its body, which is decoded only then."""
    if message is None:
        return {"problem": problem}
    fields = message.fields
    if not fields:
        problem = problem or message.content[1] or "names no task"
    return {
        "task_id": message.task_id,
        "name": text_in(fields.get("task")),
        "retries": count_in(fields.get("retries")),
        "origin": text_in(fields.get("origin")),
        "redelivered": True in (message.headers.get("redelivered"), message.delivery.get("redelivered")),
        "root_id": id_in(fields.get("root_id")),
        "parent_id": id_in(fields.get("parent_id")),
        "group_id": id_in(fields.get("group")),
        "correlation_id": message.correlation_id,
        "reply_to": text_in(message.properties.get("reply_to")),
        "delivery_tag": text_in(message.properties.get("delivery_tag")),
        "ignore_result": flag_in(fields.get("ignore_result")),
        "eta": instant(fields.get("eta")),
        "expires": instant(fields.get("expires")),
        "problem": problem,
    }


def _append(columns: dict[str, list[Any]], message: dict[str, Any]) -> None:
    for name, values in columns.items():
        values.append(message.get(name))
