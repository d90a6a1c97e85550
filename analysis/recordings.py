"""What of a case has every write and every removal for a time: append-only files, backlogs, MONITOR logs.

In: a case. Out: ``lives.Recording``s, one of each server, with the keys that were there when it began; and a sentence
for each source that cannot serve. Weighs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.case import Case
from analysis.celery.families import name_families
from analysis.celery.jobs import jobs_frame
from analysis.celery.results import tasks_frame
from analysis.evidence.rdb import Snapshot
from analysis.findings.lives import Recording
from analysis.findings.share_gone import measured_storing
from analysis.frames import words_in
from analysis.streams import StreamReading

_MONITOR = "MONITOR log"


def recordings(case: Case) -> tuple[list[Recording], list[str]]:
    """Of each server the recording that goes on longest, append-only files before others; and for each source of
    commands that cannot serve the sentence that says why.
    """
    found: dict[str, Recording] = {}
    reasons = []
    for one in (*_streams(case), *_monitors(case)):
        if isinstance(one, str):
            reasons.append(one)
            continue
        best = found.get(one.server)
        if best is None or _rank(one) > _rank(best):
            found[one.server] = one
    return list(found.values()), reasons


def _rank(one: Recording) -> tuple[bool, pd.Timedelta]:
    return one.base is not None, one.until - one.since


def _streams(case: Case) -> Iterator[Recording | str]:
    complete = case.evidence.set_index("path")["complete"]
    for stream in case.streams:
        name = stream.file.source
        if not len(stream.commands):
            continue
        state, since = stream.state, stream.rows[0]["from"]
        backlog = stream.file.witness == "replication backlog"
        if not complete[name]:
            yield f"{name} was read in part, so a removal may be missing from it."
        elif not backlog and (state is None or state.base is None):
            yield f"{name} has no base, so which of its commands only wrote down what was there is not told."
        elif pd.isna(since) or stream.taken_at is None or not since < stream.taken_at:
            yield f"{name} does not tell from when to when it speaks."
        elif words_in(stream.commands["verb"], ("SWAPDB",)).any():
            yield f"In {name} databases changed places, and keys are not followed from one to the other."
        else:
            base = None if backlog or state is None or state.base is None else _based(case, stream, state.base)
            commands = stream.commands.loc[stream.commands["source"].isin(stream.file.current)]
            yield Recording(stream.file.server, name, commands, since, stream.taken_at, base)


def _based(case: Case, stream: StreamReading, base: Snapshot) -> pd.DataFrame:
    """The keys of a stream's base, as ``Recording.base`` has them."""

    def value(_: str, offset: int) -> object:
        return base.value(offset)

    keys = name_families(base.keys, value, case.settings.jobs)
    stored = measured_storing(tasks_frame(keys, value), jobs_frame(keys, value, case.settings.jobs))
    at = stored.drop_duplicates("offset").set_index("offset")["at"].reindex(keys["offset"].to_numpy())
    return keys[["db", "key", "family", "expires_at"]].assign(at=at.to_numpy())


def _monitors(case: Case) -> Iterator[Recording | str]:
    rows = case.evidence.loc[case.evidence["kind"].eq(_MONITOR)]
    for row in rows.itertuples(index=False):
        name, server = str(row.path), str(row.server)
        commands = case.commands.loc[case.commands["source"].eq(name).to_numpy(dtype=bool)].reset_index(drop=True)
        since, until = commands["not_before"].min(), commands["not_after"].max()
        if not len(commands) or not since < until:
            continue
        if not row.complete:
            yield f"{name} was read in part, or was interrupted, so a removal may be missing from it."
        elif not _evicts_nothing(case, server):
            yield f"{name} does not show evictions, and that there were none is not told."
        elif words_in(commands["verb"], ("SWAPDB",)).any():
            yield f"In {name} databases changed places, and keys are not followed from one to the other."
        else:
            yield Recording(server, name, commands, since, until)


def _evicts_nothing(case: Case, server: str) -> bool:
    """Whether the server cannot have evicted keys: it had no limit of memory, or a policy that evicts nothing."""
    answers = case.servers.loc[case.servers["server"].eq(server)]
    config = case.config.get(server, {})
    limits, policies = answers["maxmemory"].dropna(), answers["maxmemory_policy"].dropna()
    unlimited = bool(limits.eq(0).all()) if len(limits) else config.get("maxmemory") == "0"
    spared = bool(policies.eq("noeviction").all()) if len(policies) else config.get("maxmemory-policy") == "noeviction"
    return unlimited or spared
