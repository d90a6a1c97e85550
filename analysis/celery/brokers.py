"""kombu's keys, told by their content: queues, reply lists, and what workers hold.

In: Claims on the keys of a case, and its routing tables. Out: the claims of the families queue, reply, control,
unacked, unacked_index, unacked_mutex. Does not decode messages further than telling what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from analysis.celery.claims import IS_UUID, Claims
from analysis.celery.envelopes import read_envelope, read_reserved
from analysis.celery.routing import Routing, Routings

_LOOKS = 5
_LISTS_LOOKED_AT = 64
_HASHES_ALIKE = 16
_FRUITLESS_HASHES = 2_000
_FRUITLESS_LISTS = 20_000
_MAX_HASH = 64 * 2**20
_MESSAGE_ID = re.compile(rb'"id": ?"([^"\\]{1,250})"')


class Broker:
    """Claims kombu's keys one after the other; ``message_ids`` collects the task IDs that their messages name."""

    def __init__(self, claims: Claims, tables: Routings) -> None:
        self.claims, self.by_place = claims, tables
        self.message_ids: set[str] = set()

    def claim_unacked(self) -> None:
        """By the names kombu gives them; the hash by its content too, or by the index that stands beside it."""
        indices = set()
        for position in self.claims.ending("unacked_index", "zset").tolist():
            prefix = self.claims.name(position).removesuffix("unacked_index")
            self.claims.claim(position, "unacked_index", prefix)
            indices.add((*self.claims.place(position), prefix))
        for position in self.claims.ending("unacked_mutex", "string").tolist():
            self.claims.claim(position, "unacked_mutex", self.claims.name(position).removesuffix("unacked_mutex"))
        for position in self.claims.ending("unacked", "hash").tolist():
            prefix = self.claims.name(position).removesuffix("unacked")
            if self.holds_reserved(position) or (*self.claims.place(position), prefix) in indices:
                self.claims.claim(position, "unacked", prefix)

    def claim_renamed_unacked(self) -> None:
        """Where ``unacked_key`` is another: hashes few of which are named alike, and that hold reserved messages."""
        fruitless = 0
        small = (self.claims.keys["bytes"] < _MAX_HASH).fillna(True)
        for members in self.claims.alike(self.claims.free("hash", where=small)):
            if len(members) > _HASHES_ALIKE or IS_UUID.search(self.claims.name(members[0])):
                continue
            for position in members if fruitless < _FRUITLESS_HASHES else ():
                if self.holds_reserved(position):
                    self.claims.claim(position, "unacked", self.prefix_of_tables(position))
                    self.claim_index_of(position)
                else:
                    fruitless += 1

    def claim_index_of(self, position: int) -> None:
        """The index of a hash of another name: the zset of the same database that holds exactly its delivery tags."""
        keys = self.claims.keys
        tags = {tag for tag, _ in self.claims.read(position) or ()}
        snapshot, db = self.claims.place(position)
        alike = (keys["snapshot"] == snapshot) & (keys["db"] == db) & (keys["length"] == len(tags))
        for candidate in self.claims.free("zset", where=alike.fillna(False)).tolist()[:_LISTS_LOOKED_AT]:
            if {tag for tag, _ in self.claims.read(candidate) or ()} == tags:
                self.claims.claim(candidate, "unacked_index", self.claims.prefix(position))

    def holds_reserved(self, position: int) -> bool:
        value = self.claims.read(position)
        fields = [field for _, field in value] if isinstance(value, list) else []
        if not any(read_reserved(field)[0] for field in _some(fields)):
            return False
        self.note_ids(fields)
        return True

    def claim_lists(self) -> None:
        """Lists by content; of lists that are named alike, all where one of the first 64 belongs to kombu.

        After 20,000 lists of others, only those that a routing table names are still looked at.
        """
        fruitless = 0
        for members in self.claims.alike(self.claims.free("list")):
            found = False
            for number, position in enumerate(members):
                worth = found or number < _LISTS_LOOKED_AT and fruitless < _FRUITLESS_LISTS
                if worth or self.is_bound(position):
                    claimed = self.claim_list(position)
                    found, fruitless = found or claimed, fruitless + (not claimed)

    def claim_list(self, position: int) -> bool:
        """A list whose elements are kombu messages, or that a routing table names as a queue."""
        value = self.claims.read(position)
        elements = value if isinstance(value, list) else []
        messages = [message for element in _some(elements) if (message := read_envelope(element)[0])]
        name = self.claims.name(position)
        by_client = bool(IS_UUID.search(name))
        family = "queue"
        if any(message.is_task for message in messages):
            self.note_ids(elements)
        elif any(message.is_reply(named_by_client=by_client) for message in messages):
            family = "reply"
        elif any(message.is_control for message in messages):
            family = "control"
        elif not messages and not self.is_bound(position):
            return False
        sent_to = next((message.sent_to for message in messages if message.sent_to), "")
        prefix = self.queue_prefix(position, sent_to) if family == "queue" else self.prefix_of_tables(position)
        self.claims.claim(position, family, prefix)
        return True

    def tables(self, position: int) -> list[Routing]:
        return self.by_place.get(self.claims.place(position), [])

    def is_bound(self, position: int) -> bool:
        name = self.claims.name(position)
        tables = [table for table in self.tables(position) if name.startswith(table.prefix)]
        return any(table.split(name[len(table.prefix) :]) for table in tables)

    def prefix_of_tables(self, position: int) -> str:
        """The longest prefix of a routing table of this database with which the name begins."""
        name = self.claims.name(position)
        return next((table.prefix for table in self.tables(position) if name.startswith(table.prefix)), "")

    def queue_prefix(self, position: int, sent_to: str) -> str:
        """The prefix in front of the queue's name: by the routing tables, else by the queue that a message names."""
        name, tables = self.claims.name(position), self.tables(position)
        for table in tables:
            if name.startswith(table.prefix) and table.split(name[len(table.prefix) :], sent_to):
                return table.prefix
        if not tables and sent_to and (at := name.find(sent_to)) > 0 and Routing().split(name[at:], sent_to):
            return name[:at]
        return self.prefix_of_tables(position)

    def note_ids(self, elements: Iterable[bytes]) -> None:
        found = (_MESSAGE_ID.search(element) for element in elements)
        self.message_ids.update(match[1].decode("utf-8", "backslashreplace") for match in found if match)


def _some(elements: Sequence[bytes]) -> Sequence[bytes]:
    """The first, middle and last few elements: enough to tell a queue that holds something foreign too."""
    if len(elements) <= 3 * _LOOKS:
        return elements
    middle = len(elements) // 2
    return [*elements[:_LOOKS], *elements[middle : middle + _LOOKS], *elements[-_LOOKS:]]
