"""What witnesses of commands tell of real tasks: an append-only file, a backlog and notifications of one real server,
with a real worker. Each result meets its own end.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis.investigation import look_into
from tests.conftest import StartRedis, StartWorker
from tests.servers import RedisServer
from tests.test_investigation_live import send

pytestmark = pytest.mark.redis7

KEEP = 3_600
APP = """
from celery import Celery
app = Celery("app", broker="{broker}", backend="{backend}")
app.conf.update(result_expires={keep}, timezone="UTC", enable_utc=True)

@app.task(name="shop.add")
def add(x, y):
    return {{"sum": x + y}}
"""
ENDS = ("kept", "deleted", "forgotten", "shortened", "renamed", "expired")


def backlog(server: RedisServer) -> tuple[int, bytes]:
    """The replication backlog as ``facts/signals.md`` 2.1 reads it: its first offset, and its bytes."""
    info = server.info("replication")
    first, last = info["repl_backlog_first_byte_offset"], info["master_repl_offset"]
    with socket.create_connection(("127.0.0.1", server.port), 10) as link:
        lines = link.makefile("rb")
        for words in ("capa eof", "capa psync2", "rdb-only 1", "listening-port 99999"):
            link.sendall(f"REPLCONF {words}\r\n".encode())
            assert lines.readline() == b"+OK\r\n"
        link.sendall(f"PSYNC {info['master_replid']} {first}\r\n".encode())
        assert lines.readline().startswith(b"+CONTINUE")
        return first, lines.read(last - first + 1)


@pytest.fixture(scope="module")
def incident(
    start_redis_for_module: StartRedis, start_worker_for_module: StartWorker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, str]]]:
    server = start_redis_for_module(appendonly="yes", appendfsync="always", notify_keyspace_events="Egxe")
    # A replica, so that there is a backlog.
    replica = start_redis_for_module(replicaof=f"127.0.0.1 {server.port}")
    worker = start_worker_for_module(
        APP.format(broker=server.url(1), backend=server.url(2), keep=KEEP), env={"TZ": "UTC"}
    )
    events = server.client().pubsub()
    events.psubscribe("__keyevent@*__:*")
    ids = {}
    for end in ENDS:
        ids[end] = send(worker.app, "shop.add", [1, 2], "celery")
        assert worker.wait_for(f"[{ids[end]}] succeeded")
    client = server.client(2)
    key = "celery-task-meta-{}".format
    client.delete(key(ids["deleted"]), key("other"))
    code = f"from {worker.app.stem} import app; app.AsyncResult({ids['forgotten']!r}).forget()"
    environment = {**os.environ, "PYTHONPATH": str(worker.app.parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    client.expire(key(ids["shortened"]), 1)
    client.rename(key(ids["renamed"]), "elsewhere")
    client.pexpire(key(ids["expired"]), 500)
    time.sleep(1.5)
    last = send(worker.app, "shop.add", [5, 5], "celery")
    assert worker.wait_for(f"[{last}] succeeded")

    folder = tmp_path_factory.mktemp("case")
    shutil.copytree(server.dir / "appendonlydir", folder / "appendonlydir")
    first, raw = backlog(server)
    (folder / f"backlog-{first}.resp").write_bytes(raw)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    (folder / f"info-{stamp}.txt").write_bytes(server.info_text("everything"))
    (folder / "worker.log").write_bytes(worker.log.read_bytes())
    (folder / "keyspace.log").write_text("".join(_recorded(events)))
    (folder / "case.toml").write_text(f"[databases]\nbroker = 1\nresults = 2\n[celery]\nresult_expires = {KEEP}\n")
    replica.kill()
    yield folder, ids


def _recorded(events: Any) -> Iterator[str]:
    """Messages as ``analysis watch`` writes them."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    while (message := events.get_message(timeout=0.2)) is not None:
        if message["type"] == "pmessage":
            parts = (message["type"].encode(), message["pattern"], message["channel"], message["data"])
            words = ",".join('"' + part.decode() + '"' for part in parts)
            yield f"{now} {words}\n"


@pytest.mark.parametrize("witnesses", ["appendonlydir", "backlog", "both"])
@pytest.mark.parametrize(
    ("end", "causes"),
    [
        ("deleted", {"deleted_by_client"}),
        ("forgotten", {"forgotten", "deleted_by_client"}),
        ("shortened", {"ttl_shortened"}),
        ("renamed", {"renamed_or_moved"}),
    ],
)
def test_each_end_is_told(incident, tmp_path, end, causes, witnesses):
    folder, ids = incident
    case = _with(folder, tmp_path, witnesses)
    record = analysis.investigate(case, ids[end]).records["result"]
    assert record.cause in causes and record.status == "absent"
    # forget() and a DEL by hand are one and the same command: neither may be called certain.
    assert record.confidence > 0.9 if end != "forgotten" else record.confidence < 0.9


def test_what_is_there_is_told_from_the_append_only_file_alone(incident, tmp_path):
    folder, ids = incident
    shutil.copytree(folder / "appendonlydir", tmp_path / "appendonlydir")
    case = analysis.open_case(tmp_path / "appendonlydir")
    assert case.shortcomings == ()
    held = set(case.tasks["task_id"])
    assert ids["kept"] in held and not held & {ids[end] for end in ENDS if end != "kept"}
    record = analysis.investigate(case, ids["kept"]).records["result"]
    assert (record.status, record.cause) == ("present", "present")
    assert record.where == (f"db2:celery-task-meta-{ids['kept']}",)


def test_a_vanished_result_is_recovered_and_its_message_too(incident):
    folder, ids = incident
    looked = look_into(analysis.open_case(folder), ids["deleted"])
    kinds = {copy.what: copy.content for copy in looked.recovered["result"]}
    assert kinds["written by a command"]["result"] == {"sum": 3}
    assert kinds["the value as the worker logged it"] == {"result_as_logged": "{'sum': 3}"}
    assert looked.recovered["message"][0].content["args"] == [1, 2]


def test_the_timeline_has_every_step_in_its_order_and_no_contradiction(incident):
    folder, ids = incident
    rows = look_into(analysis.open_case(folder), ids["deleted"]).timeline
    assert rows["contradicts"].isna().all()
    steps = ["published", "reserved", "succeeded", "deleted"]
    first = [rows.loc[rows["kind"].eq(step), "at"].min() for step in steps]
    assert first == sorted(first) and not any(pd.isna(at) for at in first)
    stored = rows.loc[rows["kind"].eq("stored") & rows["source"].str.contains("incr")].iloc[0]
    # The expiry less the retention is the server's own time, to the millisecond.
    assert stored["not_after"] - stored["at"] <= pd.Timedelta(milliseconds=1)


def _with(folder: Path, tmp_path: Path, witnesses: str) -> analysis.Case:
    left_out = {"appendonlydir": "backlog*", "backlog": "appendonlydir", "both": "nothing"}[witnesses]
    copied = shutil.copytree(folder, tmp_path / "case", ignore=shutil.ignore_patterns(left_out, "keyspace.log"))
    return analysis.open_case(copied)
