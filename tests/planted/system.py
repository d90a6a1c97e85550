"""A Celery system as people run them: which tasks, when, what is kept how long, who deletes what as a matter of course.

In: dice, how many results are to be held. Out: ``System``. Knows no keys, no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
"""All times are microseconds since 1970, all spans microseconds."""
NEVER = 2**62

Dice = np.random.Generator

_APPS = {
    "shop": "send_receipt build_invoice sync_stock score_lead render_page index_order notify_carrier",
    "studio": "render_image upscale caption transcode thumbnail moderate publish",
    "clinic": "import_scan notify_patient score_referral close_visit export_hl7 remind",
    "ledger": "reconcile close_day export_statement rate_account post_entry archive_month",
    "newsroom": "transcribe translate index_article tag_article push_breaking crop_photo",
}


@dataclass(frozen=True)
class TaskKind:
    """One task name. ``share`` of all tasks; ``seconds`` its usual duration; ``retention`` of its results (0 = none
    stored); ``forget``: share of results that their caller forgets, after ``forget_after`` at the median.
    """

    name: str
    queue: str
    share: float
    seconds: float
    fails: float
    retries: float
    retention: int
    job: bool
    forget: float
    forget_after: int


@dataclass(frozen=True)
class Cron:
    """Sent every ``every`` at ``minute`` past; ``fan_out`` tasks each time."""

    kind: int
    every: int
    minute: int
    fan_out: float


@dataclass(frozen=True)
class Jobs:
    """Job records: ``ttl`` (NEVER = none), ``refreshed`` when the task is done; a purge every ``every`` at ``minute``
    past (0 = no purge) of those older than ``keep``, with ``verb`` and so many keys a command.
    """

    ttl: int
    refreshed: bool
    every: int
    minute: int
    keep: int
    verb: str
    at_once: int
    logged: bool


@dataclass(frozen=True)
class System:
    """``begin`` is when it came into service, ``end`` when the last witness is taken. ``rate``: tasks an hour, on the
    whole. ``lag``: how long after its expiry a key is reclaimed, at the mean.
    """

    app: str
    begin: int
    end: int
    retention: int
    rate: float
    kinds: tuple[TaskKind, ...]
    crons: tuple[Cron, ...]
    zone: int
    peak: float
    night: float
    weekend: float
    spread: float
    batches: float
    batch_size: float
    pauses: float
    jobs: Jobs | None
    caches: int
    cache_ttl: int
    invalidates: float
    sessions: float
    session_ttl: int
    logs_out: float
    locks: float
    chords: float
    tracked: bool
    extended: bool
    broker_here: bool
    databases: dict[str, int]
    valkey: bool
    lru: bool
    lag: float
    processes: int
    by_hand: float

    @property
    def unfinished(self) -> str:
        """The state that a result has before its task is done: with ``task_track_started``, or between retries."""
        return "STARTED" if self.tracked else "RETRY"

    def season(self, hour: np.ndarray) -> np.ndarray:
        """How busy each hour (of those since 1970, UTC) is, about 1 at the mean of a day."""
        local = (hour + self.zone) % 24
        day = (hour + self.zone) // 24 % 7
        curve = ((1 + np.cos((local - self.peak) * 2 * np.pi / 24)) / 2) ** 1.5
        shape = self.night + (1 - self.night) * curve / 0.424
        # 1 January 1970 was a Thursday.
        return np.where(np.isin(day, (2, 3)), self.weekend, 1.0) * shape


def draw_system(dice: Dice, size: float, span: int) -> System:
    """A system that holds some ``size`` results, of which the last ``span`` can be witnessed."""

    def one(*of: Any) -> Any:
        return of[int(dice.integers(len(of)))]

    def maybe(chance: float) -> bool:
        return bool(dice.random() < chance)

    app = str(one(*_APPS))
    retention = int(one(HOUR, 6 * HOUR, DAY, DAY, DAY, 3 * DAY, 7 * DAY))
    names = list(dice.permutation(_APPS[app].split())[: int(dice.integers(2, 7))])
    shares = dice.dirichlet(np.full(len(names), 1.2))
    has_jobs = maybe(0.7)
    forgets = int(dice.integers(len(names))) if maybe(0.4) else -1
    kinds = []
    for place, (name, share) in enumerate(zip(names, shares, strict=True)):
        ignored = place and maybe(0.15)
        own = int(one(retention // 4, retention // 2, retention * 2)) if place and maybe(0.15) else retention
        kinds.append(
            TaskKind(
                name=f"{app}.tasks.{name}",
                queue=str(one("celery", "celery", "default", "mail", "slow")) if place else "celery",
                share=float(share),
                seconds=float(np.exp(dice.normal(0.5, 1.4))),
                fails=float(dice.beta(1, 40)),
                retries=float(dice.beta(1, 30)),
                retention=0 if ignored else own,
                job=has_jobs and maybe(0.6),
                forget=float(dice.uniform(0.6, 1.0)) if place == forgets else 0.0,
                forget_after=int(one(2 * SECOND, 30 * SECOND, 10 * MINUTE, retention // 4)),
            )
        )
    if has_jobs:
        kinds[0] = TaskKind(**{**kinds[0].__dict__, "job": True})
    crons = tuple(
        Cron(
            kind=int(dice.integers(len(kinds))),
            every=int(one(5 * MINUTE, 15 * MINUTE, HOUR, HOUR, DAY)),
            minute=int(dice.integers(0, 60)),
            fan_out=float(one(1, 1, 3, 20, 100)),
        )
        for _ in range(int(dice.integers(0, 4)))
    )
    end = int(np.datetime64("2026-03-02", "us").astype(np.int64)) + int(dice.integers(0, 180 * 86_400)) * SECOND
    jobs = _draw_jobs(dice, retention, span) if has_jobs else None
    back = max(1.5 * retention, 1.3 * max((kind.retention for kind in kinds), default=0))
    if jobs is not None:
        back = max(back, min(1.6 * min(jobs.ttl, jobs.keep), 4 * retention))
    separate = maybe(0.5)
    return System(
        app=app,
        begin=end - span - int(back) - HOUR,
        end=end,
        retention=retention,
        rate=max(size / (retention / HOUR), 0.2),
        kinds=tuple(kinds),
        crons=crons,
        zone=int(dice.integers(-8, 10)),
        peak=float(dice.uniform(10, 16)),
        night=float(one(0.03, 0.1, 0.3, 0.8)),
        weekend=float(one(0.05, 0.3, 0.7, 1.0)),
        spread=float(one(1.5, 4, 10, 40)),
        batches=float(one(0, 0, 0.5, 2)),
        batch_size=float(one(20, 80, 0.1 * size + 10)),
        pauses=float(one(0, 0.5, 2)),
        jobs=jobs,
        caches=int(one(0, 0, 30, 300)) if size > 200 else int(one(0, 10)),
        cache_ttl=int(one(MINUTE, 5 * MINUTE, HOUR)),
        invalidates=float(one(0, 0, 0.5, 4)),
        sessions=float(one(0, 0, 0.05, 0.3)),
        session_ttl=int(one(20 * MINUTE, HOUR, 6 * HOUR)),
        logs_out=float(one(0, 0.2, 0.5)),
        locks=float(one(0, 0, 0.2)),
        chords=float(one(0, 0, 0.01, 0.05)),
        tracked=maybe(0.25),
        extended=maybe(0.4),
        broker_here=maybe(0.5),
        databases={"main": 0, "broker": 1, "results": 2} if separate else {"main": 0, "broker": 0, "results": 0},
        valkey=maybe(0.2),
        lru=maybe(0.3),
        lag=float(np.exp(dice.uniform(np.log(0.05), np.log(20)))) * SECOND,
        processes=int(one(2, 4, 8)),
        by_hand=float(one(0, 0, 1)),
    )


def _draw_jobs(dice: Dice, retention: int, span: int) -> Jobs:
    kind = int(dice.integers(3))
    keep = int(max(dice.choice([2 * HOUR, 12 * HOUR, DAY, 3 * DAY, 7 * DAY]), retention // 2))
    hourly = bool(dice.random() < 0.5)
    # A TTL; a purge; or neither: kept for ever.
    return Jobs(
        ttl=keep if kind == 0 else NEVER,
        refreshed=bool(dice.random() < 0.5),
        every=(HOUR if hourly else DAY) if kind == 1 else 0,
        minute=int(dice.integers(60)) if hourly else int(dice.integers(1440)),
        keep=keep if kind < 2 else NEVER,
        verb=str(dice.choice(["DEL", "UNLINK"])),
        at_once=int(dice.choice([1, 1, 100])),
        logged=bool(dice.random() < 0.6),
    )
