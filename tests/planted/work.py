"""A system at work: its tasks, and the life of every key it writes.

In: a ``System``, dice. Out: ``World``: frames ``tasks``, ``lives`` and ``renewals``. What is planted changes the lives;
what each witness sees of them is told in ``witness``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tests.planted.system import DAY, HOUR, MINUTE, NEVER, SECOND, Cron, Dice, System

TASK_COLUMNS = "task_id kind sent received started done status retried".split()
LIFE_COLUMNS = (
    "db family key task_id name begun written first_expires expires removed verb client at_once status".split()
)


@dataclass
class World:
    """``tasks``: a row a task (TASK_COLUMNS; times in microseconds). ``lives``: a row for each time from a key's first
    write to its end (LIFE_COLUMNS): ``begun`` its first write, ``written`` its last, with the expiries they set;
    ``removed`` by a client with ``verb`` (NEVER = not), ``gone`` at the end. ``renewals``: columns life, at, expires.
    ``orders``: commands that name no key of their own (FLUSHDB), as (at, db, verb). ``purges``: when the application's
    purge ran, and how many it removed.
    """

    system: System
    tasks: pd.DataFrame
    lives: pd.DataFrame
    renewals: pd.DataFrame
    orders: list[tuple[int, int, str]] = field(default_factory=list)
    purges: list[tuple[int, int]] = field(default_factory=list)
    evicted: int = 0

    def settle(self, dice: Dice) -> None:
        """When each life ends: at its removal, or when Redis comes round to it after its expiry."""
        lives = self.lives
        last = lives["expires"].to_numpy(np.int64, copy=True)
        if len(self.renewals):
            renewed = self.renewals.loc[self.renewals["at"] < lives["removed"].to_numpy()[self.renewals["life"]]]
            last[renewed["life"].to_numpy()] = renewed["expires"].to_numpy()
            self.renewals = renewed.reset_index(drop=True)
        lag = dice.exponential(self.system.lag, len(lives)).astype(np.int64) + dice.integers(0, 100_000, len(lives))
        reclaimed = np.where(last < NEVER, last + np.minimum(lag, 10 * MINUTE), NEVER)
        # A key past its expiry cannot be deleted by anybody else.
        removed = np.where(lives["removed"].to_numpy(np.int64) >= last, NEVER, lives["removed"].to_numpy(np.int64))
        self.lives = lives.assign(removed=removed, last=last, reclaimed=reclaimed, gone=np.minimum(reclaimed, removed))

    def alive(self, at: int) -> np.ndarray:
        """Which lives hold at a time, keys past their expiry and not yet reclaimed among them."""
        held: np.ndarray = ((self.lives["begun"] <= at) & (self.lives["gone"] > at)).to_numpy()
        return held

    def expiries(self, at: int) -> np.ndarray:
        """Each life's expiry as it stood at a time; NEVER = no TTL."""
        written = (self.lives["written"] <= at).to_numpy()
        found = np.where(written, self.lives["expires"], self.lives["first_expires"]).astype(np.int64)
        before = self.renewals.loc[self.renewals["at"] <= at]
        found[before["life"].to_numpy(np.int64)] = before["expires"].to_numpy(np.int64)
        return found


def uuids(dice: Dice, count: int) -> list[str]:
    digits = dice.bytes(16 * count).hex()
    parts = (digits[place : place + 32] for place in range(0, 32 * count, 32))
    return [f"{p[:8]}-{p[8:12]}-4{p[13:16]}-{'89ab'[int(p[16], 16) % 4]}{p[17:20]}-{p[20:]}" for p in parts]


def let_work(system: System, dice: Dice) -> World:
    """The system from its begin to its end, undisturbed."""
    tasks = _tasks(system, dice)
    parts = [_results(system, tasks, dice)]
    purges: list[tuple[int, int]] = []
    renewals = [pd.DataFrame({"life": [], "at": [], "expires": []}, dtype=np.int64)]
    if system.jobs is not None:
        parts.append(_jobs(system, tasks, dice, purges))
    if system.caches:
        parts.append(_caches(system, dice))
    if system.chords:
        parts.append(_chords(system, tasks, dice))
    if system.locks:
        parts.append(_locks(system, tasks, dice))
    if system.sessions:
        before = sum(map(len, parts))
        sessions, renewed = _sessions(system, dice)
        parts.append(sessions)
        renewals.append(renewed.assign(life=renewed["life"] + before))
    lives = pd.concat([part[LIFE_COLUMNS] for part in parts], ignore_index=True)
    world = World(system, tasks, lives, pd.concat(renewals, ignore_index=True), purges=purges)
    _deletes_by_hand(world, dice)
    world.settle(dice)
    return world


def arrivals(system: System, dice: Dice, rate: float) -> np.ndarray:
    """Times at some ``rate`` an hour, in order: by the season, and less regular from hour to hour than chance alone."""
    hours = np.arange(system.begin // HOUR, system.end // HOUR + 1)
    mean = rate * system.season(hours) * dice.gamma(system.spread, 1 / system.spread, len(hours))
    counts = dice.poisson(mean)
    times = np.repeat(hours, counts) * HOUR + dice.integers(0, HOUR, int(counts.sum()))
    return np.sort(times[(times >= system.begin) & (times < system.end)])


def at_minutes(system: System, every: int, minute: int) -> np.ndarray:
    """The times of a schedule."""
    first = system.begin // DAY * DAY + minute * MINUTE % every
    times = np.arange(first, system.end, every, dtype=np.int64)
    return times[times >= system.begin]


def _sent(system: System, dice: Dice) -> tuple[np.ndarray, np.ndarray]:
    """When tasks are sent, and of which kind."""
    shares = np.array([kind.share for kind in system.kinds])
    steady = arrivals(system, dice, system.rate)
    times, kinds = [steady], [dice.choice(len(shares), len(steady), p=shares / shares.sum())]
    for cron in system.crons:
        ran = at_minutes(system, cron.every, cron.minute)
        number = np.repeat(ran, dice.poisson(_fan_out(system, cron), len(ran)) if cron.fan_out > 1 else 1)
        times.append(number + dice.exponential(2 * SECOND, len(number)).astype(np.int64))
        kinds.append(np.full(len(number), cron.kind))
    for begin in arrivals(system, dice, system.batches / 24):
        many = int(dice.poisson(system.batch_size)) + 5
        times.append(begin + np.sort(dice.integers(0, int(dice.choice([1, 3, 10])) * MINUTE, many)))
        kinds.append(np.full(many, int(dice.integers(len(shares)))))
    at, of = np.concatenate(times).astype(np.int64), np.concatenate(kinds).astype(np.int64)
    order = np.argsort(at, kind="stable")
    order = order[at[order] < system.end]
    return at[order], of[order]


def _fan_out(system: System, cron: Cron) -> float:
    # A schedule sends no more than the system can be said to be made for.
    return min(cron.fan_out, 1 + system.rate * cron.every / HOUR)


def _tasks(system: System, dice: Dice) -> pd.DataFrame:
    sent, kinds = _sent(system, dice)
    count = len(sent)
    received = sent + dice.exponential(0.05 * SECOND, count).astype(np.int64) + 500
    # While a deploy goes on no worker takes anything; what has come in the meantime is taken one after the other.
    for begin in arrivals(system, dice, system.pauses / 24):
        until = begin + int(dice.uniform(2, 40) * MINUTE)
        waiting = np.flatnonzero((received >= begin) & (received < until))
        received[waiting] = until + np.arange(len(waiting)) * int(dice.uniform(5_000, 300_000))
    seconds = np.array([kind.seconds for kind in system.kinds])[kinds] * np.exp(dice.normal(0, 0.6, count))
    started = received + dice.exponential(0.2 * SECOND, count).astype(np.int64) + 1_000
    lasted = (np.clip(seconds, 0.004, 1200) * SECOND).astype(np.int64)
    retried = dice.random(count) < np.array([kind.retries for kind in system.kinds])[kinds]
    failed = dice.random(count) < np.array([kind.fails for kind in system.kinds])[kinds]
    done = started + lasted + retried * dice.integers(10, 300, count) * SECOND
    return pd.DataFrame(
        {
            "task_id": uuids(dice, count),
            "kind": kinds,
            "sent": sent,
            "received": received,
            "started": started,
            "done": done,
            "status": np.where(failed, "FAILURE", "SUCCESS"),
            "retried": retried,
        }
    )


def lives_of(count: int, **given: object) -> pd.DataFrame:
    """Lives with what is given; everything else as of a string without a TTL that nobody removes."""
    plain: dict[str, object] = {
        "db": 0, "family": "", "key": "", "task_id": "", "name": "", "begun": 0, "written": given.get("begun", 0),
        "first_expires": NEVER, "expires": NEVER, "removed": NEVER, "verb": "", "client": 0, "at_once": 1, "status": "",
    }  # fmt: skip
    return pd.DataFrame({**plain, **given}, index=range(count))


def _results(system: System, tasks: pd.DataFrame, dice: Dice) -> pd.DataFrame:
    retention = np.array([kind.retention for kind in system.kinds])[tasks["kind"]]
    kept = tasks.loc[retention > 0]
    retention = retention[retention > 0]
    count = len(kept)
    written = kept["done"].to_numpy() + dice.integers(300, 3_000, count)
    early = kept["retried"].to_numpy() | system.tracked
    begun = np.where(early, np.maximum(kept["started"].to_numpy() + 400, written - retention // 2), written)
    forget = np.array([kind.forget for kind in system.kinds])[kept["kind"]]
    after = np.array([kind.forget_after for kind in system.kinds])[kept["kind"]]
    forgotten = dice.random(count) < forget
    removed = written + (after * np.exp(dice.normal(0, 0.8, count))).astype(np.int64)

    def whole(times: np.ndarray) -> np.ndarray:
        return times // 1000 * 1000

    return lives_of(
        count,
        db=system.databases["results"],
        family="result",
        key=("celery-task-meta-" + kept["task_id"]).to_numpy(),
        task_id=kept["task_id"].to_numpy(),
        name=np.array([kind.name for kind in system.kinds], object)[kept["kind"]],
        begun=begun,
        written=written,
        first_expires=whole(begun + retention),
        expires=whole(written + retention),
        removed=np.where(forgotten, removed, NEVER),
        verb="DEL",
        client=10 + dice.integers(0, 6, count),
        status=kept["status"].to_numpy(),
    )


def _jobs(system: System, tasks: pd.DataFrame, dice: Dice, purges: list[tuple[int, int]]) -> pd.DataFrame:
    jobs = system.jobs
    assert jobs is not None
    mine = tasks.loc[np.array([kind.job for kind in system.kinds])[tasks["kind"]]]
    count = len(mine)
    begun = mine["sent"].to_numpy() - dice.integers(500, 4_000, count)
    written = mine["done"].to_numpy() + dice.integers(3_000, 9_000, count)
    expires = np.full(count, NEVER)
    first = expires
    if jobs.ttl < NEVER:
        first = (begun + jobs.ttl) // 1000 * 1000
        expires = (written + jobs.ttl) // 1000 * 1000 if jobs.refreshed else first
    removed = np.full(count, NEVER)
    if jobs.every:
        ran = at_minutes(system, jobs.every, jobs.minute)
        # Only what is done is purged.
        turn = np.searchsorted(ran, np.maximum(begun + jobs.keep, written))
        some = turn < len(ran)
        rank = np.zeros(count, np.int64)
        for run in np.unique(turn[some]):
            here = np.flatnonzero(turn == run)
            rank[here] = np.arange(len(here))
            purges.append((int(ran[run]), len(here)))
        # A command for each, or for so many; some tenths of a millisecond apart.
        took = 150_000 + rank // jobs.at_once * 300
        removed[some] = ran[turn[some]] + took[some]
    return lives_of(
        count,
        db=system.databases["main"],
        family="job",
        key=("job:" + mine["task_id"]).to_numpy(),
        task_id=mine["task_id"].to_numpy(),
        name=np.array([kind.name for kind in system.kinds], object)[mine["kind"]],
        begun=begun,
        written=written,
        first_expires=first,
        expires=expires,
        removed=removed,
        verb=jobs.verb,
        client=30,
        at_once=jobs.at_once,
        status=np.where(mine["status"].eq("SUCCESS"), "completed", "failed"),
    )


def _caches(system: System, dice: Dice) -> pd.DataFrame:
    """Pages that are made anew some time after they have expired, and that a change of their subject takes away."""
    begin = max(system.begin, system.end - 3 * DAY)
    expected = (system.end - begin) / (2 * system.cache_ttl) * system.caches
    count = max(1, int(system.caches * min(1, 30_000 / expected)))
    turns = int((system.end - begin) / (1.2 * system.cache_ttl)) + 2
    gaps = system.cache_ttl + 11 * MINUTE + dice.exponential(system.cache_ttl, (count, turns)).astype(np.int64)
    begun = begin - system.cache_ttl + np.cumsum(gaps, axis=1)
    subject = np.arange(count) // 6
    lives = lives_of(
        begun.size,
        db=system.databases["main"],
        family="cache",
        key=np.repeat([f"cache:page:{one}:{place}" for place, one in enumerate(subject)], turns).astype(object),
        begun=begun.ravel(),
        first_expires=(begun.ravel() + system.cache_ttl) // 1000 * 1000,
        expires=(begun.ravel() + system.cache_ttl) // 1000 * 1000,
        verb="DEL",
        client=20,
    )
    owner = np.repeat(subject, turns)
    removed = lives["removed"].to_numpy(np.int64, copy=True)
    for at in arrivals(system, dice, system.invalidates):
        of = owner == dice.integers(subject.max() + 1)
        there = np.flatnonzero(of & (begun.ravel() <= at) & (begun.ravel() + system.cache_ttl > at) & (removed > at))
        removed[there] = at + np.arange(len(there)) * 200
    return lives.assign(removed=removed).loc[lives["begun"] < system.end]


def _sessions(system: System, dice: Dice) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sessions slide: each click renews the TTL. Some people log out."""
    begun = arrivals(system, dice, system.sessions * system.rate)
    count = len(begun)
    clicks = dice.geometric(0.15, count)
    life = np.repeat(np.arange(count), clicks)
    gaps = np.minimum(dice.exponential(system.session_ttl / 8, len(life)).astype(np.int64), system.session_ttl - SECOND)
    total = np.cumsum(gaps)
    first = np.concatenate([[0], np.cumsum(clicks)[:-1]]) if count else np.array([], np.int64)
    at = begun[life] + total - (total[first] - gaps[first])[life] if count else total
    last = np.full(count, 0)
    np.maximum.at(last, life, at)
    leaves = dice.random(count) < system.logs_out
    renewals = pd.DataFrame({"life": life, "at": at, "expires": (at + system.session_ttl) // 1000 * 1000})
    lives = lives_of(
        count,
        db=system.databases["main"],
        family="session",
        key=np.array([f"session:{one[:8]}{one[9:13]}" for one in uuids(dice, count)], object),
        begun=begun,
        first_expires=(begun + system.session_ttl) // 1000 * 1000,
        expires=(begun + system.session_ttl) // 1000 * 1000,
        removed=np.where(leaves, last + dice.integers(1, 60, count) * SECOND, NEVER),
        verb="DEL",
        client=21,
    )
    order = np.argsort(at, kind="stable")
    return lives, renewals.iloc[order].reset_index(drop=True)


def _locks(system: System, tasks: pd.DataFrame, dice: Dice) -> pd.DataFrame:
    """A lock for each of some tasks, which its task takes away when it is done."""
    mine = tasks.loc[dice.random(len(tasks)) < system.locks]
    begun = mine["started"].to_numpy() + 600
    expires = (begun + HOUR) // 1000 * 1000
    return lives_of(
        len(mine),
        db=system.databases["main"],
        family="lock",
        key=("lock:order:" + mine["task_id"].str[:13]).to_numpy(),
        begun=begun,
        first_expires=expires,
        expires=expires,
        removed=mine["done"].to_numpy() + 200,
        verb="del",
        client=40 + dice.integers(0, 4, len(mine)),
    )


def _chords(system: System, tasks: pd.DataFrame, dice: Dice) -> pd.DataFrame:
    """A chord's parts are counted in a key that is deleted when the last has ended (celery/backends/redis.py)."""
    mine = tasks.loc[dice.random(len(tasks)) < system.chords]
    begun = mine["done"].to_numpy() + 900
    expires = (begun + system.retention) // 1000 * 1000
    return lives_of(
        len(mine),
        db=system.databases["results"],
        family="chord",
        key=("celery-taskset-meta-" + pd.Series(uuids(dice, len(mine)), dtype=object) + ".j").to_numpy(),
        begun=begun,
        first_expires=expires,
        expires=expires,
        removed=begun + dice.exponential(20 * SECOND, len(mine)).astype(np.int64) + 5_000,
        verb="DEL",
        client=40 + dice.integers(0, 4, len(mine)),
    )


def _deletes_by_hand(world: World, dice: Dice) -> None:
    """Now and then somebody deletes a key or two."""
    removed = world.lives["removed"].to_numpy(np.int64, copy=True)
    for at in arrivals(world.system, dice, world.system.by_hand / 24):
        last = np.minimum(world.lives["expires"].to_numpy(), removed)
        there = np.flatnonzero((world.lives["written"] < at).to_numpy() & (last > at))
        if len(there):
            chosen = dice.choice(there, min(len(there), int(dice.integers(1, 3))), replace=False)
            removed[chosen] = at + np.arange(len(chosen)) * 4 * SECOND
            world.lives.loc[chosen, ["client", "at_once"]] = 60, 1
    world.lives["removed"] = removed
