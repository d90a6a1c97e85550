"""kombu's routing tables: which queue an exchange and routing key lead to, and how queue names stand in keys.

In: the binding sets of the `keys` frame. Out: a Routing for each database. Does not know messages, nor what is queued.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.celery.decode import ValueOf, printable

BINDING = "_kombu.binding."
BINDING_PERMANENT = "_kombu.binding_permanent."
BINDING_DEADLINES = "_kombu.binding_deadlines"
SEPARATOR = "\x06\x16"
"""``sep`` of the Redis transport; ``:`` in Celery's documented example for priorities."""

_WORD = r"[\w.\-@#*/]"
_OTHER_SEPARATOR = re.compile(
    rf"(?s)(?P<key>{_WORD}*)(?P<sep>[^{_WORD[1:-1]}]{{1,8}})(?P<pattern>{_WORD}*)(?P=sep)(?P<queue>{_WORD}+)"
)
_STEP = re.compile(r"(?s)(?P<sep>[^\w]{1,8})(?P<step>\d{1,3})")
_MAX_TABLES = 10_000


@dataclass
class Routing:
    """Bindings of one database and key prefix: ``routes[exchange]`` is the set of (routing key, queue)."""

    prefix: str = ""
    separator: str = SEPARATOR
    routes: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    queues: set[str] = field(default_factory=set)

    def add(self, exchange: str, member: bytes) -> None:
        text = printable(member, 4096)
        if len(parts := text.split(SEPARATOR)) == 3:
            key, _, queue = parts
        elif found := _OTHER_SEPARATOR.fullmatch(text):
            key, queue, self.separator = found["key"], found["queue"], found["sep"]
        else:
            return
        if queue:
            self.routes.setdefault(exchange, set()).add((key, queue))
            self.queues.add(queue)

    def queue_for(self, exchange: str, routing_key: str) -> str | None:
        """The queue a message went to: the routing key itself on the default exchange, else by the table, where it is
        one queue.
        """
        if not exchange:
            return routing_key or None
        queues = {queue for key, queue in self.routes.get(exchange, ()) if key == routing_key}
        return queues.pop() if len(queues) == 1 else routing_key or None

    def split(self, name: str, sent_to: str = "") -> tuple[str, int] | None:
        """Queue and priority step of a list's name without its prefix; None where the name is no queue known here.

        ``sent_to`` is a queue that one of the list's messages names; it shows a separator that no binding shows.
        """
        if name in self.queues or (sent_to and name == sent_to):
            return name, 0
        for separator in dict.fromkeys((SEPARATOR, self.separator)):
            queue, found, step = name.rpartition(separator)
            if queue and found and step.isascii() and step.isdigit() and len(step) < 4:
                if separator == SEPARATOR or queue in self.queues or queue == sent_to:
                    return queue, int(step)
        if sent_to and name.startswith(sent_to) and (rest := _STEP.fullmatch(name, len(sent_to))):
            return sent_to, int(rest["step"])
        return None


Routings = Mapping[tuple[str, int], list[Routing]]


def routings(keys: pd.DataFrame, value_of: ValueOf) -> Routings:
    """Routing tables by (snapshot, database), the longest prefix first; of the first 10,000 binding sets.

    ``keys`` needs the columns snapshot, db, key, prefix and offset, and the rows of family binding.
    """
    found: dict[tuple[str, int], dict[str, Routing]] = {}
    tables = keys[keys["type"] == "set"].head(_MAX_TABLES)
    for snapshot, db, key, prefix, offset in rows(tables, "snapshot", "db", "key", "prefix", "offset"):
        name = key[len(prefix) :]
        if not name.startswith(BINDING):
            continue
        routing = found.setdefault((snapshot, db), {}).setdefault(prefix, Routing(prefix))
        try:
            members = value_of(snapshot, offset)
        except ValueError:
            continue
        for member in members:
            routing.add(name[len(BINDING) :], member)
    return {
        place: sorted(by_prefix.values(), key=lambda routing: -len(routing.prefix))
        for place, by_prefix in found.items()
    }


def rows(frame: pd.DataFrame, *columns: str) -> Iterable[tuple[Any, ...]]:
    """The rows of a frame as tuples of plain Python values; much faster than itertuples on typed columns."""
    return zip(*(frame[column].tolist() for column in columns), strict=True)
