"""Bursts of removals in the commands: what a client took, what the server evicted, what expired together.

In: ``Removals``, the frame ``commands`` and what snapshots tell of ages. Out: ``Pattern``s. The null is the kind's own
rhythm (``rhythm``): deletes that follow their own writing within minutes are forgets, and are not counted at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.cleanups import FEW_OTHER, OWN, RECORDS, YOUNG, Known, alarming
from analysis.findings.deeds import RECORDERS, STREAMS
from analysis.findings.removed import MICRO, NONE, Removals
from analysis.findings.rhythm import TIMES_MORE, bursts
from analysis.findings.scope.extents import FEW, kind, nearly_all, run_of
from analysis.findings.scope.naming import pattern_of
from analysis.findings.scope.sweeps import Held, flushes
from analysis.findings.told import Pattern
from analysis.findings.waves import waves
from analysis.findings.words import count, duration, listed, when

LEAST_SHARE = 0.01
"""A burst that took less than this part of its kind is no pattern,"""

MANY, MANY_TIMES = 20, 10.0
"""unless it took so many keys, and so many times what the rhythm has: of a large kind fifty keys are a small part."""

_MOST = 20
_TIMED, _APART = 0.5, 4


def command_patterns(found: Removals, commands: pd.DataFrame, known: Known) -> list[Pattern]:
    """The patterns that commands show, each once, whoever else saw it."""
    if not len(commands):
        return []
    held = cache(lambda: Held(commands, (*STREAMS, *RECORDERS)))
    servers = dict(commands[["source", "server"]].drop_duplicates().astype("str").itertuples(index=False))
    told = []
    for one in flushes(commands, held)[-_MOST:]:
        db = one.databases[0] if len(one.databases) == 1 else None
        told.append(
            Pattern(
                one.pattern, "commands", one.says, servers.get(one.source, ""), db, one.families, one.since, one.until,
                one.gone, one.gone or None, 0.0, "shown", True,
            )
        )  # fmt: skip
    told += _evictions(found, held)
    removed = found.rows.loc[found.rows["by"].eq("client") & found.rows["family"].ne("binding")]
    for rows, rhythm in bursts(removed.loc[old(removed, found.spans, found.lives)], found.spans, FEW):
        rhythm = max(rhythm, _catching_up(rows, removed, found.lives))
        if len(rows) >= TIMES_MORE * rhythm and _dense(rows):
            told.append(_named(rows, rhythm, removed, held, found, known))
    told += _shortened(found, known)
    told += waves(found)
    return list(_once(told))


def old(rows: pd.DataFrame, spans: pd.DataFrame, lives: pd.DataFrame) -> NDArray[np.bool_]:
    """Which removals took a key that had been there for a while: not one that was written within ``YOUNG`` seconds
    before, or a quarter of the time that the witness speaks of where that is less. A key that the stream does not show
    written may be as young only at its beginning, unless three times more went than can have been written so lately.
    Whoever names five keys in one command waited for none of them.
    """
    by = spans.set_index("stream")
    begin = by["begin"].reindex(rows["stream"]).to_numpy(dtype=np.int64)
    length = by["end"].reindex(rows["stream"]).to_numpy(dtype=np.int64) - begin
    young = np.minimum(YOUNG * MICRO, length // 4)
    at, written = rows["at"].to_numpy(dtype=np.int64), rows["written"].to_numpy(dtype=np.int64)
    found: NDArray[np.bool_] = at - np.where(written == NONE, begin, written) >= young
    found |= _too_many(rows, ~found & (written == NONE), lives, length, young)
    return found | rows.groupby("label")["key"].transform("size").ge(FEW).to_numpy(dtype=bool)


def _too_many(
    rows: pd.DataFrame,
    perhaps: NDArray[np.bool_],
    lives: pd.DataFrame,
    length: NDArray[np.int64],
    young: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Of removals that may have taken young keys, those of kinds of which so many went that they cannot all be."""
    found = np.zeros(len(rows), bool)
    if not perhaps.any():
        return found
    table = rows.loc[perhaps, ["stream", "family"]].astype("str").assign(place=np.flatnonzero(perhaps))
    for (stream, family), mine in table.groupby(["stream", "family"]):
        place = mine["place"].to_numpy()
        born = lives["stream"].eq(stream) & lives["family"].eq(family) & lives["by"].ne("client")
        written = int(born.sum()) * young[place[0]] / max(length[place[0]], 1)
        found[place] = len(place) >= FEW_OTHER and len(place) > TIMES_MORE * (written + FEW)
    return found


def _catching_up(rows: pd.DataFrame, removed: pd.DataFrame, lives: pd.DataFrame) -> float:
    """How many removals whoever forgets such keys as a habit has to catch up with after a pause: of those written in
    the same time as these, as many as are forgotten else, less those that had been removed.
    """
    one, written = rows.iloc[0], rows["written"].loc[rows["written"].ne(NONE)]
    if not len(written):
        return 0.0
    alike = removed.loc[removed["stream"].eq(one["stream"]) & removed["stem"].eq(one["stem"])]
    others = alike.loc[~alike["at"].between(rows["at"].min(), rows["at"].max()) & alike["written"].ne(NONE)]
    born = lives.loc[lives["stream"].eq(one["stream"]) & lives["family"].eq(one["family"]), "start"]
    habit = float((others["at"] - others["written"] < YOUNG * MICRO).sum()) / max(len(born), 1)
    first, last = int(written.min()), int(written.max())
    return max(0.0, habit * int(born.between(first, last).sum()) - int(others["written"].between(first, last).sum()))


def _dense(rows: pd.DataFrame) -> bool:
    """Where the stream has no times, only what stands row by row, or nearly, was removed at a run."""
    if rows["known"].mean() >= _TIMED:
        return True
    span = int(rows["label"].max() - rows["label"].min()) + 1
    return span <= _APART * rows["label"].nunique()


def _named(
    burst: pd.DataFrame,
    rhythm: float,
    removed: pd.DataFrame,
    held: Callable[[], Held],
    found: Removals,
    known: Known,
) -> Pattern:
    """The pattern of a burst of removals by clients."""
    one = burst.iloc[0]
    stream, db, stem, family = one["stream"], one["db"], str(one["stem"]), str(one["family"])
    number = None if pd.isna(db) else int(db)
    first, last = int(burst["at"].min()), int(burst["at"].max())
    alike = removed["stream"].eq(stream) & removed["stem"].eq(stem)
    alike &= removed["db"].isna() if number is None else removed["db"].eq(number).fillna(False)
    whole = removed.loc[(alike & removed["at"].between(first, last)).to_numpy(dtype=bool)].drop_duplicates("key")
    there = held().before(stream, int(whole["label"].min()), number)
    there = there.loc[there["key"].str.startswith(stem)]
    spared = ~there["key"].isin(whole["key"]).to_numpy(dtype=bool)
    gone, left = len(whole), int(spared.sum())
    unseen = gone - int((~spared).sum())
    extent, order = _extent(there["label"].to_numpy(dtype=np.int64), ~spared, unseen, gone, left)
    share = gone / (gone + left)
    name = pattern_of(extent, order, (family,), witness="commands", share=share)
    of = max(gone + left, known.held.get((number if number is not None else -1, family), 0))
    large = gone >= LEAST_SHARE * of or gone >= max(MANY, MANY_TIMES * rhythm)
    others = removed.loc[alike.to_numpy(dtype=bool)]
    labels = there["label"].to_numpy(dtype=np.int64)
    passed = int((labels[spared] < np.median(labels[~spared])).sum()) if (~spared).sum() >= FEW else 0
    removal, why = alarming(whole, ~spared, passed, others, found, known, of)
    since, until = (pd.Timestamp(at, unit="us", tz="UTC") for at in (first, last))
    clients = [str(client) for client in whole["client"].dropna().unique()]
    verbs = whole["verb"].astype("str").str.upper().value_counts().index
    says = f"{listed([str(verb) for verb in verbs])} removed {kind(family, gone)}"
    says += f" that begin with “{stem}”" if family == "other" and stem else ""
    says += f" of {'DB ' + str(number) if number is not None else 'a database that is not told'}"
    says += f" {when(since, until)}"
    says += f", by {listed(clients)}" if clients else ""
    says += f"; {left:,} of that kind {'is' if left == 1 else 'are'} seen to stay" if left else ""
    says += (
        f"; the rhythm of that kind has {rhythm:.3g} in such a time"
        if rhythm
        else "; at other times none are removed so"
    )
    says += f"{why}."
    strength = "likely" if not whole["known"].any() or whole["or_by"].eq("eviction").any() else "shown"
    return Pattern(
        name, "commands", says, str(one["server"]), number, (family,), since, until, gone, of, rhythm,
        strength if removal and large else "hint" if removal else strength, removal and large,
    )  # fmt: skip


def _extent(labels: NDArray[np.int64], went: NDArray[np.bool_], unseen: int, gone: int, left: int) -> tuple[str, str]:
    """Extent and order of what went, among what the stream shows written; what was there before it is the oldest."""
    if nearly_all(gone, left):
        return "one prefix", ""
    if unseen and not went.any():
        return "one age", "age"
    run = run_of(np.append(labels, np.full(unseen, -1)), np.append(went, np.ones(unseen, bool)))
    if run is None:
        return "scattered", ""
    return "one age", {"oldest": "age", "newest": "newest", "middle": ""}[run.place]


def _evictions(found: Removals, held: Callable[[], Held]) -> Iterator[Pattern]:
    """What was evicted, of each server by the witness that shows most of it."""
    rows = found.rows.loc[found.rows["by"].eq("eviction")]
    for server, mine in rows.groupby("server", observed=True):
        stream = mine["stream"].value_counts().index[0]
        mine = mine.loc[mine["stream"].eq(stream)]
        if len(mine) < FEW:
            continue
        families = mine["family"].value_counts()
        since, until = (pd.Timestamp(at, unit="us", tz="UTC") for at in (mine["at"].min(), mine["at"].max()))
        sure = mine["witness"].iloc[0] == "keyspace log"
        left = len(held().before(stream, int(mine["label"].max()) + 1, None))
        counted = listed([kind(str(name), int(many)) for name, many in families.items()])
        says = (
            f"{count(len(mine), 'key')} {'were' if sure else 'were likelier than not'} evicted {when(since, until)}: "
            f"{counted}."
        )
        dbs = mine["db"].dropna().unique()
        yield Pattern(
            "eviction", "commands", says, str(server), int(dbs[0]) if len(dbs) == 1 else None, tuple(families.index),
            since, until, len(mine), len(mine) + left, 0.0, "shown" if sure else "likely", True,
        )  # fmt: skip


def _shortened(found: Removals, known: Known) -> Iterator[Pattern]:
    """Bursts of keys that were given less time than they had."""
    rows = found.shortened
    if not len(rows):
        return
    for mine, rhythm in bursts(rows.loc[old(rows, found.spans, found.lives)], found.spans, FEW):
        one = mine.iloc[0]
        family, number = str(one["family"]), None if pd.isna(one["db"]) else int(one["db"])
        gone = mine["key"].nunique()
        of = max(gone, known.held.get((number if number is not None else -1, family), 0))
        since, until = (pd.Timestamp(at, unit="us", tz="UTC") for at in (mine["at"].min(), mine["at"].max()))
        had = duration(float(np.median(mine["due"].to_numpy(dtype=np.int64) - mine["at"].to_numpy())) / MICRO)
        large = gone >= LEAST_SHARE * of or gone >= max(MANY, MANY_TIMES * rhythm)
        says = f"{kind(family, gone)} were given less than half of the time that they had left ({had} at the median) "
        says += f"{when(since, until)}."
        yield Pattern(
            "shortened TTL", "commands", says, str(one["server"]), number, (family,), since, until, gone, of, rhythm,
            "shown" if large else "hint", large and family in (*OWN, *RECORDS),
        )  # fmt: skip


def _once(told: Iterable[Pattern]) -> Iterator[Pattern]:
    """Without what another witness tells of the same: the surer, or the larger, of two that overlap in time is kept."""
    slack, kept = pd.Timedelta(seconds=120), list[Pattern]()
    for one in sorted(told, key=lambda row: (row.strength != "shown", -(row.gone or 0))):
        same = [
            by for by in kept
            if (_KIND.get(by.pattern, by.pattern), by.server, by.families)
            == (_KIND.get(one.pattern, one.pattern), one.server, one.families)
            and (by.db is None or one.db is None or by.db == one.db)
            and by.since is not None and one.since is not None and by.until is not None and one.until is not None
            and by.since - slack <= one.until and one.since - slack <= by.until
        ]  # fmt: skip
        if not same:
            kept.append(one)
    yield from kept[:_MOST]


# A witness that sees a part may call it otherwise.
_KIND = dict.fromkeys(("prefix delete", "purge", "deletion burst", "gap"), "removal by name")
