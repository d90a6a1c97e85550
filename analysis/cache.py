"""What is kept between runs, in a folder of the user's own: compiled code, and the columns of large snapshots.

In: a folder, or none for the usual one. Out: places for entries, each whole or not there, and what they hold. The
oldest make room when all of them are larger than the limit. Knows nothing of what is in an entry.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from analysis.columns import Columns, open_columns
from analysis.errors import Unusable

LIMIT = 20 * 2**30
"""Bytes of all entries together, unless ``ANALYSIS_CACHE_BYTES`` in the environment says otherwise."""

LIMIT_SWITCH, FOLDER_SWITCH = "ANALYSIS_CACHE_BYTES", "ANALYSIS_CACHE"

_OWN_NAME = "celery-redis-analysis"
_META = "meta.json"
_WRITING = ".writing-"
_ABANDONED_SECONDS = 86_400


@dataclass(frozen=True)
class Entry:
    """What an entry holds: ``meta`` as it was given, and its columns, mapped."""

    meta: Mapping[str, Any]
    columns: Columns


class Cache:
    """A folder for what is kept. It and all that is in it are for its owner only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str) -> Entry | None:
        """The entry ``name``, or None where there is none that is whole."""
        place = self._entries / name
        try:
            meta = json.loads((place / _META).read_text(encoding="utf-8"))
            entry = Entry(meta, open_columns(place))
            os.utime(place / _META)
        except (OSError, ValueError):
            return None
        return entry

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """An empty folder to be filled, for ``keep``; whatever is still in it at the end of the block is removed."""
        self._entries.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_abandoned()
        folder = Path(tempfile.mkdtemp(prefix=_WRITING, dir=self._entries))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, folder: Path, name: str, meta: Mapping[str, Any]) -> None:
        """Make a folder of ``writing`` the entry ``name``, in place of one of before, and let the oldest make room."""
        descriptor = os.open(folder / _META, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(dict(meta), file)
        for path in folder.iterdir():
            # Before the name: after a power cut there is a whole entry or none.
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(self._entries / name, ignore_errors=True)
        try:
            folder.rename(self._entries / name)
        except OSError:
            return  # another process made the same entry meanwhile
        self._make_room(name)

    def _make_room(self, newest: str) -> None:
        entries = [entry for entry in self._entries.iterdir() if not entry.name.startswith(_WRITING)]
        entries.sort(key=lambda entry: (entry.name == newest, _time(entry / _META)), reverse=True)
        left = int(os.environ.get(LIMIT_SWITCH) or LIMIT)
        for entry in entries:
            left -= sum(_size(path) for path in entry.iterdir())
            if left < 0:
                shutil.rmtree(entry, ignore_errors=True)

    def _forget_abandoned(self) -> None:
        for folder in self._entries.glob(f"{_WRITING}*"):
            if time.time() - _time(folder) > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _entries(self) -> Path:
        return self.folder / "snapshots"


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def open_cache(folder: Path | None = None) -> Cache:
    """The cache below ``folder``, made if need be; None = the one that ``ANALYSIS_CACHE`` in the environment names,
    else the user's own cache folder.

    Raises Unusable where it cannot be written, or belongs to another or can be written by others: what is read from it
    is believed, and compiled code in it is run.
    """
    named = folder or os.environ.get(FOLDER_SWITCH) or platformdirs.user_cache_dir(_OWN_NAME, appauthor=False)
    chosen = Path(named)
    kept = chosen / "kept"
    try:
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = kept.stat()
        if not os.access(kept, os.W_OK | os.X_OK):
            raise Unusable("cannot be written", file=os.fspath(chosen))
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror}", file=os.fspath(chosen)) from None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022):
        raise Unusable("is no cache of this user's own: others can write in it", file=os.fspath(kept))
    return Cache(kept)
