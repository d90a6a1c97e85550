"""The index of a batch: what became of all its tasks, the ones nobody wanted to lose first, and a link to each report.

In: rows as ``batch.run`` makes them. Out: ``index.html`` and a page a cause where there are many, ``index.csv``,
``index.json`` and ``requeue.csv``, each whole or not there. Weighs nothing: every word is from a verdict.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import pandas as pd

from analysis.findings.causes import title
from analysis.findings.words import count, day, listed, percent, stamp
from analysis.report.bulk_charts import plot_causes_by_hour
from analysis.report.bundle import REPORT, to_json, write_whole
from analysis.report.closing import kit
from analysis.report.exporter import InvestigationExporter
from analysis.report.html import Html, listing, render, said, sentence, table

MOST_OF_A_CAUSE = 100
"""More tasks of one cause than this have a page of their own; of them so many stand in the index."""

_COLUMNS = (
    "task_id", "asked", "name", "queue", "worker", "at", "status", "cause", "confidence", "unexpected_loss",
    "job_cause", "message_cause", "headline", "error", "report",
)  # fmt: skip
_SHARED = 0.8
_FAILED = "no report"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_index(rows: Sequence[dict[str, Any]], asked: int, name: str, shortcomings: Sequence[str], out: Path) -> None:
    """Write the index of ``rows`` into ``out``; ``asked`` is how many tasks there are in all, ``name`` the case's."""
    flat = [_flat(row) for row in rows]
    groups = _by_cause(flat)
    pages = {cause: f"index-{quote(cause.replace(' ', '_'), safe='')}.html" for cause, of in groups.items()
             if len(of) > MOST_OF_A_CAUSE}  # fmt: skip
    for path in out.glob("index-*.html"):
        if path.name not in pages.values():
            path.unlink()
    for cause, page in pages.items():
        parts = [("", _title(f"{_words(cause)}: {count(len(groups[cause]), 'task')}", name, "The index: index.html"))]
        parts += [("Tasks", _tasks(groups[cause], _words(cause)))]
        write_whole(out / page, _page(parts))
    write_whole(out / "index.html", _page(_parts(flat, groups, pages, asked, name, shortcomings)))
    write_whole(out / "index.csv", _csv(_COLUMNS, ([row[column] for column in _COLUMNS] for row in flat)))
    write_whole(out / "index.json", _json(flat, asked, name))
    again = [row for row in rows if (row.get("verdict") or {}).get("unexpected_loss")]
    lines = ([row["name"], row["task_id"], row["queue"], *map(_arguments, (row.get("args"), row.get("kwargs")))]
             for row in again)  # fmt: skip
    write_whole(out / "requeue.csv", _csv(("task", "task_id", "queue", "args", "kwargs"), lines))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``_COLUMNS``."""
    verdict = row.get("verdict") or {}
    records = verdict.get("records", {})
    result = records.get("result", {})
    link = f"{quote(row['folder'], safe='')}/{REPORT}" if row.get("folder") and not row.get("error") else None
    told = {name: row.get(name) for name in ("task_id", "asked", "name", "queue", "worker", "at", "error")}
    return {
        **told,
        **{name: result.get(name) for name in ("status", "cause", "confidence")},
        "unexpected_loss": verdict.get("unexpected_loss"),
        "job_cause": records.get("job", {}).get("cause"),
        "message_cause": records.get("message", {}).get("cause"),
        "headline": verdict.get("headline"),
        "report": link,
    }


def _by_cause(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by the cause of their result, or because there is no report: losses nobody wanted first, the most of them
    first, then what is undecided, then the rest.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_FAILED if row["error"] else str(row["cause"]), []).append(row)
    order = {True: 0, None: 1, False: 2}

    def rank(item: tuple[str, list[dict[str, Any]]]) -> tuple[int, int]:
        cause, mine = item
        losses = Counter(row["unexpected_loss"] for row in mine)
        return (1 if cause == _FAILED else order[losses.most_common(1)[0][0]]), -len(mine)

    return dict(sorted(groups.items(), key=rank))


def _parts(
    flat: list[dict[str, Any]], groups: dict[str, list[dict[str, Any]]], pages: dict[str, str], asked: int, name: str,
    shortcomings: Sequence[str],
) -> list[tuple[str, Any]]:  # fmt: skip
    parts: list[tuple[str, Any]] = [("", _title(_headline(flat, asked), name, _common(flat)))]
    counts = pd.DataFrame(
        [
            (_words(cause), len(mine), sum(row["unexpected_loss"] is True for row in mine),
             sum(row["unexpected_loss"] is None and not row["error"] for row in mine))
            for cause, mine in groups.items()
        ],
        columns=["cause", "tasks", "lost", "open"],
    )  # fmt: skip
    columns = {"cause": "What became of the result", "tasks": "Tasks", "lost": "Of these a loss nobody wanted",
               "open": "Of these undecided"}  # fmt: skip
    parts.append(("By cause", table(counts, label="Tasks by cause", columns=columns, empty="No task was looked into.")))
    times = pd.DataFrame(
        [(row["at"], _words(cause)) for cause, mine in groups.items() for row in mine if row["at"]],
        columns=["hour", "family"],
    )
    hours = times.assign(hour=pd.to_datetime(times["hour"], utc=True).dt.floor("h"), keys=1)
    parts.append(("By the hour in which each was seen last", plot_causes_by_hour(hours)))
    for cause, mine in groups.items():
        shown = _tasks(mine[:MOST_OF_A_CAUSE], _words(cause), len(mine), pages.get(cause, ""))
        parts.append((f"{_words(cause)} ({len(mine):,})", shown))
    if shortcomings:
        parts.append(("Not read, or in part", listing(said(line) for line in shortcomings)))
    parts.append(("Beside this page", sentence("index.csv and index.json hold the same rows; requeue.csv the tasks "
                  "that were lost, with their queue and arguments where those are known.", "quiet")))  # fmt: skip
    return parts


def _headline(flat: list[dict[str, Any]], asked: int) -> str:
    lost = sum(row["unexpected_loss"] is True for row in flat)
    failed = sum(bool(row["error"]) for row in flat)
    undecided = sum(row["unexpected_loss"] is None and not row["error"] for row in flat)
    said_first = f"Of {count(len(flat), 'task')}, {lost:,} lost a record that nobody wanted to lose"
    if not lost:
        said_first = f"Of {count(len(flat), 'task')} none is shown to have lost a record that somebody wanted"
    parts = [f"; of {undecided:,} the evidence does not decide it"] * bool(undecided)
    parts += [f"; {count(failed, 'report')} could not be made"] * bool(failed)
    parts += [f"; {asked - len(flat):,} of {asked:,} were not reached"] * (asked > len(flat))
    return said_first + "".join(parts) + "."


def _common(flat: list[dict[str, Any]]) -> str:
    """What nearly all that were lost have in common: a window, a name, a queue, a worker, a cause."""
    lost = [row for row in flat if row["unexpected_loss"]]
    if len(lost) < 2:
        return kit()
    found = []
    causes = Counter(str(row["cause"]) for row in lost).most_common(2)
    found.append(listed([f"{number:,} {_words(cause)}" for cause, number in causes]))
    for column, noun in (("name", "task"), ("queue", "queue"), ("worker", "worker")):
        values = Counter(row[column] for row in lost if row[column])
        if values and (most := values.most_common(1)[0])[1] >= _SHARED * len(lost):
            found.append(f"{most[1]:,} of the {noun} {said(most[0], 80)}")
    times = sorted(pd.to_datetime([row["at"] for row in lost if row["at"]], utc=True))
    if times:
        first, last = times[0], times[-1]
        same = first.date() == last.date()
        span = (
            f"{first:%H:%M:%S} and {last:%H:%M:%S} UTC on {day(last)}" if same else f"{stamp(first)} and {stamp(last)}"
        )
        found.append(f"all seen last between {span}" if len(times) == len(lost) else
                     f"{len(times):,} seen last between {span}")  # fmt: skip
    return f"What the {len(lost):,} lost have in common: {'; '.join(found)}. {kit()}"


def _words(cause: str) -> str:
    return "No report" if cause == _FAILED else title(cause)


def _title(headline: str, name: str, line: str) -> Html:
    return render("batch.html.j2", headline=headline, name=name, line=line, page_title=f"{name}: {headline}")


def _tasks(rows: list[dict[str, Any]], label: str, whole: int = 0, page: str = "") -> Html:
    shown = [
        {
            "task_id": row["task_id"],
            "name": row["name"] or "–",
            "result": "–" if row["error"] else _result(row),
            "sure": percent(row["confidence"]) if row["confidence"] is not None else "–",
            "at": stamp(pd.Timestamp(row["at"])) if row["at"] else "–",
            # The folder's name is quoted once on the disk, and once more in a link.
            "link": row["report"] or "",
            "page": "report" if row["report"] else "",
            "error": row["error"] or "",
        }
        for row in rows
    ]
    return render("tasks.html.j2", label=label, rows=shown, more=max(whole - len(rows), 0), page=page)


def _result(row: dict[str, Any]) -> str:
    words = _words(str(row["cause"]))
    status = str(row["status"]).replace("_", " ")
    return words if status == words.lower() else f"{words} ({status})"


def _page(parts: list[tuple[str, Any]]) -> bytes:
    """The parts as a page of the kit: through a notebook, so that a batch looks like a report."""
    from IPython.core.formatters import DisplayFormatter

    show, cells = DisplayFormatter(), []
    for heading, part in parts:
        if heading:
            cells.append(nbformat.v4.new_markdown_cell(f"## {heading}"))
        data, noted = show.format(part)
        output = nbformat.v4.new_output("display_data", data=data, metadata=noted)
        cells.append(nbformat.v4.new_code_cell(outputs=[output]))
    body, _ = InvestigationExporter().from_notebook_node(nbformat.v4.new_notebook(cells=cells))
    return str(body).encode("utf-8", "backslashreplace")


def _json(flat: list[dict[str, Any]], asked: int, name: str) -> bytes:
    listed_rows = ",\n".join(to_json(row) for row in flat)
    return f'{{"case": {to_json(name)}, "asked": {asked}, "tasks": [\n{listed_rows}\n]}}\n'.encode()


def _csv(columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in line] for line in lines)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _arguments(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
