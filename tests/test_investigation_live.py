"""The main job on a real Redis with real Celery workers: each task's fate is told from a snapshot, INFO and the
workers' logs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import analysis
from tests.conftest import StartRedis, StartWorker

KEEP = 6  # seconds for which results are kept

APP = """
from celery import Celery
app = Celery("app", broker="{broker}", backend="{backend}")
app.conf.update(result_expires={keep}, timezone="UTC", enable_utc=True)

@app.task(name="shop.add")
def add(x, y):
    return x + y

@app.task(name="shop.sleep")
def sleep(seconds):
    import time
    time.sleep(seconds)
"""


def send(app: Path, name: str, args: list[Any], queue: str) -> str:
    """Publish a task from a process of its own, as an application would; its ID."""
    code = f"from {app.stem} import app; print(app.send_task({name!r}, {args!r}, queue={queue!r}).id)"
    environment = {**os.environ, "PYTHONPATH": str(app.parent)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


@pytest.fixture(scope="module")
def incident(
    start_redis_for_module: StartRedis, start_worker_for_module: StartWorker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, str]]]:
    """A case folder made from running servers, and the IDs of its tasks by what became of them."""
    server = start_redis_for_module()
    utc = {"TZ": "UTC"}
    worker = start_worker_for_module(
        APP.format(broker=server.url(1), backend=server.url(2), keep=KEEP), env=utc, args=["--prefetch-multiplier=4"]
    )
    stray = start_worker_for_module(
        APP.format(broker=server.url(1), backend=server.url(5), keep=3600), env=utc, queues=["stray"]
    )
    ids = {"expired": send(worker.app, "shop.add", [1, 2], "celery")}
    assert worker.wait_for(f"[{ids['expired']}] succeeded")
    ids["elsewhere"] = send(worker.app, "shop.add", [3, 4], "stray")
    assert stray.wait_for(f"[{ids['elsewhere']}] succeeded")
    ids["queued"] = send(worker.app, "shop.add", [5, 6], "nobody")
    time.sleep(KEEP)
    ids["present"] = send(worker.app, "shop.add", [7, 8], "celery")
    assert worker.wait_for(f"[{ids['present']}] succeeded")
    send(worker.app, "shop.sleep", [120], "celery")
    ids["reserved"] = send(worker.app, "shop.add", [9, 10], "celery")
    assert worker.wait_for(f"[{ids['reserved']}] received")

    folder = tmp_path_factory.mktemp("case")
    # Long enough after the first result for its TTL to have passed, soon enough after the last for it to be held.
    (folder / "dump.rdb").write_bytes(server.save().read_bytes())
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    (folder / f"info-{stamp}.txt").write_bytes(server.info_text())
    (folder / "logs").mkdir()
    for number, log in enumerate((worker.log, stray.log)):
        (folder / "logs" / f"worker-{number}.log").write_bytes(log.read_bytes())
    (folder / "case.toml").write_text(f"[databases]\nbroker = 1\nresults = 2\n[celery]\nresult_expires = {KEEP}\n")
    yield folder, ids


@pytest.mark.parametrize(
    ("fate", "cause", "status", "where"),
    [
        ("present", "present", "present", "db2:celery-task-meta-{id}"),
        ("expired", "natural_expiry", "absent", None),
        ("elsewhere", "wrong_database", "present", "db5:celery-task-meta-{id}"),
        ("queued", "queued", "in_flight", "db1:nobody"),
        ("reserved", "reserved", "in_flight", "db1:unacked"),
    ],
)
def test_each_fate_is_told(incident, fate, cause, status, where):
    folder, ids = incident
    verdict = analysis.investigate(analysis.open_case(folder), ids[fate])
    record = verdict.records["result"]
    assert (record.cause, record.status) == (cause, status)
    assert record.confidence > 0.9
    assert record.where == ((where.format(id=ids[fate]),) if where else ())
    assert verdict.unexpected_loss is False
    message = verdict.records["message"]
    assert message.cause == (cause if status == "in_flight" else "consumed")
    assert message.confidence > 0.9


def test_an_id_that_was_never_used_is_not_decided(incident):
    folder, _ = incident
    verdict = analysis.investigate(analysis.open_case(folder), "00000000-0000-4000-8000-000000000000")
    assert verdict.records["result"].cause in ("unknown", "never_published")
    assert verdict.records["result"].confidence < 0.95


def test_without_the_snapshot_nothing_is_called_present(incident, tmp_path):
    folder, ids = incident
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "dump.rdb":
            target = tmp_path / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    case = analysis.open_case(tmp_path)
    for task_id in ids.values():
        verdict = analysis.investigate(case, task_id)
        assert verdict.records["result"].cause not in ("present", "wrong_database", "queued", "reserved")
