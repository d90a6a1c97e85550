"""Snapshots for the tests of analysis.evidence: bytes, written to a file and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.evidence.rdb import Snapshot, read_rdb

Read = Callable[..., Snapshot]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """``read(data, **arguments of read_rdb)``."""
    path = tmp_path / "dump.rdb"

    def read_bytes(data: bytes, **arguments: Any) -> Snapshot:
        # A file of its own for every reading: those before stay mapped.
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return read_rdb(path, **arguments)

    return read_bytes
