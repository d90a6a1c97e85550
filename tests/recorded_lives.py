"""Cases on disk whose keys' lives are known: snapshots, an append-only file on its base, a MONITOR log.

In: a ``Truth``. Out: files as a server writes them. Shares nothing with the readers.
"""

from __future__ import annotations

import json
import struct
from datetime import timedelta
from pathlib import Path

import numpy as np

from tests.evidence.rdb_writer import string
from tests.findings.cases import START
from tests.findings.lifetimes import Truth

_EPOCH = START.timestamp()


def snapshot_file(truth: Truth, time: float, path: Path, *, db: int = 2) -> None:
    """What the server held ``time`` seconds after START, dated by its own ctime; without a checksum."""
    ctime = string("ctime") + string(str(int(_EPOCH + time)))
    out = [b"REDIS0011", b"\xfa" + string("redis-ver") + string("7.0.15"), b"\xfa" + ctime, b"\xfe" + bytes([db])]
    for number in np.flatnonzero((truth.born <= time) & (truth.death > time)).tolist():
        out.append(_expiry(truth, number) + b"\x00" + string(_name(number)) + string(_meta(truth, number)))
    path.write_bytes(b"".join(out) + b"\xff" + bytes(8))


def append_only(truth: Truth, since: float, until: float, folder: Path) -> None:
    """An ``appendonlydir`` whose base was made at ``since``, with a time before the commands of each second."""
    folder.mkdir()
    snapshot_file(truth, since, folder / "appendonly.aof.1.base.rdb")
    out, second = [_command("SELECT", "2")], 0
    for when, number, ends in _happening(truth, since, until):
        if int(_EPOCH + when) != second:
            second = int(_EPOCH + when)
            out.append(b"#TS:%d\r\n" % second)
        if ends:
            out.append(_command("DEL", _name(number)))
        elif np.isfinite(truth.expires[number]):
            out.append(_command("SET", _name(number), _meta(truth, number), "PXAT", str(_expires_ms(truth, number))))
        else:
            out.append(_command("SET", _name(number), _meta(truth, number)))
    (folder / "appendonly.aof.1.incr.aof").write_bytes(b"".join(out))
    (folder / "appendonly.aof.manifest").write_text(
        "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
    )


def monitor_log(truth: Truth, since: float, until: float, path: Path) -> None:
    """What MONITOR shows: commands of clients; no expiry."""
    lines = []
    for when, number, ends in _happening(truth, since, until):
        head = f"{_EPOCH + when:.6f} [2 10.0.0.5:50000]"
        if not ends:
            seconds = str(int(truth.expires[number]))
            value = json.dumps(_meta(truth, number))
            lines.append(f'{head} "SETEX" "{_name(number)}" "{seconds}" {value}')
        elif truth.removed[number] < truth.expires[number]:
            lines.append(f'{head} "DEL" "{_name(number)}"')
    path.write_text("".join(f"{line}\n" for line in ["OK", *lines]))


def _happening(truth: Truth, since: float, until: float) -> list[tuple[float, int, bool]]:
    """Writes and ends in order: when, which life, whether it ends."""
    found = [
        (float(when[number]), number, ends)
        for when, ends in ((truth.born, False), (truth.death, True))
        for number in np.flatnonzero((when > since) & (when <= until)).tolist()
    ]
    return sorted(found)


def _name(number: int) -> str:
    return f"celery-task-meta-{number:08x}-0000-4000-8000-000000000000"


def _meta(truth: Truth, number: int) -> str:
    done = (START + timedelta(seconds=float(truth.born[number]))).isoformat()
    own = _name(number).removeprefix("celery-task-meta-")
    meta = {"status": "SUCCESS", "result": number, "traceback": None, "children": []}
    return json.dumps({**meta, "date_done": done, "task_id": own})


def _expires_ms(truth: Truth, number: int) -> int:
    return int((_EPOCH + truth.born[number] + truth.expires[number]) * 1000)


def _expiry(truth: Truth, number: int) -> bytes:
    return b"\xfc" + struct.pack("<q", _expires_ms(truth, number)) if np.isfinite(truth.expires[number]) else b""


def _command(*words: str) -> bytes:
    raw = [word.encode() for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in raw)
