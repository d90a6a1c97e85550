"""A stream of commands, block by block, past what is damaged in it.

In: bytes of an append-only file, or of a replication backlog. Out: ``Block``s of commands with the places of their
arguments, and where and why the stream could not be read. Knows the protocol; not what a command does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.evidence import resp_kernel as kernel
from analysis.evidence.rdb_values import Buffer
from analysis.evidence.texts import decoded_texts
from analysis.kernels import Kernels

Numbers = NDArray[np.int64]

_BLOCK_ROWS = 16_384
_FIRST_ARGUMENTS = 2**18
_MOST_NAMES = 1_024
_CHAIN = 16
"""So many commands, one whole behind the other, are taken for a stream: text in a value that looks like a command is
seldom followed by another."""
_MOST_TRIALS = 10_000
_MOST_GAPS = 1_000

_WHY = {kernel.CUT: "ends inside a command", kernel.BROKEN: "no command begins here"}


@dataclass(frozen=True)
class Block:
    """Commands, one after the other: of each its place, the number of its name (``Stream.names``; NOTE is a ``#``
    line, MANY a name that has no number), the first of its arguments and how many it has. ``places`` has place and size
    of every argument; a command's first is its name.
    """

    offsets: Numbers
    names: Numbers
    first: Numbers
    count: Numbers
    places: Numbers

    def __len__(self) -> int:
        return len(self.offsets)


@dataclass(frozen=True)
class Gap:
    """Bytes that are no commands: from ``begin`` to ``end``, where commands begin again, if they do (else the end)."""

    begin: int
    end: int
    reason: str


class Stream:
    """The commands in ``buffer[start:end]``.

    After ``blocks`` has been gone through, ``gaps`` lists what could not be read, in order. ``names`` are the spellings
    met, by their numbers.
    """

    def __init__(self, buffer: Buffer, start: int, end: int, kernels: Kernels, *, torn_head: bool = False) -> None:
        self.buffer, self.start, self.end, self.kernels = buffer, start, end, kernels
        self.source = kernels.source(buffer)
        self.octets = np.frombuffer(buffer, np.uint8)
        self.names: list[bytes] = []
        self.gaps: list[Gap] = []
        self._torn_head = torn_head
        self._tried = (
            kernels.numbers(kernel.STATES),
            kernels.numbers(kernel.WIDTH * _CHAIN),
            kernels.numbers(2 * _CHAIN * 64),
            kernels.numbers(2),
        )

    def blocks(self) -> Iterator[Block]:
        """Every block. What is taken beside them is bounded by a block, or by one command."""
        walk = self.kernels(kernel.walk_commands)
        state = self.kernels.numbers(kernel.STATES)
        rows = self.kernels.numbers(kernel.WIDTH * _BLOCK_ROWS)
        arguments = self.kernels.numbers(_FIRST_ARGUMENTS)
        names = self.kernels.numbers(2 * _MOST_NAMES)
        self.gaps, self.names = [], []
        state[kernel.POSITION] = self._head() if self._torn_head else self.start
        status = kernel.FULL
        while status != kernel.DONE:
            status, count = walk(self.source, self.end, state, rows, arguments, names)
            for number in range(len(self.names), int(state[kernel.NAMES])):
                at, size = int(names[2 * number]), int(names[2 * number + 1])
                self.names.append(self.buffer[at : at + size])
            if count:
                yield self._block(rows, arguments, count)
            if status == kernel.NEED_ROOM:
                # At most a million arguments (kernel.MOST_ARGUMENTS), each of six bytes at least that are there.
                arguments = self.kernels.numbers(2 * len(arguments))
            elif status in _WHY:
                begin = int(state[kernel.POSITION])
                # A command that would go on behind the end holds all the rest, unless that is a long chain itself: a
                # value may well look like one command.
                resumed = self._resumed(begin + 1, chain=status == kernel.CUT)
                if len(self.gaps) >= _MOST_GAPS:
                    resumed = self.end
                self.gaps.append(Gap(begin, resumed, _WHY[status]))
                state[kernel.POSITION] = resumed
                status = kernel.FULL if resumed < self.end else kernel.DONE

    def _block(self, rows: Any, arguments: Any, count: int) -> Block:
        table = np.frombuffer(rows, np.int64).reshape(-1, kernel.WIDTH)[:count]
        last = table[-1]
        used = int(last[kernel.FIRST] + last[kernel.ARGUMENTS])
        places = np.frombuffer(arguments, np.int64)[: 2 * used].reshape(used, 2).copy()
        offsets, names, first, counts = (table[:, column].copy() for column in range(kernel.WIDTH))
        return Block(offsets, names, first, counts, places)

    def _head(self) -> int:
        """Where the first whole command begins."""
        begin = self._resumed(self.start)
        if begin > self.start:
            self.gaps.append(Gap(self.start, begin, "begins inside a command"))
        return begin

    def _resumed(self, at: int, *, chain: bool = False) -> int:
        """The first place from ``at`` on with a chain of commands, so many or, unless ``chain``, as far as the bytes
        go; else the end.
        """
        state, rows, arguments, names = self._tried
        walk = self.kernels(kernel.walk_commands)
        beside = {b"\n*": -1, b"\n#": -1}
        for _ in range(_MOST_TRIALS):
            if self.buffer[at : at + 1] not in (b"*", b"#"):
                for mark, found in beside.items():
                    if found < at - 1:
                        found = self.buffer.find(mark, max(at - 1, 0), self.end)
                        beside[mark] = found if found >= 0 else self.end
                at = min(beside.values()) + 1
            if at >= self.end:
                break
            state[kernel.POSITION], state[kernel.NAMES] = at, 0
            status, count = walk(self.source, self.end, state, rows, arguments, names)
            if status == kernel.FULL or (not chain and count and status in (kernel.DONE, kernel.CUT)):
                return at
            at += 1
        return self.end

    def texts(self, places: Numbers) -> pa.Array:
        """The bytes at ``places`` (place and size, one row each) as Arrow's text."""
        total = int(places[:, 1].sum())
        out, ends = self.kernels.room(total), self.kernels.numbers(len(places) + 1)
        flat = self.kernels.given(np.ascontiguousarray(places).reshape(-1))
        made = self.kernels(kernel.gather)(self.source, flat, len(places), out, ends)
        return decoded_texts(np.frombuffer(ends, np.int64).copy(), bytes(out[:made]))

    def words(self, places: Numbers) -> NDArray[np.uint64]:
        """Texts of up to eight bytes in capitals, as numbers (``word``); longer ones as 0."""
        letters = self._letters(places, 8)
        small = (letters >= 97) & (letters <= 122)
        letters[small] -= 32
        found = np.ascontiguousarray(letters).view("<u8").reshape(-1)
        found[places[:, 1] > 8] = 0
        return found

    def numbers(self, places: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
        """Whole decimal numbers of up to 18 digits, and which of the texts are such."""
        letters = self._letters(places, 19).astype(np.int64)
        negative = letters[:, 0] == 45
        size = places[:, 1]
        column = np.arange(19)
        within = column[None, :] < size[:, None]
        digit = (letters >= 48) & (letters <= 57)
        digit[negative, 0] = True
        sound = (size - negative > 0) & (size - negative <= 18) & (digit | ~within).all(axis=1)
        value = np.zeros(len(places), np.int64)
        for place in range(19):
            here = within[:, place] & ~((place == 0) & negative)
            value = np.where(here & sound, value * 10 + letters[:, place] - 48, value)
        return np.where(negative, -value, value), sound

    def _letters(self, places: Numbers, width: int) -> NDArray[np.uint8]:
        """The first bytes of each text, filled up with 0."""
        column = np.arange(width)
        index = np.minimum(places[:, :1] + column, len(self.octets) - 1)
        return np.where(column < places[:, 1:], self.octets[index], 0).astype(np.uint8)


def word(text: bytes) -> np.uint64:
    """A word of up to eight letters as ``Stream.words`` gives it."""
    return np.uint64(int.from_bytes(text.ljust(8, b"\0"), "little"))
