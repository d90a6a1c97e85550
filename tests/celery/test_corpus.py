"""The snapshots of the corpus, as real servers of six versions wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.celery.families import name_families
from analysis.celery.jobs import jobs_frame
from analysis.celery.messages import messages_frame
from analysis.celery.results import tasks_frame
from analysis.evidence.rdb import read_rdb

CORPUS = Path(__file__).parents[2] / "../shared/corpus"
FILES = sorted(CORPUS.glob("*/celery.rdb"))


@pytest.mark.skipif(not FILES, reason="the corpus is not beside the repository")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_corpus_is_named_and_decoded(path: Path) -> None:
    snapshot = read_rdb(path)

    def value_of(_: str, offset: int) -> Any:
        return snapshot.value(offset)

    named = name_families(snapshot.keys, value_of)
    counted = named["family"].value_counts().to_dict()
    assert counted["result"] == 60 and counted["queue"] == counted["unacked"] == counted["unacked_index"] == 1
    assert set(named.loc[named["family"] == "other", "key"]) == {"bull:q:1", "celery-chord-x.j"}
    tasks = tasks_frame(named, value_of)
    assert set(tasks["status"].dropna()) >= {"SUCCESS", "FAILURE", "RETRY"}
    assert tasks.loc[tasks["kind"] == "task", "problem"].isna().all()
    messages = messages_frame(named, value_of)
    waiting = messages[messages["state"] == "queued"]
    assert set(waiting["name"]) == {"app.add"} and waiting["problem"].isna().all()
    assert jobs_frame(named, value_of)[["task_id", "status"]].to_numpy().tolist() == [["abc", "finished"]]
