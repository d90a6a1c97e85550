"""The walk through a stream of commands: where each begins, what it is called, and where its arguments stand.

In: bytes as a client would send them (RESP arrays of bulk strings), with the ``#`` lines of an append-only file among
them. Out: rows of numbers, and a status. Knows the protocol; not what a command does. Kernels, as in ``packed``.
"""

from __future__ import annotations

from analysis.evidence.packed import Bytes, Room, copy_over, place, same

# A row for each command.
OFFSET, NAME, FIRST, ARGUMENTS, WIDTH = 0, 1, 2, 3, 4
NOTE = -1
"""In place of a name: a line that begins with ``#``; its text is the one argument."""
MANY = -2
"""In place of a name: there are more different names than room for them."""

# What is kept between the calls.
POSITION, NAMES, STATES = 0, 1, 2

FULL, DONE, CUT, BROKEN, NEED_ROOM = 1, 0, -1, -2, -3
"""Why a walk returns: the block is full; the end; the bytes end inside a command; no command begins here; one command
has more arguments than there is room for."""

# Redis refuses more arguments, and longer ones, from clients (server.h, PROTO_MAX_QUERYBUF_LEN and networking.c).
MOST_ARGUMENTS = 2**20
LONGEST = 2**29
_MOST_DIGITS = 10


def walk_commands(source: Bytes, end: int, state: Room, rows: Room, arguments: Room, names: Room) -> tuple[int, int]:
    """Go through the commands from ``state[POSITION]`` on, until a block is full: (status, how many rows).

    A row has the place of the command, the number of its name, and which of ``arguments`` are its own: each is a place
    and a size, and the first is the name itself. ``names`` holds place and size of the first of each spelling, so many
    as ``state[NAMES]``. The position is then behind the last whole command. With NEED_ROOM or BROKEN no rows are lost:
    those before are there.
    """
    count = used = 0
    position = state[POSITION]
    while position < end:
        if count == len(rows) // WIDTH:
            state[POSITION] = position
            return FULL, count
        begin = position
        first = source[place(position)]
        if first == 35:  # '#'
            behind = line_end(source, position, end)
            if behind < 0:
                state[POSITION] = begin
                return behind, count
            if used + 2 > len(arguments):
                state[POSITION] = begin
                return FULL if count else NEED_ROOM, count
            arguments[place(used)] = begin + 1
            arguments[place(used + 1)] = behind - 2 - begin - 1
            name = NOTE
            number = 1
            position = behind
        else:
            number, at = header(source, position, end, 42, MOST_ARGUMENTS)
            if number <= 0:
                state[POSITION] = begin
                return CUT if number == CUT else BROKEN, count
            if number > (end - at) // 6 + 1:
                # Each argument takes six bytes at least ("$0", and two line ends): it cannot be whole.
                state[POSITION] = begin
                return CUT, count
            if used + 2 * number > len(arguments):
                state[POSITION] = begin
                return FULL if count else NEED_ROOM, count
            for argument in range(number):
                size, at = header(source, at, end, 36, LONGEST)
                if size < 0:
                    state[POSITION] = begin
                    return size, count
                if end - at < size + 2:
                    state[POSITION] = begin
                    return CUT, count
                if source[place(at + size)] != 13 or source[place(at + size + 1)] != 10:
                    state[POSITION] = begin
                    return BROKEN, count
                arguments[place(used + 2 * argument)] = at
                arguments[place(used + 2 * argument + 1)] = size
                at += size + 2
            name = name_of(source, arguments[place(used)], arguments[place(used + 1)], state, names)
            position = at
        row = count * WIDTH
        rows[place(row + OFFSET)] = begin
        rows[place(row + NAME)] = name
        rows[place(row + FIRST)] = used // 2
        rows[place(row + ARGUMENTS)] = number
        used += 2 * number
        count += 1
    state[POSITION] = position
    return DONE, count


def header(source: Bytes, at: int, end: int, mark: int, most: int) -> tuple[int, int]:
    """The number behind ``mark`` and the place behind its line; CUT or BROKEN in place of the number."""
    if at >= end:
        return CUT, at
    if source[place(at)] != mark:
        return BROKEN, at
    at += 1
    number = 0
    digits = 0
    while at < end:
        byte = 0 + source[place(at)]
        if byte == 13:
            if digits == 0 or number > most:
                return BROKEN, at
            if end - at < 2:
                return CUT, at
            if source[place(at + 1)] != 10:
                return BROKEN, at
            return number, at + 2
        if byte < 48 or byte > 57 or digits >= _MOST_DIGITS:
            return BROKEN, at
        number = number * 10 + (byte - 48)
        digits += 1
        at += 1
    return CUT, at


def line_end(source: Bytes, at: int, end: int) -> int:
    """The place behind the line's CR and LF; BROKEN where there is none within 1,024 bytes (server.h,
    AOF_ANNOTATION_LINE_MAX_LEN), CUT where the bytes end before.
    """
    last = end if end - at < 1024 else at + 1024
    while at < last - 1:
        if source[place(at)] == 13 and source[place(at + 1)] == 10:
            return at + 2
        at += 1
    return CUT if last == end else BROKEN


def name_of(source: Bytes, at: int, size: int, state: Room, names: Room) -> int:
    """The number of a name by how it is spelled; a new one is entered, while there is room."""
    known = state[NAMES]
    for number in range(known):
        if names[place(2 * number + 1)] == size and same(source, names[place(2 * number)], source, at, size):
            return number
    if 2 * known + 2 > len(names):
        return MANY
    names[place(2 * known)] = at
    names[place(2 * known + 1)] = size
    state[NAMES] = known + 1
    return known


def gather(source: Bytes, places: Room, count: int, texts: Room, ends: Room) -> int:
    """Write ``count`` pieces, each a place and a size, one behind the other, and where each ends: how many bytes.

    The caller has seen to the room.
    """
    made = 0
    ends[0] = 0
    for piece in range(count):
        size = places[place(2 * piece + 1)]
        copy_over(texts, made, source, places[place(2 * piece)], size)
        made += size
        ends[place(piece + 1)] = made
    return made
