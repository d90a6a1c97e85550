"""One walk through a snapshot, with what goes on beside it: its checksum, its hash, and where its columns go.

In: a snapshot's bytes, and a cache or none. Out: the columns of all keys, and what was told beside them. A large file's
columns lie in files, in the cache or in the system's folder for temporary files, and take no memory of their own.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from analysis.cache import Cache
from analysis.columns import Columns, FileColumns, MemoryColumns, NotKept
from analysis.evidence.crc64 import Register
from analysis.evidence.rdb_blocks import Walk
from analysis.evidence.rdb_values import Buffer
from analysis.progress import Progress

CHECKSUM_SIZE = 8
CHECKSUM_SINCE = 5
"""RDB version from which on a snapshot ends in a checksum."""

_STEP = 16 * 2**20
_ENDS = 64 * 1024
_FORM = 1
"""Of what is kept in the cache; another number for every change of the columns or of what they mean."""


@dataclass(frozen=True)
class Told:
    """What a walk tells beside the columns (``rdb.Snapshot`` has the meanings). ``sha256`` is None where not asked."""

    aux: dict[str, str]
    checksum: str
    stopped_at: int | None
    reason: str | None
    sha256: str | None = None


def read_small(walk: Walk, progress: Progress) -> tuple[Told, Columns]:
    """Walk to the end, the columns in memory."""
    columns = MemoryColumns()
    return _follow(walk, columns, progress), columns.finish()


def read_large(walk: Callable[[], Walk], cache: Cache | None, name: str, progress: Progress) -> tuple[Told, Columns]:
    """The entry ``name`` of the cache, else a walk to the end that becomes it; without a cache, columns in mapped
    files.

    Where the disk is full or may not be written, the columns are in memory, and that is said.
    """
    if cache and (entry := cache.find(name)):
        return Told(**entry.meta), entry.columns
    try:
        with cache.writing() if cache else aside() as folder:
            columns = FileColumns(folder)
            try:
                told = _follow(walk(), columns, progress, hashed=cache is not None)
                whole = columns.finish()
            finally:
                columns.close()
            if cache:
                cache.keep(folder, name, asdict(told))
            return told, whole
    except NotKept as error:
        progress.say(f"nothing can be kept on disk ({error.strerror}): reading into memory")
        return read_small(walk(), Progress())


@contextmanager
def aside() -> Iterator[Path]:
    """A folder for once. What is mapped of it stays until it is let go, whatever becomes of its name."""
    try:
        folder = TemporaryDirectory(prefix="analysis-columns-", ignore_cleanup_errors=True)
    except OSError as error:
        raise NotKept(*error.args) from None
    with folder as name:
        yield Path(name)


def fingerprint(path: Path, buffer: Buffer) -> str:
    """What tells a file from another, and from itself when it has changed, without reading all of it."""
    found = path.stat()
    parts = [_FORM, found.st_dev, found.st_ino, found.st_mtime_ns, len(buffer)]
    ends = hashlib.sha256(" ".join(map(str, parts)).encode())
    ends.update(buffer[:_ENDS])
    ends.update(buffer[-_ENDS:])
    return ends.hexdigest()


def _follow(walk: Walk, columns: MemoryColumns | FileColumns, progress: Progress, *, hashed: bool = False) -> Told:
    """Walk to the end; the checksum, and the hash where it is wanted, are computed beside it in threads."""
    register, digest = Register(walk.buffer, walk.kernels), hashlib.sha256()
    view = memoryview(walk.buffer)
    checked = 0
    with ExitStack() as threads:
        checker = threads.enter_context(_beside(register.take)) if walk.kernels.compiled else None
        hasher = threads.enter_context(_beside(lambda begin, end: digest.update(view[begin:end]))) if hashed else None
        for block in walk.blocks():
            columns.append(block)
            if checker:
                checker(walk.position)
            if hasher:
                hasher(walk.position)
            progress.advance(walk.position - checked)
            checked = walk.position
        if hasher:
            hasher(len(view))
    progress.advance(len(view) - checked)
    told = _ending(walk, register)
    return Told(walk.aux, *told, digest.hexdigest() if hashed else None)


@contextmanager
def _beside(take: Callable[[int, int], Any]) -> Iterator[Callable[[int], None]]:
    """Gives a function to be called with how far one has come: ``take`` follows in a thread, in small steps.

    It waits where ``take`` falls behind, so that what it says of progress is true. At the end all has been taken.
    """
    waiting: deque[Future[Any]] = deque()
    reached = 0

    def reach(end: int) -> None:
        nonlocal reached
        while reached < end:
            step = min(end, reached + _STEP)
            waiting.append(thread.submit(take, reached, step))
            reached = step
            while len(waiting) > 4:
                waiting.popleft().result()

    thread = ThreadPoolExecutor(1)
    try:
        yield reach
        while waiting:
            waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def _ending(walk: Walk, register: Register) -> tuple[str, int | None, str | None]:
    """What can be said of the end: checksum, stopped_at, reason."""
    if walk.reason:
        return "not reached", walk.position, walk.reason
    end, said = walk.position, "absent"
    if walk.version >= CHECKSUM_SINCE:
        stored = walk.buffer[end : end + CHECKSUM_SIZE]
        if len(stored) < CHECKSUM_SIZE:
            return "not reached", end, "cut: the file ends inside its checksum"
        if not any(stored):
            said = "off"
        elif register.up_to(end) != int.from_bytes(stored, "little"):
            return "wrong", end, "damaged: the checksum does not fit, so what was read may be wrong"
        else:
            said = "verified"
        end += CHECKSUM_SIZE
    if rest := len(walk.buffer) - end:
        return said, end, f"{rest} bytes behind the snapshot's end, which are no part of it"
    return said, None, None
