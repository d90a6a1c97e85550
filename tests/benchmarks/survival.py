"""How often the intervals of early losses hold the truth, how far off naive figures are, and what a million cost.

In: nothing; truth is planted. Out: a table on standard output. Some minutes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

# Run as a script, it is not found as a package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from analysis.findings.incidence import EXPIRED, REMOVED, Incidence, incidence, incidence_within
from analysis.findings.lives import lives_between, lives_recorded
from analysis.findings.share_gone import fates_between, measured_storing, share_gone, sound_pairs
from analysis.findings.survival import survival_findings
from analysis.frames import frame
from tests.findings.lifetimes import Truth, living, recorded, seen_at

DAY = 86400.0


def at(curve: Incidence, days: float) -> pd.Series:
    return curve.points.loc[curve.points["age"].le(days * DAY)].iloc[-1]


def mixed(rng: np.random.Generator, number: int, *, loss: float = 0.08 / DAY, span: float = 8 * DAY) -> Truth:
    """Six in ten live a day, the others five."""
    return living(rng, number, span=span, loss=loss, ttl=np.where(rng.random(number) < 0.6, DAY, 5 * DAY))


def real_share(days: float, loss: float = 0.08) -> float:
    return 0.6 * (1 - np.exp(-loss * min(days, 1))) + 0.4 * (1 - np.exp(-loss * min(days, 5)))


def shares(times: int) -> str:
    rng, held, naive, ours, real = np.random.default_rng(1), 0, 0.0, 0.0, 1 - np.exp(-0.08)
    for _ in range(times):
        seen = seen_at(mixed(rng, 1200), [6 * DAY, 7 * DAY])
        [pair] = sound_pairs(seen.shots)
        stored = measured_storing(seen.tasks, frame("jobs"))
        row = share_gone(fates_between(seen.keys, seen.changes, seen.shots, stored, pair), bands=False).iloc[0]
        held += row["low"] <= real <= row["high"]
        ours += row["share"] / times
        naive += (row["gone"] + row["due"]) / row["held"] / times
    return f"truth {real:.3f}; ours {ours:.3f}, holds it {held / times:.1%}; with due keys {naive:.3f}"


def recordings(times: int) -> str:
    rng, held = np.random.default_rng(2), np.zeros(3)
    naive, expiries, ours, days = 0.0, 0.0, 0.0, (0.9, 2, 4)
    for _ in range(times):
        rows = lives_recorded(recorded(mixed(rng, 2500), 5 * DAY, 8 * DAY), frame("keys")).rows
        curve, late = incidence(rows), incidence(rows.assign(entry=0.0))
        losses = incidence(rows.assign(end=rows["end"].replace({EXPIRED: REMOVED})))
        if curve is None or late is None or losses is None:
            raise SystemExit("no curve")
        held += [at(curve, day)["low"] <= real_share(day) <= at(curve, day)["high"] for day in days]
        ours += at(curve, 4)["removed"] / times
        naive += at(late, 4)["removed"] / times
        expiries += at(losses, 4)["removed"] / times
    told = ", ".join(f"{share:.1%} at {day:g} d" for share, day in zip(held / times, days, strict=True))
    return (
        f"truth at 4 d {real_share(4):.3f}; ours {ours:.3f}, holds it {told}; without late entry {naive:.3f}; "
        f"expiries as losses {expiries:.3f}"
    )


def snapshots(times: int) -> str:
    rng, held, ours, days = np.random.default_rng(3), np.zeros(3), np.zeros(3), (2, 4, 6)
    for _ in range(times):
        seen = seen_at(living(rng, 2500, span=9 * DAY, loss=0.05 / DAY, ttl=7 * DAY), [n * DAY for n in (6, 7, 8, 9)])
        stored = measured_storing(seen.tasks, frame("jobs"))
        parts = [
            lives_between(fates_between(seen.keys, seen.changes, seen.shots, stored, pair), DAY)
            for pair in sound_pairs(seen.shots)
        ]
        curve = incidence_within(pd.concat(parts))
        if curve is None:
            raise SystemExit("no curve")
        for place, day in enumerate(days):
            row, real = at(curve, day), 1 - np.exp(-0.05 * (day - curve.since / DAY))
            held[place] += row["low"] <= real <= row["high"]
            ours[place] += (row["removed"] - real) / times
    told = ", ".join(f"{share:.1%} at {day} d" for share, day in zip(held / times, days, strict=True))
    return f"holds the truth {told}; off by {', '.join(f'{off:+.4f}' for off in ours)} in the mean"


def million_keys(number: int) -> str:
    seen = seen_at(mixed(np.random.default_rng(4), 3 * number), [6 * DAY, 6.5 * DAY, 7 * DAY])
    begun = time.perf_counter()
    found = survival_findings(seen.keys, seen.tasks, frame("jobs"), seen.shots, seen.changes)
    return f"{len(seen.keys):,} keys in three snapshots, {time.perf_counter() - begun:.1f} s; {found.headline}"


def million_commands(number: int) -> str:
    recording = recorded(mixed(np.random.default_rng(5), number), 4 * DAY, 8 * DAY)
    nothing = seen_at(Truth(*np.zeros((3, 0))), [])
    begun = time.perf_counter()
    found = survival_findings(frame("keys"), frame("tasks"), frame("jobs"), nothing.shots, nothing.changes, [recording])
    return f"{len(recording.commands):,} commands, {time.perf_counter() - begun:.1f} s; {found.headline}"


def main() -> None:
    work: tuple[tuple[str, Callable[[int], str], int], ...] = (
        ("share gone between two snapshots", shares, 400),
        ("curve from commands", recordings, 200),
        ("curve from four snapshots", snapshots, 100),
        ("time", million_keys, 1_000_000),
        ("time", million_commands, 1_000_000),
    )
    for name, measure, number in work:
        print(f"{name}: {measure(number)}", flush=True)


if __name__ == "__main__":
    main()
