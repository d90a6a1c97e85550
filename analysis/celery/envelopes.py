"""One kombu message as a Redis list or the unacked hash holds it: JSON around an encoded body.

In: the bytes of one element. Out: an Envelope, or why there is none. Does not know queues, databases or other messages.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from analysis.celery.decode import MAX_VALUE, id_in, load_json, shortened
from analysis.celery.serializers import decompress

_JSON = ("application/json", "json", None, "")


@dataclass(frozen=True)
class Envelope:
    """A message: what kombu/transport/virtual/base.py puts around a body, each part an empty dict where it has a wrong
    type.
    """

    headers: dict[str, Any]
    properties: dict[str, Any]
    delivery: dict[str, Any]
    body: Any
    content_type: Any

    @cached_property
    def content(self) -> tuple[Any, str | None]:
        """The decoded body as ``(data, problem)``: base64 and compression undone, JSON only; nothing is unpickled."""
        if not isinstance(self.body, str):
            return self.body, None if isinstance(self.body, (dict, list)) else "no body"
        if self.content_type not in _JSON:
            return None, f"body is {shortened(str(self.content_type), 64)}: not read"
        raw = self.body.encode("utf-8", "replace")
        if self.properties.get("body_encoding", "base64") == "base64":
            if len(raw) > MAX_VALUE * 4 // 3:
                return None, f"body larger than {MAX_VALUE >> 20} MiB: not decoded"
            try:
                raw = base64.b64decode(raw, validate=True)
            except (binascii.Error, ValueError):
                # a body that says nothing of its encoding may be plain JSON
                if "body_encoding" in self.properties:
                    return None, "body is not base64"
        if method := self.headers.get("compression"):
            content, problem = decompress(raw, shortened(str(method), 64))
            if content is None:
                return None, f"body {problem}"
            raw = content
        data, problem = load_json(raw)
        return data, f"body {problem}" if problem else None

    @cached_property
    def fields(self) -> dict[str, Any]:
        """What a worker reads a task from: the headers (protocol 2), else the body (protocol 1); empty where neither
        names a task.
        """
        if "task" in self.headers:
            return self.headers
        if self.headers.get("id") or not isinstance(data := self.content[0], dict) or "task" not in data:
            return self.headers if self.headers.get("id") else {}
        return {**data, "group": data.get("group") or data.get("taskset")}

    @property
    def is_task(self) -> bool:
        return bool(self.fields)

    @property
    def is_control(self) -> bool:
        """An answer to a remote-control command (kombu/pidbox.py), or events of a worker (celery/events)."""
        if self.is_task:
            return False
        data = self.content[0]
        first = data[0] if isinstance(data, list) and data else data
        is_event = isinstance(first, dict) and {"type", "hostname", "timestamp"} <= first.keys()
        return is_event or "ticket" in self.headers

    def is_reply(self, *, named_by_client: bool) -> bool:
        """A result for one client (celery/backends/rpc.py). One that cannot be read counts in a list whose name is a
        UUID.
        """
        if self.is_task:
            return False
        data, problem = self.content
        if isinstance(data, dict):
            return {"status", "result", "task_id"} <= data.keys()
        return named_by_client and problem is not None and bool(self.properties.get("correlation_id"))

    @property
    def correlation_id(self) -> str | None:
        return id_in(self.properties.get("correlation_id"))

    @property
    def task_id(self) -> str | None:
        return id_in(self.fields.get("id")) or self.correlation_id

    @property
    def exchange(self) -> str:
        return _text(self.delivery.get("exchange"))

    @property
    def routing_key(self) -> str:
        return _text(self.delivery.get("routing_key"))

    @property
    def sent_to(self) -> str:
        """The queue, where the message itself tells: on the default exchange, or on one of the queue's own name."""
        return self.routing_key if self.exchange in ("", self.routing_key) else ""


def read_envelope(raw: bytes) -> tuple[Envelope | None, str | None]:
    """One message from its bytes, as ``(envelope, problem)``: one of the two is None, or both are given where bytes
    were replaced.
    """
    data, problem = load_json(raw)
    found = _envelope(data)
    return found, problem or (None if found else "JSON, but not a kombu message")


def read_reserved(raw: bytes) -> tuple[Envelope | None, str, str, str | None]:
    """A value of the unacked hash, ``[message, exchange, routing key]``: (envelope, exchange, routing key, problem)."""
    data, problem = load_json(raw)
    if isinstance(data, list) and len(data) == 3 and (found := _envelope(data[0])):
        return found, _text(data[1]), _text(data[2]), problem
    return None, "", "", problem or "JSON, but not [message, exchange, routing key]"


def _envelope(data: Any) -> Envelope | None:
    if not isinstance(data, dict) or "body" not in data or not isinstance(data.get("properties"), dict):
        return None
    properties = data["properties"]
    return Envelope(
        headers=_mapping(data.get("headers")),
        properties=properties,
        delivery=_mapping(properties.get("delivery_info")),
        body=data["body"],
        content_type=data.get("content-type"),
    )


def _mapping(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _text(data: Any) -> str:
    return data if isinstance(data, str) else ""
