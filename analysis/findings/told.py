"""A pattern that was found, as a row: what it is called, who saw it, what went and of how much, and how sure that is.

In: figures of the rooms that look (``bursts``, ``pairs``, ``finished``, ``gaps``). Out: the frame of patterns, and its
sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from analysis.findings.scope.naming import PATTERNS

STRENGTHS: dict[str, str] = {
    "shown": "the witness saw the removal itself",
    "likely": "what is missing can hardly have gone otherwise",
    "hint": "something else explains it as well",
}
"""How far a pattern is sure, strongest first."""

WITNESSES: dict[str, str] = {
    "commands": "append-only files, backlogs, MONITOR, notifications",
    "snapshots": "two snapshots of one server",
    "logs": "tasks that workers logged as ended, against the last snapshot",
    "one snapshot": "the ages of what is left",
}
"""Who can tell of a pattern, the best first."""


@dataclass(frozen=True)
class Pattern:
    """One pattern. ``gone`` of ``of`` keys that could have gone; ``expected``: how many the case's own rhythm has.
    ``removal``: it says that keys were removed before they were due.
    """

    pattern: str
    witness: str
    says: str
    server: str = ""
    db: int | None = None
    families: tuple[str, ...] = ()
    since: pd.Timestamp | None = None
    until: pd.Timestamp | None = None
    gone: int | None = 0
    of: int | None = None
    expected: float = 0.0
    strength: str = "shown"
    removal: bool = False


def titled(pattern: str) -> str:
    """A pattern's name at the beginning of a sentence."""
    return pattern[:1].upper() + pattern[1:]


COLUMNS = (
    "pattern", "witness", "server", "db", "families", "since", "until", "gone", "of", "share", "expected", "strength",
    "removal", "says",
)  # fmt: skip


def patterns_frame(found: Iterable[Pattern]) -> pd.DataFrame:
    """Rows of ``COLUMNS``: removals first, the surest and largest of them first, what was looked at in vain last."""
    rows = sorted(found, key=_rank)
    table: dict[str, list[Any]] = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Pattern)}
    assert all(row.pattern in PATTERNS and row.strength in STRENGTHS and row.witness in WITNESSES for row in rows)
    table["families"] = [", ".join(row.families) for row in rows]
    table["share"] = [None if row.gone is None or not row.of else row.gone / row.of for row in rows]
    dtypes = {"db": "Int64", "gone": "Int64", "of": "Int64", "share": "float64", "expected": "float64"}
    times = dict.fromkeys(("since", "until"), "datetime64[us, UTC]")
    flags = {"removal": "bool"}
    texts = dict.fromkeys(("pattern", "witness", "server", "families", "strength", "says"), "str")
    return pd.DataFrame(
        {name: pd.Series(table[name], dtype=(dtypes | times | flags | texts)[name]) for name in COLUMNS}
    )


def _rank(row: Pattern) -> tuple[Any, ...]:
    strength = list(STRENGTHS).index(row.strength)
    return row.pattern == "nothing", not row.removal, strength, list(WITNESSES).index(row.witness), -(row.gone or 0)
