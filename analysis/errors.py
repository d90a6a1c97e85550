"""What the kit says when input cannot be used: one line that names the file and the place, never a traceback."""

from __future__ import annotations


class Unusable(Exception):
    """Input that cannot be used. ``str()`` is one line; the command prints it and exits with 2.

    In a notebook IPython asks an exception for ``_render_traceback_``, so there it is one line too.
    """

    def __init__(self, reason: str, *, file: str = "", place: str = "") -> None:
        self.reason, self.file, self.place = reason, file, place
        where = ", ".join(part for part in (file, place) if part)
        line = f"{where}: {reason}" if where else reason
        super().__init__(" ".join(line.split()))

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]
