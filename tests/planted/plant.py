"""Known removals: keys of a simulated system are taken away in a manner, and to an extent, that is written down.

In: a ``World``, a time, dice. Out: ``Truth``; the world is changed. What was not taken lives on, and the application
writes on as before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tests.planted.streams import EVICT
from tests.planted.system import HOUR, MINUTE, NEVER, SECOND, Dice
from tests.planted.work import World, uuids

_OPERATOR, _PURGE = 66, 30


@dataclass(frozen=True)
class Truth:
    """What was planted: ``kind`` (of PLANTS) and ``effect`` as asked for; ``gone`` keys of the ``of`` that were there
    (``keys`` are the taken ones' names); ``names``: the patterns that would be a right name for it; ``loss``: keys went
    before they were due.
    """

    kind: str
    effect: float
    at: int
    gone: int
    of: int
    names: tuple[str, ...]
    keys: tuple[str, ...] = field(default=(), repr=False)
    loss: bool = True


def flush_database(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """FLUSHDB of the database that holds the results."""
    db = world.system.databases["results"]
    chosen = _there(world, at) & world.lives["db"].eq(db).to_numpy()
    world.orders.append((at, db, "FLUSHDB"))
    return _taken(world, "flush database", effect, at, chosen, chosen, "FLUSHDB", ("flush",))


def flush_all(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """FLUSHALL."""
    chosen = _there(world, at)
    world.orders.append((at, world.system.databases["main"], "FLUSHALL"))
    return _taken(world, "flush all", effect, at, chosen, chosen, "FLUSHALL", ("flush",))


def delete_by_pattern(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """KEYS or SCAN with a pattern, and DEL: all of a family, or those whose ID begins with some digits."""
    family, there = _largest(world, at, dice)
    start = world.lives["task_id"].str.slice(0, 2).to_numpy(dtype=object)
    some = np.array([int(digits, 16) < effect * 256 if digits else False for digits in start])
    chosen = there & (some if effect < 1 else True)
    many = int(dice.choice([1, 1, 100]))
    return _taken(world, "delete by pattern", effect, at, there, chosen, "DEL", ("prefix delete",), many=many)


def delete_by_age(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """A script deletes the oldest results, which were not due yet."""
    there = _there(world, at) & world.lives["family"].eq("result").to_numpy()
    chosen = _first(there, world.lives["written"].to_numpy(np.int64), effect)
    names = ("prefix delete", "purge", "deletion burst")
    return _taken(world, "delete by age", effect, at, there, chosen, str(dice.choice(["DEL", "UNLINK"])), names)


def delete_by_name(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """A script deletes the results of the task whose share is the nearest to ``effect``."""
    there = _there(world, at) & world.lives["family"].eq("result").to_numpy()
    shares = world.lives.loc[there, "name"].value_counts(normalize=True)
    name = shares.index[int(np.argmin(np.abs(np.log(shares.to_numpy() / effect))))] if len(shares) else ""
    chosen = there & world.lives["name"].eq(name).to_numpy()
    names = ("prefix delete", "purge", "deletion burst")
    return _taken(world, "delete by name", effect, at, there, chosen, "DEL", names)


def delete_range(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """All results stored within a stretch of time, which leaves a gap in the ages of the others."""
    there = _there(world, at) & world.lives["family"].eq("result").to_numpy()
    written = world.lives["written"].to_numpy(np.int64)
    begin = float(dice.uniform(0.1, max(0.9 - effect, 0.1)))
    chosen = _first(there, written, begin + effect) & ~_first(there, written, begin)
    names = ("gap", "prefix delete", "deletion burst", "purge")
    return _taken(world, "delete range of ages", effect, at, there, chosen, "DEL", names)


def evict_idle(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """maxmemory is met: the keys longest not used go, as far as Redis' sample of five finds them."""
    return _evicted(world, "evict idle", at, effect, dice, random=False)


def evict_any(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """maxmemory is met under allkeys-random: any key goes."""
    return _evicted(world, "evict any", at, effect, dice, random=True)


def purge_too_young(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """The application's purge runs with a wrong age: job records go long before they are to."""
    there = _there(world, at) & world.lives["family"].eq("job").to_numpy() & (world.lives["written"] < at).to_numpy()
    chosen = _first(there, world.lives["begun"].to_numpy(np.int64), effect)
    jobs = world.system.jobs
    verb, many = (jobs.verb, jobs.at_once) if jobs is not None else ("DEL", 1)
    names = ("purge", "prefix delete")
    truth = _taken(world, "purge too young", effect, at, there, chosen, verb, names, many=many, client=_PURGE)
    world.purges.append((at, truth.gone))
    return truth


def burst(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """One client deletes so many keys of a family, whichever, within a minute."""
    _, there = _largest(world, at, dice)
    places = np.flatnonzero(there)
    chosen = np.zeros(len(there), bool)
    chosen[dice.choice(places, min(int(effect), len(places)), replace=False)] = True
    names = ("deletion burst", "prefix delete")
    return _taken(world, "burst of deletes", effect, at, there, chosen, "DEL", names, apart=int(30 * SECOND / effect))


def shorten(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """Somebody gives a share of the results a TTL of a minute."""
    there = _there(world, at) & world.lives["family"].eq("result").to_numpy()
    chosen = np.flatnonzero(there & (dice.random(len(there)) < effect))
    when = at + np.arange(len(chosen)) * 200
    shorter = pd.DataFrame({"life": chosen, "at": when, "expires": (when + MINUTE) // 1000 * 1000})
    kept = world.renewals.loc[~world.renewals["life"].isin(chosen) | (world.renewals["at"] < at)]
    world.renewals = pd.concat([kept, shorter], ignore_index=True).sort_values("at", ignore_index=True)
    world.settle(dice)
    names, keys = ("shortened TTL",), tuple(world.lives["key"].iloc[chosen])
    return Truth("shorten TTL", effect, at, len(chosen), int(there.sum()), names, keys)


def stampede(world: World, at: int, effect: float, dice: Dice) -> Truth:
    """``effect`` times an hour's usual results were written within three minutes, one retention before ``at``, and so
    expire together: nothing is lost.
    """
    system = world.system
    usual = max(10, int(system.rate * effect))
    written = at - system.retention + np.sort(dice.integers(0, 3 * MINUTE, usual))
    stored = np.flatnonzero(world.lives["family"].eq("result"))
    like = world.lives.iloc[dice.choice(stored, usual)]
    ids = np.array(uuids(dice, usual), object)
    expires = (written + system.retention) // 1000 * 1000
    more = like.assign(
        task_id=ids, key="celery-task-meta-" + ids, begun=written, written=written,
        first_expires=expires, expires=expires, removed=NEVER,
    )  # fmt: skip
    world.lives = pd.concat([world.lives, more], ignore_index=True)
    kinds = {kind.name: place for place, kind in enumerate(system.kinds)}
    done = written - 500
    tasks = pd.DataFrame(
        {
            "task_id": ids, "kind": more["name"].map(kinds).to_numpy(), "sent": done - 3 * SECOND, "retried": False,
            "received": done - 2 * SECOND, "started": done - SECOND, "done": done, "status": "SUCCESS",
        }
    )  # fmt: skip
    world.tasks = pd.concat([world.tasks, tasks], ignore_index=True)
    world.settle(dice)
    return Truth("stampede", effect, at, usual, usual, ("stampede", "expiry wave"), tuple(more["key"]), loss=False)


PLANTS: dict[str, tuple[Callable[[World, int, float, Dice], Truth], tuple[float, ...]]] = {
    "flush database": (flush_database, (1.0,)),
    "flush all": (flush_all, (1.0,)),
    "delete by pattern": (delete_by_pattern, (0.01, 0.05, 0.2, 0.6, 1.0)),
    "delete by age": (delete_by_age, (0.01, 0.05, 0.2, 0.6, 1.0)),
    "delete by name": (delete_by_name, (0.05, 0.2, 0.6)),
    "delete range of ages": (delete_range, (0.05, 0.2, 0.5)),
    "evict idle": (evict_idle, (0.05, 0.2, 0.6)),
    "evict any": (evict_any, (0.05, 0.2, 0.6)),
    "purge too young": (purge_too_young, (0.2, 0.6, 1.0)),
    "burst of deletes": (burst, (5, 20, 50, 200)),
    "shorten TTL": (shorten, (0.2, 1.0)),
    "stampede": (stampede, (1, 5, 20)),
}
"""Each kind of plant with the effects it is measured at: shares of what was there, numbers of keys for a burst, and for
a stampede multiples of an hour's results."""


def _there(world: World, at: int) -> np.ndarray:
    """Which keys are there and not past their expiry."""
    found: np.ndarray = world.alive(at) & (world.expiries(at) > at + 5 * SECOND)
    return found


def _largest(world: World, at: int, dice: Dice) -> tuple[str, np.ndarray]:
    """Results, or job records where there are some: a family, and which of it are there."""
    there = _there(world, at)
    families = [one for one in ("result", "job") if (there & world.lives["family"].eq(one).to_numpy()).sum() >= 20]
    family = str(dice.choice(families)) if families else "result"
    return family, there & world.lives["family"].eq(family).to_numpy()


def _first(there: np.ndarray, by: np.ndarray, share: float) -> np.ndarray:
    """Of those that are there, the ``share`` that comes first."""
    places = np.flatnonzero(there)
    places = places[np.argsort(by[places], kind="stable")][: round(share * len(places))]
    found = np.zeros(len(there), bool)
    found[places] = True
    return found


def _evicted(world: World, kind: str, at: int, effect: float, dice: Dice, *, random: bool) -> Truth:
    there = _there(world, at)
    used = world.lives["written"].to_numpy(np.int64, copy=True)
    before = world.renewals.loc[world.renewals["at"] <= at]
    used[before["life"].to_numpy(np.int64)] = before["at"].to_numpy(np.int64)
    drawn = dice.random(len(used)) if random else used + dice.normal(0, 0.15 * world.system.retention, len(used))
    chosen = _first(there, drawn, effect)
    # Before the writes of the next quarter of an hour, as many as it takes before each.
    writes = world.lives["begun"].to_numpy(np.int64)
    writes = writes[(writes > at) & (writes < at + HOUR // 4)]
    writes = writes if len(writes) else np.arange(at + SECOND, at + HOUR // 4, SECOND)
    when = np.sort(dice.choice(writes, int(chosen.sum()))) - 5
    return _taken(world, kind, effect, at, there, chosen, EVICT, ("eviction",), times=when)


def _taken(
    world: World, kind: str, effect: float, at: int, there: np.ndarray, chosen: np.ndarray, verb: str,
    names: tuple[str, ...], *, many: int = 1, client: int = _OPERATOR, apart: int = 300,
    times: np.ndarray | None = None,
) -> Truth:  # fmt: skip
    """Take the chosen away, one after the other. A key that its task writes once more afterwards comes back."""
    places = np.flatnonzero(chosen)
    when = np.full(len(places), at) if verb.startswith("FLUSH") else at + np.arange(len(places)) // many * apart
    when = when if times is None else times
    lives = world.lives
    # What went by itself in the meantime was not taken.
    still = lives["gone"].to_numpy(np.int64)[places] > when
    places, when = places[still], when[still]
    columns = {name: lives[name].to_numpy(copy=True) for name in ("removed", "verb", "client", "at_once", "written")}
    back = lives.iloc[places].loc[lives["written"].to_numpy()[places] > when]
    for name, value in (("removed", when), ("verb", verb), ("client", client), ("at_once", many)):
        columns[name][places] = value
    columns["written"][back.index] = lives["begun"].loc[back.index]
    first = lives["first_expires"].loc[back.index].to_numpy()
    world.lives = lives.assign(**columns)
    world.lives.loc[back.index, "expires"] = first
    if len(back):
        # HSET alone sets no TTL.
        lost = back["family"].eq("job") & ~np.array([world.system.jobs is not None and world.system.jobs.refreshed])
        again = back.assign(begun=back["written"], removed=NEVER, expires=back["expires"].mask(lost, NEVER))
        world.lives = pd.concat([world.lives, again.assign(first_expires=again["expires"])], ignore_index=True)
    world.settle(np.random.default_rng(at % 2**32))
    keys = tuple(lives["key"].iloc[places])
    return Truth(kind, effect, at, len(places), int(there.sum()), names, keys)
