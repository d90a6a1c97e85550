"""Views and records with which to try what is said of each cause, whatever the rules make of the evidence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from analysis.findings.causes import CAUSES
from analysis.findings.verdict import Evidence, Hypothesis, Record
from analysis.findings.view import View
from analysis.frames import frame
from analysis.settings import Settings
from tests.findings.cases import TASK, at, event, message, result, snapshot, view

KEY = f"celery-task-meta-{TASK}"
KNOWN = [cause for cause in CAUSES if cause not in ("unknown", "other")]
CONSUMED = Record("absent", "consumed", 0.999)
_IN_FLIGHT = ("queued", "reserved", "running")
_THERE = ("present", "wrong_database", "wrong_prefix", "wrong_node", "undecodable")
AOF = {"server": "", "path": "appendonly.aof", "kind": "append-only commands", "complete": True}


def gone(**more: Any) -> View:
    """A result that was stored, and is not there ten minutes later."""
    return view(
        evidence=[snapshot("before.rdb", 60), snapshot("after.rdb", 600)],
        tasks=[result("before.rdb", stored=5)],
        events=[event("received", 0, name="shop.mail"), event("succeeded", 5, seconds=4.9)],
        stated=Settings(result_expires=86400),
        **more,
    )


def there(**more: Any) -> View:
    return view(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb")], **more)


def waiting(**more: Any) -> View:
    return view(evidence=[snapshot("a.rdb", 100)], messages=[message("a.rdb", **more)])


def command(verb: str, when: float, **more: Any) -> dict[str, Any]:
    """A row of ``commands``, out of an append-only file."""
    row = {"server": "", "source": "appendonly.aof", "witness": "append-only file", "offset": int(when), "db": 2}
    return {**row, "not_before": at(when), "not_after": at(when), "verb": verb, "keys": [KEY], **more}


def streamed(*commands: Mapping[str, Any], evidence: Iterable[Mapping[str, Any]] = (AOF,), **more: Any) -> View:
    """A result of which an append-only file shows that it was stored, and then these commands."""
    stored = command("SET", 5, expires_at=at(86405), task_id=TASK)
    shown = view(
        evidence=evidence,
        events=[event("succeeded", 5, seconds=4.9)],
        stated=Settings(result_expires=86400, noticed_at=at(600)),
        **more,
    )
    return replace(shown, commands=frame("commands", [stored, *commands]))


def with_code(shown: View, **row: Any) -> View:
    """The same with one place in source code."""
    place = {"file": "app/records.py", "line": 77, "function": "purge", "does": "deletes", **row}
    return replace(shown, cleanup=frame("cleanup", [place]))


def found(cause: str, confidence: float = 0.999, status: str = "") -> Record:
    """What a result met; its status follows from the cause unless it is given."""
    usual = "in_flight" if cause in _IN_FLIGHT else "present" if cause in _THERE else "absent"
    return Record(status or usual, cause, confidence)


def records(cause: str, confidence: float = 0.999, **others: Record) -> dict[str, Record]:
    return {"result": found(cause, confidence), **others, "message": CONSUMED}


def weighed(met: Mapping[str, Record]) -> dict[str, tuple[Hypothesis, ...]]:
    """Hypotheses under which each record met what it met, on one piece of evidence."""
    says = Evidence("some-rule", "a.rdb", 20.0, "Something was seen.")
    tables: dict[str, tuple[Hypothesis, ...]] = {}
    for name, record in met.items():
        first = Hypothesis(name, record.cause, 0.0, 20.0, record.confidence, (says,))
        other = "natural_expiry" if record.cause == "unknown" else "unknown"
        tables[name] = (first, Hypothesis(name, other, 0.0, 0.0, 1 - record.confidence))
    return tables


@cache
def seen_as(cause: str) -> View:
    """A view in which a result can have met the cause."""
    return waiting() if cause in _IN_FLIGHT else there() if cause in _THERE else gone()


def well_formed(text: str) -> None:
    """Sentences, each with its full stop, none too long, and none that shows how it was made."""
    assert text.endswith("."), text
    assert text[0].isupper() or text[0] == "“", text
    assert not re.search(r"[{}]|\bnan\b|NaT|None|<NA>|  |\.\.|\?\.| ,| \.", text), text
    assert all(len(sentence) < 300 for sentence in re.split(r"(?<=[.?!]) (?=[A-Z“])", text)), text
