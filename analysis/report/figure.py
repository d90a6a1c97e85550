"""How every chart looks, and how it shows itself without pyplot: fonts, colours with a meaning, labels.

In: nothing but sizes, times and texts. Out: ``Axes`` that a notebook shows as SVG (PNG where that is smaller) with
alternative text. Knows nothing of what is drawn.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import text_to_path
from PIL import Image

from analysis.report.html import Html, said, sentence

# Okabe and Ito's palette, darkened to 4.5:1 on white where it carries text. A colour stands for one meaning only.
INK, SOFT, LINE = "#1b1f24", "#57606a", "#dde2e8"
KEPT, LOST, RUNNING, OTHER = "#00785f", "#b04315", "#0b5cad", "#8b949e"

WIDTH_PX = 920
DPI = 96
FONT_PX = 12.0
LONGEST_LABEL = 70
LONGEST_ALT = 3_000
# Above this many bytes a picture is smaller as PNG; none is larger than the second, whatever it shows.
LARGEST_SVG, LARGEST_PICTURE = 180_000, 300_000

# Metrically close to what browsers take, so a chart's letters look like the page's. The last ships with matplotlib.
_FAMILIES = ("Inter", "Helvetica Neue", "Segoe UI", "Arial", "Liberation Sans", "DejaVu Sans")


@cache
def _families() -> list[str]:
    there = set(font_manager.get_font_names())
    found = [family for family in _FAMILIES if family in there]
    return list(dict.fromkeys([*found[:1], "DejaVu Sans"]))


@contextmanager
def style() -> Iterator[None]:
    """The kit's settings of matplotlib, for as long as a chart is drawn; the caller's own are left alone."""
    settings: dict[str, Any] = {
        "font.family": _families(),
        "font.size": FONT_PX * 72 / DPI,
        "text.parse_math": False,
        "text.usetex": False,
        "text.color": INK,
        "axes.unicode_minus": True,
        "svg.fonttype": "path",
        "svg.hashsalt": "analysis",
        "figure.dpi": DPI,
        "figure.facecolor": "white",
        "savefig.dpi": 2 * DPI,
        "path.simplify": True,
    }
    with matplotlib.rc_context(settings):  # type: ignore[arg-type, unused-ignore]
        yield


@dataclass(frozen=True)
class Chart:
    """A drawn figure as a picture that shows itself, with its alternative text in the output's metadata."""

    kind: str
    data: str
    alt: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return {self.kind: self.data, "text/plain": self.alt}, {self.kind: {"alt": self.alt}}

    def __repr__(self) -> str:
        return self.alt


class ShownAxes(Axes):
    """Axes of a figure of their own, which a notebook shows when they are the last line of a cell.

    ``get_label()`` is the alternative text. ``sentence``, where set, stands in place of an empty chart; ``left_px`` is
    the room left of them.
    """

    sentence: str = ""
    left_px: float = 0.0

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return show(self)._repr_mimebundle_()


def show(ax: Axes) -> Chart | Html:
    """The picture of a chart, whoever's axes it is on; where it had nothing to draw, the sentence that says so."""
    if isinstance(ax, ShownAxes) and ax.sentence:
        return sentence(ax.sentence, "quiet")
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    return Chart(*picture(figure), alt=str(ax.get_label() or "A chart"))


def picture(figure: Figure) -> tuple[str, str]:
    """MIME type and data of a figure: SVG as text, or PNG in base64 where the SVG is large. The same each time.

    A PNG beyond ``LARGEST_PICTURE`` is drawn again with fewer colours, then with fewer points.
    """
    buffer = io.BytesIO()
    unsaid = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with style():
        figure.savefig(buffer, format="svg", metadata=unsaid)
        if buffer.tell() <= LARGEST_SVG:
            svg = buffer.getvalue().decode("utf-8")
            return "image/svg+xml", svg[svg.index("<svg") :]
        data = _png(figure, 2 * DPI)
        for dots, colors in ((2 * DPI, 64), (DPI, 64), (DPI, 8), (DPI / 2, 8)):
            if len(data) <= LARGEST_PICTURE:
                break
            data = _fewer_colors(_png(figure, dots), colors)
    return "image/png", b64encode(data).decode("ascii")


def _png(figure: Figure, dots: float) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots, metadata={"Software": None})
    return buffer.getvalue()


def _fewer_colors(data: bytes, colors: int) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as drawn:
        drawn.convert("RGB").quantize(colors, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def new_axes(height_px: float, *, left: float = 8, right: float = 8, top: float = 4, bottom: float = 4) -> ShownAxes:
    """Axes in a new figure of the page's width; ``height_px`` is that of the axes, the margins come on top."""
    whole = height_px + top + bottom
    figure = Figure(figsize=(WIDTH_PX / DPI, whole / DPI), dpi=DPI)
    box = (left / WIDTH_PX, bottom / whole, (WIDTH_PX - left - right) / WIDTH_PX, height_px / whole)
    axes = figure.add_axes(box, axes_class=ShownAxes)
    assert isinstance(axes, ShownAxes)
    axes.left_px = left
    return axes


def bare(ax: Axes) -> None:
    """Take away frame, ticks and grid: everything is labelled in place."""
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.patch.set_visible(False)


def nothing(words: str, ax: Axes | None) -> Axes:
    """A sentence in place of an empty chart."""
    with style():
        ax = new_axes(30) if ax is None else ax
        bare(ax)
        ax.text(0, 0.5, drawable(words, 200), transform=ax.transAxes, va="center", color=SOFT)
    ax.set_label(words)
    if isinstance(ax, ShownAxes):
        ax.sentence = words
    return ax


def describe(ax: Axes, words: str) -> Axes:
    """Keep a chart's alternative text with it; ``show`` reads it."""
    ax.set_label(said(words, LONGEST_ALT))
    return ax


def width_of(text: str) -> float:
    """How wide a text of the usual size is at most, in pixels: on a raster letters are rounded up to whole ones."""
    return 1.04 * _width(text)


@cache
def _font() -> font_manager.FontProperties:
    return font_manager.FontProperties(family=_families(), size=FONT_PX)


@cache
def _width(text: str) -> float:
    return float(text_to_path.get_text_width_height_descent(text, _font(), ismath=False)[0])


@cache
def _letters() -> frozenset[int]:
    """The characters that the chart's fonts can draw."""
    paths = (font_manager.findfont(family, fallback_to_default=True) for family in _families())
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())


def drawable(text: str, limit: int = LONGEST_LABEL) -> str:
    """Text from the data as a label: cut to ``limit`` characters, what cannot be seen or drawn written as escapes."""
    seen = said(text, limit)
    known = _letters()
    return "".join(c if ord(c) in known else f"\\u{ord(c):04x}" for c in seen)


def fitting(text: str, width: float) -> str:
    """A label cut so that it is no wider than ``width`` pixels."""
    cut = text
    while cut and width_of(cut) > width:
        text = text[: max(1, min(len(text) - 1, int(len(text) * width / width_of(text))))]
        cut = text.rstrip() + "…"
        if len(text) == 1:
            break
    return cut


def beside(ax: Axes, text: str, y: float, color: str = INK) -> None:
    """A label left of the axes at the height ``y`` of the data: at the figure's edge, or close to axes of others."""
    room = ax.left_px if isinstance(ax, ShownAxes) else 0.0
    ax.annotate(
        fitting(drawable(text), room - 8 if room else 200), (0, y), xycoords=("axes fraction", "data"),
        xytext=(-room * 72 / DPI if room else -8, 0), textcoords="offset points",
        ha="left" if room else "right", va="center", color=color, annotation_clip=False,
    )  # fmt: skip
