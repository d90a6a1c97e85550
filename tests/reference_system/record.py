"""Records a case from the running reference system: ``python -m tests.reference_system.record data/demo-with-source``.

In: a ``ReferenceSystem``, or on the command line the folder of the case, which is made anew. Out: the case. The jobs,
their IDs and what becomes of them are always the same; times, ports, process numbers and the server's IDs are not.

What a case holds is what the tools gave, with these exceptions, which keep the machine out of it. Edited: in INFO the
``config_file`` and ``executable``, in CONFIG GET the folder, the log file and whatever else lies below the folder of
the run, are those of a Debian package. Chosen: the application believes that its host is named ``studio``; everything
logs in UTC. Left out: nothing. The command refuses to write a case that still names a path, the user or the host.
"""

from __future__ import annotations

import argparse
import getpass
import json
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from tests.reference_system.running import DATABASES, RESULT_EXPIRES, SOURCE, NotRunning, ReferenceSystem

ROOT = Path(__file__).resolve().parents[2]

# What is asked of the jobs, by name. With these prompts the seeded model ends them as is said beside them.
OLDER: dict[str, dict[str, Any]] = {
    "slogan": {"prompt": "Find a slogan for a bicycle repair shop."},  # evaluator_stop, 2 iterations
    "changelog": {"prompt": "Say what is new in version 2.4: faster search, dark mode, an export to CSV."},  # 3
    "party": {
        "prompt": "Invite the street to a summer party on Saturday afternoon.", "threshold": 0.95, "max_iterations": 3
    },  # max_iterations
    "manual": {"prompt": "Shorten this manual. " + "Turn the knob to the left until it clicks. " * 60},  # failed
}  # fmt: skip
LATE = {"prompt": "Announce that the library opens an hour later on Monday."}  # evaluator_stop, 2 iterations
SLOW = {"prompt": "Write a limerick that no evaluator will ever like.", "threshold": 1.0, "max_iterations": 100}
ASKED = "slogan"


@dataclass(frozen=True)
class Pace:
    """Seconds: of a call to the model; for which finished jobs are kept, long enough to tell the older jobs from the
    late one; and between a snapshot and what happens next, more than one because snapshots are dated by the second.
    """

    call: float
    kept: int
    apart: float


QUICK, LIFELIKE = Pace(0.15, 4, 1.1), Pace(8, 240, 30)


@dataclass(frozen=True)
class Recorded:
    """The task to ask about, and the jobs whose records the purge took and left."""

    task_id: str
    purged: tuple[str, ...]
    left: tuple[str, ...]


def record(system: ReferenceSystem, case: Path, pace: Pace = QUICK) -> Recorded:
    """Let jobs be worked and purged, and write the evidence of it to ``case``.

    Of six jobs, three have completed when the purge comes, one has failed, one has only just completed, and one is
    still running: the purge takes the first three. Raises NotRunning where it came out otherwise.
    """
    older = {name: system.create(job_id(name), **asked) for name, asked in OLDER.items()}
    ended = {job: system.wait_for(job, "completed", "failed")["status"] for job in older.values()}
    time.sleep(pace.kept)
    slow, late = system.create(job_id("limerick"), **SLOW), system.create(job_id("library"), **LATE)
    system.wait_for(late, "completed")
    case.mkdir(parents=True)
    snapshot(system, case, "before.rdb")
    time.sleep(pace.apart)
    system.purge(older_than=pace.kept, status="completed")
    time.sleep(pace.apart)
    system.read(older[ASKED])
    noticed_at = datetime.now(UTC)
    time.sleep(pace.apart)
    snapshot(system, case, "after.rdb")
    collect(system, case)
    (case / "case.toml").write_text(case_toml(older[ASKED], noticed_at), encoding="utf-8")
    completed = tuple(job for job, status in ended.items() if status == "completed")
    left = (older["manual"], slow, late)
    _verify(system, completed, left)
    return Recorded(older[ASKED], completed, left)


def _verify(system: ReferenceSystem, purged: Sequence[str], left: Sequence[str]) -> None:
    """That it came out as said; after the evidence was taken, because looking leaves traces as well."""
    listed = system.folder / "purged.txt"
    listed.write_text("\n".join(purged), encoding="utf-8")
    checked = system.script("verify_purge", str(listed))
    if checked.returncode:
        raise NotRunning(f"the purge did not take what it should:\n{checked.stdout}{checked.stderr}")
    statuses = [system.read(job).raise_for_status().json()["status"] for job in left]
    if len(purged) != 3 or statuses != ["failed", "running", "completed"]:
        raise NotRunning(f"{len(purged)} jobs had completed, and the jobs that were left are {', '.join(statuses)}")


def job_id(name: str) -> UUID:
    """The ID of a job by its name, the same in every recording."""
    return uuid5(NAMESPACE_DNS, f"{name}.studio.example")


def snapshot(system: ReferenceSystem, case: Path, name: str) -> None:
    """INFO, and then a snapshot: SAVE sets back some of what INFO tells."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    info = _neutral(system.redis.info_text("everything").decode(), system)
    (case / f"info-{stamp}.txt").write_text(info, encoding="utf-8", newline="")
    shutil.copyfile(system.redis.save(), case / name)


def collect(system: ReferenceSystem, case: Path) -> None:
    """What the server answers, its append-only files, all logs and the application's source."""
    client = system.redis.client()
    _write_json(case / "slowlog.json", _plain(client.execute_command("SLOWLOG", "GET", -1)))
    (case / "clients.txt").write_bytes(client.execute_command("CLIENT", "LIST"))
    settings = _plain(client.execute_command("CONFIG", "GET", "*"))
    pairs = settings if isinstance(settings, dict) else dict(zip(settings[::2], settings[1::2], strict=True))
    _write_json(case / "config.json", {name: _neutral(value, system) for name, value in pairs.items()})
    shutil.copytree(system.redis.dir / "appendonlydir", case / "appendonlydir")
    shutil.copytree(system.logs, case / "logs")
    shutil.copyfile(system.redis.log, case / "logs" / "redis-server.log")
    for part in ("app", "scripts"):
        shutil.copytree(SOURCE / part, case / "src" / part, ignore=shutil.ignore_patterns("__pycache__"))


def case_toml(task_id: str, noticed_at: datetime) -> str:
    databases = "\n".join(f"{name} = {number}" for name, number in DATABASES.items())
    return f"""\
name = "Job {task_id} is not found any more"
environment = "production"
timezone = "UTC"
noticed_at = {noticed_at:%Y-%m-%dT%H:%M:%SZ}

[databases]
{databases}

[celery]
result_expires = {RESULT_EXPIRES}

[jobs]
key = "job:{{id}}"
expires = 0
"""


def _neutral(text: str, system: ReferenceSystem) -> str:
    """The text with the places of a Debian package in place of this machine's."""
    server = system.redis
    places = {
        str(server.log): "/var/log/redis/redis-server.log",
        str(server.dir / "redis.conf"): "/etc/redis/redis.conf",
        str(server.dir): "/var/lib/redis",
        str(server.binary): "/usr/bin/redis-server",
    }
    for here, there in places.items():
        text = text.replace(here, there)
    return text


def _plain(answer: Any) -> Any:
    """An answer of redis-py as JSON can hold it."""
    if isinstance(answer, bytes):
        return answer.decode("utf-8", "backslashreplace")
    if isinstance(answer, dict):
        return {_plain(name): _plain(value) for name, value in answer.items()}
    return [_plain(item) for item in answer] if isinstance(answer, list | tuple) else answer


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def traces_of_this_machine(case: Path, *folders: Path) -> list[str]:
    """The files of a case that name this machine's paths, user or host, with what they name."""
    names = {str(folder) for folder in (ROOT, Path.home(), Path(tempfile.gettempdir()), *folders)} - {"/"}
    # Not told from other words: what is shorter, as in vm.overcommit_memory, and the names that everybody has.
    own = {socket.gethostname(), getpass.getuser()} - {"root", "localhost"}
    names |= {name for name in own if len(name) >= 4}
    patterns = [re.compile(rb"(?<!\w)" + re.escape(name.encode()) + rb"(?!\w)") for name in sorted(names)]
    return [
        f"{path.relative_to(case)}: {found[0].decode()}"
        for path in sorted(case.rglob("*"))
        if path.is_file()
        for pattern in patterns
        if (found := pattern.search(path.read_bytes()))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the reference system and record a case of it.")
    parser.add_argument("case", type=Path, help="its folder; a case that stands there is replaced")
    parser.add_argument("--quick", action="store_true", help="within seconds; else it takes about eight minutes")
    asked = parser.parse_args()
    target, pace = asked.case, QUICK if asked.quick else LIFELIKE
    if target.exists() and not (target / "case.toml").is_file():
        print(f"{target}: is no case; it will not be replaced", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="reference-system-") as work:
        folder, case = Path(work) / "run", Path(work) / "case"
        folder.mkdir()
        with ReferenceSystem(folder, model_seconds=pace.call) as system:
            recorded = record(system, case, pace)
        if traces := traces_of_this_machine(case, folder):
            print("\n".join(traces), file=sys.stderr)
            return 1
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(case, target)
    print(recorded.task_id)
    return 0


if __name__ == "__main__":
    sys.exit(main())
