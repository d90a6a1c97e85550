"""Bytes that Celery, kombu or an application stored → plain Python data, or a reason why not.

In: bytes of a value. Out: data whose every text can be written as UTF-8, times as microseconds since 1970 (UTC).
Does not know what the data means, and never loads a format that can run code.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import moments

ValueOf = Callable[[str, int], Any]
"""``value_of(snapshot, offset)`` → the decoded Redis value; raises ValueError where it cannot be read."""

MAX_VALUE = 64 * 2**20
MAX_TEXT = 1024

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAT = np.iinfo(np.int64).min
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_EPOCH_UNITS = ((1e8, 1e11, 1_000_000), (1e11, 1e14, 1_000), (1e14, 1e17, 1))
"""Epoch numbers by magnitude: seconds, milliseconds, microseconds, each from 1973 to 5138."""


def load_json(raw: bytes) -> tuple[Any, str | None]:
    """JSON as Celery reads it (NaN and Infinity too, the last of a doubled key), as ``(data, problem)``.

    ``problem`` is None where the bytes are JSON. Bytes that are not UTF-8 are replaced and told; of everything else
    that is not JSON, is nested too deeply or is larger than 64 MiB, data is None. Lone surrogates become U+FFFD.
    """
    if len(raw) > MAX_VALUE:
        return None, f"larger than {MAX_VALUE >> 20} MiB: not decoded"
    problem = None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        text = raw.decode("utf-8", "replace")
        problem = f"not UTF-8 at byte {error.start}"
    try:
        data = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            data = _without_lone_surrogates(data)
    except RecursionError:
        return None, "JSON nested too deeply: not decoded"
    except json.JSONDecodeError as error:
        return None, problem or f"not JSON: {error.msg.lower()} at character {error.pos}"
    except ValueError:
        return None, "JSON with a number of more than 4300 digits: not decoded"
    return data, problem


def _without_lone_surrogates(data: Any) -> Any:
    if isinstance(data, str):
        return _LONE_SURROGATE.sub("\ufffd", data)
    if isinstance(data, list):
        return [_without_lone_surrogates(item) for item in data]
    if isinstance(data, dict):
        return {_without_lone_surrogates(key): _without_lone_surrogates(value) for key, value in data.items()}
    return data


def printable(raw: bytes, limit: int = MAX_TEXT) -> str:
    """Bytes as text, as everywhere in the kit: what is not UTF-8 as ``\\xNN``; cut to ``limit`` characters."""
    return shortened(raw[: 4 * limit + 4].decode("utf-8", "backslashreplace"), limit)


def shortened(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def text_in(data: Any, limit: int = MAX_TEXT) -> str | None:
    """The text where ``data`` is one, cut to ``limit`` characters; None for everything else and for the empty text."""
    return shortened(data, limit) if isinstance(data, str) and data else None


def id_in(data: Any) -> str | None:
    """An ID as stored: a text of any length, a number, or a UUID as kombu wraps it (kombu/utils/json.py); else None."""
    if isinstance(data, str):
        return data or None
    if isinstance(data, int) and not isinstance(data, bool) and abs(data) < 2**64:
        return str(data)
    if isinstance(data, dict) and data.get("__type__") == "uuid":
        value = data.get("__value__")
        digits = value.get("hex") if isinstance(value, dict) else None
        try:
            return str(uuid.UUID(hex=digits)) if isinstance(digits, str) else None
        except ValueError:
            return None
    return None


def count_in(data: Any) -> int | None:
    """A count as stored: a whole number from 0 to 2^63 - 1, also written as text; else None."""
    if isinstance(data, str) and len(data) < 20 and data.isascii() and data.isdigit():
        data = int(data)
    return data if isinstance(data, int) and not isinstance(data, bool) and 0 <= data < 2**63 else None


def flag_in(data: Any) -> bool | None:
    return data if isinstance(data, bool) else None


def instant(data: Any) -> int | None:
    """An ISO 8601 time as microseconds since 1970, UTC; a time without an offset is UTC (Celery up to 5.3). Else None.

    Also in kombu's wrapper ``{"__type__": "datetime", "__value__": …}``.
    """
    if isinstance(data, dict) and data.get("__type__") == "datetime":
        data = data.get("__value__")
    if not isinstance(data, str) or not 8 <= len(data) <= 64:
        return None
    try:
        moment = datetime.fromisoformat(data.strip())
    except ValueError:
        return None
    if not 2 <= moment.year <= 9998:
        # Its offset may carry it out of the years that can be shown.
        return None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant_or_epoch(data: Any) -> int | None:
    """A time as applications write it: ISO 8601, or seconds, milli- or microseconds since 1970, number or text."""
    if (found := instant(data)) is not None:
        return found
    if isinstance(data, str):
        try:
            data = float(data) if len(data) <= 32 else None
        except ValueError:
            return None
    if isinstance(data, bool) or not isinstance(data, (int, float)):
        return None
    return next((round(data * unit) for low, high, unit in _EPOCH_UNITS if low <= data < high), None)


def epoch_seconds(score: float) -> int | None:
    """A sorted-set score that is a time in seconds, in microseconds; None for what is no time (0, inf, nan, beyond
    5138).
    """
    return round(score * 1_000_000) if 0 < score < 1e11 else None


def times(instants: Sequence[int | None]) -> pd.Series:
    """Microseconds since 1970 as a column of times, UTC; None = missing."""
    stamps = np.fromiter((_NAT if value is None else value for value in instants), np.int64, len(instants))
    return moments(stamps)
