"""Collecting what stock tools would: INFO, snapshots, MONITOR, notifications, logs, into a case folder.

In: servers, and a plan of what is kept. Out: files named as the contract names them. Knows nothing of causes.
"""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from tests.incidents.plan import Plan
from tests.servers import RedisServer

_STAMP = "%Y%m%dT%H%M%SZ"


def take_info(server: RedisServer, folder: Path, *, named: bool = True) -> None:
    """``redis-cli INFO everything > info-<stamp>.txt``; a second one waits for a second of its own."""
    path = folder / "info.txt"
    while named:
        path = folder / f"info-{datetime.now(UTC).strftime(_STAMP)}.txt"
        if not path.exists():
            break
        time.sleep(0.05)
    path.write_bytes(server.info_text("everything" if server.version >= (7, 0) else "all"))


def take_snapshot(server: RedisServer, path: Path) -> None:
    """BGSAVE and a copy of the file."""
    client = server.client()
    # The file's own time is in whole seconds: LASTSAVE alone does not tell one save of a second from the next.
    client.bgsave()
    while client.info("persistence")["rdb_bgsave_in_progress"]:
        time.sleep(0.02)
    shutil.copyfile(server.dir / str(client.config_get("dbfilename")["dbfilename"]), path)


def take_aof(server: RedisServer, folder: Path) -> None:
    """The append-only file, or its folder."""
    if (parts := server.dir / "appendonlydir").is_dir():
        shutil.copytree(parts, folder / "appendonlydir", dirs_exist_ok=True)
    elif (single := server.dir / "appendonly.aof").exists():
        shutil.copyfile(single, folder / "appendonly.aof")


def rewrite_aof(server: RedisServer) -> None:
    """BGREWRITEAOF, to its end: what it was made of is gone."""
    client = server.client()
    # A server that has just been a replica may be rewriting of its own accord.
    while (said := client.info("persistence"))["aof_rewrite_in_progress"] or said["rdb_bgsave_in_progress"]:
        time.sleep(0.02)
    client.bgrewriteaof()
    while (said := client.info("persistence"))["aof_rewrite_in_progress"] or said["aof_rewrite_scheduled"]:
        time.sleep(0.02)
    # The file of the time before is removed in the background.
    time.sleep(0.2)


def take_answer(server: RedisServer, path: Path, *command: str) -> None:
    """``redis-cli --json COMMAND``, as a flat array where the protocol has one."""
    with redis.Redis(host="127.0.0.1", port=server.port, protocol=2) as client:
        client.response_callbacks.clear()
        answer = client.execute_command(*command)
    path.write_text(json.dumps(_text(answer)) + "\n", encoding="utf-8")


def take_clients(server: RedisServer, path: Path) -> None:
    with redis.Redis(host="127.0.0.1", port=server.port, protocol=2) as client:
        client.response_callbacks.clear()
        path.write_bytes(client.execute_command("CLIENT", "LIST"))


def _text(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_text(one) for one in answer]
    return answer.decode("utf-8", "backslashreplace") if isinstance(answer, bytes) else answer


class Monitor:
    """``redis-cli MONITOR > monitor.log``, or notifications as ``analysis watch`` writes them, until stopped."""

    def __init__(self, server: RedisServer, path: Path, *, notifications: bool = False) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port))
        self._file = path.open("ab")
        self._socket.sendall(b"PSUBSCRIBE __keyevent@*__:*\r\n" if notifications else b"MONITOR\r\n")
        self._read = self._notifications if notifications else self._monitor
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        time.sleep(0.02)

    def _run(self) -> None:
        with self._socket.makefile("rb") as stream:
            try:
                self._read(stream)
            except (OSError, ValueError):
                return

    def _monitor(self, stream: Any) -> None:
        for line in stream:
            self._file.write(line[1:].replace(b"\r\n", b"\n"))
            self._file.flush()

    def _notifications(self, stream: Any) -> None:
        while head := stream.readline():
            parts = []
            for _ in range(int(head[1:])):
                size = stream.readline()
                parts.append(stream.read(int(size[1:]) + 2)[:-2] if size[:1] == b"$" else size[1:-2])
            if parts[0] == b"pmessage":
                told = ",".join(json.dumps(part.decode("utf-8", "backslashreplace")) for part in parts)
                self._file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {told}\n".encode())
                self._file.flush()

    def stop(self) -> None:
        time.sleep(0.05)
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(5)
        self._socket.close()
        self._file.close()


class Collector:
    """Keeps of one server what the plan says, in ``folder``: the case, or ``servers/<name>`` in it."""

    def __init__(self, server: RedisServer, folder: Path, plan: Plan, names: tuple[str, str, str]) -> None:
        self.server, self.folder, self.plan = server, folder, plan
        self._before, self._after, self._only = names
        self._watching: list[Monitor] = []
        folder.mkdir(parents=True, exist_ok=True)

    def watch(self) -> None:
        """Start what has to run while it happens."""
        if self.plan.has("monitor"):
            self._watching.append(Monitor(self.server, self.folder / "monitor.log"))
        if self.plan.has("keyspace"):
            self._watching.append(Monitor(self.server, self.folder / "keyspace.log", notifications=True))

    def watch_again(self) -> None:
        """After a restart: whoever watches connects anew, and goes on with the same file."""
        for watching in self._watching:
            watching.stop()
        self._watching.clear()
        self.watch()

    def before(self) -> None:
        """What was collected before the loss: a backup, a metric."""
        if self.plan.has("rdb_pair"):
            take_snapshot(self.server, self.folder / self._before)
        if self.plan.has("info_pair"):
            take_info(self.server, self.folder)

    def after(self) -> None:
        """What is collected when it is noticed, in the order in which it disturbs least."""
        for watching in self._watching:
            watching.stop()
        if self.server._process is None:
            # It is dead: what it wrote is on its disk.
            if self.plan.has("aof"):
                take_aof(self.server, self.folder)
            return
        client = self.server.client()
        if self.plan.reset:
            client.config_resetstat()
        if self.plan.rewritten:
            rewrite_aof(self.server)
        if self.plan.has("info"):
            take_info(self.server, self.folder, named=self.plan.has("info_pair") or not self.plan.has("zone"))
        if self.plan.has("config"):
            take_answer(self.server, self.folder / "config.json", "CONFIG", "GET", "*")
        if self.plan.has("slowlog"):
            take_answer(self.server, self.folder / "slowlog.json", "SLOWLOG", "GET", "-1" if self._is7 else "10000")
        if self.plan.has("clients"):
            take_clients(self.server, self.folder / "clients.txt")
        if self.plan.has("aof") or self.plan.rewritten:
            take_aof(self.server, self.folder)
        if self.plan.has("rdb"):
            take_snapshot(self.server, self.folder / (self._after if self.plan.has("rdb_pair") else self._only))

    @property
    def _is7(self) -> bool:
        return self.server.version >= (7, 0)

    def log(self) -> None:
        """The server's log, last of all."""
        if self.plan.has("redis_log"):
            shutil.copyfile(self.server.log, self.folder / "redis.log")

    def stop(self) -> None:
        for watching in self._watching:
            watching.stop()
