"""A time with what it rests on, and how far clocks may differ."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

# Clocks of a worker and of Redis may differ, and Celery stamps date_done some milliseconds before it stores.
SLACK = pd.Timedelta(seconds=2)


@dataclass(frozen=True)
class Moment:
    """A time and what it rests on."""

    at: pd.Timestamp
    source: str
    says: str = ""


def end_of_second(moment: pd.Timestamp) -> pd.Timestamp:
    """The last microsecond that a time in whole seconds stands for; any other is itself."""
    whole = moment.microsecond == 0 and moment.nanosecond == 0
    return moment + pd.Timedelta(microseconds=999_999) if whole else moment
