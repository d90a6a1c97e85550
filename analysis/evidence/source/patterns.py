"""Which keys a pattern takes, as Redis would match them, and texts of which only parts are known.

In: patterns, keys, pieces of text. Out: whether one covers the other, patterns. Knows nothing of source code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

ALL = "*"
_SPECIAL = re.compile(r"([*?\[\]\\])")
_STARS = re.compile(r"(?<!\\)((?:\\\\)*)\*{2,}")
_MOST_PIECES = 64
_LONGEST = 1_000


def covers(pattern: str, key: str) -> bool:
    """Whether Redis would match ``key`` with ``pattern`` in KEYS or SCAN: ``stringmatchlen`` of ``src/util.c``.

    ``*`` takes any bytes, ``?`` one byte, ``[a-z]`` one of a class, ``[^a]`` one not of it, a backslash the next
    character as it is. A class that is not closed ends with the pattern, and ``[a-]`` is a range up to ``]``, as
    there. Case counts. Texts are compared as UTF-8. Linear in the key for each part between two stars: the first
    match of a part is the best, so it is never sought again.
    """
    # KEYS and SCAN take a lone star for all keys; to stringmatchlen itself no star matches the empty key.
    if pattern == ALL:
        return True
    octets = key.encode("utf-8", "surrogatepass")
    return _compiled(pattern).fullmatch(octets) is not None and (bool(octets) or not pattern)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[bytes]:
    parts: list[list[bytes]] = [[]]
    octets = pattern.encode("utf-8", "surrogatepass")
    at = 0
    while at < len(octets):
        here = octets[at : at + 1]
        if here == b"*":
            parts.append([])
        elif here == b"?":
            parts[-1].append(b".")
        elif here == b"[":
            one, at = _class(octets, at + 1)
            parts[-1].append(one)
        else:
            if here == b"\\" and at + 1 < len(octets):
                at += 1
            parts[-1].append(re.escape(octets[at : at + 1]))
        at += 1
    first, *rest = [b"".join(part) for part in parts]
    if not rest:
        return re.compile(first, re.DOTALL)
    middle = b"".join(b"(?>.*?" + part + b")" for part in rest[:-1] if part)
    return re.compile(first + middle + b".*" + rest[-1], re.DOTALL)


def _class(octets: bytes, at: int) -> tuple[bytes, int]:
    """A class of bytes that opens before ``at``, as an expression, and where it closes."""
    negated = octets[at : at + 1] == b"^"
    at += negated
    members: set[int] = set()
    while at < len(octets) and octets[at] != 0x5D:
        if octets[at] == 0x5C and at + 1 < len(octets):
            at += 1
            members.add(octets[at])
        elif at + 2 < len(octets) and octets[at + 1] == 0x2D:
            low, high = sorted((octets[at], octets[at + 2]))
            members.update(range(low, high + 1))
            at += 2
        else:
            members.add(octets[at])
        at += 1
    if negated:
        members = set(range(256)) - members
    if not members:
        return b"(?!)", at
    return b"[" + b"".join(b"\\x%02x" % member for member in sorted(members)) + b"]", at


@dataclass(frozen=True)
class Text:
    """A text of which parts are known: ``pieces`` are (True, as it is) or (False, a Redis pattern for what is there).

    ``settings`` names the constants and environment variables that it was made from.
    """

    pieces: tuple[tuple[bool, str], ...]
    settings: frozenset[str] = frozenset()

    def __add__(self, other: Text) -> Text:
        pieces = self.pieces + other.pieces
        if len(pieces) > _MOST_PIECES:
            pieces = (*pieces[: _MOST_PIECES - 1], (False, ALL))
        return Text(pieces, self.settings | other.settings)

    @property
    def literal(self) -> str | None:
        """The text, where all of it is known."""
        return "".join(piece for known, piece in self.pieces if known) if all(k for k, _ in self.pieces) else None

    @property
    def shape(self) -> str:
        """The text with ``*`` for what is not known: to look at, not to match with."""
        return "".join(piece if known else ALL for known, piece in self.pieces)

    def as_key(self) -> str:
        """The pattern of this one key: what is known stands for itself."""
        return _shortened("".join(escaped(piece) if known else piece for known, piece in self.pieces))

    def as_pattern(self) -> str:
        """The text as a pattern, as MATCH takes it: stars in what is known are stars."""
        return _shortened("".join(piece for _, piece in self.pieces))

    def named(self, *settings: str) -> Text:
        """The same text, which also comes from these settings."""
        return Text(self.pieces, self.settings | frozenset(settings))


ANY = Text(((False, ALL),))


def known(text: str) -> Text:
    """A text that is known; of a very long one its beginning."""
    return Text(((True, text),) if len(text) <= _LONGEST else ((True, text[:_LONGEST]), (False, ALL)))


def matching(pattern: str) -> Text:
    """Some key that matches the pattern."""
    return Text(((False, _shortened(pattern)),))


def escaped(text: str) -> str:
    """The pattern that only this text matches."""
    return _SPECIAL.sub(r"\\\1", text)


def _shortened(pattern: str) -> str:
    # A run of stars is one star; a backslash before the first keeps that one as it is.
    pattern = _STARS.sub(r"\1*", pattern)
    return pattern if len(pattern) <= _LONGEST else pattern[:_LONGEST].rstrip("\\") + ALL
