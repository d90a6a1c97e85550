"""The files of a case: which are evidence and of what kind, which server they belong to, and which were not used.

In: a folder, or one file. Out: ``CaseFile``s and ``Ignored``s, by name only; nothing is opened. Follows no link that
leaves the case.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

MOST_FILES = 100_000
SOURCE = "src"
"""The folder of a case that holds source code; it is read as a tree, not as files of the case."""
NOT_YET = "this version of the kit does not read {}"

# Kinds by name, the more special first (contract: "Where two names fit, the more special one wins").
_STAMP = r"(?:-(?P<stamp>\d{8}T\d{6}Z))?"
_KINDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"case\.toml", "case.toml"),
        (rf"info{_STAMP}\.txt", "info"),
        (rf"config{_STAMP}\.json", "config"),
        (rf"slowlog{_STAMP}\.json", "slowlog"),
        (rf"clients{_STAMP}\.txt", "clients"),
        (rf"acl-log{_STAMP}\.json", "ACL LOG"),
        (rf"latency{_STAMP}\.json", "LATENCY"),
        (rf"memory-stats{_STAMP}\.json", "MEMORY STATS"),
        (r"backlog-\d+\.resp", "replication backlog"),
        (r"capture\.json", "capture.json"),
        (r"monitor.*\.log", "MONITOR log"),
        (r"keyspace.*\.log", "keyspace log"),
        (r".*\.aof|.*\.manifest|.*\.aof\.\d+\.base\.rdb", "append-only file"),
        (r".*\.rdb", "snapshot"),
        (r"archive-.*\.parquet", "archive"),
        (r".*\.log(?:[.-].*)?", "log"),
    )
)


@dataclass(frozen=True)
class Ignored:
    """A file that was not used. ``left_out``: it is, or claims to be, evidence, which the case then lacks."""

    path: str
    reason: str
    left_out: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class CaseFile:
    """A file that by its name is evidence; ``name`` is relative to the case, ``stamp`` the time in it."""

    path: Path
    name: str
    kind: str
    server: str
    stamp: pd.Timestamp | None


def find_files(root: Path) -> tuple[list[CaseFile], list[Ignored]]:
    """The files of a case by kind, and those that are none. Follows no link that leaves the case."""
    if root.is_file():
        kind, stamp = _kind(root.name)
        if kind in ("case.toml", "capture.json"):
            return [], [Ignored(root.name, "is no evidence by itself; give the folder it is in", True)]
        return [CaseFile(root, root.name, kind or "log", "", stamp)], []
    files: list[CaseFile] = []
    ignored: list[Ignored] = []
    for path, name in _walk(root, ignored):
        parts = Path(name).parts
        in_server = parts[0] == "servers" and len(parts) > 2
        server, inner = (parts[1], parts[2:]) if in_server else ("", parts)
        kind, stamp = _kind(parts[-1])
        if kind == "case.toml" and name != "case.toml":
            kind = ""
        if inner[0] == "scan" and name.endswith(".parquet"):
            kind = "keys read by SCAN"
        elif inner[0] == "archive" and name.endswith(".parquet"):
            kind = "archive"
        elif not kind and inner[0] == "logs":
            kind = "log"
        if kind == "keys read by SCAN":
            ignored.append(Ignored(name, NOT_YET.format(kind), True))
        elif kind == "capture.json":
            ignored.append(Ignored(name, "only tells how the case was captured"))
        elif kind:
            files.append(CaseFile(path, name, kind, server, stamp))
        else:
            ignored.append(Ignored(name, "no evidence by its name"))
    return files, ignored


def _kind(name: str) -> tuple[str, pd.Timestamp | None]:
    bare = name[:-3] if name.endswith(".gz") else name
    for pattern, kind in _KINDS:
        if found := pattern.fullmatch(bare if kind == "log" else name):
            stamp = found.groupdict().get("stamp")
            moment = pd.to_datetime(stamp, format="%Y%m%dT%H%M%SZ", utc=True, errors="coerce") if stamp else None
            return kind, None if moment is None or pd.isna(moment) else moment.as_unit("us")
    return "", None


def _walk(root: Path, ignored: list[Ignored]) -> Iterator[tuple[Path, str]]:
    """Every regular file below ``root`` with its name relative to it, in order; the rest goes to ``ignored``."""

    def unreadable(error: OSError) -> None:
        ignored.append(Ignored(_relative(Path(error.filename), root), f"cannot be read: {error.strerror}", True))

    count = 0
    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders.sort()
        here = Path(folder)
        for name in list(folders):
            path = here / name
            relative = _relative(path, root)
            if path.is_symlink():
                ignored.append(Ignored(relative, "a link to a folder, not followed", True))
            elif name.startswith(".") or name == "__pycache__":
                ignored.append(Ignored(relative, "a hidden folder"))
            elif relative == SOURCE:
                pass  # read by itself: ``Case.cleanup``
            elif (kind := _kind(name)[0]) and kind != "log":
                ignored.append(Ignored(relative, f"a folder in place of a file ({kind})", True))
            else:
                continue
            folders.remove(name)
        for name in sorted(names):
            path = here / name
            relative = _relative(path, root)
            count += 1
            if count > MOST_FILES:
                ignored.append(
                    Ignored(relative, f"more than {MOST_FILES:,} files: this and all after it were left out", True)
                )
                folders.clear()
                return
            if path.is_symlink() and not _inside(path, root):
                ignored.append(Ignored(relative, "a link out of the case, not followed", True))
            elif not path.is_file():
                ignored.append(Ignored(relative, "not a regular file", bool(_kind(name)[0])))
            elif name.startswith("."):
                ignored.append(Ignored(relative, "a hidden file"))
            else:
                yield path, relative


def _relative(path: Path, root: Path) -> str:
    """The name relative to the case, on one line whatever it holds: what cannot be printed is escaped."""
    name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def _inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False
