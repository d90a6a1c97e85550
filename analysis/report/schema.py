"""What the columns of a frame mean, for whoever has one in hand.

In: a frame of a case, or a frame's name. Out: ``Html``, a row for each column, from the one schema (``frames.FRAMES``).
"""

from __future__ import annotations

import pandas as pd

from analysis.errors import Unusable
from analysis.findings.words import count, listed
from analysis.frames import FRAMES, ROWS, Column
from analysis.report.html import Html, sentence, table, together


def describe(frame: pd.DataFrame | str) -> Html:
    """The columns of a frame: name, type, unit and meaning of each, and in how many rows it is known.

    ``frame``: a frame of a case or some of its columns, or its name (then no row is counted). Raises Unusable for what
    is no frame of the kit, or may be any of several.
    """
    name = frame if isinstance(frame, str) else _name(frame)
    if name not in FRAMES:
        raise Unusable(f"there is no frame {name[:80]!r}; there are {listed(FRAMES, most=len(FRAMES))}")
    columns = {"column": "Column", "kind": "Is", "unit": "Unit", "meaning": "Meaning"}
    if isinstance(frame, str):
        rows = [_row(column) for column in FRAMES[name]]
    else:
        columns |= {"known": f"Known, of {count(len(frame), 'row')}"}
        rows = [_row(column) | {"known": _known(frame, column)} for column in FRAMES[name] if column.name in frame]
    told = table(pd.DataFrame(rows), label=f"Columns of {name}", columns=columns, folds=False)
    return together(sentence(f"In {name}, a row is {ROWS[name]}. Times are UTC; what is not known is missing."), told)


def _row(column: Column) -> dict[str, object]:
    return {"column": column.name, "kind": column.kind, "unit": column.unit, "meaning": column.meaning}


def _known(frame: pd.DataFrame, column: Column) -> int:
    return int(frame[column.name].notna().sum())


def _name(frame: object) -> str:
    """The one frame of the kit that has these columns, or whose columns are all among them."""
    if not isinstance(frame, pd.DataFrame):
        raise Unusable(f"give a frame of a case, or its name, not {type(frame).__name__}")
    given = set(frame.columns)
    schemas = {name: {column.name for column in columns} for name, columns in FRAMES.items()}
    fitting = [name for name, known in schemas.items() if given and (given <= known or known <= given)]
    whole = [name for name in fitting if schemas[name] == given]
    if len(whole or fitting) == 1:
        return (whole or fitting)[0]
    if fitting:
        raise Unusable(f"these columns are in {listed(fitting, most=len(fitting))}: give the name of the one you mean")
    raise Unusable("no frame of the kit has just these columns; give one of a case, as case.keys, or its name")
