"""How parts of a report look in a notebook by hand, where no page gives them a style: light and dark.

In: the markup of a part. Out: the same with its style around it; and without it again, for the page, which has its own.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

# No style holds a "<". Whatever kit's it is: the notebook may have been run by an earlier one.
_AROUND = re.compile(r'<style class="kit">[^<]*</style>\n<div class="kit">\n(.*)\n</div>', re.DOTALL)


@cache
def _style() -> str:
    return (Path(__file__).parent / "templates" / "by_hand.css").read_text(encoding="utf-8")


def in_notebook(html: str) -> str:
    """A part as a notebook shows it."""
    return f'<style class="kit">\n{_style()}</style>\n<div class="kit">\n{html}\n</div>'


def on_page(html: str) -> str:
    """A part as ``in_notebook`` had it; any other markup as it is."""
    found = _AROUND.fullmatch(html)
    return found[1] if found else html
