"""Simulated cases are what they say they are, and bulk removal is seen where it was planted, and only there."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.case import Case
from tests.benchmarks.planted import Asked, ask
from tests.planted.draw import WITNESSES, Drawn, draw
from tests.planted.plant import PLANTS
from tests.planted.system import HOUR


def opened(folder: Path, seed: int, **asked: object) -> tuple[Drawn, Case]:
    drawn = draw(folder / "case", seed, span=2 * HOUR, **asked)  # type: ignore[arg-type]
    return drawn, analysis.open_case(folder / "case")


def removed_by_command(case: Case, drawn: Drawn) -> set[str]:
    """The keys that the append-only file shows go at the time of the plant."""
    assert drawn.truth is not None
    at = pd.Timestamp(drawn.truth.at, unit="us", tz="UTC")
    close = case.commands["removed_by"].notna() & case.commands["not_after"].ge(at - pd.Timedelta(seconds=10))
    return {key for keys in case.commands.loc[close, "keys"] for key in keys}


@pytest.mark.parametrize("witness", WITNESSES)
def test_every_witness_of_a_simulated_case_is_read_whole(witness: str, tmp_path: Path) -> None:
    drawn, case = opened(tmp_path, 1, witness=witness, size=60)
    assert case.shortcomings == () and drawn.keys > 0
    last = case.keys["snapshot"].iloc[-1]
    assert abs(case.keys["snapshot"].eq(last).sum() - drawn.keys) <= 10


def test_a_seed_makes_the_same_case_again(tmp_path: Path) -> None:
    def files(name: str) -> dict[str, bytes]:
        draw(tmp_path / name, 5, witness="everything", plant="delete by age", effect=0.2, size=60, span=HOUR)
        found = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        return {path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in found}

    assert files("one") == files("other")


@pytest.mark.parametrize("kind", [kind for kind in PLANTS if kind not in ("stampede", "shorten TTL")])
def test_what_was_planted_stands_in_the_evidence(kind: str, tmp_path: Path) -> None:
    drawn, case = opened(tmp_path, 3, witness="everything", plant=kind, effect=PLANTS[kind][1][-1], size=200)
    assert drawn.truth is not None and drawn.truth.gone == len(drawn.truth.keys) > 4
    if kind.startswith("flush"):
        assert case.commands["verb"].isin(("FLUSHDB", "FLUSHALL")).sum() == 1
    else:
        assert set(drawn.truth.keys) <= removed_by_command(case, drawn)
    before, after = (set(case.keys.loc[case.keys["snapshot"].eq(f"dump-{number}.rdb"), "key"]) for number in (1, 2))
    gone = set(drawn.truth.keys) & before - after
    # What its task writes once more is there again.
    assert len(gone) >= 0.9 * len(set(drawn.truth.keys) & before)
    assert gone <= set(case.changes.loc[case.changes["change"].eq("gone"), "key"])


def test_a_stampede_takes_nothing_before_it_is_due(tmp_path: Path) -> None:
    drawn, case = opened(tmp_path, 3, witness="everything", plant="stampede", effect=5, size=200)
    assert drawn.truth is not None
    named = {key: row.removed_by for row in case.commands.itertuples() for key in row.keys if pd.notna(row.removed_by)}
    assert {named[key] for key in drawn.truth.keys} == {"expiry"}


TOLD = [
    ("flush database", 1.0, "append-only file"),
    ("flush all", 1.0, "two snapshots"),
    ("delete by pattern", 0.2, "MONITOR"),
    ("delete by pattern", 0.6, "two snapshots"),
    ("evict any", 0.2, "notifications"),
    ("burst of deletes", 50, "append-only file"),
]


@pytest.mark.parametrize(("kind", "effect", "witness"), TOLD)
def test_a_planted_removal_is_told_by_a_right_name(kind: str, effect: float, witness: str) -> None:
    answer = ask(Asked(7, witness, kind, effect, size=300))
    assert answer.drawn.visible >= 20
    assert answer.alarm and answer.named, answer.rows


def test_a_planted_stampede_is_called_one_and_no_loss() -> None:
    answer = ask(Asked(8, "append-only file", "stampede", 20, size=300))
    assert answer.named and not answer.loud, answer.rows


def test_quiet_cases_raise_no_alarm() -> None:
    answers = [ask(Asked(seed, size=200)) for seed in range(70, 80)]
    assert not [answer.rows for answer in answers if answer.loud]
    assert len({answer.drawn.witness for answer in answers}) > 5
