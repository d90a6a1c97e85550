"""Which serializer wrote a stored result: told from its bytes, without loading it.

In: the bytes of a value. Out: json, pickle, yaml, msgpack or unknown, and for JSON the data.
Does not know Celery's fields. Nothing is unpickled: of a pickle only the opcodes are listed, within bounds.
"""

from __future__ import annotations

import bz2
import lzma
import pickletools
import re
import zlib
from dataclasses import dataclass
from itertools import islice
from typing import Any

from analysis.celery.decode import MAX_VALUE, load_json, shortened

COMPRESSED = b"\x00celery-compressed\x00"
"""In front of a result that ``result_compression`` compressed (Celery 5.7, celery/backends/base.py)."""

_MAX_OPCODES = 20_000
_MAX_NAMES = 5
_YAML = re.compile(rb"\A(?:---\s)?(?:\{\s*)?[A-Za-z_]\w*:(?:\s|\Z)")


@dataclass(frozen=True)
class Stored:
    """A stored value: who wrote it (``serializer``), the ``data`` where that is JSON, else a ``problem`` in words."""

    serializer: str
    data: Any = None
    problem: str | None = None
    compression: str = ""


def unpack(raw: bytes) -> Stored:
    """Tell the serializer of a value and decode it where that is JSON.

    Compressed results (gzip, bzip2 and lzma; up to 64 MiB of content) are decompressed first.
    """
    if len(raw) > MAX_VALUE:
        return Stored(_family_of_head(raw), problem=f"larger than {MAX_VALUE >> 20} MiB: not decoded")
    if not raw.startswith(COMPRESSED):
        return _unpack(raw)
    method, _, body = raw[len(COMPRESSED) :].partition(b"\0")
    name = shortened(method.decode("ascii", "backslashreplace"), 64)
    content, problem = decompress(body, name)
    if content is None:
        return Stored("unknown", problem=problem, compression=name)
    inner = _unpack(content)
    return Stored(inner.serializer, inner.data, inner.problem, name)


def _unpack(raw: bytes) -> Stored:
    head = raw.lstrip()[:1]
    if head in (b"{", b"["):
        data, problem = load_json(raw)
        if data is not None or not _YAML.match(raw):
            return Stored("json", data, problem)
        return Stored("yaml", problem="YAML: not read")
    if (names := pickle_names(raw)) is not None:
        named = f", names {', '.join(names)}" if names else ""
        return Stored("pickle", problem=f"pickle: not read, loading it could run code{named}")
    if _is_msgpack_map(raw):
        return Stored("msgpack", problem="msgpack: not read")
    if _YAML.match(raw):
        return Stored("yaml", problem="YAML: not read")
    data, problem = load_json(raw)
    if problem is None:
        return Stored("json", data)
    return Stored("unknown", problem="empty" if not raw else "neither JSON nor pickle, YAML or msgpack")


def _family_of_head(raw: bytes) -> str:
    return "json" if raw[:64].lstrip()[:1] in (b"{", b"[") else "unknown"


def decompress(body: bytes, method: str) -> tuple[bytes | None, str | None]:
    """Content compressed by kombu (kombu/compression.py), as ``(content, problem)``: at most 64 MiB, whatever the data
    claims.
    """
    try:
        if method == "application/x-gzip":
            content = zlib.decompressobj().decompress(body, MAX_VALUE + 1)
        elif method == "application/x-bz2":
            content = bz2.BZ2Decompressor().decompress(body, MAX_VALUE + 1)
        elif method == "application/x-lzma":
            content = lzma.LZMADecompressor(memlimit=256 * 2**20).decompress(body, MAX_VALUE + 1)
        else:
            return None, f"compressed with {method}: not read"
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
        return None, f"compressed with {method}, and damaged"
    if len(content) > MAX_VALUE:
        return None, f"compressed with {method}, larger than {MAX_VALUE >> 20} MiB inside: not decoded"
    return content, None


def pickle_names(raw: bytes) -> list[str] | None:
    """What a pickle would import, at most five names, told from its opcodes; None where the bytes are not a pickle.

    ``pickletools.genops`` reads opcodes and runs none. A pickle ends with STOP; of one with over 20,000 opcodes the
    beginning must do: protocol 2 or later, which says so in its first two bytes.
    """
    if not raw.endswith(b".") or len(raw) < 2:
        return None
    declared = raw[0] == 0x80 and raw[1] <= 5
    if not declared and raw[:1] not in b"(}]{cIVFNLSX":
        return None
    names: dict[str, None] = {}
    texts: list[str] = []
    stopped, read = False, 0
    try:
        for opcode, argument, position in islice(pickletools.genops(raw), _MAX_OPCODES):
            read += 1
            if opcode.name == "STOP":
                stopped = position == len(raw) - 1
            elif opcode.name == "GLOBAL":
                names[str(argument).replace(" ", ".")] = None
            elif opcode.name == "STACK_GLOBAL" and len(texts) >= 2:
                names[".".join(texts[-2:])] = None
            elif isinstance(argument, str):
                texts = [*texts[-1:], argument]
    except Exception:  # genops raises whatever the bytes make its readers raise
        return None
    if not stopped and not (declared and read == _MAX_OPCODES):
        return None
    return [_plain(name) for name in islice(names, _MAX_NAMES)]


def _plain(name: str) -> str:
    return shortened(name.encode("ascii", "backslashreplace").decode("ascii"), 80)


def _is_msgpack_map(raw: bytes) -> bool:
    """A msgpack map of at least one entry whose first key is a text: what Celery's task metadata begins with."""
    if len(raw) < 3:
        return False
    if 0x81 <= raw[0] <= 0x8F:
        key = raw[1]
    elif raw[0] == 0xDE and len(raw) > 3:
        key = raw[3]
    else:
        return False
    return 0xA1 <= key <= 0xBF or key == 0xD9
