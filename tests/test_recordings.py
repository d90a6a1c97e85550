"""Lives read from files: an append-only file with its base, three snapshots, MONITOR; and what cannot serve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.findings.survival import SurvivalFindings
from analysis.recordings import recordings
from tests.findings.lifetimes import Truth, living
from tests.recorded_lives import append_only, monitor_log, snapshot_file

HOUR, DAY = 3600.0, 86400.0
RATE = 0.03 / HOUR


@pytest.fixture(scope="module")
def truth() -> Truth:
    return living(np.random.default_rng(41), 1500, span=30 * HOUR, loss=RATE, ttl=DAY)


def opened(folder: Path) -> SurvivalFindings:
    return analysis.find_survival(analysis.open_case(folder))


def test_an_append_only_file_counts_the_keys_of_its_base_from_their_age(tmp_path, truth):
    append_only(truth, 20 * HOUR, 30 * HOUR, tmp_path / "appendonlydir")
    found = opened(tmp_path)
    since, until = 20 * HOUR, 30 * HOUR
    there = (truth.born <= since) & (truth.death > since)
    written = (truth.born > since) & (truth.born <= until)
    removed = (there | written) & (truth.removed < truth.expires) & (truth.death <= until)
    row = found.ends.set_index("family").loc["result"]
    # The last command is the last that the file tells of, so what was written then may be too short to count.
    assert row["late"] == there.sum()
    assert row["lives"] == pytest.approx((there | written).sum(), abs=2)
    assert row["removed"] == pytest.approx(removed.sum(), abs=2)
    assert row["expired"] == pytest.approx(((there | written) & (truth.death <= until) & ~removed).sum(), abs=2)
    for hours in (4, 12, 20):
        point = found.curves.loc[found.curves["age"].le(hours * HOUR)].iloc[-1]
        assert point["low"] <= 1 - np.exp(-RATE * hours * HOUR) <= point["high"]


def test_three_snapshots_serve_where_no_commands_do(tmp_path, truth):
    for hours in (20, 24, 28):
        snapshot_file(truth, hours * HOUR, tmp_path / f"at-{hours}.rdb")
    found = opened(tmp_path)
    assert set(found.curves["source"]) == {"snapshots"}
    assert len(found.shares) == 2 and found.shares["share"].between(0.07, 0.16).all()
    for hours in (8, 16):
        point = found.curves.loc[found.curves["age"].le(hours * HOUR)].iloc[-1]
        real = 1 - np.exp(-RATE * (hours * HOUR - found.ends["since"].iloc[0]))
        assert point["low"] <= real <= point["high"]


def test_monitor_serves_where_there_were_no_evictions_and_sees_expiries_by_their_ttl(tmp_path, truth):
    monitor_log(truth, 0, 30 * HOUR, tmp_path / "monitor.log")
    doubtful = opened(tmp_path)
    assert len(doubtful.curves) == 0
    assert any("does not show evictions" in ground for ground in doubtful.grounds)
    (tmp_path / "config.json").write_text(json.dumps({"maxmemory": "0", "maxmemory-policy": "noeviction"}))
    found = opened(tmp_path)
    row = found.ends.set_index("family").loc["result"]
    own = (truth.born > 0) & (truth.born <= 30 * HOUR)
    assert row["lives"] == own.sum()
    died = own & (truth.death <= 30 * HOUR)
    assert row["removed"] == pytest.approx((died & (truth.removed < truth.expires)).sum(), abs=2)
    assert row["expired"] == pytest.approx((died & (truth.removed >= truth.expires)).sum(), abs=2)


def test_the_append_only_file_is_taken_before_monitor(tmp_path, truth):
    append_only(truth, 20 * HOUR, 30 * HOUR, tmp_path / "appendonlydir")
    monitor_log(truth, 0, 30 * HOUR, tmp_path / "monitor.log")
    (tmp_path / "config.json").write_text(json.dumps({"maxmemory": "0", "maxmemory-policy": "noeviction"}))
    [one], _ = recordings(analysis.open_case(tmp_path))
    assert one.name == "appendonlydir/appendonly.aof.manifest"
    assert one.base is not None and one.base["at"].notna().all()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda raw: raw[: len(raw) // 2] + b"\x00" * 50 + raw[len(raw) // 2 :], "was read in part"),
        (lambda raw: raw + b"*3\r\n$6\r\nSWAPDB\r\n$1\r\n1\r\n$1\r\n2\r\n", "databases changed places"),
    ],
)
def test_an_append_only_file_that_may_hide_a_removal_gives_no_curve(tmp_path, truth, damage, says):
    append_only(truth, 20 * HOUR, 30 * HOUR, tmp_path / "appendonlydir")
    path = tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof"
    path.write_bytes(damage(path.read_bytes()))
    found = opened(tmp_path)
    assert len(found.curves) == 0
    assert any(says in ground for ground in found.grounds), found.grounds


def test_commands_without_a_base_may_be_a_state_written_down(tmp_path, truth):
    append_only(truth, 20 * HOUR, 30 * HOUR, tmp_path / "appendonlydir")
    raw = (tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof").read_bytes()
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "appendonly.aof").write_bytes(raw)
    found = opened(alone)
    assert len(found.curves) == 0
    assert any("has no base" in ground for ground in found.grounds), found.grounds
