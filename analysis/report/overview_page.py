"""The parts of the overview's page: from what was found to ``Html``. Notebooks call these, and hold nothing else.

In: ``OverviewFindings``. Out: parts of a page. Decides what is shown and in which words, never what is true.
"""

from __future__ import annotations

import pandas as pd

from analysis.case import Case
from analysis.findings.overview import OverviewFindings
from analysis.findings.overview.held import meaning
from analysis.findings.overview.hours import ROWS
from analysis.findings.overview.queues import OLDEST
from analysis.findings.overview.remarks import RISK
from analysis.findings.words import count, duration, listed, size, stamp
from analysis.report.closing import taken
from analysis.report.html import Html, sentence, table, together
from analysis.report.page import title_screen

METHOD = (
    "What is counted here stood in the last snapshot of each server, or at the end of its append-only file; how the "
    "servers were is from their last INFO answer and their settings. A risk is what may happen as things stood, by the "
    "fact beside it; it is no sign that something did."
)
_BESIDE = 4
"""So many servers stand side by side in one table."""
_HOURS = 48
_NAMES = 50


def first_screen(found: OverviewFindings, case: Case) -> Html:
    """The state in a few sentences, its key figures, and as of when."""
    return title_screen("Overview", found.headline, case, figures=found.figures)


def remarks(found: OverviewFindings) -> Html:
    """What is a risk to results and messages, and what is worth knowing, with the fact each rests on."""
    rows = found.remarks.assign(weight=found.remarks["weight"].map({RISK: "Risk"}).fillna("Worth knowing"))
    columns = {"weight": "Is", "server": "Server", "says": "What", "because": "Because", "source": "From"}
    empty = "Nothing that was looked for in INFO, the settings and the keys is a risk to results or messages."
    if not len(found.facts) and not found.shots["latest"].any():
        empty = "No INFO answer, no settings and no snapshot are in the case, so nothing can be said about risks."
    return _table(rows, columns, "Risks, and what is worth knowing", empty)


def servers(found: OverviewFindings) -> Html:
    """The servers side by side, with their sums."""
    if len(found.servers) < 2:
        return sentence("There is one server." if len(found.servers) else "No server is in the evidence.", "quiet")
    rows = found.servers.copy()
    counts = ["keys", "results", "waiting", "unacked", "memory", "evicted", "expired", "clients"]
    sums = {name: rows[name].sum() for name in counts if rows[name].notna().any()}
    partly = [name for name in sums if rows[name].isna().any()]
    rows = pd.concat([rows, pd.DataFrame([{"server": "all", **sums}])], ignore_index=True)
    rows["memory"] = _sizes(rows["memory"])
    rows["full"] = _shares(rows["full"])
    columns = {"server": "Server", "software": "Software", "role": "Role", "keys": "Keys", "results": "Results",
               "waiting": "Waiting", "unacked": "Held by workers", "memory": "Memory used", "full": "Of its limit",
               "evicted": "Evicted", "clients": "Clients"}  # fmt: skip
    shown = _table(rows, columns, "Servers side by side", "No server is in the evidence.")
    if not partly:
        return shown
    return together(
        shown, sentence("A dash is not zero: of that server nothing tells it, and it is not in the sum.", "quiet")
    )


def server_facts(found: OverviewFindings) -> Html:
    """What INFO and the settings say of each server; up to four side by side."""
    names = list(dict.fromkeys(found.facts["server"]))
    if not names:
        return sentence(
            "No INFO answer and no settings are in the case, so how the servers were is not known.", "quiet"
        )
    if len(names) == 1:
        columns = {"fact": "What", "value": "Value", "source": "From"}
        return table(found.facts, label="The server as INFO and its settings show it", columns=columns)
    parts = []
    for begin in range(0, len(names), _BESIDE):
        some = found.facts.loc[found.facts["server"].isin(names[begin : begin + _BESIDE])]
        order = list(dict.fromkeys(found.facts["fact"]))
        wide = some.pivot(index="fact", columns="server", values="value").reindex(order).dropna(how="all").reset_index()
        columns = {"fact": "What", **{name: name or "(unnamed)" for name in names[begin : begin + _BESIDE]}}
        parts.append(table(wide, label="Servers as INFO and their settings show them", columns=columns))
    return together(*parts)


def databases(found: OverviewFindings) -> Html:
    """Databases, as the last look held them and as INFO counted them."""
    rows = found.databases.assign(db=_named(found.databases["db"]), bytes=_sizes(found.databases["bytes"]))
    columns = {"server": "Server", "db": "Database", "keys": "Keys", "with_ttl": "With a TTL", "bytes": "In the file",
               "families": "Families", "info_keys": "Keys by INFO", "info_ttl": "With a TTL by INFO",
               "info_source": "INFO"}  # fmt: skip
    return _table(rows, columns, "Databases", "No database with a key is in the evidence.")


def families(found: OverviewFindings) -> Html:
    """Keys by family, with their sizes."""
    rows = found.families
    rows = rows.assign(
        db=_named(rows["db"]),
        means=rows["family"].map(meaning, na_action="ignore"),
        share=_shares(rows["share"]),
        bytes=_sizes(rows["bytes"]),
        share_bytes=_shares(rows["share_bytes"]),
        largest=_sizes(rows["largest"]),
    )
    columns = {"server": "Server", "db": "Database", "family": "Family", "means": "Is", "keys": "Keys",
               "share": "Of all keys", "bytes": "In the file", "share_bytes": "Of all bytes", "largest": "Largest key",
               "without_ttl": "No TTL", "past_expiry": "Past expiry"}  # fmt: skip
    shown = _table(rows, columns, "Keys by family", "No snapshot is in the case, or it holds no key.")
    return together(shown, taken(found.shots)) if len(rows) else shown


def largest(found: OverviewFindings) -> Html:
    """The largest keys."""
    rows = found.largest.assign(db=_named(found.largest["db"]), bytes=_sizes(found.largest["bytes"]))
    columns = {"server": "Server", "db": "Database", "key": "Key", "family": "Family", "type": "Type",
               "length": "Elements, or bytes", "bytes": "In the file", "expires_at": "Expires"}  # fmt: skip
    return _table(rows, columns, "The largest keys", "No snapshot is in the case, or it holds no key.")


def states(found: OverviewFindings) -> Html:
    """Results held by state, and tasks by name."""
    rows = found.states.assign(db=_named(found.states["db"]), share=_shares(found.states["share"]))
    columns = {"server": "Server", "db": "Database", "status": "State", "means": "Means", "results": "Results",
               "share": "Share"}  # fmt: skip
    note = (
        "Of the results held at the look. Tasks whose result has expired, or was never stored, are not among them, so "
        "the share of failures is not that of all tasks that ran."
    )
    shown = _table(rows, columns, "Results by state", "No result was held.")
    return together(shown, sentence(note, "quiet"), taken(found.shots)) if len(rows) else shown


def names(found: OverviewFindings) -> Html:
    """Tasks by name, as results, messages and worker logs have them."""
    columns = {"name": "Task", "succeeded": "Results: succeeded", "failed": "failed", "other": "other",
               "waiting": "Messages: waiting", "unacked": "held by workers", "log_succeeded": "Logs: succeeded",
               "log_failed": "failed", "log_retried": "retried"}  # fmt: skip
    empty = "No result, no message and no log line names a task."
    return table(found.names, label="Tasks by name", columns=columns, empty=empty, limit=_NAMES)


def queues(found: OverviewFindings) -> Html:
    """How many messages wait in each queue, then and now."""
    rows = found.queues.assign(db=_named(found.queues["db"]))
    rows["since"] = [
        f"{stamp(at)}, {source}" if pd.notna(at) else None
        for at, source in zip(rows["since"], rows["since_from"], strict=True)
    ]
    columns = {"server": "Server", "db": "Database", "queue": "Queue", "priority": "Priority", "waiting": "Waiting",
               "then": "Waiting at the look before", "with_eta": "With an ETA", "past_expires": "Past their expires",
               "since": "The next one waits at least since"}  # fmt: skip
    if not rows["then"].notna().any():
        del columns["then"]
    shown = _table(rows, columns, "Queues", "No queue is in the evidence: no list of messages and no routing table.")
    return together(shown, taken(found.shots)) if len(rows) else shown


def unacked(found: OverviewFindings) -> Html:
    """Messages that workers hold: by queue, and the oldest of them."""
    if not len(found.unacked):
        looked = found.shots["latest"].any()
        words = "No message was taken and not acknowledged." if looked else "No snapshot tells what workers hold."
        return sentence(words, "quiet")
    rows = found.unacked.assign(db=_named(found.unacked["db"]), age=_ages(found.unacked["age"]))
    columns = {"server": "Server", "db": "Database", "queue": "Queue", "held": "Held",
               "redelivered": "Given back before", "oldest_at": "The oldest since", "age": "That is",
               "oldest_task": "Its task", "undated": "Without a time"}  # fmt: skip
    by_queue = _table(rows, columns, "Messages held by workers", "None.")
    oldest = found.oldest.assign(db=_named(found.oldest["db"]), age=_ages(found.oldest["age"]))
    named = {"server": "Server", "reserved_at": "Held since", "age": "That is", "task_id": "Task", "name": "Name",
             "queue": "Queue", "eta": "Not before (ETA)", "redelivered": "Given back before"}  # fmt: skip
    more = int(found.unacked["held"].sum()) - len(found.oldest)
    parts = [by_queue, _table(oldest, named, f"The {OLDEST} messages held longest", "None.")]
    return together(*parts, *([sentence(f"{count(more, 'more')} not listed.", "quiet")] if more > 0 else []))


def hours(found: OverviewFindings) -> Html:
    """The numbers of the chart, the last hours first, and what they rest on."""
    wide = found.hours.pivot_table(index="hour", columns="what", values="tasks", aggfunc="sum")
    wide = wide.reindex(columns=list(ROWS)).fillna(0).astype("int64").sort_index(ascending=False).reset_index()
    kept = found.retention
    lasts = duration(kept.seconds) if kept.seconds else "for ever"
    said = [f"A look tells of results as far back as they are kept: {lasts}, {kept.certainty} ({kept.source})."]
    if found.undated:
        said.append(f"{count(found.undated, 'result does', 'results do')} not say when it was stored, and is not drawn."
                    if found.undated == 1 else
                    f"{found.undated:,} results do not say when they were stored, and are not drawn.")  # fmt: skip
    if len(found.looked):
        said.append(f"From {listed(list(found.looked['source'].unique()), most=6)}.")
    columns = {"hour": "Hour from (UTC)", **{name: name[:1].upper() + name[1:] for name in ROWS}}
    empty = "No hour has a result that says when it was stored, or a log line on a task's end."
    shown = table(wide, label="Results by the hour", columns=columns, limit=_HOURS, empty=empty)
    return together(shown, sentence(" ".join(said), "quiet"))


def clients(found: OverviewFindings) -> Html:
    """Who was connected."""
    rows = found.clients.assign(
        name=found.clients["name"].fillna("(no name)"), oldest=_ages(found.clients["oldest"]),
        idle=_ages(found.clients["idle"]),
    )  # fmt: skip
    columns = {"server": "Server", "name": "Name", "lib": "Library", "user": "User", "connections": "Connections",
               "dbs": "Databases", "commands": "Last commands", "oldest": "Longest connected", "idle": "Longest idle",
               "source": "From"}  # fmt: skip
    return _table(rows, columns, "Clients by name and library", "No CLIENT LIST is in the case.")


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


def _table(rows: pd.DataFrame, columns: dict[str, str], label: str, empty: str) -> Html:
    """A table without the column of the server where the case has but an unnamed one."""
    named = rows["server"].fillna("").ne("").any() if "server" in columns else True
    chosen = columns if named else {name: title for name, title in columns.items() if name != "server"}
    if named and "server" in rows:
        rows = rows.assign(server=rows["server"].fillna("").replace("", "(unnamed)"))
    return table(rows, label=label, columns=chosen, empty=empty)


def _named(dbs: pd.Series) -> pd.Series:
    return "DB " + dbs.astype("str")


def _sizes(octets: pd.Series) -> pd.Series:
    return octets.map(lambda number: size(int(number)) if pd.notna(number) else None).astype(object)


def _ages(seconds: pd.Series) -> pd.Series:
    return seconds.map(lambda number: duration(float(number)) if pd.notna(number) else None).astype(object)


def _shares(shares: pd.Series) -> pd.Series:
    return shares.map(lambda share: f"{share:.1%}" if pd.notna(share) else None).astype(object)
