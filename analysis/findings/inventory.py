"""Every task that any witness names, with what is known of it in one row.

In: the frames of a case. Out: a frame with columns task_id, name, state, first_at, last_at, seen_in.
"""

from __future__ import annotations

import pandas as pd

# The sooner they stand here, the more their word on a task's name and state counts.
_WITNESSES = ("result", "message", "log", "job record", "command")
COLUMNS = ["task_id", "name", "state", "first_at", "last_at", "seen_in"]


def known_tasks(
    tasks: pd.DataFrame, messages: pd.DataFrame, jobs: pd.DataFrame, events: pd.DataFrame, commands: pd.DataFrame
) -> pd.DataFrame:
    """One row a task ID, by ``last_at`` and then ID, the undated first.

    ``state`` is what a stored result says, else queued or unacked, else what the last log line says. ``seen_in``
    lists the witnesses: result, message, log, job record, command.
    """
    named = events.loc[events["task_id"].notna()]
    no_state = pd.Series(pd.NA, index=commands.index, dtype="str")
    testimony = pd.concat(
        [
            _testimony(tasks, tasks["name"], tasks["status"], tasks["stored_at"], "result"),
            _testimony(messages, messages["name"], messages["state"], messages["reserved_at"], "message"),
            _testimony(jobs, None, jobs["status"], jobs["created_at"], "job record"),
            _testimony(named, named["name"], named["kind"], named["at"], "log"),
            _testimony(commands, None, no_state, commands["not_before"], "command"),
        ],
        ignore_index=True,
    )
    if not len(testimony):
        return pd.DataFrame(columns=COLUMNS)
    ordered = testimony.sort_values(["rank", "at"], ascending=[True, False], na_position="last", kind="stable")
    groups = ordered.groupby("task_id", sort=False)
    # Each witness once for a task, as a bit: there are few different sets of them, each of which is put into words
    # once.
    once = ordered.loc[~ordered[["task_id", "rank"]].duplicated()]
    seen = (2 ** once["rank"]).groupby(once["task_id"], sort=False).sum()
    in_words = {bits: ", ".join(n for rank, n in enumerate(_WITNESSES) if bits >> rank & 1) for bits in seen.unique()}
    table = pd.DataFrame(
        {
            "name": groups["name"].first(),
            "state": groups["state"].first(),
            "first_at": groups["at"].min(),
            "last_at": groups["at"].max(),
            "seen_in": seen.map(in_words),
        }
    )
    return table.reset_index().sort_values(["last_at", "task_id"], na_position="first", ignore_index=True)[COLUMNS]


def _testimony(
    rows: pd.DataFrame, name: pd.Series | None, state: pd.Series, at: pd.Series, witness: str
) -> pd.DataFrame:
    rank = _WITNESSES.index(witness)
    table = pd.DataFrame({"task_id": rows["task_id"], "state": state.astype("str"), "at": at, "rank": rank})
    table["name"] = name.astype("str") if name is not None else pd.Series(pd.NA, index=rows.index, dtype="str")
    return table.loc[table["task_id"].notna()]
