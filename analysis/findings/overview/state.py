"""The state of a Redis in a few sentences and figures, as somebody wants it who does not know Redis.

In: what the rooms beside this counted. Out: plain text, with absolute times. What no evidence tells is said.
"""

from __future__ import annotations

import pandas as pd

from analysis.findings.overview.held import NOT_READ
from analysis.findings.overview.hours import Stored
from analysis.findings.overview.remarks import RISK
from analysis.findings.verdict import Fact
from analysis.findings.words import at, count, duration, listed, lower_first, percentage, size

_UNKNOWN = "not known"
_NO_LOOK = "no snapshot in the case"
_NO_INFO = "no INFO answer in the case"


def headline(
    latest: pd.DataFrame,
    databases: pd.DataFrame,
    states: pd.DataFrame,
    queues: pd.DataFrame,
    unacked: pd.DataFrame,
    asked: pd.Series,
) -> str:
    """What was held, in a sentence. ``latest`` are the rows of ``bulk.looks`` of each server's last look, ``asked`` the
    times of the last INFO answers.
    """
    if len(latest):
        return _held(latest, databases, states, queues, unacked)
    if len(asked):
        keys, dbs = int(databases["info_keys"].sum()), int(databases["info_keys"].gt(0).sum())
        return (
            f"{_first_upper(_when(asked))} INFO counted {count(keys, 'key')} in {count(dbs, 'database')}; there is no "
            "snapshot that would tell what they are."
        )
    return "No snapshot and no INFO answer is in this case, so what Redis held is not known."


def _when(times: pd.Series) -> str:
    return f"at {at(times.min())}" if times.dt.floor("min").nunique() == 1 else _span(times)


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _span(times: pd.Series) -> str:
    return f"between {at(times.min())} and {at(times.max())}"


def _held(
    latest: pd.DataFrame, databases: pd.DataFrame, states: pd.DataFrame, queues: pd.DataFrame, unacked: pd.DataFrame
) -> str:
    keys, results = int(databases["keys"].sum()), int(states["results"].sum())
    waiting, taken = int(queues["waiting"].sum()), int(unacked["held"].sum())
    least = "" if latest["complete"].all() else "at least "
    who = " this Redis" if len(latest) == 1 else f", {len(latest):,} servers"
    dated = latest["taken_at"].dropna()
    when = _first_upper(_when(dated)) if len(dated) else "In a snapshot without a time"
    of_tasks = f"{results:,} of them task results" if results else "none of them a task's result"
    said = f"{when}{who} held " + (f"{least}{count(keys, 'key')}, {of_tasks}" if keys else f"{least}no key")
    waited = f"{count(waiting, 'message')} waited" if waiting else "no message waited"
    return f"{said}; {waited}, and workers held {taken:,}." if taken else f"{said}; {waited}, and workers held none."


def summary(
    latest: pd.DataFrame,
    servers: pd.DataFrame,
    states: pd.DataFrame,
    unacked: pd.DataFrame,
    remarks: pd.DataFrame,
    asked: pd.Series,
    ends: pd.Series,
) -> tuple[str, ...]:
    """What else is to be known at first: what was not seen, failures, the oldest message that a worker holds, risks.
    ``ends`` are the times of log lines on which a task ended.
    """
    lines = [_unseen(latest, servers), " ".join(part for part in (_failures(states), _oldest(unacked)) if part)]
    if not len(latest) and len(ends):
        lines.append(f"Worker logs tell of {count(len(ends), 'task')} that ended, {_span(ends)}.")
    lines.append(_risks(remarks, len(servers)))
    if not len(asked) and len(latest):
        lines.append("How the server itself was doing is not known: there is no INFO answer.")
    return tuple(line for line in lines if line)


def _unseen(latest: pd.DataFrame, servers: pd.DataFrame) -> str:
    said = []
    if len(latest) and not latest["complete"].all():
        said.append(f"Not all of {listed(latest.loc[~latest['complete'], 'snapshot'])} could be read.")
    dark = servers.loc[servers["keys"].isna(), "server"].replace("", "the unnamed server")
    if len(latest) and len(dark):
        said.append(f"Of {listed(dark)} no snapshot tells what was held.")
    silent = servers.loc[servers["software"].isna(), "server"].replace("", "the unnamed server")
    if len(silent) < len(servers) and len(silent):
        said.append(f"Of {listed(silent)} no INFO answer tells how it was.")
    if len(latest) > 1 and servers["role"].eq("replica").any():
        said.append("A replica holds its master's keys: where both are in the case, these are counted twice.")
    return " ".join(said)


def _failures(states: pd.DataFrame) -> str:
    whole = int(states["results"].sum())
    failed = int(states.loc[states["status"].eq("FAILURE"), "results"].sum())
    unread = int(states.loc[states["status"].eq(NOT_READ), "results"].sum())
    said = []
    if failed:
        said.append(f"{count(failed, 'result')} of {whole:,} {'is a failure' if failed == 1 else 'are failures'}.")
    elif whole > unread:
        said.append("No result is a failure.")
    if unread:
        said.append(f"{count(unread, 'result is', 'results are')} in a form that is not read.")
    return " ".join(said)


def _oldest(unacked: pd.DataFrame) -> str:
    times = unacked["oldest_at"].dropna()
    return f"Of the messages that workers held, the oldest was taken at {at(times.min())}." if len(times) else ""


def _risks(remarks: pd.DataFrame, servers: int) -> str:
    risks = remarks.loc[remarks["weight"].eq(RISK)]
    if not len(risks):
        return ""
    first = risks.iloc[0]
    where = f"on {first['server']}, " if first["server"] and servers > 1 else ""
    lead = "A risk" if len(risks) == 1 else f"{len(risks):,} risks, first"
    return f"{lead}: {where}{lower_first(str(first['says']))}"


def figures(
    latest: pd.DataFrame,
    servers: pd.DataFrame,
    databases: pd.DataFrame,
    states: pd.DataFrame,
    queues: pd.DataFrame,
    unacked: pd.DataFrame,
    stored: Stored | None,
) -> tuple[Fact, ...]:
    """Six key figures, each with what it rests on. ``stored``: ``hours.last_day``."""
    return (
        _keys(latest, databases),
        _states(latest, states),
        _waiting(latest, queues),
        _unacked(latest, unacked),
        _stored(latest, stored),
        _memory(servers),
    )


def _keys(latest: pd.DataFrame, databases: pd.DataFrame) -> Fact:
    if len(latest):
        basis = f"in {count(int(databases['keys'].gt(0).sum()), 'database')}, {size(int(databases['bytes'].sum()))}"
        return Fact("Keys held", f"{int(databases['keys'].sum()):,}", f"{basis} in the file")
    if len(databases):
        return Fact("Keys held", f"{int(databases['info_keys'].sum()):,}", "as INFO counted them")
    return Fact("Keys held", _UNKNOWN, f"{_NO_LOOK}, {_NO_INFO}")


def _states(latest: pd.DataFrame, states: pd.DataFrame) -> Fact:
    if not len(latest):
        return Fact("Task results", _UNKNOWN, _NO_LOOK)
    by = states.groupby("status", sort=False)["results"].sum().sort_values(ascending=False, kind="stable")
    basis = listed([f"{number:,} {status}" for status, number in by.items()]) or "of any state"
    return Fact("Task results", f"{int(states['results'].sum()):,}", basis)


def _waiting(latest: pd.DataFrame, queues: pd.DataFrame) -> Fact:
    if not len(latest):
        return Fact("Messages waiting", _UNKNOWN, _NO_LOOK)
    known = queues[["server", "db", "queue"]].drop_duplicates()
    basis = f"in {count(len(known), 'queue')}" if len(known) else "no queue is there"
    if len(busy := queues.groupby("queue")["waiting"].sum().loc[lambda depth: depth.gt(0)]) > 1:
        deepest = busy.sort_values(ascending=False, kind="stable")
        basis += f", {int(deepest.iloc[0]):,} of them in {deepest.index[0]}"
    return Fact("Messages waiting", f"{int(queues['waiting'].sum()):,}", basis)


def _unacked(latest: pd.DataFrame, unacked: pd.DataFrame) -> Fact:
    label = "Held by workers"
    if not len(latest):
        return Fact(label, _UNKNOWN, _NO_LOOK)
    held, ages = int(unacked["held"].sum()), unacked["age"].dropna()
    basis = "messages taken and not acknowledged"
    if len(ages):
        basis += f", the oldest for {duration(max(ages.max(), 0.0))}"
    return Fact(label, f"{held:,}", basis)


def _stored(latest: pd.DataFrame, stored: Stored | None) -> Fact:
    if stored is None:
        known = "no result held tells when it was stored" if len(latest) else _NO_LOOK
        return Fact("Results of the last 24 h", _UNKNOWN, known)
    most = f"still held; most in an hour: {stored.most:,}, from {at(stored.hour)}" if stored.hour is not None else ""
    return Fact(f"Results of the last {stored.hours:.3g} h", f"{stored.results:,}", most or "none of those still held")


def _memory(servers: pd.DataFrame) -> Fact:
    used = servers["memory"].dropna()
    if not len(used):
        return Fact("Memory used", _UNKNOWN, _NO_INFO)
    if len(servers) > 1:
        full = servers["full"].dropna()
        most = f", the fullest at {percentage(full.max())} of its limit" if len(full) else ""
        return Fact("Memory used", size(int(used.sum())), f"by {count(len(used), 'server')}{most}")
    [row] = servers.loc[servers["memory"].notna()].to_dict("records")
    limit = row["limit"]
    if pd.isna(limit):
        basis = "its limit is not known"
    else:
        basis = f"{percentage(row['full'])} of its limit of {size(limit)}" if limit else "no limit is set"
    return Fact("Memory used", size(int(used.iloc[0])), f"{basis}; {row['policy']}" if row["policy"] else basis)
