"""A large log says the same as the same lines one by one, in memory that does not grow with it."""

from __future__ import annotations

import codecs
import gzip
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest

from analysis.evidence import log_blocks, log_lines, log_rows
from analysis.evidence.log_blocks import matching, read_block
from analysis.evidence.log_common import MAY_HOLD_SECRET, common_events, names_no_secret
from analysis.evidence.log_times import HeadReader
from analysis.evidence.logs import LONGEST_TEXT, LogReading, read_log
from analysis.redact import redact_text
from tests.benchmarks.logs import make

ROOT = Path(__file__).parents[2]
ID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
UTC, NEW_YORK = ZoneInfo("UTC"), ZoneInfo("America/New_York")

MESSAGES = [
    f"Task app.x[{ID}] received",
    f"Task app.x[{ID}] received ",
    f"Task app.x[{ID}] received twice",
    "Task app.x[my own id] received",
    "Task app.x[job[1]] received",
    "Task app.x[über] received",
    f"Task {'x' * 250}[{ID}] received",
    f"Task {'x' * 400}[{ID}] received",
    f"Task app.x[{'i' * 300}] received",
    f"Task app.x[{'i' * 600}] received",
    f"app.x[{'i' * 600}]: stored draft 7",
    f"Task app.x[{ID}] succeeded in 0.{'1' * 40}s: 7",
    f"Received task: app.x[{ID}]  ",
    f"Received task: app.x[{ID}]    ",
    f"Received task: app.x[{ID}]  ETA:[2025-07-24 03:00:00+00:00] ",
    f"Received task: app.x[{ID}] and more",
    f"Task app.x[{ID}] succeeded in 271.88s: {{'a': 1}}",
    f"Task app.x[{ID}] succeeded in 9.5e-05s: None",
    f"Task app.x[{ID}] succeeded in 12s: None",
    f"Task app.x[{ID}] succeeded in 1.5s: {{'token': 's3cret', 'total_tokens': 7}}",
    f"Task app.x[{ID}] succeeded in 1.5s: 'redis://:s3cret@h/1'",
    f"Task app.x[{ID}] succeeded in 1.5s: 'ToKen=s3cret, to\u212aen=s3cret'",
    f"Task app.x[{ID}] succeeded in 1.5s: 'grüße'",
    f"Task app.x[{ID}] succeeded in 1.5s: 'ends in a blank '\u00a0",
    f"Task app.x[{ID}] succeeded in 1.5s:   ",
    f"Task app.x[{ID}] succeeded in 1.5s: None\x1b[0m.",
    f"Task app.x[{ID}] succeeded in 1.5s: 'a\0b'",
    f"Task app.x[{ID}] succeeded in 1.5s: 'a\rb'",
    f"Task app.x[{ID}] succeeded in 1.5s: 'no UTF-8: \udcff'",
    f"Task app.x[{ID}] succeeded in 1.5s: {'x' * 5000}",
    f"Task app.x[{ID}] succeeded in 1.5s: 'Task app.y[{ID}] received'",
    f"Task app.x[{ID}] raised unexpected: ValueError('x')",
    f"Task app.x[{ID}] retry: Retry in 180s: X()",
    f"app.x[{ID}]: stored draft 7",
    f"app.x[{ID}]: ",
    f"app.x[{ID}]: purged 7 jobs",
    f"app.x[{ID}]: sees {ID.replace('0', '1')}",
    f"app.x[{ID}]: OOM command not allowed when used memory > 'maxmemory'.",
    f"app.x[{ID}]: Task app.y[7] received",
    "app.x[own]: a-b-c-d-e",
    "app.x[own]:no blank",
    "app.x[own]: its own ID",
    "INFO app.x[own]: its own ID",
    f"request {ID} answered",
    "DELETED 7 records",
    "limit reached, connect again",
    "nothing to see",
    "",
    f"[{ID}] x] y",
    "celery@a ready.",
    "Restoring 2 unacknowledged message(s)",
    "Received unregistered task of type 'app.gone'.",
    "Tasks flagged as revoked: a, b",
]
UNTIMED = [
    "Traceback (most recent call last):",
    '  File "x.py", line 1, in run',
    "  purged 7 jobs",
    "\tindented",
    " one blank",
    "ValueError: x",
    "ValueError: 7",
    f"{{'lang': 'py', 'task': 'app.gone', 'id': '{ID}'}}",
    f"app.x[{ID}]: no head",
    f"no head {ID}",
    "Purged 1 message from 2 known task queues.",
    "worker: Warm shutdown (MainProcess)",
    " -------------- worker1@app-1 vX",
    "-- ******* ---- Linux-6.1-x86_64-with-glibc2.36 2025-07-24 02:00:00",
    "- ** ---------- .> transport:   redis://:s3cret@h/1",
    '{"message": "no time"}',
    'web | {"message": "no digit"}',
    f'{{"asctime": "2025-07-24 02:05:01,500", "message": "Task app.x[{ID}] received"}}',
    "Jul 24 02:05:02 host app: purged 7 jobs",
    f"2025-07-24 02:05:01,500 - celery.app.trace - INFO - Task app.x[{ID}] received",
    "12:M 24 Jul 2025 02:05:01.500 * DB saved on disk",
    "",
    "\r",
    "\0\0\0",
    "x" * 70_000,
]
HEADS = [
    *["[{}: INFO/MainProcess] "] * 12,
    "[{}: INFO/ForkPoolWorker-1] ",
    "[{}: INFO/Thread-1 (run)] ",
    "[{}: INFO/MainProcess]",
    "[{}: INFO|MainProcess] ",
    "\x1b[32m[{}: INFO/MainProcess] \x1b[0m",
    "web | [{}: INFO/MainProcess] ",
    "{} ",
]
CLOCKS = [
    *["2025-11-02 01:{m:02}:{s:02},{f:03}"] * 12,
    "2025-07-24 02:{m:02}:{s:02},{f:03}",
    "2025-13-45 99:{m:02}:{s:02},{f:03}",
    "2025-11-02 02:{m:02}:61,{f:03}",
    "2025-11-02T02:{m:02}:{s:02}Z",
]


def hostile(seed: int, count: int) -> bytes:
    """Lines of every kind in any order; most have the default head."""
    chance = random.Random(seed)
    lines: list[bytes] = []
    while len(lines) < count:
        clock = chance.choice(CLOCKS).format(m=chance.randrange(3), s=chance.randrange(60), f=chance.randrange(1000))
        line = (chance.choice(HEADS).format(clock) + chance.choice(MESSAGES)).encode("utf-8", "surrogateescape")
        what = chance.random()
        if what < 0.02:
            line = line.replace(b"a", bytes([chance.randrange(256)]), 1)
        elif what < 0.04:
            line += b"\r"
        elif what < 0.06:
            line = line.replace(b" ", b"\0", 1)
        lines.append(line)
        while chance.random() < 0.15:
            lines.append(chance.choice(UNTIMED).encode())
    return b"\n".join(lines)


def same(first: LogReading, other: LogReading) -> None:
    pd.testing.assert_frame_equal(first.events, other.events)
    for name in ("kind", "first_at", "last_at", "lines", "complete", "stopped_at", "reason"):
        assert getattr(first, name) == getattr(other, name)


def read(path: Path, zone: ZoneInfo = NEW_YORK) -> LogReading:
    return read_log(path, source="x.log", server="s", zone=zone)


def one_by_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> LogReading:
    with monkeypatch.context() as patched:
        patched.setattr(log_blocks, "SMALLEST", 1 << 40)
        return read(path)


@pytest.mark.parametrize(
    ("seed", "block", "form"), [(1, 20_000, "gzip"), (2, 100_000, "utf-16"), (3, 1 << 22, "plain")]
)
def test_blocks_say_the_same_as_single_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, block: int, form: str
) -> None:
    path, content = tmp_path / "x.log", hostile(seed, 2_000)
    if form == "gzip":
        content = gzip.compress(content)[:-5_000]
    elif form == "utf-16":
        content = codecs.BOM_UTF16_LE + content.decode("latin-1").encode("utf-16-le")
    path.write_bytes(content)
    reference = one_by_one(path, monkeypatch)
    assert len(reference.events) > 1_000 and reference.complete == (form != "gzip")
    monkeypatch.setattr(log_lines, "BLOCK", block)
    monkeypatch.setattr(log_blocks, "SMALLEST", 1_000)
    monkeypatch.setattr(log_rows, "_ROWS_AT_ONCE", 100 if seed == 1 else 1 << 14)
    monkeypatch.setattr(log_rows, "LARGEST_IN_MEMORY", 10_000 if seed == 2 else 1 << 25)
    same(read(path), reference)


def test_log_of_a_busy_worker_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "x.log", 1 << 20)
    data = path.read_bytes()
    block = read_block(1, data.rstrip(b"\n"), HeadReader(UTC))
    assert block is not None
    common = common_events(block)
    assert set(common.columns["kind"].to_pylist()) == {"received", "succeeded", "mentioned"}
    assert 0.15 < common.found.mean() < 0.25
    # Hardly a line is left to be read by itself.
    assert (block.looked_at & ~common.found).mean() < 0.03
    same(read(path), one_by_one(path, monkeypatch))


@pytest.mark.parametrize("block", [1_000, 1 << 20])
def test_blocks_leave_what_comes_after_them_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    head = "[2025-07-24 02:05:01,500: INFO/MainProcess] "
    passed = f"{head}Task app.x[{ID}] received\n" * 100 + f"{head}nothing to see\n"
    failed = f"{head}Task app.x[{ID}] raised unexpected: X()\n" + "  indented\n" * 300
    path = tmp_path / "x.log"
    monkeypatch.setattr(log_lines, "BLOCK", block)
    monkeypatch.setattr(log_blocks, "SMALLEST", 100)
    for content in (passed + "Jul 24 02:05:02 host app: purged 7 jobs\npurged 1 key\n", failed):
        path.write_text(content)
        reading = read(path)
        assert reading.kind == "worker log" and reading.events["at"].notna().all()
        same(reading, one_by_one(path, monkeypatch))
    assert reading.events["text"].iloc[0].count("  indented") == 300


def test_folder_for_temporary_files_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(hostile(4, 1_000))
    reference = read(path)
    monkeypatch.setattr(log_rows, "LARGEST_IN_MEMORY", 10_000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    same(read(path), reference)
    assert [one.name for one in tmp_path.iterdir()] == ["x.log"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    same(read(path), reference)


MAPPED = """
import sys
from pathlib import Path
from zoneinfo import ZoneInfo
import pyarrow as pa
from analysis.evidence import log_rows
from analysis.evidence.logs import read_log
log_rows.LARGEST_IN_MEMORY = int(sys.argv[2])
events = read_log(Path(sys.argv[1]), source="x.log", zone=ZoneInfo("UTC")).events
text = pa.array(events["text"])
place = (text.chunk(0) if isinstance(text, pa.ChunkedArray) else text).buffers()[2].address
for line in Path("/proc/self/maps").read_text().splitlines():
    begin, _, end = line.split()[0].partition("-")
    if int(begin, 16) <= place < int(end, 16):
        print(line.split()[4])
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc here tells what memory is a file's")
def test_events_of_a_large_log_lie_in_files(tmp_path: Path) -> None:
    path = make(tmp_path / "x.log", 8 << 20)

    def inode(most: int) -> int:
        command = [sys.executable, "-c", MAPPED, os.fspath(path), str(most)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)

    assert inode(1 << 40) == 0 and inode(1 << 18) != 0


def test_log_that_is_one_traceback_is_one_event(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    part = 'Traceback (most recent call last):\n  File "x.py", line 1, in run\n    x()\n\nValueError: x\n'
    path.write_text(f"[2025-07-24 02:05:01,500: ERROR/W-1] Task app.x[{ID}] raised unexpected: X()\n" + part * 60_000)
    reading = read(path)
    assert (len(reading.events), reading.lines, reading.complete) == (1, 300_001, True)
    text = reading.events["text"].iloc[0]
    assert text.startswith("Task app.x") and "ValueError: x\nTraceback" in text and len(text) < LONGEST_TEXT + 50


SECRETS = """total_tokens token Token TOKENS tokens max_ access_ api key KEY api_key 'key' x.y - _ password pwd Pass
secret auth AUTH authorization session Session cookie cred credits bearer Bearer JWT jwt redis-cli -a https:// redis://:x@h
:\\/\\/u:p@h = : := => , ' " ': \\' \\" { } [ ] ( ) 7 None 12345678 abcdefgh12345678 s3cret
\u017f \u0130 \u0131 ü to\u212aen
""".split()


def test_what_is_not_searched_for_secrets_has_none() -> None:
    chance = random.Random(5)
    words = [*SECRETS, *[" "] * 12, *["': "] * 4, "-----BEGIN PRIVATE KEY-----", "\n"]
    texts = ["".join(chance.choice(words) for _ in range(chance.randrange(1, 14))) for _ in range(10_000)]
    texts += ["an api key = s3cret", "API KEY: s3cret"]
    hidden = matching(pa.array([text.encode() for text in texts], pa.large_binary()), MAY_HOLD_SECRET)
    passed = [text for text, may in zip(texts, hidden.tolist(), strict=True) if not may or names_no_secret(text)]
    assert len(passed) > 1_000 and [redact_text(text) for text in passed] == passed
    # Letters whose small ones are those of ASCII: the search, which goes by bytes, knows them all.
    others = [chr(code) for code in range(128, 0x110000) if re.search("[a-z]", chr(code).lower())]
    assert all(re.search(MAY_HOLD_SECRET, one.encode().decode("latin-1")) for one in others)
