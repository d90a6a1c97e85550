"""Source code: the places that delete, expire, flush, rename, forget or purge what Redis holds, or set what does.

In: the folder of a source tree. Out: the frame ``cleanup``, the digest of what was read. Nothing of the tree is
imported or run: Python goes through ``ast``, all else through its text. Weighs nothing.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.evidence.source.calls import Calls
from analysis.evidence.source.configured import WORDS, Configured
from analysis.evidence.source.kinds import Kinds
from analysis.evidence.source.modules import NotPython
from analysis.evidence.source.patterns import covers
from analysis.evidence.source.place import Place
from analysis.evidence.source.project import Project
from analysis.evidence.source.reach import Reach
from analysis.evidence.source.text import Lead, read_text_file
from analysis.evidence.source.tree import SourceFile, SourceTree
from analysis.evidence.source.values import Values
from analysis.frames import frame
from analysis.progress import Progress

__all__ = ["SourceReading", "covers", "read_source"]

MOST_PLACES = 20_000
# Modules without any of these hold no place: a client that no word of theirs tells is given a literal key, or is used
# by a method that little else has.
_TELLS = re.compile(
    rb"\b(?:%b)\b|redis|valkey|celery|caches?[\"' ]*[.\[]|\brq\b|result_ttl|failure_ttl|\bex=|\.(?:keys|scan)\([\"'fb]"
    rb"|\.(?:delete|unlink|flushdb|flushall|p?expire(?:at)?|p?setex|getdel|getex|forget|purge|discard_all|scan_iter"
    rb"|renamenx?|persist|execute_command)\("
    % b"|".join(sorted(re.escape(word) for word in WORDS if word != b"expires")),
    re.IGNORECASE,
)
_ENTERS = re.compile(
    rb"^[ \t]*@[\w.]*(?:get|post|put|patch|delete|head|options|route|websocket|task|actor|job|command|group|callback"
    rb"|cli|connect|receiver|on_event|on_startup|on_shutdown|listens_for|scheduled_job|repeat_every|repeat_at|crontab|cron"
    rb"|before_\w+|after_\w+|teardown_\w+|middleware|errorhandler|exception_handler)\b"
    rb"|beat_schedule|add_periodic_task|[\"']schedule[\"']|urlpatterns|APIRouter|Blueprint|include_router|\.mount\("
    rb"|add_(?:url_rule|api_route|route|resource|job|cron_job|event_handler|router)"
    rb"|\.register\("
    rb"|\.connect\(|lifespan|on_startup|\.do\(|BaseCommand|Task\)|atexit",
    re.IGNORECASE | re.MULTILINE,
)
_REDIS_CACHE = re.compile(
    rb"django_redis|RedisCache|cache\.backends\.redis|redis_cache\.|RedisSentinelCache|RedisClusterCache|CACHE_REDIS_"
    rb"|CACHE_TYPE[\"']?\s*[=:]\s*[\"']redis|rediscache"
)
# A cache that the tree takes from its surroundings, and so may be one of Redis.
_UNTOLD_CACHE = re.compile(rb"(?:CACHES|CACHE_TYPE|CACHE_URL)[\"']?\s*[=:](?!\s*(?:\{|[\"']))|cache_url|CACHE_URL")
_PREFIX = re.compile(rb"global_keyprefix[\"']?\s*[=:]\s*[\"']([^\"'\n]{1,100})[\"']")


@dataclass(frozen=True)
class SourceReading:
    """What a source tree says.

    ``cleanup`` is the frame, in the order of files and lines, a row for each pattern of a place; ``files`` counts the
    files that were read; ``sha256`` is over their names and contents (``SourceTree``). Where not all could be read,
    ``complete`` is False and ``reason`` says why in one line; ``problems`` are lines, one for each file that was not
    read or was read in part, and for vendored folders, which are left out without making the reading incomplete.
    """

    cleanup: pd.DataFrame
    files: int
    sha256: str
    complete: bool = True
    reason: str | None = None
    problems: tuple[str, ...] = ()


def read_source(root: Path, *, progress: Progress | None = None) -> SourceReading:
    """The places of a tree that bear on keys of Redis. Raises Unusable where ``root`` is no folder.

    Limits (``tree``): 50,000 files, 128 MiB, 2 MiB a file; what is over them is said. ``pattern`` is as far as
    it is literal, with ``*`` for the rest; rows that ``sets`` have the keys that the setting decides on, where it has a
    name for them. ``reached`` of what is no Python is the file itself: its calls are not followed.
    """
    # Syntax trees are millions of objects that stay: the collector would go through all of them again and again, so it
    # runs where they are let go (``Project``).
    collects = gc.isenabled()
    gc.disable()
    try:
        return _Reader(SourceTree(root, progress or Progress())).read()
    finally:
        if collects:
            gc.enable()


class _Reader:
    def __init__(self, tree: SourceTree) -> None:
        self.tree = tree
        self.project = Project(self._not_python)
        self.values = Values(self.project)
        self.places: list[Place] = []
        self.leads: list[Lead] = []
        self.scripts: dict[str, str] = {}
        self.told: list[str] = []
        self.caches_are_redis = False
        self.prefix = ""

    def read(self) -> SourceReading:
        for file in self.tree.files():
            self._take(file)
        self.project.learn_imports()
        calls = Calls(Kinds(self.values), caches_are_redis=self.caches_are_redis, key_prefix=self.prefix)
        configured = Configured(self.values)
        for name in self.project.names:
            module = self.project.module(name) if _TELLS.search(self.project.data(name)) else None
            if module is not None:
                self._keep(calls.places(module))
                self._keep(configured.places(module))
        reach = self._entries()
        places = [self._reached(place, reach) for place in self.places]
        if self.project.tired:
            self.tree.reasons["after which calls were not followed further"] = 0
            self.tree.problem("calls were followed in part: the tree has too many functions that are named alike")
        return self._reading(places)

    def _entries(self) -> Reach:
        """What leads into the tree; of a tree in which nothing was found nobody asks."""
        reach = Reach(self.values)
        if any(place.scope is not None for place in self.places):
            for name in self.project.names:
                module = self.project.module(name) if _ENTERS.search(self.project.data(name)) else None
                if module is not None:
                    reach.gather(module)
        reach.finish(self.leads, self.scripts)
        return reach

    def _take(self, file: SourceFile) -> None:
        if _REDIS_CACHE.search(file.data) or (file.language == "python" and _UNTOLD_CACHE.search(file.data)):
            self.caches_are_redis = True
        if not self.prefix and (found := _PREFIX.search(file.data)):
            self.prefix = found[1].decode("utf-8", "backslashreplace")
        if file.language == "python":
            self.project.add(file.name, file.data)
            return
        reading = read_text_file(file)
        self._keep(reading.places)
        self.leads += reading.leads
        if file.language in ("shell", "script"):
            self.scripts[file.name] = f"script {file.name}"

    def _keep(self, places: Iterable[Place]) -> None:
        for place in places:
            if len(self.places) < MOST_PLACES:
                self.places.append(place)
            else:
                self.tree.reasons["after the limit"] = 0
                return

    def _not_python(self, name: str, reason: NotPython) -> None:
        """A module that does not parse is read as text, as other languages are."""
        self.tree.reasons["that are not Python of today (read as text)"] += 1
        self.tree.problem(f"{name}:{reason.line}: not parsed ({reason}), read as text")
        self._keep(read_text_file(SourceFile(name, "python", self.project.data(name)), follows=False).places)

    def _reached(self, place: Place, reach: Reach) -> Place:
        if place.scope is not None:
            labels = reach.labels(place.file, place.scope)
            return place.reached_by(labels or (place.reached if place.does == "sets" else None))
        if place.reached == f"script {place.file}" and (started := reach.started(place.file)):
            return place.reached_by("; ".join(f"{label} → {place.reached}" for label in started))
        return place

    def _reading(self, places: list[Place]) -> SourceReading:
        places = sorted(dict.fromkeys(places), key=lambda place: (place.file, place.line))
        reasons = [
            f"{count:,} files {what}" if count else "files after the limit" for what, count in self.tree.reasons.items()
        ]
        return SourceReading(
            cleanup=frame("cleanup", [place.row() for place in places]),
            files=self.tree.count,
            sha256=self.tree.sha256,
            complete=not reasons,
            reason=f"not read whole: {', '.join(reasons)}" if reasons else None,
            problems=tuple(self.tree.problems),
        )
