"""The server's settings.

In: a file with the answer to ``CONFIG GET *``. Out: a dict, name to value, without passwords. Does not judge a setting.
"""

from __future__ import annotations

import re
from pathlib import Path

from analysis.errors import Unusable
from analysis.evidence.answers import as_map, read_json_answer, read_text_answer
from analysis.redact import MASK, redact_text, secret_name

_NAME = re.compile(r"[a-z][a-z0-9_.-]{1,80}", re.IGNORECASE)
_NUMBERED = re.compile(r'^\s*\d+[)#] ?"(?P<text>.*)"\s*$', re.MULTILINE)
# An ACL rule of CONFIG's ``user`` that carries a password (>, <) or its hash (#, !).
_CREDENTIAL = re.compile(r"(?<!\S)[><#!]\S+")


def read_config(path: Path) -> dict[str, str]:
    """Settings by name, in lower case; values as the server writes them, passwords as ``[redacted]``, an unset one as
    ``""``.

    Takes the map or the flat array of ``redis-cli --json``, and the lines, plain or numbered, that it prints without
    it. Raises Unusable where there is no setting in it.
    """
    text = read_text_answer(path)
    if text.lstrip().startswith(("{", "[")):
        pairs = {name: _scalar(value) for name, value in as_map(read_json_answer(path)).items()}
    else:
        pairs = _lines(text)
    settings = {name.lower(): _redacted(name.lower(), value) for name, value in pairs.items() if _NAME.fullmatch(name)}
    if not settings:
        raise Unusable("holds no setting: not an answer to CONFIG GET", file=path.name)
    return settings


def _scalar(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_scalar, value))
    return "" if value is None else str(value)


def _lines(text: str) -> dict[str, str]:
    numbered = _NUMBERED.findall(text)
    lines = numbered or text.rstrip("\n").split("\n")
    return dict(zip(lines[::2], [*lines[1::2], ""], strict=False))


def _redacted(name: str, value: str) -> str:
    if name == "user":
        return _CREDENTIAL.sub(MASK, value)
    return MASK if value and secret_name(name) else redact_text(value)
