"""When a record met its end and by whose hand, as far as a witness says it.

In: a ``View``, a record, and the cause that leads. Out: an ``End``: a moment or the two between which it lies, and
who. Weighs nothing, and gives no time that only fits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from analysis.findings.deeds import STREAMS, Fate
from analysis.findings.rules.lived import purge_of
from analysis.findings.view import SLACK, View
from analysis.findings.words import at, day
from analysis.frames import words_in

# What in a log is the event itself; each cause's first kind that is there counts.
_LOGGED: dict[str, tuple[str, ...]] = {
    "expired_on_load": ("expired_on_load", "rdb_loaded", "server_started"),
    "stale_snapshot_restored": ("rdb_age", "rdb_loaded", "server_started"),
    "replaced_by_resync": ("resync_flush", "resync_full", "became_replica"),
    "failover_lost_writes": ("became_master", "failover", "replid_changed"),
    "queue_purged": ("queue_purged",),
    "result_never_stored": ("result_not_stored", "write_refused"),
}
# The same, in lines that name the task.
_OWN: dict[str, tuple[str, ...]] = {
    "revoked": ("revoked", "terminated"),
    "discarded": ("unregistered", "invalid_message", "unknown_message", "undecodable", "rejected"),
    "chord_state_expired": ("chord_failed", "group_gone"),
}
_FLUSHES = {"db_flushed": ("FLUSHDB",), "server_flushed": ("FLUSHALL",)}
_BY_HAND = ("deleted_by_client", "bulk_deleted", "forgotten", "purged_by_cleanup")
_BY_TTL = ("natural_expiry", "ttl_shortened", "clock_jump")
_MOVES = ("RENAME", "RENAMENX", "MOVE", "MIGRATE", "RENAME_FROM", "MOVE_FROM")
# Causes that take a record which was there: what snapshots show of its last and of its missing bounds the moment.
GONE = frozenset(
    (*_BY_HAND, *_BY_TTL, *_FLUSHES, "evicted", "overwritten", "db_swapped", "renamed_or_moved", "restart_data_loss",
     "expired_on_load", "stale_snapshot_restored", "replaced_by_resync", "failover_lost_writes", "queue_expired",
     "queue_purged")
)  # fmt: skip


@dataclass(frozen=True)
class End:
    """``first`` and ``last`` bound the moment, either may be missing; ``who`` names the client, where one is named."""

    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None
    who: str = ""

    @property
    def known(self) -> bool:
        return self.first is not None or self.last is not None


def fate_of(view: View, record: str, cause: str) -> Fate | None:
    """What a witness of commands shows of this cause: what holds every write first."""
    fits = [fate for fate in view.fates(record) if _fits(cause, fate)]
    return min(fits, key=lambda fate: fate.row["witness"] not in STREAMS, default=None)


def _fits(cause: str, fate: Fate) -> bool:
    by = {fate.by, fate.or_by}
    if cause in _FLUSHES:
        return fate.verb in _FLUSHES[cause]
    if cause == "db_swapped":
        return fate.verb == "SWAPDB"
    if cause == "renamed_or_moved":
        return fate.verb in _MOVES
    if cause in _BY_HAND:
        return bool(by & {"client", "script", "unknown"}) and fate.verb not in ("FLUSHDB", "FLUSHALL", "SWAPDB")
    if cause in _BY_TTL:
        return bool(by & {"expiry", "unknown"})
    return cause == "evicted" and "eviction" in by


def end_of(view: View, record: str, cause: str) -> End:
    """When a record met this cause, by the closest witness there is; an ``End`` without times where none tells."""
    if (fate := fate_of(view, record, cause)) is not None:
        return End(_given(fate.row["not_before"]), _given(fate.row["not_after"]), client_of(fate.row))
    if cause == "purged_by_cleanup" and (line := purge_of(view)) is not None:
        return End(line["at"], line["not_after"])
    seen = _flush_seen(view, record, cause) if cause in _FLUSHES else None
    if seen is not None:
        return End(_given(seen["not_before"]), _given(seen["not_after"]), client_of(seen))
    line = _line(view, record, cause)
    if line is not None:
        return End(line["at"], line["not_after"])
    if cause in ("restart_data_loss", "stale_snapshot_restored", "expired_on_load"):
        born, missed = view.born(record), view.missed_by(record)
        starts = [start.at for server in sorted(view.servers_of(record)) for start in view.starts(server)]
        starts = [at for at in starts if (born is None or at > born) and (missed is None or at <= missed + SLACK)]
        if starts:
            return End(starts[-1], starts[-1])
    return bounds(view, record) if cause in GONE else End()


def bounds(view: View, record: str) -> End:
    """Between which two looks a record went: the last that has it, or when it was written, and the first without it."""
    missed = view.missed_by(record)
    if missed is None:
        return End()
    held = [moment for name in view.rows(record)["snapshot"].unique() if (moment := view.taken_at(str(name)))]
    born = view.born(record)
    before = [moment for moment in (*held, *([born] if born is not None else [])) if moment < missed]
    return End(max(before, default=None), missed)


def _flush_seen(view: View, record: str, cause: str) -> pd.Series | None:
    """The last flush that MONITOR, SLOWLOG or a stream shows between the record's writing and its loss."""
    born, missed = view.born(record), view.missed_by(record)
    rows = view.commands.loc[words_in(view.commands["verb"], _FLUSHES[cause])]
    rows = rows.loc[rows["witness"].ne("ACL LOG")]
    if servers := view.home(record):
        rows = rows.loc[rows["server"].isin(servers)]
    if born is not None:
        rows = rows.loc[rows["not_after"].isna() | (rows["not_after"] > born)]
    if missed is not None:
        rows = rows.loc[rows["not_before"].isna() | (rows["not_before"] <= missed)]
    return rows.iloc[-1] if len(rows) else None


def _line(view: View, record: str, cause: str) -> pd.Series | None:
    """The log line that is the event: of the task's own lines, else of the server's or workers' between its writing and
    the end of the case.
    """
    if (own := _last(view.log, _OWN.get(cause, ()))) is not None:
        return own
    lines, born = view.events, view.born(record)
    if cause == "result_never_stored" and view.received is not None:
        born = view.received.at
    if born is not None:
        lines = lines.loc[lines["not_after"] >= born - SLACK]
    missed = view.missed_by(record)
    if missed is not None:
        lines = lines.loc[lines["at"] <= missed + SLACK]
    return _last(lines, _LOGGED.get(cause, ()))


def _last(lines: pd.DataFrame, kinds: Iterable[str]) -> pd.Series | None:
    for kind in kinds:
        found = lines.loc[lines["kind"].eq(kind) & lines["at"].notna()]
        if len(found):
            return found.iloc[-1]
    return None


def _given(moment: pd.Timestamp) -> pd.Timestamp | None:
    return moment if pd.notna(moment) else None


def client_of(row: pd.Series) -> str:
    """``10.0.0.5:5123, named cleanup, user app``; empty where the witness names no client."""
    parts = [
        str(row["client"]) if pd.notna(row["client"]) else "",
        f"named {row['client_name']}" if pd.notna(row["client_name"]) and row["client_name"] else "",
        f"user {row['user']}" if pd.notna(row["user"]) and row["user"] else "",
    ]
    return ", ".join(part for part in parts if part)


def to_the_second(moment: pd.Timestamp) -> str:
    """``24 July 2025 at 00:34:55 UTC``."""
    return f"{day(moment)} at {moment:%H:%M:%S} UTC"


def when(end: End) -> str:
    """The end of a sentence: `` on … at …``, `` between … and …``, `` by …``; empty where no time is known."""
    first, last = end.first, end.last
    if first is not None and last is not None:
        if last - first < pd.Timedelta(seconds=2):
            return f" on {to_the_second(first)}"
        if first.date() == last.date():
            return f" between {first:%H:%M:%S} and {last:%H:%M:%S} UTC on {day(last)}"
        return f" between {at(first)} and {at(last)}"
    if last is not None:
        return f" by {at(last)}"
    return f" after {at(first)}" if first is not None else ""
