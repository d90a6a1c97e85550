"""Markup of the kit's own templates as plain text, for terminals and for ``repr()``.

In: HTML of a part of a report. Out: text with a line for each block and aligned columns for tables. Reads only what the
templates write; it is no sanitizer.
"""

from __future__ import annotations

from html.parser import HTMLParser

_BLOCKS = frozenset(
    "p h1 h2 h3 h4 section header div dl dt dd ul ol li figure figcaption caption nav footer summary pre".split()
)
_WIDEST = 60


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self._words: list[str] = []
        self._rows: list[list[str]] = []
        self._table = False
        self._as_written = False
        self._count = 0
        self._marks: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("ol", "ul"):
            self._marks.append("1" if tag == "ol" else "-")
            self._count = 0
        if tag == "table":
            self._end_line()
            self._table, self._rows = True, []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._words = []
        elif tag in _BLOCKS:
            self._end_line()
        self._as_written = tag == "pre"
        if tag == "li":
            self._count += 1
            self._words.append(f"{self._count}. " if self._marks and self._marks[-1] == "1" else "- ")
        if tag == "br":
            self._end_line()

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._rows[-1].append(self._taken())
        elif tag == "table":
            self._table = False
            self.lines += aligned(self._rows)
        elif tag in _BLOCKS:
            self._as_written = False
            self._end_line()
        if tag in ("ol", "ul") and self._marks:
            self._marks.pop()

    def handle_data(self, data: str) -> None:
        if self._as_written:
            self.lines += data.strip("\n").split("\n")
        else:
            self._words.append(data)

    def _taken(self) -> str:
        text = " ".join("".join(self._words).split())
        self._words = []
        return text

    def _end_line(self) -> None:
        if text := self._taken():
            self.lines.append(text)

    def close(self) -> None:
        super().close()
        self._end_line()


def as_text(markup: str) -> str:
    """The text of a part: a block a line, a table's rows with their columns aligned."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return "\n".join(reader.lines)


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines; a column is as wide as its widest cell, at most 60 characters."""
    widths: list[int] = []
    for row in rows:
        widths += [0] * (len(row) - len(widths))
        widths[: len(row)] = [
            max(width, min(len(cell), _WIDEST)) for width, cell in zip(widths[: len(row)], row, strict=True)
        ]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in rows)
    return [line.rstrip() for line in lines]
