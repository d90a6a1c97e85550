"""The connections a server had.

In: a file with the answer to ``CLIENT LIST``. Out: the frame ``clients``; and commands with the name and the user of
the connection that sent them. Does not know what a client is for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import Unusable
from analysis.evidence.answers import read_text_answer
from analysis.frames import TEXT, frame, words
from analysis.redact import redact_text

# A value runs to the next " name=": the path of a Unix socket may hold blanks.
_ITEM = re.compile(r"(?:^| )([a-z][a-z0-9_-]{0,40})=(.*?)(?= [a-z][a-z0-9_-]{0,40}=|$)")
_WHOLE = re.compile(r"-?\d{1,18}")
_LONGEST = 16_384


def read_clients(path: Path, *, source: str, server: str = "") -> pd.DataFrame:
    """A row for each connection. ``lib`` is name and version of the client library (Redis 7.2+), where it says it.

    Lines of any version: items are found by name, unknown ones are passed over. Raises Unusable where no line is one.
    """
    rows = []
    for line in read_text_answer(path).split("\n"):
        items = client_items(line)
        if "addr" in items or ("id" in items and "cmd" in items):
            rows.append({"server": server, "source": source, **_row(items)})
    if not rows:
        raise Unusable("holds no connection: not an answer to CLIENT LIST", file=path.name)
    return frame("clients", rows)


def client_items(line: str) -> dict[str, str]:
    """The items of a connection by name, as CLIENT LIST and ACL LOG write them."""
    items: dict[str, str] = {}
    for name, value in _ITEM.findall(line.strip()[:_LONGEST]):
        items.setdefault(name, value)
    return items


def _row(items: dict[str, str]) -> dict[str, Any]:
    lib = " ".join(part for part in (items.get("lib-name", ""), items.get("lib-ver", "")) if part)
    return {
        "addr": items.get("addr"),
        "name": redact_text(items["name"]) if items.get("name") else None,
        "user": items.get("user"),
        "db": _whole(items.get("db")),
        "cmd": items.get("cmd"),
        "age": _whole(items.get("age")),
        "idle": _whole(items.get("idle")),
        "lib": lib or None,
    }


def _whole(text: str | None) -> int | None:
    return int(text) if text and _WHOLE.fullmatch(text) else None


_SECOND = 1_000_000
_NEVER, _EVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_NOBODY, _SEVERAL = -1, -2


def join_clients(
    commands: pd.DataFrame, clients: pd.DataFrame, taken_at: Mapping[str, pd.Timestamp] | None = None
) -> pd.DataFrame:
    """The frame ``commands`` with ``client_name`` and ``user`` where CLIENT LIST shows the connection of its client.

    An address is used again by other connections: a list taken at T speaks for the ``age`` seconds before T, and for
    no command after it, for by then the connection may have ended. ``taken_at`` has the time of each list, by the
    ``source`` of its rows. Of a list whose time is not known, or a row without age, the address alone must do. Where
    what is shown differs, nothing is filled in; nor on a Unix socket, whose clients all have one address. A name that
    the command's own source gives stays, and where CLIENT LIST shows another one, its user is not taken.
    """
    known = _connections(clients, taken_at or {})
    if known.empty or commands.empty:
        return commands
    people = known[["name", "user"]].drop_duplicates().reset_index(drop=True)
    known["who"] = known[["name", "user"]].merge(people.reset_index(), how="left", on=["name", "user"])["index"].array
    who = _who(commands, known)
    return commands.assign(
        client_name=_filled(commands["client_name"], people["name"], who),
        user=_filled(commands["user"], people["user"], who),
    )


def _connections(clients: pd.DataFrame, taken_at: Mapping[str, pd.Timestamp]) -> pd.DataFrame:
    """Whose an address was, from when to when, in µs."""
    addresses = clients["addr"].astype(TEXT)
    # A Unix socket has the port 0.
    ours = clients[addresses.notna() & addresses.str.contains(r":[1-9]\d*$")]
    taken = {source: int(at.as_unit("us").asm8.astype(np.int64)) for source, at in taken_at.items()}
    at = ours["source"].astype(TEXT).map(taken)
    timed = (at.notna() & ours["age"].notna()).to_numpy(bool)
    end = at.fillna(0).to_numpy(np.int64)
    age = ours["age"].fillna(0).clip(0, 2**31).to_numpy(np.int64)
    return pd.DataFrame(
        {
            "server": ours["server"].astype(TEXT).array,
            "client": ours["addr"].astype(TEXT).array,
            "name": ours["name"].astype(TEXT).array,
            "user": ours["user"].astype(TEXT).array,
            # Ages are in whole seconds that have passed, and the list was taken within a second.
            "begin": np.where(timed, end - (age + 1) * _SECOND, _NEVER),
            "end": np.where(timed, end + _SECOND, _EVER),
        }
    )


def _who(commands: pd.DataFrame, known: pd.DataFrame) -> NDArray[np.int32]:
    """Of each command the number of the one to whom its address belonged when it ran."""
    server, client, own = (commands[name].cat for name in ("server", "client", "client_name"))
    # One number for each address of each server, and one for no address, by which the commands of each stand together.
    address = server.codes.to_numpy(np.int64) * (len(client.categories) + 1) + client.codes.to_numpy(np.int64)
    order = np.argsort(address, kind="stable")
    address = address[order]
    not_before, not_after = (
        commands[name].to_numpy("datetime64[us]").view(np.int64) for name in ("not_before", "not_after")
    )
    who = np.full(len(commands), _NOBODY, np.int32)
    for one in known.itertuples(index=False):
        if one.server not in server.categories or one.client not in client.categories:
            continue
        number = server.categories.get_loc(one.server) * (len(client.categories) + 1)
        number += client.categories.get_loc(one.client)
        rows = order[np.searchsorted(address, number) : np.searchsorted(address, number, "right")]
        fits = (not_after[rows] >= one.begin) & (not_before[rows] <= one.end)
        names = own.codes.to_numpy()[rows]
        same = own.categories.get_loc(one.name) if one.name in own.categories else -1
        rows = rows[fits & ((names < 0) | (names == same))]
        who[rows] = np.where((who[rows] == _NOBODY) | (who[rows] == one.who), one.who, _SEVERAL)
    return who


def _filled(own: pd.Series, told: pd.Series, who: NDArray[np.int32]) -> pd.Series:
    """A column of words, with what is told of each row's client where it says nothing itself."""
    named: dict[str, int] = {name: place for place, name in enumerate(own.cat.categories)}
    places = [named.setdefault(name, len(named)) if isinstance(name, str) else -1 for name in told]
    told_by = np.array([*places, -1], np.int32)[np.where(who < 0, len(told), who)]
    codes = np.where(own.cat.codes >= 0, own.cat.codes, told_by)
    return words(codes.astype(np.int32), named).set_axis(own.index)
