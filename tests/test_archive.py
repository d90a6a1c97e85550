"""An archive: results and job records kept as Parquet, what is new only, and what they then say of a task."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import celery
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis import archive
from analysis.archive import keep
from analysis.celery.archive import SCHEMA
from analysis.celery.sightings import sightings_in
from analysis.errors import Unusable
from analysis.evidence.rdb_values import ValueUnreadable
from analysis.findings.bulk import looks
from analysis.findings.overview.hours import KEPT
from analysis.report.show import SWITCH
from tests.conftest import StartRedis, StartWorker
from tests.evidence.rdb_writer import Rdb, length, string
from tests.test_cli import run

TASK = "3f2c1a7e-9d4b-4c55-8a66-0b1c2d3e4f50"
OTHER = "8a0c1a7e-9d4b-4c55-8a66-0b1c2d3e4f51"
START = 1_790_000_000
HASH = 4
SECRET = "hunter2-and-more"


def done(task_id: str = TASK, at: int = START, **result: Any) -> str:
    """A stored result."""
    when = pd.Timestamp(at, unit="s", tz="UTC").isoformat()
    meta = {"status": "SUCCESS", "result": result or {"rows": 3}, "traceback": None, "children": [], "date_done": when}
    return json.dumps({**meta, "task_id": task_id, "name": "shop.add", "worker": "w1@host", "queue": "celery"})


def snapshot(taken: int, results: Mapping[str, tuple[bytes | str, int | None]] | None = None, **jobs: str) -> bytes:
    """A snapshot: results by task ID, each with its expiry in seconds, and hashes of jobs by task ID."""
    writer = Rdb(11).aux("ctime", taken).select(2)
    for task_id, (value, expires) in (results or {}).items():
        writer.text(f"celery-task-meta-{task_id}", value, ms=None if expires is None else expires * 1000)
    for task_id, status in jobs.items():
        fields = {"status": status, "created_at": str(START), "api_key": SECRET}
        packed = b"".join(string(name) + string(value) for name, value in fields.items())
        writer.key(f"job:{task_id}", HASH, length(len(fields)) + packed)
    return writer.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A case of one snapshot, taken 100 s after START, with a result that expires after 600 s, and its job record."""
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "one.rdb").write_bytes(snapshot(START + 100, {TASK: (done(), START + 600)}, **{TASK: "done"}))
    return tmp_path / "case"


def kept(folder: Path, **options: Any) -> archive.Kept:
    return keep(analysis.open_case(folder), folder / "archive", **options)


def rows(folder: Path) -> pd.DataFrame:
    """All rows of an archive as any tool reads them."""
    return pd.concat([pq.read_table(path).to_pandas() for path in sorted((folder / "archive").glob("*.parquet"))])


def verdict(folder: Path, task_id: str = TASK) -> analysis.Verdict:
    return analysis.investigate(analysis.open_case(folder), task_id)


def weights(found: analysis.Verdict, record: str = "result") -> dict[tuple[str, str], float]:
    """By evidence and cause, the decibans it gives."""
    return {(e.id, h.cause): e.weight for h in found.considered if h.record == record for e in h.evidence}


# What is kept


def test_a_row_says_what_was_seen_where_and_when(folder):
    assert kept(folder).results == 1
    [result] = rows(folder).loc[lambda every: every["record"].eq("result")].to_dict("records")
    case = analysis.open_case(folder)
    assert result["seen_in"] == "one.rdb" and result["seen_sha256"] == case.evidence.iloc[0]["sha256"]
    assert result["seen_at"] == pd.Timestamp(START + 100, unit="s", tz="UTC")
    assert result["expires_at"] == pd.Timestamp(START + 600, unit="s", tz="UTC")
    assert (result["db"], result["task_id"], result["status"], result["name"]) == (2, TASK, "SUCCESS", "shop.add")
    assert json.loads(result["body"]) == json.loads(done()) and not result["redacted"]
    assert SCHEMA.names == list(result)


def test_twice_the_same_adds_nothing_and_leaves_what_there_is(folder):
    first = kept(folder)
    before = {path: path.read_bytes() for path in (folder / "archive").iterdir()}
    again = kept(folder)
    assert (first.results, first.jobs, first.known) == (1, 1, 0)
    assert (again.results, again.jobs, again.known, again.files) == (0, 0, 2, ())
    assert {path: path.read_bytes() for path in (folder / "archive").iterdir()} == before
    assert list(again.lines()) == ["Nothing is new: the archive has all 2 already."]


def test_another_value_or_another_expiry_is_new_and_what_is_as_before_is_not(folder):
    kept(folder)
    (folder / "two.rdb").write_bytes(
        snapshot(START + 200, {TASK: (done(), START + 900), OTHER: (done(OTHER), START + 700)}, **{TASK: "failed"})
    )
    (folder / "three.rdb").write_bytes(snapshot(START + 300, {OTHER: (done(OTHER), START + 700)}, **{TASK: "failed"}))
    found = kept(folder)
    assert (found.results, found.jobs, len(found.files)) == (2, 1, 1)
    assert sorted(rows(folder)["seen_in"]) == ["one.rdb"] * 2 + ["two.rdb"] * 3


def test_what_came_back_as_it_was_before_is_new_and_stays_known(folder):
    (folder / "two.rdb").write_bytes(snapshot(START + 200, {TASK: (done(), START + 900)}))
    (folder / "three.rdb").write_bytes(snapshot(START + 300, {TASK: (done(), START + 600)}))
    assert kept(folder).results == 3
    assert kept(folder).results == 0


def test_an_earlier_sighting_of_the_same_adds_nothing(folder):
    kept(folder)
    (folder / "earlier.rdb").write_bytes(snapshot(START + 50, {TASK: (done(), START + 600)}))
    assert kept(folder).results == 0


def test_servers_and_databases_are_kept_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "servers" / name).mkdir(parents=True)
        data = snapshot(START + 100 + len(name), {TASK: (done(), START + 600)})
        (tmp_path / "servers" / name / "dump.rdb").write_bytes(data + b"")
    (tmp_path / "servers" / "two" / "dump.rdb").write_bytes(snapshot(START + 150, {TASK: (done(), START + 600)}))
    assert kept(tmp_path).results == 2
    assert sorted(rows(tmp_path)["server"]) == ["one", "two"]
    for name in ("one", "two"):
        (tmp_path / "servers" / name / "dump.rdb").unlink()
    assert sorted(analysis.open_case(tmp_path).tasks["server"]) == ["one", "two"]


def test_secrets_are_left_out_unless_all_is_to_be_kept(folder):
    value = done(password=SECRET, note="postgres://me:" + SECRET + "@db/x", plain="yes")
    (folder / "one.rdb").write_bytes(snapshot(START + 100, {TASK: (value, START + 600)}, **{TASK: "done"}))
    found = kept(folder)
    assert found.redacted == 2
    written = b"".join(path.read_bytes() for path in (folder / "archive").iterdir())
    table = rows(folder)
    assert SECRET.encode() not in written and not table["body"].str.contains(SECRET).any()
    assert table["redacted"].all() and table["body"].str.contains("redacted").all()
    assert table["body"].str.contains("plain").any()
    whole = kept(folder, whole=True)
    assert (whole.results, whole.jobs, whole.redacted) == (1, 1, 0)
    assert (kept(folder, whole=True).known, kept(folder).known) == (2, 2)
    assert rows(folder).loc[lambda every: ~every["redacted"], "body"].str.contains(SECRET).all()


@pytest.mark.parametrize("name", ["pass\\u0077ord", "\N{KELVIN SIGN}ey_secret", "API_KEY", "Authorization"])
def test_a_secret_is_found_however_its_name_is_written(folder, name):
    value = done().replace('"rows": 3', f'"{name}": "{SECRET}"')
    (folder / "one.rdb").write_bytes(snapshot(START + 100, {TASK: (value, None)}))
    kept(folder)
    assert SECRET not in rows(folder)["body"].iloc[0]


def test_a_pickle_is_not_opened_and_a_field_that_is_no_text_is_not_kept(folder):
    value = pickle.dumps({"status": "SUCCESS", "result": SECRET})
    writer = Rdb(11).aux("ctime", START + 100).select(2).text(f"celery-task-meta-{TASK}", value)
    fields = {b"status": b"done", b"created_at": b"1790000000", b"data": b"\x78\x9c\xff\xfe" + SECRET.encode()}
    packed = b"".join(string(name) + string(value) for name, value in fields.items())
    (folder / "one.rdb").write_bytes(writer.key(f"job:{TASK}", HASH, length(3) + packed).end())
    found = kept(folder)
    table = rows(folder).set_index("record")
    assert found.closed == 1 and table["body"].isna()["result"] and len(table["digest"]["result"]) == 64
    assert "pickle: not read" in table["problem"]["result"] and table["size"]["result"] == len(value)
    assert "not text" in table["body"]["job"] and SECRET not in table["body"]["job"] and table["redacted"]["job"]
    assert any("only size and digest" in line for line in found.lines())
    (folder / "one.rdb").unlink()
    case = analysis.open_case(folder)
    with pytest.raises(ValueUnreadable, match="only its size"):
        case.value(case.tasks["snapshot"].iloc[0], case.tasks["offset"].iloc[0])


def test_a_hash_in_another_order_is_the_same(folder):
    kept(folder)
    fields = {"api_key": SECRET, "created_at": str(START), "status": "done"}
    packed = b"".join(string(name) + string(value) for name, value in fields.items())
    writer = Rdb(11).aux("ctime", START + 200).select(2).key(f"job:{TASK}", HASH, length(3) + packed)
    (folder / "two.rdb").write_bytes(writer.end())
    assert kept(folder).jobs == 0


def test_many_rows_are_kept_block_by_block_and_each_is_found_again(folder, monkeypatch):
    monkeypatch.setattr(archive, "_BLOCK_ROWS", 7)
    ids = [f"{number:08x}-9d4b-4c55-8a66-0b1c2d3e4f50" for number in range(50)]
    data = {task_id: (done(task_id, number=place), START + 600) for place, task_id in enumerate(ids)}
    (folder / "one.rdb").write_bytes(snapshot(START + 100, data))
    [path] = kept(folder).files
    assert pq.read_metadata(path).num_row_groups == 8
    (folder / "one.rdb").unlink()
    case = analysis.open_case(folder)
    for row in case.tasks.sample(frac=1, random_state=1).itertuples():
        value = case.value(row.snapshot, row.offset)
        assert isinstance(value, bytes) and json.loads(value)["result"]["number"] == ids.index(row.task_id)


# The files


def test_the_archive_is_for_its_owner_only_and_nothing_half_written_stays(folder):
    [path] = kept(folder).files
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert path.name.startswith("archive-20260921T") and TASK not in path.name


def test_a_run_that_is_ended_leaves_nothing_and_an_old_one_is_cleared_away(folder, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(Unusable, match="archive: cannot be written: No space left"):
            kept(folder)
    assert list((folder / "archive").iterdir()) == []
    abandoned = folder / "archive" / ".writing-x"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    assert kept(folder).results == 1 and not abandoned.exists()


def test_what_was_kept_before_the_disk_was_full_stays_and_the_rest_is_said(folder, monkeypatch):
    (folder / "two.rdb").write_bytes(snapshot(START + 200, {TASK: (done(), START + 900)}))
    write, calls = pq.ParquetWriter.write_table, []

    def full(writer: pq.ParquetWriter, table: pa.Table, **options: Any) -> None:
        calls.append(table["seen_in"][0].as_py())
        if calls[-1] == "two.rdb":
            raise OSError(28, "No space left on device")
        write(writer, table, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    found = kept(folder)
    assert (found.results, found.jobs, len(found.files)) == (1, 1, 1)
    assert "No space left" in str(found.left_out[0])
    monkeypatch.undo()
    assert kept(folder).results == 1


def test_two_runs_at_once_lose_nothing_and_double_nothing(folder):
    case = analysis.open_case(folder)
    one, two = (sightings_in(folder / "archive", whole=False)[0] for _ in range(2))
    (folder / "archive").mkdir()
    numbers = dict.fromkeys(("results", "jobs", "known", "closed", "redacted"), 0)
    [source] = archive._sources(case)
    assert archive._add(source, folder / "archive", one, False, numbers) is not None
    assert archive._add(source, folder / "archive", two, False, numbers) is None
    assert (numbers["results"], numbers["known"], len(rows(folder))) == (1, 2, 2)


def test_the_same_rows_in_two_parts_are_one(folder):
    [path] = kept(folder).files
    shutil.copy(path, path.with_name("archive-copy.parquet"))
    (folder / "one.rdb").unlink()
    case = analysis.open_case(folder)
    assert (len(case.archives), len(case.tasks), len(case.jobs)) == (2, 1, 1)


def test_a_part_that_is_cut_damaged_or_foreign_is_left_out_and_the_rest_is_read(folder):
    [path] = kept(folder).files
    whole = path.read_bytes()
    (folder / "one.rdb").unlink()
    place = folder / "archive"
    (place / "archive-cut.parquet").write_bytes(whole[: len(whole) // 2])
    (place / "archive-flipped.parquet").write_bytes(whole[:90] + bytes([whole[90] ^ 255]) + whole[91:])
    (place / "archive-empty.parquet").write_bytes(b"")
    (place / "notes.parquet").write_bytes(b"not at all")
    pq.write_table(pa.table({"a": [1]}), place / "foreign.parquet")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["digest"]), place / "columns.parquet")
    other = table.set_column(1, "server", pa.array(["a", "b"], pa.string()).dictionary_encode())
    pq.write_table(other.cast(SCHEMA), place / "mixed.parquet")
    case = analysis.open_case(folder)
    said = {item.path.removeprefix("archive/"): item.reason for item in case.ignored if item.left_out}
    assert set(said) == {
        "archive-cut.parquet", "archive-flipped.parquet", "archive-empty.parquet", "notes.parquet", "foreign.parquet",
        "columns.parquet", "mixed.parquet",
    }  # fmt: skip
    assert "no file of this kit's archive" in said["foreign.parquet"] and "other columns" in said["columns.parquet"]
    assert "several snapshots" in said["mixed.parquet"] and all("\n" not in reason for reason in said.values())
    assert len(case.tasks) == 1 and len(case.shortcomings) == 7


def test_a_server_that_no_folder_can_be_named_like_is_refused(folder):
    [path] = kept(folder).files
    table = pq.read_table(path)
    names = pa.array(["a" * 256] * len(table), pa.string()).dictionary_encode()
    pq.write_table(table.set_column(1, SCHEMA.field("server"), names), path)
    (folder / "one.rdb").unlink()
    assert "no folder can be named" in str(analysis.open_case(folder).ignored[0])


def test_a_file_does_not_get_memory_on_its_word(folder, monkeypatch):
    [path] = kept(folder).files
    monkeypatch.setattr("analysis.celery.archive.LARGEST_GROUP", 1000)
    (folder / "one.rdb").unlink()
    assert "larger than this kit writes" in str(analysis.open_case(folder).ignored[0])
    monkeypatch.undo()
    schema = pq.read_schema(path)
    rows = pa.Table.from_arrays([pa.nulls(200_000, field.type) for field in schema], schema=schema)
    pq.write_table(rows, path, compression="zstd")
    assert path.stat().st_size < 200_000
    assert "more than a file of its size can hold" in str(analysis.open_case(folder).ignored[0])


def test_damage_in_a_body_costs_that_block_alone(folder):
    [path] = kept(folder).files
    told = pq.read_metadata(path).row_group(0).column(SCHEMA.names.index("body"))
    begin = told.data_page_offset + told.total_compressed_size - 20
    data = bytearray(path.read_bytes())
    data[begin] ^= 255
    path.write_bytes(bytes(data))
    (folder / "one.rdb").unlink()
    case = analysis.open_case(folder)
    assert case.tasks["task_id"].tolist() == [TASK]
    with pytest.raises(ValueUnreadable, match="damaged"):
        case.value(case.tasks["snapshot"].iloc[0], 0)
    assert analysis.look_into(case, TASK).recovered == {}


def test_what_was_damaged_is_kept_anew_under_another_name(folder):
    [path] = kept(folder).files
    path.write_bytes(path.read_bytes()[:100])
    found = kept(folder)
    assert (found.results, len(found.left_out)) == (1, 1) and found.files[0] != path
    assert len(path.read_bytes()) == 100
    assert kept(folder).results == 0


# As a source


def test_an_archive_gives_the_rows_that_its_snapshot_gave(folder):
    before = analysis.open_case(folder)
    kept(folder)
    (folder / "one.rdb").unlink()
    after = analysis.open_case(folder)
    for name in ("tasks", "jobs"):
        one, two = (getattr(case, name).drop(columns=["snapshot", "offset"]) for case in (before, after))
        words = {column: "str" for column in one if one[column].dtype == "category"}
        pd.testing.assert_frame_equal(one.astype(words), two.astype(words))
    row, taken = after.evidence.iloc[0], before.evidence.iloc[0]["to"]
    assert (row["kind"], row["complete"], row["from"], row["to"]) == ("archive", True, taken, taken)


def test_an_archive_is_no_look(folder):
    kept(folder)
    (folder / "one.rdb").unlink()
    case = analysis.open_case(folder)
    assert len(looks(case.evidence)) == 0 and len(case.keys) == 0 and len(case.changes) == 0
    assert analysis.find_bulk(case).pairs == 0
    assert analysis.find_ttl(case).bins.empty


def test_beside_its_own_snapshot_an_archive_adds_nothing(folder):
    alone = verdict(folder).to_dict()
    kept(folder)
    case = analysis.open_case(folder)
    assert len(case.tasks) == 1 and case.archives == ()
    assert verdict(folder).to_dict() == alone


def _gone(folder: Path, taken: int) -> None:
    """The snapshot in which it was is gone, and one of later is there without it."""
    (folder / "one.rdb").unlink()
    (folder / "last.rdb").write_bytes(snapshot(taken, {OTHER: (done(OTHER, at=taken - 10), taken + 600)}))


def test_what_was_kept_and_has_expired_since_is_a_natural_expiry(folder):
    kept(folder)
    shutil.copy(folder / "one.rdb", folder / "earlier.rdb.kept")
    _gone(folder, START + 1000)
    look = analysis.look_into(analysis.open_case(folder), TASK)
    result = look.verdict.records["result"]
    assert (result.status, result.cause, result.where) == ("absent", "natural_expiry", ())
    [cited] = {e.source for h in look.verdict.hypotheses for e in h.evidence if e.id == "expired-in-file"}
    assert cited.startswith("archive/archive-") and cited.endswith(", row 0")
    archived = weights(look.verdict)
    (folder / "earlier.rdb.kept").rename(folder / "earlier.rdb")
    shutil.rmtree(folder / "archive")
    assert weights(verdict(folder)) == archived
    [copy] = look.recovered["result"]
    assert copy.content["result"] == {"rows": 3} and copy.source["seen_in"] == "one.rdb"
    stored = look.view.results["stored_at"].iloc[-1]
    assert look.view.name == "shop.add" and stored == pd.Timestamp(START, unit="s", tz="UTC")


def test_what_was_kept_and_went_before_its_expiry_weighs_as_an_earlier_snapshot_does(folder):
    kept(folder)
    shutil.copy(folder / "one.rdb", folder / "earlier.rdb.kept")
    _gone(folder, START + 300)
    found = verdict(folder)
    assert found.records["result"].status == "absent" and found.records["result"].cause != "natural_expiry"
    archived = weights(found)
    assert archived["gone-early", "natural_expiry"] < -13
    assert archived["not-in-snapshot", "present"] < -13
    (folder / "earlier.rdb.kept").rename(folder / "earlier.rdb")
    shutil.rmtree(folder / "archive")
    # Two snapshots say more: what else went between them.
    scope = ("gone-", "not-", "own-", "result-", "expir", "kept-")
    earlier = {pair: weight for pair, weight in weights(verdict(folder)).items() if pair[0].startswith(scope)}
    assert earlier == {pair: weight for pair, weight in archived.items() if pair[0].startswith(scope)}


def test_sightings_stand_in_their_order_whatever_they_are_from(folder):
    def expires_last() -> tuple[str, int]:
        row = analysis.look_into(analysis.open_case(folder), TASK).view.results.iloc[-1]
        return str(row["snapshot"]), int(row["expires_at"].timestamp())

    kept(folder)
    (folder / "one.rdb").unlink()
    (folder / "later.rdb").write_bytes(snapshot(START + 200, {TASK: (done(), START + 900)}))
    (folder / "last.rdb").write_bytes(snapshot(START + 2000))
    assert expires_last() == ("later.rdb", START + 900)
    kept(folder)
    (folder / "later.rdb").unlink()
    (folder / "between.rdb").write_bytes(snapshot(START + 150, {TASK: (done(), START + 700)}))
    assert expires_last()[1] == START + 900


def test_a_sighting_after_the_last_snapshot_is_not_called_gone_by_that(folder):
    writer = json.dumps({"status": "SUCCESS", "result": 1, "task_id": TASK})
    (folder / "one.rdb").write_bytes(snapshot(START + 100, {TASK: (writer, START + 600)}))
    kept(folder)
    (folder / "one.rdb").unlink()
    (folder / "before.rdb").write_bytes(snapshot(START + 50))
    found = verdict(folder)
    assert found.records["result"].status == "unknown"
    assert not {evidence for evidence, _ in weights(found) if evidence == "not-in-snapshot"}


def test_an_earlier_sighting_in_the_same_place_shows_that_it_was_not_moved_there(folder):
    kept(folder)
    (folder / "one.rdb").unlink()
    (folder / "two.rdb").write_bytes(snapshot(START + 200, {TASK: (done(), START + 600)}))
    (folder / "case.toml").write_text("[databases]\nresults = 5\n")
    found = verdict(folder)
    assert found.records["result"].cause == "wrong_database"
    assert not {evidence for evidence, _ in weights(found) if evidence == "moved-there"}
    shutil.rmtree(folder / "archive")
    assert {evidence for evidence, _ in weights(verdict(folder)) if evidence == "moved-there"}


def test_an_archive_alone_says_that_it_was_there_not_that_it_is(folder):
    kept(folder)
    (folder / "one.rdb").unlink()
    result = verdict(folder).records["result"]
    assert (result.status, result.cause, result.where) == ("unknown", "unknown", ())
    later = pd.Timestamp(START + 1000, unit="s", tz="UTC")
    (folder / "case.toml").write_text(f"noticed_at = {later.isoformat()}\n")
    assert verdict(folder).records["result"].cause == "natural_expiry"


def test_an_archive_of_one_server_says_nothing_of_another(folder):
    kept(folder)
    for name in ("a", "b"):
        (folder / "servers" / name).mkdir(parents=True)
    (folder / "archive").rename(folder / "servers" / "a" / "archive")
    (folder / "one.rdb").unlink()
    (folder / "servers" / "b" / "dump.rdb").write_bytes(snapshot(START + 300, {OTHER: (done(OTHER), START + 900)}))
    case = analysis.open_case(folder)
    look = analysis.look_into(case, TASK)
    assert set(look.view.results["server"]) == {"a"}
    assert not {key for key, _ in weights(look.verdict) if key in ("not-in-snapshot", "gone-early")}
    assert look.verdict.records["result"].cause == "unknown"


def test_an_archive_in_the_folder_of_another_server_is_left_out(tmp_path):
    (tmp_path / "servers" / "a").mkdir(parents=True)
    (tmp_path / "servers" / "a" / "dump.rdb").write_bytes(snapshot(START + 100, {TASK: (done(), START + 600)}))
    kept(tmp_path)
    (tmp_path / "servers" / "b").mkdir()
    (tmp_path / "archive").rename(tmp_path / "servers" / "b" / "archive")
    assert "is of the server 'a'" in str(analysis.open_case(tmp_path).ignored[0])


def test_a_job_record_that_was_kept_is_found_again_without_its_secrets(folder):
    kept(folder)
    (folder / "case.toml").write_text('[jobs]\nkey = "job:{id}"\nexpires = 0\n')
    _gone(folder, START + 300)
    look = analysis.look_into(analysis.open_case(folder), TASK)
    assert look.verdict.records["job"].status == "absent"
    [copy] = look.recovered["job"]
    assert copy.content["status"] == "done" and copy.content["api_key"] == "[redacted]"
    assert copy.what == "kept in an archive, without its secrets"
    assert any("an archive" in action for action in look.verdict.actions)


def test_the_retention_comes_from_an_archive_where_no_snapshot_shows_it(folder):
    (folder / "one.rdb").write_bytes(
        snapshot(START + 100, {TASK: (done(), START + 600), OTHER: (done(OTHER), START + 600)})
    )
    kept(folder)
    _gone(folder, START + 1000)
    (folder / "last.rdb").write_bytes(snapshot(START + 1000))
    look = analysis.look_into(analysis.open_case(folder), TASK)
    assert (look.view.retention.seconds, look.view.retention.source) == (600, "2 results in archives")


def _many(lives: int, since: int, taken: int) -> bytes:
    """A snapshot of six results, a second apart from ``since`` on, each with so many seconds to live."""
    ids = [f"{since + number:x}-9d4b-4c55-8a66-0b1c2d3e4f50" for number in range(6)]
    times = zip(ids, range(since, since + 6), strict=True)
    return snapshot(taken, {one: (done(one, at=at), at + lives) for one, at in times})


def test_retention_is_measured_over_what_was_kept(folder):
    (folder / "one.rdb").write_bytes(_many(600, START, START + 100))
    kept(folder)
    alone = analysis.find_ttl(analysis.open_case(folder))
    assert alone.kept.empty
    (folder / "one.rdb").unlink()
    found = analysis.find_ttl(analysis.open_case(folder))
    assert found.headline.startswith("No snapshot of this case holds a key; archives kept 6 records")
    assert (found.kept["keys"].tolist(), found.kept["observed"].tolist()) == ([6], [600.0])
    assert len(found.stored) == 6 and found.force.empty and found.bins.empty
    (folder / "last.rdb").write_bytes(_many(300, START + 1000, START + 1100))
    both = analysis.find_ttl(analysis.open_case(folder))
    # What is in force is what the last snapshot has; that it was another is told from the archive.
    assert (both.force["keys"].tolist(), both.force["observed"].tolist()) == ([6], [300.0])
    assert both.kept.equals(found.kept) and len(both.stored) == 6
    [change] = both.changes.itertuples()
    assert (change.from_seconds, change.to_seconds) == (600.0, 300.0)
    assert both.changes["last_before"].iloc[0] == pd.Timestamp(START + 5, unit="s", tz="UTC")


def test_what_a_snapshot_holds_still_is_not_counted_as_kept_again(folder):
    (folder / "one.rdb").write_bytes(_many(600, START, START + 100))
    kept(folder)
    (folder / "one.rdb").write_bytes(_many(600, START, START + 110))
    found = analysis.find_ttl(analysis.open_case(folder))
    assert found.kept.empty and found.force["keys"].tolist() == [6] and found.changes.empty


@pytest.mark.parametrize("find", [analysis.find_overview, analysis.find_bulk], ids=["overview", "bulk"])
def test_no_kept_record_is_counted_as_held(folder, find):
    kept(folder)
    _gone(folder, START + 300)
    with_archive = find(analysis.open_case(folder)).numbers
    shutil.rmtree(folder / "archive")
    alone = find(analysis.open_case(folder)).numbers
    assert set(with_archive) == set(alone) and len(alone) > 3
    for name, frame in alone.items():
        told = with_archive[name]
        if "what" in told:
            # The overview counts them in a row of their own.
            told = told.loc[told["what"].ne(KEPT)].reset_index(drop=True)
        pd.testing.assert_frame_equal(told, frame, obj=name)


# The command


def test_the_verb_keeps_in_the_case_which_reads_it_then(folder, tmp_path):
    done_first = run("archive", folder, cwd=tmp_path)
    assert done_first.returncode == 0, done_first.stderr
    assert done_first.stdout.startswith("Kept 1 result and 1 job record.\nSecrets were left out of 1 of them")
    assert run("archive", folder, cwd=tmp_path).stdout == "Nothing is new: the archive has all 2 already.\n"
    (folder / "one.rdb").unlink()
    inspected = run("inspect", folder, "--json", cwd=tmp_path)
    assert inspected.returncode == 0
    [row] = json.loads(inspected.stdout)["evidence"]
    assert row["kind"] == "archive" and row["from"] == row["to"] == "2026-09-21T14:15:00Z"
    listed = run("tasks", folder, "--quiet", cwd=tmp_path).stdout
    assert listed.startswith(f"{TASK}  shop.add  SUCCESS")
    # An archive is a source, and is itself not archived again.
    nothing = run("archive", folder, "--json", cwd=tmp_path)
    assert nothing.returncode == 0 and json.loads(nothing.stdout)["results"] == 0


def test_the_verb_keeps_elsewhere_and_never_writes_into_the_evidence_then(folder, tmp_path):
    before = sorted(folder.rglob("*"))
    told = run("archive", folder, "--out", "kept", "--json", "--show-values", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout)
    assert (said["archive"], said["results"], said["jobs"], said["redacted"]) == ("kept", 1, 1, 0)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == said["files"]
    assert sorted(folder.rglob("*")) == before
    # The folder of an archive, and one part of it, is a case as well.
    assert run("tasks", tmp_path / "kept", "--quiet").stdout.startswith(TASK)
    assert run("tasks", tmp_path / "kept" / said["files"][0], "--quiet").stdout.startswith(TASK)
    alone = run("archive", folder / "one.rdb", cwd=tmp_path / "kept")
    assert alone.returncode == 0 and (tmp_path / "kept" / "archive").is_dir()


def test_a_part_that_cannot_be_read_is_told_once_and_the_exit_status_is_1(folder, tmp_path):
    (folder / "archive").mkdir()
    (folder / "archive" / "archive-x.parquet").write_bytes(b"PAR1")
    told = run("archive", folder, "--quiet", cwd=tmp_path)
    assert told.returncode == 1 and told.stdout.startswith("Kept 1 result")
    assert told.stderr.count("archive-x.parquet") == 1 and "Traceback" not in told.stderr
    refused = run("archive", folder, "--out", folder / "one.rdb", cwd=tmp_path)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1


def test_show_values_is_what_the_verb_means_by_whole(folder, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    assert run("archive", folder).stdout.count("Secrets") == 1
    assert run("archive", folder, "--show-values").stdout.startswith("Kept 1 job record")


# On a real server

APP = """
from celery import Celery
app = Celery("app", broker="{broker}", backend="{backend}")
app.conf.update(result_expires=3, result_extended=True, timezone="UTC", enable_utc=True)

@app.task(name="shop.total")
def total(numbers, token=None):
    return {{"total": sum(numbers), "token": token}}
"""


def test_a_real_result_outlasts_its_ttl(start_redis: StartRedis, start_worker: StartWorker, tmp_path: Path) -> None:
    server = start_redis()
    worker = start_worker(APP.format(broker=server.url(1), backend=server.url(2)), env={"TZ": "UTC"})
    app = celery.Celery("client", broker=server.url(1), set_as_current=False)
    sent = app.send_task("shop.total", [[1, 2, 39]], {"token": SECRET})
    app.close()
    assert worker.wait_for(f"[{sent.id}] succeeded")
    (tmp_path / "dump.rdb").write_bytes(server.save().read_bytes())
    assert kept(tmp_path).results == 1
    deadline = time.monotonic() + 20
    while server.client(2).dbsize() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1.1)  # a snapshot's time is a whole second: that of the expiry must be over
    (tmp_path / "dump.rdb").write_bytes(server.save().read_bytes())
    assert kept(tmp_path).results == 0
    look = analysis.look_into(analysis.open_case(tmp_path), sent.id)
    result = look.verdict.records["result"]
    assert (result.status, result.cause) == ("absent", "natural_expiry") and result.confidence > 0.9
    assert look.verdict.unexpected_loss is False
    [copy] = look.recovered["result"]
    assert copy.content["result"] == {"total": 42, "token": "[redacted]"}
    assert copy.content["kwargs"] == {"token": "[redacted]"} and copy.source["seen_in"] == "dump.rdb"
    written = b"".join(path.read_bytes() for path in (tmp_path / "archive").iterdir())
    assert SECRET.encode() not in written
