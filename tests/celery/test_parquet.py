"""A snapshot as Parquet: all its keys, sorted by task, and one task found in it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis import kernels
from analysis.celery import parquet
from analysis.celery.lookup import results_of
from analysis.celery.parquet import read_parquet, write_parquet
from analysis.errors import Unusable
from analysis.evidence.rdb import Snapshot, read_rdb
from tests.evidence.rdb_writer import Rdb

META = json.dumps({"status": "SUCCESS", "result": 1, "date_done": "2026-11-23T14:09:12", "children": []})
IDS = [str(uuid.UUID(int=number * 0x9E3779B97F4A7C15 % 2**128)) for number in range(500)]


@pytest.fixture(params=["plain", "compiled"])
def snapshot(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Snapshot:
    monkeypatch.setenv(kernels.SWITCH, request.param)
    monkeypatch.setattr(parquet, "_ROWS", 100)
    writer = Rdb(11).aux("ctime", 1_700_000_000).select(2)
    for number, task_id in enumerate(IDS):
        writer.text(f"celery-task-meta-{task_id}", META, ms=10**12 + number if number % 3 else None)
        writer.text(f"job:{task_id}", "{}")
    writer.text("app_celery-task-meta-x", META).text("chord-unlock-g", "1")
    writer.text(b"\xff", "1").text("celery-task-meta-", "1")
    path = tmp_path / "dump.rdb"
    path.write_bytes(writer.end())
    return read_rdb(path)


def test_all_keys_come_back_as_they_were(snapshot: Snapshot, tmp_path: Path) -> None:
    target = tmp_path / "keys.parquet"
    assert write_parquet(snapshot, target) == len(snapshot.keys)
    keys = read_parquet(target)
    assert keys.attrs["complete"] is True and keys.attrs["source"] == "dump.rdb"
    back = keys.sort_values("offset", ignore_index=True).drop(columns="task_id")
    pd.testing.assert_frame_equal(back, snapshot.keys.drop(columns="task_id"), check_like=True)
    by_key = keys.set_index("key")["task_id"]
    assert by_key[f"celery-task-meta-{IDS[7]}"] == IDS[7]
    assert (by_key["app_celery-task-meta-x"], by_key["chord-unlock-g"]) == ("x", "g")
    assert by_key[["celery-task-meta-", "\\xff", f"job:{IDS[7]}"]].isna().all()


def test_one_task_is_found_without_reading_the_others(snapshot: Snapshot, tmp_path: Path) -> None:
    target = tmp_path / "keys.parquet"
    write_parquet(snapshot, target)
    for task_id in (*IDS[::50], "x", "g"):
        assert read_parquet(target, task_id)["task_id"].tolist() == [task_id]
    assert len(read_parquet(target, "no such")) == 0
    told = pq.read_metadata(target)
    column = told.schema.to_arrow_schema().get_field_index("task_id")
    ranges = [told.row_group(group).column(column).statistics for group in range(told.num_row_groups)]
    holding = [one for one in ranges if one.has_min_max and one.min <= IDS[100] <= one.max]
    assert len(ranges) > 9 and len(holding) == 1


def test_one_result_is_found_in_the_snapshot_itself(snapshot: Snapshot) -> None:
    assert results_of(snapshot, IDS[3])[["task_id", "status"]].to_numpy().tolist() == [[IDS[3], "SUCCESS"]]
    assert results_of(snapshot, "x")["key"].tolist() == ["app_celery-task-meta-x"]
    assert len(results_of(snapshot, IDS[3][1:])) == 0


def test_a_part_of_a_snapshot_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "cut.rdb"
    path.write_bytes(bytes(Rdb(11).text("celery-task-meta-a", META)))
    write_parquet(read_rdb(path), tmp_path / "keys.parquet")
    keys = read_parquet(tmp_path / "keys.parquet")
    assert keys["task_id"].tolist() == ["a"] and keys.attrs["complete"] is False and "cut" in keys.attrs["reason"]


def test_an_empty_snapshot_is_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.rdb"
    path.write_bytes(Rdb(11).end())
    assert write_parquet(read_rdb(path), tmp_path / "keys.parquet") == 0
    assert len(read_parquet(tmp_path / "keys.parquet")) == 0


def test_what_is_no_file_of_this_kit_is_said_in_a_line(snapshot: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "some.parquet").write_bytes(b"PAR1 and no more")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for name in ("some", "other", "missing"):
        with pytest.raises(Unusable, match="is no Parquet file of this kit"):
            read_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(Unusable, match="cannot be written"):
        write_parquet(snapshot, tmp_path / "nowhere" / "keys.parquet")
    assert not list(tmp_path.glob(".writing-*"))
