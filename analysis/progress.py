"""What is said while much is read: how far it is, and a line where something takes long. Says nothing by itself."""

from __future__ import annotations


class Progress:
    """To be overridden by whoever shows it. ``advance`` may be called often, from one thread; both return at once."""

    def advance(self, size: int) -> None:
        """``size`` more bytes have been read."""

    def say(self, line: str) -> None:
        """Something that a person who waits wants to know, in one line."""
