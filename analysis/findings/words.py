"""Words for numbers and times, each defined once: confidence, quality, moments, durations, lists.

In: probabilities, timestamps (UTC), seconds. Out: plain text. A moment always carries its date and its zone.
"""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

import pandas as pd

# (at least this probability, word): the only definition of the words of confidence; the report prints it.
CONFIDENCE: tuple[tuple[float, str], ...] = (
    (0.99, "certain"),
    (0.9, "very likely"),
    (0.7, "likely"),
    (0.5, "more likely than not"),
    (0.0, "undecided"),
)

_UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}

# word: what it takes. The report prints it.
QUALITY: dict[str, str] = {
    "good": "a sound snapshot or append-only file, the server's counters, and logs",
    "fair": "a sound snapshot or append-only file, but not both counters and logs",
    "poor": "no sound snapshot or append-only file, or only a part of one",
    "none": "nothing that could be read",
}


def spot(snapshot: str, offset: int) -> str:
    """Where a row of a snapshot, or of an archive, stands: ``dump.rdb, byte 512``, ``archive/….parquet, row 7``."""
    return f"{snapshot}, {'row' if snapshot.endswith('.parquet') else 'byte'} {offset}"


def confidence_word(probability: float) -> str:
    """The word for a probability, as ``CONFIDENCE`` defines it."""
    return next(word for least, word in CONFIDENCE if probability >= least)


def percent(probability: float) -> str:
    """``97 %``; never 0 % or 100 %, which no evidence gives."""
    if probability >= 0.9995:
        return "> 99.9 %"
    if probability >= 0.995:
        return f"{probability * 100:.1f} %"
    return "< 0.1 %" if probability < 0.001 else "< 1 %" if probability < 0.01 else f"{probability * 100:.0f} %"


def percentage(share: float) -> str:
    """``97.1 %``, ``0 %``, ``< 0.1 %``: a share that was counted, which may be all or none."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


def day(moment: pd.Timestamp) -> str:
    """``24 July 2025``."""
    return f"{moment.day} {moment:%B %Y}"


def at(moment: pd.Timestamp) -> str:
    """``02:38 UTC on 24 July 2025``; a moment for a sentence."""
    return f"{moment:%H:%M} UTC on {day(moment)}"


def on(moment: pd.Timestamp) -> str:
    """``24 July 2025 at 00:34 UTC``."""
    return f"{day(moment)} at {moment:%H:%M} UTC"


def stamp(moment: pd.Timestamp, zone: ZoneInfo | None = None) -> str:
    """``2025-07-24 02:38:38 UTC``, with the zone's own time in brackets where that differs."""
    text = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    if zone is None or zone.key == "UTC":
        return text
    local = moment.tz_convert(zone)
    return f"{text} ({local:%Y-%m-%d %H:%M:%S} {zone.key})"


def when(since: pd.Timestamp, until: pd.Timestamp) -> str:
    """``from … to …``; ``at …`` where less than a second lies between."""
    if until - since < pd.Timedelta(seconds=1):
        return f"at {stamp(since)}"
    return f"from {stamp(since)} to {stamp(until)}"


def duration(seconds: float) -> str:
    """``1 h 04 min``, ``4 min 32 s``, ``12.4 s``, ``3 d 5 h``: two units, the first that is not zero and the next."""
    seconds = abs(float(seconds))
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds % 1 and seconds < 10 else f"{seconds:.0f} s"
    whole = int(seconds + 0.5)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    days, hours = whole // 86400, whole % 86400 // 3600
    return f"{days} d {hours} h" if hours else f"{days} d"


def size(octets: float) -> str:
    """``712 bytes``, ``4.1 kB``, ``2.5 GB``: three digits, and units of a thousand."""
    if octets < 1000:
        return count(int(octets), "byte")
    unit = next((name for name, unit in _UNITS.items() if octets < 999.5 * unit), "TB")
    number = octets / _UNITS[unit]
    return f"{number:,.0f} {unit}" if number >= 99.95 else f"{number:.3g} {unit}"


def lower_first(text: str) -> str:
    """The text with a small first letter, unless it begins with an abbreviation."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 key``, ``1,204 keys``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Iterable[str], most: int = 4) -> str:
    """``a, b and c``; beyond ``most`` the rest is counted."""
    names = list(items)
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1:,} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
