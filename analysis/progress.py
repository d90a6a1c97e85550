"""What is said while much is read: how far it is, and a line where something takes long."""

from __future__ import annotations

import os
import sys

QUIET_SWITCH = "ANALYSIS_QUIET"


class Progress:
    """Says nothing; to be overridden by whoever shows it. All methods return at once, ``advance`` is called often."""

    def expect(self, size: int) -> None:
        """There are ``size`` bytes to be read."""

    def advance(self, size: int) -> None:
        """``size`` more of them have been read."""

    def say(self, line: str) -> None:
        """Something that a person who waits wants to know, in one line."""


class Spoken(Progress):
    """For whoever works by hand: only what there is to say, on standard error. ``ANALYSIS_QUIET`` silences it."""

    def say(self, line: str) -> None:
        if not os.environ.get(QUIET_SWITCH):
            print(f"analysis: {line}", file=sys.stderr)
