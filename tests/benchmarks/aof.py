"""How fast an append-only file becomes the frame ``commands``, in how much memory: ``python tests/benchmarks/aof.py``.

A file as Redis 7 writes it for Celery is made: of each task its message put into the queue, taken, noted as taken and
acknowledged, and its result; some results are deleted. The peer is redis-py's own parser in Python, which iterates over
the same file and keeps nothing.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]

from tests.benchmarks.race import compete, ratio  # noqa: E402 - found once the path is set

TARGETS = {"commands_vs_redis_py": (2.0, 3.0), "state_vs_redis_py": (1.0, 2.0), "memory_flat": (0.7, 1.0)}
MB = 2**20
BEGIN_MS = 1_795_440_000_000
DAY_MS = 86_400_000


# The file.


def make(path: Path, size: int) -> None:
    """An append-only file of about so many bytes. IDs and times differ, what surrounds them does not."""
    with path.open("wb") as file:
        written, number = 0, 0
        for block in _tasks():
            written += file.write(block)
            number += 1
            if written >= size:
                return


def _tasks() -> Iterator[bytes]:
    number, at = 0, BEGIN_MS
    second = 0
    while True:
        parts = []
        for _ in range(200):
            number += 1
            at += 7
            task_id = f"{number:08x}-0c1d-4e2f-9a3b-{number * 2654435761 % 2**48:012x}"
            tag = f"{number:08x}-ffff-4aaa-8bbb-{number * 40503 % 2**48:012x}"
            if at // 1000 != second:
                second = at // 1000
                parts.append(b"#TS:%d\r\n" % second)
            body = base64.b64encode(json.dumps([[number], {"depth": 3}, {"callbacks": None}]).encode()).decode()
            message = {
                "body": body, "content-encoding": "utf-8", "content-type": "application/json",
                "headers": {"lang": "py", "task": "shop.tasks.sync", "id": task_id, "root_id": task_id, "retries": 0,
                            "origin": "gen12@web-1", "ignore_result": False,
                            "argsrepr": f"({number},)"},
                "properties": {"correlation_id": task_id, "reply_to": "0f0f", "delivery_tag": tag, "delivery_mode": 2,
                               "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0},
            }  # fmt: skip
            sent = json.dumps(message)
            done = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at / 1000)) + f".{at % 1000:03d}000+00:00"
            result = json.dumps(
                {"status": "SUCCESS", "result": {"rows": number, "ok": True}, "traceback": None, "children": [],
                 "date_done": done, "task_id": task_id}
            )  # fmt: skip
            key = f"celery-task-meta-{task_id}"
            taken = json.dumps([message, "", "celery"])
            parts += [
                _command("SELECT", "1"), _command("LPUSH", "celery", sent), _command("RPOP", "celery"),
                _command("MULTI"), _command("ZADD", "unacked_index", f"{at / 1000:.6f}", tag),
                _command("HSET", "unacked", tag, taken), _command("EXEC"),
                _command("SELECT", "2"), _command("SET", key, result, "PXAT", str(at + DAY_MS)),
                _command("SELECT", "1"), _command("MULTI"), _command("ZREM", "unacked_index", tag),
                _command("HDEL", "unacked", tag), _command("EXEC"),
            ]  # fmt: skip
            if number % 10 == 0:
                parts += [_command("SELECT", "2"), _command("DEL", key)]
        yield b"".join(parts)


def _command(*words: str) -> bytes:
    raw = [word.encode() for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in raw)


# The contenders. Each imports what it needs: that is a part of its time.


def ours_commands(path: Path) -> Any:
    """All commands as the frame ``commands``, with the state at the end and what each command took away."""
    from analysis.evidence.aof import open_parts, read_append_only
    from analysis.evidence.aof_manifest import INCREMENT, PartName

    parts, _ = open_parts([(PartName(path.name, 0, INCREMENT), path, path.name)])
    read = read_append_only(parts, source=path.name)
    assert len(read.commands) and read.parts[0].complete
    return read


def ours_without_state(path: Path) -> Any:
    """All commands as the frame ``commands``: times, keys, expiries; what they took away is left out."""
    from analysis.evidence.aof import open_parts, read_append_only
    from analysis.evidence.aof_manifest import INCREMENT, PartName

    parts, _ = open_parts([(PartName(path.name, 0, INCREMENT), path, path.name)])
    read = read_append_only(parts, source=path.name, replays=False)
    assert len(read.commands) and read.parts[0].complete
    return read


def redis_py(path: Path) -> Any:
    """redis-py's parser in Python over the same bytes. Lines of ``#TS:``, which are no protocol, are taken off by its
    reader before.
    """
    from redis._parsers.resp2 import _RESP2Parser

    class Buffer:
        """What redis-py's own buffer over a socket offers, over a file."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def readline(self, timeout: object = None) -> bytes:
            line = self.file.readline()
            while line[:1] == b"#":
                line = self.file.readline()
            if not line:
                raise EOFError
            return line[:-2]

        def read(self, length: int, timeout: object = None) -> bytes:
            return self.file.read(length + 2)[:-2]

    parser: Any = _RESP2Parser(socket_read_size=65536)
    parser.encoder = None
    count = 0
    with path.open("rb", buffering=MB) as file:
        parser._buffer = Buffer(file)
        while True:
            try:
                parser._read_response(disable_decoding=True)
            except EOFError:
                return count
            count += 1


CONTENDERS: dict[str, Callable[[Path], Any]] = {
    function.__name__: function for function in (ours_commands, ours_without_state, redis_py)
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=1_000, help="MB of the file")
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
        least, aim = TARGETS[name]
        print(f"{name:20} {figure:6.2f}   at least {least:g}, aim {aim:g}")
    if given.json:
        print(json.dumps({"ratios": {name: round(figure, 3) for name, figure in ratios.items()}}))


def run_all(folder: Path, size: int, rounds: int) -> dict[str, float]:
    paths = {}
    for megabytes in (size, size // 4):
        paths[megabytes] = folder / f"appendonly-{megabytes}.aof"
        if not paths[megabytes].exists():
            print(f"making {paths[megabytes].name}", flush=True)
            make(paths[megabytes], megabytes * MB)
    subprocess.run([sys.executable, __file__, "--run", "ours_commands", os.fspath(paths[size // 4])], check=True)
    print(f"{size // 4} MB", flush=True)
    quarter = compete(__file__, ["ours_without_state", "ours_commands"], paths[size // 4], 1)
    print(f"{size} MB", flush=True)
    runs = compete(__file__, ["ours_without_state", "ours_commands", "redis_py"], paths[size], rounds)
    return {
        "commands_vs_redis_py": ratio(runs["redis_py"], runs["ours_without_state"]),
        "state_vs_redis_py": ratio(runs["redis_py"], runs["ours_commands"]),
        "memory_flat": max(quarter["ours_without_state"].anonymous) / max(runs["ours_without_state"].anonymous),
    }


if __name__ == "__main__":
    main()
