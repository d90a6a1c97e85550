"""Append-only files and backlogs in a case: which files belong together, what is said of what is missing, and how what
is known of the server tells who took a key.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.cli import main
from tests.evidence.test_aof import DAY_MS, NOW_MS, command

TASK = "0f0e0d0c-1111-4222-8333-444455556666"
KEY = f"celery-task-meta-{TASK}"
RESULT = json.dumps({"status": "SUCCESS", "result": 7, "date_done": "2026-11-23T13:20:00+00:00", "task_id": TASK})
STORED = command("SELECT", "2") + command("SET", KEY, RESULT, "PXAT", str(NOW_MS + DAY_MS))
BASE = command("SELECT", "0") + command("SET", "old", "1")


def folder_of(root: Path, manifest: str, **files: bytes) -> Path:
    folder = root / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "a.aof.manifest").write_text(manifest)
    for name, raw in files.items():
        (folder / f"a.aof.{name.replace('_', '.')}").write_bytes(raw)
    return folder


WHOLE = "file a.aof.1.base.aof seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i\n"


def test_a_folder_is_one_file_with_a_row_for_each_part(tmp_path):
    folder_of(tmp_path, WHOLE, **{"1_base.aof": BASE, "1_incr.aof": STORED})
    case = analysis.open_case(tmp_path)
    assert case.shortcomings == ()
    assert dict(zip(case.evidence["path"], case.evidence["kind"], strict=True)) == {
        "appendonlydir/a.aof.1.base.aof": "append-only part",
        "appendonlydir/a.aof.1.incr.aof": "append-only part",
        "appendonlydir/a.aof.manifest": "append-only file",
    }
    assert case.evidence["sha256"].str.len().eq(64).all()
    assert set(case.keys["key"]) == {"old", KEY}
    (result,) = case.tasks.itertuples()
    assert (result.task_id, result.status, result.snapshot) == (TASK, "SUCCESS", "appendonlydir/a.aof.manifest")
    (row,) = case.commands.loc[case.commands["task_id"].eq(TASK)].itertuples()
    assert case.content(row.source, row.payload_at) == RESULT.encode()


@pytest.mark.parametrize("place", ["", "appendonlydir", "servers/production"])
def test_it_is_found_wherever_it_may_stand(tmp_path, place):
    root = tmp_path / place if place.startswith("servers") else tmp_path
    folder_of(root, WHOLE, **{"1_base.aof": BASE, "1_incr.aof": STORED})
    case = analysis.open_case(tmp_path / place if place == "appendonlydir" else tmp_path)
    assert set(case.tasks["task_id"]) == {TASK}
    assert set(case.commands["server"]) == ({"production"} if place.startswith("servers") else {""})


def test_a_missing_increment_costs_the_state_and_not_the_commands(tmp_path):
    missing = WHOLE + "file a.aof.2.incr.aof seq 2 type i\n"
    folder_of(tmp_path, missing, **{"1_base.aof": BASE, "1_incr.aof": STORED})
    case = analysis.open_case(tmp_path)
    assert len(case.keys) == 0 and case.commands["task_id"].eq(TASK).any()
    assert len(case.shortcomings) == 1
    assert (
        "appendonlydir/a.aof.manifest: read in part, names a.aof.2.incr.aof, which is not there" in case.shortcomings[0]
    )
    assert analysis.investigate(case, TASK).records["result"].status != "present"


def test_a_manifest_that_names_foreign_files_reads_nothing_of_them(tmp_path):
    (tmp_path / "x.aof").write_bytes(command("SET", "foreign", "1"))
    case_folder = tmp_path / "case"
    folder_of(case_folder, WHOLE + "file ../../x.aof seq 3 type i\n", **{"1_base.aof": BASE, "1_incr.aof": STORED})
    case = analysis.open_case(case_folder)
    assert not any("foreign" in keys for keys in case.commands["keys"])
    assert any("outside of its folder" in line for line in case.shortcomings)


def test_parts_without_their_manifest_are_taken_by_their_names(tmp_path):
    folder = folder_of(tmp_path, WHOLE, **{"1_base.aof": BASE, "1_incr.aof": STORED})
    (folder / "a.aof.manifest").unlink()
    case = analysis.open_case(tmp_path)
    assert set(case.keys["key"]) == {"old", KEY}
    assert any("the manifest is not there" in line for line in case.shortcomings)


def test_parts_that_the_manifest_does_not_name_give_their_commands_and_no_state(tmp_path):
    """Redis would not load them: a result that they hold is not one of the state at the end."""
    now = "file a.aof.2.base.aof seq 2 type b\nfile a.aof.2.incr.aof seq 2 type i\n"
    leftovers = {"1_base.aof": command("SELECT", "0") + command("SET", "gone", "1"), "1_incr.aof": STORED}
    folder_of(tmp_path, now, **{"2_base.aof": BASE, "2_incr.aof": command("SELECT", "0")}, **leftovers)
    case = analysis.open_case(tmp_path)
    assert set(case.keys["key"]) == {"old"} and case.tasks.empty
    assert case.commands["task_id"].eq(TASK).any()
    assert [line for line in case.shortcomings if "the manifest does not name it: read for its commands alone" in line]


def test_a_torn_end_is_one_line_and_status_1(tmp_path, capsys):
    (tmp_path / "appendonly.aof").write_bytes(BASE + STORED + command("SET", "torn", "x" * 500)[:60])
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(tmp_path), "--json"])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"analysis: appendonly.aof: read in part, ends inside a command at byte {len(BASE + STORED)}"
    ]
    (row,) = json.loads(said.out)["evidence"]
    assert (row["complete"], row["stopped_at"]) == (False, len(BASE + STORED))


def test_what_is_no_append_only_file_is_one_line(tmp_path):
    (tmp_path / "a.aof").write_bytes(b"")
    (tmp_path / "b.manifest").write_bytes(b"\x00\x01")
    (tmp_path / "backlog-7.resp").write_bytes(b"nothing of the kind")
    case = analysis.open_case(tmp_path)
    assert sorted(item.path for item in case.ignored if item.left_out) == ["a.aof", "b.manifest", "backlog-7.resp"]
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "inspect", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_what_is_known_of_the_server_tells_who_took_a_key(tmp_path):
    raw = b"#TS:1795440000\r\n" + STORED + command("UNLINK", KEY) + b"#TS:1795440009\r\n" + command("SET", "x", "1")
    for name, config in (
        ("lazy", {"lazyfree-lazy-eviction": "yes", "maxmemory": "5000"}),
        ("bare", {"maxmemory": "0"}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "appendonly.aof").write_bytes(raw)
        (tmp_path / name / "config.json").write_text(json.dumps({**config, "maxmemory-policy": "allkeys-lru"}))
    hands = {}
    for name in ("lazy", "bare"):
        commands = analysis.open_case(tmp_path / name).commands
        (row,) = commands.loc[commands["removed_by"].notna()].itertuples()
        hands[name] = (row.removed_by, row.or_by if isinstance(row.or_by, str) else None)
    assert hands == {"lazy": ("client", "eviction"), "bare": ("client", None)}


def test_the_last_moment_of_a_file_is_its_time(tmp_path):
    (tmp_path / "appendonly.aof").write_bytes(
        b"#TS:1795440000\r\n" + STORED + b"#TS:1795440060\r\n" + command("SET", "x", "1")
    )
    case = analysis.open_case(tmp_path)
    (row,) = case.evidence.itertuples()
    assert row.to == pd.Timestamp(1795440060, unit="s", tz="UTC")
    verdict = analysis.investigate(case, TASK)
    assert verdict.as_of == row.to and verdict.records["result"].cause == "present"


def test_a_copy_from_before_and_one_from_after_do_not_hide_the_end(tmp_path):
    for name, raw in (("servers-a.aof", STORED), ("servers-b.aof", STORED + command("DEL", KEY, "other"))):
        (tmp_path / name).write_bytes(b"#TS:1795440000\r\n" + raw)
    record = analysis.investigate(analysis.open_case(tmp_path), TASK).records["result"]
    assert (record.cause, record.status) == ("deleted_by_client", "absent")


def test_a_result_on_another_server_than_expected_is_said(tmp_path):
    for name, raw in (("staging", STORED), ("production", BASE)):
        (tmp_path / "servers" / name).mkdir(parents=True)
        (tmp_path / "servers" / name / "appendonly.aof").write_bytes(b"#TS:1795440000\r\n" + raw)
    (tmp_path / "case.toml").write_text('environment = "production"\n')
    record = analysis.investigate(analysis.open_case(tmp_path), TASK).records["result"]
    assert record.cause == "wrong_node" and record.where == (f"staging/db2:{KEY}",)


def test_the_demo_with_source_copies_and_reads_whole(tmp_path):
    shutil.copytree(Path(analysis.__file__).parents[1] / "data" / "demo-with-source", tmp_path / "case")
    case = analysis.open_case(tmp_path / "case")
    assert case.shortcomings == ()
    assert {"deletes", "sets"} <= set(case.cleanup["does"])
