"""Damage for snapshots: edits at any place, with bytes that a reader trips over.

In: the bytes of a file, and edits as hypothesis draws them. Out: the bytes of the damaged file, its magic untouched.
"""

from __future__ import annotations

from hypothesis import strategies as st

Edit = tuple[str, int, bytes]

# Lengths beyond all there is, and what begins a compressed string.
LENGTHS = [b"\x81" + b"\xff" * 8, b"\x81\x7f" + b"\xff" * 7, b"\xc3\xbf\xff\xbf\xff", b"\x80\xff\xff\xff\xff"]
EDITS: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "remove", "copy"]),
        st.integers(0, 2**20),
        st.binary(min_size=1, max_size=12) | st.sampled_from(LENGTHS),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[Edit]) -> bytes:
    """The bytes after the edits, one after the other."""
    made = bytearray(data)
    for how, where, octets in edits:
        place = 9 + where % max(1, len(made) - 9)
        match how:
            case "set":
                made[place : place + len(octets)] = octets
            case "cut":
                del made[place:]
            case "insert":
                made[place:place] = octets
            case "remove":
                del made[place : place + len(octets)]
            case "copy":
                made[place:place] = made[place : place + 40]
    return bytes(made)
