"""Bursts of removals in the commands: what a client took, what the server evicted, what expired together.

In: ``Removals``, the frame ``commands`` and what snapshots tell of ages. Out: ``Pattern``s. The null is the kind's own
rhythm (``rhythm``): deletes that follow their own writing within minutes are forgets, and are not counted at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.deeds import RECORDERS, STREAMS
from analysis.findings.removed import MICRO, NONE, Removals
from analysis.findings.rhythm import (
    DAY,
    LARGEST_MORE,
    SURPRISE,
    TIMES_MORE,
    Bins,
    binned,
    dispersion,
    expected,
    flat,
    surprise,
)
from analysis.findings.scope.extents import FEW, kind, nearly_all, run_of
from analysis.findings.scope.naming import LARGE, pattern_of
from analysis.findings.scope.sweeps import Held, flushes
from analysis.findings.told import Pattern
from analysis.findings.words import count, duration, listed, stamp

YOUNG = 900
"""A key that is removed so many seconds after it was written was removed by whoever waited for it: a forget, a lock."""

LEAST_SHARE = 0.01
"""A burst that took less than this part of its kind is no pattern,"""

MANY, MANY_TIMES = 20, 10.0
"""unless it took so many keys, and so many times what the rhythm has: of a large kind fifty keys are a small part."""

FEW_EXPIRED = 20
"""So many keys must expire together to be a wave."""

FEW_OTHER = 20
"""So many keys that are nothing to Celery: caches are cleared by everybody."""

_WIDTHS = (10, 60, 600, 3_600)
_OWN = ("result", "group_result")
# The application's own, which its clean-ups remove.
_RECORDS = ("job", "rq_job", "rq_results")
_MOST = 20
_TIMED, _APART = 0.5, 4
# Of what is kept for three days and more, a clean-up every day takes a third or, over a weekend, a half.
_LONG_KEPT, _NO_CLEAN_UP = 3 * DAY, 0.8


@dataclass(frozen=True)
class Known:
    """What is known of keys beside the commands: ``made``: when each record was made, by its key; ``oldest``: how old
    the oldest record was that any snapshot held, in seconds (None = no record with a time); ``held``: how many keys a
    snapshot held at most, by database and family; ``stated``: how long records are said to be kept, in seconds.
    """

    made: Mapping[str, pd.Timestamp]
    oldest: float | None
    held: Mapping[tuple[int, str], int]
    stated: float | None = None


def known_of(keys: pd.DataFrame, jobs: pd.DataFrame, shots: pd.DataFrame, stated: float | None = None) -> Known:
    """``Known`` of a case's snapshots."""
    dated = jobs.loc[jobs["created_at"].notna()]
    taken = dated["snapshot"].map(dict(zip(shots["snapshot"], shots["taken_at"], strict=True)))
    ages = (pd.to_datetime(taken, utc=True) - dated["created_at"]).dt.total_seconds()
    oldest = float(ages.max()) if ages.notna().any() else None
    counted = keys.groupby(["snapshot", "db", "family"], observed=True).size()
    held = counted.groupby(level=["db", "family"], observed=True).max()
    return Known(
        dict(zip(dated["key"], dated["created_at"], strict=True)),
        oldest,
        {(int(db), str(family)): int(number) for (db, family), number in held.items()},
        stated or None,
    )


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
    told += _waves(found)
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


def bursts(rows: pd.DataFrame, spans: pd.DataFrame, few: int) -> Iterator[tuple[pd.DataFrame, float]]:
    """What of each kind of key (by stream, database, and what it begins with) stands out from that kind's own rhythm:
    its rows, and how many the rhythm has in such a time. Bins of ten seconds to an hour are looked at, a burst is told
    in the narrowest.
    """
    by = spans.set_index("stream")
    groups = list(rows.groupby(["stream", "db", "stem", "family"], observed=True, dropna=False, sort=False))
    bins = {name: max(int((span.end - span.begin) / MICRO), 1) for name, span in by.iterrows()}
    looked = sum(bins[name[0]] / width for name, _ in groups for width in _WIDTHS)
    for (stream, *_), mine in groups:
        if len(mine) < few:
            continue
        begin = int(by.loc[stream, "begin"])
        seconds = (mine["at"].to_numpy(dtype=np.int64) - begin) / MICRO
        taken = np.zeros(len(mine), bool)
        for width in _WIDTHS:
            whole = binned(seconds, width, bins[stream])
            for place, rhythm in _standing_out(whole, few, int(looked)):
                inside = (seconds // width).astype(np.int64) == place
                if not taken[inside].any():
                    # A burst on the edge of two bins is one.
                    taken |= np.abs((seconds // width).astype(np.int64) - place) <= 1
                    yield mine.loc[_near(seconds, inside, width)], rhythm


def _standing_out(bins: Bins, few: int, looked: int) -> Iterator[tuple[int, float]]:
    chosen = bins.places[bins.counts >= max(few, flat(bins))]
    if not len(chosen):
        return
    rhythm, largest = expected(bins, chosen)
    counts = bins.counts[np.searchsorted(bins.places, chosen)]
    order = np.argsort(-counts, kind="stable")
    for place, usual, most, seen in zip(chosen[order], rhythm[order], largest[order], counts[order], strict=True):
        if seen < max(few, TIMES_MORE * usual, LARGEST_MORE * most):
            continue
        mean = max(float(usual), (int(bins.counts.sum()) - int(seen) + 0.5) / bins.whole)
        if surprise(int(seen), mean, dispersion(bins, int(place)), looked) <= SURPRISE:
            yield int(place), float(usual)


def _near(seconds: NDArray[np.float64], inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Those of a bin, and those beside it that follow without a pause."""
    first, last = seconds[inside].min(), seconds[inside].max()
    pause = min(width, 60)
    for at in np.sort(seconds[seconds > last]):
        if at - last > pause:
            break
        last = at
    for at in -np.sort(-seconds[seconds < first]):
        if first - at > pause:
            break
        first = at
    return (seconds >= first) & (seconds <= last)


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
    removal, why = _alarming(whole, ~spared, passed, others, found, known, of)
    since, until = (pd.Timestamp(at, unit="us", tz="UTC") for at in (first, last))
    clients = [str(client) for client in whole["client"].dropna().unique()]
    verbs = whole["verb"].astype("str").str.upper().value_counts().index
    says = f"{listed([str(verb) for verb in verbs])} removed {kind(family, gone)}"
    says += f" that begin with “{stem}”" if family == "other" and stem else ""
    says += f" of {'DB ' + str(number) if number is not None else 'a database that is not told'}"
    says += (
        f" from {stamp(since)} to {stamp(until)}" if until - since >= pd.Timedelta(seconds=1) else f" at {stamp(since)}"
    )
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


def _alarming(
    whole: pd.DataFrame,
    went: NDArray[np.bool_],
    passed: int,
    alike: pd.DataFrame,
    found: Removals,
    known: Known,
    of: int,
) -> tuple[bool, str]:
    """Whether a burst took what should have stayed, and what to say of it: results have an expiry of their own; what
    else there is may be removed by a clean-up, once it is old. ``went``: which of those that the stream shows to have
    been there, ``passed``: how many it shows to stay that are older than half of those; ``alike``: all removals of that
    kind; ``of``: how many there were.
    """
    stream, family = whole["stream"].iloc[0], str(whole["family"].iloc[0])
    begin = int(found.spans.set_index("stream").loc[stream, "begin"])
    if family in _OWN:
        lives = found.lives.loc[found.lives["stream"].eq(stream) & found.lives["family"].eq(family), "start"]
        at_once = whole.groupby("label")["key"].size().max() >= FEW
        # Notifications may be of removals alone; the other witnesses show what is written, too.
        if at_once or whole["witness"].iloc[0] != "keyspace log" or (lives > begin).any():
            return True, ""
        return False, "; the witness shows none of them written, so they may have been forgotten once they were read"
    ages = _ages(whole, known, begin)
    seen = ages.notna().to_numpy()
    newest_too = int(went.sum()) >= FEW and nearly_all(int(went.sum()), int((~went).sum()))
    if family not in _RECORDS:
        many = len(whole) >= FEW_OTHER and newest_too
        return many, "" if many else "; whether such keys should have stayed is not known"
    if passed >= max(FEW, len(whole) * LARGE):
        return True, f"; {passed:,} that are older than half of them stayed, so it was no clean-up by age"
    usual = _usual_age(whole, alike, known, begin)
    if usual is None:
        young = newest_too and bool((ages[seen] < YOUNG).any())
        return young, "" if young else "; at what age such records are removed otherwise is not known"
    too_young = int((ages[seen] < usual / 2).sum())
    if too_young >= FEW and too_young * 10 >= len(whole):
        return True, f"; {too_young:,} of them were younger than half of {duration(usual)}, to which they are kept else"
    if usual >= _LONG_KEPT and len(whole) >= _NO_CLEAN_UP * of:
        return True, f"; they are kept for {duration(usual)} else, of which a clean-up takes no such part at once"
    if seen.mean() < _TIMED:
        return False, "; how old most of them were is not known, so that it was a clean-up by age is not ruled out"
    return False, f"; such records are kept for {duration(usual)} at other times too, so a clean-up by age explains it"


def _ages(rows: pd.DataFrame, known: Known, begin: int) -> pd.Series:
    """Age in seconds of each key when it went: by its record, else by its writing, else by the expiry that it had and
    how long such records are said to be kept; missing where nothing tells it.
    """
    made = pd.to_datetime(rows["key"].map(known.made), utc=True).astype("datetime64[us, UTC]")
    written = rows["written"].to_numpy(dtype=np.int64)
    from_made = (pd.to_datetime(rows["at"], unit="us", utc=True) - made).dt.total_seconds()
    from_written = pd.Series((rows["at"].to_numpy(dtype=np.int64) - written) / MICRO, rows.index).mask(written == NONE)
    found = from_made.fillna(from_written)
    if known.stated:
        due = rows["due"].to_numpy(dtype=np.int64)
        left = pd.Series((due - rows["at"].to_numpy(dtype=np.int64)) / MICRO, rows.index).mask(due == NONE)
        found = found.fillna((known.stated - left).clip(lower=0))
    return found


def _usual_age(whole: pd.DataFrame, alike: pd.DataFrame, known: Known, begin: int) -> float | None:
    """To what age records of a kind are kept at the least: as it is stated, else the youngest removed at other times
    (but one in fifty; of those written before the stream the last clean-up tells that they were older than it);
    without such, the oldest that a snapshot held, less the day between two clean-ups. None where nothing tells it.
    """
    if known.stated:
        return known.stated
    first, last = whole["at"].min(), whole["at"].max()
    others = alike.loc[(alike["at"] < first - YOUNG * MICRO) | (alike["at"] > last + YOUNG * MICRO)]
    if len(others) >= FEW:
        ages = _ages(others, known, begin).to_numpy()
        told = ages[~np.isnan(ages)]
        least = (others["at"].to_numpy(dtype=np.int64) - begin) / MICRO
        return float(np.quantile(told, 0.02)) if len(told) >= FEW else float(least.max())
    kept = (known.oldest or 0.0) - DAY
    return kept if kept > 0 else None


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
            f"{count(len(mine), 'key')} {'were' if sure else 'were likelier than not'} evicted from {stamp(since)} to "
        )
        says += f"{stamp(until)}: {counted}."
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
        says += f"from {stamp(since)} to {stamp(until)}."
        yield Pattern(
            "shortened TTL", "commands", says, str(one["server"]), number, (family,), since, until, gone, of, rhythm,
            "shown" if large else "hint", large and family in (*_OWN, *_RECORDS),
        )  # fmt: skip


def _waves(found: Removals) -> Iterator[Pattern]:
    """Keys of a kind that expired together: because they had been written together, or for an expiry set for all."""
    rows = found.rows.loc[found.rows["by"].eq("expiry")]
    for mine, rhythm in bursts(rows, found.spans, FEW_EXPIRED):
        if mine["key"].isin(found.shortened["key"]).mean() >= _TIMED:
            continue  # told as what it was: their time was shortened
        due, written = mine["due"].to_numpy(dtype=np.int64), mine["written"].to_numpy(dtype=np.int64)
        one, known = mine.iloc[0], written != NONE
        group = rows.loc[rows["stream"].eq(one["stream"]) & rows["stem"].eq(one["stem"])]
        name, why = mirrored(due[due != NONE], _written(written, due, group))
        if not name:
            continue
        since, until = (pd.Timestamp(at, unit="us", tz="UTC") for at in (mine["at"].min(), mine["at"].max()))
        family, number = str(one["family"]), None if pd.isna(one["db"]) else int(one["db"])
        says = f"{kind(family, len(mine))} expired from {stamp(since)} to {stamp(until)}, each at its own expiry{why}."
        yield Pattern(
            name, "commands", says, str(one["server"]), number, (family,), since, until, len(mine), None, rhythm,
            "shown" if known.all() else "likely",
        )  # fmt: skip


def _written(written: NDArray[np.int64], due: NDArray[np.int64], group: pd.DataFrame) -> NDArray[np.int64]:
    """When they had been written: as the stream shows, else by the time to live that nearly all of the kind have."""
    lives = (group["due"] - group["written"]).loc[group["due"].ne(NONE) & group["written"].ne(NONE)] // MICRO
    if len(lives) >= FEW and nearly_all(int(lives.eq(most := lives.mode().iloc[0]).sum()), int(lives.ne(most).sum())):
        written = np.where((written == NONE) & (due != NONE), due - int(most) * MICRO, written)
    return written[written != NONE]


def mirrored(due: NDArray[np.int64], written: NDArray[np.int64]) -> tuple[str, str]:
    """What a burst of expiries is called, from the times at which its keys were due and had been written (microseconds;
    only those known), and what to say of it: nothing where they were not due together, for then the server was late.
    """
    if len(due) < FEW_EXPIRED:
        return "", ""
    spread = _spread(due)
    if spread > _WIDTHS[2] * MICRO:
        return "", ""
    if len(written) < FEW_EXPIRED:
        return "expiry wave", ", and all were due then; when they had been given that expiry is not shown"
    if _spread(written) <= 3 * max(spread, _WIDTHS[1] * MICRO):
        first = pd.Timestamp(int(written.min()), unit="us", tz="UTC")
        return "stampede", f", as they had been written, or given it, together from {stamp(first)} on"
    return "expiry wave", f", though they had been written over {duration(_spread(written) / MICRO)}"


def _spread(times: NDArray[np.int64]) -> float:
    low, high = np.quantile(times, [0.05, 0.95])
    return float(high - low)


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
