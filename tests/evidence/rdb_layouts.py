"""Values of every type, as every version of Redis and Valkey lays them out, with what they are to be read as."""

from __future__ import annotations

import struct
from typing import Any

from tests.evidence import rdb_writer as w

WIDE = b"x" * 70
LONG = b"y" * 5000
INTEGERS = [0, 12, 13, -1, 127, -128, 128, 4095, -4096, 4096, 32767, -32768, 8388607, -8388608, 2**31 - 1, -(2**31)]
INTEGERS += [2**31, 2**63 - 1, -(2**63)]
ELEMENTS: list[bytes | int] = [b"", b"a", WIDE, LONG, b"z" * 20_000, *INTEGERS, b"tail"]
TEXTS = [element if isinstance(element, bytes) else b"%d" % element for element in ELEMENTS]
PAIRS = [(b"f%d" % place, text) for place, text in enumerate(TEXTS)]
FLAT: list[bytes | int] = [part for place, element in enumerate(ELEMENTS) for part in (b"f%d" % place, element)]
SCORES = [(b"low", float("-inf")), (b"half", 0.5), (b"one", 1.0), (b"high", float("inf"))]
SCORED: list[bytes | int] = [b"low", b"-inf", b"half", b"0.5", b"one", 1, b"high", b"inf"]
MANY = [b"%d" % place for place in range(70_000)]
MANY_PAIRS = list(zip(MANY[::2], MANY[1::2], strict=True))
MEMBERS = list(range(-3, 4))
ONE = w.string(w.listpack([5]))


def plain(*texts: bytes, count: int) -> bytes:
    return w.length(count) + b"".join(map(w.string, texts))


def doubles(pairs: list[tuple[bytes, float]]) -> bytes:
    return w.length(len(pairs)) + b"".join(w.string(member) + struct.pack("<d", score) for member, score in pairs)


NODE_1 = w.stream_node(
    1000,
    0,
    [b"a", b"b"],
    [
        (0, 1, False, [(b"a", b"1"), (b"b", b"2")]),
        (1, 0, True, [(b"a", b"3"), (b"b", b"4")]),
        (5, -1, False, [(b"c", WIDE)]),
    ],
)
NODE_2 = w.stream_node(2**64 - 2, 9, [b"q"], [(1, 0, False, [(b"q", b"last")])])
ENTRIES = [
    ("1000-1", [(b"a", b"1"), (b"b", b"2")]),
    (f"1005-{2**64 - 1}", [(b"c", WIDE)]),
    (f"{2**64 - 1}-9", [(b"q", b"last")]),
]


def groups(version: int) -> list[bytes]:
    pending = [(1000, 1), (1005, 2)]
    return [
        w.stream_group(b"empty", version),
        w.stream_group(b"busy", version, pending, [(b"me", 2), (b"idle", 0)]),
    ]


LAYOUTS: list[tuple[str, int, int, bytes, str, str, Any]] = [
    # name, RDB version, type, value as written, type and encoding as told, value as read
    ("raw string", 2, 0, w.string(WIDE), "string", "raw", WIDE),
    ("short string", 2, 0, w.string(b"v"), "string", "embstr", b"v"),
    ("string of 44 bytes", 2, 0, w.string(b"v" * 44), "string", "embstr", b"v" * 44),
    ("string of 45 bytes", 2, 0, w.string(b"v" * 45), "string", "raw", b"v" * 45),
    ("empty string", 2, 0, w.string(b""), "string", "embstr", b""),
    ("string with a length in 2 bytes", 2, 0, w.string(b"v", 2), "string", "embstr", b"v"),
    ("string with a length in 5 bytes", 2, 0, w.string(b"v", 5), "string", "embstr", b"v"),
    ("string with a length in 9 bytes", 9, 0, w.string(b"v", 9), "string", "embstr", b"v"),
    ("number of 8 bits", 2, 0, w.number(-128), "string", "int", b"-128"),
    ("number of 16 bits", 2, 0, w.number(-32768), "string", "int", b"-32768"),
    ("number of 32 bits", 2, 0, w.number(2**31 - 1), "string", "int", b"2147483647"),
    ("number as text", 2, 0, w.string(b"-9223372036854775808"), "string", "int", b"-9223372036854775808"),
    ("too large for a number", 2, 0, w.string(b"9223372036854775808"), "string", "embstr", b"9223372036854775808"),
    ("no number: minus zero", 2, 0, w.string(b"-0"), "string", "embstr", b"-0"),
    ("no number: minus", 2, 0, w.string(b"-"), "string", "embstr", b"-"),
    ("no number: leading zero", 2, 0, w.string(b"007"), "string", "embstr", b"007"),
    ("compressed string", 2, 0, w.lzf_string(LONG), "string", "raw", LONG),
    ("compressed run", 2, 0, w.lzf(*w.lzf_run(b"r", 5)), "string", "raw", b"r" * 1321),
    ("list", 2, 1, plain(*TEXTS, count=len(TEXTS)), "list", "linkedlist", TEXTS),
    ("set", 2, 2, plain(*TEXTS, count=len(TEXTS)), "set", "hashtable", TEXTS),
    ("hash", 2, 4, plain(*[x for p in PAIRS for x in p], count=len(PAIRS)), "hash", "hashtable", PAIRS),
    ("zset of doubles", 8, 5, doubles(SCORES), "zset", "skiplist", SCORES),
    ("zipmap", 2, 9, w.string(w.zipmap(PAIRS)), "hash", "zipmap", PAIRS),
    ("zipmap with free bytes", 2, 9, w.string(w.zipmap(PAIRS, free=3)), "hash", "zipmap", PAIRS),
    ("zipmap not counted", 2, 9, w.string(w.zipmap(PAIRS, free=1, count=254)), "hash", "zipmap", PAIRS),
    ("zipmap, empty", 2, 9, w.string(w.zipmap([])), "hash", "zipmap", []),
    ("list ziplist", 2, 10, w.string(w.ziplist(ELEMENTS)), "list", "ziplist", TEXTS),
    ("list ziplist, wide", 2, 10, w.string(w.ziplist(ELEMENTS, wide=True)), "list", "ziplist", TEXTS),
    ("list ziplist, compressed", 2, 10, w.lzf_string(w.ziplist(ELEMENTS)), "list", "ziplist", TEXTS),
    ("list ziplist, many", 2, 10, w.string(w.ziplist(MANY)), "list", "ziplist", MANY),
    ("intset of 16 bits", 2, 11, w.string(w.intset(MEMBERS, 2)), "set", "intset", [b"%d" % m for m in MEMBERS]),
    ("intset of 32 bits", 2, 11, w.string(w.intset([-70_000, 1], 4)), "set", "intset", [b"-70000", b"1"]),
    ("intset of 64 bits", 2, 11, w.lzf_string(w.intset([-(2**63), 1], 8)), "set", "intset", [b"%d" % -(2**63), b"1"]),
    ("zset ziplist", 2, 12, w.string(w.ziplist(SCORED)), "zset", "ziplist", SCORES),
    ("hash ziplist", 4, 13, w.string(w.ziplist(FLAT)), "hash", "ziplist", PAIRS),
    ("quicklist", 7, 14, plain(w.ziplist(ELEMENTS), w.ziplist([1]), count=2), "list", "quicklist", [*TEXTS, b"1"]),
    ("quicklist of no node", 7, 14, w.length(0), "list", "quicklist", []),
    ("hash of no field", 2, 4, w.length(0), "hash", "hashtable", []),
    ("quicklist, one node", 7, 14, plain(w.ziplist([1]), count=1), "list", "quicklist", [b"1"]),
    ("stream", 9, 15, w.stream(1, [NODE_1, NODE_2], 3, groups(1)), "stream", "stream", ENTRIES),
    ("stream, second form", 10, 19, w.stream(2, [NODE_1, NODE_2], 3, groups(2)), "stream", "stream", ENTRIES),
    ("stream, third form", 11, 21, w.stream(3, [NODE_1, NODE_2], 3, groups(3)), "stream", "stream", ENTRIES),
    ("stream, empty", 11, 21, w.stream(3, [], 0), "stream", "stream", []),
    ("hash listpack", 10, 16, w.string(w.listpack(FLAT)), "hash", "listpack", PAIRS),
    ("hash listpack, many", 10, 16, w.lzf_string(w.listpack(MANY)), "hash", "listpack", MANY_PAIRS),
    ("zset listpack", 10, 17, w.string(w.listpack(SCORED)), "zset", "listpack", SCORES),
    ("set listpack", 11, 20, w.string(w.listpack(ELEMENTS)), "set", "listpack", TEXTS),
    (
        "second quicklist", 10, 18,
        w.length(3) + w.length(2) + w.string(w.listpack(ELEMENTS)) + w.length(1) + w.string(LONG)
        + w.length(2) + w.lzf_string(w.listpack([5])),
        "list", "quicklist", [*TEXTS, LONG, b"5"],
    ),
    ("second quicklist, one node", 10, 18, w.length(1) + w.length(2) + ONE, "list", "quicklist", [b"5"]),
    ("listpack list", 11, 18, w.length(1) + w.length(2) + ONE, "list", "listpack", [b"5"]),
    ("one plain node", 11, 18, w.length(1) + w.length(1) + w.string(LONG), "list", "quicklist", [LONG]),
]  # fmt: skip

FIELDS = [(b"f", b"v"), (b"g", b"w"), (b"h", b"x")]
MS = 1_800_000_000_000
TIMED = {b"f": MS, b"h": MS + 70_000}


def relative(base: int) -> bytes:
    return w.length(3) + b"".join(
        w.length(TIMED[field] - base + 1 if field in TIMED else 0) + w.string(field) + w.string(text)
        for field, text in FIELDS
    )


PACKED_TIMES = w.listpack([part for field, text in FIELDS for part in (field, text, TIMED.get(field, 0))])
EARLIEST = struct.pack("<q", MS)
VALKEY_HASH = w.length(3) + b"".join(
    w.string(field) + w.string(text) + struct.pack("<q", TIMED.get(field, -1)) for field, text in FIELDS
)
TIMED_HASHES = [
    # name, of Valkey, version, type, value, encoding
    ("metadata", False, 12, 24, EARLIEST + relative(MS), "hashtable"),
    ("metadata, release candidate", False, 12, 22, relative(1), "hashtable"),
    ("listpackex", False, 12, 25, EARLIEST + w.string(PACKED_TIMES), "listpackex"),
    ("listpackex, compressed", False, 12, 25, EARLIEST + w.lzf_string(PACKED_TIMES), "listpackex"),
    ("listpackex, release candidate", False, 12, 23, w.string(PACKED_TIMES), "listpackex"),
    ("Valkey", True, 80, 22, VALKEY_HASH, "hashtable"),
]
