"""Removals that went together, as commands show them: a flush, one command with many keys, or a loop of them.

In: the frame ``commands``. Out: ``Scope``s. What a stream held is known from its own writes: keys that were there
before it begins are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.celery.families import GROUP_META, TASK_META
from analysis.findings.deeds import STREAMS, WRITES, Fate, stream_named, stream_of, when_of
from analysis.findings.scope.extents import FEW, Scope, kind, nearly_all, run_of
from analysis.findings.words import count, listed
from analysis.frames import as_arrow, words_in

_DELETES = ("DEL", "UNLINK", "GETDEL", "DELEX", "DELIFEQ")
_FLUSHES = ("FLUSHDB", "FLUSHALL", "SWAPDB")
# After these a key is there, or is gone; after others (RPOP, HDEL, …) it may be either.
_WRITTEN = WRITES | frozenset("EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST GETEX".split())
_MOVES = ("RENAME", "RENAMENX", "MOVE", "MIGRATE", "RENAME_FROM", "MOVE_FROM")
_GONE = frozenset((*_DELETES, *_MOVES))
# Of one loop: so near in time, and, where each command takes one key, with so few writes of others between.
_NEAR = 10_000_000
_APART = 3
_MOST_FLUSHES, _MOST_LOOPS = 200, 20
_NONE = np.iinfo(np.int64).min
# A name without what tells keys of one kind apart: the hexadecimal parts and the last part.
_STEM = r"([:\-_/.]|^)(?:[0-9a-fA-F]+-)*[^:\-_/.]*$"
_EXTENT_OF = {"FLUSHDB": "one database", "FLUSHALL": "all databases", "SWAPDB": "two databases"}
_FLUSHED = frozenset(_EXTENT_OF.values())
# Two witnesses date one command differently: SLOWLOG in whole seconds.
_SLACK = pd.Timedelta(seconds=2)

_COLUMNS = "server source witness db stem keys commands first last evicted among".split()


def stems(names: pd.Series) -> pd.Series:
    """What stands before a key's own part: ``celery-task-meta-``, ``job:``; empty where nothing does."""
    found = pc.replace_substring_regex(as_arrow(names), f"^(.*?{TASK_META}).*$", r"\1")
    return pd.Series(pc.replace_substring_regex(found, _STEM, r"\1").to_pandas(), dtype="str").set_axis(names.index)


def sweeps(commands: pd.DataFrame) -> pd.DataFrame:
    """Removals that no expiry explains, each row those that went together: columns server, source, witness, db, stem,
    keys (how many), commands (how many), first and last (labels of their rows), evicted (an eviction is not ruled out),
    among (how many keys of other kinds were removed between its first and last row).

    Together are keys that begin alike, of one source and database: those of one command; of commands with five or more
    such keys each, within ten seconds of the last; of commands one behind the other. Removals that come one at a time
    with the work between them are no sweep: an application that forgets each result once it has read it does so.
    """
    rows = commands.loc[_removing(commands)]
    names = exploded(rows)
    evicted = rows["removed_by"].eq("eviction") | rows["or_by"].eq("eviction")
    names["evicted"] = evicted.reindex(names["label"]).to_numpy(dtype=bool)
    if not len(names):
        return pd.DataFrame(columns=_COLUMNS)
    names["stem"] = stems(names["key"])
    names = names.sort_values(["source", "db", "stem", "label"], kind="stable", ignore_index=True)
    place = ["source", "db", "stem"]
    together = names.groupby([*place, "label"], observed=True, dropna=False)["key"].transform("size").to_numpy()
    same = names[place].eq(names[place].shift()).to_numpy() | (names[place].isna() & names[place].shift().isna())
    label, at = names["label"].to_numpy(), names["at"].to_numpy()
    apart, later = np.diff(label, prepend=label[:1]), np.diff(at, prepend=at[:1])
    timed = (at != _NONE) & (np.roll(at, 1) != _NONE)
    many = (together >= FEW) & (np.roll(together, 1) >= FEW)
    near = (apart <= _APART) & (~timed | (np.abs(later) <= _NEAR)) | (many & timed & (np.abs(later) <= _NEAR))
    names["sweep"] = np.cumsum(~(same.all(axis=1) & near))
    found = names.drop_duplicates(["sweep", "key"]).groupby("sweep").agg(
        server=("server", "first"), source=("source", "first"), witness=("witness", "first"), db=("db", "first"),
        stem=("stem", "first"), keys=("key", "size"), commands=("label", "nunique"), first=("label", "min"),
        last=("label", "max"), evicted=("evicted", "any"),
    )  # fmt: skip
    return _with_others(found.reset_index(drop=True), names)


def _with_others(found: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """``sweeps`` with its column ``among``."""
    places = {source: np.sort(rows["label"].to_numpy()) for source, rows in names.groupby("source", observed=True)}
    own = names.groupby("sweep")["label"].size().to_numpy()
    number = np.zeros(len(found), np.int64)
    for source, labels in places.items():
        here = found["source"].eq(source).to_numpy(dtype=bool)
        first, last = found.loc[here, "first"].to_numpy(), found.loc[here, "last"].to_numpy()
        number[here] = np.searchsorted(labels, last, "right") - np.searchsorted(labels, first, "left")
    return found.assign(among=number - own)


def _removing(commands: pd.DataFrame) -> NDArray[np.bool_]:
    # An eviction one behind the other of one kind only looks like a loop, and in a stream a loop looks like that.
    by_some = commands["removed_by"].isin(("client", "script", "eviction"))
    ran = commands["witness"].ne("ACL LOG")  # what was denied did not run
    found: NDArray[np.bool_] = words_in(commands["verb"], _DELETES) & (by_some & ran).to_numpy(dtype=bool)
    return found


def exploded(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each key that a command names: columns label (of the command's row), server, source, witness, db, key,
    at (microseconds; the smallest number = not known)."""
    parents, keys = keys_named(rows)
    chosen = rows[["server", "source", "witness", "db"]].take(parents)
    at = pd.DatetimeIndex(rows["not_before"]).asi8[parents]
    return chosen.assign(label=rows.index.to_numpy()[parents], at=at).reset_index(drop=True).assign(key=keys)


def keys_named(rows: pd.DataFrame) -> tuple[NDArray[np.int64], pd.Series]:
    """Every key that the rows name, and of each the place of its row."""
    lists = pa.array(rows["keys"])
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    return pc.list_parent_indices(lists).to_numpy(), pd.Series(pc.list_flatten(lists).to_pandas(), dtype="str")


class Held:
    """Which keys each stream shows to be there at a row, by the writes before it."""

    def __init__(self, commands: pd.DataFrame, witnesses: tuple[str, ...] = STREAMS) -> None:
        rows = commands.loc[commands["witness"].isin(witnesses)]
        self.flushes = rows.loc[words_in(rows["verb"], _FLUSHES), ["source", "db", "verb"]]
        self.flushes = self.flushes.assign(stream=_streams(self.flushes["source"]))
        rows = rows.loc[rows["db"].notna()]
        held = np.where(words_in(rows["verb"], _WRITTEN), 1, np.where(words_in(rows["verb"], _GONE), 0, -1))
        found = exploded(rows)
        codes, self.names = pd.factorize(found["key"])
        self.rows = pd.DataFrame({"label": found["label"], "db": found["db"].astype("int64"), "key": codes})
        self.rows["held"] = pd.Series(held, rows.index).reindex(found["label"]).to_numpy()
        self.rows["stream"] = _streams(found["source"])

    def before(self, stream: str, label: int, db: int | None) -> pd.DataFrame:
        """The keys of a database (None = of all): columns db, key, label (of the last write), in that order."""
        rows = self.rows.loc[self.rows["stream"].eq(stream).to_numpy(dtype=bool)]
        rows = rows.loc[(rows["label"] < label) & (rows["db"].eq(db) if db is not None else True)]
        flushes = self.flushes.loc[self.flushes["stream"].eq(stream) & (self.flushes.index < label)]
        for number in rows["db"].unique():
            # What SWAPDB brought in is not known, as what was there when the stream began.
            last = flushes.index[~flushes["verb"].str.upper().eq("FLUSHDB") | flushes["db"].eq(number).fillna(True)]
            if len(last):
                rows = rows.loc[rows["db"].ne(number) | (rows["label"] > last[-1])]
        last_of = rows.drop_duplicates(["db", "key"], keep="last")
        last_of = last_of.loc[last_of["held"].eq(1), ["db", "key", "label"]]
        return last_of.assign(key=self.names.take(last_of["key"].to_numpy()))


def _streams(source: pd.Series) -> pd.Series:
    """``deeds.stream_of``, of each word once."""
    known = stream_of(pd.Series(source.cat.categories, dtype="str"))
    return known.take(source.cat.codes.to_numpy()).set_axis(source.index).astype("category")


def swept(commands: pd.DataFrame, fate: Fate, family: str = "") -> Scope | None:
    """What went with the key of a ``deeds.Fate``: of a flush all, of a removal those of its kind that went with it, of
    an eviction all that were evicted, unless all of one kind went at a run. None where it went at its own expiry, or
    who took it cannot be told.

    ``family``: what the key is, as in ``families.FAMILIES``. Keys that a flush took are those that its stream shows
    written before it: those that were there before the stream began are not among them.
    """
    if fate.by not in ("client", "script", "eviction"):
        return None
    held = Held(commands)
    if fate.verb in _FLUSHES:
        return _flushed(held, fate.row, fate.db if fate.verb != "FLUSHALL" else None)
    rows = commands.loc[commands["source"].eq(fate.row["source"])]
    loops = sweeps(rows)
    label, stem = fate.row.name, stems(pd.Series([fate.key], dtype="str")).iloc[0]
    mine = loops.loc[loops["stem"].eq(stem) & (loops["first"] <= label) & (loops["last"] >= label)]
    if len(mine):
        found = _removed(held, rows, _Loop.of(mine.iloc[0], fate.family), fate.row, fate.db, family)
    else:
        alone = _Loop(stem, max(fate.family, 1), 1, label, label, False)
        found = _removed(held, rows, alone, fate.row, fate.db, family)
    # What is evicted is of any kind: where all of one kind went at a run, that says more.
    return found if fate.by != "eviction" or found.extent == "one prefix" else _evicted(held, commands, fate.row)


def worst(commands: pd.DataFrame) -> Scope | None:
    """The removal in which most keys went, of all that the commands show: a flush, or a loop. None where five or more
    never went together. Evictions, which a stream only makes likely, are apart (``evictions``).

    Of flushes the last two hundred are looked at, of loops the twenty largest.
    """
    held = Held(commands)
    ran = commands["witness"].ne("ACL LOG").to_numpy()
    flushes = commands.loc[words_in(commands["verb"], _FLUSHES) & ran].tail(_MOST_FLUSHES)
    found = [_flushed(held, row, _database(row)) for _, row in flushes.iterrows()]
    loops = sweeps(commands)
    for _, one in loops.loc[loops["keys"] >= FEW].sort_values("keys").tail(_MOST_LOOPS).iterrows():
        loop, row = _Loop.of(one), commands.loc[one["first"]]
        family = "result" if loop.stem.endswith(TASK_META) else "job" if pd.notna(row["task_id"]) else ""
        one_kind = _removed(held, commands, loop, row, _database(row), family)
        # A run of evictions is a part of what was evicted, unless it took all of one kind.
        found += [one_kind] if row["removed_by"] != "eviction" or one_kind.extent == "one prefix" else []
    # How many keys a flush took that only MONITOR or SLOWLOG shows, or SWAPDB moved, is not known.
    large = [one for one in found if one.gone >= FEW or one.extent in _FLUSHED and not one.families]
    streams = set(commands.loc[commands["witness"].isin(STREAMS), "source"].unique())
    best = [one for one in large if one.source in streams]
    large = best + [one for one in large if one.source not in streams and not any(_again(one, by) for by in best)]
    if not large:
        return None
    lead, others = max(large, key=_rank), len(large) - 1
    beside = f" {count(others, 'other removal')} of five or more keys, or of a database, can be told beside it."
    return replace(lead, says=lead.says + beside) if others else lead


def evictions(commands: pd.DataFrame) -> Scope | None:
    """What was evicted as the commands have it, by the witness that shows most of it; None where that is nothing."""
    evicted = commands.loc[commands["removed_by"].eq("eviction")]
    if not len(evicted):
        return None
    held, firsts = Held(commands), evicted.drop_duplicates("source")
    return max((_evicted(held, commands, row) for _, row in firsts.iterrows()), key=lambda one: one.gone)


def flushes(commands: pd.DataFrame, held_by: Callable[[], Held]) -> list[Scope]:
    """The last flushes, each by the witness that tells most of it. ``held_by``: makes ``Held``, if there is any."""
    ran = commands["witness"].ne("ACL LOG").to_numpy()
    rows = commands.loc[words_in(commands["verb"], _FLUSHES) & ran].tail(_MOST_FLUSHES)
    if not len(rows):
        return []
    held = held_by()
    streams = rows["witness"].isin(STREAMS)
    found = [_flushed(held, row, _database(row)) for _, row in rows.loc[streams].iterrows()]
    best = list(found)
    for _, row in rows.loc[~streams].iterrows():
        one = _flushed(held, row, _database(row))
        if not any(_again(one, by) for by in best):
            found.append(one)
    return found


def _again(one: Scope, other: Scope) -> bool:
    """Whether another witness may tell of the same removal."""
    flush = one.extent if one.extent in _FLUSHED else ""
    earlier = one.until is not None and other.since is not None and one.until < other.since - _SLACK
    later = one.since is not None and other.until is not None and one.since > other.until + _SLACK
    return flush == (other.extent if other.extent in _FLUSHED else "") and not earlier and not later


def _rank(one: Scope) -> tuple[bool, bool, int]:
    """A flush of everything first; what took anything of Celery's before what took nothing of it, for other keys are
    mostly a cache's.
    """
    return one.extent == "all databases", set(one.families) != {"other"}, one.gone


def _database(row: pd.Series) -> int | None:
    return None if pd.isna(row["db"]) or str(row["verb"]).upper() == "FLUSHALL" else int(row["db"])


def _flushed(held: Held, row: pd.Series, db: int | None) -> Scope:
    verb, source = str(row["verb"]).upper(), str(row["source"])
    when, (since, until) = when_of(row), _times(row, row)
    if verb == "SWAPDB":
        says = f"SWAPDB exchanged two databases{when} ({row['detail']}): all keys of both changed places."
        return Scope("commands", "two databases", "", 0, 0, (), (), since, until, source, says)
    what = "all databases" if verb == "FLUSHALL" else f"all of DB {db}" if db is not None else "one database"
    head = f"{verb} took {what}{when}"
    if row["witness"] not in STREAMS:
        says = f"{head}; how many keys that were, {source} does not tell."
        return Scope(
            "commands", _EXTENT_OF[verb], "", 0, 0, (), () if db is None else (db,), since, until, source, says
        )
    keys = held.before(stream_named(source), int(row.name), db)
    families = _families(keys["key"]).value_counts()
    counted = listed([kind(str(name), int(number)) for name, number in families.items()])
    says = f"{head}: at least {counted}, which {source} shows written before it." if counted else f"{head}; {source} "
    says += "" if counted else "shows no key that was there by then."
    databases = tuple(sorted(int(number) for number in keys["db"].unique())) if db is None else (db,)
    return Scope(
        "commands", _EXTENT_OF[verb], "", len(keys), 0, tuple(families.index), databases, since, until, source, says
    )


@dataclass(frozen=True)
class _Loop:
    """A row of ``sweeps``; ``keys`` as its ``Fate`` has it, where that counts more."""

    stem: str
    keys: int
    commands: int
    first: int
    last: int
    evicted: bool
    among: int = 0

    @classmethod
    def of(cls, row: pd.Series, family: int = 0) -> _Loop:
        keys, commands = max(int(row["keys"]), family), int(row["commands"])
        return cls(row["stem"], keys, commands, int(row["first"]), int(row["last"]), bool(row["evicted"]), row["among"])


def _removed(held: Held, rows: pd.DataFrame, loop: _Loop, row: pd.Series, db: int | None, family: str) -> Scope:
    """Of removals of keys by name; ``row`` is the one that is told."""
    source, number, stem = str(row["source"]), loop.keys, loop.stem
    begun = f" that begin with “{stem}”" if stem and not family else ""
    what = (kind(family, number) if family else count(number, "key")) + begun
    moved = " away" if str(row["verb"]).upper() in _MOVES else ""
    says = f"{row['verb']} {'moved' if moved else 'removed'} {what}{moved}{when_of(row)}" + (
        f", in {loop.commands:,} commands" * (loop.commands > 1)
    )
    extent, order, left = "one key" if number == 1 else "a few keys" if number < FEW else "many keys", "", 0
    if row["witness"] in STREAMS and stem:
        stream = stream_named(source)
        stayed = held.before(stream, loop.last + 1, db)
        stayed = stayed.loc[stayed["key"].str.startswith(stem)]
        left = len(stayed)
        says += f"; {source} shows {'no other' if not left else f'{left:,} more'} of that kind to be there then"
        if number >= FEW:
            extent, order, phrase = _spared(held.before(stream, loop.first, db), stayed, stem, number)
            says += phrase
        if loop.among and not nearly_all(number, loop.among):
            extent, order = ("scattered", "") if number >= FEW else (extent, order)
            says += f"; {count(loop.among, 'key')} of other kinds went among them"
    elif number >= FEW:
        says += "; how many of that kind were spared is not told"
    says += "; that they were evicted is not ruled out." if loop.evicted else "."
    since, until = _times(row, rows.loc[loop.last])
    databases = () if db is None else (db,)
    families = (family,) if family else ("other",)
    return Scope("commands", extent, order, number, left, families, databases, since, until, source, says)


def _spared(there: pd.DataFrame, stayed: pd.DataFrame, stem: str, number: int) -> tuple[str, str, str]:
    """Extent, order and phrase: all of the kind, or those written in one range, or neither."""
    there = there.loc[there["key"].str.startswith(stem)]
    spared = there["key"].isin(stayed["key"]).to_numpy(dtype=bool)
    if (~spared).any() and spared.any() and (run := run_of(there["label"].to_numpy(dtype=np.int64), ~spared)):
        order, says = {
            "oldest": ("age", "those written first"),
            "newest": ("newest", "those written last"),
            "middle": ("", "those written in one range of time"),
        }[run.place]
        return "one age", order, f": {says} went"
    return ("one prefix" if nearly_all(number, len(stayed)) else "scattered"), "", ""


def _evicted(held: Held, commands: pd.DataFrame, row: pd.Series) -> Scope:
    rows = commands.loc[commands["source"].eq(row["source"]) & commands["removed_by"].eq("eviction")]
    names = exploded(rows).drop_duplicates(["db", "key"])
    families = _families(names["key"]).value_counts()
    number, (since, until) = len(names), _times(rows.iloc[0], rows.iloc[-1])
    left = len(held.before(stream_named(str(row["source"])), int(rows.index[-1]) + 1, None))
    counted = listed([kind(str(name), int(many)) for name, many in families.items()])
    says = f"{row['source']} shows {count(number, 'key')} evicted, or likelier so than not: {counted}."
    extent = "one key" if number == 1 else "a few keys" if number < FEW else "scattered"
    databases = tuple(sorted(int(db) for db in names["db"].dropna().unique()))
    told = (number, left, tuple(families.index), databases, since, until, str(row["source"]), says)
    return Scope("commands", extent, "", *told, evicted=True)


def _families(names: pd.Series) -> pd.Series:
    """What keys are by their names alone."""
    found = pd.Series("other", names.index, dtype=object)
    for mark, family in ((TASK_META, "result"), (GROUP_META, "group_result"), ("_kombu.binding", "binding")):
        found[names.str.contains(mark, regex=False).to_numpy(dtype=bool)] = family
    return found


def _times(first: pd.Series, last: pd.Series) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    since, until = first["not_before"], last["not_after"]
    return (None if pd.isna(since) else since), (None if pd.isna(until) else until)
