"""The connections a server had.

In: a file with the answer to ``CLIENT LIST``. Out: the frame ``clients``. Does not know whose connections they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import Unusable
from analysis.evidence.answers import read_text_answer
from analysis.frames import frame
from analysis.redact import redact_text

# A value runs to the next " name=": the path of a Unix socket may hold blanks.
_ITEM = re.compile(r"(?:^| )([a-z][a-z0-9_-]{0,40})=(.*?)(?= [a-z][a-z0-9_-]{0,40}=|$)")
_WHOLE = re.compile(r"-?\d{1,18}")
_LONGEST = 16_384


def read_clients(path: Path, *, source: str, server: str = "") -> pd.DataFrame:
    """A row for each connection. ``lib`` is name and version of the client library (Redis 7.2+), where it says it.

    Lines of any version: items are found by name, unknown ones are passed over. Raises Unusable where no line is one.
    """
    rows = []
    for line in read_text_answer(path).split("\n"):
        items: dict[str, str] = {}
        for name, value in _ITEM.findall(line.strip()[:_LONGEST]):
            items.setdefault(name, value)
        if "addr" in items or ("id" in items and "cmd" in items):
            rows.append({"server": server, "source": source, **_row(items)})
    if not rows:
        raise Unusable("holds no connection: not an answer to CLIENT LIST", file=path.name)
    return frame("clients", rows)


def _row(items: dict[str, str]) -> dict[str, Any]:
    lib = " ".join(part for part in (items.get("lib-name", ""), items.get("lib-ver", "")) if part)
    return {
        "addr": items.get("addr"),
        "name": redact_text(items["name"]) if items.get("name") else None,
        "user": items.get("user"),
        "db": _whole(items.get("db")),
        "cmd": items.get("cmd"),
        "age": _whole(items.get("age")),
        "idle": _whole(items.get("idle")),
        "lib": lib or None,
    }


def _whole(text: str | None) -> int | None:
    return int(text) if text and _WHOLE.fullmatch(text) else None
