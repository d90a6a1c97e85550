"""After a purge: which of the given job records are gone, which remain, and what else disappeared with them.

In: the IDs, the frames ``keys``, ``jobs`` and ``messages``, and the snapshots in order (``bulk.looks``). Out:
``PurgeFindings``. Never says more than the snapshots show, nor who removed anything. Does not know files or words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.findings.purge_list import RECORDS, as_mask, names_in, sightings
from analysis.frames import TIME, as_arrow, texts_in

# In this order also_gone is listed.
RELATIONS = ("other_job", "of_given", "message", "other")

NOT_LATEST = "read in part: what was not read may hold it"
NO_ORDER = "which of the last snapshots is the later one is not known"

# What workers write anew by the same name soon after they find it gone (kombu/transport/redis.py: bindings when a
# queue is declared, queues and unacked with the next message): that they are there does not show that a database was
# not emptied.
_WRITTEN_ANEW = ("binding", "queue", "unacked", "unacked_index", "unacked_mutex", "reply", "control")
_COMPARED = 4_000_000
_PLACE = ["id", "server", "db", "key"]
_ALSO = ["server", "db", "key", "family", "task_id", "relation", "expires_at", "last_seen", "absent_from"]


@dataclass(frozen=True)
class PurgeFindings:
    """What became of the records that a purge list names. Each ID stands in one of the first three frames.

    ``gone``: columns id, seen_before (False = no snapshot holds it, so that it is absent, and none shows that it was
    ever there), where (list), last_seen, last_seen_at, absent_from, absent_at, due (its own TTL had come by then),
    still_in_file (past its TTL, so that no client of a master can read it, but not yet deleted: the file holds it).
    ``remaining``: id, where (list), status, expires_at, snapshot, taken_at, gone_from (list).
    ``undecided``: id, seen_before, where (list), reason.
    ``also_gone``: server, db, key, family, task_id, relation (one of RELATIONS), expires_at, last_seen, absent_from:
    keys that were not due, and messages of the given tasks that wait no more.
    ``expired_meanwhile``: server, db, family, keys: what disappeared alongside, but was due by its own TTL.
    ``emptied``: server, db, held, before, after: databases of which nothing is left, as after a flush.
    ``shots``: as ``bulk.looks`` has them, with n (order within the server) and newest.
    ``windows``: server, before, after: the snapshots between which ``also_gone`` is told.
    ``by_name``: records were told by the names of keys alone. ``results_left``: given tasks that still have a result.
    ``without_snapshot``: servers that the case knows, and has no snapshot of.
    """

    ids: int
    gone: pd.DataFrame
    remaining: pd.DataFrame
    undecided: pd.DataFrame
    also_gone: pd.DataFrame
    expired_meanwhile: pd.DataFrame
    emptied: pd.DataFrame
    shots: pd.DataFrame
    windows: pd.DataFrame
    by_name: bool
    results_left: int
    without_snapshot: tuple[str, ...] = ()


def verify_purge(
    ids: list[str],
    keys: pd.DataFrame,
    jobs: pd.DataFrame,
    messages: pd.DataFrame,
    shots: pd.DataFrame,
    around: tuple[str, str] | None = None,
    servers: Iterable[str] = (),
    open_ended: Iterable[str] = (),
) -> PurgeFindings:
    """What became of the records that ``ids`` name (``purge_list.sightings`` says how they do).

    A record is gone where an earlier snapshot of its server holds it and the last one, complete, does not, or holds it
    past its expiry (facts/causes.md: Redis hides an expired key at once and deletes it later). It remains where the
    last one of any server holds it. Where the last one was read in part, or which is the last is not known (two of the
    same second, or one without a time), and it is not in all that could be the last, that is undecided.

    ``open_ended`` names those of ``shots`` whose time is only the earliest they can be of: the state at the end of an
    append-only file, which goes on for an unknown time after the last that it tells (its base's, where
    aof-timestamp-enabled is off, as by default).

    ``also_gone`` is what disappeared in the same interval between snapshots as the given records; where none of these
    is known to have disappeared, in the last interval of each server. Never raises.
    """
    shots = ordered(shots, open_ended)
    found, by_name = sightings(ids, keys, jobs, around)
    places = _fates(found, shots)
    windows = _windows(places, shots)
    lost = [_lost(keys, window) for window in windows]
    given = _Given.of(ids, found, around)
    gone = _related(_together([part.gone for part in lost]), places, given)
    due = gone.pop("due").to_numpy(dtype=bool) & gone["relation"].ne("given").to_numpy(dtype=bool)
    also = gone.loc[~due & gone["relation"].ne("given")]
    also = _together([also, *_no_longer_waiting(messages, shots, windows, given)])
    rank = also["relation"].map(dict(zip(RELATIONS, range(len(RELATIONS)), strict=True)))
    return PurgeFindings(
        len(ids),
        *_by_id(ids, places, shots),
        also.assign(rank=rank).sort_values("rank", kind="stable", ignore_index=True)[_ALSO],
        gone.loc[due].groupby(["server", "db", "family"], dropna=False).size().reset_index(name="keys"),
        _emptied(lost, also),
        shots,
        pd.DataFrame([window.named() for window in windows], columns=["server", "before", "after"]),
        by_name,
        _results_left(keys, shots, given),
        tuple(sorted({*servers} - {*shots["server"], ""})),
    )


def with_order(shots: pd.DataFrame, open_ended: Iterable[str]) -> pd.DataFrame:
    """``shots`` without the states of append-only files whose place among a server's snapshots is not known, where it
    has two snapshots or more: these are its before and after. A state that is later than the last of them stays.
    """
    is_state = shots["snapshot"].isin(list(open_ended))
    known = shots.loc[~is_state & shots["taken_at"].notna()]
    last = {str(server): times.max() for server, times in known.groupby("server")["taken_at"]}
    enough = shots["server"].map(known["server"].value_counts()).fillna(0).ge(2)
    later = [
        server in last and pd.notna(at) and at > last[server]
        for server, at in zip(shots["server"], shots["taken_at"], strict=True)
    ]
    return shots.loc[~is_state | ~enough | pd.Series(later, shots.index, dtype=bool)].reset_index(drop=True)


def ordered(shots: pd.DataFrame, open_ended: Iterable[str] = ()) -> pd.DataFrame:
    """``bulk.looks`` with n (order within the server) and newest (it can be the server's last one: more than one where
    times do not tell).
    """
    shots = shots.reset_index(drop=True)
    by_server = shots.groupby("server")
    n = by_server.cumcount()
    last_at = by_server["taken_at"].transform("max")
    unordered = shots["taken_at"].isna() | shots["snapshot"].isin(list(open_ended))
    newest = shots["latest"] | unordered | shots["taken_at"].eq(last_at)
    return shots.assign(n=n, newest=newest.astype(bool))


def _fates(found: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """A row for each record (id, server, db, key), as the last snapshot that holds it has it, with its fate:
    remaining, lapsed, gone or undecided.
    """
    seen = found.merge(shots.drop(columns="server"), on="snapshot").sort_values("n", kind="stable")
    counted = seen.groupby(_PLACE, sort=False)["newest"].sum().reset_index(name="held_by")
    places = seen.drop_duplicates(_PLACE, keep="last").merge(counted, on=_PLACE)
    servers = shots.assign(unread=shots["newest"] & ~shots["complete"]).groupby("server")
    can_be_last = places["server"].map(servers["newest"].sum())
    unread = places["server"].map(servers["unread"].any()).astype(bool)
    there = places["held_by"].eq(can_be_last)
    nowhere = places["held_by"].eq(0) & ~unread
    lapsed = there & places["expired"].fillna(False).astype(bool)
    fate = np.select([lapsed, there, nowhere], ["lapsed", "remaining", "gone"], "undecided")
    where = places["server"].where(places["server"].eq(""), places["server"] + "/")
    where = where + "db" + places["db"].astype("str") + ":" + places["key"]
    ends = _next_complete(places, shots)
    return places.assign(
        fate=fate,
        reason=np.where(unread, NOT_LATEST, NO_ORDER),
        where=where,
        end=ends["n"],
        absent_from=ends["snapshot"],
        absent_at=ends["taken_at"],
        due=_due(places["expires_at"], ends["taken_at"]) | lapsed,
    )


def _due(expires_at: pd.Series, by: pd.Series) -> pd.Series:
    """Whether the expiry had come. A snapshot's time is in whole seconds, and stands for that whole second."""
    return (expires_at < by.dt.floor("s") + pd.Timedelta(seconds=1)).astype(bool)


def _next_complete(places: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """For each place the first complete snapshot of its server after the one it was last seen in (columns n, snapshot,
    taken_at; missing where there is none).
    """
    sound = shots.loc[shots["complete"]]
    rows = np.full(len(places), -1)
    for server, of_server in sound.groupby("server"):
        here = places["server"].eq(server).to_numpy(dtype=bool)
        at = np.searchsorted(of_server["n"].to_numpy(), places.loc[here, "n"].to_numpy(), "right")
        rows[here] = np.append(of_server.index.to_numpy(), -1)[at]
    return shots[["n", "snapshot", "taken_at"]].reindex(rows).set_axis(places.index)


class Window(NamedTuple):
    """An interval of one server: from the snapshots ``earlier``, of which the last complete one stands first, to
    ``later``, of which the first and the last are complete.
    """

    server: str
    earlier: pd.DataFrame
    later: pd.DataFrame

    def named(self) -> dict[str, str]:
        return {
            "server": self.server,
            "before": self.earlier["snapshot"].iloc[-1],
            "after": self.later["snapshot"].iloc[0],
        }


def _windows(places: pd.DataFrame, shots: pd.DataFrame) -> list[Window]:
    """The intervals in which given records disappeared; where none did, the last one of each server."""
    lost = places.loc[places["fate"].eq("gone")]
    known = shots.loc[shots["newest"]].groupby("server").filter(lambda rows: len(rows) == 1 and rows["complete"].all())
    last = dict(zip(known["server"], known["n"], strict=True))
    ends = set(zip(lost["server"], lost["end"].astype(int), strict=True)) or {item for item in last.items() if item[1]}
    return [_window(shots, server, end) for server, end in sorted(ends) if server in last]


def _window(shots: pd.DataFrame, server: str, end: int) -> Window:
    here = shots.loc[shots["server"].eq(server)]
    sound = here.loc[here["complete"] & (here["n"] < end), "n"]
    begin = int(sound.max()) if len(sound) else 0
    return Window(server, here.loc[here["n"].between(begin, end - 1)], here.loc[here["n"] >= end])


class Lost(NamedTuple):
    """What a window shows: ``gone`` is what none of its later snapshots holds; ``held`` and ``left`` count, by
    database, the keys before and those of them that are still there (without those that workers write anew).
    """

    window: Window
    gone: pd.DataFrame
    held: pd.Series
    left: pd.Series


def _lost(keys: pd.DataFrame, window: Window) -> Lost:
    # By snapshot, so that of a key that several hold the last one comes last.
    rows = np.concatenate([_rows_of(keys, [name]) for name in window.earlier["snapshot"]])
    held = keys[["db", "key"]].take(rows)
    kept = _held(held, keys[["db", "key"]].take(_rows_of(keys, window.later["snapshot"])))
    gone = keys[["server", "snapshot", "db", "key", "family", "task_id", "expires_at"]].take(rows[~kept])
    if len(window.earlier) > 1:
        gone = gone.drop_duplicates(["db", "key"], keep="last")
    after = window.later.iloc[0]
    taken = pd.Series(after["taken_at"], gone.index, dtype=TIME)
    gone = gone.astype({"server": "str", "snapshot": "str", "family": "str"}).rename(columns={"snapshot": "last_seen"})
    gone = gone.assign(absent_from=after["snapshot"], due=_due(gone["expires_at"], taken), relation="")
    stays = kept & ~keys["family"].take(rows).isin(_WRITTEN_ANEW).to_numpy(dtype=bool)
    return Lost(window, gone[[*_ALSO, "due"]], held["db"].value_counts(), held.loc[stays, "db"].value_counts())


def _rows_of(keys: pd.DataFrame, snapshots: Iterable[str]) -> Any:
    return np.flatnonzero(keys["snapshot"].isin(list(snapshots)).to_numpy(dtype=bool))


def _held(rows: pd.DataFrame, others: pd.DataFrame) -> Any:
    """Which of the keys (db, key) are among others. These are gone through in parts, so that what is made to look them
    up does not grow with their number.
    """
    held = np.zeros(len(rows), bool)
    dbs, other_dbs = (side["db"].to_numpy(dtype=np.int64) for side in (rows, others))
    names, other_names = as_arrow(rows["key"]), as_arrow(others["key"])
    for db in np.unique(dbs).tolist():
        here, there = np.flatnonzero(dbs == db), np.flatnonzero(other_dbs == db)
        asked = names.take(pa.array(here))
        for begin in range(0, len(there), _COMPARED):
            part = other_names.take(pa.array(there[begin : begin + _COMPARED]))
            held[here] |= pc.is_in(asked, value_set=part).to_numpy(zero_copy_only=False)
    return held


@dataclass(frozen=True)
class _Given:
    """All that a key of the given records can be known by: their IDs, their tasks' IDs, their keys."""

    names: pd.Series
    keys: pd.Series

    @classmethod
    def of(cls, ids: list[str], found: pd.DataFrame, around: tuple[str, str] | None) -> _Given:
        names = pd.Series(ids, dtype="str")
        told = pd.concat([names, found["task_id"].dropna()], ignore_index=True)
        keys = pd.concat([names, found["key"]], ignore_index=True)
        if around is not None:
            keys = pd.concat([keys, around[0] + names + around[1]], ignore_index=True)
        return cls(told.drop_duplicates(ignore_index=True), keys.drop_duplicates(ignore_index=True))

    def theirs(self, rows: pd.DataFrame) -> Any:
        """Which keys belong to the given records: by their task, or by a name that holds an ID or begins with a key."""
        theirs = as_mask(rows["task_id"], self.names)
        nameless = np.flatnonzero(rows["task_id"].isna().to_numpy(dtype=bool))
        texts = as_arrow(rows["key"]).take(pa.array(nameless))
        wanted, keys = as_arrow(self.names), as_arrow(self.keys)
        for among, named in names_in(texts, pieces=True):
            theirs[nameless[among[pc.is_in(named, value_set=wanted).to_numpy(zero_copy_only=False)]]] = True
        owners = pc.replace_substring_regex(texts, r"(?s)[:/|.][^:/|.]*$", "")
        theirs[nameless[pc.is_in(owners, value_set=keys).to_numpy(zero_copy_only=False)]] = True
        return theirs


def _related(gone: pd.DataFrame, places: pd.DataFrame, given: _Given) -> pd.DataFrame:
    """What is gone, with its relation to what was given: ``given`` for the records themselves."""
    asked = np.zeros(len(gone), bool)
    for server, records in places.groupby("server"):
        here = np.flatnonzero(gone["server"].eq(server).to_numpy(dtype=bool))
        asked[here] = _held(gone.iloc[here], records)
    theirs, record = given.theirs(gone), gone["family"].isin(RECORDS).to_numpy(dtype=bool)
    return gone.assign(
        relation=np.select([asked, record, theirs], ["given", "other_job", "of_given"], "other").astype(object)
    )


def _no_longer_waiting(
    messages: pd.DataFrame, shots: pd.DataFrame, windows: list[Window], given: _Given
) -> Iterator[pd.DataFrame]:
    """Messages of the given tasks that waited, or were held by a worker, and are in no later snapshot of a window."""
    theirs = messages.loc[as_mask(messages["task_id"], given.names)]
    for window in windows:
        before = theirs.loc[theirs["snapshot"].isin(window.earlier["snapshot"])]
        after = theirs.loc[theirs["snapshot"].isin(window.later["snapshot"]), "task_id"]
        gone = before.loc[~texts_in(before["task_id"], after)].drop_duplicates("task_id", keep="last")
        gone = gone.rename(columns={"snapshot": "last_seen", "state": "family"})
        gone = gone.assign(
            family=gone["family"].replace("queued", "queue"),
            relation="message",
            expires_at=pd.Series(pd.NaT, gone.index, dtype=TIME),
            absent_from=window.later["snapshot"].iloc[0],
        )
        yield gone[_ALSO]


def _together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    parts = [part for part in parts if len(part)] or parts[:1]
    if parts:
        return pd.concat(parts, ignore_index=True)
    empty = {name: pd.Series([], dtype="str") for name in _ALSO}
    empty |= {"db": pd.Series([], dtype="Int64"), "expires_at": pd.Series([], dtype=TIME)}
    return pd.DataFrame(empty).assign(due=pd.Series([], dtype=bool))


def _emptied(lost: list[Lost], also: pd.DataFrame) -> pd.DataFrame:
    """Databases of which no key is left, where more than the given records and what was due has gone."""
    told: list[dict[str, Any]] = []
    others = also.loc[also["relation"].ne("message")]
    for part in lost:
        named = part.window.named()
        here = set(others.loc[others["server"].eq(named["server"]) & others["absent_from"].eq(named["after"]), "db"])
        told += [
            {**named, "db": db, "held": held}
            for db, held in part.held.sort_index().items()
            if db in here and not part.left.get(db, 0)
        ]
    return pd.DataFrame(told, columns=["server", "db", "held", "before", "after"])


def _results_left(keys: pd.DataFrame, shots: pd.DataFrame, given: _Given) -> int:
    """How many of the given tasks still have a result that is not past its expiry, in a server's last snapshot."""
    results = keys["snapshot"].isin(shots.loc[shots["latest"], "snapshot"]) & keys["family"].eq("result")
    rows = keys[["task_id", "expired"]].take(np.flatnonzero(results.to_numpy(dtype=bool)))
    rows = rows.loc[as_mask(rows["task_id"], given.names)]
    return int(rows.loc[~rows["expired"].fillna(False).astype(bool), "task_id"].nunique())


def _by_id(
    ids: list[str], places: pd.DataFrame, shots: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(gone, remaining, undecided), each ID in one of them: it remains where any record of it does."""
    fate = {name: places.loc[places["fate"].isin(kinds)] for name, kinds in _FATES.items()}
    names = np.array(ids, dtype=object)
    known = np.zeros(len(ids), np.int8)
    for rank, name in ((1, "gone"), (2, "undecided"), (3, "remaining")):
        known[fate[name]["id"].to_numpy()] = rank
    first = {name: _first(fate[name].loc[known[fate[name]["id"]] == rank]) for name, rank in _RANKS.items()}
    left = first["remaining"].assign(gone_from=_listed(fate["gone"], first["remaining"].index))
    never = _never_seen(np.flatnonzero(known == 0), shots)
    unsure = not shots.loc[shots["newest"], "complete"].all()
    gone, open_ = first["gone"].assign(seen_before=True), first["undecided"].assign(seen_before=True)
    gone, open_ = (gone, _together_by_id(open_, never)) if unsure else (_together_by_id(gone, never), open_)
    tables = ((gone, _GONE), (left, _REMAINING), (open_, _UNDECIDED))
    one, two, three = (table.assign(id=names[table.index])[columns] for table, columns in tables)
    return one.reset_index(drop=True), two.reset_index(drop=True), three.reset_index(drop=True)


_FATES = {"gone": ("gone", "lapsed"), "remaining": ("remaining",), "undecided": ("undecided",)}
_RANKS = {"gone": 1, "undecided": 2, "remaining": 3}
_GONE = "id seen_before where last_seen last_seen_at absent_from absent_at due still_in_file".split()
_REMAINING = "id where status expires_at snapshot taken_at gone_from".split()
_UNDECIDED = "id seen_before where reason".split()


def _first(places: pd.DataFrame) -> pd.DataFrame:
    """One row an ID, of the record that was seen last, by the ID's place in the list; ``where`` lists all of them."""
    ordered = places.sort_values("taken_at", ascending=False, na_position="last", kind="stable")
    rows = ordered.drop_duplicates("id").set_index("id").sort_index()
    lapsed = places.loc[places["fate"].eq("lapsed"), "id"]
    return rows.assign(
        where=_listed(places, rows.index),
        last_seen=rows["snapshot"],
        last_seen_at=rows["taken_at"],
        still_in_file=rows.index.isin(lapsed),
    )


def _listed(places: pd.DataFrame, index: pd.Index) -> pd.Series:
    """Where the records of each ID are, as a list."""
    lists: dict[Any, list[str]] = {}
    for place, text in zip(places["id"].tolist(), places["where"].tolist(), strict=True):
        lists.setdefault(place, []).append(text)
    return pd.Series([lists.get(place, []) for place in index], index, dtype=object)


def _never_seen(rows: Any, shots: pd.DataFrame) -> pd.DataFrame:
    """IDs that no snapshot holds. The snapshot they are absent from is named where there is only one to name."""
    last = shots.loc[shots["latest"]]
    one = last.iloc[0] if len(last) == 1 else None
    table = pd.DataFrame({"seen_before": False, "due": False, "still_in_file": False}, index=rows)
    return table.assign(
        where=pd.Series([[] for _ in rows], rows, dtype=object),
        reason=NOT_LATEST,
        last_seen=pd.Series(None, rows, dtype="str"),
        last_seen_at=pd.Series(None, rows, dtype=TIME),
        absent_from=pd.Series(None if one is None else one["snapshot"], rows, dtype="str"),
        absent_at=pd.Series(None if one is None else one["taken_at"], rows, dtype=TIME),
    )


def _together_by_id(known: pd.DataFrame, never: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([part for part in (known, never) if len(part)] or [known]).sort_index()
