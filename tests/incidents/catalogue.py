"""The list of causes with their builders, and the making of one incident from its seed.

In: a cause, a number, a seed. Out: ``<cause>-<nn>/`` and ``<cause>-<nn>.truth.json``. Knows nothing of judging.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import redis

from tests.incidents.bench import Stage
from tests.incidents.decoys import lay
from tests.incidents.plan import GROUPS, Group, Needs, draw
from tests.incidents.truth import Truth

Build = Callable[[Stage], Truth]


@dataclass(frozen=True)
class Incident:
    """A cause, its family, and how it is made."""

    cause: str
    family: str
    needs: Needs
    build: Build


_INCIDENTS: dict[str, Incident] = {}
_ROOMS = ("keys_gone", "keys_changed", "server_lost", "messages_lost", "never_run", "never_lost", "undecided")


def incident(cause: str, family: str, needs: Needs | None = None) -> Callable[[Build], Build]:
    """Enter a builder into the list."""

    def enter(build: Build) -> Build:
        _INCIDENTS[cause] = Incident(cause, family, needs or Needs(), build)
        return build

    return enter


def incidents() -> dict[str, Incident]:
    """Every cause that can be made."""
    for room in _ROOMS:
        importlib.import_module(f"tests.incidents.{room}")
    return _INCIDENTS


def group_of(number: int) -> Group:
    """Full, decoys, poor, full, …: a third of each."""
    return GROUPS[(number - 1) % len(GROUPS)]


def make(out: Path, cause: str, number: int, seed: int) -> float:
    """Make one incident, ``number`` from 1; seconds it took. Once more with other dice where its stage fell."""
    began = time.monotonic()
    for attempt in range(3):
        try:
            _make(out, cause, number, f"{seed}/{cause}/{number}/{attempt}" if attempt else f"{seed}/{cause}/{number}")
            break
        except (RuntimeError, redis.RedisError):
            if attempt == 2:
                raise
    return time.monotonic() - began


def _make(out: Path, cause: str, number: int, seed: str) -> None:
    entry = incidents()[cause]
    random = Random(seed)
    group, turn = group_of(number), (number - 1) // len(GROUPS)
    plan = draw(random, group, turn, entry.needs)
    name = f"{cause}-{number:02}"
    with tempfile.TemporaryDirectory(prefix="incident-", ignore_cleanup_errors=True) as work:
        case = Path(work) / "case"
        case.mkdir()
        stage = Stage(case, Path(work), random, number - 1, plan)
        try:
            if group == "decoys":
                lay(stage, entry.needs.avoid)
            truth = entry.build(stage)
        finally:
            stage.close()
        truth.made.update(cause=cause, family=entry.family, seed=seed)
        # Whoever reads the folder meanwhile finds the old case or the new one.
        shutil.rmtree(out / name, ignore_errors=True)
        shutil.move(case, out / name)
        truth.write(out / f"{name}.truth.json", group)
