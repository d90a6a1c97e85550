"""From everything known about a task to its verdict: find, weigh, and say.

In: a ``View``. Out: a ``Verdict``. Pure: the same view gives the same verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

from analysis.findings.rules import (  # noqa: F401 - entering their rules in the register
    coded,
    counted,
    handled,
    lived,
    look,
    lost,
    recorded,
    rq,
    scoped,
    sighted,
    stored,
    unsent,
    written,
)
from analysis.findings.telling import advice, tell
from analysis.findings.verdict import Hypothesis, Record, Verdict
from analysis.findings.view import View, place
from analysis.findings.weigh import SMALLEST, fold, unexpected_loss, weigh

IN_FLIGHT = ("queued", "reserved", "running")
# A record whose cause is so sure has no more to be told apart.
_SETTLED = 0.99
_THERE = (
    "present",
    "wrong_database",
    "wrong_prefix",
    "wrong_node",
    "undecodable",
    "result_never_stored",
    "db_swapped",
    "renamed_or_moved",
)


def conclude(view: View, name: str = "") -> Verdict:
    """The verdict on one task; ``name`` is the case's name, for the line that says what was asked."""
    findings = look(view)
    jobs = view.stated.jobs is not None or len(view.jobs) or view.registered
    judged = ["result", *(["job"] if jobs else []), "message"]
    weighed = {record: weigh(record, findings) for record in judged}
    records = {record: _record(view, record, weighed[record]) for record in judged}
    loss = unexpected_loss(weighed)
    return Verdict(
        task_id=view.task_id,
        as_of=view.as_of,
        headline=tell.headline(view, records),
        unexpected_loss=loss,
        records=records,
        hypotheses=tuple(h for record in judged for h in fold(weighed[record])),
        gaps=advice.gaps(view, _competing(weighed), judged, _chances(weighed)),
        actions=advice.actions(view, records, loss),
        name=view.name,
        asked=tell.asked(view, name),
        summary=tell.summary(view, records, weighed),
        facts=tell.facts(view, records, weighed),
        quality=tell.quality(view),
        considered=tuple(h for record in judged for h in weighed[record]),
    )


def _competing(weighed: Mapping[str, tuple[Hypothesis, ...]]) -> set[str]:
    """Causes that the evidence has left some room, of records that are not settled."""
    open_ = [hypotheses for hypotheses in weighed.values() if hypotheses[0].probability < _SETTLED]
    return {h.cause for hypotheses in open_ for h in hypotheses if h.probability >= SMALLEST}


def _chances(weighed: Mapping[str, tuple[Hypothesis, ...]]) -> dict[str, float]:
    """The highest probability that each cause has for any record."""
    chances: dict[str, float] = {}
    for hypothesis in (h for hypotheses in weighed.values() for h in hypotheses):
        chances[hypothesis.cause] = max(chances.get(hypothesis.cause, 0.0), hypothesis.probability)
    return chances


def _record(view: View, record: str, weighed: tuple[Hypothesis, ...]) -> Record:
    lead = weighed[0]
    own, message = view.held(record), view.held("message")
    if len(own) and lead.cause in (*_THERE, *IN_FLIGHT):
        status = "in_flight" if record == "message" else "present"
        rows = own
    elif record == "result" and len(message) and lead.cause in (*IN_FLIGHT, *_THERE):
        status, rows = "in_flight", message
    elif lead.cause in IN_FLIGHT:
        status, rows = "in_flight", own.iloc[:0]
    else:
        missing = view.missed_by(record) is not None or len(view.past(record))
        status = "absent" if missing or lead.cause != "unknown" else "unknown"
        rows = own.iloc[:0]
    if len(rows):
        first = view.main(record if len(own) else "message").name
        rows = rows.loc[[first, *(label for label in rows.index if label != first)]]
    where = tuple(place(str(row.server), int(row.db), str(row.key)) for row in rows.itertuples())
    return Record(status, lead.cause, lead.probability, tuple(dict.fromkeys(where)))
