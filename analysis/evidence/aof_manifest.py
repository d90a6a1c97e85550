"""The manifest of a multi-part append-only file, and the parts that it names.

In: a manifest (Redis 7.0+), or the names of the files in its folder where there is none. Out: ``PartName``s in their
order. Opens no part; takes no name that leaves the folder.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import Unusable

_LARGEST = 1 << 20
_NAME = re.compile(r"(?P<stem>.+)\.(?P<seq>\d{1,18})\.(?P<type>base|incr)\.(?:rdb|aof)")
BASE, INCREMENT, HISTORY = "b", "i", "h"


@dataclass(frozen=True)
class PartName:
    """A part: its file's ``name``, its number, and its type: b base, i increment, h history (aof.c): what a rewrite has
    made useless and not yet deleted.
    """

    name: str
    seq: int
    type: str

    @property
    def is_base(self) -> bool:
        """Whether it holds a state (of history too), by its name."""
        found = _NAME.fullmatch(self.name)
        return self.type == BASE or (self.type == HISTORY and found is not None and found["type"] == "base")


def read_manifest(path: Path) -> tuple[list[PartName], list[str]]:
    """The parts in the manifest's order, and a line for each of its lines that is none.

    A line is names and values in turn (``file … seq … type …``); names that later versions add are passed over (Redis
    8.0: ``startoffset``). Raises Unusable where there is no part at all.
    """
    with path.open("rb") as file:
        raw = file.read(_LARGEST + 1)
    if len(raw) > _LARGEST or b"\0" in raw:
        raise Unusable("is no manifest of an append-only file", file=path.name)
    parts: list[PartName] = []
    problems: list[str] = []
    for number, line in enumerate(raw.decode("utf-8", "backslashreplace").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            words = shlex.split(line)
        except ValueError:
            words = []
        told = dict(zip(words[::2], words[1::2], strict=False))
        name, seq, kind = told.get("file", ""), told.get("seq", ""), told.get("type", "")
        if not name or not seq.isdecimal() or len(seq) > 18 or kind not in (BASE, INCREMENT, HISTORY):
            problems.append(f"line {number} names no part")
        elif name != Path(name).name or name in (".", ".."):
            problems.append(f"line {number} names a file outside of its folder, which is not read")
        else:
            parts.append(PartName(name, int(seq), kind))
    if not parts:
        raise Unusable(problems[0] if problems else "names no part of an append-only file", file=path.name)
    return parts, problems


def told_by_names(names: Collection[str]) -> dict[str, list[PartName]]:
    """Parts whose manifest is not there, by the stem of their names: the base with the highest number, the increments
    from that number on, and before them what must be history.
    """
    found = {name: match for name in names if (match := _NAME.fullmatch(name))}
    stems: dict[str, list[PartName]] = {}
    for stem in sorted({match["stem"] for match in found.values()}):
        mine = [
            (int(match["seq"]), match["type"] == "incr", name) for name, match in found.items() if match["stem"] == stem
        ]
        newest = max((seq for seq, is_increment, _ in mine if not is_increment), default=-1)
        stems[stem] = [
            PartName(name, seq, HISTORY if seq < newest else INCREMENT if is_increment else BASE)
            for seq, is_increment, name in sorted(mine)
        ]
    return stems
