"""What the server refused: commands, keys and passwords.

In: a file with the answer to ``ACL LOG``. Out: the frame ``commands``, in rows that say that they were denied. None of
them ran.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import Unusable
from analysis.evidence.answers import as_map, read_json_answer
from analysis.evidence.clients import client_items
from analysis.frames import frame
from analysis.redact import redact_text, shorten

WITNESS = "ACL LOG"
_SECONDS = re.compile(r"\d{1,12}(?:\.\d{1,9})?")
_LAST_MS = 2**33 * 1000
_FIELDS = {"reason", "object", "username", "age-seconds", "client-info"}


def read_acl_log(path: Path, *, source: str, server: str = "", stamp: pd.Timestamp | None = None) -> pd.DataFrame:
    """A row for each entry, the oldest first. None of these commands ran: ``detail`` begins with ``denied:`` and
    ``removed_by`` is missing.

    ``verb`` is the command as the entry spells it (``config|set``), of a denied key or channel the one the client
    sent, where the entry has it; ``keys`` is the denied key. From 7.2 on an entry says when it was made and when it
    last came again: ``not_before`` and ``not_after``. Before that it has only its age, in seconds to the millisecond,
    of its last time: with ``stamp``, the second in which the file was taken, that makes both where it came once, and
    without it neither. ``offset`` is the entry's own number, or its place. Entries may be maps or flat arrays; one
    that is neither costs one row. Raises Unusable where the file is no list of entries.
    """
    answer = read_json_answer(path)
    if not isinstance(answer, list):
        raise Unusable("holds no list of entries: not an answer to ACL LOG", file=path.name)
    entries = [as_map(entry) for entry in answer]
    if entries and not any(_FIELDS & entry.keys() for entry in entries):
        raise Unusable("holds no entry of an ACL LOG", file=path.name)
    # The newest comes first.
    rows = [_row(entry, number, stamp) for number, entry in enumerate(entries) if _FIELDS & entry.keys()]
    return frame("commands", [{"server": server, "source": source, "witness": WITNESS, **row} for row in rows[::-1]])


def _row(entry: dict[str, Any], number: int, stamp: pd.Timestamp | None) -> dict[str, Any]:
    reason, subject = _text(entry.get("reason")) or "unknown", _text(entry.get("object")) or ""
    info = client_items(_text(entry.get("client-info")) or "")
    asked = info.get("cmd") if info.get("cmd") != "NULL" else None
    own = _whole(entry.get("entry-id"))
    not_before, not_after = _when(entry, stamp)
    name = info.get("name")
    return {
        "offset": number if own is None else own,
        "not_before": not_before,
        "not_after": not_after,
        "db": _whole(info.get("db")),
        "verb": shorten(redact_text(subject if reason in ("command", "auth") else asked or ""), 120) or None,
        "keys": [subject] if reason == "key" else [],
        "detail": _detail(reason, subject, entry),
        "client": info.get("addr"),
        "client_name": redact_text(name) if name else None,
        "user": redact_text(_text(entry.get("username")) or "") or None,
    }


def _detail(reason: str, subject: str, entry: dict[str, Any]) -> str:
    """``denied: key``; of what is neither command nor key its name, then where from and how often."""
    named = f" {subject}" if subject and reason not in ("command", "key", "auth") else ""
    context = _text(entry.get("context")) or "toplevel"
    count = _whole(entry.get("count")) or 1
    parts = [f"denied: {reason}{named}"]
    parts += [f"in {context}"] if context != "toplevel" else []
    parts += [f"{count:,} times"] if count > 1 else []
    return shorten(redact_text(", ".join(parts)), 250)


def _when(entry: dict[str, Any], stamp: pd.Timestamp | None) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    made, again = _moment(entry.get("timestamp-created")), _moment(entry.get("timestamp-last-updated"))
    if made is not None:
        return made, made if again is None else max(made, again)
    age = str(entry.get("age-seconds", ""))
    if stamp is None or not _SECONDS.fullmatch(age):
        return None, None
    last = stamp.as_unit("us") - pd.Timedelta(milliseconds=round(float(age) * 1000))
    once = (_whole(entry.get("count")) or 1) == 1
    return last if once else None, last + pd.Timedelta(microseconds=999_999)


def _moment(value: Any) -> pd.Timestamp | None:
    """A time in ms, which stands for that whole millisecond; it is not stretched, for its order is what counts."""
    number = _whole(value)
    return None if not number or number > _LAST_MS else pd.Timestamp(number, unit="ms", tz="UTC").as_unit("us")


def _text(value: Any) -> str | None:
    return None if value is None or isinstance(value, list | dict) else str(value)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 17:
        value = int(value)
    return value if isinstance(value, int) and 0 <= value < 2**53 else None
