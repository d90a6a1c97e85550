"""The one place where data becomes HTML: autoescaped templates, tables, and objects that show themselves.

In: plain values and frames. Out: ``Html``, which shows itself as HTML and as plain text. No other module writes a tag.
Whoever shows it: what a template prints has been redacted, cut, made visible and escaped here, and the plain text is
read off the finished HTML, so it holds no more than that.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from analysis.findings.words import count
from analysis.frames import FRAMES
from analysis.redact import redact_text, shorten
from analysis.report.look import in_notebook
from analysis.report.plain import as_text
from analysis.report.show import shown

LONGEST_CELL = 300
LONGEST_TEXT = 4_000
# A value of any size may stand in the evidence, also where values are to be shown as they are.
LONGEST_SHOWN = 50_000
MOST_ROWS = 200
# A table longer than this folds: whoever wants its rows opens it, whoever prints has them.
FOLDS_FROM = 25
MISSING = "–"

# Printable by Unicode's categories, and yet nothing is seen: fillers, joiners, variation selectors, the empty braille.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
# Marks piled on one letter run over the lines above and below it; no living script needs more.
_MOST_MARKS = 3


@dataclass(frozen=True)
class Html:
    """A part of a page: ``html`` for notebooks and reports, ``text`` where there is no HTML.

    ``title``, where given, is what the page is called; the exporter reads it from the output's metadata.
    """

    html: str
    title: str = ""

    @property
    def text(self) -> str:
        return as_text(self.html)

    def _repr_html_(self) -> str:
        return in_notebook(self.html)

    def __html__(self) -> str:
        """A template that prints a part prints its markup."""
        return self.html

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        noted = {"text/html": {"title": self.title}} if self.title else {}
        return {"text/html": self._repr_html_(), "text/plain": self.text}, noted

    def __repr__(self) -> str:
        return self.text


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates" / "parts"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalize(value: Any) -> Any:
    """What a template prints: text without secrets, cut and made visible; autoescape follows."""
    return said(value, LONGEST_TEXT) if isinstance(value, str) and not hasattr(value, "__html__") else value


def render(template: str, /, *, page_title: str = "", **values: Any) -> Html:
    """A part made from ``templates/parts/<template>``; every value is redacted, made visible and escaped there."""
    return Html(_environment().get_template(template).render(values), said(page_title))


def visible(value: object, keep: str = "") -> str:
    r"""Text in which nothing hides: what is not seen, or turns the order of other letters, as an escape.

    ``\x00``, ``\n``, ``\u202e``, ``\udcff`` for control, format, private and unassigned characters, lone surrogates,
    blanks other than the space, and accents beyond the third on one letter. Characters in ``keep`` stay. A
    right-to-left mark would reorder the page around it, a zero-width space makes two names look alike.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    seen: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        hides = not char.isprintable() or _UNSEEN.match(char) or marks > _MOST_MARKS
        seen.append(_escaped(char) if hides and char not in keep else char)
    return "".join(seen)


def _escaped(char: str) -> str:
    number = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def said(value: object, limit: int = LONGEST_CELL, keep: str = "") -> str:
    """Data as text for a page: redacted and shortened unless values are to be shown, and nothing hidden in it.

    Values that are to be shown end at 50,000 characters all the same: a page must open.
    """
    text = str(value)
    # A password is told by what stands around it, so it is taken out before anything is cut off.
    return visible(shorten(text, LONGEST_SHOWN) if shown() else shorten(redact_text(text), limit), keep)


def escaped(text: str, limit: int = LONGEST_TEXT, keep: str = "") -> Markup:
    """Text from anywhere as markup that shows just this text; for the exporter's template, which escapes nothing."""
    return escape(said(text, limit, keep))


@dataclass(frozen=True)
class _Cell:
    text: str
    kind: str  # n: number, t: time, w: wide text, c: an ID or a path, k: a short name, s: a figure in words, or empty
    exact: str = ""
    names_evidence: bool = False


# Columns whose text is a name to a machine: set in one width.
_CODE = frozenset("key task_id oldest_task sha256 path snapshot before after where".split())
# Columns of short names, which break between words only.
_NAMES = frozenset("family name status stored_from".split())
# `316 bytes`, `44 min 53 s`: what is no longer stays on one line.
_SHORT_CELL = 12
# Columns that say from which evidence a row is.
_FROM = frozenset("source snapshot before after".split())


def cell(value: Any, name: str = "") -> _Cell:
    """One value of a table: numbers with separators, times in UTC with their zone, what is missing as a dash."""
    if isinstance(value, (list, tuple)):
        return cell(", ".join(map(str, value)) or None, name)
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value):
        return _Cell(MISSING, "")
    if isinstance(value, pd.Timestamp):
        utc = value.tz_convert("UTC")
        return _Cell(f"{utc:%Y-%m-%d %H:%M:%S} UTC", "t", f"{utc:%Y-%m-%dT%H:%M:%S.%f}Z")
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return _Cell("yes" if value else "no", "")
    if isinstance(value, int) or type(value).__name__.startswith(("int", "uint")):
        return _Cell(f"{int(value):,}".replace("-", "−"), "n")
    if isinstance(value, float) or type(value).__name__.startswith("float"):
        return _Cell(_number(float(value)), "n")
    text = said(value)
    kind = (
        "c" if name in _CODE else "w" if len(text) > 40 else "k" if name in _NAMES else "s" * (len(text) <= _SHORT_CELL)
    )
    return _Cell(text, kind, names_evidence=name in _FROM)


def _number(value: float) -> str:
    """``18,482``, ``271.88``, ``0.00012``, ``∞``: two places from 100 on, else four digits."""
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    whole = value.is_integer() or abs(value) >= 1e6
    text = f"{value:,.0f}" if whole else f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"
    return text.replace("-", "−")


def table(
    frame: pd.DataFrame,
    *,
    label: str,
    columns: Mapping[str, str] | None = None,
    empty: str = "Nothing.",
    limit: int = MOST_ROWS,
    schema: str = "",
    ids: Sequence[str] = (),
    folds: bool | None = None,
) -> Html:
    """A frame as a table in a region that scrolls sideways by itself; ``columns`` maps names to headings, in order.

    ``label`` names the region for people who do not see it, ``empty`` is the sentence for a frame without rows. More
    than ``limit`` rows are counted and not shown. ``schema`` is the frame's name in ``analysis.frames``, whose units
    then stand in the headings of numbers; ``ids`` are names for links, a row each. A long table folds, others if
    ``folds`` says so.
    """
    if not len(frame):
        return sentence(empty, "quiet")
    names = dict(columns) if columns is not None else {str(name): _heading(str(name)) for name in frame}
    top = frame[list(names)].head(limit)
    rows = [
        [cell(value, name) for value, name in zip(row, names, strict=True)]
        for row in top.itertuples(index=False, name=None)
    ]
    kinds = [_kind([row[place].kind for row in rows]) for place in range(len(names))]
    heads = [
        (_with_unit(heading, name, schema) if kind == "n" else heading, kind)
        for (name, heading), kind in zip(names.items(), kinds, strict=True)
    ]
    folding = len(rows) >= FOLDS_FROM if folds is None else folds
    shown_rows = list(zip([*ids[: len(rows)], *[""] * (len(rows) - len(ids))], rows, strict=True))
    more = len(frame) - len(rows)
    return render("table.html.j2", label=label, heads=heads, rows=shown_rows, more=more, folds=folding)


def _heading(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _with_unit(heading: str, name: str, schema: str) -> str:
    """The heading of a column of numbers, with the unit that the frame's schema gives it, unless it says that."""
    unit = next((column.unit for column in FRAMES.get(schema, ()) if column.name == name), "")
    return f"{heading} ({unit})" if unit and unit not in heading.lower().split() else heading


def _kind(kinds: list[str]) -> str:
    """The kind of a column, from those of its cells: numbers only if all are, wide if any is."""
    if "n" in kinds and set(kinds) <= {"n", "s", ""}:
        return "n"
    return "w" if "w" in kinds else ""


def sentence(text: str, kind: str = "") -> Html:
    """One paragraph; ``kind`` "finding" makes it stand out, "quiet" sets it back."""
    return render("sentence.html.j2", text=text, kind=kind)


def together(*parts: Html) -> Html:
    """Parts one under the other."""
    return Html("\n".join(part.html for part in parts), next((part.title for part in parts if part.title), ""))


def folded(what: str, *parts: Html) -> Html:
    """Parts that open when one asks for them, under a line that says what they are and how much; print has them."""
    inside = together(*parts)
    return render("folded.html.j2", what=what, amount=amount(inside.html), inside=Markup(inside.html))


def listing(items: Iterable[str], *, numbered: bool = False, empty: str = "None.") -> Html:
    """Sentences as a list."""
    given = list(items)
    return render("listing.html.j2", items=given, numbered=numbered) if given else sentence(empty, "quiet")


def block(lines: Iterable[str], label: str) -> Html:
    """Lines to be copied: one click selects all of them."""
    return render("block.html.j2", lines=list(lines), label=label)


_ROWS = re.compile(r"<tbody>.*?</tbody>", re.DOTALL)
_COPIED = re.compile(r'<pre class="copy"[^>]*>([^<]*)</pre>')


def amount(markup: str, charts: int = 0) -> str:
    """``1 chart, 24 rows, 3 entries``: how much of what one would look at is in a part; nothing of mere sentences."""
    rows = sum(body.count("<tr") for body in _ROWS.findall(markup))
    entries = markup.count("<li") + markup.count("<dt")
    lines = sum(text.count("\n") - 1 for text in _COPIED.findall(markup))
    counted = ((charts, "chart", ""), (rows, "row", ""), (entries, "entry", "entries"), (lines, "line", ""))
    return ", ".join(count(number, noun, plural) for number, noun, plural in counted if number)


# Written by the templates only: data is escaped, and cannot look like it.
_FILE = re.compile(r'<tr id="(file-[0-9a-f]+)">\s*<td class="c"><code>([^<]*)</code>')
_NAMES_EVIDENCE = re.compile(r"(<[a-z]+(?: class=\"[\w ]*\")? data-from>)([^<]*)")


def files_listed(markup: str) -> dict[str, str]:
    """The files of evidence that a part lists (``page.evidence_list``), as they stand there escaped: path → id."""
    return {path: id for id, path in _FILE.findall(markup)}


def linked(markup: str, files: Mapping[str, str]) -> Markup:
    """A part in which each place that says from which evidence it is leads to that file in the list of evidence.

    ``files`` as ``files_listed`` gives them; what is not among them stays text.
    """
    if not files:
        return Markup(markup)
    paths = "|".join(re.escape(path) for path in sorted(files, key=len, reverse=True))
    place = r"(?:/[^\s;,:()]+)?(?::\d+|, (?:byte|line|entry) \d+)?"
    named = re.compile(rf"(?<![\w./-])({paths}){place}(?![\w/-]|\.\w)")

    def lead(found: re.Match[str]) -> str:
        return f'<a href="#{files[found[1]]}">{found[0]}</a>'

    return Markup(_NAMES_EVIDENCE.sub(lambda text: text[1] + named.sub(lead, text[2]), markup))
