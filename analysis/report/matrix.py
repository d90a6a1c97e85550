"""The matrix of evidence against causes, as it was weighed, so that a reader can check it and disagree.

In: a ``Verdict``. Out: a table for each of its records. Weighs nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from analysis.findings.causes import PRIORS, title
from analysis.findings.verdict import Evidence, Hypothesis, Verdict
from analysis.findings.words import count, lower_first, percent
from analysis.report.html import Html, render, said, sentence, together

MOST_COLUMNS = 5
# Decibans at which a cell has its full tint: a likelihood ratio of a hundred.
FULL = 20.0
INTRO = (
    "Each line is a piece of evidence, each column a possible cause. A number says how strongly the evidence speaks "
    "for (+) or against (−) that cause: +10 makes it ten times as likely beside the others, +3 twice, −10 a tenth. A "
    "dot says nothing about it; a 0 makes no difference, or is an event that another line counts already. The numbers "
    "(decibans) add up to the sums, and the sums are the probabilities."
)
_RECORD = {"result": "the result", "job": "the job record", "message": "the queue message"}


def matrices(verdict: Verdict) -> Html:
    """Evidence against causes, for each record: decibans as they were added up, so that a reader can check and
    disagree.
    """
    return together(sentence(INTRO), *(_matrix(verdict, record) for record in verdict.records))


class _Tinted(NamedTuple):
    text: str
    tint: str
    deep: str


def _matrix(verdict: Verdict, record: str) -> Html:
    name, weighed = _RECORD.get(record, record), verdict.of(record)
    if not weighed:
        return sentence(f"No cause was weighed for {name}.", "quiet")
    columns = _columns(weighed)
    pieces: dict[tuple[str, str, str], dict[str, Evidence]] = {}
    for hypothesis in columns:
        for piece in hypothesis.evidence:
            pieces.setdefault((piece.id, piece.source, piece.says), {})[hypothesis.cause] = piece
    ordered = sorted(pieces.items(), key=lambda item: -max(abs(piece.weight) for piece in item[1].values()))
    rows = [
        {
            "says": said(says, 400),
            "source": said(source),
            "cells": [_tinted(by_cause.get(hypothesis.cause)) for hypothesis in columns],
        }
        for (_, source, says), by_cause in ordered
    ]
    lead = weighed[0]
    return render(
        "matrix.html.j2",
        id=f"why-{record}",
        title=said(f"{name[:1].upper()}{name[1:]}: {lower_first(title(lead.cause))}, {percent(lead.probability)}"),
        decided=said(_decided(lead), 900),
        against=said(_against(lead), 600),
        heads=[(title(h.cause), h is lead) for h in columns],
        reason=_reason(record, lead),
        priors=[signed(h.prior) for h in columns],
        rows=rows,
        sums=[signed(h.decibans) for h in columns],
        shares=[percent(h.probability) for h in columns],
        folded=_folded([h for h in weighed if h not in columns]),
    )


def _columns(weighed: tuple[Hypothesis, ...]) -> list[Hypothesis]:
    """The leading causes, and the commonest of those that evidence bears on; ``unknown`` always, at the end."""
    known = [h for h in weighed if h.cause != "unknown"]
    leading = [h for h in known if h.probability >= 0.01][:MOST_COLUMNS]
    moved = sorted((h for h in known if h not in leading and h.evidence), key=lambda h: (-h.prior, -h.decibans))
    room = max(MOST_COLUMNS - 1 - len(leading), 0)
    return [
        *leading,
        *sorted(moved[:room], key=lambda h: -h.probability),
        *(h for h in weighed if h.cause == "unknown"),
    ]


def _reason(record: str, lead: Hypothesis) -> str:
    """Why the leading cause has the prior it has."""
    prior = PRIORS.get(record, {}).get(lead.cause)
    why = f"; {lower_first(title(lead.cause))}: {prior.reason}" if prior else ""
    return f"the prior: how common each is, with nothing else known{why}"


def signed(decibans: float) -> str:
    """``+13``, ``−3.4``, ``0``: with a sign that is no hyphen."""
    rounded = round(decibans, 1)
    number = f"{abs(rounded):g}"
    return f"+{number}" if rounded > 0 else f"−{number}" if rounded < 0 else "0"


def _tinted(piece: Evidence | None) -> _Tinted:
    if piece is None:
        return _Tinted("·", "silent", "")
    if not round(piece.weight, 1):
        return _Tinted("0", "", "")
    tint = "for" if piece.weight > 0 else "against"
    return _Tinted(signed(piece.weight), tint, f"{min(abs(piece.weight) / FULL, 1):.2f}")


def _folded(rest: list[Hypothesis]) -> dict[str, str]:
    """The causes that have no column: how many, how likely together, and their names."""
    if not rest:
        return {}
    share = percent(sum(h.probability for h in rest))
    together = f", {share} together" if len(rest) > 1 else f", {share}"
    named = ", ".join(lower_first(title(h.cause)) for h in rest)
    return {"many": count(len(rest), "other cause") + together, "named": f"{named[:1].upper()}{named[1:]}."}


def _decided(lead: Hypothesis) -> str:
    strongest = [piece for piece in lead.evidence if piece.weight > 0][:3]
    if lead.cause == "unknown":
        return "No piece of evidence speaks strongly enough for any one cause."
    if not strongest:
        return "Nothing speaks for it directly; it leads because the others are ruled out or rarer."
    return "What decided it: " + " ".join(f"{piece.says} ({piece.source})" for piece in strongest)


def _against(lead: Hypothesis) -> str:
    against = [piece for piece in lead.evidence if piece.weight < 0]
    return "What speaks against it: " + " ".join(piece.says for piece in against) if against else ""
