"""What the kit says when input cannot be used: one line that names the file and the place, never a traceback."""

from __future__ import annotations


class OneLine(Exception):
    """What whoever works by hand is told in the one line of ``str()``: IPython asks for ``_render_traceback_``."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class Unusable(OneLine):
    """Input that cannot be used. ``str()`` is one line; the command prints it and exits with 2."""

    def __init__(self, reason: str, *, file: str = "", place: str = "") -> None:
        self.reason, self.file, self.place = reason, file, place
        where = ", ".join(part for part in (file, place) if part)
        line = f"{where}: {reason}" if where else reason
        super().__init__(" ".join(line.split()))
