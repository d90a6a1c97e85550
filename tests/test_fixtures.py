"""The fixtures keep what they promise: real servers, a real worker, a browser that sees every request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import Chromium
from tests.conftest import StartRedis, StartWorker

APP = """
from celery import Celery
app = Celery("app", broker="{broker}", backend="{backend}")

@app.task(name="add")
def add(x, y):
    return x + y

@app.task(name="sleep")
def sleep(seconds):
    import time
    time.sleep(seconds)
"""


def test_a_server_saves_where_it_says_and_listens_on_loopback_only(start_redis: StartRedis) -> None:
    server = start_redis(maxmemory="50mb")
    server.client(3).set("key", "value")
    snapshot = server.save()
    assert snapshot.parent == server.dir and snapshot.read_bytes().startswith(b"REDIS")
    assert server.client().config_get("bind")["bind"] == "127.0.0.1"
    assert server.info()["maxmemory"] == 50 * 1024 * 1024
    assert b"\r\ndb3:keys=1," in server.info_text()


def test_a_killed_server_comes_back_without_what_it_had_not_saved(start_redis: StartRedis) -> None:
    server = start_redis()
    server.client().set("saved", 1)
    server.save()
    server.client().set("lost", 1)
    server.kill()
    server.start()
    assert server.client().keys() == [b"saved"]
    server.shutdown(save=True)


def test_a_server_that_cannot_start_says_why(start_redis: StartRedis) -> None:
    with pytest.raises(RuntimeError, match="no-such-directive"):
        start_redis(no_such_directive=1)


@pytest.mark.redis7
def test_a_test_marked_redis7_has_redis_7(start_redis: StartRedis) -> None:
    assert start_redis().version >= (7, 0)


def test_a_worker_runs_a_task(start_redis: StartRedis, start_worker: StartWorker) -> None:
    server = start_redis()
    worker = start_worker(APP.format(broker=server.url(0), backend=server.url(1)), queues=["one", "two"])
    task_id = _send(worker.app, "add", [2, 3], queue="two")
    assert worker.wait_for(f"Task add[{task_id}] succeeded")
    result = json.loads(server.client(1).get(f"celery-task-meta-{task_id}") or b"null")
    assert (result["status"], result["result"]) == ("SUCCESS", 5)
    worker.stop()
    assert "Warm shutdown" in worker.app.parent.joinpath("worker.out").read_text()


def test_a_killed_worker_leaves_its_task_unfinished(start_redis: StartRedis, start_worker: StartWorker) -> None:
    server = start_redis()
    worker = start_worker(APP.format(broker=server.url(0), backend=server.url(1)))
    task_id = _send(worker.app, "sleep", [60], queue="celery")
    assert worker.wait_for(f"Task sleep[{task_id}] received")
    worker.kill()
    assert server.client(1).keys() == []


def _send(app: Path, task: str, args: list[int], *, queue: str) -> str:
    # Another process sends, as in an application: the test's own keeps no connection of Celery's open.
    code = f"from {app.stem} import app; print(app.send_task({task!r}, {args!r}, queue={queue!r}).id)"
    sent = subprocess.run(
        [sys.executable, "-c", code], cwd=app.parent, capture_output=True, text=True, check=True, env=os.environ
    )
    return sent.stdout.strip()


def test_the_browser_sees_requests_and_messages(chromium: Chromium, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy.html"
    noisy.write_text(
        "<!doctype html><title>Noisy</title><img src='gone.png'><img src='data:image/png;base64,iVBORw0KGgo='>"
        "<script>console.warn('heard', 7); throw new Error('thrown')</script>"
    )
    with chromium.open(noisy) as page:
        assert page.requests == [(tmp_path / "gone.png").as_uri()]
        assert "heard 7" in page.messages
        assert any("thrown" in message for message in page.messages)
        assert page.evaluate("document.title") == "Noisy"


def test_the_browser_reports_a_breach_of_the_content_security_policy(chromium: Chromium, tmp_path: Path) -> None:
    html = tmp_path / "csp.html"
    html.write_text(
        "<!doctype html><meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"><script>1</script>"
    )
    with chromium.open(html) as page:
        assert any("Content Security Policy" in message for message in page.messages)


def test_a_quiet_page_is_quiet_and_is_pictured_light_and_dark(chromium: Chromium, tmp_path: Path) -> None:
    html = tmp_path / "quiet.html"
    html.write_text(
        "<!doctype html><title>Quiet</title>"
        "<style>@media (prefers-color-scheme: dark) {html {background: #000}}</style>"
        "<div style='height:2000px'>text</div>"
    )
    with chromium.open(html, width=400, height=300) as page:
        assert (page.requests, page.messages) == ([], [])
        whole = page.screenshot(tmp_path / "whole.png", whole=True)
    light = chromium.screenshot(html, tmp_path / "light.png", 400, 300)
    dark = chromium.screenshot(html, tmp_path / "dark.png", 400, 300, dark=True)
    assert _size(light) == (400, 300) and _size(whole)[1] > 2000
    assert light.read_bytes() != dark.read_bytes()


def _size(png: Path) -> tuple[int, int]:
    head = png.read_bytes()[:24]
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
