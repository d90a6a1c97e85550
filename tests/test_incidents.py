"""Incidents made on real servers and workers, and what the kit makes of them: a dozen, of one seed.

``python -m tests.incidents OUT`` makes hundreds, ``python -m tests.incidents.judge OUT`` judges them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import INSTALL_REDIS, _lacking
from tests.incidents.bench import redis_binaries
from tests.incidents.catalogue import group_of
from tests.incidents.judge import Row, judge_case

SEED = 20261126
ROOT = Path(__file__).parents[1]
# Numbers 1, 4, 7, … have full evidence, 2, 5, 8, … decoys, 3, 6, 9, … poor evidence.
CHOSEN = (
    "natural_expiry-01",
    "deleted_by_client-02",
    "db_flushed-01",
    "bulk_deleted-02",
    "evicted-01",
    "restart_data_loss-02",
    "lost_in_pop-01",
    "worker_killed-02",
    "queued-01",
    "wrong_database-02",
    "db_flushed-03",
    "deleted_by_client-03",
    "evicted-03",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, made at once: processes of their own, so that Celery's state is nobody else's."""
    if not redis_binaries():
        _lacking(INSTALL_REDIS)
    out = tmp_path_factory.mktemp("incidents")
    command = [sys.executable, "-m", "tests.incidents", str(out), "--seed", str(SEED), "--jobs", "2", "--only", *CHOSEN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.parametrize("name", CHOSEN)
def test_verdict_claims_no_more_than_the_evidence_allows(made: Path, name: str) -> None:
    row, *others = judge_case(made / name)
    for one in (row, *others):
        assert not one.error, one.error
        assert not one.over, _told(one)
    if group_of(int(name.rpartition("-")[2])) != "poor":
        assert row.right, _told(row)


def _told(row: Row) -> str:
    return f"{row.record}: {row.got} {row.confidence:.3f}, accepted: {row.want}; {row.says}"
