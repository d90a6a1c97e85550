"""The cards: what a case, a verdict, an investigation and findings show of themselves by hand.

In: objects of the floors below. Out: ``Html``, which is HTML and plain text. Counts and cuts; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import singledispatch
from zoneinfo import ZoneInfo

import pandas as pd

from analysis.case import Case
from analysis.findings.verdict import Verdict
from analysis.findings.words import count, listed, stamp
from analysis.frames import FRAMES, ROWS
from analysis.investigation import Investigation
from analysis.report.html import Html, render, said, table
from analysis.report.page import TONES
from analysis.report.show import shown
from analysis.showing import ShowsItself

# What findings are called, where that is not the words of their own name.
_CALLED = {
    "BulkFindings": "Bulk patterns",
    "OverviewFindings": "Overview",
    "SurvivalFindings": "What went before its expiry",
    "TtlFindings": "TTLs",
}
_MOST_KINDS = 12
_MOST_LINES = 6
_MOST_FILES = 30


@singledispatch
def card(thing: ShowsItself) -> Html:
    """What a thing shows of itself; of findings the headline, and how long each of their frames is."""
    names: list[str] = [field.name for field in fields(thing)] if is_dataclass(thing) else []
    given = {name: getattr(thing, name) for name in names}
    frames = {name: value for name, value in given.items() if isinstance(value, pd.DataFrame)}
    headline = given.get("headline")
    return render(
        "card.html.j2",
        kind=_CALLED.get(type(thing).__name__) or _words(type(thing).__name__),
        title=said(headline, 600) if isinstance(headline, str) else "",
        lines=[],
        facts=[],
        folds=[(_held({name: len(value) for name, value in frames.items()}), _lengths(frames))] if frames else [],
        note="",
    )


def _words(name: str) -> str:
    """``TtlFindings`` as ``Ttl findings``."""
    apart = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    return apart[:1].upper() + apart[1:]


def _lengths(frames: dict[str, pd.DataFrame]) -> Html:
    rows = [
        {"frame": f".{name}", "rows": len(frame), "columns": ", ".join(map(str, frame.columns))}
        for name, frame in frames.items()
    ]
    return table(pd.DataFrame(rows), label="Frames", folds=False)


@card.register
def _of_case(case: Case) -> Html:
    return render(
        "card.html.j2",
        kind="Case",
        title=said(case.name, 200),
        lines=[],
        facts=list(_case_facts(case)),
        folds=[(_held(_rows(case)), _frames(case)), (f"Files: {len(case.evidence):,}", _files(case))],
        note='analysis.describe("keys") says what each column of a frame means, and its unit.',
    )


def _case_facts(case: Case) -> Iterator[tuple[str, str]]:
    evidence, zone = case.evidence, case.settings.timezone
    if len(evidence):
        kinds = evidence["kind"].value_counts()
        named = listed(
            [str(kind) if number == 1 else f"{number:,} {kind}" for kind, number in kinds.items()], most=_MOST_KINDS
        )
        yield "Evidence", f"{count(len(evidence), 'file')}, {int(evidence['size'].sum()):,} bytes: {said(named)}"
    else:
        yield "Evidence", "none: no file could be read as evidence"
    yield from _lines("Left out", list(case.shortcomings))
    undated = int(evidence["to"].isna().sum())
    dated = (
        [_period(evidence[["from", "to"]].min().min(), evidence["to"].max(), zone)] if undated < len(evidence) else []
    )
    timeless = [f"{count(undated, 'file carries', 'files carry')} no time"] if undated else []
    yield "Period", "; ".join(dated + timeless) or "no time is told"
    if case.settings.noticed_at is not None:
        yield "Missed", f"{stamp(case.settings.noticed_at, zone)}, as case.toml states"
    yield from _lines("Servers", list(_servers(case)))
    yield "Values", "shown as they are" if shown() else "in reports shortened, and secrets redacted"


def _times(evidence: pd.DataFrame, zone: ZoneInfo) -> Iterator[str]:
    undated = int(evidence["to"].isna().sum())
    if undated < len(evidence):
        yield _period(evidence[["from", "to"]].min().min(), evidence["to"].max(), zone)
    if undated:
        yield f"{count(undated, 'file carries', 'files carry')} no time"


def _period(begin: pd.Timestamp, end: pd.Timestamp, zone: ZoneInfo) -> str:
    """``2025-07-23 23:26:08 to 2025-07-24 02:38:38 UTC``, with the case's own zone in brackets where it is another."""
    times = f"{begin:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC"
    if zone.key == "UTC":
        return times
    own = begin.tz_convert(zone), end.tz_convert(zone)
    return f"{times} ({own[0]:%Y-%m-%d %H:%M:%S} to {own[1]:%Y-%m-%d %H:%M:%S} {zone.key})"


def _lines(label: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    """A row for each line, the first few of them; the rest is counted."""
    for place, line in enumerate(lines[:_MOST_LINES]):
        yield "" if place else label, said(line)
    if len(lines) > _MOST_LINES:
        yield "", f"and {len(lines) - _MOST_LINES:,} more"


def _servers(case: Case) -> Iterator[str]:
    """A line for each server: what its last INFO answer says that it is."""
    answers = case.servers.drop_duplicates("server", keep="last").set_index("server")
    names = [str(name) for name in case.evidence["server"].unique()]
    for name in names:
        # What lies outside servers/ belongs to all of them, unless a server answered from there.
        if name not in answers.index and not (name == "" and len(names) > 1):
            yield _named(name, "there is no INFO answer, so its version and role are not known")
        elif name in answers.index:
            answer = answers.loc[name]
            flavor = {"redis": "Redis", "valkey": "Valkey"}.get(str(answer["flavor"]), str(answer["flavor"]))
            asked = f", asked at {stamp(answer['at'])}" if pd.notna(answer["at"]) else ""
            yield _named(name, f"{flavor} {answer['version']}, {answer['role']}{asked}")


def _named(name: str, text: str) -> str:
    return f"{name}: {text}" if name else text


def _rows(case: Case) -> dict[str, int]:
    """How many rows each frame has. Comparing snapshots may take long, so ``changes`` is not made to be counted."""
    names = {field.name for field in fields(case)}
    return {name: len(getattr(case, name)) for name in FRAMES if name in names}


def _held(rows: dict[str, int]) -> str:
    """``Frames: .keys 7 · .tasks 4``; those without a row are not named."""
    held = " · ".join(f".{name} {number:,}" for name, number in rows.items() if number)
    return f"Frames: {held}" if held else "Frames: all are empty"


def _frames(case: Case) -> Html:
    """What a row of each frame is."""
    told = [{"frame": f".{name}", "rows": number, "is": ROWS[name]} for name, number in _rows(case).items()]
    told.append({"frame": ".changes", "rows": None, "is": f"{ROWS['changes']}; made when it is first asked for"})
    columns = {"frame": "Frame", "rows": "Rows", "is": "A row is"}
    return table(pd.DataFrame(told, dtype=object), label="Frames", columns=columns, folds=False)


def _files(case: Case) -> Html:
    """The files of evidence, and from when to when each testifies."""
    whole = case.evidence["complete"].fillna(False).astype(bool)
    files = case.evidence.assign(read=["whole" if sound else "in part" for sound in whole])
    columns = {"path": "File", "kind": "Is", "from": "From", "to": "To", "read": "Read"}
    return table(files, label="Files of evidence", columns=columns, empty="None.", limit=_MOST_FILES, folds=False)


@card.register
def _of_verdict(verdict: Verdict) -> Html:
    return _verdict(verdict, None, "")


@card.register
def _of_investigation(looked: Investigation) -> Html:
    return _verdict(
        looked.verdict,
        looked.zone,
        "Also here: .verdict, .timeline, .bulk, .retention, .code, .recovered, .case.",
    )


def _verdict(verdict: Verdict, zone: ZoneInfo | None, note: str) -> Html:
    as_of = "the evidence carries no time" if verdict.as_of is None else stamp(verdict.as_of, zone)
    asked = [said(text, 260) for text in (verdict.name, f"task {verdict.task_id}") if text]
    facts = [(fact.label, f"{fact.answer}. {fact.basis}") for fact in verdict.facts]
    return render(
        "card.html.j2",
        kind=f"{' '.join(TONES[verdict.unexpected_loss][1:])} · {' · '.join(asked)}",
        title=said(verdict.headline, 600),
        lines=[said(line, 1500) for line in verdict.summary.splitlines()],
        facts=[*((said(label, 60), said(text)) for label, text in facts), ("As of", as_of)],
        folds=[],
        note=note,
    )
