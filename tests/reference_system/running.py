"""The reference system, running: a real Redis, a real Celery worker, and the application under uvicorn.

In: an empty folder to run in. Out: ``ReferenceSystem``, spoken to over HTTP as by a user. Knows nothing of cases.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

import httpx

from tests.servers import RedisServer, find_redis

SOURCE = Path(__file__).resolve().parent / "source"
DATABASES = {"main": 0, "broker": 1, "results": 2}
RESULT_EXPIRES = 86_400
HOST = "studio"
WORKER = f"worker1@{HOST}"
START_SECONDS = 30
T = TypeVar("T")

# kombu writes the name of the machine into every message, and no setting changes that: here it is "studio".
_LAUNCH = f"""
import runpy, socket, sys
socket.gethostname = lambda: {HOST!r}
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


class NotRunning(RuntimeError):
    """Something of the system did not start, or did not do in time what was waited for."""


class ReferenceSystem:
    """Runs within a ``with`` block; everything ends with it, whatever happens.

    Redis keeps an append-only file with timestamps (7.0 and later), and logs in UTC like everything else. A call to the
    model takes ``model_seconds``, an iteration of the loop makes two. ``logs`` holds the logs of all processes.
    """

    def __init__(self, folder: Path, *, model_seconds: float = 0.1, model_context: int = 512) -> None:
        self.folder, self.logs, self.model_seconds = folder, folder / "logs", model_seconds
        self._model = {"MODEL_SECONDS": str(model_seconds), "MODEL_CONTEXT": str(model_context)}
        self._started = ExitStack()

    def __enter__(self) -> ReferenceSystem:
        with ExitStack() as started:
            self._start(started)
            self._started = started.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._started.close()

    def _start(self, started: ExitStack) -> None:
        binary = find_redis()
        if binary is None or binary.version < (7, 0):
            raise NotRunning("no redis-server of version 7.0 or later, whose append-only file says when")
        (self.folder / "redis").mkdir()
        self.logs.mkdir()
        self.redis = RedisServer(
            binary, self.folder / "redis", {"appendonly": "yes", "aof-timestamp-enabled": "yes", "timeout": 0}
        )
        started.callback(self.redis.kill)
        with _in_utc():
            self.redis.start()
        worker_log, app_log = self.logs / "celery-worker-1.log", self.logs / "app.log"
        celery = ["celery", "-A", "app.tasks", "worker", f"--hostname={WORKER}", "--concurrency=2", "--loglevel=INFO"]
        worker = self._run(started, [*celery, "--without-gossip", "--without-mingle"], worker_log)
        # Port 0: the system gives a free one, and the log says which.
        api = self._run(started, ["uvicorn", "app.main:app", "--port=0"], self.folder / "uvicorn.out")
        found = _wait(lambda: _find(app_log, r"running on (http://[\d.]+:\d+)"), api, self.folder / "uvicorn.out")
        self.http = started.enter_context(httpx.Client(base_url=found[1], timeout=START_SECONDS))
        _wait(lambda: _find(worker_log, r"@\S+ ready\."), worker, worker_log)

    @property
    def environment(self) -> dict[str, str]:
        """Of the application's processes, and of its scripts."""
        return {
            **os.environ,
            **self._model,
            "PYTHONPATH": str(SOURCE),
            # The application's folder stays as it is, and no warning names a path.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "NO_COLOR": "1",
            "TZ": "UTC",
            "LOG_DIR": str(self.logs),
            "JOBS_REDIS_URL": self.redis.url(DATABASES["main"]),
            "CELERY_BROKER_URL": self.redis.url(DATABASES["broker"]),
            "CELERY_RESULT_BACKEND": self.redis.url(DATABASES["results"]),
            "CELERY_RESULT_EXPIRES": str(RESULT_EXPIRES),
        }

    def _run(self, started: ExitStack, module: list[str], printed: Path) -> subprocess.Popen[bytes]:
        with printed.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, *module],
                cwd=self.folder, env=self.environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        started.callback(_end, process)
        return process

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``scripts/<name>.py`` of the application to its end."""
        return subprocess.run(
            [sys.executable, "-m", f"scripts.{name}", *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=START_SECONDS,
        )  # fmt: skip

    def create(self, job_id: UUID, **brief: Any) -> str:
        """Post a job; its ID, which is its task's too."""
        answer = self.http.post("/api/jobs", json={"id": str(job_id), **brief})
        answer.raise_for_status()
        return str(answer.json()["id"])

    def read(self, job_id: str) -> httpx.Response:
        return self.http.get(f"/api/jobs/{job_id}")

    def wait_for(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """The job as soon as it has one of ``statuses``; a completed one with its result."""

        def reached() -> dict[str, Any] | None:
            job: dict[str, Any] = self.read(job_id).raise_for_status().json()
            there = job["status"] in statuses and (job["status"] != "completed" or job["result"])
            return job if there else None

        # As often as a call ends, for as long as a score of iterations may take.
        return _wait(reached, every=self.model_seconds, seconds=START_SECONDS + 40 * self.model_seconds)

    def purge(self, **asked: Any) -> int:
        """``POST /api/jobs/purge``; how many records it says it deleted."""
        answer = self.http.post("/api/jobs/purge", params=asked)
        answer.raise_for_status()
        return int(answer.json()["deleted"])


def _wait(
    for_what: Callable[[], T | None],
    process: subprocess.Popen[bytes] | None = None,
    printed: Path | None = None,
    *,
    every: float = 0.1,
    seconds: float = START_SECONDS,
) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        if found := for_what():
            return found
        time.sleep(every)
    said = printed.read_text(encoding="utf-8", errors="replace")[-2000:] if printed else ""
    raise NotRunning(f"did not start:\n{said}" if process else "a job did not become what was waited for")


def _find(log: Path, pattern: str) -> re.Match[str] | None:
    return re.search(pattern, log.read_text(encoding="utf-8", errors="replace")) if log.exists() else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and its children: what they still work on is nobody's concern."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(START_SECONDS)


@contextmanager
def _in_utc() -> Iterator[None]:
    """For what starts within: Redis logs in the zone of its environment."""
    before: Mapping[str, str] = dict(os.environ)
    os.environ["TZ"] = "UTC"
    try:
        yield
    finally:
        if "TZ" in before:
            os.environ["TZ"] = before["TZ"]
        else:
            del os.environ["TZ"]
