"""What a batch has done, line by line in its folder: so that a batch that was ended goes on where it stopped.

In: rows of reports that were made. Out: the same, of reports that are there still and were made of the same. A line is
whole or does not count. One batch at a time works in a folder.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from analysis.errors import Unusable
from analysis.report.bundle import to_json

_LOCK, _LINES = ".batch.lock", ".batch.jsonl"
_MADE = ("deletion_investigation.html", "deletion_investigation.ipynb", "verdict.json")


class Journal:
    """The rows of a folder's batch: ``key`` says of what and by what they were made (the case's hash, the version, the
    parameters).
    """

    def __init__(self, out: Path, key: str) -> None:
        self._out, self._key = out, key
        # An empty line behind what may have been cut, so that the next one is whole.
        self._file = (out / _LINES).open("a", encoding="utf-8")
        self._file.write("\n" if self._file.tell() else "")

    def made(self) -> dict[str, dict[str, Any]]:
        """Rows by task, of reports that were made of the same and are there whole."""
        found: dict[str, dict[str, Any]] = {}
        with (self._out / _LINES).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                    if line.endswith("\n") and told["key"] == self._key:
                        found[str(told["row"]["task_id"])] = told["row"]
                except (ValueError, KeyError, TypeError):
                    continue  # empty, or cut where the batch was ended
        return {
            task: row
            for task, row in found.items()
            if not row.get("error") and all((self._out / str(row["folder"]) / name).is_file() for name in _MADE)
        }

    def add(self, row: dict[str, Any]) -> None:
        self._file.write(to_json({"key": self._key, "row": row}) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """The folder, made if need be, for one batch only. Raises Unusable where another works in it, or it cannot be
    written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unusable("another batch works in this folder", file=os.fspath(out)) from None
            yield
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror}", file=os.fspath(out)) from None
