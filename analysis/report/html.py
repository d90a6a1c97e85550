"""The one place where data becomes HTML: autoescaped templates, tables, and objects that show themselves.

In: plain values and frames. Out: ``Html``, which shows itself as HTML and as plain text. No other module writes a tag.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis.redact import redact_text, shorten
from analysis.report.show import shown

LONGEST_CELL = 300
MOST_ROWS = 200
MISSING = "–"


@dataclass(frozen=True)
class Html:
    """A part of a page: ``html`` for notebooks and reports, ``text`` where there is no HTML."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates" / "parts"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment


def render(template: str, text: str, /, **values: Any) -> Html:
    """A part made from ``templates/parts/<template>``; every value is escaped there."""
    html = _environment().get_template(template).render(**values)
    return Html(html.encode("utf-8", "backslashreplace").decode("utf-8"), text)


def visible(value: object) -> str:
    """Text in which nothing hides: control, format, private and unassigned characters and lone surrogates as escapes.

    A right-to-left mark would reorder the page around it, a zero-width space makes two names look alike.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(char) for char in text)


def _seen(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return char
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def said(value: object, limit: int = LONGEST_CELL) -> str:
    """Data as text for a page: redacted and shortened unless values are to be shown, and nothing hidden in it."""
    text = str(value)
    return visible(text if shown() else shorten(redact_text(text), limit))


@dataclass(frozen=True)
class _Cell:
    text: str
    kind: str  # n: number, t: time, w: wide text, or empty


def cell(value: Any) -> _Cell:
    """One value of a table: numbers with separators, times in UTC with their zone, what is missing as a dash."""
    if isinstance(value, (list, tuple)):
        return cell(", ".join(map(str, value)) or None)
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value):
        return _Cell(MISSING, "")
    if isinstance(value, pd.Timestamp):
        return _Cell(f"{value.tz_convert('UTC'):%Y-%m-%d %H:%M:%S} UTC", "t")
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return _Cell("yes" if value else "no", "")
    if isinstance(value, int) or type(value).__name__.startswith(("int", "uint")):
        return _Cell(f"{int(value):,}", "n")
    if isinstance(value, float) or type(value).__name__.startswith("float"):
        whole = float(value).is_integer() or abs(float(value)) >= 1000
        return _Cell(f"{float(value):,.0f}" if whole else f"{float(value):,.3g}", "n")
    text = said(value)
    return _Cell(text, "w" if len(text) > 40 else "")


def table(
    frame: pd.DataFrame,
    *,
    label: str,
    columns: Mapping[str, str] | None = None,
    empty: str = "Nothing.",
    limit: int = MOST_ROWS,
) -> Html:
    """A frame as a table in a region that scrolls sideways by itself; ``columns`` maps names to headings, in order.

    ``label`` names the region for people who do not see it, ``empty`` is the sentence for a frame without rows. More
    than ``limit`` rows are counted and not shown.
    """
    if not len(frame):
        return sentence(empty)
    names = dict(columns) if columns is not None else {str(name): str(name).replace("_", " ") for name in frame}
    top = frame[list(names)].head(limit)
    headings = [visible(heading) for heading in names.values()]
    rows = [[cell(value) for value in row] for row in top.itertuples(index=False)]
    kinds = [_kind([row[place].kind for row in rows]) for place in range(len(headings))]
    text = top.set_axis(headings, axis="columns").to_string(index=False, na_rep=MISSING)
    more = len(frame) - len(rows)
    return render("table.html.j2", text, label=visible(label), headings=headings, kinds=kinds, rows=rows, more=more)


def _kind(kinds: list[str]) -> str:
    """The kind of a column, from those of its cells: numbers only if all are, wide if any is."""
    if "n" in kinds and set(kinds) <= {"n", ""}:
        return "n"
    return "w" if "w" in kinds else ""


def sentence(text: str, kind: str = "") -> Html:
    """One paragraph; ``kind`` "finding" makes it stand out."""
    return render("sentence.html.j2", text, text=visible(text), kind=kind)


def together(*parts: Html) -> Html:
    """Parts one under the other."""
    return Html(str(Markup("\n").join(Markup(part.html) for part in parts)), "\n\n".join(part.text for part in parts))


def listing(items: Iterable[str], *, numbered: bool = False, empty: str = "None.") -> Html:
    """Sentences as a list."""
    shown_items = [visible(item) for item in items]
    if not shown_items:
        return sentence(empty)
    text = "\n".join(
        f"{number}. {item}" if numbered else f"- {item}" for number, item in enumerate(shown_items, start=1)
    )
    return render("listing.html.j2", text, items=shown_items, numbered=numbered)
