"""One task in a snapshot, found without looking at the others.

In: a snapshot, a task ID. Out: the task's rows of the frame `tasks`. Does not know cases.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.celery.families import TASK_META, name_results
from analysis.celery.results import tasks_frame
from analysis.evidence.rdb import Snapshot


def results_of(snapshot: Snapshot, task_id: str) -> pd.DataFrame:
    """The stored results of one task, in whatever database and behind whatever prefix: rows of the frame ``tasks``."""
    ends = pc.ends_with(pa.array(snapshot.keys["key"]), TASK_META + task_id)
    keys = snapshot.keys[pd.array(ends, dtype="bool")]

    def value_of(_: str, offset: int) -> object:
        return snapshot.value(offset)

    tasks = tasks_frame(name_results(keys, value_of), value_of)
    return tasks[tasks["task_id"].eq(task_id)].reset_index(drop=True)
