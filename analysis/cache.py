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

from analysis.columns import Columns, NotKept, open_columns
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

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit

    def find(self, name: str) -> Entry | None:
        """The entry ``name``, or None where there is none that is whole."""
        place = self._entries / name
        try:
            told = json.loads((place / _META).read_text(encoding="utf-8"))
            if told["files"] != _sizes(place):
                return None
            entry = Entry(dict(told["meta"]), open_columns(place))
            os.utime(place / _META)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return entry

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """An empty folder to be filled, for ``keep``; whatever is still in it at the end of the block is removed.

        NotKept where there can be none.
        """
        try:
            self._entries.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._forget_abandoned()
            folder = Path(tempfile.mkdtemp(prefix=_WRITING, dir=self._entries))
        except OSError as error:
            raise NotKept(*error.args) from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, folder: Path, name: str, meta: Mapping[str, Any]) -> None:
        """Make a folder of ``writing`` the entry ``name``, in place of one of before, and let the oldest make room.

        NotKept where the disk is full.
        """
        try:
            descriptor = os.open(folder / _META, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"files": _sizes(folder), "meta": dict(meta)}, file)
            for path in folder.iterdir():
                # Before the name: after a power cut there is a whole entry or none.
                with path.open("rb") as written:
                    os.fsync(written.fileno())
        except OSError as error:
            raise NotKept(*error.args) from None
        shutil.rmtree(self._entries / name, ignore_errors=True)
        try:
            folder.rename(self._entries / name)
            self._make_room(name)
        except OSError:
            # Another process made the same entry meanwhile, or is making room too.
            return

    def _make_room(self, newest: str) -> None:
        """The newest stays, and what was used last, as far as that is within the limit."""
        left = self.limit
        entries = self._entries.glob(f"*/{_META}")
        for entry in sorted(entries, key=lambda path: (path.parent.name == newest, _time(path)), reverse=True):
            left -= sum(_sizes(entry.parent).values())
            if left < 0:
                shutil.rmtree(entry.parent, ignore_errors=True)

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


def _sizes(folder: Path) -> dict[str, int]:
    """The files of an entry, but for what is told of them."""
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.name != _META}


def open_cache(folder: Path | None = None) -> Cache:
    """The cache below ``folder``, made if need be; None = the one that ``ANALYSIS_CACHE`` in the environment names,
    else the user's own cache folder.

    Raises Unusable where it cannot be written, or belongs to another or can be written by others: what is read from it
    is believed, and compiled code in it is run. And where ``ANALYSIS_CACHE_BYTES`` is no number.
    """
    stated = os.environ.get(LIMIT_SWITCH) or str(LIMIT)
    if not (stated.isascii() and stated.isdigit()):
        raise Unusable(f"must be a whole number of bytes, not {stated[:40]!r}", file=LIMIT_SWITCH)
    named = folder or os.environ.get(FOLDER_SWITCH) or platformdirs.user_cache_dir(_OWN_NAME, appauthor=False)
    chosen = Path(named)
    kept = chosen / "kept"
    try:
        # One by one: the mode of parents that mkdir makes is another.
        for place in (*reversed(chosen.parents), chosen, kept):
            if not place.exists():
                place.mkdir(mode=0o700, exist_ok=True)
        found = kept.stat()
        if not os.access(kept, os.W_OK | os.X_OK):
            raise Unusable("cannot be written", file=os.fspath(chosen))
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror}", file=os.fspath(chosen)) from None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022):
        raise Unusable("is no cache of this user's own: others can write in it", file=os.fspath(kept))
    return Cache(kept, int(stated))
