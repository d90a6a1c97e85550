"""What a command of Redis does to keys, by its words: for redis-cli, ``execute_command``, Lua and any other client.

In: a command's words as far as they are known. Out: ``Act``s. Knows no language.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.evidence.source.patterns import ALL, ANY, Text, known

MOST_KEYS = 16


@dataclass(frozen=True)
class Act:
    """What is done to a key or a pattern of keys: the columns of the frame that a command tells of."""

    does: str
    pattern: str | None
    seconds: float | None = None
    settings: frozenset[str] = frozenset()


_UNIT = {"EXPIRE": 1.0, "PEXPIRE": 1e-3, "SETEX": 1.0, "PSETEX": 1e-3}
_OPTION_UNIT = {"EX": 1.0, "PX": 1e-3}
# Settings of a server that decide what it forgets, and when (redis.conf of Redis 7 and Valkey 8).
SERVER_SETTINGS = re.compile(
    r"maxmemory(?:-policy|-samples|-clients|-eviction-tenacity)?|save|append(?:only|fsync|filename|dirname)|lazyfree-.*"
    r"|rename-command|notify-keyspace-events|active-expire-effort|replica-(?:read-only|ignore-maxmemory|lazy-flush)"
    r"|databases|dbfilename|stop-writes-on-bgsave-error|lazy-?expire-nested-arbitrary-keys|import-mode",
    re.IGNORECASE,
)
TELLING = frozenset(
    "DEL UNLINK GETDEL EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST SETEX PSETEX SET GETEX FLUSHDB FLUSHALL RENAME "
    "RENAMENX MOVE SWAPDB MIGRATE RESTORE COPY KEYS SCAN CONFIG EVAL EVALSHA DELIFEQ".split()
)


def acts_of(words: Sequence[Text]) -> list[Act]:
    """What a command does; nothing where it takes no key away and looks for none.

    Commands and their arguments as in https://redis.io/docs/latest/commands/. A word that is not known is ``*``.
    """
    if not words or words[0].literal is None:
        return []
    verb, rest = words[0].literal.upper(), list(words[1:])
    literal = [word.literal.upper() if word.literal is not None else "" for word in rest]
    if verb in ("DEL", "UNLINK"):
        return [_act("deletes", key) for key in rest[:MOST_KEYS]]
    if verb in ("GETDEL", "DELIFEQ"):
        return [_act("deletes", rest[0])] if rest else []
    if verb in ("FLUSHDB", "FLUSHALL"):
        return [Act("flushes", None)]
    if verb in ("EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "SETEX", "PSETEX"):
        return [_act("expires", rest[0], _seconds(rest[1], _UNIT.get(verb)))] if len(rest) > 1 else []
    if verb == "PERSIST":
        return [_act("expires", rest[0], 0.0)] if rest else []
    if verb in ("SET", "GETEX"):
        return _with_options(rest, literal)
    if verb in ("RENAME", "RENAMENX"):
        return [_act("renames", key) for key in rest[:2]]
    if verb == "COPY":
        return [_act("renames", rest[1])] if len(rest) > 1 and "REPLACE" in literal else []
    if verb == "MOVE":
        return [_act("renames", rest[0])] if rest else []
    if verb == "SWAPDB":
        return [Act("renames", None)]
    if verb == "RESTORE":
        return _restored(rest, literal)
    if verb == "MIGRATE":
        return [] if "COPY" in literal else [_act("renames", key) for key in _migrated(rest, literal)]
    if verb == "KEYS":
        return [_searched(rest[0])] if rest else []
    if verb == "SCAN":
        place = literal.index("MATCH") + 1 if "MATCH" in literal else len(rest)
        return [_searched(rest[place]) if place < len(rest) else Act("searches", None)]
    if verb == "CONFIG" and literal[:1] == ["SET"]:
        return _configured(rest[1:])
    if verb == "EVAL" and rest and (script := rest[0].literal):
        return acts_of_lua(script, rest[2:])
    return []


def _act(does: str, key: Text, seconds: float | None = None) -> Act:
    return Act(does, key.as_key(), seconds, key.settings)


def _searched(pattern: Text) -> Act:
    return Act("searches", pattern.as_pattern(), None, pattern.settings)


def _seconds(word: Text, unit: float | None) -> float | None:
    """Seconds of a TTL; missing where it is not literal, or a time of day."""
    if unit is None or word.literal is None or not re.fullmatch(r"-?\d{1,15}(?:\.\d{1,9})?", word.literal):
        return None
    return max(0.0, float(word.literal) * unit)


def _with_options(rest: list[Text], options: list[str]) -> list[Act]:
    """SET and GETEX write a TTL only where an option says so."""
    for place in range(1, len(rest)):
        if options[place] in ("EX", "PX", "EXAT", "PXAT") and place + 1 < len(rest):
            return [_act("expires", rest[0], _seconds(rest[place + 1], _OPTION_UNIT.get(options[place])))]
        if options[place] == "PERSIST":
            return [_act("expires", rest[0], 0.0)]
    return []


def _restored(rest: list[Text], options: list[str]) -> list[Act]:
    """RESTORE writes over a key where it may, and writes a TTL in milliseconds where that is not 0."""
    if len(rest) < 2:
        return []
    if "REPLACE" in options:
        return [_act("renames", rest[0], _seconds(rest[1], 1e-3))]
    lasts = _seconds(rest[1], 1e-3)
    return [_act("expires", rest[0], lasts)] if lasts != 0 else []


def _migrated(rest: list[Text], options: list[str]) -> list[Text]:
    if "KEYS" in options:
        return rest[options.index("KEYS") + 1 :][:MOST_KEYS]
    return rest[2:3]


def _configured(rest: list[Text]) -> list[Act]:
    """CONFIG SET takes pairs of name and value."""
    names = [(word.literal or "").lower() for word in rest[::2]]
    return [Act("sets", None, None, frozenset((name,))) for name in names if SERVER_SETTINGS.fullmatch(name)]


_LUA_CALL = re.compile(r"""redis\.p?call\s*+\(\s*+["'](?P<verb>[A-Za-z]{1,12})["']\s*+(?P<rest>[^()]{0,400})""")
_LUA_WORD = re.compile(
    r"""(?P<quote>["'])(?P<text>[^"'\n]{0,200})(?P=quote)|KEYS\s*\[(?P<key>\d)\]|(?P<name>[\w.\[\]#]+)"""
)
_LUA_COMMENT = re.compile(r"--(?!\[\[)[^\n]*")


def acts_of_lua(script: str, keys: Sequence[Text] = ()) -> list[Act]:
    """What a Lua script does with ``redis.call`` and ``redis.pcall``. ``keys``: what it is given, keys first.

    ``KEYS[n]`` is the n-th of ``keys``. A key that is a variable of the script is what the script searches for, if it
    searches; else any.
    """
    found: list[tuple[str, list[Text], bool]] = []
    for call in _LUA_CALL.finditer(_LUA_COMMENT.sub("", script[:100_000])):
        verb = call["verb"].upper()
        if verb in TELLING:
            words, plain = _lua_words(call["rest"], keys)
            found.append((verb, words, plain))
    searched = [act for verb, words, _ in found for act in acts_of([known(verb), *words]) if act.does == "searches"]
    acts: list[Act] = []
    for verb, words, plain in found:
        done = acts_of([known(verb), *(words or [ANY])])
        if not plain and searched and all(act.pattern == ALL for act in done):
            done = [Act(act.does, one.pattern, act.seconds, one.settings) for act in done for one in searched]
        acts += done
    return list(dict.fromkeys(acts))


def _lua_words(rest: str, keys: Sequence[Text]) -> tuple[list[Text], bool]:
    """The arguments of a call, and whether none of them is a variable."""
    words: list[Text] = []
    plain = True
    for argument in rest.lstrip(", ").split(",")[: MOST_KEYS + 4]:
        word = known("")
        parts = list(_LUA_WORD.finditer(argument))
        for part in parts:
            if part["text"] is not None:
                word += known(part["text"])
            elif part["key"] and int(part["key"]) <= len(keys):
                word += keys[int(part["key"]) - 1]
            elif part["name"] and part["name"].isdecimal():
                word += known(part["name"])
            else:
                plain = plain and bool(part["key"])
                word += ANY
        if parts:
            words.append(word)
    return words, plain
