"""Which keys a Redis command names.

In: a command as a list of arguments, text or bytes. Out: its keys. Knows the commands that change keys, and the few
others that testify of a deletion; not what a key means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import AnyStr

# Where the keys stand, as in Redis' own command table (src/commands.def): first, last, step. A negative last counts
# from the end.
_SINGLE, _ALL, _BUT_LAST, _PAIRS, _TWO = (1, 1, 1), (1, -1, 1), (1, -2, 1), (1, -1, 2), (1, 2, 1)
_PLACES: dict[str, tuple[int, int, int]] = {
    **dict.fromkeys(
        "SET SETEX PSETEX SETNX GETSET GETDEL GETEX DELEX DELIFEQ APPEND SETRANGE SETBIT BITFIELD INCR INCRBY "
        "INCRBYFLOAT DECR DECRBY EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST MOVE RESTORE RESTORE-ASKING LPUSH "
        "LPUSHX RPUSH RPUSHX LPOP RPOP LTRIM LINSERT LREM LSET HSET HMSET HSETNX HSETEX HDEL HGETDEL HGETEX "
        "HINCRBY HINCRBYFLOAT HEXPIRE HPEXPIRE HEXPIREAT HPEXPIREAT HPERSIST SADD SREM SPOP ZADD ZREM ZINCRBY "
        "ZPOPMIN ZPOPMAX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREMRANGEBYLEX XADD XDEL XDELEX XTRIM XACK XACKDEL "
        "XCLAIM XAUTOCLAIM XSETID GEOADD PFADD SORT GEORADIUS GEORADIUSBYMEMBER".split(),
        _SINGLE,
    ),
    **dict.fromkeys("DEL UNLINK PFMERGE SINTERSTORE SUNIONSTORE SDIFFSTORE".split(), _ALL),
    **dict.fromkeys("BLPOP BRPOP BZPOPMIN BZPOPMAX".split(), _BUT_LAST),
    **dict.fromkeys("MSET MSETNX".split(), _PAIRS),
    **dict.fromkeys(
        "RENAME RENAMENX COPY SMOVE RPOPLPUSH BRPOPLPUSH LMOVE BLMOVE ZRANGESTORE GEOSEARCHSTORE".split(), _TWO
    ),
    "BITOP": (2, -1, 1),
    "XGROUP": (2, 2, 1),
    "KEYS": _SINGLE,
}
# Where the number of keys stands; the keys follow it.
_NUMBERED = {
    **dict.fromkeys("EVAL EVALSHA FCALL BLMPOP BZMPOP ZUNIONSTORE ZINTERSTORE ZDIFFSTORE".split(), 2),
    **dict.fromkeys("LMPOP ZMPOP".split(), 1),
}
_STORED_FIRST = frozenset("ZUNIONSTORE ZINTERSTORE ZDIFFSTORE".split())
# An option after which another key, or the pattern, stands.
_OPTION = {"SORT": "STORE", "GEORADIUS": "STORE", "GEORADIUSBYMEMBER": "STORE", "SCAN": "MATCH"}
_NAMELESS = frozenset("FLUSHDB FLUSHALL SWAPDB MIGRATE SCAN REPLICAOF SLAVEOF FAILOVER SHUTDOWN DEBUG".split())
_TELLING_SUBCOMMANDS = {
    "CONFIG": frozenset(("SET", "RESETSTAT", "REWRITE")),
    "FUNCTION": frozenset(("FLUSH", "RESTORE")),
}


def verb_of(arguments: Sequence[AnyStr]) -> str:
    """The command's name as it is spelled; with its subcommand where the name alone says nothing (``CONFIG
    RESETSTAT``).
    """
    name = _plain(arguments[0]) if arguments else ""
    return f"{name} {_plain(arguments[1])}" if name.upper() in _TELLING_SUBCOMMANDS and len(arguments) > 1 else name


def is_telling(arguments: Sequence[AnyStr]) -> bool:
    """Whether a command can change keys, or tells of one that did: KEYS and SCAN look for keys, REPLICAOF replaces
    them all.
    """
    name, _, subcommand = verb_of(arguments).upper().partition(" ")
    if name in _TELLING_SUBCOMMANDS:
        return subcommand in _TELLING_SUBCOMMANDS[name]
    return name in _PLACES or name in _NUMBERED or name in _NAMELESS


def keys_of(arguments: Sequence[AnyStr], *, cut: bool = False) -> list[AnyStr]:
    """The keys a command names, in order; of KEYS and SCAN the pattern. None for FLUSHDB, FLUSHALL, SWAPDB and
    unknown verbs.

    ``cut``: the source left out arguments at the end, so what stands last is not the command's last.
    """
    if not arguments:
        return []
    name = _plain(arguments[0]).upper()
    if name == "MIGRATE":
        return _migrated(arguments)
    keys: list[AnyStr] = []
    if name in _PLACES:
        first, last, step = _PLACES[name]
        end = last + 1 if last > 0 else len(arguments) + (0 if cut else last + 1)
        keys += arguments[first:end:step]
    elif name in _NUMBERED:
        at = _NUMBERED[name]
        if name in _STORED_FIRST:
            keys += arguments[1:2]
        if len(arguments) > at and (number := _plain(arguments[at])).isdecimal():
            keys += arguments[at + 1 : at + 1 + min(int(number[:9]), len(arguments))]
    if option := _OPTION.get(name):
        keys += _after(arguments, option, start=2)
    return keys


def _migrated(arguments: Sequence[AnyStr]) -> list[AnyStr]:
    """MIGRATE host port key|"" db timeout [… KEYS key …]: with an empty key, those after KEYS."""
    if len(arguments) > 3 and arguments[3]:
        return [arguments[3]]
    words = [_plain(argument).upper() for argument in arguments]
    return list(arguments[words.index("KEYS", 6) + 1 :]) if "KEYS" in words[6:] else []


def _after(arguments: Sequence[AnyStr], option: str, *, start: int) -> list[AnyStr]:
    words = [_plain(argument).upper() for argument in arguments[start:]]
    return list(arguments[start:][words.index(option) + 1 :][:1]) if option in words else []


def _plain(argument: str | bytes) -> str:
    return argument.decode("latin-1") if isinstance(argument, bytes) else argument
