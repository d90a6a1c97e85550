"""Contenders in processes of their own, in turn, with their times and their peaks of memory.

In: a script that runs one contender (``--run NAME FILE``), names and a file. Out: ``Runs``. Knows none of them.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

POLL_SECONDS = 0.004


@dataclass
class Runs:
    """What was measured of one contender: seconds, and the peaks of its own and of all its memory in MB."""

    seconds: list[float] = field(default_factory=list)
    anonymous: list[int] = field(default_factory=list)
    total: list[int] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def add(self, script: str, name: str, path: Path, **environment: str) -> None:
        """Run it once, start-up included."""
        begin = time.perf_counter()
        command = [sys.executable, script, "--run", name, os.fspath(path)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
        anonymous = 0
        while True:
            anonymous = max(anonymous, _anonymous(process.pid))
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(POLL_SECONDS)
        if status:
            raise SystemExit(f"{name} failed")
        self.seconds.append(time.perf_counter() - begin)
        self.anonymous.append(anonymous)
        self.total.append(used.ru_maxrss // 1024)

    def __str__(self) -> str:
        return (
            f"{self.median:7.2f} s ({min(self.seconds):.2f}–{max(self.seconds):.2f})   "
            f"{max(self.anonymous):5} MB anonymous, {max(self.total):5} MB in all"
        )


def _anonymous(pid: int) -> int:
    try:
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


def compete(script: str, names: Sequence[str], path: Path, rounds: int) -> dict[str, Runs]:
    """Each contender ``rounds`` times, in turn; what was measured is printed."""
    runs = {name: Runs() for name in names}
    for _ in range(rounds):
        for name in names:
            runs[name].add(script, name, path)
    for name in names:
        print(f"  {name:20} {runs[name]}", flush=True)
    return runs


def ratio(peer: Runs, ours: Runs) -> float:
    """How many times as long the peer takes."""
    return peer.median / ours.median
