"""Other languages than Python, read as text: calls of Redis clients with literal keys, commands in strings, Lua.

In: the text of a file. Out: line numbers and ``Act``s. Neither calls nor variables are followed: what is not literal is
``*``, and a call that does not say Redis by its name, its receiver or its key is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from analysis.evidence.source.commands import MOST_KEYS, Act, acts_of, acts_of_lua
from analysis.evidence.source.patterns import ANY, Text, known
from analysis.evidence.source.shell import TELLS, acts_of_shell

_LONGEST_LINE = 2_000
_CALL = re.compile(
    r"(?P<receiver>[\w$@]{0,40}(?:\(\))?)(?:\??\.|->|::)"
    r"(?P<verb>del|unlink|delete|getdel|flushdb|flushall|flush_db|flush_all|expire|pexpire|setex|psetex|rename|renamenx"
    r"|persist|keys|scan_each|delete_matched)\b"
    r"\s?\(?(?P<rest>[^\n]{0,400})",
    re.IGNORECASE,
)
_COMMAND_STRING = re.compile(r"""(["'`])(?P<verb>FLUSHALL|FLUSHDB)(?: ASYNC| SYNC)?\1""", re.IGNORECASE)
_RAW = re.compile(
    r"""(?:sendCommand|send_command|rawCommand|executeRaw|call|Do|command|executeCommand|custom_command)\s*\(\s*(?:ctx\s*,\s*)?\[?\s*"""
    r"""["'](?P<verb>[A-Za-z]{2,10})["']\s*,(?P<rest>[^\n]{0,300})"""
)
_SAYS_REDIS = re.compile(r"redis|valkey|jedis|lettuce|ioredis|rdb\b|predis", re.IGNORECASE)
_STRING = re.compile(
    r"\"(?P<double>(?:[^\"\\\n]|\\.){0,300})\"|'(?P<single>(?:[^'\\\n]|\\.){0,300})'|`(?P<back>[^`\n]{0,300})`"
)
_HOLE = re.compile(r"\$\{[^}]*\}|#\{[^}]*\}|\{\$[^}]*\}|\$\w+(?:->\w+)*|%[-\d.]*[sdvqxu]|\{\d*\}")
_FORMATS = re.compile(r"^\s*(?:[\w.]*(?:[Ss]printf|[Ff]ormat)\s*\(|\[|\$?\w+\s*=>)\s*")
_KEY_SHAPE = re.compile(r"(?!https?:|[a-z0-9+.\-]+://)[A-Za-z_{*][\w.{}\-*]*:(?!//|\s)")
_COMMENT = re.compile(r"^\s*(?://|\*|/\*|#|--|;)")
_DELETES = {"delete": "DEL", "del": "DEL", "flush_db": "FLUSHDB", "flush_all": "FLUSHALL"}


def places_in_text(text: str, *, lua: bool = False) -> Iterator[tuple[int, str, Act]]:
    """Line, code and act of each place that says so by itself. Lines are looked at up to 2,000 characters."""
    scripted = "redis.call" in text or "redis.pcall" in text
    if scripted:
        yield from _lua_places(text)
    for number, line in enumerate(text.split("\n"), 1):
        line = line[:_LONGEST_LINE]
        if _COMMENT.match(line) or (scripted and (lua or "redis.call" in line or "redis.pcall" in line)):
            continue
        for act in dict.fromkeys(_of_line(line)):
            yield number, line, act


def _of_line(line: str) -> Iterator[Act]:
    if TELLS.search(line):
        yield from acts_of_shell(line.strip().rstrip(",;"))
    if _COMMAND_STRING.search(line):
        yield Act("flushes", None)
    for found in _RAW.finditer(line):
        words = [known(found["verb"]), *arguments(found["rest"])]
        yield from acts_of(words)
    for found in _CALL.finditer(line):
        yield from _of_call(found, line)


def _of_call(found: re.Match[str], line: str) -> Iterator[Act]:
    verb = found["verb"].lower()
    if verb.startswith("flush"):
        yield Act("flushes", None)
        return
    # Text before the call names the client too: app.redis.client.del(…)
    says = bool(_SAYS_REDIS.search(line[max(0, found.start() - 40) : found.end("verb")]))
    given = arguments(found["rest"])
    keys = [text for text in given if any(k and p for k, p in text.pieces)]
    if not any(_KEY_SHAPE.match(text.shape) for text in keys) and not (says and keys):
        if says and verb in ("del", "unlink") and given:
            yield Act("deletes", "*")
        return
    if verb in ("keys", "scan_each", "delete_matched"):
        if says or "*" in keys[0].shape:
            does = "deletes" if verb == "delete_matched" else "searches"
            yield Act(does, keys[0].as_pattern())
        return
    if verb in ("delete", "rename", "persist", "expire") and not (says or _KEY_SHAPE.match(keys[0].shape)):
        return
    first = next(place for place, text in enumerate(given) if text in keys)
    yield from acts_of([known(_DELETES.get(verb, verb)), *given[first : first + MOST_KEYS]])


def arguments(rest: str) -> list[Text]:
    """The arguments of a call up to its closing bracket, as far as they are literal."""
    parts: list[str] = [""]
    depth, at = 0, 0
    while at < len(rest):
        if string := _STRING.match(rest, at):
            parts[-1] += string[0]
            at = string.end()
            continue
        char = rest[at]
        depth += (char in "([{") - (char in ")]}")
        if depth < 0 or (char == ";" and not depth):
            break
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
        at += 1
    return [_text(part) for part in parts[: MOST_KEYS + 2] if part.strip()]


def _text(argument: str) -> Text:
    """One argument: its strings, with ``*`` for what is put into them and what stands between them."""
    formats = _FORMATS.match(argument)
    argument = argument[formats.end() :] if formats else argument
    found, at = known(""), 0
    for string in _STRING.finditer(argument):
        if string.start() > at and (argument[at : string.start()].strip(" +.,()[]") or (at and formats)):
            if formats and at:
                break
            found += ANY
        body = string["double"] or string["single"] or string["back"] or ""
        inner = 0
        for hole in _HOLE.finditer(body):
            found += known(body[inner : hole.start()]) + ANY
            inner = hole.end()
        found += known(body[inner:])
        at = string.end()
    rest = argument[at:].strip(" +.,()[]{}\t;")
    if not at:
        return known(rest) if rest.isdecimal() else ANY
    return found + ANY if rest and not formats else found


def _lua_places(text: str) -> Iterator[tuple[int, str, Act]]:
    """Each ``redis.call`` of a script, with the line on which it stands."""
    acts = acts_of_lua(text)
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if "redis.call" not in line and "redis.pcall" not in line:
            continue
        for own in acts_of_lua(line[:_LONGEST_LINE]):
            # In the whole script a variable is what the script searches for.
            wider = [act for act in acts if act.does == own.does] if own.pattern == "*" else [own]
            for act in wider or [own]:
                yield number, line, act
