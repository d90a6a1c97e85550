"""What is said while much is read: how far it is, and a line where something takes long. Says nothing by itself."""

from __future__ import annotations


class Progress:
    """To be overridden by whoever shows it. All methods return at once; ``advance`` is called often."""

    def expect(self, size: int) -> None:
        """There are ``size`` bytes to be read."""

    def advance(self, size: int) -> None:
        """``size`` more of them have been read."""

    def say(self, line: str) -> None:
        """Something that a person who waits wants to know, in one line."""
