"""The parts of the overview's page: from what was found to ``Html``. Notebooks call these, and hold nothing else.

In: ``OverviewFindings``. Out: parts of a page. Decides what is shown and in which words, never what is true.
"""

from __future__ import annotations

import pandas as pd

from analysis.case import Case
from analysis.findings.overview import OverviewFindings
from analysis.findings.overview.held import meaning
from analysis.findings.overview.hours import ROWS, seen_in
from analysis.findings.overview.queues import OLDEST
from analysis.findings.overview.remarks import RISK
from analysis.findings.words import count, duration, listed, percentage, size, stamp
from analysis.report.closing import taken
from analysis.report.html import Html, said, sentence, table, together
from analysis.report.page import title_screen

METHOD = (
    "What is counted here stood in the last snapshot of each server, or at the end of its append-only file; how the "
    "servers were is from their last INFO answer and their settings. A risk is what may happen as things stood, by the "
    "fact beside it; it is no sign that something did."
)
_UNSEEN = "No snapshot is in the case that would tell."
_BESIDE = 4
"""So many servers stand side by side in one table."""
_HOURS = 48
_NAMES = 50


def first_screen(found: OverviewFindings, case: Case) -> Html:
    """The state in a few sentences, its key figures, and as of when."""
    return title_screen("Overview", found.headline, case, found.figures, found.summary)


def remarks(found: OverviewFindings) -> Html:
    """What is a risk to results and messages, and what is worth knowing, with the fact each rests on."""
    rows = found.remarks.assign(weight=found.remarks["weight"].map({RISK: "Risk"}).fillna("Worth knowing"))
    columns = {"weight": "Is", "server": "Server", "says": "What", "because": "Because", "source": "From"}
    looked, told = found.shots["latest"].any(), len(found.facts)
    empty = "Nothing that was looked for in INFO, the settings and the keys is a risk to results or messages."
    if not looked and not told:
        empty = "No INFO answer, no settings and no snapshot are in the case, so nothing can be said about risks."
    elif not looked:
        empty = "Nothing in INFO or the settings is a risk to results or messages. No snapshot tells of the keys."
    elif not told:
        empty = "Nothing about the keys is a risk. Memory, disk and evictions are not known: there is no INFO answer."
    return _table(rows, columns, "Risks, and what is worth knowing", empty)


def servers(found: OverviewFindings) -> Html:
    """The servers side by side with their sums, and what INFO and the settings say of each."""
    parts = [*([_side_by_side(found.servers)] if len(found.servers) > 1 else []), *_facts(found.facts)]
    return together(*parts)


def _side_by_side(rows: pd.DataFrame) -> Html:
    counts = ["keys", "results", "waiting", "unacked", "memory", "evicted", "clients"]
    sums = {name: rows[name].sum() for name in counts if rows[name].notna().any()}
    partly = [name for name in sums if rows[name].isna().any()]
    rows = pd.concat([rows, pd.DataFrame([{"server": "all", **sums}])], ignore_index=True)
    rows = rows.assign(
        software=[", ".join(part for part in parts if isinstance(part, str)) or None
                  for parts in zip(rows["software"], rows["role"], strict=True)],
        memory=_sizes(rows["memory"]),
        full=_shares(rows["full"]),
    )  # fmt: skip
    columns = {"server": "Server", "software": "Is", "keys": "Keys", "results": "Results", "waiting": "Waiting",
               "unacked": "Held by workers", "memory": "Memory used", "full": "Of its limit", "evicted": "Evicted",
               "clients": "Clients"}  # fmt: skip
    shown = _table(rows, columns, "Servers side by side", "No server is in the evidence.")
    dash = "A dash is not zero: nothing tells the figure of that server, and the sum is without it."
    return together(shown, sentence(dash, "quiet")) if partly else shown


def _facts(facts: pd.DataFrame) -> list[Html]:
    """A table of all servers' facts where they are few, else one for each few of them."""
    names = list(dict.fromkeys(facts["server"]))
    if not names:
        return [sentence("No INFO answer and no settings are in the case: how the servers were is not known.", "quiet")]
    if len(names) == 1:
        columns = {"fact": "What", "value": "Value", "source": "From"}
        return [table(facts, label="The server as INFO and its settings show it", columns=columns, folds=False)]
    parts, order = [], list(dict.fromkeys(facts["fact"]))
    for begin in range(0, len(names), _BESIDE):
        some = names[begin : begin + _BESIDE]
        wide = facts.loc[facts["server"].isin(some)].pivot(index="fact", columns="server", values="value")
        wide = wide.reindex(order).dropna(how="all").reset_index()
        # By number: a server's name may be that of the first column.
        wide.columns = pd.Index(["fact", *(f"server {number}" for number in range(len(some)))])
        columns = {"fact": "What", **{f"server {number}": said(name or "(unnamed)", 80) for number, name in
                                      enumerate(sorted(some))}}  # fmt: skip
        parts.append(table(wide, label="Servers as INFO and their settings show them", columns=columns, folds=False))
    return [*parts, sentence(f"From {listed(dict.fromkeys(facts['source'].str.partition(',')[0]), most=12)}.", "quiet")]


def databases(found: OverviewFindings) -> Html:
    """Databases, as the last look held them and as INFO counted them."""
    rows = found.databases.rename(columns={"info_source": "source"})
    rows = rows.assign(db=_named(rows["db"]), bytes=_sizes(rows["bytes"]))
    columns = {"server": "Server", "db": "Database", "keys": "Keys", "with_ttl": "With a TTL", "bytes": "In the file",
               "families": "Families", "info_keys": "Keys by INFO", "info_ttl": "With a TTL by INFO",
               "source": "By INFO, in"}  # fmt: skip
    columns = _told(rows, columns, "info_keys", "info_ttl", "source")
    return _table(rows, columns, "Databases", "No database with a key is in the evidence.")


def families(found: OverviewFindings) -> Html:
    """Keys by family, with their sizes."""
    rows = found.families
    sizes = zip(_sizes(rows["bytes"]), _shares(rows["share_bytes"]), strict=True)
    rows = rows.assign(
        db=_named(rows["db"]),
        means=rows["family"].map(meaning, na_action="ignore"),
        share=_shares(rows["share"]),
        bytes=[f"{octets} ({share})" for octets, share in sizes],
    )
    columns = {"server": "Server", "db": "Database", "family": "Family", "means": "Is", "keys": "Keys",
               "share": "Of all keys", "bytes": "In the file", "without_ttl": "No TTL",
               "past_expiry": "Past expiry"}  # fmt: skip
    columns = _told(rows, columns, "past_expiry")
    shown = _table(rows, columns, "Keys by family", "No key was held." if _seen(found) else _UNSEEN)
    return together(shown, taken(found.shots)) if len(rows) else shown


def largest(found: OverviewFindings) -> Html:
    """The largest keys."""
    rows = found.largest.assign(db=_named(found.largest["db"]), bytes=_sizes(found.largest["bytes"]))
    columns = {"server": "Server", "db": "Database", "key": "Key", "family": "Family", "type": "Type",
               "length": "Elements, or bytes", "bytes": "In the file", "expires_at": "Expires"}  # fmt: skip
    return _table(rows, columns, "The largest keys", "No key was held." if _seen(found) else _UNSEEN)


def states(found: OverviewFindings) -> Html:
    """Results held by state, and tasks by name."""
    rows = found.states.assign(db=_named(found.states["db"]), share=_shares(found.states["share"]))
    columns = {"server": "Server", "db": "Database", "status": "State", "means": "Means", "results": "Results",
               "share": "Share"}  # fmt: skip
    note = (
        "Of the results held at the look. Tasks whose result has expired, or was never stored, are not among them, so "
        "the share of failures is not that of all tasks that ran."
    )
    shown = _table(rows, columns, "Results by state", "No result was held." if _seen(found) else _UNSEEN)
    return together(shown, sentence(note, "quiet"), taken(found.shots)) if len(rows) else shown


def names(found: OverviewFindings) -> Html:
    """Tasks by name, as results, messages and worker logs have them."""
    columns = {"name": "Task", "succeeded": "Results: succeeded", "failed": "Results: failed",
               "other": "Results: other", "waiting": "Messages: waiting", "unacked": "Messages: held",
               "log_succeeded": "Logs: succeeded", "log_failed": "Logs: failed",
               "log_retried": "Logs: retried"}  # fmt: skip
    empty = "No result, no message and no log line names a task."
    told = _told(found.names, columns, *(name for name in columns if name != "name"))
    return table(found.names, label="Tasks by name", columns=told, empty=empty, limit=_NAMES)


def queues(found: OverviewFindings) -> Html:
    """How many messages wait in each queue, then and now."""
    rows = found.queues.assign(db=_named(found.queues["db"]), source=found.queues["since_from"])
    columns = {"server": "Server", "db": "Database", "queue": "Queue", "priority": "Priority", "waiting": "Waiting",
               "then": "Waiting at the look before", "with_eta": "With an ETA", "past_expires": "Past their expires",
               "since": "The next one waits since, or longer", "source": "That is from"}  # fmt: skip
    columns = _told(rows, columns, "then", "with_eta", "past_expires", "since", "source")
    empty = "No queue was there: no list of messages and no routing table." if _seen(found) else _UNSEEN
    shown = _table(rows, columns, "Queues", empty)
    return together(shown, taken(found.shots)) if len(rows) else shown


def unacked(found: OverviewFindings) -> Html:
    """Messages that workers hold: by queue, and the oldest of them."""
    if not len(found.unacked):
        return sentence("No message was taken and not acknowledged." if _seen(found) else _UNSEEN, "quiet")
    rows = found.unacked.assign(db=_named(found.unacked["db"]), age=_ages(found.unacked["age"]))
    columns = {"server": "Server", "db": "Database", "queue": "Queue", "held": "Held",
               "redelivered": "Given back before", "oldest_at": "The oldest since", "age": "That is",
               "oldest_task": "Its task", "undated": "Without a time"}  # fmt: skip
    columns = _told(rows, columns, "redelivered", "undated")
    by_queue = _table(rows, columns, "Messages held by workers", "None.")
    oldest = found.oldest.assign(db=_named(found.oldest["db"]), age=_ages(found.oldest["age"]))
    named = {"server": "Server", "reserved_at": "Held since", "age": "That is", "task_id": "Task", "name": "Name",
             "queue": "Queue", "eta": "Not before (ETA)", "redelivered": "Given back before"}  # fmt: skip
    named = _told(oldest, named, "eta", "redelivered")
    more = int(found.unacked["held"].sum()) - len(found.oldest)
    parts = [by_queue, _table(oldest, named, f"The {OLDEST} messages held longest", "None.")]
    if more > 0:
        parts.append(sentence(f"{more:,} more {'is' if more == 1 else 'are'} not listed.", "quiet"))
    return together(*parts)


def hours(found: OverviewFindings) -> Html:
    """The numbers of the chart, the last hours first, and what they rest on."""
    wide = found.hours.pivot_table(index="hour", columns="what", values="tasks", aggfunc="sum")
    wide = wide.reindex(columns=list(ROWS)).astype("Int64").sort_index(ascending=False).reset_index()
    for what in ROWS:
        # Where nobody looked, nothing is not none.
        wide.loc[seen_in(found.looked, what, wide["hour"]), what] = wide[what].fillna(0)
    kept = found.retention
    lasts = duration(kept.seconds) if kept.seconds else "for ever"
    lines = [
        f"A look tells of results as far back as they are kept: {lasts}, {kept.certainty} ({kept.source}). It tells "
        "nothing of the time before a start of the server that is not known to have loaded anything."
    ]
    if found.undated:
        lines.append(f"Not drawn: {count(found.undated, 'result')} without a time of storing of its own.")
    if len(found.looked):
        lines.append(f"From {listed(list(found.looked['source'].unique()), most=6)}.")
    columns = {"hour": "Hour from (UTC)", **{name: name[:1].upper() + name[1:] for name in ROWS}}
    empty = "No hour has a result that says when it was stored, or a log line on a task's end."
    columns = {name: title for name, title in columns.items() if wide[name].notna().any()}
    shown = table(wide, label="Results by the hour", columns=columns, limit=_HOURS, empty=empty, folds=True)
    return together(shown, sentence(" ".join(lines), "quiet"))


def clients(found: OverviewFindings) -> Html:
    """Who was connected."""
    rows = found.clients.assign(
        name=found.clients["name"].fillna("(no name)"), oldest=_ages(found.clients["oldest"]),
        idle=_ages(found.clients["idle"]),
    )  # fmt: skip
    columns = {"server": "Server", "name": "Name", "lib": "Library", "user": "User", "connections": "Connections",
               "dbs": "Databases", "commands": "Last commands", "oldest": "Longest connected",
               "idle": "Longest idle"}  # fmt: skip
    columns = _told(rows, columns, "lib", "user")
    shown = _table(rows, columns, "Clients by name and library", "No CLIENT LIST is in the case.")
    return together(shown, sentence(f"From {listed(sorted(set(rows['source'])))}.", "quiet")) if len(rows) else shown


def growth(found: OverviewFindings) -> Html:
    """What grew and shrank since the look before the last."""
    rows = found.growth
    if not len(rows):
        return sentence("No server has two dated snapshots, so nothing can be compared with before.", "quiet")
    looks = [f"{before} ({stamp(at)})" for before, at in rows[["before", "before_at"]].drop_duplicates().values]
    octets = zip(rows["bytes_then"], rows["bytes_now"], strict=True)
    rows = rows.assign(db=_named(rows["db"]), bytes=[f"{size(then)} → {size(now)}" for then, now in octets])
    columns = {"server": "Server", "db": "Database", "family": "Family", "then": "Keys then", "now": "Keys now",
               "change": "Change", "bytes": "In the file"}  # fmt: skip
    return together(
        _table(rows, columns, "Keys then and now", "Nothing."), sentence(f"Then: {listed(looks)}.", "quiet")
    )


def _seen(found: OverviewFindings) -> bool:
    """Whether any snapshot looked at what was there."""
    return bool(found.shots["latest"].any())


def _table(rows: pd.DataFrame, columns: dict[str, str], label: str, empty: str) -> Html:
    """A table without the column of the server where the case has but an unnamed one."""
    named = rows["server"].fillna("").ne("").any() if "server" in columns else True
    chosen = columns if named else {name: title for name, title in columns.items() if name != "server"}
    if named and "server" in rows:
        rows = rows.assign(server=rows["server"].fillna("").replace("", "(unnamed)"))
    return table(rows, label=label, columns=chosen, empty=empty)


def _told(rows: pd.DataFrame, columns: dict[str, str], *optional: str) -> dict[str, str]:
    """The columns without those of ``optional`` in which no row has anything: empty ones hide the others."""
    empty = {name for name in optional if not (rows[name].notna() & rows[name].ne(0)).any()}
    return {name: title for name, title in columns.items() if name not in empty}


def _named(dbs: pd.Series) -> pd.Series:
    return "DB " + dbs.astype("str")


def _sizes(octets: pd.Series) -> pd.Series:
    return octets.map(lambda number: size(int(number)) if pd.notna(number) else None).astype(object)


def _ages(seconds: pd.Series) -> pd.Series:
    return seconds.map(lambda number: duration(float(number)) if pd.notna(number) else None).astype(object)


def _shares(shares: pd.Series) -> pd.Series:
    return shares.map(lambda share: percentage(share) if pd.notna(share) else None).astype(object)
