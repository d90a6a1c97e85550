"""The commonest events of a worker's log, taken out of a block at once: received, succeeded, and a task's own lines.

In: a ``Block``. Out: which of its lines these are, and their columns. Whatever is not plainly one of these is left to
the reader of single lines, which tells the same of these.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.columns import Columns
from analysis.evidence.log_blocks import SAYS, Block, matching, parts
from analysis.evidence.log_rows import UNKNOWN
from analysis.redact import redact_text, secret_name

_LONGEST = 2_000
_LONGEST_NAME = 200
# celery/app/trace.py, LOG_RECEIVED and LOG_SUCCESS; worker/strategy.py, "Received task: …" up to 5.1; and
# task_log_format, whose line is the task's own. Only plain names: elsewhere it must be seen where they end.
_HEAD = r"^\[[^\]]+\] "
_NAMED = r"[A-Za-z0-9_.]+\[[!-Z\\^-~]+\]"
_FORMS = (
    ("received", "Task ", rf"{_HEAD}Task {_NAMED} received$"),
    ("succeeded", "Task ", rf"{_HEAD}Task {_NAMED} succeeded in [0-9]{{1,5}}\.[0-9]{{1,20}}(?:e-[0-9][0-9])?s: "),
    ("received", "Received task: ", rf"{_HEAD}Received task: {_NAMED} *$"),
    ("mentioned", "", rf"{_HEAD}{_NAMED}: "),
)
_SUCCEEDED, _RECEIVED, _MENTIONED = 1, 2, 3
_KINDS = pa.array([kind for kind, _, _ in _FORMS], pa.large_string())
_BEFORE_NAME = np.array([len(before) for _, before, _ in _FORMS])
_BEFORE_SECONDS = len("] succeeded in ")
# NULs and colours, which are taken out of a line before it is read.
_TAKEN_OUT = r"[\x00\x1b]"
_SAYS_MORE = rf"{SAYS}|\]: .*[0-9a-fA-F]{{8}}-[0-9a-fA-F]{{4}}-"
# What analysis.redact looks for: parts of a secret's name, URLs, and the letters whose small ones are those of ASCII.
_STEMS = "pass|pwd|secret|token|auth|key|cred|cookie|sess|bearer|jwt"
_OTHERS = (":/", ":\\/", "redis-cli", "PRIVATE KEY")
MAY_HOLD_SECRET = rf"(?i:{_STEMS})|:\\?/|redis-cli|\xe2\x84\xaa|\xc4\xb0"
_STEM = re.compile(_STEMS)
_OF_NAME = string.ascii_letters + string.digits + "_.-"
_REST_OF_NAME = re.compile(r"[\w.-]*")
_LONGEST_SECRET_NAME = 200


@dataclass(frozen=True)
class Common:
    """``found``: of each line of a block, whether it is a common event. ``columns``: of those that are; the text as it
    was written.
    """

    found: NDArray[np.bool_]
    columns: Columns


def common_events(block: Block) -> Common:
    """The common events of a block: lines that say nothing else, and that no line without a time follows."""
    places, forms = _places(block)
    parts_of = _Parts(block, places, forms)
    texts, sound = _as_text(parts_of.texts())
    sound &= parts_of.short_names()
    if not sound.all():
        parts_of = _Parts(block, places[sound], forms[sound])
        texts = texts.filter(pa.array(sound))
    found = np.zeros(len(block), bool)
    found[parts_of.places] = True
    return Common(found, parts_of.columns() | {"text": texts})


def redacted(texts: Any) -> Any:
    """The texts without their secrets."""
    hidden = matching(texts.cast(pa.large_binary()), MAY_HOLD_SECRET)
    if not hidden.any():
        return texts
    mask = pa.array(hidden)
    given = texts.filter(mask).to_pylist()
    clean = pa.array([one if names_no_secret(one) else redact_text(one) for one in given], pa.large_string())
    return pc.replace_with_mask(texts, mask, clean)


def names_no_secret(text: str) -> bool:
    """Whether that is plain at once, as of ``'total_tokens': 7``; to look for secrets is ten times as much work."""
    if not text.isascii() or any(one in text for one in _OTHERS):
        return False
    for stem in _STEM.finditer(text.lower()):
        at = stem.start()
        before = text[max(0, at - _LONGEST_SECRET_NAME) : at]
        name = before[len(before.rstrip(_OF_NAME)) :] + _REST_OF_NAME.match(text, at)[0]  # type: ignore[index]
        if name.lower() == "key" or secret_name(name):
            return False
    return True


def _places(block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where common events are, and of which form each is."""
    followed = np.append(block.timed[1:], False)
    last = block.octets[block.ends - 1]
    # A last blank, and in a text of more than ASCII also other letters, would be stripped.
    plain = (last >= ord(" ")) & (last < 0x7F)
    short = block.ends - block.begins < _LONGEST
    places = np.flatnonzero(block.timed & block.looked_at & followed & plain & short)
    lines = parts(block.octets, block.begins[places], block.ends[places])
    forms = np.full(len(places), -1)
    for form, (_, _, pattern) in enumerate(_FORMS):
        forms[matching(lines, pattern)] = form
    forms[(forms != _RECEIVED) & (block.octets[block.ends[places] - 1] == ord(" "))] = -1
    forms[matching(lines, _TAKEN_OUT)] = -1
    forms[(forms == _MENTIONED) & matching(lines, _SAYS_MORE)] = -1
    return places[forms >= 0], forms[forms >= 0]


class _Parts:
    """Where in each line its parts are."""

    def __init__(self, block: Block, places: NDArray[np.int64], forms: NDArray[np.int64]) -> None:
        self.block, self.places, self.forms = block, places, forms
        self.begins = block.begins[places]
        lines = self._parts(self.begins, block.ends[places])
        self.slash = self.begins + _first(lines, "/")
        self.messages = self.begins + _first(lines, "]") + len("] ")
        messages = self._parts(self.messages, block.ends[places])
        self.names = self.messages + _BEFORE_NAME[forms]
        self.name_ends = self.messages + _first(messages, "[")
        self.id_ends = self.messages + _first(messages, "]")
        self.ends = np.where(forms == _RECEIVED, self.id_ends + 1, block.ends[places])

    def _parts(self, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Any:
        return parts(self.block.octets, begins, ends)

    def short_names(self) -> NDArray[np.bool_]:
        """Whether name and ID are as short as they always are, and as whoever reads single lines wants them."""
        sizes = np.maximum(self.name_ends - self.names, self.id_ends - self.name_ends - 1)
        return np.asarray(sizes <= _LONGEST_NAME)

    def texts(self) -> Any:
        return self._parts(self.messages, self.ends)

    def columns(self) -> Columns:
        """All but the text."""
        count = len(self.places)
        process = self._parts(self.slash + 1, self.messages - len("] ")).cast(pa.large_string())
        worker, blank = (pa.scalar(word, pa.large_string()) for word in ("worker", " "))
        return {
            "at": self.block.at[self.places],
            "not_after": self.block.until[self.places],
            "line": self.block.numbers[self.places],
            "process": pc.binary_join_element_wise(worker, process, blank),
            "kind": _KINDS.take(pa.array(self.forms)),
            "task_id": self._parts(self.name_ends + 1, self.id_ends).cast(pa.large_string()),
            "name": self._parts(self.names, self.name_ends).cast(pa.large_string()),
            "count": np.full(count, UNKNOWN),
            "seconds": self._seconds(),
        }

    def _seconds(self) -> NDArray[np.float64]:
        seconds = np.full(len(self.places), np.nan)
        told = self.forms == _SUCCEEDED
        begins = self.id_ends[told] + _BEFORE_SECONDS
        numbers = self._parts(begins, begins + _first(self._parts(begins, self.ends[told]), "s"))
        seconds[told] = numbers.cast(pa.large_string()).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return seconds


def _first(lines: Any, letter: str) -> NDArray[np.int64]:
    return np.asarray(pc.find_substring(lines, letter).to_numpy(zero_copy_only=False), np.int64)


def _as_text(octets: Any) -> tuple[Any, NDArray[np.bool_]]:
    """As text, and which of them are UTF-8: of the others there is none."""
    try:
        return octets.cast(pa.large_string()), np.ones(len(octets), bool)
    except pa.ArrowInvalid:
        sound = np.array([_is_text(one) for one in octets.to_pylist()], bool)
        return pc.if_else(pa.array(sound), octets, None).cast(pa.large_string()), sound


def _is_text(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
