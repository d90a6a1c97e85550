"""Answers of a Redis server as ``redis-cli`` and people save them.

In: a file. Out: its text, or its JSON, whatever the shell or the editor did to it. Does not know what was asked.
"""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Any

from analysis.errors import Unusable
from analysis.redact import redact_text, shorten

LARGEST = 64 << 20

_PROMPT = re.compile(r"^(?:[\w.:\[\]/-]{1,300}(?:\[\d+\])?|not connected)> .*\n+")
_ERROR = re.compile(
    r"(?:\(error\) |-)?(NOAUTH|NOPERM|WRONGPASS|ERR|LOADING|DENIED|MASTERDOWN|BUSY|MOVED|Could not connect|Error:)\b"
)
_HEADER = re.compile(r"(?:\$\d+|=\d+)\r?\n(?:txt:)?|txt:")


def read_text_answer(path: Path) -> str:
    """The text of an answer: UTF-8 or UTF-16, with or without CRLF, a redis-cli prompt, quotes, or JSON around it.

    Bytes that are not UTF-8 come back as ``\\xNN``. Raises Unusable for a file that is too large, empty, or only says
    that the server refused.
    """
    text = _decoded(_read(path)).replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    text = _PROMPT.sub("", text, count=1)
    text = text[header.end() :] if (header := _HEADER.match(text)) else text
    if text[:1] == '"':
        text = _unquoted(text)
    if not text.strip():
        raise Unusable("is empty", file=path.name)
    if refused := _ERROR.match(text):
        raise Unusable(f"holds no answer but an error: {refused.string.splitlines()[0][:120]}", file=path.name)
    return text


def read_json_answer(path: Path) -> Any:
    """The JSON of an answer. ``redis-cli --json`` writes bytes as they are: those that are not UTF-8 come back as
    ``\\xNN``.

    Raises Unusable for a file that is too large, or is not JSON.
    """
    raw = _read(path)
    text = raw.decode("utf-16") if raw[:2] in _UTF16 else raw.decode("utf-8-sig", "surrogateescape")
    try:
        return _whole(json.loads(_PROMPT.sub("", text.lstrip(), count=1), strict=False))
    except RecursionError:
        raise Unusable("is not an answer: nested too deep", file=path.name) from None
    except json.JSONDecodeError as error:
        raise Unusable(f"is not JSON: {error.msg}", file=path.name, place=f"line {error.lineno}") from None
    except ValueError as error:
        raise Unusable(f"is not JSON: {error}", file=path.name) from None


def as_map(answer: Any) -> dict[str, Any]:
    """A map of an answer, whether written as one or as a flat array of names and values; of anything else, empty."""
    if isinstance(answer, dict):
        return answer
    if not isinstance(answer, list):
        return {}
    if all(isinstance(pair, list) and len(pair) == 2 for pair in answer):
        return {str(name): value for name, value in answer}
    return {str(name): value for name, value in zip(answer[::2], answer[1::2], strict=False)}


_REFUSAL = re.compile(
    rb"(?:\(error\) |-)?"
    rb"(?:(?:Error|ERR|NOAUTH|NOPERM|WRONGPASS|LOADING|DENIED)\b|Could not connect|Server closed).{0,400}"
)


def refusal(line: bytes) -> str | None:
    """What redis-cli says in a line where the server refuses, or the connection is lost; missing where it does not."""
    return shorten(redact_text(text_of(line)), 120) if _REFUSAL.fullmatch(line) else None


_QUOTED = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_QUOTES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def unescaped(quoted: bytes) -> bytes:
    """What stood between quotes as Redis and redis-cli write it (sdscatrepr): ``\\xNN``, ``\\"``, ``\\n`` and
    their like as the bytes that they are.
    """
    return _QUOTED.sub(_byte, quoted) if b"\\" in quoted else quoted


def _byte(found: re.Match[bytes]) -> bytes:
    escape = found[1]
    return bytes((int(escape[1:], 16),)) if len(escape) == 3 else _QUOTES.get(escape, escape)


def text_of(raw: bytes) -> str:
    """Bytes as text; those that are not UTF-8 as ``\\xNN``, as everywhere in the frames."""
    return raw.decode("utf-8", "backslashreplace")


_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise Unusable(f"is larger than {LARGEST >> 20} MB", file=path.name)
    return raw


def _decoded(raw: bytes) -> str:
    if raw[:2] in _UTF16:
        return raw.decode("utf-16", "backslashreplace")
    return raw.decode("utf-8-sig", "backslashreplace")


def _whole(value: Any) -> Any:
    """Text without lone surrogates: bytes that are not UTF-8 as ``\\xNN``, as everywhere in the frames."""
    if isinstance(value, str):
        if value.isascii():
            return value
        try:
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_whole(member) for member in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(member) for name, member in value.items()}
    return value


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[nrtab\"\\])")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", '"': '"', "\\": "\\"}


def _unquoted(text: str) -> str:
    """redis-cli's quoting, and JSON's as far as text answers need it."""
    body = text.strip()[1:].removesuffix('"')
    plain = _ESCAPE.sub(lambda found: _ESCAPES[found[1]] if len(found[1]) == 1 else found[0], body)
    return plain.replace("\r\n", "\n")
