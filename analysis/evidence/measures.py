"""What a server measures of itself: its pauses, and what takes its memory.

In: files with the answers to ``LATENCY LATEST`` and ``MEMORY STATS``. Out: the frame ``counters``. Knows no threshold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import Unusable
from analysis.evidence.answers import as_map, read_json_answer
from analysis.frames import frame
from analysis.redact import redact_text, shorten

# Event, unix time of the last one, its duration and the longest one's in ms; Valkey 9 adds the sum and the number
# (facts/signals.md, 5.4).
_LATENCY = ("last_at", "last_ms", "max_ms", "sum_ms", "count")
_DATABASE = re.compile(r"db\.?(\d{1,9})")
_MOST_ROWS = 10_000


def read_latency(path: Path, *, source: str, server: str = "", stamp: pd.Timestamp | None = None) -> pd.DataFrame:
    """The frame ``counters``: of each event (``expire-cycle``, ``eviction-cycle``, ``command``, …) when it last came,
    ``latency_<event>.last_at`` in seconds since 1970, and how long it took, ``.last_ms`` and ``.max_ms``; on Valkey 9
    ``.sum_ms`` and ``.count`` as well.

    ``at`` is ``stamp``, the time in the file's name. No row where nothing took longer than
    ``latency-monitor-threshold``, or that is 0. An entry that is no event costs one. Raises Unusable where the file is
    no list of them.
    """
    answer = read_json_answer(path)
    if not isinstance(answer, list):
        raise Unusable("holds no list of events: not an answer to LATENCY LATEST", file=path.name)
    rows: list[tuple[str, float]] = []
    for entry in answer[:_MOST_ROWS]:
        if isinstance(entry, list) and len(entry) >= 4 and isinstance(entry[0], str):
            figures = [(name, _figure(value)) for name, value in zip(_LATENCY, entry[1:], strict=False)]
            rows += [(f"latency_{_name(entry[0])}.{name}", value) for name, value in figures if value is not None]
    if answer and not rows:
        raise Unusable("holds no event of LATENCY LATEST", file=path.name)
    return _counters(rows, source, server, stamp)


def read_memory_stats(path: Path, *, source: str, server: str = "", stamp: pd.Timestamp | None = None) -> pd.DataFrame:
    """The frame ``counters``: ``memory_<name>`` for each figure, ``memory_db<N>.<name>`` for those of a database.

    Takes maps and flat arrays. Sizes are in bytes, ``….percentage`` and ``….ratio`` are what they say. ``at`` is
    ``stamp``, the time in the file's name. Raises Unusable where the file has no figure of MEMORY STATS.
    """
    rows = list(_figures(as_map(read_json_answer(path))))[:_MOST_ROWS]
    if not any(name.startswith(("memory_total.", "memory_peak.", "memory_dataset.")) for name, _ in rows):
        raise Unusable("holds no figure of MEMORY STATS", file=path.name)
    return _counters(rows, source, server, stamp)


def _figures(answer: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in answer.items():
        if found := _DATABASE.fullmatch(name):
            figures = ((f"memory_db{found[1]}.{_name(inner)}", _figure(one)) for inner, one in as_map(value).items())
        else:
            figures = ((f"memory_{_name(one)}", _figure(value)) for one in (name,))
        yield from ((name, figure) for name, figure in figures if figure is not None)


def _counters(rows: list[tuple[str, float]], source: str, server: str, stamp: pd.Timestamp | None) -> pd.DataFrame:
    same = {"server": server, "source": source, "at": None if stamp is None else stamp.as_unit("us")}
    return frame("counters", [{**same, "counter": name, "value": value} for name, value in rows])


def _name(name: str) -> str:
    return shorten(redact_text(name), 100)


def _figure(value: Any) -> float | None:
    """A number, or a text that is one, as redis-cli before 7.0 has doubles."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value) if len(str(value)) < 40 else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
