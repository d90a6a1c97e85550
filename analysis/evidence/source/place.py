"""A place in source code that deletes, expires, flushes, renames, forgets, purges or searches keys, or sets a setting.

In: what readers of source found. Out: ``Place``s, their text on one line and without secrets. Knows no language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from analysis.redact import MASK, redact_text, secret_name, shorten

LONGEST_CALL = 300
_LONGEST_RAW = 4_000
_LONE_ASSIGNMENT = re.compile(r"^(?P<name>[\w.\-]{1,100})\s*[=:]\s*\S")


@dataclass(frozen=True)
class Place:
    """One row of the frame ``cleanup``, as found. ``scope`` is the function that holds it, for those who ask who calls
    it: with ``file`` it names the function in the tree; None where calls are not followed.
    """

    file: str
    line: int
    function: str
    call: str
    does: str
    pattern: str | None
    seconds: float | None = None
    reached: str | None = None
    settings: str | None = None
    scope: str | None = None

    def reached_by(self, labels: str | None) -> Place:
        """The same place, reached that way."""
        return replace(self, reached=labels)

    def row(self) -> dict[str, Any]:
        """The place as a row of the frame."""
        return {
            "file": self.file,
            "line": self.line,
            "function": self.function,
            "call": self.call,
            "does": self.does,
            "pattern": None if self.pattern is None else printable(redact_text(self.pattern)),
            "seconds": self.seconds,
            "reached": self.reached,
            "settings": self.settings or None,
        }


def one_line(text: str) -> str:
    """Code as it is shown: on one line, without secrets, not longer than ``LONGEST_CALL`` and a note."""
    flat = redact_text(" ".join(text[:_LONGEST_RAW].split()))
    if (found := _LONE_ASSIGNMENT.match(flat)) and secret_name(found["name"]):
        flat = f"{found['name']}={MASK}"
    return printable(shorten(flat, LONGEST_CALL))


def printable(text: str) -> str:
    """Text on one line whatever it holds: what cannot be printed is escaped."""
    if text.isprintable():
        return text
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
