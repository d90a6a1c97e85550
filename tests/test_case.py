"""A case: which files are evidence, which are not and why, and that what is unreadable costs only itself."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.errors import Unusable
from analysis.evidence.rdb_values import ValueUnreadable
from tests.evidence.rdb_writer import Rdb

DEMO = Path(__file__).resolve().parents[1] / "data" / "demo"


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "case"))


def reasons(case: analysis.Case) -> dict[str, str]:
    return {item.path: item.reason for item in case.ignored}


def test_every_file_of_the_demo_is_read_and_hashed(demo):
    case = analysis.open_case(demo)
    assert case.shortcomings == ()
    assert set(case.evidence["path"]) == {
        "clients.txt",
        "config.json",
        "dump.rdb",
        "info-20250724T023838Z.txt",
        "logs/app.log",
        "logs/celery-worker-1.log",
        "logs/redis-server.log",
        "slowlog.json",
    }
    for row in case.evidence.itertuples():
        assert row.sha256 == hashlib.sha256((demo / row.path).read_bytes()).hexdigest()


def test_reading_a_case_changes_nothing_in_it(demo):
    def state():
        return {
            path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(demo.rglob("*")) if path.is_file()
        }

    before = state()
    analysis.look_into(analysis.open_case(demo), "c93afef4")
    assert state() == before


def test_one_snapshot_alone_is_a_case(demo):
    case = analysis.open_case(demo / "dump.rdb")
    assert list(case.evidence["path"]) == ["dump.rdb"]
    assert analysis.investigate(case, "c93afef4").records["result"].cause == "present"


def test_unreadable_foreign_and_empty_files_are_named_and_the_rest_is_used(demo):
    (demo / "broken.rdb").write_bytes(b"not a snapshot at all")
    (demo / "empty.rdb").write_bytes(b"")
    (demo / "info-20250724T030000Z.txt").write_text("hello\n")
    (demo / "config-20250724T030000Z.json").write_text("{")
    (demo / "folder.rdb").mkdir()
    (demo / "notes.txt").write_text("mine")
    case = analysis.open_case(demo)
    said = reasons(case)
    for name in ("broken.rdb", "empty.rdb", "info-20250724T030000Z.txt", "config-20250724T030000Z.json", "folder.rdb"):
        assert any(line.startswith(f"{name}: ") for line in case.shortcomings), name
    assert "notes.txt" in said
    assert not any(line.startswith("notes.txt") for line in case.shortcomings)
    assert "dump.rdb" in set(case.evidence["path"])
    assert all("\n" not in line for line in case.shortcomings)


def test_a_link_out_of_the_case_is_not_followed(demo, tmp_path):
    outside = tmp_path / "outside.rdb"
    shutil.copy(demo / "dump.rdb", outside)
    (demo / "other.rdb").symlink_to(outside)
    (demo / "elsewhere").symlink_to(tmp_path)
    (demo / "circle").symlink_to(demo)
    (demo / "inside.rdb").symlink_to(demo / "dump.rdb")
    case = analysis.open_case(demo)
    said = reasons(case)
    assert "link" in said["other.rdb"] and "link" in said["elsewhere"] and "link" in said["circle"]
    assert {path for path in case.evidence["path"] if path.endswith(".rdb")} == {"dump.rdb", "inside.rdb"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(demo):
    (demo / "dump.rdb").chmod(0)
    assert "dump.rdb" in reasons(analysis.open_case(demo))


def test_a_cut_snapshot_is_read_as_far_as_it_goes_and_said_to_be_cut(demo):
    whole = (demo / "dump.rdb").read_bytes()
    (demo / "dump.rdb").write_bytes(whole[:1100])
    case = analysis.open_case(demo)
    assert len(case.tasks) == 2
    assert any(line.startswith("dump.rdb: read in part") for line in case.shortcomings)
    row = case.evidence.loc[case.evidence["path"].eq("dump.rdb")].iloc[0]
    assert not row["complete"] and row["stopped_at"] > 0


def test_the_more_special_name_wins_in_logs_too(demo):
    (demo / "logs" / "info-20250724T020000Z.txt").write_bytes((demo / "info-20250724T023838Z.txt").read_bytes())
    (demo / "logs" / "monitor.log").write_text("x\n")
    case = analysis.open_case(demo)
    kinds = dict(zip(case.evidence["path"], case.evidence["kind"], strict=True))
    assert kinds["logs/info-20250724T020000Z.txt"] == "info"
    assert "MONITOR" in reasons(case)["logs/monitor.log"]


def test_a_compressed_log_is_a_log(demo):
    log = demo / "logs" / "celery-worker-1.log"
    (demo / "logs" / "celery-worker-1.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    case = analysis.open_case(demo)
    assert case.events["source"].eq("logs/celery-worker-1.log.1.gz").any()


def test_what_this_version_does_not_read_is_said_and_counts_as_left_out(demo):
    (demo / "scan").mkdir()
    (demo / "scan" / "keys.parquet").write_bytes(b"PAR1")
    (demo / "case.toml").write_text('source = "../nowhere"\n')
    case = analysis.open_case(demo)
    assert "scan/keys.parquet: this version of the kit does not read keys read by SCAN" in case.shortcomings
    assert "../nowhere: the source tree that case.toml names is not there" in case.shortcomings


def test_folders_under_servers_are_servers_of_their_own(demo):
    for name in ("production", "staging"):
        (demo / "servers" / name).mkdir(parents=True)
    (demo / "dump.rdb").rename(demo / "servers" / "staging" / "dump.rdb")
    case = analysis.open_case(demo)
    assert set(case.keys["server"]) == {"staging"}
    assert set(case.tasks["snapshot"]) == {"servers/staging/dump.rdb"}


def test_an_empty_folder_is_a_case_without_evidence(tmp_path):
    case = analysis.open_case(tmp_path)
    assert len(case.evidence) == 0
    verdict = analysis.investigate(case, "c93afef4")
    assert (verdict.records["result"].cause, verdict.records["result"].status) == ("unknown", "unknown")
    assert verdict.unexpected_loss is None


def test_as_of_is_the_last_moment_of_the_evidence_or_when_it_was_missed(demo):
    assert analysis.investigate(analysis.open_case(demo), "c93afef4").as_of == pd.Timestamp("2025-07-24T02:38:38Z")
    text = (demo / "case.toml").read_text().replace("2025-07-24T02:30:00Z", "2025-07-24T02:45:00.5Z")
    (demo / "case.toml").write_text(text)
    assert analysis.investigate(analysis.open_case(demo), "c93afef4").as_of == pd.Timestamp("2025-07-24T02:45:00Z")


def test_a_wrong_case_toml_is_refused_with_its_line(demo):
    (demo / "case.toml").write_text('name = "x"\nenviroment = "production"\n')
    with pytest.raises(Unusable, match=r"case\.toml, line 2: enviroment"):
        analysis.open_case(demo)


@pytest.mark.parametrize("path", ["", "no/such/place", "redis://:hunter2@localhost/0", "a\0b"])
def test_what_is_no_case_is_refused_in_one_line_without_its_password(path):
    with pytest.raises(Unusable) as caught:
        analysis.open_case(path)
    assert "\n" not in str(caught.value) and "hunter2" not in str(caught.value)


def test_the_demo_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert analysis.open_case("data/demo").path == DEMO


def test_a_case_shows_itself_as_html_and_as_text(demo):
    (demo / "<b>bold.log").write_text("2025-07-24 01:00:00 INFO purge deleted=1\n")
    case = analysis.open_case(demo)
    assert "dump.rdb" in repr(case)
    assert "<b>bold" not in case._repr_html_() and "&lt;b&gt;bold" in case._repr_html_()


def test_changes_are_told_between_the_snapshots_of_one_server(tmp_path):
    meta = '{"status": "SUCCESS", "result": 1, "date_done": "2026-11-23T14:09:12", "children": []}'

    def dump(name: str, at: int, *keys: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        writer = Rdb(11).aux("ctime", at).select(2)
        for key in keys:
            writer.text(key, meta)
        (tmp_path / name).write_bytes(writer.end())

    dump("servers/one/b.rdb", 2_000, "celery-task-meta-kept", "celery-task-meta-new")
    dump("servers/one/a.rdb", 1_000, "celery-task-meta-kept", "celery-task-meta-lost")
    dump("servers/two/c.rdb", 1_500, "celery-task-meta-elsewhere")
    changes = analysis.open_case(tmp_path).changes
    wanted = ["server", "before", "after", "db", "family", "task_id", "change"]
    assert changes[wanted].to_numpy().tolist() == [
        ["one", "servers/one/a.rdb", "servers/one/b.rdb", 2, "result", "lost", "gone"],
        ["one", "servers/one/a.rdb", "servers/one/b.rdb", 2, "result", "new", "appeared"],
    ]
    assert "1 key disappeared" in analysis.find_bulk(analysis.open_case(tmp_path)).headline
    assert len(analysis.open_case(tmp_path / "servers" / "two").changes) == 0


def test_a_source_that_is_not_there_or_a_place_without_a_value_is_one_line_by_hand(demo):
    case = analysis.open_case(demo)
    for read in (case.value, case.content):
        with pytest.raises(Unusable, match="^nowhere.rdb: the case has no such"):
            read("nowhere.rdb", 0)
    with pytest.raises(ValueUnreadable) as caught:
        case.value("dump.rdb", 1)
    assert caught.value._render_traceback_() == [f"ValueUnreadable: {caught.value}"]
