"""What is known of one task, as rows for people: its stored result, its retention, the server, where it was looked for.

In: an ``Investigation``. Out: small frames of text. Values from the data are shortened and redacted unless they are
to be shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from analysis.findings.words import count, duration, listed, spot
from analysis.investigation import Investigation
from analysis.redact import redact_text, redact_value, shorten
from analysis.report.show import shown

COLUMNS = ["fact", "value", "source"]
_LONGEST_VALUE = 120
_MOST_FIELDS = 24


def result_facts(looked: Investigation) -> pd.DataFrame:
    """The stored result, its time to live, and the simple fields of what the task returned: columns fact, value,
    source.
    """
    view = looked.view
    rows: list[tuple[str, str, str]] = []
    if view.name:
        rows.append(("Task", view.name, _source_of_name(looked)))
    for result in view.results.drop_duplicates(["server", "db", "key"], keep="last").itertuples():
        source = spot(result.snapshot, result.offset)
        rows.append(("Result in", f"{result.server + ' ' if result.server else ''}DB {result.db}", source))
        rows.append(("Status", str(result.status), source))
        if pd.notna(result.date_done):
            rows.append(("Done", f"{result.date_done:%Y-%m-%dT%H:%M:%S.%fZ}", source))
        rows.append(("Stored bytes", f"{result.size:,} ({result.serializer})", source))
        rows += _time_to_live(looked, result, source)
        if isinstance(result.problem, str):
            rows.append(("Could not be read", result.problem, source))
    ended = view.log.loc[view.log["seconds"].notna()]
    if len(ended):
        line = ended.iloc[-1]
        rows.append(("Ran for", f"{line['seconds']:,.2f} s", f"{line['source']}:{line['line']}"))
    source = "the stored result"
    for name, value in _fields(looked.body.get("result")):
        rows.append((f"Returned {name}" if name else "Returned", value, source))
    return pd.DataFrame(rows, columns=COLUMNS)


def _source_of_name(looked: Investigation) -> str:
    named = looked.view.log.loc[looked.view.log["name"].notna()]
    return f"{named.iloc[0]['source']}:{named.iloc[0]['line']}" if len(named) else "the stored record"


def _time_to_live(looked: Investigation, result: Any, source: str) -> Iterator[tuple[str, str, str]]:
    taken = looked.view.taken_at(result.snapshot)
    if pd.isna(result.expires_at):
        yield "Expires", "never: it has no TTL", source
        return
    yield "Expires", f"{result.expires_at:%Y-%m-%d %H:%M:%S} UTC", source
    if taken is not None:
        left = (result.expires_at - taken).total_seconds()
        text = f"{int(left):,} s (~{left / 3600:.1f} h)" if left > 0 else f"over since {duration(left)}"
        yield "TTL left at the snapshot", text, source


def _fields(returned: Any) -> Iterator[tuple[str, str]]:
    """The fields of what a task returned, a line each; of a mapping its own, else the value itself."""
    value = returned if shown() else redact_value(returned)
    if returned is None:
        return
    if not isinstance(value, Mapping):
        yield "", _text(value)
        return
    for number, (name, item) in enumerate(value.items()):
        if number == _MOST_FIELDS:
            yield "", f"and {count(len(value) - _MOST_FIELDS, 'field')} more"
            return
        yield shorten(str(name), 60), _text(item)


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = value if isinstance(value, str) else repr(value)
    return text if shown() else shorten(redact_text(text), _LONGEST_VALUE)


def searched(looked: Investigation) -> pd.DataFrame:
    """Every database of every snapshot in which the task was looked for: columns server, snapshot, db, keys, results,
    names_it.
    """
    keys, traces = looked.case.keys, looked.view.traces
    if not len(keys):
        return pd.DataFrame(columns=["server", "snapshot", "db", "keys", "results", "names_it"])
    table = (
        keys.assign(results=keys["family"].eq("result"))
        .groupby(["server", "snapshot", "db"])
        .agg(keys=("key", "size"), results=("results", "sum"))
        .reset_index()
    )
    found = traces.loc[traces["key"].notna()].groupby(["server", "snapshot", "db"])["key"].nunique()
    table["names_it"] = [int(found.get((row.server, row.snapshot, row.db), 0)) for row in table.itertuples()]
    return table


def system_facts(looked: Investigation) -> pd.DataFrame:
    """The server as its last INFO answers show it: columns fact, value, source."""
    rows: list[tuple[str, str, str]] = []
    servers = looked.case.servers
    for answer in servers.loc[~servers["server"].duplicated(keep="last")].itertuples():
        source, name = answer.source, f"{answer.server}: " if answer.server else ""
        flavor = {"redis": "Redis", "valkey": "Valkey"}.get(str(answer.flavor), str(answer.flavor))
        rows.append((f"{name}Server", f"{flavor} {answer.version}, {answer.role}", source))
        if pd.notna(answer.uptime):
            up = f"{answer.uptime:,} s ({duration(answer.uptime)})"
            if pd.notna(answer.started_at):
                up += f", since {answer.started_at:%Y-%m-%d %H:%M:%S} UTC"
            rows.append((f"{name}Uptime", up, source))
        restarts = int(servers.loc[servers["server"].eq(answer.server), "restarted"].fillna(False).sum())
        if restarts:
            rows.append((f"{name}Restarts between INFO answers", str(restarts), source))
        for label, value in (("Expired keys", answer.expired_keys), ("Evicted keys", answer.evicted_keys)):
            rows.append((f"{name}{label}", "not reported" if pd.isna(value) else f"{value:,}", source))
        since = answer.counters_since
        rows.append(
            (
                f"{name}Counters since",
                "unknown: they were reset" if pd.isna(since) else f"{since:%Y-%m-%d %H:%M:%S} UTC",
                source,
            )
        )
        if pd.notna(answer.maxmemory):
            limit = "none" if answer.maxmemory == 0 else f"{answer.maxmemory:,} bytes"
            rows.append((f"{name}Memory limit", f"{limit}, policy {answer.maxmemory_policy}", source))
        config = looked.case.config.get(str(answer.server), {})
        if "save" in config or "appendonly" in config:
            disk = f"save {config.get('save') or 'never'}, appendonly {config.get('appendonly', 'not known')}"
            rows.append((f"{name}Written to disk", disk, "config.json"))
        rows.append((f"{name}Commands that remove", _removing(looked, str(answer.source)), source))
    return pd.DataFrame(rows, columns=COLUMNS)


def _removing(looked: Investigation, source: str) -> str:
    counters = looked.case.counters.loc[looked.case.counters["source"].eq(source)]
    if not counters["counter"].str.startswith("cmdstat_").any():
        return "not reported"
    removing = (
        "del",
        "unlink",
        "getdel",
        "flushdb",
        "flushall",
        "expire",
        "pexpire",
        "rename",
        "move",
        "swapdb",
        "eval",
    )
    called = counters.loc[counters["counter"].isin([f"cmdstat_{name}" for name in removing]) & counters["value"].gt(0)]
    named = [f"{str(row.counter).removeprefix('cmdstat_').upper()} {int(row.value):,}×" for row in called.itertuples()]
    return listed(named, most=8) or "none was called"
