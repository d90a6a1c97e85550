"""The lines of a log file, however large, long, compressed, cut or foreign its content is.

In: a file, plain or gzip. Out: its lines as bytes, numbered, in bounded memory. Does not know what a line says.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 22
LONGEST_LINE = 64 << 10
# A log compresses ten to fifty times, text made to fill a disk a thousand times.
LARGEST_INFLATED = 256 << 20
MOST_INFLATED = 250

_GZIP = b"\x1f\x8b"
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class LogLines:
    """The lines of a file, one by one or in blocks. Runs of NUL at the start of a line, as a rotation by copying leaves
    them, are passed over.

    After the iteration ``count`` is the number of lines, and where not all could be read ``complete`` is False and
    ``reason`` says why; ``foreign``: its beginning does not look like text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.complete = True
        self.reason: str | None = None
        self.foreign = False

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """``(number, line)``, as ``lines_of`` has them."""
        for first, block in self.blocks():
            yield from lines_of(first, block)

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """``(number, block)``: the number of the block's first line, and whole lines, without the last one's end.

        Of a line that goes on beyond a block the first 64 KiB are kept, so what is given is never much more than
        ``BLOCK``.
        """
        rest = b""
        for block in self._blocks():
            if not self.count:
                self.foreign = _foreign(block.lstrip(b"\0")[:LONGEST_LINE])
            cut = block.rfind(b"\n")
            if cut < 0:
                rest += block
            else:
                yield self._counted(rest + block[:cut])
                rest = block[cut + 1 :]
            if len(rest) > LONGEST_LINE:
                rest = rest.lstrip(b"\0")[:LONGEST_LINE]
        if rest.strip(b"\0"):
            yield self._counted(rest)

    def _counted(self, block: bytes) -> tuple[int, bytes]:
        first = self.count + 1
        self.count += block.count(b"\n") + 1
        return first, block.replace(b"\r\n", b"\n") if b"\r" in block else block

    def _blocks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            start = file.read(3)
            file.seek(0)
            if start[:2] == _GZIP:
                yield from self._inflated(file)
            elif encoding := _UTF16.get(start[:2]):
                decoder = codecs.getincrementaldecoder(encoding)("backslashreplace")
                file.seek(2)
                while block := file.read(BLOCK):
                    yield decoder.decode(block).encode("utf-8", "backslashreplace")
            else:
                file.seek(3 if start == codecs.BOM_UTF8 else 0)
                while block := file.read(BLOCK):
                    yield block

    def _inflated(self, file: BinaryIO) -> Iterator[bytes]:
        most = max(LARGEST_INFLATED, self.path.stat().st_size * MOST_INFLATED)
        given = 0
        decoder = zlib.decompressobj(31)
        raw = file.read(LONGEST_LINE)
        while raw:
            spare = decoder.copy()
            try:
                data = decoder.decompress(raw, BLOCK)
            except zlib.error as error:
                self._stop(f"damaged: {error}")
                yield from _until_damage(spare, raw)
                return
            given += len(data)
            yield data
            if given > most:
                self._stop(f"more than {most >> 20:,} MB when unpacked: the rest was left out")
                return
            if decoder.eof:
                # Rotated parts may follow each other in one file; padding and foreign bytes after the last do no harm.
                raw = decoder.unused_data.lstrip(b"\0") or file.read(LONGEST_LINE)
                if not raw.startswith(_GZIP):
                    return
                decoder = zlib.decompressobj(31)
                continue
            raw = decoder.unconsumed_tail or file.read(LONGEST_LINE)
        yield decoder.flush()
        self._stop("cut: the compressed file ends before its end")

    def _stop(self, reason: str) -> None:
        self.complete, self.reason = False, reason


def _until_damage(decoder: zlib._Decompress, raw: bytes) -> Iterator[bytes]:
    """What can be had of a damaged piece: byte by byte, because a failing call gives nothing of what it made before."""
    for at in range(len(raw)):
        try:
            yield decoder.decompress(raw[at : at + 1])
        except zlib.error:
            return


def lines_of(first: int, block: bytes) -> Iterator[tuple[int, bytes]]:
    """``(number, line)`` of a block: lines without their end, of over-long ones the first 64 KiB, no empty ones."""
    for number, line in enumerate(block.split(b"\n"), first):
        if line and (line := trimmed(line)):
            yield number, line


def trimmed(line: bytes) -> bytes:
    """A line without its end and without NULs, no longer than 64 KiB."""
    if len(line) > LONGEST_LINE:
        line = line.lstrip(b"\0")[:LONGEST_LINE]
    return line.replace(b"\0", b"").rstrip(b"\r") if b"\0" in line else line.rstrip(b"\r")


_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\x1b"))


def _foreign(sample: bytes) -> bool:
    return len(sample) - len(sample.translate(None, _CONTROLS)) > len(sample) // 10
