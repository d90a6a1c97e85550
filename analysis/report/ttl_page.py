"""The parts of the report on TTLs: each table with its finding, and retention as text that can be copied.

In: ``findings.ttl``. Out: parts of a page. Decides what is shown and in which words, never what is true.
"""

from __future__ import annotations

import pandas as pd

from analysis.findings.ttl import TtlFindings
from analysis.findings.ttl.force import RENEWED, SAME, lived
from analysis.findings.ttl.forecast import BEYOND, IN_MEMORY, over_families
from analysis.findings.ttl.policies import HEADINGS
from analysis.findings.ttl.written import ASSUMES, UNEVEN
from analysis.findings.words import count, duration, listed, on, stamp
from analysis.report.html import Html, block, said, sentence, table, together

METHOD = (
    "A life is a key's expiry less its time of storing. That is told by a result's own date_done (the worker's "
    "clock), by a job record's creation, by a task's end in a log, or by a recording of commands, and never by the "
    f"expiry itself. A policy is a life that keys have in common within {SAME:.0f} s, a twentieth of a family's and "
    f"three of them at least; a key is off the policy beyond {SAME:.0f} s. A TTL is said to have changed only where "
    "one policy ended before the next began.",
    "Of keys written an hour, the interval is the exact one of a Poisson count (Garwood); whether writing was even is "
    f"asked of the ages by Kolmogorov and Smirnov's test, and denied from a distance of {UNEVEN:g} on; below that the "
    "estimate may be off by about as much.",
)
_MOST_HOURS = 48
_MOST_LISTED = 20
_LONGEST_LINE = 2_000
# In one table they would be wider than a page.
_KEPT, _ENDS = ("family", "what", "keys", "stated", "observed", "deviating"), ("family", "deleted_by", "look_back")
_QUANTILES = {
    "min": "Shortest left",
    "p25": "25 %",
    "median": "Median",
    "p75": "75 %",
    "max": "Longest left",
}


def taken(found: TtlFindings) -> Html:
    """Which snapshots the report rests on: the last of each server."""
    if not len(found.shots):
        return sentence("There is no snapshot in the evidence.", "quiet")
    told = [
        f"{said(row.snapshot)}{' of ' + said(row.server) if row.server else ''}, "
        f"{stamp(row.taken_at) if pd.notna(row.taken_at) else 'without a time'}: {count(row.keys, 'key')}"
        for row in found.shots.itertuples()
    ]
    return sentence(f"From the last snapshot of each server: {'; '.join(told)}.", "quiet")


def _from(found: TtlFindings, *parts: Html) -> Html:
    """Parts of a report, and where their numbers are from; without a snapshot they say so themselves."""
    return together(*parts, *([taken(found)] if len(found.shots) else []))


def coverage(found: TtlFindings) -> Html:
    """Of how many keys a life can be measured, and by what."""
    columns = {
        "family": "Family",
        "keys": "Keys held",
        "with_ttl": "With a TTL",
        "measured": "Life measured",
        "says": "How",
    }
    return table(
        found.observable,
        label="Keys whose life can be measured",
        columns=columns,
        empty="There is no key in the evidence.",
    )


def quantiles(found: TtlFindings) -> Html:
    """Remaining TTL by family."""
    columns = {"family": "Family", "keys": "Keys", "without_ttl": "No TTL", "past_expiry": "Past expiry", **_QUANTILES}
    shown = _durations(found.quantiles.sort_values("keys", ascending=False, kind="stable"), *_QUANTILES)
    empty = "There is no key in the evidence."
    return _from(found, table(shown, label="Remaining TTL by family", columns=columns, empty=empty))


def force(found: TtlFindings) -> Html:
    """The retention in force against the stated one, by family and task; where it changed; who deviates."""
    columns = {
        "family": "Family", "name": "Task", "keys": "Keys measured", "stated": "Stated", "lives": "They live (keys)",
        "outlive": "Outlive it", "short": "Fall short", "says": "Note",
    }  # fmt: skip
    rows = _durations(found.force, "stated")
    rows = rows.assign(stated=["until removed" if value == "0 s" else value for value in rows["stated"]])
    empty = "No life of a key is measured, so the retention in force is not observable."
    for name in ("name", "says"):
        if not rows[name].fillna("").astype(bool).any():
            del columns[name]
    return _from(
        found,
        table(rows, label="Retention stated and in force", columns=columns, empty=empty),
        *([sentence(_changed(row), "finding") for row in found.changes.itertuples()]),
        _deviating(found),
    )


def kept(found: TtlFindings) -> Html:
    """The retention of records that only archives still have."""
    columns = {
        "family": "Family", "name": "Task", "keys": "Records kept", "stated": "Stated", "lives": "They lived (records)",
        "outlive": "Outlived it", "short": "Fell short",
    }  # fmt: skip
    empty = "No archive has records that the snapshots lack: analysis archive CASE keeps them before they expire."
    rows = _durations(found.kept, "stated")
    return table(rows, label="Retention of what archives kept", columns=columns, empty=empty)


def _changed(row) -> str:  # type: ignore[no-untyped-def]
    name = f" of {said(row.name, 120)}" if isinstance(row.name, str) else ""
    return (
        f"The TTL of {said(row.family, 80)} keys{name} changed from {lived(row.from_seconds)} to "
        f"{lived(row.to_seconds)}: the last key of the old one was stored at {stamp(row.last_before)}, the "
        f"first of the new one at {stamp(row.first_after)} ({row.keys_before:,} and {row.keys_after:,} keys measured)."
    )


def _deviating(found: TtlFindings) -> Html:
    whole = found.force.loc[found.force["name"].isna()]
    off = int(whole["outlive"].sum() + whole["short"].sum())
    if not off:
        return sentence("No key whose life is measured outlives its policy or falls short of it." if len(whole) else "")
    few = found.deviations.groupby("family", sort=False).head(_MOST_LISTED)
    rows = _durations(few, "seconds", "policy")
    gaps = [None if pd.isna(value) else f"{'+' if value > 0 else '−'}{duration(value)}" for value in few["off"]]
    rows = rows.assign(off=gaps, key=_whole_keys(few))
    columns = {
        "family": "Family", "key": "Key", "stored_at": "Stored", "expires_at": "Expires", "seconds": "Lives",
        "off": "Off by",
    }  # fmt: skip
    if few["says"].str.contains(RENEWED, regex=False).any():
        columns["says"] = "So it"
    listed_here = f", of which at most {_MOST_LISTED} of a family are listed, the farthest off first"
    return together(
        sentence(
            f"{count(off, 'key does', 'keys do')} not live as the policy says{listed_here if off > len(few) else ''}."
        ),
        table(rows, label="Keys that outlive the policy or fall short of it", columns=columns, folds=len(rows) > 3),
    )


def endless(found: TtlFindings) -> Html:
    """Keys without a TTL that should have one, with the reason."""
    if not len(found.endless_counts):
        return sentence("No key lacks a TTL of which anything says that it should have one.", "quiet")
    counted = [
        f"{count(row.keys, f'{said(row.family, 80)} key')} ({said(row.why, 200)})"
        for row in found.endless_counts.itertuples()
    ]
    few = found.endless.groupby(["family", "why"], sort=False).head(_MOST_LISTED)
    rows = few.assign(key=_whole_keys(few))
    more = int(found.endless_counts["keys"].sum()) - len(few)
    columns = {"family": "Family", "key": "Key", "status": "Status", "why": "Should have one, for"}
    if not rows["status"].notna().any():
        del columns["status"]
    return _from(
        found,
        sentence(f"{listed(counted, most=6)}.", "finding"),
        table(rows, label="Keys without a TTL that should have one", columns=columns, folds=len(rows) > 3),
        *([sentence(f"At most {_MOST_LISTED} of a kind are listed: {more:,} more are not.", "quiet")] if more else []),
    )


def forecast(found: TtlFindings) -> Html:
    """What expires when: by hour over all families, and what is in no hour."""
    hours = over_families(found.forecast.hours)
    rows = hours.assign(so_far=[_percent(share) for share in hours["so_far"]])
    columns = {"hour": "Hour from", "keys": "Keys that expire", "bytes": "Bytes in the file", "so_far": "So far"}
    apart = {"family": "Family", "when": "When", "keys": "Keys", "bytes": "Bytes in the file", "last": "The last one"}
    return _from(
        found,
        # Of no hours the chart has said that there are none.
        *([sentence(_peak(hours)), table(rows, label="Keys that expire, by the hour", columns=columns,
                                         limit=_MOST_HOURS)] if len(hours) else []),
        table(found.forecast.apart, label="Keys that are in no hour of the forecast", columns=apart,
              empty=f"Every key held expires within that time; none {BEYOND}."),
        sentence(IN_MEMORY, "quiet"),
    )  # fmt: skip


def _peak(hours: pd.DataFrame) -> str:
    most = hours.loc[hours["keys"].idxmax()]
    if len(hours) == 1:
        return f"{count(int(most['keys']), 'key expires', 'keys expire')} in the hour from {on(most['hour'])} on."
    share = most["keys"] / hours["keys"].sum()
    return (
        f"{count(int(hours['keys'].sum()), 'key expires', 'keys expire')} from {on(hours['hour'].min())} on, "
        f"{int(most['keys']):,} of them ({_percent(share)}) in the hour from {on(most['hour'])} on."
    )


def written(found: TtlFindings) -> Html:
    """Shares of keys held, and the estimate of keys written, with what it assumes."""
    rows = _durations(found.written, "life")
    rows = rows.assign(
        share_held=[_percent(share, 1) for share in rows["share_held"]],
        share_written=[_percent(share, 1) for share in rows["share_written"]],
        per_hour=[
            f"{_rate(rate)} ({_rate(low)} – {_rate(high)})"
            for rate, low, high in zip(rows["per_hour"], rows["low"], rows["high"], strict=True)
        ],
    )
    columns = {
        "family": "Family", "name": "Task", "held": "Held", "share_held": "Of keys held", "life": "Live",
        "per_hour": "Written an hour, estimate (95 % interval)", "share_written": "Of keys written",
        "says": "Assumption",
    }  # fmt: skip
    if not rows["name"].notna().any():
        del columns["name"]
    empty = "No life of a key is measured in a snapshot with a time, so what is written cannot be estimated."
    shown = table(rows, label="Of keys held and of keys written", columns=columns, empty=empty)
    return _from(found, sentence(ASSUMES, "quiet"), shown)


def policies(found: TtlFindings) -> Html:
    """The policy of each key family as tables, and as Markdown to be copied."""
    empty = "There is no key in the evidence, and no policy is stated."
    parts = (("TTL by key family", _KEPT), ("Who deletes, and how far back one can look", _ENDS))
    return _from(
        found,
        *(
            table(found.policies, label=label, columns={name: HEADINGS[name] for name in names}, empty=empty)
            for label, names in parts[: 2 if len(found.policies) else 1]
        ),
        sentence("The same as Markdown, to be pasted into a team's documentation:", "quiet"),
        block([said(line, _LONGEST_LINE) for line in found.markdown.splitlines()], "Retention as Markdown"),
    )


def _rate(keys: float) -> str:
    return f"{keys:,.0f}" if keys >= 100 else f"{keys:.3g}"


def _percent(share: float, places: int = 0) -> str:
    """A share that was counted, which may be none or all."""
    return f"{share * 100:.{places}f} %"


def _whole_keys(rows: pd.DataFrame) -> list[str]:
    return [f"db{db}:{key}" for db, key in zip(rows["db"], rows["key"], strict=True)]


def _durations(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    """With these columns of seconds as durations."""
    told = {name: [lived(value) if pd.notna(value) else None for value in rows[name]] for name in names}
    return rows.assign(**{name: pd.Series(values, index=rows.index, dtype=object) for name, values in told.items()})
