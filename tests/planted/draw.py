"""A simulated case by its seed: a system, what is planted in it, and the folder of what its witnesses tell.

In: a seed, a kind of witness, a plant or none. Out: a case folder, and the ``Truth``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tests.planted.papers import application_log, case_toml, config, info, stamped, worker_log
from tests.planted.plant import PLANTS, Truth
from tests.planted.snapshots import snapshot
from tests.planted.streams import append_only, monitored, notified
from tests.planted.system import DAY, MINUTE, NEVER, SECOND, Dice, System, draw_system
from tests.planted.work import World, let_work

WITNESSES: dict[str, float] = {
    "one snapshot": 0.14,
    "two snapshots": 0.2,
    "three snapshots": 0.1,
    "logs and a snapshot": 0.16,
    "append-only file": 0.12,
    "append-only file without times": 0.06,
    "MONITOR": 0.08,
    "notifications": 0.07,
    "everything": 0.07,
}
"""What there is of a case, and how often it is drawn."""

SEES: dict[str, tuple[str, ...]] = {
    "flush": ("two snapshots", "logs and a snapshot", "append-only file", "MONITOR", "everything"),
    "results": tuple(name for name in WITNESSES if name != "one snapshot"),
    "keys": tuple(name for name in WITNESSES if name not in ("one snapshot", "logs and a snapshot")),
    "server": tuple(name for name in WITNESSES if name not in ("one snapshot", "logs and a snapshot", "MONITOR")),
    "gap": tuple(WITNESSES),
}
_KINDS = {
    "flush database": "flush", "flush all": "flush", "delete by age": "results", "delete by name": "results",
    "delete range of ages": "gap", "evict idle": "server", "evict any": "server", "stampede": "gap",
}  # fmt: skip


def seen_by(kind: str) -> tuple[str, ...]:
    """The witnesses that can tell a kind of plant at all."""
    return SEES[_KINDS.get(kind, "keys")]


@dataclass(frozen=True)
class Drawn:
    """A case as drawn: what a person would need to know to make it again, and what was planted. ``visible``: how many
    of the keys that were taken this witness can tell of.
    """

    seed: int
    witness: str
    size: int
    span: int
    system: System
    truth: Truth | None
    keys: int
    visible: int = 0

    def __str__(self) -> str:
        system = self.system
        return (
            f"seed {self.seed}, {self.witness}, {self.keys} keys, {self.span / SECOND / 3600:.1f} h seen, results kept "
            f"{system.retention / SECOND / 3600:g} h, {len(system.kinds)} tasks, {len(system.crons)} schedules, jobs "
            f"{system.jobs}, caches {system.caches} of {system.cache_ttl // SECOND} s, forgets "
            f"{[(round(k.forget, 2), k.forget_after // SECOND) for k in system.kinds if k.forget]} (share, s), "
            f"batches {system.batches}, pauses {system.pauses}, night {system.night}, weekend {system.weekend}, "
            f"visible {self.visible}, truth {self.truth}"
        )


def draw(
    folder: Path, seed: int, *, witness: str = "", plant: str = "", effect: float = 0, size: int = 0, span: int = 0
) -> Drawn:
    """Write the case into ``folder``. The same arguments make the same case; what is not asked for is drawn."""
    dice = np.random.default_rng([seed, zlib.crc32(f"{witness} {plant} {effect}".encode())])
    witness = witness or str(
        dice.choice(list(WITNESSES), p=np.array(list(WITNESSES.values())) / sum(WITNESSES.values()))
    )
    size = size or int(np.exp(dice.uniform(np.log(200 if plant else 50), np.log(8_000))))
    span = span or int(np.exp(dice.uniform(np.log(20 * MINUTE), np.log(4 * DAY))))
    system = _fit(draw_system(dice, size, span), span, plant, dice, max(40_000, 2 * size))
    world = let_work(system, dice)
    since, truth = system.end - span, None
    if plant:
        # Early enough that the last witness is behind it.
        at = since + int(dice.uniform(0.25, 0.9) * span)
        truth = PLANTS[plant][0](world, at, effect, dice)
    # That job records went too young shows only where it is stated how long they are kept.
    _written(folder, world, witness, since, system.end, dice, stated=plant == "purge too young")
    keys = int(world.alive(system.end).sum())
    visible = _visible(world, truth, witness, since) if truth is not None else 0
    return Drawn(seed, witness, size, span, system, truth, keys, visible)


def _visible(world: World, truth: Truth, witness: str, since: int) -> int:
    """Commands tell of each key. Of two states, or of a log and a state, only those tell that were there at the first
    and would be at the last; and where all or the oldest went of what has no TTL, nothing tells it from a cleanup.
    """
    if not truth.loss or not (witness.endswith("snapshots") or witness.endswith("a snapshot")):
        return truth.gone
    taken = world.lives.loc[world.lives["key"].isin(truth.keys)].drop_duplicates("key")
    if witness == "logs and a snapshot":
        there = taken["written"].gt(since) & taken["family"].eq("result")
    elif witness == "two snapshots":
        there = taken["begun"].lt(since)
    else:
        there = taken["begun"].gt(0)
    if truth.effect == 1 or truth.kind == "delete by age":
        there &= taken["expires"].lt(NEVER)
    return int((there & taken["expires"].gt(world.system.end)).sum())


def _fit(system: System, span: int, plant: str, dice: Dice, tasks: int) -> System:
    """What the plant needs, and no more than so many tasks."""
    most = tasks / ((system.end - system.begin) / SECOND / 3600)
    system = replace(system, rate=min(system.rate, most))
    if plant.startswith("evict"):
        system = replace(system, lru=True)
    if plant == "purge too young" and (system.jobs is None or not system.jobs.every):
        again = system
        while again.jobs is None or not again.jobs.every:
            again = draw_system(dice, system.rate * system.retention / SECOND / 3600, span)
        return _fit(again, span, plant, dice, tasks)
    return system


def _written(folder: Path, world: World, witness: str, since: int, until: int, dice: Dice, *, stated: bool) -> None:
    """Write what the witness tells of the time between."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = witness == "everything"
    if witness in ("one snapshot", "logs and a snapshot", "MONITOR", "notifications"):
        shots = [until]
    elif witness == "three snapshots":
        shots = [since, since + int(dice.uniform(0.2, 0.8) * (until - since)), until]
    elif witness in ("two snapshots", "everything"):
        shots = [since, until]
    else:
        shots = []
    for place, at in enumerate(shots):
        # The time of a snapshot is told in whole seconds: it holds what stood at their beginning or a little later.
        taken = at // SECOND * SECOND + int(dice.integers(0, SECOND))
        (folder / f"dump-{place + 1}.rdb").write_bytes(snapshot(world, taken, dice))
    if witness.startswith("append-only") or everything:
        parts = folder / "appendonlydir"
        parts.mkdir()
        stamps = "without" not in witness
        (parts / "appendonly.aof.1.base.rdb").write_bytes(snapshot(world, since, dice, aof_base=True))
        (parts / "appendonly.aof.1.incr.aof").write_bytes(append_only(world, since, until, stamps=stamps))
        (parts / "appendonly.aof.manifest").write_text(
            "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
        )
    if witness == "MONITOR":
        (folder / "monitor.log").write_text(monitored(world, since, until))
    if witness == "notifications":
        (folder / "keyspace.log").write_text(notified(world, since, until))
    if witness == "logs and a snapshot" or everything:
        logs = folder / "logs"
        logs.mkdir()
        (logs / "celery-worker-1.log").write_text(worker_log(world, since, until, dice))
        (logs / "app.log").write_text(application_log(world, since, until))
    if everything or dice.random() < 0.5:
        for at in {since, until} if everything or len(shots) > 1 else {until}:
            (folder / f"info-{stamped(at)}.txt").write_text(info(world, at))
        (folder / "config.json").write_text(config(world))
    if stated or everything or dice.random() < 0.4:
        (folder / "case.toml").write_text(case_toml(world))
