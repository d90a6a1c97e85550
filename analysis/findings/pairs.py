"""What went early between two snapshots, beyond what comes and goes with the work: by kind, age, order and name.

In: frames ``keys`` and ``changes``, the snapshots, when keys were stored. Out: ``Pattern``s. The null is the turnover
that the snapshots show themselves: what is very young, what is older than such keys ever get, what is there again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.bursts import LEAST_SHARE
from analysis.findings.cleanups import FEW_OTHER, OWN, RECORDS, YOUNG
from analysis.findings.removed import MICRO, NONE
from analysis.findings.rhythm import SURPRISE, TIMES_MORE, surprise
from analysis.findings.scope.between import comparable, early, pool_of
from analysis.findings.scope.extents import FEW, kind, nearly_all, run_of
from analysis.findings.scope.naming import LARGE, pattern_of
from analysis.findings.scope.patterns import Flags, Found, Pool, ordered, together
from analysis.findings.scope.sweeps import stems
from analysis.findings.told import Pattern
from analysis.findings.waves import FEW_EXPIRED, mirrored
from analysis.findings.words import count, listed, stamp
from analysis.frames import in_micros, micros_of

SCATTERED = 0.05
"""Keys that have nothing in common but their kind must be so large a part of it: less goes by name, one at a time."""

_DAY = 86_400
_WHOLE = ("all databases", "one database", "the only database", "two databases")
_SPREAD = 0.5
# So many of a second kind that went too are no accident.
_LEAST = 3
_MOST_STEMS = 50
_NEAR = pd.Timedelta(minutes=1)
_NEARLY = 0.9


@dataclass(frozen=True)
class Compared:
    """Two snapshots of one server: the keys of the first that can be compared, without those whose going is the usual
    turnover (``usual`` of them); ``every``: with those. ``ages``: when each key that the first held was stored, those
    too that were due by then, by database and family (microseconds).
    """

    pair: pd.Series
    pool: Pool
    usual: int
    every: Pool
    ages: dict[tuple[int, str], NDArray[np.int64]]


def compared_pairs(
    keys: pd.DataFrame,
    changes: pd.DataFrame,
    shots: pd.DataFrame,
    stored: pd.DataFrame,
    jobs_expire: float | None = None,
) -> list[Compared]:
    """Every two sound snapshots of one server that follow each other. ``stored``: as ``between.storing_times``;
    ``jobs_expire``: how long job records are said to be kept, in seconds.
    """
    pairs = comparable(shots)
    sound = pairs.loc[pairs["sound"]]
    return [_compared(pair, keys, changes, shots, stored, jobs_expire) for _, pair in sound.iterrows()]


def pair_patterns(
    compared: list[Compared],
    keys: pd.DataFrame,
    changes: pd.DataFrame,
    shots: pd.DataFrame,
    stored: pd.DataFrame,
    names: pd.Series,
    servers: pd.DataFrame,
) -> list[Pattern]:
    """The patterns of each two snapshots that follow each other. ``names``: the task's name by its ID; ``servers``: the
    frame of INFO's answers, whose counter of evictions may account for what went.
    """
    told: list[Pattern] = []
    for one in compared:
        others = [other for other in compared if other is not one and other.pair["server"] == one.pair["server"]]
        told += _whole(one) or _evicted(one, servers) or [*_kinds(one, others, names)]
        told += _waves(one.pair, changes, stored, shots)
    return told


def _compared(
    pair: pd.Series,
    keys: pd.DataFrame,
    changes: pd.DataFrame,
    shots: pd.DataFrame,
    stored: pd.DataFrame,
    jobs_expire: float | None,
) -> Compared:
    rows = changes.loc[
        changes["server"].eq(pair["server"]) & changes["before"].eq(pair["before"]) & changes["after"].eq(pair["after"])
    ]
    pool = pool_of(keys, rows, early(rows, shots), pair["server"], pair["before"], pair["until"], stored)
    young, turned = _usual(pool, pair, keys, jobs_expire)
    if (~turned).sum() and (~(young | turned)).sum() < FEW:
        young[:] = False  # a system as young as that: what went of it is told from what stayed alone
    usual = young | turned
    times = stored.loc[stored["snapshot"].eq(pair["before"]).to_numpy(dtype=bool) & stored["at"].notna().to_numpy()]
    held = keys.loc[keys["snapshot"].eq(pair["before"]).to_numpy(dtype=bool), ["db", "family", "offset"]]
    dated = held.merge(times[["offset", "at"]], on="offset")
    groups = dated.groupby(["db", "family"], observed=True)["at"]
    ages = {(int(db), str(family)): in_micros(at) for (db, family), at in groups}
    return Compared(pair, pool.where(~usual), int((usual & pool.gone).sum()), pool, ages)


def _usual(pool: Pool, pair: pd.Series, keys: pd.DataFrame, jobs_expire: float | None) -> tuple[Flags, Flags]:
    """Keys whose going, or staying, tells nothing of a removal: those too young, and those of the usual turnover.

    - Younger than ``YOUNG`` seconds: whoever waits for it may remove it when he has read it.
    - Of the application's own, and of what has no expiry: those that would have been older by the second snapshot than
      nearly all that the first one held, less a day (or half that age), or as old as records are said to be kept: a
      clean-up by age takes them.
    - Of a kind of which nearly all went: where the second holds half as many again, and the time between is longer
      than any of them had been there; or where their age is not known.
    """
    since, until = micros_of(pair["since"]), micros_of(pair["until"])
    at = pool.keys["at"].to_numpy(dtype=np.int64)
    age = np.where(at == NONE, np.nan, (since - at) / MICRO)
    between = (until - since) / MICRO
    young: Flags = age < YOUNG
    usual: Flags = np.zeros(len(age), bool)
    kinds = pool.keys.assign(stem=stems(pool.keys["key"]).to_numpy(), place=np.arange(len(at)))
    later = keys.loc[keys["snapshot"].eq(pair["after"]).to_numpy(dtype=bool), ["db", "family", "key"]]
    later = later.assign(stem=stems(later["key"]).to_numpy())
    again = later.groupby(["db", "family", "stem"], observed=True).size()
    endless = pool.keys["expires_at"].isna().to_numpy(dtype=bool)
    for (db, family, stem), rows in kinds.groupby(["db", "family", "stem"], observed=True, dropna=False):
        mine = rows["place"].to_numpy()
        gone, own = pool.gone[mine], age[mine]
        if not gone.any():
            continue
        known = ~np.isnan(own)
        oldest = float(np.nanquantile(own, 0.98)) if known.any() else np.nan
        refilled = int(again.get((db, family, stem), 0)) - int((~gone).sum()) >= _SPREAD * gone.sum()
        if family in RECORDS or endless[mine].all() or family == "other":
            if known.any():
                stated = jobs_expire if family in RECORDS else None
                usual[mine] |= own + between >= (_NEARLY * stated if stated else oldest - min(_DAY, oldest / 2))
            if not known.all() and refilled:
                usual[mine] = True
        if refilled and (between >= oldest or not known.any()):
            usual[mine] = True
    return young, usual


def _whole(one: Compared) -> list[Pattern]:
    """A database, or all, that was emptied."""
    if int(one.pool.gone.sum()) < FEW:
        return []
    found = together(one.pool)
    if found.extent not in _WHOLE:
        return []
    members = one.pool.where(found.members)
    if set(members.keys["family"].astype("str")) <= {"other"} and len(members.gone) < FEW_OTHER:
        return []
    return [_pattern(one, members, found, found.extent)]


def _evicted(one: Compared, servers: pd.DataFrame) -> list[Pattern]:
    """What went, where INFO counts as many evictions in that time: then nothing of it is usual turnover."""
    gone = int(one.every.gone.sum())
    counted = _evictions(servers.loc[servers["server"].eq(one.pair["server"])], one.pair["since"], one.pair["until"])
    if gone < FEW or counted < max(FEW, gone / 2):
        return []
    order, says = ordered(one.every)
    families, dbs = one.every.of_gone()
    pair = one.pair
    said = (
        f"Between {stamp(pair['since'])} and {stamp(pair['until'])} went, before they were due, {_of(one.every)}{says}"
    )
    said += f"; INFO counts {count(counted, 'eviction')} in that time."
    return [
        Pattern(
            pattern_of("scattered", order, families, evicted=True), "snapshots", said, str(pair["server"]),
            dbs[0] if len(dbs) == 1 else None, families, pair["since"], pair["until"], gone, len(one.every.gone), 0.0,
            "likely", True,
        )
    ]  # fmt: skip


def _evictions(answers: pd.DataFrame, since: pd.Timestamp, until: pd.Timestamp) -> int:
    """By how much ``evicted_keys`` grew from the last answer before ``since`` to the first behind ``until``, or between
    those nearest to them; 0 where the server restarted between, or there is one answer only that counts from before.
    """
    known = answers.loc[answers["evicted_keys"].notna() & answers["at"].notna()].sort_values("at", kind="stable")
    if not len(known):
        return 0
    before, behind = known.loc[known["at"] <= since + _NEAR], known.loc[known["at"] >= until - _NEAR]
    first = before.iloc[-1] if len(before) else known.iloc[0]
    last = behind.iloc[0] if len(behind) else known.iloc[-1]
    if pd.notna(last["counters_since"]) and last["counters_since"] >= since:
        return int(last["evicted_keys"])
    if first["at"] >= last["at"] or first["run_id"] != last["run_id"]:
        return 0
    return max(0, int(last["evicted_keys"]) - int(first["evicted_keys"]))


def _kinds(one: Compared, others: list[Compared], names: pd.Series) -> Iterator[Pattern]:
    """What went of each kind, or of several at once."""
    groups = one.pool.groups("db", "family")
    hit = []
    for row in groups.loc[groups["gone"] >= FEW].itertuples():
        members = (one.pool.keys["db"].eq(row.db) & one.pool.keys["family"].eq(row.family)).to_numpy(dtype=bool)
        part = one.pool.where(members)
        usual = _rhythm(row.db, row.family, len(part.gone), others)
        found = _shared(part, names)
        least = LEAST_SHARE if found.extent != "scattered" or found.order else SCATTERED
        number = row.gone
        if number < max(FEW, TIMES_MORE * usual, least * len(part.gone)):
            continue
        if usual and surprise(number, usual, _SPREAD, len(groups)) > SURPRISE:
            continue
        if (
            row.family in OWN
            and found.extent == "scattered"
            and found.order in ("", "newest")
            and _as_before(part, one, number)
        ):
            continue
        if row.family == "other" and (number < FEW_OTHER or number < LARGE * len(part.gone)):
            continue
        hit.append((part, found, usual))
    several = groups.loc[(groups["gone"] >= _LEAST) & (groups["gone"] >= SCATTERED * (groups["gone"] + groups["left"]))]
    if len(several) > 1 and any(found.extent == "scattered" for _, found, _ in hit):
        # Of several kinds at once, and of one of them no more than a part: that is no pattern of names.
        mine = pd.MultiIndex.from_frame(one.pool.keys[["db", "family"]].astype({"family": "str"}))
        pool = one.pool.where(mine.isin(pd.MultiIndex.from_frame(several[["db", "family"]].astype({"family": "str"}))))
        order, says = ordered(pool)
        yield _pattern(
            one, pool, Found("scattered", _of(pool) + says, np.ones(len(pool.gone), bool), order), "scattered"
        )
        hit = [row for row in hit if row[1].extent != "scattered"]
    for part, found, usual in hit:
        yield _pattern(one, part, found, found.extent, usual)


def _as_before(part: Pool, one: Compared, gone: int) -> bool:
    """Whether as many are left as the first snapshot held of that age: who removes results as a habit, hours after they
    were stored, leaves the same number of each age at any time; a removal leaves fewer, by half of its share at least.
    """
    between = micros_of(one.pair["until"]) - micros_of(one.pair["since"])
    at = one.ages.get((int(part.keys["db"].iloc[0]), str(part.keys["family"].iloc[0])))
    known = part.keys["at"].to_numpy(dtype=np.int64) != NONE
    if at is None or not known.all():
        return False
    held = int((micros_of(one.pair["since"]) - at >= between + YOUNG * MICRO).sum())
    left = len(part.gone) - gone
    return left > held * (1 - gone / len(part.gone) / 2)


def _rhythm(db: int, family: str, held: int, others: list[Compared]) -> float:
    """How many of so many keys go between two snapshots else, by the largest share of any other pair of the server."""
    shares = [0.0]
    for other in others:
        mine = (other.pool.keys["db"].eq(db) & other.pool.keys["family"].eq(family)).to_numpy(dtype=bool)
        if mine.sum() >= FEW:
            shares.append(float(other.pool.gone[mine].mean()))
    return max(shares) * held


def _shared(part: Pool, names: pd.Series) -> Found:
    """What the keys of one kind that went share: all of it, an age, a name, or the beginning of their own part."""
    everything = np.ones(len(part.gone), bool)
    gone, left = int(part.gone.sum()), int((~part.gone).sum())
    if nearly_all(gone, left):
        return Found("one prefix", f"{_of(part)}, whatever their age", everything)
    times = part.keys["at"].to_numpy(dtype=np.int64)
    for word, values in (("stored", times), ("due to expire", in_micros(part.keys["expires_at"]))):
        known = values != NONE
        if nearly_all(int((part.gone & known).sum()), int((part.gone & ~known).sum())):
            if run := run_of(values[known], part.gone[known]):
                first, last = (stamp(pd.Timestamp(at, unit="us", tz="UTC")) for at in (run.first, run.last))
                order = {"oldest": "age" if word == "stored" else "ttl", "newest": "newest", "middle": ""}[run.place]
                return Found("one age", f"{_of(part)}, those {word} from {first} to {last}", everything, order)
    for column, phrase in ((_names(part, names), "of the tasks"), (_begins(part), "whose own part begins with")):
        if chosen := _selected(column, part.gone):
            return Found("one prefix", f"{_of(part)}, those {phrase} {listed(chosen)}", everything)
    order, says = ordered(part)
    return Found("scattered", _of(part) + says, everything, order)


def _names(part: Pool, names: pd.Series) -> pd.Series:
    return part.keys["task_id"].map(names).astype("str")


def _begins(part: Pool) -> pd.Series:
    """With what the own part of each key begins, behind what its kind begins with."""
    names = part.keys["key"].reset_index(drop=True)
    stem = stems(names)
    found = pd.Series(None, names.index, dtype="str")
    for begun, number in stem.value_counts().head(_MOST_STEMS).items():
        mine = stem.eq(begun).to_numpy(dtype=bool)
        if number >= FEW:
            found[mine] = names[mine].str.slice(len(str(begun)), len(str(begun)) + 1)
    return found


def _selected(values: pd.Series, gone: Flags) -> list[str]:
    """The values of which nearly all went, where they are nearly all that went; empty where there are no such ones."""
    table = pd.DataFrame({"value": values.to_numpy(), "gone": gone}).dropna()
    counted = table.groupby("value")["gone"].agg(["sum", "size"])
    taken = counted.loc[(counted["size"] - counted["sum"]) * 20 <= counted["size"]]
    number = int(taken["sum"].sum())
    if not number or len(taken) == len(counted) or not nearly_all(number, int(gone.sum()) - number):
        return []
    return [str(value) for value in taken.index]


def _of(pool: Pool) -> str:
    lost = pool.groups("db", "family")
    lost = lost.loc[lost["gone"] > 0]
    return listed(
        [f"{row.gone:,} of {kind(str(row.family), row.gone + row.left)} of DB {row.db}" for row in lost.itertuples()]
    )


def _pattern(one: Compared, pool: Pool, found: Found, extent: str, usual: float = 0.0) -> Pattern:
    pair, (families, dbs) = one.pair, pool.of_gone()
    gone, of = int(pool.gone.sum()), len(pool.gone)
    name = pattern_of(extent, found.order, families, share=gone / of)
    where = f"On {pair['server']}, between" if pair["server"] else "Between"
    says = f"{where} {stamp(pair['since'])} and {stamp(pair['until'])} went, before they were due, {found.says}"
    says += f"; other pairs of snapshots would have {usual:.3g}" if usual else ""
    says += f". Beside them {count(one.usual, 'key')} went that are usual turnover" if one.usual else ""
    return Pattern(
        name, "snapshots", f"{says}.", str(pair["server"]), dbs[0] if len(dbs) == 1 else None, families,
        pair["since"], pair["until"], gone, of, usual, "likely", True,
    )  # fmt: skip


def _waves(pair: pd.Series, changes: pd.DataFrame, stored: pd.DataFrame, shots: pd.DataFrame) -> Iterator[Pattern]:
    """Keys that were due together between the two."""
    rows = changes.loc[
        changes["server"].eq(pair["server"])
        & changes["before"].eq(pair["before"])
        & changes["after"].eq(pair["after"])
        & changes["change"].eq("gone")
        & changes["expires_before"].notna()
    ]
    rows = rows.loc[~early(rows, shots)]
    for (db, family), mine in rows.groupby(["db", "family"], observed=True):
        if len(mine) < FEW_EXPIRED:
            continue
        due = in_micros(mine["expires_before"])
        minutes, numbers = np.unique(due // (60 * MICRO), return_counts=True)
        span = max((pair["until"] - pair["since"]).total_seconds() / 60, 1.0)
        most = int(numbers.argmax())
        inside = np.abs(due // (60 * MICRO) - minutes[most]) <= 1
        number, rest = int(inside.sum()), len(due) - int(inside.sum())
        rhythm = max(3 * rest / span, float(np.quantile(numbers, 0.9)) if len(numbers) > FEW_EXPIRED else 0.0)
        if (
            number < max(FEW_EXPIRED, TIMES_MORE * rhythm)
            or surprise(number, rhythm + 0.5, _SPREAD, int(span)) > SURPRISE
        ):
            continue
        chosen = mine.loc[inside]
        at = stored.loc[stored["snapshot"].eq(pair["before"]) & stored["offset"].isin(chosen["offset_before"]), "at"]
        name, why = mirrored(due[inside], in_micros(at.dropna()))
        if name:
            first, last = (
                pd.Timestamp(int(end), unit="us", tz="UTC") for end in (due[inside].min(), due[inside].max())
            )
            says = f"{kind(str(family), number)} of DB {db} were due from {stamp(first)} to {stamp(last)}{why}."
            yield Pattern(
                name, "snapshots", says, str(pair["server"]), int(db), (str(family),), first, last, number, len(mine),
                rhythm, "likely",
            )  # fmt: skip
