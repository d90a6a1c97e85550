"""How an object shows itself to whoever works by hand: as HTML in a notebook, as plain text elsewhere.

In: an object. Out: what ``report/cards.py`` makes of it. Knows no markup: the floor that shows is looked up when
something is to be shown, so that nothing below it waits for it, or imports it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class ShowsItself:
    """To be inherited by what an analyst holds in a notebook; a dataclass then takes ``repr=False``."""

    def __repr__(self) -> str:
        return str(_card(self).text)

    def _repr_html_(self) -> str:
        return str(_card(self)._repr_html_())


def _card(thing: ShowsItself) -> Any:
    return import_module("analysis.report.cards").card(thing)
