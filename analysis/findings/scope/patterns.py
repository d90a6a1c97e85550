"""What the keys that went share: a database, a kind, an age, or nothing; and in which order they went.

In: the keys of a snapshot that can be compared, and which of them went. Out: ``Found``, one of ``extents.EXTENTS`` with
a phrase made from the figures. Knows neither how they went nor when.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.scope.extents import FEW, Run, in_databases, is_order, kind, leads, nearly_all, run_of
from analysis.findings.words import count, listed, stamp
from analysis.frames import in_micros

Flags = NDArray[np.bool_]
_NONE = np.iinfo(np.int64).min
_LEAST_NAME, _LONGEST_NAME = 3, 60


@dataclass(frozen=True)
class Pool:
    """The keys of the earlier snapshot that can be compared, and which of them went: columns db, family, prefix, key,
    task_id, expires_at, idle, freq, offset, at, moved."""

    keys: pd.DataFrame
    gone: Flags

    def where(self, rows: Flags) -> Pool:
        return Pool(self.keys.loc[rows], self.gone[rows])

    def named(self, key: str | None, db: int | None) -> Flags:
        if key is None:
            return np.zeros(len(self.gone), bool)
        found: Flags = self.keys["key"].eq(key).to_numpy(dtype=bool)
        return found & self.keys["db"].eq(db).to_numpy(dtype=bool) if db is not None else found

    def alike(self, rows: Flags) -> Flags:
        """Which keys are of the database and family of one of those."""
        some = self.keys.loc[rows, ["db", "family"]].drop_duplicates()
        found = np.zeros(len(self.gone), bool)
        for db, family in some.itertuples(index=False):
            found |= (self.keys["db"].eq(db) & self.keys["family"].eq(family)).to_numpy(dtype=bool)
        return found

    def groups(self, *columns: str) -> pd.DataFrame:
        """How many went and stayed, by the columns: gone, left; those that lost most first."""
        table = self.keys[list(columns)].assign(gone=self.gone, left=~self.gone)
        counted = table.groupby(list(columns), observed=True, dropna=False)[["gone", "left"]].sum().reset_index()
        return counted.sort_values("gone", ascending=False, kind="stable", ignore_index=True)

    def of_gone(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Families, those that lost most first, and databases."""
        mine = self.keys.loc[self.gone]
        families = mine["family"].astype("str").value_counts().index
        return tuple(families), tuple(sorted(int(db) for db in mine["db"].unique()))


@dataclass(frozen=True)
class Found:
    """What they share: ``members`` are the keys, gone or not, that it speaks of."""

    extent: str
    says: str
    members: Flags
    order: str = ""


def together(pool: Pool) -> Found:
    """What those that went share, the narrowest that is true of (nearly) all of them."""
    everything, number = np.ones(len(pool.gone), bool), int(pool.gone.sum())
    if not number:
        return Found("nothing", "", everything)
    if number < FEW:
        order, how = ordered(pool)
        stayed = f", of {count(len(pool.gone), 'key')} that could be compared"
        extent = "one key" if number == 1 else "a few keys"
        return Found(extent, _listed(pool) + stayed + _moved(pool) + how, everything, order)
    for look in (_exchanged, _of_one_age, _of_databases, _of_one_kind):
        if found := look(pool):
            return found
    order, how = ordered(pool)
    return Found("scattered", _listed(pool) + how, everything, order)


def _exchanged(pool: Pool) -> Found | None:
    moved = pool.keys["moved"].to_numpy(dtype=bool)
    number = int(moved.sum())
    emptied = [row for row in pool.groups("db").itertuples() if nearly_all(row.gone, row.left)]
    here = pool.keys["db"].isin([row.db for row in emptied]).to_numpy(dtype=bool)
    if not emptied or not nearly_all(int((moved & here).sum()), int((pool.gone & ~(moved & here)).sum())):
        return None
    left = in_databases(tuple(sorted(int(row.db) for row in emptied)))
    says = f"{_share(number, int((pool.gone & ~moved).sum()))} keys of {left} were in another database instead"
    return Found("two databases", says, here)


def _moved(pool: Pool) -> str:
    number = int(pool.keys["moved"].sum())
    return f"; {count(number, 'of them was', 'of them were')} in another database instead" if number else ""


def _of_one_age(pool: Pool) -> Found | None:
    """By when they were stored, else by when they are due, among keys of the kinds that lost any; or of the kind that
    lost nearly all of them.
    """
    lost = pool.groups("db", "family")
    lost = lost.loc[lost["gone"] > 0]
    first = lost.iloc[0]
    kinds = [pool.alike(pool.gone)]
    if len(lost) > 1 and nearly_all(int(first["gone"]), int(lost["gone"].sum() - first["gone"])):
        kinds.append((pool.keys["db"].eq(first["db"]) & pool.keys["family"].eq(first["family"])).to_numpy(dtype=bool))
    for members in kinds:
        part = pool.where(members)
        for word, times in (
            ("stored", part.keys["at"].to_numpy()),
            ("due to expire", in_micros(part.keys["expires_at"])),
        ):
            known = times != _NONE
            if not nearly_all(int((part.gone & known).sum()), int((part.gone & ~known).sum())):
                continue
            if run := run_of(times[known], part.gone[known]):
                return Found("one age", _aged(part, run, word), members, _order_of(part, run, word))
    return None


def _aged(part: Pool, run: Run, word: str) -> str:
    first, last = (pd.Timestamp(number, unit="us", tz="UTC") for number in (run.first, run.last))
    match run.place:
        case "oldest":
            range_ = f"{word} first, up to {stamp(last)}"
        case "newest":
            range_ = f"{word} last, from {stamp(first)} on"
        case _:
            range_ = f"{word} from {stamp(first)} to {stamp(last)}"
    stayed = count(int((~part.gone).sum()), "other", "others")
    return f"{_listed(part)}, those {range_}; the {stayed} stayed"


def _order_of(part: Pool, run: Run, word: str) -> str:
    if run.place == "middle":
        return ""
    if word != "stored":
        return "ttl" if run.place == "oldest" else ""
    # A clean-up by age takes one kind; what is evicted is of any kind, and as old.
    if run.place == "oldest" and part.keys.loc[part.gone, "family"].nunique() > 1 and ordered(part)[0] == "idle":
        return "idle"
    return "age" if run.place == "oldest" else "newest"


def _of_databases(pool: Pool) -> Found | None:
    dbs = pool.groups("db")
    emptied = [row for row in dbs.itertuples() if nearly_all(row.gone, row.left)]
    here = pool.keys["db"].isin([row.db for row in emptied]).to_numpy(dtype=bool)
    gone, left = int((pool.gone & here).sum()), int((~pool.gone & here).sum())
    elsewhere = int((pool.gone & ~here).sum())
    if not emptied or not nearly_all(gone, elsewhere):
        return None
    named = in_databases(tuple(sorted(int(row.db) for row in emptied)))
    which = f"{_share(gone, left)} keys of {named}{_spared_none(pool.where(here))}"
    if len(emptied) == len(dbs):
        if len(emptied) > 1:
            return Found("all databases", f"{which}; no other database held any that could be compared", here)
        alone = f"; no other database held any that could be compared{_one_kind_only(pool.where(here))}"
        return Found("the only database", which + alone, here)
    if len(emptied) > 1:
        return None
    stayed = int((~pool.gone & ~here).sum())
    others = f"; other databases lost {elsewhere or 'none'} and kept {stayed:,}"
    return Found("one database", which + others + _one_kind_only(pool.where(here)), here)


def _spared_none(part: Pool) -> str:
    endless = int((part.keys["expires_at"].isna().to_numpy() & part.gone).sum())
    return f", {endless:,} of them without a TTL" if endless else ""


def _one_kind_only(part: Pool) -> str:
    families = part.keys["family"].astype("str").unique()
    if len(families) > 1 or families[0] == "other":
        return ""
    return f"; as it held only {kind(families[0], 2, counted=False)}, a removal of that kind would look the same"


def _of_one_kind(pool: Pool) -> Found | None:
    for members, name in _kinds(pool):
        gone, left = int((pool.gone & members).sum()), int((~pool.gone & members).sum())
        rest = int(pool.gone.sum()) - gone
        if nearly_all(gone, left) and nearly_all(gone, rest):
            stayed = count(int((~pool.gone & ~members).sum()), "key of other kinds", "keys of other kinds")
            others = f"; {count(rest, 'key')} of other kinds went and" if rest else ";"
            return Found("one prefix", f"{_share(gone, left)} {name}{others} {stayed} stayed", members)
    return None


def _common(one: str, two: str) -> str:
    """With what both begin."""
    same = 0
    while same < min(len(one), len(two)) and one[same] == two[same]:
        same += 1
    return one[:same]


def _kinds(pool: Pool) -> Iterator[tuple[Flags, str]]:
    """The kind that lost most; what has the same prefix; what begins alike."""
    first = pool.groups("db", "family").iloc[0]
    here = pool.keys["db"].eq(first["db"]).to_numpy(dtype=bool)
    alike = here & pool.keys["family"].eq(first["family"]).to_numpy(dtype=bool)
    yield alike, f"{kind(str(first['family']), 2, counted=False)} of DB {first['db']}"
    names = pool.keys.loc[pool.gone & here, "key"]
    begin = _common(str(names.min()), str(names.max()))
    if len(begin) >= _LEAST_NAME:
        begun = here & pool.keys["key"].str.startswith(begin).to_numpy(dtype=bool)
        yield begun, f"keys of DB {first['db']} that begin with “{begin[:_LONGEST_NAME]}”"


def ordered(pool: Pool) -> tuple[str, str]:
    """In which order they went, among keys of the kinds that lost any, and what to say of it.

    Where no key without a TTL went, those are left out: a policy may spare them.
    """
    part = pool.where(pool.alike(pool.gone))
    timed = part.keys["expires_at"].notna().to_numpy()
    if not (part.gone & ~timed).any():
        part = part.where(timed)
    keys = part.keys
    freq = -keys["freq"].astype("float64")
    looks = {
        "idle": (keys["idle"].astype("float64").fillna(freq), "had been used least of late"),
        "ttl": (_numbers(-in_micros(keys["expires_at"])), "were nearer their expiry"),
        "age": (_numbers(-keys["at"].to_numpy()), "had been stored earlier"),
        "newest": (_numbers(keys["at"].to_numpy()), "had been stored later"),
    }
    for order, (values, says) in looks.items():
        known = values.notna().to_numpy()
        if nearly_all(int(known.sum()), int((~known).sum())):
            share = leads(values.to_numpy()[known], part.gone[known])
            if is_order(share):
                return order, f"; set beside those that stayed, they {says} in {share * 100:.0f} of 100 comparisons"
    return "", ""


def _numbers(micros: NDArray[np.int64]) -> pd.Series:
    return pd.Series(micros, dtype="float64").mask(micros == _NONE)


def _listed(pool: Pool) -> str:
    """``6 of 36 results of DB 2 and 3 of 3 bindings of DB 1``."""
    groups = pool.groups("db", "family")
    lost = groups.loc[groups["gone"] > 0]
    parts = [
        f"{row.gone:,} of {kind(str(row.family), row.gone + row.left)} of DB {row.db}" for row in lost.itertuples()
    ]
    return listed(parts, most=4)


def _share(gone: int, left: int) -> str:
    """``all 30``, or ``29 of 30``."""
    return f"all {gone:,}" if not left else f"{gone:,} of {gone + left:,}"
