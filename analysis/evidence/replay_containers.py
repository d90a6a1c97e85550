"""What commands on lists, sets, hashes, sorted sets and streams do to the key they name (Redis ``t_*.c``).

In: the arguments of one command. Out: the value changed. Knows nothing of other keys, of databases or of expiries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import nlargest, nsmallest
from typing import Any

from analysis.evidence.replay_keys import ELEMENT, Keys, absolute
from analysis.evidence.replay_values import Held, in_order, stream_id, whole

_XADD_OPTIONS = frozenset(b"NOMKSTREAM MAXLEN MINID LIMIT KEEPREF DELREF ACKED".split())
_ZADD_OPTIONS = frozenset(b"NX XX GT LT CH INCR".split())


class Containers(Keys):
    """Handlers of the commands on values of many elements."""

    # Lists

    def _push(self, first: int, count: int, *, left: bool, only: bool = False) -> None:
        if only and self._argument(first + 1) not in self._keys():
            return
        held = self._make(first + 1, "list", deque)
        add = held.value.appendleft if left else held.value.append
        for number in range(first + 2, first + count):
            add(self._piece(number))

    def _do_lpush(self, first: int, count: int) -> None:
        self._push(first, count, left=True)

    def _do_rpush(self, first: int, count: int) -> None:
        self._push(first, count, left=False)

    def _do_lpushx(self, first: int, count: int) -> None:
        self._push(first, count, left=True, only=True)

    def _do_rpushx(self, first: int, count: int) -> None:
        self._push(first, count, left=False, only=True)

    def _pop(self, first: int, count: int, *, left: bool) -> None:
        held = self._get(first + 1, "list")
        if held is None or self.partial:
            return
        for _ in range(min(self._int(first + 2) if count > 2 else 1, len(held.value))):
            piece = held.value.popleft() if left else held.value.pop()
            if self._took < 0 and isinstance(piece, tuple):
                self._took = piece[0]
        self._gone_if_empty(first + 1, held)

    def _do_lpop(self, first: int, count: int) -> None:
        self._pop(first, count, left=True)

    def _do_rpop(self, first: int, count: int) -> None:
        self._pop(first, count, left=False)

    def _shift(self, first: int, *, left: bool, to_left: bool) -> None:
        held = self._get(first + 1, "list")
        if held is None or self.partial:
            return
        piece = held.value.popleft() if left else held.value.pop()
        if isinstance(piece, tuple):
            self._took = piece[0]
        target = self._make(first + 2, "list", deque)
        if to_left:
            target.value.appendleft(piece)
        else:
            target.value.append(piece)
        self._gone_if_empty(first + 1, held)

    def _do_rpoplpush(self, first: int, count: int) -> None:
        self._shift(first, left=False, to_left=True)

    _do_brpoplpush = _do_rpoplpush

    def _do_lmove(self, first: int, count: int) -> None:
        left, to_left = (word.upper() == b"LEFT" for word in self._arguments(first, count, 3)[:2])
        self._shift(first, left=left, to_left=to_left)

    _do_blmove = _do_lmove

    def _do_lset(self, first: int, count: int) -> None:
        held = self._get(first + 1, "list")
        if held is not None:
            held.value[self._int(first + 2)] = self._piece(first + 3)

    def _do_ltrim(self, first: int, count: int) -> None:
        held = self._get(first + 1, "list")
        if held is None:
            return
        begin, end = _slice(self._int(first + 2), self._int(first + 3), len(held.value))
        # At what it costs to take away, for a trimmed list is often trimmed.
        for _ in range(len(held.value) - min(end, len(held.value))):
            held.value.pop()
        for _ in range(min(begin, len(held.value))):
            held.value.popleft()
        self._gone_if_empty(first + 1, held)

    def _do_lrem(self, first: int, count: int) -> None:
        held = self._get(first + 1, "list")
        if held is None:
            return
        number, wanted = self._int(first + 2), self._argument(first + 3)
        pieces = list(held.value)
        if number < 0:
            pieces.reverse()
        left = abs(number) or len(pieces)
        kept = []
        for piece in pieces:
            if left and self.bytes_of(piece) == wanted:
                left -= 1
                if self._took < 0 and isinstance(piece, tuple):
                    self._took = piece[0]
            else:
                kept.append(piece)
        held.value = deque(reversed(kept) if number < 0 else kept)
        self._gone_if_empty(first + 1, held)

    def _do_linsert(self, first: int, count: int) -> None:
        held, pivot = self._get(first + 1, "list"), self._argument(first + 3)
        if held is None:
            return
        for place, piece in enumerate(held.value):
            if self.bytes_of(piece) == pivot:
                held.value.insert(place + (self._argument(first + 2).upper() == b"AFTER"), self._piece(first + 4))
                return

    # Sets

    def _do_sadd(self, first: int, count: int) -> None:
        members = self._make(first + 1, "set", dict).value
        for member in self._arguments(first, count, 2):
            members[member] = None

    def _do_srem(self, first: int, count: int) -> None:
        held = self._get(first + 1, "set")
        if held is not None:
            for member in self._arguments(first, count, 2):
                held.value.pop(member, None)
            self._gone_if_empty(first + 1, held)

    def _do_smove(self, first: int, count: int) -> None:
        held, member = self._get(first + 1, "set"), self._argument(first + 3)
        if held is not None and member in held.value:
            del held.value[member]
            self._make(first + 2, "set", dict).value[member] = None
            self._gone_if_empty(first + 1, held)

    def _stored_set(
        self, first: int, count: int, combine: Callable[[list[dict[bytes, None]]], Iterable[bytes]]
    ) -> None:
        held = [self._get(number, "set") for number in range(first + 2, first + count)]
        found = dict.fromkeys(combine([one.value if one else {} for one in held]))
        self._drop(self._argument(first + 1))
        if found:
            why = self._spent(ELEMENT * len(found))
            made = Held("set", None if why else found, self._at(first + 1), None, why)
            self._keys()[self._argument(first + 1)] = made

    def _do_sunionstore(self, first: int, count: int) -> None:
        self._stored_set(first, count, lambda sets: [member for one in sets for member in one])

    def _do_sinterstore(self, first: int, count: int) -> None:
        self._stored_set(first, count, lambda sets: [m for m in sets[0] if all(m in other for other in sets[1:])])

    def _do_sdiffstore(self, first: int, count: int) -> None:
        self._stored_set(first, count, lambda sets: [m for m in sets[0] if not any(m in other for other in sets[1:])])

    # Hashes

    def _do_hset(self, first: int, count: int) -> None:
        held = self._make(first + 1, "hash", dict)
        for number in range(first + 2, first + count - 1, 2):
            field = self._argument(number)
            held.value[field] = self._piece(number + 1)
            if held.field_expiries:
                held.field_expiries.pop(field, None)

    _do_hmset = _do_hset

    def _do_hsetnx(self, first: int, count: int) -> None:
        held = self._get(first + 1, "hash")
        if held is None or self._argument(first + 2) not in held.value:
            self._do_hset(first, count)

    def _do_hdel(self, first: int, count: int) -> None:
        held = self._get(first + 1, "hash")
        if held is None:
            return
        for field in self._arguments(first, count, 2):
            piece = held.value.pop(field, None)
            if self._took < 0 and isinstance(piece, tuple):
                self._took = piece[0]
            if held.field_expiries:
                held.field_expiries.pop(field, None)
        self._gone_if_empty(first + 1, held)

    def _do_hincrby(self, first: int, count: int) -> None:
        held, field = self._make(first + 1, "hash", dict), self._argument(first + 2)
        held.value[field] = b"%d" % (whole(self.bytes_of(held.value.get(field, b"0"))) + self._int(first + 3))

    def _do_hpexpireat(self, first: int, count: int) -> None:
        """HPEXPIREAT key ms [NX|XX|GT|LT] FIELDS n field …: as all of its kin are written (t_hash.c)."""
        held = self._get(first + 1, "hash")
        options = self._arguments(first, count, 3)
        at = next(place for place, word in enumerate(options) if word.upper() == b"FIELDS")
        if held is not None:
            held.field_expiries = held.field_expiries or {}
            for field in options[at + 2 :]:
                if field in held.value:
                    held.field_expiries[field] = self._int(first + 2)

    def _do_hpersist(self, first: int, count: int) -> None:
        held = self._get(first + 1, "hash")
        if held is not None and held.field_expiries:
            for field in self._arguments(first, count, 4):
                held.field_expiries.pop(field, None)

    def _do_hsetex(self, first: int, count: int) -> None:
        """HSETEX key [FNX|FXX] [PXAT ms|KEEPTTL] FIELDS n field value …"""
        words = self._arguments(first, count, 2)
        at = next(place for place, word in enumerate(words) if word.upper() == b"FIELDS")
        options = [word.upper() for word in words[:at]]
        expires, held = absolute(options), self._make(first + 1, "hash", dict)
        kept = dict(held.field_expiries or {}) if b"KEEPTTL" in options else {}
        held.field_expiries = dict(held.field_expiries or {})
        for number in range(first + 2 + at + 2, first + count - 1, 2):
            field = self._argument(number)
            held.value[field] = self._piece(number + 1)
            held.field_expiries.pop(field, None)
            if (due := kept.get(field, expires)) is not None:
                held.field_expiries[field] = due

    # Sorted sets

    def _do_zadd(self, first: int, count: int) -> None:
        words = self._arguments(first, count, 2)
        if count == 4:
            self._make(first + 1, "zset", dict).value[words[1]] = float(words[0])
            return
        options = set()
        while words and words[0].upper() in _ZADD_OPTIONS:
            options.add(words.pop(0).upper())
        scores = self._make(first + 1, "zset", dict).value
        for score, member in zip(words[::2], words[1::2], strict=True):
            old, new = scores.get(member), float(score)
            if (old is None and b"XX" in options) or (old is not None and b"NX" in options):
                continue
            if old is not None and b"INCR" in options:
                new += old
            if old is not None and ((b"GT" in options and new <= old) or (b"LT" in options and new >= old)):
                continue
            scores[member] = new

    def _do_zincrby(self, first: int, count: int) -> None:
        scores, member = self._make(first + 1, "zset", dict).value, self._argument(first + 3)
        scores[member] = scores.get(member, 0.0) + float(self._argument(first + 2))

    def _remove_members(self, first: int, chosen: Callable[[dict[bytes, float]], Iterable[bytes]]) -> None:
        held = self._get(first + 1, "zset")
        if held is not None:
            for member in list(chosen(held.value)):
                held.value.pop(member, None)
            self._gone_if_empty(first + 1, held)

    def _do_zrem(self, first: int, count: int) -> None:
        members = self._arguments(first, count, 2)
        self._remove_members(first, lambda scores: members)

    def _do_zpopmin(self, first: int, count: int) -> None:
        number = self._int(first + 2) if count > 2 else 1
        self._remove_members(first, lambda scores: nsmallest(number, scores, key=lambda name: (scores[name], name)))

    def _do_zpopmax(self, first: int, count: int) -> None:
        number = self._int(first + 2) if count > 2 else 1
        self._remove_members(first, lambda scores: nlargest(number, scores, key=lambda name: (scores[name], name)))

    def _do_zremrangebyrank(self, first: int, count: int) -> None:
        one, two = self._int(first + 2), self._int(first + 3)
        self._remove_members(first, lambda scores: in_order(scores)[slice(*_slice(one, two, len(scores)))])

    def _do_zremrangebyscore(self, first: int, count: int) -> None:
        low, above = _bound(self._argument(first + 2))
        high, below = _bound(self._argument(first + 3))
        self._remove_members(
            first,
            lambda scores: [
                member
                for member, score in scores.items()
                if (score > low or (score == low and not above)) and (score < high or (score == high and not below))
            ],
        )

    def _do_zremrangebylex(self, first: int, count: int) -> None:
        low, high = self._argument(first + 2), self._argument(first + 3)
        self._remove_members(first, lambda scores: [m for m in scores if _above(m, low) and _below(m, high)])

    # Streams: entries only; groups and what they hold pending are left out.

    def _do_xadd(self, first: int, count: int) -> None:
        words, at, trim = self._arguments(first, count, 2), 0, None
        while at < len(words) and (word := words[at].upper()) in _XADD_OPTIONS:
            at += 1
            if word in (b"MAXLEN", b"MINID"):
                at += words[at] in (b"=", b"~")
                trim = word, words[at]
            at += word in (b"MAXLEN", b"MINID", b"LIMIT")
        entries = self._make(first + 1, "stream", dict).value
        begin = first + 2 + at
        entries[stream_id(words[at])] = [
            (self._argument(number), self._piece(number + 1)) for number in range(begin + 1, first + count - 1, 2)
        ]
        if trim:
            _trim(entries, *trim)

    def _do_xdel(self, first: int, count: int) -> None:
        held = self._get(first + 1, "stream")
        for entry in self._arguments(first, count, 2):
            if held is not None:
                held.value.pop(stream_id(entry), None)

    def _do_xtrim(self, first: int, count: int) -> None:
        held = self._get(first + 1, "stream")
        words = self._arguments(first, count, 2)
        if held is not None:
            _trim(held.value, words[0].upper(), words[2] if words[1] in (b"=", b"~") else words[1])

    def _do_xgroup(self, first: int, count: int) -> None:
        if self._argument(first + 1).upper() == b"CREATE" and b"MKSTREAM" in [
            word.upper() for word in self._arguments(first, count, 5)
        ]:
            self._make(first + 2, "stream", dict)


def _slice(begin: int, end: int, length: int) -> tuple[int, int]:
    """Redis' inclusive ends, negative from the end, as Python's."""
    begin = max(begin + length, 0) if begin < 0 else begin
    end = end + length if end < 0 else end
    return begin, max(end + 1, begin)


def _bound(text: bytes) -> tuple[float, bool]:
    """A score and whether it is itself left out."""
    return float(text.removeprefix(b"(")), text.startswith(b"(")


def _above(member: bytes, bound: bytes) -> bool:
    if bound in (b"-", b"+"):
        return bound == b"-"
    return member > bound[1:] or (bound[:1] == b"[" and member == bound[1:])


def _below(member: bytes, bound: bytes) -> bool:
    if bound in (b"-", b"+"):
        return bound == b"+"
    return member < bound[1:] or (bound[:1] == b"[" and member == bound[1:])


def _trim(entries: dict[tuple[int, int], Any], how: bytes, limit: bytes) -> None:
    kept = stream_id(limit) if how == b"MINID" else None
    most = None if kept else whole(limit)
    for entry in list(entries):
        if (kept is not None and entry >= kept) or (most is not None and len(entries) <= most):
            break
        del entries[entry]
