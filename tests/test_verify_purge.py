"""``analysis verify-purge`` on snapshots of a real server: what it prints, and the exit status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from analysis.cli import cli
from analysis.errors import Unusable
from analysis.report.show import SWITCH
from tests.conftest import StartRedis

ROOT = Path(__file__).resolve().parents[1]
TASKS = [str(uuid.UUID(int=0x4000_8000 + number, version=4)) for number in range(6)]
STATED = '[jobs]\nkey = "order:{id}"\ntask_field = "celery_id"\n'


@pytest.fixture(scope="module")
def saved(start_redis_for_module: StartRedis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Snapshots before a purge, after it, and after FLUSHALL, and the append-only file after the purge.

    Tasks 0 to 3 are purged, and the result of 0 with them; 4 by mistake; 5 stays.
    """
    server, folder = start_redis_for_module(appendonly="yes"), tmp_path_factory.mktemp("saved")
    main, results = server.client(0), server.client(2)

    def save(name: str) -> Path:
        # A snapshot's time is in whole seconds: each in one of its own.
        time.sleep(1.1)
        return Path(shutil.copy(server.save(), folder / name))

    for number, task in enumerate(TASKS):
        main.hset(f"job:{task}", mapping={"status": "completed", "token": "api_key=hunter2hunter2"})
        main.hset(f"order:{number}", mapping={"state": "api_key=hunter2hunter2", "celery_id": task})
        meta = {"status": "SUCCESS", "result": None, "task_id": task, "date_done": "2026-01-01T00:00:00+00:00"}
        results.set(f"celery-task-meta-{task}", json.dumps(meta), ex=86_400)
    main.hset(b"job:\xff\n", mapping={"status": "completed"})
    main.set("stays", 1)
    main.set("brief", 1, px=2_000)
    paths = {"before": save("x.rdb")}
    main.delete(*(f"job:{task}" for task in TASKS[:5]), *(f"order:{number}" for number in range(5)), b"job:\xff\n")
    results.delete(f"celery-task-meta-{TASKS[0]}")
    time.sleep(1)
    assert main.get("brief") is None
    paths["after"] = save("a.rdb")
    # Of several parts since Redis 7.
    written = next(path for name in ("appendonlydir", "appendonly.aof") if (path := server.dir / name).exists())
    paths["append-only"] = folder / written.name
    (shutil.copytree if written.is_dir() else shutil.copy)(written, paths["append-only"])
    main.flushall()
    return {**paths, "flushed": save("f.rdb")}


@pytest.fixture
def case(tmp_path: Path, saved: dict[str, Path]) -> Any:
    """``case("before", "after", toml=…)``: a folder with these snapshots."""

    def made(*names: str, toml: str = "") -> Path:
        folder = tmp_path / "case"
        folder.mkdir()
        for name in names:
            copy = shutil.copytree if saved[name].is_dir() else shutil.copy
            copy(saved[name], folder / saved[name].name)
        if toml:
            (folder / "case.toml").write_text(toml)
        return folder

    return made


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``verify(case, ids, *options)`` runs the verb with the IDs in a file."""
    monkeypatch.setenv(SWITCH, "0")

    def run(folder: Path, ids: list[str], *options: str) -> Result:
        (tmp_path / "ids.txt").write_bytes("\r\n".join(["# purged", *ids, ""]).encode("utf-8-sig"))
        arguments = ["verify-purge", str(folder), "--ids", str(tmp_path / "ids.txt"), *options]
        return CliRunner().invoke(cli, arguments, standalone_mode=False)

    return run


def read(done: Result) -> dict[str, Any]:
    assert done.exception is None, done.exception
    [line] = done.stdout.splitlines()
    return dict(json.loads(line))


def test_before_and_after_tell_what_went_what_stayed_and_what_else_went(case, verify):
    done = verify(case("before", "after"), [*TASKS[:4], TASKS[5], "never", TASKS[5][:8]], "--json")
    said = read(done)
    assert done.return_value == 1
    assert said["gone"] == [one["id"] for one in said["details"]["gone"]] and said["remaining"] == [TASKS[5]]
    assert f"db2:celery-task-meta-{TASKS[0]}" in said["also_gone"]
    gone = {one["id"]: one["seen_before"] for one in said["details"]["gone"]}
    assert gone == {**dict.fromkeys(TASKS[:4], True), "never": False, TASKS[5][:8]: False}
    [left] = said["details"]["remaining"]
    assert (left["id"], left["where"], left["status"]) == (TASKS[5], [f"db0:job:{TASKS[5]}"], "completed")
    also = {one["key"]: (one["db"], one["family"], one["relation"]) for one in said["details"]["also_gone"]}
    assert also == {
        f"job:{TASKS[4]}": (0, "job", "other_job"),
        "job:\\xff\n": (0, "job", "other_job"),
        f"celery-task-meta-{TASKS[0]}": (2, "result", "of_given"),
        **{f"order:{number}": (0, "other", "other") for number in range(5)},
    }
    assert said["details"]["expired_meanwhile"] == [{"server": "", "db": 0, "family": "other", "keys": 1}]
    assert said["details"]["undecided"] == said["details"]["emptied"] == []


def test_people_read_a_headline_and_lists_in_which_nothing_hides(case, verify):
    done = verify(case("before", "after"), [*TASKS[:4], TASKS[5]])
    headline, compared, *lines = done.stdout.splitlines()
    assert headline.startswith("4 of 5 given job records are gone, 1 remains; 1 result of theirs, ")
    assert "x.rdb (20" in compared and compared.endswith(" UTC)")
    assert f"  {TASKS[5]}  db0:job:{TASKS[5]}  status completed  no expiry  at 20" in "\n".join(lines)
    assert "db0:job:\\xff\\n" in done.stdout
    assert done.return_value == 1


def test_a_purge_that_took_all_it_should_is_0_and_a_snapshot_in_part_is_1(case, verify):
    folder = case("before", "after")
    assert verify(folder, TASKS[:4], "--json").return_value == 0
    whole = (folder / "a.rdb").read_bytes()
    (folder / "a.rdb").write_bytes(whole[: len(whole) // 2])
    done = verify(folder, TASKS[:4], "--json")
    said = read(done)
    assert done.return_value == 1 and "a.rdb: read in part" in done.stderr
    assert {one["id"] for one in said["details"]["undecided"]} == set(TASKS[:4])
    assert said["details"]["gone"] == said["details"]["remaining"] == said["details"]["also_gone"] == []


def test_one_snapshot_alone_tells_what_remains(case, verify):
    folder = case("after")
    done = verify(folder, [TASKS[0], TASKS[5]], "--json")
    said = read(done)
    assert [(one["id"], one["seen_before"]) for one in said["details"]["gone"]] == [(TASKS[0], False)]
    assert [one["id"] for one in said["details"]["remaining"]] == [TASKS[5]]
    assert said["details"]["also_gone"] == [] and done.return_value == 1
    assert verify(folder, [TASKS[0]]).return_value == 0


def test_an_append_only_file_that_tells_no_times_may_be_later_than_a_snapshot(case, verify, saved):
    folder = case("before", "append-only")
    said = read(verify(folder, [TASKS[0], TASKS[5]], "--json"))
    assert [one["id"] for one in said["details"]["undecided"]] == [TASKS[0]]
    assert [one["id"] for one in said["details"]["remaining"]] == [TASKS[5]]
    alone = read(verify(folder / saved["append-only"].name, [TASKS[0], TASKS[5]], "--json"))
    assert [one["id"] for one in alone["details"]["gone"]] == [TASKS[0]]


def test_a_flush_is_not_called_a_purge(case, verify):
    done = verify(case("after", "flushed"), [TASKS[5]])
    assert done.stdout.startswith("The given job record is gone; but nothing is left of what db0 and db2 held, ")
    assert "as after FLUSHDB" in done.stdout and done.return_value == 0


def test_records_are_those_of_case_toml_by_their_own_id_or_their_tasks(case, verify):
    folder = case("before", "after", toml=STATED)
    said = read(verify(folder, ["0", TASKS[1], "order:5"], "--json"))
    where = {one["id"]: one["where"] for one in said["details"]["gone"] + said["details"]["remaining"]}
    assert where == {"0": ["db0:order:0"], TASKS[1]: ["db0:order:1"], "order:5": ["db0:order:5"]}
    relations = {one["key"]: one["relation"] for one in said["details"]["also_gone"]}
    assert relations[f"celery-task-meta-{TASKS[0]}"] == "of_given"
    assert relations["order:2"] == "other_job" and relations[f"job:{TASKS[2]}"] == "other"


def test_values_are_redacted_unless_they_are_asked_for(case, verify):
    folder = case("after", toml=STATED)
    for options in ([], ["--json"]):
        assert "hunter2" not in verify(folder, ["5"], *options).output
        assert "hunter2" in verify(folder, ["5"], *options, "--show-values").output


def test_what_cannot_be_read_is_refused(case, verify, tmp_path, saved):
    folder = case("after")
    for given, said in (
        (saved["after"], "a.rdb, line "),
        (tmp_path, "Is a directory"),
        (tmp_path / "no", "No such file"),
    ):
        done = CliRunner().invoke(cli, ["verify-purge", str(folder), "--ids", str(given)], standalone_mode=False)
        assert isinstance(done.exception, Unusable) and said in str(done.exception) and not done.stdout
    (folder / "a.rdb").unlink()
    (folder / "app.log").write_text("2026-01-01 00:00:00 INFO nothing\n")
    done = verify(folder, TASKS)
    assert isinstance(done.exception, Unusable) and "no snapshot to look in" in str(done.exception)


def test_the_list_may_come_from_standard_input(case):
    command = [sys.executable, "-m", "analysis", "verify-purge", str(case("after")), "--ids", "-"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=f"{TASKS[5]}\n".encode(), capture_output=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.startswith(b"The given job record remains.\n")
