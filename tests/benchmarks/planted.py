"""How often bulk removal is seen where it was planted, and where it was not: ``python tests/benchmarks/planted.py``.

Simulated cases (``tests/planted``) are written to disk, read as any case is, and handed to ``analysis.find_bulk``. Of
quiet cases the share of whole reports with any alarm is counted, with its exact 95 % interval; of planted ones how many
are told, and by the right name, for each kind of plant, its effect and its witness. A plant of which its
witness can see fewer than FEW keys is not counted. What went wrong is listed, so that it can be made again by its seed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]

import pandas as pd  # noqa: E402 - found once the path is set

from analysis.kernels import SWITCH  # noqa: E402
from tests.planted.draw import Drawn, draw, seen_by  # noqa: E402
from tests.planted.plant import PLANTS  # noqa: E402

FEW = 5
LARGE = 100_000
MOST_FALSE = 0.015
"""The upper end of the 95 % interval of quiet reports with an alarm is to stay under this."""
_BEFORE, _AFTER = pd.Timedelta(minutes=5), pd.Timedelta(minutes=30)


@dataclass(frozen=True)
class Asked:
    """One case: a plant of none is a quiet one."""

    seed: int
    witness: str = ""
    plant: str = ""
    effect: float = 0
    size: int = 0


@dataclass(frozen=True)
class Answer:
    """What was said: ``alarm``: that keys were removed before they were due, at the time of the plant if there is one;
    ``named``: a pattern of a right name at that time, whether held for a loss or not; ``rows``: the alarms, or all that
    was said of a plant; ``loud``: alarms anywhere.
    """

    asked: Asked
    drawn: Drawn
    alarm: bool
    named: bool
    loud: bool
    rows: tuple[str, ...]
    seconds: float


def ask(asked: Asked) -> Answer:
    """Make a case, and ask."""
    import analysis

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="planted-") as scratch:
        folder = Path(scratch) / "case"
        drawn = draw(folder, asked.seed, witness=asked.witness, plant=asked.plant, effect=asked.effect, size=asked.size)
        patterns = analysis.find_bulk(analysis.open_case(folder)).patterns
    alarms = patterns.loc[patterns["removal"].fillna(False).astype(bool)]
    near, right = alarms, False
    if drawn.truth is not None:
        at = pd.Timestamp(drawn.truth.at, unit="us", tz="UTC")
        close = (patterns["since"].isna() | (patterns["since"] <= at + _AFTER)) & (
            patterns["until"].isna() | (patterns["until"] >= at - _BEFORE)
        )
        # What only states tell has the time of the states, or of storing; a file without times, one of its own.
        timed = patterns["witness"].eq("commands") & ("without" not in drawn.witness)
        close |= ~timed
        near = alarms.loc[close.loc[alarms.index]]
        right = bool(patterns.loc[close, "pattern"].isin(drawn.truth.names).any())
    said = alarms if drawn.truth is None else patterns
    columns = (
        "pattern",
        "witness",
        "families",
        "since",
        "until",
        "gone",
        "of",
        "share",
        "expected",
        "strength",
        "removal",
        "says",
    )
    rows = tuple("; ".join(f"{name}={getattr(row, name)}" for name in columns) for row in said.head(8).itertuples())
    return Answer(asked, drawn, len(near) > 0, right, len(alarms) > 0, rows, time.perf_counter() - began)


def quiet(seed: int, count: int) -> Iterator[Asked]:
    """So many quiet cases, now and then a large one."""
    for place in range(count):
        yield Asked(seed + place, size=LARGE if place % 400 == 399 else 0)


def plants(seed: int, each: int) -> Iterator[Asked]:
    """Every kind, effect and witness, so many times, each in a system of its own."""
    cells = ((kind, effect, witness) for kind in PLANTS for effect in PLANTS[kind][1] for witness in seen_by(kind))
    for number, (kind, effect, witness) in enumerate(cell for cell in cells for _ in range(each)):
        yield Asked(seed + number, witness, kind, effect)


def answers(asked: list[Asked], processes: int, wrong: Path | None) -> Iterator[Answer]:
    """The answers in the order of the questions; what is wrong is added to the file ``wrong`` once it is known."""
    began, done = time.monotonic(), 0
    # Both builds read alike, and the compiled one sooner.
    os.environ[SWITCH] = "compiled"
    with ProcessPoolExecutor(processes) as pool:
        for answer in pool.map(ask, asked, chunksize=4):
            yield answer
            if wrong and (word := _failure(answer)):
                with wrong.open("a", encoding="utf-8") as out:
                    out.write(_said(word, answer) + "\n")
            done += 1
            if done % 50 == 0:
                print(f"{done} of {len(asked)} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def false_alarms(told: list[Answer]) -> dict[str, Any]:
    """The share of quiet reports with an alarm, by witness and over all, with the exact upper end of its interval."""
    from scipy.stats import binomtest

    loud = [answer for answer in told if answer.loud]
    upper = binomtest(len(loud), len(told)).proportion_ci(0.95, method="exact").high
    frame = pd.DataFrame({"witness": [a.drawn.witness for a in told], "alarms": [a.loud for a in told]})
    table = frame.groupby("witness")["alarms"].agg(cases="size", alarms="sum")
    print(f"\nquiet cases: {len(loud)} of {len(told)} reports with an alarm; 95 % interval up to {upper:.2%}\n")
    print(table.to_string())
    return {"quiet": len(told), "alarms": len(loud), "upper": round(float(upper), 5)}


def power(told: list[Answer]) -> dict[str, Any]:
    """How many plants were told, and by a right name."""
    counted = [a for a in told if a.drawn.visible >= FEW]
    frame = pd.DataFrame(
        {
            "plant": [a.asked.plant for a in counted],
            "effect": [a.asked.effect for a in counted],
            "witness": [a.asked.witness for a in counted],
            "told": [a.alarm for a in counted],
            "named": [a.named for a in counted],
        }
    )
    by = frame.groupby(["plant", "effect"], sort=False)[["told", "named"]]
    table = by.mean().mul(100).round().astype(int).assign(cases=by.size())
    print(f"\nplanted cases: {len(counted)} with {FEW} keys or more to see; % told as a removal, and by a right name\n")
    print(table.to_string())
    cells = frame.pivot_table(index=["plant", "effect"], columns="witness", values="told", aggfunc="mean", sort=False)
    print("\n% told, by witness\n")
    print(cells.mul(100).round().astype("Int64").to_string(na_rep="–"))
    figures = {f"{plant} {effect:g}": row.to_dict() for (plant, effect), row in table.iterrows()}
    return {"planted": len(counted), "power": figures}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quiet", type=int, default=2000, help="quiet cases")
    options.add_argument("--each", type=int, default=3, help="cases for each plant, effect and witness")
    options.add_argument("--seed", type=int, default=1, help="of the first case; the others follow")
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--wrong", type=Path, help="a file for all that went wrong, in words")
    options.add_argument("--json", action="store_true", help="an object in the last line")
    given = options.parse_args()
    found: dict[str, Any] = {"seed": given.seed}
    if given.quiet:
        told = list(answers(list(quiet(given.seed, given.quiet)), given.processes, given.wrong))
        found |= false_alarms(told)
    if given.each:
        told = list(answers(list(plants(given.seed, given.each)), given.processes, given.wrong))
        found |= power(told)
    if given.json:
        print(json.dumps(found))


def _failure(answer: Answer) -> str:
    """What is wrong with an answer; empty where nothing is."""
    truth = answer.drawn.truth
    if truth is None:
        return "FALSE ALARM" if answer.loud else ""
    if answer.drawn.visible < FEW:
        return ""
    if not truth.loss:
        return "CALLED A LOSS" if answer.alarm else "NOT NAMED" if not answer.named else ""
    return "MISSED" if not answer.alarm else "OTHER NAME" if truth.names and not answer.named else ""


def _said(word: str, answer: Answer) -> str:
    return "\n".join([f"{word}: {answer.drawn}", *(f"    {row}" for row in answer.rows)])


if __name__ == "__main__":
    main()
