"""What a verdict is: records, hypotheses with their evidence, gaps, actions; and its form as ``verdict.json``.

Only shapes live here. How evidence is weighed stands in ``weigh``, which evidence there is in ``evidence``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

from analysis.showing import ShowsItself


@dataclass(frozen=True)
class Evidence:
    """One piece of evidence as it bears on one hypothesis; ``weight`` in decibans (10·log10 of the likelihood
    ratio).
    """

    id: str
    source: str
    weight: float
    says: str


@dataclass(frozen=True)
class Hypothesis:
    """One cause for one record: prior + evidence = decibans, turned into a probability among the record's causes."""

    record: str
    cause: str
    prior: float
    decibans: float
    probability: float
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Record:
    """What became of one record: ``status`` present, in_flight, absent or unknown; ``where`` names whole keys."""

    status: str
    cause: str
    confidence: float
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gap:
    """Evidence that is not there, what it would have decided, and how to have it."""

    missing: str
    would_decide: tuple[str, ...]
    how: str


@dataclass(frozen=True)
class Fact:
    """One of the few facts on the first screen: a label, the answer, and how sure it is and from what."""

    label: str
    answer: str
    basis: str


@dataclass(frozen=True, repr=False)
class Verdict(ShowsItself):
    """The answer for one task. Times are UTC; sentences are plain text, never markup.

    ``summary`` are the paragraphs under the headline, a line each, ``asked`` the line above it, ``facts`` the four
    facts below. ``quality`` is a word for the evidence with the reason for it. ``considered`` holds every cause that
    was weighed, those that ``hypotheses`` folds into ``other`` too. All of these are shown, and not part of
    ``verdict.json``.
    """

    task_id: str
    as_of: pd.Timestamp | None
    headline: str
    unexpected_loss: bool | None
    records: dict[str, Record]
    hypotheses: tuple[Hypothesis, ...]
    gaps: tuple[Gap, ...]
    actions: tuple[str, ...]
    name: str = ""
    asked: str = ""
    summary: str = ""
    facts: tuple[Fact, ...] = ()
    quality: tuple[str, str] = ("", "")
    considered: tuple[Hypothesis, ...] = ()

    def of(self, record: str) -> tuple[Hypothesis, ...]:
        """Every cause that was weighed for one record, most probable first."""
        return tuple(h for h in (self.considered or self.hypotheses) if h.record == record)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``verdict.json``; obeys ``schema()``."""
        return {
            "schema": 1,
            "task_id": self.task_id,
            "as_of": None if self.as_of is None else f"{self.as_of:%Y-%m-%dT%H:%M:%SZ}",
            "headline": self.headline,
            "unexpected_loss": self.unexpected_loss,
            "records": {
                name: {
                    "status": r.status,
                    "cause": r.cause,
                    "confidence": round(r.confidence, 6),
                    "where": list(r.where),
                }
                for name, r in self.records.items()
            },
            "hypotheses": [
                {
                    "record": h.record,
                    "cause": h.cause,
                    "prior": h.prior,
                    "decibans": round(h.decibans, 6),
                    "probability": h.probability,
                    "evidence": [
                        {"id": e.id, "source": e.source, "weight": e.weight, "says": e.says} for e in h.evidence
                    ],
                }
                for h in self.hypotheses
            ],
            "gaps": [{"missing": g.missing, "would_decide": list(g.would_decide), "how": g.how} for g in self.gaps],
            "actions": list(self.actions),
        }


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) that every ``verdict.json`` obeys; it ships in the package."""
    text = (files("analysis.findings") / "verdict.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
