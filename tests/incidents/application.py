"""The application of an incident: a small package with a Celery app, its tasks, and scripts that an operator runs.

In: dice. Out: source on disk, which the workers run and which may become evidence. Knows nothing of servers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

_DOMAINS = {
    "shop": (("build_invoice", "order"), ("sync_stock", "sku"), ("send_receipt", "email")),
    "studio": (("render_image", "prompt"), ("upscale", "asset"), ("caption", "asset")),
    "clinic": (("import_scan", "study"), ("notify_patient", "visit"), ("score_referral", "referral")),
    "ledger": (("reconcile", "account"), ("close_day", "branch"), ("export_statement", "account")),
    "freight": (("quote", "lane"), ("track_parcel", "parcel"), ("print_label", "parcel")),
    "newsroom": (("transcribe", "recording"), ("translate", "article"), ("index_article", "article")),
}
_FIELDS = ("status", "pages", "score", "bytes", "version", "region", "rows", "checksum", "retries_left", "total")

_CELERY_APP = """\
import os

from celery import Celery

app = Celery(
    "{package}",
    broker=os.environ["BROKER_URL"],
    backend=os.environ["RESULT_URL"],
    include=["{package}.tasks"],
)
app.conf.update({settings})
{extra}"""

_TASKS = """\
import time
import zlib

from .celery_app import app


def crc(text):
    return zlib.crc32(str(text).encode())

"""

_TASK = """
@app.task(name="{name}"{options})
def {function}({argument}, seconds=0.01):
    time.sleep(seconds)
    return {result}

"""

_JOBS = '''\
"""Job records: what the dashboard shows of a task. Kept beside the results, which Celery lets expire."""
import os
from datetime import datetime, timezone

import redis
from celery.signals import before_task_publish, task_postrun

records = redis.Redis.from_url(os.environ["JOBS_URL"], decode_responses=True)


def now():
    return datetime.now(timezone.utc).isoformat()


@before_task_publish.connect
def created(headers=None, **_):
    records.hset(f"{key}{{headers['id']}}", mapping={{
        "id": headers["id"], "task": headers["task"], "status": "queued", "created_at": now()}})


@task_postrun.connect
def finished(task_id=None, state=None, **_):
    records.hset(f"{key}{{task_id}}", mapping={{
        "status": "completed" if state == "SUCCESS" else "failed", "finished_at": now()}})
'''


@dataclass(frozen=True)
class Task:
    """A task of the application: its full name, its argument's name."""

    name: str
    function: str
    argument: str


@dataclass
class Application:
    """Source of an application under ``root``; ``settings`` are Celery's. ``jobs``: prefix of its job records' keys."""

    root: Path
    random: Random
    settings: dict[str, Any]
    jobs: str | None = None
    options: str = ""
    package: str = field(init=False)
    tasks: list[Task] = field(init=False)

    def __post_init__(self) -> None:
        self.package = self.random.choice(list(_DOMAINS))
        self.tasks = [
            Task(f"{self.package}.tasks.{function}", function, argument)
            for function, argument in _DOMAINS[self.package]
        ]

    @property
    def module(self) -> Path:
        """For ``Worker``, which takes a path and runs its stem."""
        return self.root / f"{self.package}.celery_app.py"

    def write(self) -> None:
        """Write the package. ``options`` are further arguments of the first task's decorator."""
        folder = self.root / self.package
        folder.mkdir(parents=True, exist_ok=True)
        extra = ""
        if self.jobs:
            extra = "\nfrom . import jobs  # noqa\n"
            (folder / "jobs.py").write_text(_JOBS.format(key=self.jobs), encoding="utf-8")
        (folder / "__init__.py").write_text("", encoding="utf-8")
        settings = json.dumps(self.settings, indent=4).replace("true", "True").replace("false", "False")
        (folder / "celery_app.py").write_text(
            _CELERY_APP.format(package=self.package, settings=settings.replace("null", "None"), extra=extra),
            encoding="utf-8",
        )
        body = _TASKS
        for number, task in enumerate(self.tasks):
            body += _TASK.format(
                name=task.name,
                options=f", {self.options}" if self.options and number == 0 else "",
                function=task.function,
                argument=task.argument,
                result=self._result(task.argument),
            )
        (folder / "tasks.py").write_text(body, encoding="utf-8")

    def add(self, path: str, text: str) -> Path:
        """A further file, under ``root``."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        return place

    def replace(self, path: str, old: str, new: str) -> None:
        """Change a file that was written: a deployment."""
        place = self.root / path
        text = place.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {place}"
        place.write_text(text.replace(old, new), encoding="utf-8")

    def _result(self, argument: str) -> str:
        parts = [f'"{argument}": {argument}']
        for name in self.random.sample(_FIELDS, self.random.randint(1, 4)):
            parts.append(f'"{name}": crc({argument}) % {self.random.randint(7, 90000)}')
        return "{" + ", ".join(parts) + "}"

    def value_for(self, task: Task) -> str:
        """An argument such as callers give."""
        return f"{task.argument[:3].upper()}-{self.random.randint(1000, 999999)}"
