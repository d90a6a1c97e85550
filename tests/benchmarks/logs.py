"""How fast a worker's log becomes the frame ``events``, and in how much memory: ``python tests/benchmarks/logs.py``.

A log as Celery 5 writes it by default is made: one line in five an event, the rest what the application says, some
tracebacks among it. Then our reader and the peers run in processes of their own, start-up included, in turn, and the
medians are printed with the ratios (peer ÷ ours) and the peaks of memory. The peers need nothing but pandas.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]

from tests.benchmarks.race import compete, ratio  # noqa: E402 - found once the path is set

TARGETS = {
    "events_vs_every_line": (2.0, 3.0),
    "events_vs_event_lines": (1.0, 1.5),
    "memory_vs_event_lines": (4.0, 8.0),
    "memory_flat": (0.8, 1.0),
}
MB = 2**20

# What Celery's default worker_log_format writes.
LINE = r"\[(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}): (?P<level>\w+)/(?P<process>[^\]]+)\] (?P<message>.*)"
EVENT = (
    r"(?:Task (?P<name>[^\[\]]+)\[(?P<id>[^\]]+)\] (?P<verb>received|succeeded in (?P<seconds>[\d.e-]+)s"
    r"|raised unexpected|retry)|(?P<logger>[\w.]+)\[(?P<logged>[0-9a-f-]{36})\]: )"
)


# The log.

BEGIN = datetime(2026, 11, 2, 6, tzinfo=UTC)
TASKS = [f"shop.tasks.{name}" for name in ("send_receipt", "sync_stock", "build_invoice", "render.page", "score_lead")]
PROCESSES = [f"ForkPoolWorker-{number}" for number in range(1, 9)]
SAYS = (
    "fetching page {n} of 40 from https://api.example.org/v2/orders?page={n}&limit=100",
    'HTTP Request: POST https://llm.example.org/v1/chat/completions "HTTP/1.1 200 OK"',
    "iteration {n}: score 0.{n} is below the threshold of 0.85, asking for another draft",
    "rendered template invoice.html in {n} ms for customer {n}",
    "stock of SKU{n}-B is {n}, warehouse AMS-2",
    "cache miss for price list {n}, computing",
    "uploaded s3://shop-invoices/2026/A-{n}.pdf ({n} bytes)",
    "SELECT orders.id, orders.total FROM orders WHERE orders.customer = {n} took {n} ms",
    "retrying upstream in {n} ms: 503 Service Unavailable",
    "order {n} priced at {n}.20 EUR with 3 items and 1 discount",
)
TRACEBACK = """Traceback (most recent call last):
  File "/opt/venv/lib/python3.12/site-packages/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/app/shop/tasks.py", line 118, in send_receipt
    return gateway.send(receipt, timeout=10)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='mail.example.org', port=443): Read timed out.
"""
HEAD = """
 -------------- celery@worker-1 v5.7.0 (collider)
--- ***** -----
-- ******* ---- Linux-6.1-x86_64-with-glibc2.36 2026-11-02 06:00:00
- *** --- * ---
- ** ---------- [config]
- ** ---------- .> app:         shop:0x7f1d2c3b4a50
- ** ---------- .> transport:   redis://:**@redis:6379/1
- ** ---------- .> results:     redis://:**@redis:6379/0
- *** --- * --- .> concurrency: 8 (prefork)

[2026-11-02 06:00:00,412: INFO/MainProcess] Connected to redis://:**@redis:6379/1
[2026-11-02 06:00:01,430: INFO/MainProcess] celery@worker-1 ready.
"""


def make(path: Path, size: int, seed: int = 7) -> Path:
    """Write a log of some ``size`` bytes."""
    with path.open("w", encoding="utf-8") as file:
        file.write(HEAD)
        written = 0
        for lines in told(random.Random(seed)):
            written += file.write(lines)
            if written >= size:
                return path
    return path


def told(chance: random.Random) -> Iterator[str]:
    """What is written of one task after the other, without end."""
    now = 1_000
    while True:
        task, process = chance.choice(TASKS), chance.choice(PROCESSES)
        task_id = _uuid(chance)
        lines = []

        def say(message: str, by: str = process, level: str = "INFO") -> None:
            nonlocal now
            now += int(chance.expovariate(1 / 15))
            lines.append(f"[{_clock(now)}: {level}/{by}] {message}\n")  # noqa: B023

        say(f"Task {task}[{task_id}] received", "MainProcess")
        for _ in range(chance.randrange(6, 12)):
            number = chance.randrange(10, 99_999)
            say(chance.choice(SAYS).replace("{n}", str(number)))
        # A task's own logger names the task: an event. So does a line that names another record.
        if chance.random() < 0.15:
            say(f"{task}[{task_id}]: stored draft {chance.randrange(9)}")
        if chance.random() < 0.05:
            say(f"request {_uuid(chance)} answered in {chance.randrange(999)} ms")
        if chance.random() < 0.01:
            say(f"could not reach the gateway\n{TRACEBACK[:-1]}", level="ERROR")
        seconds = chance.expovariate(1 / 3)
        if chance.random() < 0.01:
            say(f"Task {task}[{task_id}] raised unexpected: ReadTimeout()\n{TRACEBACK[:-1]}", level="ERROR")
        else:
            say(f"Task {task}[{task_id}] succeeded in {seconds!r}s: {_value(chance, task_id)!r}")
        yield "".join(lines)


_minutes: dict[int, str] = {}


def _clock(ms: int) -> str:
    minute, rest = divmod(ms, 60_000)
    if minute not in _minutes:
        _minutes.clear()
        _minutes[minute] = (BEGIN + timedelta(minutes=minute)).strftime("%Y-%m-%d %H:%M:")
    return f"{_minutes[minute]}{rest // 1000:02},{rest % 1000:03}"


def _uuid(chance: random.Random) -> str:
    text = f"{chance.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _value(chance: random.Random, task_id: str) -> dict[str, Any]:
    number = chance.randrange(99_999)
    if number % 3 == 0:
        return {"job_id": task_id, "processing_time": number / 99, "total_tokens": number, "converged": True}
    if number % 3 == 1:
        return {"to": f"bo{number}@example.org", "message_id": f"<{number:x}@mail.shop.example>", "accepted": True}
    return {"sku": f"SKU{number}-R", "on_hand": number, "warehouse": "AMS-2", "note": "überprüft"}


# The contenders. Each imports what it needs: that is a part of its time.


def ours(path: Path) -> Any:
    """All that the log says, as the frame ``events``."""
    from zoneinfo import ZoneInfo

    from analysis.evidence.logs import read_log

    reading = read_log(path, source=path.name, zone=ZoneInfo("UTC"))
    assert reading.complete and reading.kind == "worker log"
    return reading.events


def every_line(path: Path) -> Any:
    """The plain way: one pattern over each line, columns as lists, the times parsed at once; nothing is looked for."""
    import pandas as pd

    match = re.compile(LINE).match
    at, level, process, message = [], [], [], []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if found := match(line):
                time_, level_, process_, message_ = found.groups()
                at.append(time_)
                level.append(level_)
                process.append(process_)
                message.append(message_)
    times = pd.to_datetime(pd.Series(at), format="%Y-%m-%d %H:%M:%S,%f", utc=True)
    return pd.DataFrame({"at": times, "level": level, "process": process, "message": message})


def event_lines(path: Path) -> Any:
    """The same, but it keeps only the commonest events, which a second pattern finds, and takes them apart."""
    import pandas as pd

    match, event = re.compile(LINE).match, re.compile(EVENT).match
    at, process, message, name, task_id, verb, seconds = [], [], [], [], [], [], []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if (found := match(line)) and (said := event(found["message"])):
                at.append(found["at"])
                process.append(found["process"])
                message.append(found["message"])
                name.append(said["name"] or said["logger"])
                task_id.append(said["id"] or said["logged"])
                verb.append((said["verb"] or "mentioned").split()[0])
                seconds.append(float(said["seconds"] or "nan"))
    times = pd.to_datetime(pd.Series(at), format="%Y-%m-%d %H:%M:%S,%f", utc=True)
    columns = {"at": times, "process": process, "kind": verb, "task_id": task_id, "name": name, "seconds": seconds}
    return pd.DataFrame(columns | {"text": message})


def imports_only(path: Path) -> Any:
    """What ``ours`` imports, and nothing else."""
    import analysis.evidence.logs  # noqa: F401


CONTENDERS: dict[str, Callable[[Path], Any]] = {
    function.__name__: function for function in (ours, every_line, event_lines, imports_only)
}


def made(folder: Path, size: int) -> Path:
    """The log of so many MB, which is made where it is not there yet."""
    path = folder / f"worker-{size}.log"
    if not path.exists():
        make(path, size * MB)
    return path


def run_all(folder: Path, size: int, rounds: int) -> dict[str, float]:
    path, quarter = made(folder, size), made(folder, max(1, size // 4))
    print(f"a worker's log of {path.stat().st_size / MB:,.0f} MB", flush=True)
    runs = compete(__file__, ["ours", "every_line", "event_lines"], path, rounds)
    print(f"of {quarter.stat().st_size / MB:,.0f} MB", flush=True)
    less = compete(__file__, ["ours"], quarter, rounds)["ours"]
    print("of 1 MB", flush=True)
    compete(__file__, ["ours", "imports_only"], made(folder, 1), rounds)
    return {
        "events_vs_every_line": ratio(runs["every_line"], runs["ours"]),
        "events_vs_event_lines": ratio(runs["event_lines"], runs["ours"]),
        "memory_vs_event_lines": max(runs["event_lines"].anonymous) / max(runs["ours"].anonymous),
        "memory_flat": max(less.anonymous) / max(runs["ours"].anonymous),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=1024, help="of the log, in MB")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--folder", type=Path, help="keeps the files there for the next time")
    options.add_argument("--json", action="store_true", help="an object in the last line")
    options.add_argument("--run", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.run:
        CONTENDERS[given.run[0]](Path(given.run[1]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        ratios = run_all(folder, given.size, given.rounds)
    for name, figure in ratios.items():
        least, aim = TARGETS.get(name, (0, 0))
        print(f"{name:22} {figure:6.2f}   at least {least:g}, aim {aim:g}")
    if given.json:
        print(json.dumps({"ratios": {name: round(figure, 3) for name, figure in ratios.items()}}))


if __name__ == "__main__":
    main()
