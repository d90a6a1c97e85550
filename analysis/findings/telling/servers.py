"""What is known of the server that is asked about: version, role and settings; and commands for it that can be pasted.

In: a ``View``. Out: numbers, words, and shell-quoted commands without host and password. Reads nothing itself.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from analysis.findings.view import View

# A master deletes an expired key when it is read; a replica does not (facts/signals.md, 6.1).
_READS = "It changes nothing but the key's idle time; once the key has expired, reading it on a master deletes it."
_READS_ON_REPLICA = "It is read on a replica, which deletes nothing and changes only the key's idle time there."
_LONGEST = 250
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]|\\x[0-9a-fA-F]{2}")


def _last(view: View, column: str) -> str:
    known = view.servers[column].dropna()
    return str(known.iloc[-1]) if len(known) else ""


def flavor_of(view: View) -> str:
    """redis or valkey; empty where no INFO says it."""
    return _last(view, "flavor")


def version_of(view: View) -> tuple[int, ...]:
    """The server's version as numbers, (0,) where no INFO says it. Valkey 7.2 and later count as what they are."""
    return tuple(int(part) for part in _last(view, "version").split(".") if part.isdigit()) or (0,)


def on_replica(view: View) -> bool:
    """Whether the last INFO answer is a replica's."""
    return _last(view, "role") == "slave"


def where_to_set(view: View) -> str:
    """Where a setting is to be changed: what a replica does with a key is its master's doing."""
    return "on its master as well, for this server is a replica" if on_replica(view) else "on the server"


def setting(view: View, name: str) -> str:
    """A setting by CONFIG GET, of any server of the case; empty where it is not known. Not for what may be secret."""
    return next((config[name] for config in view.config.values() if config.get(name)), "")


def saves_nothing(view: View) -> bool:
    """Whether the server is known to write no snapshot."""
    return any(config.get("save") == "" for config in view.config.values())


def has(view: View, kind: str) -> bool:
    """Whether there is a file of this kind among the evidence."""
    return bool(view.evidence["kind"].eq(kind).any())


def through_disk(view: View) -> bool:
    """Whether a full sync of this server would, or may, overwrite its dump.rdb (facts/signals.md, 1.2): with
    ``repl-diskless-sync no``, the default before 7.0.
    """
    diskless = setting(view, "repl-diskless-sync")
    return diskless != "yes" and (diskless == "no" or version_of(view) < (7,))


def argument(text: str) -> str:
    """A key as one argument for a shell; bytes that are not plain text as bash and zsh write them (``$'…'``)."""
    if not _UNPRINTABLE.search(text):
        return shlex.quote(text)
    parts = []
    for piece in re.split(r"(\\x[0-9a-fA-F]{2})", text):
        if re.fullmatch(r"\\x[0-9a-fA-F]{2}", piece):
            parts.append(piece)
            continue
        for char in piece:
            plain = " " <= char <= "~" and char not in "'\\"
            octets = (f"\\x{octet:02x}" for octet in char.encode("utf-8", "surrogatepass"))
            parts.append(char if plain else f"\\{char}" if char in "'\\" else "".join(octets))
    return f"$'{''.join(parts)}'"


def quoted(verb: str, db: Any, key: str) -> str:
    """``redis-cli -n 2 GET celery-task-meta-…``; a key that is too long for a sentence stands in verdict.json."""
    if len(key) > _LONGEST:
        return f'redis-cli -n {db} {verb} "$KEY", with the key that verdict.json names under where'
    return f"redis-cli -n {db} {verb} {argument(key)}"


def reading(view: View) -> str:
    """What it does to the server to read a key there."""
    return _READS_ON_REPLICA if on_replica(view) else _READS


def info_command(view: View) -> str:
    """INFO with everything that this version tells."""
    return f"redis-cli INFO {'everything' if version_of(view) >= (7,) else 'all'}"
