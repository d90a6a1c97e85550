"""The parts of a report, each a function from what was found to ``Html``. Notebooks call these, and hold nothing else.

In: verdicts and frames. Out: parts of a page. Decides what is shown and in which words, never what is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from analysis.case import Case
from analysis.findings.bulk import BulkFindings
from analysis.findings.causes import title
from analysis.findings.verdict import Fact, Verdict
from analysis.findings.words import count, listed, lower_first, percent, stamp
from analysis.redact import shorten
from analysis.report.bulk_page import gone
from analysis.report.closing import about as about
from analysis.report.closing import appendix as appendix
from analysis.report.closing import evidence_list as evidence_list
from analysis.report.closing import kit
from analysis.report.closing import taken as taken
from analysis.report.html import FOLDS_FROM, MOST_ROWS, Html, listing, render, said, sentence, table, together
from analysis.report.matrix import matrices as matrices
from analysis.report.show import shown

LANE_TITLES = {
    "server": "Redis server",
    "task": "Task",
    "message": "Message",
    "result": "Result",
    "job": "Job record",
    "case": "Evidence",
}
# What a verdict says of a loss: its colour, and the sign and the words that say the same.
TONES = {
    True: ("bad", "✗", "Unexpected loss"),
    False: ("good", "✓", "No unexpected loss"),
    None: ("open", "?", "Not decided"),
}
_MOST_RIVALS = 4


def first_screen(verdict: Verdict, zone: ZoneInfo, asked: str = "") -> Html:
    """What was asked, what happened, how sure, as of when, and from what: the screen that must be understood alone.

    ``asked`` is the ID as it was given, which may be the beginning of the task's.
    """
    tone, mark, word = TONES[verdict.unexpected_loss]
    as_of = "The evidence carries no time."
    if verdict.as_of is not None:
        as_of = (
            f"As of {stamp(verdict.as_of, zone)}, the latest moment of which the evidence speaks. All times are UTC."
        )
    given = verdict.asked
    if asked and asked != verdict.task_id:
        given += f" · asked as {asked}, with which only this ID begins"
    open_question = verdict.unexpected_loss is None
    return render(
        "first_screen.html.j2",
        page_title=_title(verdict.task_id, "Deletion investigation"),
        asked=said(given),
        name=said(verdict.name, 120),
        task_id=said(verdict.task_id, 260),
        tone=tone,
        mark=mark,
        word=word,
        headline=said(verdict.headline, 600),
        summary=[said(line, 1500) for line in verdict.summary.splitlines()],
        facts=[
            {"label": said(f.label, 60), "answer": said(f.answer, 120), "basis": said(f.basis, 240), "to": to}
            for f, to in zip(verdict.facts, chain(_places(verdict), repeat("")), strict=False)
        ],
        rivals=_rivals(verdict) if open_question else [],
        deciders=verdict.gaps[:2] if open_question else (),
        as_of=as_of,
        values=_values(),
        kit=kit(),
    )


def _title(subject: str, what: str) -> str:
    """What the page is called; what is written out as escapes may not push the rest out of it."""
    return f"{shorten(said(subject, 80), 120)} · {what}"


def _values() -> str:
    return "Values are shown as they are." if shown() else "Values from the data are shortened, and secrets redacted."


def _places(verdict: Verdict) -> list[str]:
    """Where on the page each fact is explained: those of the records in their matrices, and that of the evidence."""
    return [*(f"why-{record}" if verdict.of(record) else "" for record in verdict.records), "evidence"]


def _rivals(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Causes of the result that the evidence leaves room for: title, probability in words, share of a bar."""
    possible = [h for h in verdict.of("result") if h.cause not in ("unknown", "other") and h.probability >= 0.02]
    return [(title(h.cause), percent(h.probability), f"{h.probability:.3f}") for h in possible[:_MOST_RIVALS]]


def title_screen(what: str, found: str, case: Case, figures: Sequence[Fact] = (), summary: Sequence[str] = ()) -> Html:
    """The first screen of a report on a whole case: what it is about, its finding and what else is to be known at
    first, key figures where there are any, and from what evidence.
    """
    basis = f"{count(len(case.evidence), 'file')} of evidence"
    moments = case.evidence["to"].dropna()
    zone = case.settings.timezone
    as_of = (
        f"As of {stamp(moments.max(), zone)}. All times are UTC." if len(moments) else "The evidence carries no time."
    )
    left = f" Not read, or in part: {listed(list(case.shortcomings), most=4)}." if case.shortcomings else ""
    return render(
        "title_screen.html.j2",
        page_title=_title(case.name, what),
        what=what,
        name=said(case.name, 200),
        found=said(found, 1200),
        summary=[said(line, 1200) for line in summary],
        figures=[
            {"label": said(one.label, 60), "answer": said(one.answer, 120), "basis": said(one.basis, 240)}
            for one in figures
        ],
        basis=said(f"{as_of} From {basis}.{left}", 1200),
        values=_values(),
        kit=kit(),
    )


def timeline_table(timeline: pd.DataFrame, zone: ZoneInfo | None = None, *, limit: int = MOST_ROWS) -> Html:
    """The timeline's rows, for reading what the chart shows; the case's own zone stands under UTC."""
    dated = timeline.loc[timeline["at"].notna()]
    if not len(dated):
        return sentence("Nothing in the evidence carries a time.", "quiet")
    rows = [
        {
            "exact": f"{row.at:%Y-%m-%dT%H:%M:%S.%f}Z",
            "at": _span(row.at, row.not_after),
            "local": _span(row.at, row.not_after, zone) if zone is not None and zone.key != "UTC" else "",
            "lane": said(LANE_TITLES.get(row.lane, row.lane), 60),
            "says": said(row.says),
            "source": said(row.source),
            "certainty": said(_how_known(row), 160),
        }
        for row in dated.head(limit).itertuples()
    ]
    return render("timeline.html.j2", rows=rows, more=len(dated) - len(rows), folds=len(rows) >= FOLDS_FROM)


def _how_known(row: Any) -> str:
    if not isinstance(row.contradicts, str):
        return str(row.certainty)
    return f"{row.certainty}; contradicts {row.contradicts}"


def _span(at: pd.Timestamp, until: pd.Timestamp, zone: ZoneInfo | None = None) -> str:
    """A moment, or both ends of an interval of a second or more."""
    ends = [at] if pd.isna(until) or until - at < pd.Timedelta(seconds=1) else [at, until]
    times = " to ".join(f"{end.tz_convert(zone or 'UTC'):%Y-%m-%d %H:%M:%S}" for end in ends)
    return f"{times} {zone.key if zone else 'UTC'}"


def facts_table(facts: pd.DataFrame, about: str = "Facts") -> Html:
    """Rows of fact, value and source; ``about`` says of what."""
    columns = {"fact": "What", "value": "Value", "source": "From"}
    return table(facts, label=f"{about}, and where it is from", columns=columns, empty="Nothing is known of it.")


def searched(databases: pd.DataFrame, traces: pd.DataFrame) -> Html:
    """Where the ID was looked for, and where it was found."""
    found = table(
        traces.assign(where=[_where(row) for row in traces.itertuples()]),
        label="Places that name the ID",
        columns={"where": "Where", "role": "As", "says": "What that means", "source": "From"},
        empty="No record and no log line names this ID.",
    )
    looked = table(
        databases.assign(db=["DB " + str(db) for db in databases["db"]]),
        label="Databases that were searched",
        columns={
            "snapshot": "Snapshot",
            "db": "Database",
            "keys": "Keys",
            "results": "Results",
            "names_it": "Name the ID",
        },
        empty="There is no snapshot with a key in it.",
    )
    return together(found, looked)


def _where(row: tuple) -> str:  # type: ignore[type-arg]
    if isinstance(row.key, str):  # type: ignore[attr-defined]
        server = f"{row.server}/" if row.server else ""  # type: ignore[attr-defined]
        return f"{server}db{row.db}:{row.key}"  # type: ignore[attr-defined]
    return "a log"


def retention(rows: pd.DataFrame, shots: pd.DataFrame) -> Html:
    """Retention as stated and as observed, and in which of the snapshots (``bulk.looks``)."""
    columns = {"what": "Of", "stated": "Stated", "observed": "Observed", "says": "Compared"}
    compared = table(
        rows, label="Retention stated and observed", columns=columns, empty="Nothing is stated or observed."
    )
    return together(compared, taken(shots))


def bulk(found: BulkFindings) -> Html:
    """Whether keys were removed in bulk."""
    return together(sentence(found.headline), gone(found)) if len(found.gone) else sentence(found.headline)


def headline(text: str) -> Html:
    """A notebook's finding in a sentence."""
    return sentence(text, "finding")


def cleanup(places: pd.DataFrame) -> Html:
    """Places in source code that delete or expire, those first that take records of the task."""
    rows = places.assign(
        place=places["file"] + ":" + places["line"].astype("str") + " " + places["function"].fillna(""),
        pattern=places["pattern"].fillna("all keys").where(~places["does"].eq("sets"), ""),
        reached=places["reached"].fillna("nothing in the code leads to it").where(~places["does"].eq("sets"), ""),
    )
    columns = {
        "place": "Place", "does": "Does", "call": "By", "pattern": "Keys", "covers": "Takes of this task",
        "reached": "Reached by",
    }  # fmt: skip
    return table(
        rows,
        label="Places in source code that delete",
        columns=columns,
        empty="There is no source code in the evidence, or nothing in it that deletes, so no code can be named.",
    )


def actions(verdict: Verdict) -> Html:
    """What to do, in the order in which one would do it."""
    return listing([said(action, 600) for action in verdict.actions], numbered=True, empty="Nothing.")


def gaps(verdict: Verdict) -> Html:
    """What is missing, what it would have told, and how to have it."""
    rows = pd.DataFrame(
        {
            "missing": [gap.missing for gap in verdict.gaps],
            "tell": [listed([lower_first(title(cause)) for cause in gap.would_decide], most=8) for gap in verdict.gaps],
            "how": [gap.how for gap in verdict.gaps],
        },
        dtype=object,
    )
    columns = {"missing": "Missing", "tell": "Would tell of", "how": "How to have it"}
    return table(rows, label="Missing evidence", columns=columns, empty="Nothing that would change the answer.")
