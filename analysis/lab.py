"""Copies of the notebooks to work on, so that those that ship stay as they are: ``python -m analysis.lab work``.

In: a folder. Out: a copy of each notebook in it, the newest beside one that somebody has worked in, and a line for each
of these. Writes over nothing that is not exactly as it was copied.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from analysis.case import shipped
from analysis.errors import Unusable
from analysis.report.bundle import write_whole

AS_COPIED = ".as-copied"
"""The folder in which each notebook stands as it was when it was last copied."""


def main() -> int:
    """Prints a line for each copy that stands beside an older one; 2 and one line where nothing can be copied."""
    if len(sys.argv) != 2:
        print("analysis.lab: name the folder for the copies", file=sys.stderr)
        return 2
    try:
        for line in copy_notebooks(Path(sys.argv[1])):
            print(line)
    except Unusable as error:
        print(f"analysis.lab: {error}", file=sys.stderr)
        return 2
    return 0


def copy_notebooks(folder: Path) -> Iterator[str]:
    """Copies what is new; says of each copy that could not take its own name why. Raises Unusable where ``folder``
    cannot be written.
    """
    try:
        (folder / AS_COPIED).mkdir(parents=True, exist_ok=True)
        for notebook in sorted(shipped("notebooks").glob("*.ipynb")):
            copied = folder / AS_COPIED / notebook.name
            before = copied.read_bytes() if copied.is_file() else b""
            content, own = notebook.read_bytes(), folder / notebook.name
            if content == before and own.exists():
                continue
            target = own
            if own.exists() and own.read_bytes() not in (before, content):
                target = next(path for path in _numbered(own) if not path.exists())
                yield f"{target}: the newest; {own} is of an earlier version, or yours, and stays as it is"
            write_whole(target, content)
            write_whole(copied, content)
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror}", file=str(folder)) from None


def _numbered(path: Path) -> Iterator[Path]:
    return (path.with_stem(f"{path.stem}-{number}") for number in count(2))


if __name__ == "__main__":
    sys.exit(main())
