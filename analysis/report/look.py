"""How parts of a report look in a notebook by hand, where no page gives them a style: light and dark.

In: the markup of a part. Out: the same with its style around it; and without it again, for the page, which has its own.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_END = "\n</div>"


@cache
def _begin() -> str:
    style = (Path(__file__).parent / "templates" / "by_hand.css").read_text(encoding="utf-8")
    return f'<style>\n{style}</style>\n<div class="kit">\n'


def in_notebook(html: str) -> str:
    """A part as a notebook shows it."""
    return f"{_begin()}{html}{_END}"


def on_page(html: str) -> str:
    """A part as ``in_notebook`` had it; any other markup as it is."""
    return html.removeprefix(_begin()).removesuffix(_END) if html.startswith(_begin()) else html
