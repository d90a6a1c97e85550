"""Slow commands.

In: a file with the answer to ``SLOWLOG GET``. Out: the frame ``commands``. Does not know whether a command did any
harm.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import Unusable
from analysis.evidence.answers import read_json_answer
from analysis.evidence.commands import is_telling, keys_of, told_by, verb_of
from analysis.frames import frame
from analysis.redact import redact_text

# Redis keeps 32 arguments of a command and 128 bytes of an argument (src/slowlog.c).
_MORE_ARGUMENTS = re.compile(r"\.\.\. \(\d+ more arguments\)")
_NAMES = {
    "id": ("id",),
    "time": ("time", "start_time", "timestamp", "unix_time"),
    "duration": ("duration", "execution_time", "microseconds"),
    "arguments": ("arguments", "args", "command"),
    "client": ("client_address", "client_addr", "client", "addr"),
    "name": ("client_name", "name"),
}
_LAST_SECOND = 2**33


def read_slowlog(path: Path, *, source: str, server: str = "") -> pd.DataFrame:
    """A row for each command that changed keys, or looked for them (KEYS, SCAN), in the order in which they ran.

    ``offset`` is the entry's own number. An entry bears the second in which the command ended, so it ran between that
    second less its duration, and the second's end. A key over 128 bytes ends in ``... (N more bytes)``, as Redis cut
    it. The database is not in the log, and of a script not what it called. Entries may be arrays or maps; one that is
    neither costs one row. Raises Unusable where the file is no list.
    """
    answer = read_json_answer(path)
    if not isinstance(answer, list):
        raise Unusable("holds no list of entries: not an answer to SLOWLOG GET", file=path.name)
    rows = [row for number, entry in enumerate(answer) if (row := _row(_entry(entry), number))]
    rows.sort(key=lambda row: row["offset"])
    return frame("commands", [{"server": server, "source": source, "witness": "slowlog", **row} for row in rows])


def _entry(entry: Any) -> dict[str, Any]:
    if isinstance(entry, dict):
        return {ours: next((entry[name] for name in theirs if name in entry), None) for ours, theirs in _NAMES.items()}
    return dict(zip(_NAMES, entry, strict=False)) if isinstance(entry, list) else {}


def _row(entry: dict[str, Any], number: int) -> dict[str, Any] | None:
    arguments = entry.get("arguments")
    if isinstance(arguments, str):
        arguments = arguments.split()
    if not isinstance(arguments, list) or not arguments:
        return None
    words = [str(argument) for argument in arguments]
    cut = bool(_MORE_ARGUMENTS.fullmatch(words[-1]))
    words = words[:-1] if cut else words
    if not words or not is_telling(words):
        return None
    ended, lasted = _whole(entry.get("time")), _whole(entry.get("duration")) or 0
    at = pd.Timestamp(ended, unit="s", tz="UTC").as_unit("us") if ended is not None and ended < _LAST_SECOND else None
    own = _whole(entry.get("id"))
    told = told_by(words, at_ms=None if ended is None else ended * 1000)
    expires_at = told.expires_at_ms
    return {
        "offset": number if own is None else own,
        "not_before": None if at is None else at - pd.Timedelta(microseconds=lasted),
        "not_after": None if at is None else at + pd.Timedelta(microseconds=999_999),
        "verb": verb_of(words),
        "keys": keys_of(words, cut=cut),
        "expires_at": None if expires_at is None else pd.Timestamp(expires_at * 1000, unit="us", tz="UTC"),
        "ttl": told.ttl_ms,
        "detail": told.detail,
        "removed_by": "client" if told.removes else None,
        "client": str(entry["client"]) if entry.get("client") else None,
        "client_name": redact_text(str(entry["name"])) if entry.get("name") else None,
    }


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        value = int(value)
    return value if isinstance(value, int) and 0 <= value < 2**53 else None
