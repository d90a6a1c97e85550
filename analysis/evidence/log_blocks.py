"""A part of a log, all its lines at once: which have the head of Celery's default, and which must be looked at.

In: bytes of whole lines. Out: a ``Block``. That a line is left out of what must be looked at is certain; that one is in
is not: it need not say anything. Works with Arrow and numpy, since a large log has millions of lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.evidence.log_actions import STEMS
from analysis.evidence.log_forms import WORKER_WORDS
from analysis.evidence.log_lines import trimmed
from analysis.evidence.log_times import SECOND, HeadReader

# What a block is worth: smaller ones, and those of another form, are read line by line.
SMALLEST = 16 << 10
_LEAST_SHARE = 4

# Patterns of RE2, which Arrow runs over all lines: these have no look-around, and \d, \w and \s are ASCII's.
# celery/app/defaults.py, worker.log_format and task_log_format, with Python's default form of a time.
_HEAD = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: [A-Z]+/[!-\\^-~]{1,100}\] "
_WHEN = slice(1, 17)
_SECONDS = (18, 19)
_MILLIS = (21, 22, 23)
_HEAD_SIZE = 24


def _any_of(words: Iterable[bytes]) -> str:
    return "|".join(re.escape(word.decode()) for word in sorted(words))


# As log_forms finds its words: between blanks and the marks that may cling to a word.
_MARK = r"[\t-\r \"'=(]"
# What Celery says, what deletes, and what must be taken out of a line before it can be read.
SAYS = rf"(?:^|{_MARK})(?:{_any_of(WORKER_WORDS)})(?:{_MARK}|$)|Task [^\[\]]*\[|(?i:{_any_of(STEMS)})|[\x00\x1b]"
_LEVEL = r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\]?[\t-\r |:-]{1,4}"
_NAMES_TASK = rf"[0-9a-fA-F]{{8}}-[0-9a-fA-F]{{4}}-|(?:^|\] |{_LEVEL})[\w.]+\[[^\]\s]+\]: "
_LOOKED_AT = f"{SAYS}|{_NAMES_TASK}"
# No time has two blanks before it, or no digit; a line of JSON and a banner's are read whatever they hold.
_NO_HEAD = r"^(?:[ \t]{2}|[^\d{|\s-][^\d{|]*$)"


@dataclass(frozen=True)
class Block:
    """Lines, without the empty ones: where in ``octets`` each begins and ends. All arrays are one element per line.

    ``timed``: it has the default head, and its time is from ``at`` to ``until``, µs. ``looked_at``: it may say
    something. ``added``: it has no time, says nothing, and so at most belongs to the event before it.
    """

    octets: NDArray[np.uint8]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    numbers: NDArray[np.int64]
    timed: NDArray[np.bool_]
    at: NDArray[np.int64]
    until: NDArray[np.int64]
    looked_at: NDArray[np.bool_]
    added: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.numbers)

    def line(self, place: int) -> bytes:
        return trimmed(self.octets[self.begins[place] : self.ends[place]].tobytes())


def read_block(first: int, data: bytes, heads: HeadReader) -> Block | None:
    """The lines of ``data``, of which the first has the number ``first``; None where little is gained by that: they are
    few, or of another form.
    """
    if len(data) < SMALLEST:
        return None
    octets = np.frombuffer(data, np.uint8)
    ends = np.append(np.flatnonzero(octets == ord("\n")), len(octets))
    begins = np.append(0, ends[:-1] + 1)
    numbers = np.arange(first, first + len(ends))
    if not (kept := begins < ends).all():
        begins, ends, numbers = begins[kept], ends[kept], numbers[kept]
    lines = parts(octets, begins, ends)
    default = matching(lines, _HEAD)
    added = ~default
    added[added] = matching(lines.filter(pa.array(added)), _NO_HEAD)
    if np.count_nonzero(default | added) * _LEAST_SHARE < len(default):
        return None
    looked_at = matching(lines, _LOOKED_AT)
    added &= ~looked_at
    times = np.zeros((len(default), 2), np.int64)
    timed = default.copy()
    windows = np.lib.stride_tricks.sliding_window_view(octets, _HEAD_SIZE)
    times[default], timed[default] = _times(windows[begins[default]], heads)
    looked_at |= ~(timed | added)
    return Block(octets, begins, ends, numbers, timed, times[:, 0], times[:, 1], looked_at, added)


def parts(octets: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Any:
    """Parts of a text, one behind the other, as Arrow's ``large_binary``."""
    bounds = np.zeros(2 * len(begins) + 1, np.int64)
    bounds[1::2], bounds[2::2] = begins, ends
    # Every other of these is what lies between the parts.
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(octets)]
    both = pa.Array.from_buffers(pa.large_binary(), 2 * len(begins), buffers)
    return both.take(pa.array(np.arange(1, 2 * len(begins), 2)))


def matching(lines: Any, pattern: str) -> NDArray[np.bool_]:
    """Of each line, whether the pattern is found in it. Bytes are letters here, whatever their encoding."""
    found = pc.match_substring_regex(lines, pattern)
    return np.asarray(found.to_numpy(zero_copy_only=False), bool)


def _times(heads: NDArray[np.uint8], reader: HeadReader) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """From when to when each head's time can be, and whether there is such a time."""
    when = np.ascontiguousarray(heads[:, _WHEN])
    pairs = when.view(np.uint64)
    begins = np.ones(len(when), bool)
    begins[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    told = [reader.minute(one.tobytes()) for one in when[begins]]
    minutes = np.array([one or (0, 0) for one in told], np.int64).reshape(-1, 2)
    place = np.cumsum(begins) - 1
    seconds, millis = _number(heads, _SECONDS), _number(heads, _MILLIS)
    times = minutes[place] + (seconds * SECOND + millis * 1000)[:, None]
    known = np.array([one is not None for one in told], bool)[place]
    return times, known & (seconds <= 60)


def _number(heads: NDArray[np.uint8], places: tuple[int, ...]) -> NDArray[np.int64]:
    number = np.zeros(len(heads), np.int64)
    for place in places:
        number = number * 10 + (heads[:, place].astype(np.int64) - ord("0"))
    return number
