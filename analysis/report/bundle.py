"""What an investigation leaves behind beside its page: ``verdict.json`` and the evidence folder, each file whole or
not there.

In: an ``Investigation`` and a folder. Out: files as the README's section on what is left describes. No name from the
data becomes a path but the task's own folder, and that is quoted.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from analysis.case import Case
from analysis.errors import Unusable
from analysis.findings.telling.answers import answers
from analysis.findings.words import stamp
from analysis.investigation import Investigation, tasks_of
from analysis.redact import redact_value
from analysis.report.show import shown

REPORT = "deletion_investigation.html"
_TASKS = "all_task_ids.json"
_LONGEST = 200
_WIDTH = 110


def folder_name(task_id: str) -> str:
    """The folder of a task: its ID, percent-encoded so that it is one safe name on every file system.

    ``.`` and ``..`` become ``%2E`` and ``%2E%2E``; over 200 bytes it is the first 150, ``~`` and 16 hex digits of the
    ID's SHA-256. Raises Unusable for an empty ID.
    """
    if not task_id:
        raise Unusable("the task ID is empty")
    name = quote(task_id, safe="", errors="surrogatepass")
    if name in (".", ".."):
        return name.replace(".", "%2E")
    if len(name) <= _LONGEST:
        return name
    return f"{name[:150]}~{hashlib.sha256(task_id.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def leave_bundle(looked: Investigation, out: str | os.PathLike[str]) -> Path | None:
    """Write ``verdict.json`` and the evidence of one investigation below ``out``; an empty ``out`` writes nothing.

    Returns the task's folder. A rerun replaces what it wrote before. Raises Unusable where the folder cannot be
    written.
    """
    if not os.fspath(out):
        return None
    folder = Path(out) / folder_name(looked.view.task_id)
    moment = looked.verdict.as_of
    when = f"{moment:%Y%m%d_%H%M%S}" if moment is not None else "undated"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as scratch:
            parts = Path(scratch) / "evidence"
            _write_parts(looked, parts)
            _replace(parts, folder / f"task_deletion_evidence_{when}")
        _write_json(folder / f"task_detailed_analysis_{when}.json", _details(looked))
        _write_json(folder / "verdict.json", looked.verdict.to_dict())
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror}", file=os.fspath(out)) from None
    return folder


def leave_numbers(
    name: str, headline: str, frames: Mapping[str, pd.DataFrame], out: str | os.PathLike[str]
) -> Path | None:
    """Write ``<out>/<name>.json``: a notebook's headline and the numbers behind its charts; an empty ``out`` writes
    nothing.
    """
    if not os.fspath(out):
        return None
    path = Path(out) / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_json(path, {"headline": headline, **{key: rows(frame) for key, frame in frames.items()}})
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror}", file=os.fspath(out)) from None
    return path


def _write_parts(looked: Investigation, folder: Path) -> None:
    folder.mkdir()
    case, view = looked.case, looked.view
    _write_json(
        folder / "task_traces.json",
        {"task_id": view.task_id, "asked": looked.asked, "traces": rows(looked.view.traces)},
    )
    _write_json(
        folder / "bulk_patterns.json",
        {
            "finding": looked.bulk.headline,
            "patterns": rows(looked.bulk.patterns),
            "keys_by_family": rows(looked.bulk.by_family),
            "gone_between_snapshots": rows(looked.bulk.gone),
        },
    )
    _leave_tasks(case, folder / _TASKS)
    servers = {"servers": rows(case.servers), "counters": rows(case.counters), "config": case.config}
    _write_json(folder / "redis_server_info.json", servers)
    (folder / "summary.txt").write_text(summary_text(looked), encoding="utf-8")
    _write_recovered(looked, folder)
    _write_sums(folder)
    files = case.evidence.sort_values("path")
    lines = [_sum_line(row.sha256, row.path) for row in files.itertuples()]
    (folder / "EVIDENCE.SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def keep_tasks(case: Case, path: Path) -> None:
    """Write the file of all task IDs once, for all reports on this case, which then have it under a name of their own:
    for ten thousand tasks it would be written, and lie on the disk, ten thousand times.
    """
    _write_tasks(case, path)
    case.once[_TASKS] = path


def _leave_tasks(case: Case, path: Path) -> None:
    written = case.once.get(_TASKS)
    if written is None:
        _write_tasks(case, path)
        return
    try:
        os.link(written, path)
    except OSError:  # of another file system, or of one without links
        shutil.copyfile(written, path)


def _write_tasks(case: Case, path: Path) -> None:
    everything = tasks_of(case)
    # A line for each: they may be a million, and an indented file of those takes a minute.
    listed = ",\n".join(_encoded(row) for row in rows(everything))
    path.write_text(f'{{"count": {len(everything)}, "tasks": [\n{listed}\n]}}\n', encoding="utf-8")


def summary_text(looked: Investigation) -> str:
    """The first screen as plain text: the six questions, each with its answer, then what to do and what is missing."""
    verdict, case, view = looked.verdict, looked.case, looked.view
    zone = case.settings.timezone
    judged = f"As of: {stamp(verdict.as_of, zone)}" if verdict.as_of is not None else "As of: not dated"
    asked = f" (asked as {looked.asked!r})" if looked.asked != verdict.task_id else ""
    weighed = {name: verdict.of(name) for name in verdict.records}
    answered = answers(view, verdict.records, weighed)
    widest = max(len(question) for question, _ in answered)
    records = [f"{fact.label}: {fact.answer}. {fact.basis}" for fact in verdict.facts]
    bulk = looked.bulk.headline
    gaps = [f"{gap.missing}: {gap.how}" for gap in verdict.gaps]
    lines = [
        verdict.asked,
        f"Task: {verdict.name + ' · ' if verdict.name else ''}{verdict.task_id}{asked}",
        f"{judged}; all times are UTC",
        "",
        _wrapped("", verdict.headline),
        "",
        *(_wrapped(f"{question:<{widest}}  ", answer) for question, answer in answered),
        "",
        "How it came about",
        *(_wrapped("  ", paragraph) for paragraph in verdict.summary.splitlines()),
        "",
        "The records, and the evidence",
        *(_wrapped("  ", record) for record in records),
        *([_wrapped("  Bulk removal: ", bulk, hang=4)] if bulk not in dict(answered).values() else []),
        "",
        "What to do, in this order",
        *(_wrapped(f"{number:>3}. ", action) for number, action in enumerate(verdict.actions, start=1)),
        "",
        "What is missing, the most telling first" if gaps else "Nothing is missing that would change the answer.",
        *(_wrapped("  - ", gap) for gap in gaps),
        "",
        "Not read, or in part" if case.shortcomings else "All evidence was read.",
        *(_wrapped("  - ", line) for line in case.shortcomings),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _wrapped(lead: str, text: str, hang: int | None = None) -> str:
    """A paragraph of at most ``_WIDTH`` characters a line behind a lead; commands and keys are never broken."""
    indent = " " * (len(lead) if hang is None else hang)
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=lead,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _details(looked: Investigation) -> dict[str, Any]:
    view = looked.view
    return {
        "task_id": view.task_id,
        "name": view.name,
        "values": "as they are" if shown() else "redacted",
        "result": _open(looked.body),
        "stored": rows(view.results),
        "messages": rows(view.waiting),
        "job_records": rows(view.records),
        "log": rows(view.log),
        "timeline": rows(looked.timeline),
        "retention": {
            "seconds": view.retention.seconds,
            "source": view.retention.source,
            "is": view.retention.certainty,
        },
    }


def _open(value: Any) -> Any:
    return value if shown() else redact_value(value)


def _write_recovered(looked: Investigation, folder: Path) -> None:
    """Content of records that are gone, where a witness still has it: the fullest copy, and others that differ."""
    place = folder / "recovered"
    place.mkdir()
    for name, found in looked.recovered.items():
        first, *others = found
        content = {
            "recovered_from": first.source,
            "what": first.what,
            "values": "as they are" if shown() else "redacted",
            "content": _open(first.content),
            "other_copies": [
                {"recovered_from": copy.source, "what": copy.what, "content": _open(copy.content)} for copy in others
            ],
        }
        _write_json(place / f"{name}.json", content)


def _write_sums(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        _sum_line(hashlib.sha256(path.read_bytes()).hexdigest(), path.relative_to(folder).as_posix()) for path in files
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _sum_line(digest: str, name: str) -> str:
    """A line as ``sha256sum`` writes it: names with a backslash or a line break are escaped and the line is marked."""
    if "\\" in name or "\n" in name or "\r" in name:
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        return f"\\{digest}  {escaped}\n"
    return f"{digest}  {name}\n"


def _replace(new: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(new, target)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
        try:
            file.write(data)
        except OSError:
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o666 & ~_umask())
    os.replace(file.name, path)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, to_json(content, indent=1).encode("utf-8") + b"\n")


def to_json(content: Any, indent: int | None = None) -> str:
    """Strict JSON: times in ISO form with Z, what is missing as null, no NaN, text that is always UTF-8."""
    return _encoded(_plain(content), indent)


def _encoded(plain: Any, indent: int | None = None) -> str:
    return (
        json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=indent)
        .encode("utf-8", "backslashreplace")
        .decode("utf-8")
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, pd.Timestamp):
        return value.tz_convert("UTC").isoformat().replace("+00:00", "Z")
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame as a list of plain dicts."""
    columns = [_plain_column(frame[name]) for name in frame.columns]
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] if names else []


def _plain_column(column: pd.Series) -> list[Any]:
    """The values of a column as JSON has them; times and text without a call for each."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        times = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]")
        texts = zip(np.datetime_as_string(times, unit="us").tolist(), np.isnat(times).tolist(), strict=True)
        # As isoformat writes it: whole seconds without a fraction.
        return [None if gone else text.removesuffix(".000000") + "Z" for text, gone in texts]
    if isinstance(column.dtype, (pd.StringDtype, pd.CategoricalDtype)):
        values = column.astype(object).to_numpy(dtype=object, copy=True)
        values[column.isna().to_numpy()] = None
        return list(values)
    return [_plain(value) for value in column]
