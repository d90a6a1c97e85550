"""What comes from a system under investigation stays text, and what is secret stays secret, all the way to the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Chromium
from tests.conftest import StartRedis

ROOT = Path(__file__).resolve().parents[1]

TASK = "0c0ffee0-1111-4222-8333-444455556666"
SCRIPT = "<script>alert(1)</script>"
HOSTILE = [
    SCRIPT,
    "'\"><img src=x onerror=alert(1)>",
    "`backticks` and $\\foo$ and \\u003cb\\u003e",
    "[link](javascript:alert(1))",
    "\u202etxt.exe\u202c and \u200bhidden",
    "{{ 7 * 7 }} {% raw %}",
    "</style></title></main>",
]
SECRETS = {
    "password": "hunter2-password",
    "api_key": "sk-live-0123456789",
    "authorization": "Bearer eyJhbGciOiJIUzI1NiJ9",
    "auth_token": "tok-zyx987",
}
URL_PASSWORD = "url-pa55word"


def investigate(
    case: Path, task_id: str, out: Path, *options: str, more: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "analysis", "investigate", task_id, *more, str(case), "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def case(start_redis_for_module: StartRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A case from a real server that holds hostile strings wherever a string can stand, and secrets."""
    server = start_redis_for_module(requirepass="config-pa55word")
    results, jobs, broker = server.client(2), server.client(0), server.client(1)
    body: dict[str, Any] = {
        "status": "SUCCESS",
        "result": {**SECRETS, "total_tokens": 18482, "text": " ".join(HOSTILE), "huge": "A" * 1_000_000, SCRIPT: 1},
        "traceback": None,
        "children": [],
        "date_done": "2026-03-01T12:00:00.000000+00:00",
        "task_id": TASK,
        "name": f"shop.{SCRIPT}",
    }
    results.set(f"celery-task-meta-{TASK}", json.dumps(body), ex=86400)
    for number, text in enumerate(HOSTILE):
        results.set(
            f"celery-task-meta-{text}", json.dumps({**body, "task_id": text, "status": text}), ex=86400 + number
        )
    results.set(b"celery-task-meta-\xff\xfe\x00", b"\x80\x05\x95cos\nsystem\n(S'touch /tmp/pwned'\ntR.", ex=86400)
    results.set(f"celery-task-meta-{'B' * 1_000_000}", "not json", ex=86400)
    jobs.hset(f"job:{TASK}", mapping={"status": SCRIPT, "password": SECRETS["password"], "celery_id": TASK})
    broker.lpush("celery", SCRIPT, json.dumps({"body": "!!!", "headers": {"id": 7}, "properties": []}))
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "dump.rdb").write_bytes(server.save().read_bytes())
    (folder / "info-20260301T130000Z.txt").write_bytes(server.info_text())
    (folder / "config.json").write_text(json.dumps(server.client().config_get("*")))
    lines = [
        f"[2026-03-01 11:59:00,000: INFO/MainProcess] Connected to redis://:{URL_PASSWORD}@127.0.0.1:6379/1",
        f"[2026-03-01 11:59:01,000: INFO/MainProcess] Task shop.{SCRIPT}[{TASK}] received",
        f"[2026-03-01 12:00:00,000: INFO/ForkPoolWorker-1] Task shop.x[{TASK}] succeeded in 1.5s: "
        f"{{'password': '{SECRETS['password']}', 'text': {HOSTILE[1]!r}}}",
        f"2026-03-01 12:10:00 INFO purge deleted=3 by {SCRIPT} authorization: {SECRETS['authorization']} {TASK}",
        "2026-03-01 12:10:01 INFO \x00\x1b[31m red \x9b " + "C" * 1_000_000,
    ]
    (folder / f"worker {HOSTILE[4]}.log").write_bytes("\n".join(lines).encode() + b"\n\xff\xfe broken\n")
    (folder / "case.toml").write_text(
        f'name = """{SCRIPT} {HOSTILE[1]}"""\nenvironment = "<i>production</i>"\n[jobs]\nkey = "job:{{id}}"\n'
    )
    yield folder


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("src", "href"):
                self.addresses.append(value or "")


@pytest.fixture(scope="module")
def report(case: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    done = investigate(case, TASK, out)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert not [secret for secret in [*SECRETS.values(), URL_PASSWORD, "config-pa55word"] if secret in said]
    return out / TASK


def test_hostile_text_is_text_on_the_page(report, chromium: Chromium):
    path = report / "deletion_investigation.html"
    page = path.read_text(encoding="utf-8")
    assert len(page.encode()) < 400_000
    seen = _Tags()
    seen.feed(page)
    assert not seen.tags & {"script", "iframe", "object", "embed", "form", "link", "base", "b", "i"}
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert all(address.startswith(("data:image/", "#")) for address in seen.addresses)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for hidden in ("\u202e", "\u200b", "\x00", "\x1b"):
        assert hidden not in page
    with chromium.open(path) as shown:
        assert [url for url in shown.requests if not url.startswith(("file:", "data:"))] == []
        assert shown.messages == []


def test_the_same_notebook_is_safe_in_nbconverts_own_templates(report, tmp_path):
    notebook = report / "deletion_investigation.ipynb"
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--template", "basic", str(notebook)]
    subprocess.run([*command, "--output-dir", str(tmp_path)], check=True, capture_output=True, timeout=120)
    seen = _Tags()
    seen.feed((tmp_path / "deletion_investigation.html").read_text(encoding="utf-8"))
    assert not seen.tags & {"script", "iframe", "object", "embed", "form", "b", "i"}
    assert not {name for name in seen.attributes if name.startswith("on")}


def test_no_secret_is_in_any_file_that_is_left(report):
    for path in report.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            found = [secret for secret in [*SECRETS.values(), URL_PASSWORD, "config-pa55word"] if secret in text]
            assert found == [], path.name


def test_values_are_shortened_and_the_page_says_so(report):
    page = (report / "deletion_investigation.html").read_text(encoding="utf-8")
    assert "A" * 1000 not in page
    assert "Values from the data are shortened, and secrets redacted." in page
    assert "18,482" in page


def test_values_are_shown_when_asked_and_passwords_in_addresses_never(case, tmp_path):
    done = investigate(case, TASK, tmp_path, "--show-values")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / TASK / "deletion_investigation.html").read_text(encoding="utf-8")
    assert SECRETS["api_key"] in page
    assert "Values are shown as they are." in page
    for path in (tmp_path / TASK).rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert URL_PASSWORD not in text and "config-pa55word" not in text


def test_hostile_ids_are_investigated_like_any_other(case, tmp_path):
    done = investigate(case, HOSTILE[0], tmp_path, "--json", "--quiet", more=HOSTILE[1:3])
    assert done.returncode == 0, done.stderr
    for text, line in zip(HOSTILE[:3], done.stdout.splitlines(), strict=True):
        said = json.loads(line)
        assert said["task_id"] == text
        assert said["records"]["result"]["cause"] == "present"
        assert "<script" not in Path(said["report"]).read_text(encoding="utf-8")


def test_nothing_from_the_data_was_run(report):
    assert not Path("/tmp/pwned").exists()
