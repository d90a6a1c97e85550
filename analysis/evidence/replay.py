"""The state that a stream of commands leaves behind, and what each command found.

In: the keys of a base snapshot or none, and commands in their order. Out: the keys at the end, with their values; for
each command the expiry its key had, and the content that it took away. Does what Redis does with a command that it
loads; knows no time, so nothing expires but by the DEL that the server wrote for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from analysis.evidence.replay_containers import Containers
from analysis.evidence.replay_values import Based, Held, Key, NotReplayed
from analysis.evidence.resp import Block, Stream
from analysis.evidence.resp_kernel import MANY, NOTE


class Replay(Containers):
    """Commands applied to keys, ``dbs``: database → name → key. ``load`` gives a key of the base whose value is to be
    changed, ``read`` the bytes of a Piece. ``unknown`` counts the commands by name that could not be followed.
    ``partial``: there were keys before that are not known, so what stands at the end of a list is not known either.
    """

    def __init__(
        self,
        dbs: dict[int, dict[bytes, Key]],
        load: Callable[[Based], Held],
        read: Callable[[int, int], bytes],
        *,
        partial: bool = False,
    ) -> None:
        super().__init__(load, read)
        self.dbs, self.partial = dbs, partial
        self.unknown: dict[str, int] = {}
        self._handlers: dict[int, tuple[_Handler, int]] = {}

    def run(
        self, stream: Stream, *, shift: int, until: int, db: int = 0
    ) -> Iterator[tuple[Block, list[int], list[int]]]:
        """Apply every command before ``until``: a block, and for each of its commands the expiry that the first key it
        removed or overwrote had (ms, -1 = none or not known), and where the content that it took away begins (-1 =
        none). ``shift`` is added to a place in this stream; ``db`` is the database at its start, -1 = not known.
        """
        self.stream, self.buffer, self.shift = stream, stream.buffer, shift
        self._select(db)
        self._handlers.clear()
        gaps = 0
        for block in stream.blocks():
            if len(stream.gaps) > gaps:
                self.known, gaps = False, len(stream.gaps)
            due, took = [-1] * len(block), [-1] * len(block)
            self._ats, self._sizes = block.places[:, 0].tolist(), block.places[:, 1].tolist()
            rows = zip(
                block.offsets.tolist(), block.names.tolist(), block.first.tolist(), block.count.tolist(), strict=True
            )
            for row, (offset, name, first, count) in enumerate(rows):
                if offset >= until:
                    yield block, due, took
                    return
                handler, least = self._handlers.get(name, _UNSEEN)
                if handler is _unseen or name == MANY:
                    handler, least = self._handler(name, first)
                if handler is None:
                    continue
                if count < least:
                    continue
                try:
                    handler(first, count)
                except NotReplayed:
                    pass
                except (
                    ValueError,
                    LookupError,
                    OverflowError,
                    TypeError,
                    AttributeError,
                    AssertionError,
                    StopIteration,
                ):
                    # A command with too few arguments, or on a key of another type: the server refused it too.
                    pass
                if self._due is not None:
                    due[row], self._due = self._due, None
                if self._took >= 0:
                    took[row], self._took = self._took, -1
            yield block, due, took

    def _handler(self, name: int, first: int) -> tuple[_Handler, int]:
        spelled = b"" if name == NOTE else self._argument(first)[:64].upper()
        found: Callable[[int, int], None] | None
        if name == NOTE or spelled in _WITHOUT_EFFECT:
            found = None
        elif handler := getattr(self, "_do_" + spelled.decode("latin-1").lower().replace("-", "_"), None):
            found = handler
        else:
            found = self._not_followed(spelled)
        told = found, _LEAST.get(spelled, 1)
        if name != MANY:
            self._handlers[name] = told
        return told

    def _not_followed(self, spelled: bytes) -> Callable[[int, int], None]:
        """What a command does that is not known here: the keys it names by place hold something unknown then."""
        name = spelled.decode("utf-8", "backslashreplace")

        def handler(first: int, count: int) -> None:
            self.unknown[name] = self.unknown.get(name, 0) + 1
            place = _UNFOLLOWED.get(spelled)
            if place and count > place:
                key, held = self._argument(first + place), self._get(first + place)
                kind = held.type if held else _MADE_BY.get(spelled, "string")
                made = Held(kind, None, self._at(first + place), held.expires if held else None)
                made.why = f"changed by {name}, which is not followed"
                self._keys()[key] = made

        return handler


def _unseen(first: int, count: int) -> None:
    """Stands for a name that was not met before."""


_Handler = Callable[[int, int], None] | None
_UNSEEN: tuple[_Handler, int] = (_unseen, 1)
# How many words a command has at least, its name among them, by which a server refuses shorter ones (commands.def).
_LEAST = {
    **dict.fromkeys(b"SELECT DEL UNLINK GETDEL PERSIST GETEX INCR DECR LPOP RPOP ZPOPMIN ZPOPMAX".split(), 2),
    **dict.fromkeys(b"SWAPDB RENAME RENAMENX MOVE COPY EXPIRE PEXPIRE EXPIREAT PEXPIREAT SET GETSET SETNX".split(), 3),
    **dict.fromkeys(b"DELIFEQ MSET MSETNX APPEND INCRBY DECRBY LPUSH RPUSH LPUSHX RPUSHX RPOPLPUSH SADD".split(), 3),
    **dict.fromkeys(b"BRPOPLPUSH SREM SUNIONSTORE SINTERSTORE SDIFFSTORE HDEL ZREM XDEL XGROUP".split(), 3),
    **dict.fromkeys(b"RESTORE RESTORE-ASKING SETEX PSETEX SETRANGE SETBIT LSET LTRIM LREM SMOVE HSET".split(), 4),
    **dict.fromkeys(b"HMSET HSETNX HINCRBY ZADD ZINCRBY ZREMRANGEBYRANK ZREMRANGEBYSCORE".split(), 4),
    **dict.fromkeys(b"ZREMRANGEBYLEX XTRIM".split(), 4),
    **dict.fromkeys(b"LMOVE BLMOVE LINSERT HPERSIST XADD".split(), 5),
    **dict.fromkeys(b"HPEXPIREAT HSETEX".split(), 6),
}
_WITHOUT_EFFECT = frozenset(
    b"MULTI EXEC DISCARD PING REPLCONF ASKING PUBLISH SPUBLISH SCRIPT XACK XACKDEL XCLAIM XAUTOCLAIM XSETID XREADGROUP"
    b" KEYS SCAN CONFIG WAIT FUNCTION CLIENT INFO".split()
)
# Commands that make of a key what is not worked out here: which of their arguments that key is, and its type.
_UNFOLLOWED = {
    **dict.fromkeys(
        b"BITFIELD PFADD PFMERGE INCRBYFLOAT HINCRBYFLOAT GEOADD SPOP HGETDEL HGETEX HEXPIRE HPEXPIRE".split(), 1
    ),
    **dict.fromkeys(b"ZUNIONSTORE ZINTERSTORE ZDIFFSTORE ZRANGESTORE GEOSEARCHSTORE HEXPIREAT XDELEX".split(), 1),
    b"BITOP": 2,
}
_MADE_BY = {
    **dict.fromkeys(b"GEOADD ZUNIONSTORE ZINTERSTORE ZDIFFSTORE ZRANGESTORE GEOSEARCHSTORE".split(), "zset"),
    **dict.fromkeys(b"HINCRBYFLOAT HGETDEL HGETEX HEXPIRE HPEXPIRE HEXPIREAT".split(), "hash"),
    b"SPOP": "set", b"XDELEX": "stream",
}  # fmt: skip
