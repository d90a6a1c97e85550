"""Which keys a Redis command names, and what its other arguments tell of them.

In: a command as a list of arguments, text or bytes. Out: its keys; the expiry it writes, whether it takes keys away.
Knows the commands that change keys, and the few others that testify of a deletion; not what a key means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import AnyStr, NamedTuple

from analysis.redact import MASK, redact_text, secret_name, shorten

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


def key_places(name: str) -> tuple[int, int, int] | None:
    """Where a command's keys stand among its arguments: first, last (a negative one from the end) and step, as in
    Redis' own table; (0, 0, 0) where it names none, None where other arguments tell (``keys_of``).
    """
    name = name.upper()
    return None if name in _NUMBERED or name in _OPTION or name == "MIGRATE" else _PLACES.get(name, (0, 0, 0))


@lru_cache(1024)
def may_tell(name: bytes | str) -> bool:
    """Whether a command of this name can be a telling one, whatever its arguments are."""
    plain = _plain(name)
    return plain.upper() in _TELLING_SUBCOMMANDS or is_telling([plain])


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


class Told(NamedTuple):
    """What a command's arguments tell beside its keys, as they ask for it: whether it succeeded is not known.

    ``expires_at_ms`` and ``ttl_ms`` are the expiry it writes, as a time since 1970 or from when it ran on; either is
    missing where the command writes none, or one that the server refuses. A ``ttl_ms`` of 0 or less is of EXPIRE and
    PEXPIRE, which delete with it. ``detail`` is short and without secrets. ``removes``: the keys it names, or all of
    a database, are no longer where they were, be they deleted or moved; of RENAME that is the first key.
    """

    expires_at_ms: int | None = None
    ttl_ms: int | None = None
    detail: str | None = None
    removes: bool = False


def told_by(arguments: Sequence[bytes | str], *, at_ms: int | None = None) -> Told:
    """What a command tells beside its keys (facts/causes.md, 2.5; the grammar is Redis' src/commands.def).

    ``at_ms``: when it ran, in ms since 1970, without which an expiry given as a time is not seen to have passed:
    EXPIREAT, PEXPIREAT and GETEX delete with one that has. Numbers that are none to Redis, or too large, are missing;
    a time after the year 9999 is its end.
    """
    reader = _reader(arguments[0]) if arguments else None
    return reader(arguments, at_ms) if reader else _NOTHING


_NOTHING, _REMOVES, _NO_TTL = Told(), Told(removes=True), Told(detail="no TTL")
_Arguments = Sequence[bytes | str]
_Reader = Callable[[_Arguments, int | None], Told]

_LONGEST_NAME = 40
_LONGEST_WORD = 120
_MOST_FIELDS = 8
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
# The first and the last millisecond of Python's calendar, years 1 to 9999.
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
# An option's unit in ms, and whether it is a time since 1970.
_UNITS = {"EX": (1000, False), "PX": (1, False), "EXAT": (1000, True), "PXAT": (1, True)}
# Options after which a value stands that is none: SET IFEQ and its kin (Valkey 8.1, Redis 8.4).
_VALUED = frozenset("IFEQ IFNE IFDEQ IFDNE IDLETIME FREQ".split())


def _number(argument: bytes | str, unit: int = 1) -> int | None:
    """As Redis' string2ll reads it: no sign before a positive one, no leading zero, 64 bits."""
    text = _plain(argument)
    if len(text) > 20 or not _NUMBER.fullmatch(text):
        return None
    number = int(text) * unit
    return number if -(2**63) <= number < 2**63 else None


def _expiry(number: int | None, absolute: bool, *, detail: str | None = None, removes: bool = False) -> Told:
    if number is None:
        return Told(detail=detail)
    if absolute:
        return Told(min(max(number, _FIRST_MS), _LAST_MS), None, detail, removes)
    return Told(None, number, detail, removes)


def _read_set(arguments: _Arguments, at_ms: int | None) -> Told:
    """SET key value […]: an expiry that has passed does not delete (facts/causes.md, 2.5)."""
    return _NOTHING if len(arguments) == 3 else _with_options(arguments, 3, None)


def _read_getex(arguments: _Arguments, at_ms: int | None) -> Told:
    return _with_options(arguments, 2, at_ms)


def _with_options(arguments: _Arguments, begin: int, at_ms: int | None) -> Told:
    number: int | None = None
    absolute, kept, at = False, [], begin
    while at < len(arguments):
        word = _plain(arguments[at])[:_LONGEST_NAME].upper()
        at += 1
        if word in _UNITS and at < len(arguments):
            unit, absolute = _UNITS[word]
            number = _number(arguments[at], unit)
            # The server refuses an expiry of 0 and less here.
            number = number if number is not None and number > 0 else None
            at += 1
            continue
        kept.append("no TTL" if word == "PERSIST" else word)
        at += word in _VALUED
    past = absolute and number is not None and at_ms is not None and number <= at_ms
    return _expiry(number, absolute, detail=_joined(kept), removes=past)


def _read_setex(unit: int) -> _Reader:
    def read(arguments: _Arguments, at_ms: int | None) -> Told:
        number = _number(arguments[2], unit) if len(arguments) > 3 else None
        return Told(ttl_ms=number) if number is not None and number > 0 else _NOTHING

    return read


def _read_expire(unit: int, absolute: bool) -> _Reader:
    def read(arguments: _Arguments, at_ms: int | None) -> Told:
        if len(arguments) < 3 or (number := _number(arguments[2], unit)) is None:
            return _NOTHING
        past = number <= (max(at_ms or 0, 0) if absolute else 0)
        return _expiry(number, absolute, detail=_joined(_words(arguments[3:5])), removes=past)

    return read


def _read_restore(arguments: _Arguments, at_ms: int | None) -> Told:
    """RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME s] [FREQ n]; a ttl of 0 is none."""
    if len(arguments) < 4 or (number := _number(arguments[2])) is None or number < 0:
        return _NOTHING
    options = _words(arguments[4:10])
    kept = (["no TTL"] if number == 0 else []) + (["REPLACE"] if "REPLACE" in options else [])
    return _expiry(number or None, "ABSTTL" in options, detail=_joined(kept))


def _read_move(arguments: _Arguments, at_ms: int | None) -> Told:
    return Told(detail=_joined(["to db " + _word(word) for word in arguments[2:3]]), removes=True)


def _read_copy(arguments: _Arguments, at_ms: int | None) -> Told:
    options = _words(arguments[3:6])
    at = options.index("DB") if "DB" in options else len(options)
    kept = ["to db " + word for word in options[at + 1 : at + 2]] + (["REPLACE"] if "REPLACE" in options else [])
    return Told(detail=_joined(kept))


def _read_swapdb(arguments: _Arguments, at_ms: int | None) -> Told:
    return Told(detail=" and ".join("db " + _word(word) for word in arguments[1:3]) or None, removes=True)


def _read_flush(arguments: _Arguments, at_ms: int | None) -> Told:
    return Told(detail=_joined(_words(arguments[1:2])), removes=True)


def _read_migrate(arguments: _Arguments, at_ms: int | None) -> Told:
    """MIGRATE host port key db timeout [COPY] [REPLACE] [AUTH password | AUTH2 user password] [KEYS key …]"""
    if len(arguments) < 6:
        return _NOTHING
    options, at = [], 6
    while at < len(arguments) and (word := _plain(arguments[at])[:_LONGEST_NAME].upper()) != "KEYS":
        options.append(word)
        at += {"AUTH": 2, "AUTH2": 3}.get(word, 1)
    host, port, db = (_word(arguments[place]) for place in (1, 2, 4))
    kept = [f"to {host}:{port} db {db}", *(word for word in options if word in ("COPY", "REPLACE"))]
    return Told(detail=_joined(kept), removes="COPY" not in options)


def _read_replicaof(arguments: _Arguments, at_ms: int | None) -> Told:
    words = [_word(word) for word in arguments[1:3]]
    return Told(detail="NO ONE" if [word.upper() for word in words] == ["NO", "ONE"] else ":".join(words) or None)


def _read_failover(arguments: _Arguments, at_ms: int | None) -> Told:
    words = _words(arguments[1:7])
    at = words.index("TO") if "TO" in words else len(words)
    target = [f"to {_word(arguments[at + 2])}:{words[at + 2]}"] if at + 2 < len(words) else []
    return Told(detail=_joined(target + [word for word in words if word in ("ABORT", "FORCE")]))


def _read_config(arguments: _Arguments, at_ms: int | None) -> Told:
    """CONFIG SET name value […] (7.0+ several): the names with their values, of secret ones the mask."""
    if len(arguments) < 3 or _plain(arguments[1]).upper() != "SET":
        return _NOTHING
    pairs = zip(arguments[2 : 2 + 2 * _MOST_FIELDS : 2], arguments[3 : 3 + 2 * _MOST_FIELDS : 2], strict=False)
    named = ((_word(name), value) for name, value in pairs)
    return Told(detail=_joined(f"{name}={MASK if secret_name(name) else _word(value)}" for name, value in named))


def _read_options(begin: int, most: int) -> _Reader:
    def read(arguments: _Arguments, at_ms: int | None) -> Told:
        return Told(detail=" ".join(_word(word) for word in arguments[begin : begin + most]) or None)

    return read


def _read_script(arguments: _Arguments, at_ms: int | None) -> Told:
    """How the script begins, or its SHA-1, or the function's name; its arguments may be values."""
    return Told(detail=" ".join(word for argument in arguments[1:2] for word in _word(argument).split()) or None)


def _read_function(arguments: _Arguments, at_ms: int | None) -> Told:
    """FUNCTION FLUSH [ASYNC | SYNC], FUNCTION RESTORE payload [policy]: what it takes away is no key."""
    subcommand = _plain(arguments[1]).upper() if len(arguments) > 1 else ""
    return Told(detail=_joined(_words(arguments[3 if subcommand == "RESTORE" else 2 :][:1])))


def _read_fields(step: int) -> _Reader:
    """Of a hash or a sorted set the fields or members that it names, never their values."""

    def read(arguments: _Arguments, at_ms: int | None) -> Told:
        return Told(detail=_listed(arguments, 2, step))

    return read


def _read_zadd(arguments: _Arguments, at_ms: int | None) -> Told:
    """ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member …"""
    at = 2
    while at < len(arguments) and _plain(arguments[at]).upper() in ("NX", "XX", "GT", "LT", "CH", "INCR"):
        at += 1
    return Told(detail=_listed(arguments, at + 1, 2))


def _read_field_expiry(unit: str = "", step: int = 1) -> _Reader:
    """HEXPIRE key seconds … FIELDS n field … and its kin (Redis 7.4+, Valkey 9): fields expire, not the key."""

    def read(arguments: _Arguments, at_ms: int | None) -> Told:
        options = _words(arguments[2:9])
        if "FIELDS" not in options:
            return _NOTHING
        at = 2 + options.index("FIELDS") + 2
        fields = _listed(arguments, at, step)
        if unit:
            return Told(detail=f"{fields}: {unit} {options[0]}" if fields else None)
        told = next((n for n, word in enumerate(options[:-1]) if word in _UNITS), None)
        return Told(detail=fields if told is None else f"{fields}: {options[told]} {options[told + 1]}")

    return read


def _listed(arguments: _Arguments, begin: int, step: int) -> str | None:
    places = range(begin, len(arguments), step)
    named = ", ".join(_word(arguments[place]) for place in places[:_MOST_FIELDS])
    more = f", … ({len(places) - _MOST_FIELDS:,} more)" if len(places) > _MOST_FIELDS else ""
    return f"{named}{more}" or None


def _joined(words: Iterable[str]) -> str | None:
    return ", ".join(words) or None


def _words(arguments: _Arguments) -> list[str]:
    return [_word(argument).upper() for argument in arguments]


def _word(argument: bytes | str) -> str:
    """An argument as it may be shown: bytes that are not UTF-8 as ``\\xNN``, no secret, not too long."""
    cut = argument[: 8 * _LONGEST_WORD]
    text = cut.decode("utf-8", "backslashreplace") if isinstance(cut, bytes) else cut
    return shorten(redact_text(text), _LONGEST_WORD)


_READERS: dict[str, _Reader] = {
    "SET": _read_set,
    "GETEX": _read_getex,
    "SETEX": _read_setex(1000),
    "PSETEX": _read_setex(1),
    "EXPIRE": _read_expire(1000, False),
    "PEXPIRE": _read_expire(1, False),
    "EXPIREAT": _read_expire(1000, True),
    "PEXPIREAT": _read_expire(1, True),
    "PERSIST": lambda arguments, at_ms: _NO_TTL,
    "RESTORE": _read_restore,
    "RESTORE-ASKING": _read_restore,
    **dict.fromkeys("DEL UNLINK GETDEL DELEX DELIFEQ RENAME RENAMENX".split(), lambda arguments, at_ms: _REMOVES),
    "MOVE": _read_move,
    "COPY": _read_copy,
    "SWAPDB": _read_swapdb,
    "FLUSHDB": _read_flush,
    "FLUSHALL": _read_flush,
    "MIGRATE": _read_migrate,
    "REPLICAOF": _read_replicaof,
    "SLAVEOF": _read_replicaof,
    "FAILOVER": _read_failover,
    "CONFIG": _read_config,
    "SHUTDOWN": _read_options(1, 3),
    "DEBUG": _read_options(1, 2),
    "FUNCTION": _read_function,
    "PUBLISH": _read_options(1, 1),
    "LTRIM": _read_options(2, 2),
    **dict.fromkeys("EVAL EVALSHA FCALL".split(), _read_script),
    **dict.fromkeys("HDEL ZREM".split(), _read_fields(1)),
    **dict.fromkeys("HINCRBY HINCRBYFLOAT HSETNX".split(), _read_options(2, 1)),
    **dict.fromkeys("HSET HMSET".split(), _read_fields(2)),
    "ZADD": _read_zadd,
    "HEXPIRE": _read_field_expiry("EX"),
    "HPEXPIRE": _read_field_expiry("PX"),
    "HEXPIREAT": _read_field_expiry("EXAT"),
    "HPEXPIREAT": _read_field_expiry("PXAT"),
    **dict.fromkeys("HPERSIST HGETDEL HGETEX".split(), _read_field_expiry()),
    "HSETEX": _read_field_expiry(step=2),
}


@lru_cache(1024)
def _known(name: bytes | str) -> _Reader | None:
    return _READERS.get(_plain(name).upper())


def _reader(name: bytes | str) -> _Reader | None:
    return _known(name) if len(name) < _LONGEST_NAME else None
