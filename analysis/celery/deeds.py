"""What the commands of a stream mean to Celery: which task each is about, and when it ran by Celery's own times.

In: a ``CommandFile``, and the stated retention. Out: the frame ``commands`` with ``task_id`` filled and its times made
narrower. Who took a key away is not told here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.celery.envelopes import read_envelope, read_reserved
from analysis.celery.families import CHORD_UNLOCK, GROUP_META, TASK_META
from analysis.celery.jobs import JobsSettings
from analysis.celery.results import body_of
from analysis.evidence.command_times import UNKNOWN, narrowed
from analysis.frames import in_micros, micros_of, moments, words_in

ContentOf = Callable[[int], bytes]

_MICRO = 1_000_000
# A result is written some milliseconds after its own date_done, on another machine's clock.
_SLACK = 2 * _MICRO
# A retention is whole seconds, and what is stored later than this after its date_done tells nothing of it.
_LATE = 5 * _MICRO
_MOST_DATED = 20_000
_SHORT = 600
_LARGEST = 2**20
_MARKERS = (TASK_META, GROUP_META, CHORD_UNLOCK)
_RQ = ("rq:job:", "rq:results:")
_CHORD = (".j", ".t", ".s", ".d", ".c")
_LONGEST_NAME = 1_024
_LISTED = ("LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "LPOP", "RPOP", "LREM", "RPOPLPUSH", "BRPOPLPUSH", "LMOVE", "BLMOVE")
_HASHED = ("HSET", "HSETNX", "HMSET", "HDEL")


def told_to_celery(
    commands: pd.DataFrame, content_of: ContentOf, *, retention: int | None, jobs: JobsSettings | None
) -> pd.DataFrame:
    """The frame with ``task_id``: by the first key's name (results, groups, chords, RQ, stated job records), by the
    channel on which a result is published, and of messages by their own headers.

    ``not_before`` and ``not_after`` are narrowed by two clocks (facts/signals.md, 2.4). A result's ``date_done`` is the
    worker's: the write follows within two seconds. Where the expiries of results lie one retention behind their
    ``date_done`` (``retention`` in seconds where it is stated, else what most agree on), an expiry less the retention
    is the server's own time, to the millisecond.
    """
    if not len(commands):
        return commands
    commands = identified(commands, content_of, jobs=jobs)
    return _dated(commands, commands["verb"], _first_keys(commands["keys"]), content_of, retention)


def identified(commands: pd.DataFrame, content_of: ContentOf, *, jobs: JobsSettings | None) -> pd.DataFrame:
    """The frame with ``task_id`` alone, for witnesses that have times of their own."""
    if not len(commands):
        return commands
    verbs = commands["verb"]
    ids = _by_name(_first_keys(commands["keys"]), commands["detail"].where(words_in(verbs, ("PUBLISH",))), jobs)
    return commands.assign(task_id=pd.Series(_by_message(ids, commands, verbs, content_of), dtype="str"))


def _first_keys(keys: pd.Series) -> pd.Series:
    lists = pa.array(keys)
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    some = pc.greater(pc.fill_null(pc.list_value_length(lists), 0), 0)
    first = pc.list_element(lists.filter(some), 0)
    place = np.full(len(lists), -1, np.int64)
    has = some.to_numpy(zero_copy_only=False)
    place[has] = np.arange(int(has.sum()))
    return pd.Series(first.take(pa.array(place, mask=place < 0)).to_pandas(), dtype="str")


def _by_name(first: pd.Series, channel: pd.Series, jobs: JobsSettings | None) -> pd.Series:
    names = first.where(first.notna(), channel)
    codes, distinct = pd.factorize(names, use_na_sentinel=True)
    around = jobs.around if jobs else None
    told = np.array([_id_in(name, around) for name in distinct.tolist()] + [None], object)
    return pd.Series(told[codes], dtype=object)


def _id_in(name: str, around: tuple[str, str] | None) -> str | None:
    if len(name) > _LONGEST_NAME:
        return None
    for marker in _MARKERS:
        before, found, own = name.rpartition(marker)
        if found and own and not before[-1:].isalnum():
            return own[:-2] or own if marker == GROUP_META and own.endswith(_CHORD) else own
    if found := next((start for start in _RQ if name.startswith(start)), ""):
        return name[len(found) :] or None
    if around and name.startswith(around[0]) and name.endswith(around[1]) and len(name) > sum(map(len, around)):
        return name[len(around[0]) : len(name) - len(around[1])]
    return None


def _by_message(ids: pd.Series, commands: pd.DataFrame, verbs: pd.Series, content_of: ContentOf) -> pd.Series:
    """A message that is pushed and popped is one content, read once."""
    read: dict[int, str | None] = {}
    found = ids.to_numpy(dtype=object, copy=True)
    for names, told in ((_LISTED, _queued), (_HASHED, _reserved)):
        rows = np.flatnonzero(words_in(verbs, names) & commands["payload_at"].notna().to_numpy() & ids.isna())
        places = commands["payload_at"].to_numpy(dtype=np.int64, na_value=-1)[rows]
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            if place not in read:
                try:
                    read[place] = told(content_of(place))
                except ValueError:
                    read[place] = None
            found[row] = read[place]
    return pd.Series(found, dtype=object)


def _queued(raw: bytes) -> str | None:
    if len(raw) > _LARGEST or raw[:1] != b"{":
        return None
    message, _ = read_envelope(raw)
    return message.task_id if message else None


def _reserved(raw: bytes) -> str | None:
    if len(raw) > _LARGEST or raw[:1] != b"[":
        return None
    message, _, _, _ = read_reserved(raw)
    return message.task_id if message else None


def _dated(
    commands: pd.DataFrame, verbs: pd.Series, first: pd.Series, content_of: ContentOf, retention: int | None
) -> pd.DataFrame:
    stored = words_in(verbs, ("SET", "SETEX", "PSETEX")) & first.str.contains(TASK_META, regex=False).fillna(False)
    rows = np.flatnonzero(stored.to_numpy(dtype=bool) & commands["payload_at"].notna().to_numpy())
    if not len(rows):
        return commands
    rows = rows[:: len(rows) // _MOST_DATED + 1]
    places = commands["payload_at"].to_numpy(dtype=np.int64, na_value=-1)[rows]
    done = np.array([_date_done(content_of, place) for place in places.tolist()], np.int64)
    expires = in_micros(commands["expires_at"])[rows]
    kept = _retention(expires, done, retention)
    low, high = np.full(len(rows), UNKNOWN, np.int64), np.full(len(rows), UNKNOWN, np.int64)
    dated = done != UNKNOWN
    low[dated], high[dated] = done[dated] - _SLACK, done[dated] + _SLACK
    if kept is None and (expires != UNKNOWN).any():
        return commands
    if kept is not None:
        exact = (expires != UNKNOWN) & (~dated | (np.abs(expires - kept * _MICRO - done) <= _LATE))
        # Expiries are whole milliseconds.
        low[exact] = expires[exact] - kept * _MICRO
        high[exact] = low[exact] + 999
    some = low != UNKNOWN
    not_before, not_after = narrowed(
        in_micros(commands["not_before"]), in_micros(commands["not_after"]), rows[some], low[some], high[some]
    )
    return commands.assign(not_before=moments(not_before), not_after=moments(not_after))


def _retention(expires: NDArray[np.int64], done: NDArray[np.int64], stated: int | None) -> int | None:
    """Seconds between a result's end and its expiry: what most results agree on, else what is stated."""
    both = (expires != UNKNOWN) & (done != UNKNOWN)
    if not both.any():
        return stated or None
    seconds = Counter(((expires[both] - done[both]) // _MICRO).tolist())
    if stated:
        # Where the two do not agree a clock is wrong, or what is stated: nothing is made of either.
        return stated if seconds.get(stated, 0) + seconds.get(stated + 1, 0) + seconds.get(stated - 1, 0) else None
    # A delay over the second's end makes it one more: the shorter of two that lie side by side is the retention.
    most, number = seconds.most_common(1)[0]
    if seconds.get(most - 1, 0) * 4 >= number:
        most -= 1
    # People state a retention in minutes at least; what is no such number is one with the clocks' difference in it.
    return most if most > 0 and (most % 60 == 0 or most < _SHORT) else None


def _date_done(content_of: ContentOf, place: int) -> int:
    try:
        raw = content_of(place)
    except ValueError:
        return UNKNOWN
    done = body_of(raw).date_done if len(raw) <= _LARGEST else None
    return UNKNOWN if done is None else micros_of(done)
