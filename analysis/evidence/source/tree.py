"""The files of a source tree: which are read, which are not, and one digest over what was read.

In: a folder. Out: ``SourceFile``s with their bytes, the digest, problems. Follows no link, opens only regular files,
and reads no more than the limits below. Parses nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from analysis.errors import Unusable
from analysis.evidence.source.place import printable
from analysis.progress import Progress

MOST_FILES = 50_000
MOST_ENTRIES = 500_000
MOST_BYTES = 128 * 2**20
LARGEST_FILE = 2 * 2**20
DEEPEST_FOLDER = 60
MOST_PROBLEMS = 200

# What others wrote, what tools made, and history: not the application's own source.
_VENDORED = frozenset(
    ".git .hg .svn .tox .nox .venv venv virtualenv .env.d node_modules bower_components site-packages dist-packages "
    "__pycache__ .mypy_cache .pytest_cache .ruff_cache .eggs .idea .vscode .terraform .next .nuxt .cache vendor "
    "third_party .yarn .gradle __pypackages__ .ipynb_checkpoints".split()
)
_LANGUAGES = {
    "python": ".py .pyw .pyi",
    "shell": ".sh .bash .zsh .ksh .mk .bat .ps1",
    "cron": ".cron .crontab",
    "conf": ".conf",
    "settings": ".env .ini .cfg .toml .yaml .yml .json .properties .service .timer .tf .j2 .tpl",
    "script": ".js .mjs .cjs .ts .tsx .jsx .go .rb .rake .php .java .kt .kts .scala .cs .rs .ex .exs .pl .pm .groovy",
    "lua": ".lua",
}
_BY_ENDING = {ending: language for language, endings in _LANGUAGES.items() for ending in endings.split()}
_BY_NAME = {
    "makefile": "shell",
    "gnumakefile": "shell",
    "justfile": "shell",
    "dockerfile": "shell",
    "containerfile": "shell",
    "procfile": "shell",
    "rakefile": "script",
    "crontab": "cron",
    ".env": "settings",
}
_CRON_FOLDERS = ("cron.d", "crontabs")
_MADE = ("-lock.json", "-lock.yaml", ".lock.json", ".min.js", ".map.json", ".bundle.js")
_SHEBANGS = ((b"python", "python"), (b"sh", "shell"), (b"node", "script"), (b"ruby", "script"), (b"perl", "script"))


@dataclass(frozen=True)
class SourceFile:
    """A file that was read: ``name`` is relative to the tree, ``language`` one of python, shell, cron, conf, settings,
    script, lua.
    """

    name: str
    language: str
    data: bytes = field(repr=False)


@dataclass
class SourceTree:
    """Walks a tree once. After ``files`` has ended: ``count``, ``sha256``, ``reasons``, ``problems``.

    ``sha256`` is over the relative name and the content of each file that was read, each preceded by its length (8
    bytes, big-endian), folder by folder in the order of names. ``reasons`` are short, one for each way in which the
    tree was not read whole; vendored folders, binary files and files of no language that is read have none.
    """

    root: Path
    progress: Progress = field(default_factory=Progress)
    count: int = 0
    sha256: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def problem(self, line: str) -> None:
        """Keep a line on something that was not read, as long as there are not too many."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(printable(line))

    def files(self) -> Iterator[SourceFile]:
        """Every file of a known language, in the order of names. Raises Unusable where there is no such folder."""
        digest = hashlib.sha256()
        skipped: Counter[str] = Counter()
        size = 0
        for path, name in self._walk(skipped):
            language = _language(path.name) or ("cron" if path.parent.name in _CRON_FOLDERS else None)
            if language is None and "." in path.name:
                continue
            data = self._read(path, name)
            if data is None:
                continue
            language = language or _by_shebang(data)
            if language is None or b"\0" in data[:8192].replace(b"\0\0\xfe\xff", b""):
                if language == "python":
                    self._lacking(f"{name}: holds null bytes, not read", "with null bytes")
                continue
            if self.count >= MOST_FILES or size + len(data) > MOST_BYTES:
                self._lacking(f"{name}: this and all after it were left out", "after the limit")
                self.reasons["after the limit"] = 0
                break
            self.count += 1
            size += len(data)
            for part in (os.fsencode(name), data):
                digest.update(len(part).to_bytes(8, "big") + part)
            self.progress.advance(len(data))
            yield SourceFile(name, language, data)
        self.sha256 = digest.hexdigest()
        if skipped:
            listed = ", ".join(sorted(skipped)[:12])
            self.problem(f"not the application's own, left out: {sum(skipped.values())} folders ({listed})")

    def _lacking(self, line: str, reason: str) -> None:
        self.reasons[reason] += 1
        self.problem(line)

    def _walk(self, skipped: Counter[str]) -> Iterator[tuple[Path, str]]:
        """Regular files in the order of names. No link is followed, to a folder or a file, wherever it leads."""
        if not self.root.is_dir():
            raise Unusable("is no folder, so it holds no source tree", file=self.root.name)
        entries = 0
        # What is still to be visited, the next at the end: a tree may be deeper than Python's own stack.
        waiting: list[tuple[Path, str, int, bool]] = [(self.root, "", 0, True)]
        while waiting:
            path, name, depth, is_folder = waiting.pop()
            if not is_folder:
                yield path, name
                continue
            try:
                with os.scandir(path) as found:
                    children: list[tuple[Path, str, int, bool]] = []
                    for entry in found:
                        entries += 1
                        if entries > MOST_ENTRIES:
                            self._lacking(f"{name or '.'}: more than {MOST_ENTRIES:,} files", "after the limit")
                            self.reasons["after the limit"] = 0
                            return
                        if kept := self._kept(entry, name, depth, skipped):
                            children.append(kept)
            except OSError as error:
                self._lacking(f"{name or '.'}: cannot be read: {error.strerror}", "that cannot be read")
                continue
            waiting += sorted(children, key=lambda child: child[1], reverse=True)

    def _kept(
        self, entry: os.DirEntry[str], folder: str, depth: int, skipped: Counter[str]
    ) -> tuple[Path, str, int, bool] | None:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_symlink():
            # What a link within the tree leads to is read where it stands.
            if not self._inside(entry.path) and (_language(entry.name) or "." not in entry.name):
                self._lacking(f"{name}: a link out of the tree, not followed", "that are links out of it")
            return None
        if not entry.is_dir(follow_symlinks=False):
            return (Path(entry.path), name, depth, False) if entry.is_file(follow_symlinks=False) else None
        if entry.name.lower() in _VENDORED or entry.name.endswith((".egg-info", ".dist-info")):
            skipped[entry.name] += 1
            return None
        if depth >= DEEPEST_FOLDER:
            self._lacking(f"{name}: deeper than {DEEPEST_FOLDER} folders, not read", "that are too deep")
            return None
        return Path(entry.path), name, depth + 1, True

    def _inside(self, path: str) -> bool:
        root = os.path.realpath(self.root)
        try:
            return os.path.commonpath((root, os.path.realpath(path))) == root
        except (OSError, ValueError):
            return False

    def _read(self, path: Path, name: str) -> bytes | None:
        """The file's bytes; None where it is none, too large, or cannot be read."""
        try:
            # A pipe in place of a file would block, a link could have been put there since.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                about = os.fstat(descriptor)
                if not stat.S_ISREG(about.st_mode):
                    return None
                if about.st_size > LARGEST_FILE:
                    if _language(path.name):
                        text = f"{name}: {about.st_size:,} bytes, more than {LARGEST_FILE:,}, not read"
                        self._lacking(text, "that are too large")
                    return None
                return file.read(LARGEST_FILE)
        except OSError as error:
            self._lacking(f"{name}: cannot be read: {error.strerror}", "that cannot be read")
            return None


def _language(name: str) -> str | None:
    low = name.lower()
    if low.endswith(_MADE):
        return None
    stem, ending = os.path.splitext(low)
    if low in _BY_NAME or stem in ("dockerfile", "makefile", "crontab"):
        return _BY_NAME.get(low) or _BY_NAME[stem]
    if low.startswith(("crontab", "cron.")):
        return "cron"
    if low.startswith(".env"):
        return "settings"
    return _BY_ENDING.get(ending)


def _by_shebang(data: bytes) -> str | None:
    first = data[:120].partition(b"\n")[0]
    if not first.startswith(b"#!"):
        return None
    return next((language for word, language in _SHEBANGS if word in first), None)
