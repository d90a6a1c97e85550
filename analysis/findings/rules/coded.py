"""Evidence from source code: places that delete, expire or flush keys such as the record's.

In: a ``View``. Out: findings for purged_by_cleanup, bulk_deleted, deleted_by_client, db_flushed, server_flushed. That
code could have done it does not show that it did: a place alone weighs little, beside a sign that it ran more.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.evidence.source.patterns import covers
from analysis.findings.causes import RECORDS
from analysis.findings.rules import SUPPORTIVE, WEAK, rule
from analysis.findings.rules.lived import purge_of
from analysis.findings.rules.sighted import NOUN
from analysis.findings.view import View
from analysis.findings.weigh import Finding
from analysis.findings.words import listed

_ANYTHING = ("*", "")


def places(view: View, record: str, *does: str) -> pd.DataFrame:
    """Places in the code that do this to keys of the record's name: rows of ``cleanup``, the most literal pattern
    first. Whether it covers the missing key goes by the key's name where that is known, else by the stated template.
    """
    rows = view.cleanup.loc[view.cleanup["does"].isin(does)]
    names = key_names(view, record)
    if not len(rows) or not names:
        return rows.iloc[:0]
    told = rows["pattern"].fillna("")
    literal = ~told.isin(_ANYTHING)
    takes = [
        bool(known) and any(covers(pattern, name) for name in names)
        for pattern, known in zip(told, literal, strict=True)
    ]
    found = rows.loc[takes]
    return found.iloc[(-found["pattern"].str.len()).argsort(kind="stable")]


def code_about(view: View) -> pd.DataFrame:
    """All of ``cleanup`` with ``covers``: which of the task's records its pattern takes (result, job record, message;
    several with a comma), those that take any first. A flush takes all, and is said to.
    """
    rows = view.cleanup
    taken: dict[int, list[str]] = {}
    for record, noun in NOUN.items():
        for label in places(view, record, *rows["does"].dropna().unique()).index:
            taken.setdefault(label, []).append(noun)
    flushes = rows["does"].eq("flushes") | (rows["does"].eq("deletes") & rows["pattern"].isna())
    covers = [", ".join(taken.get(label, ())) or ("all keys" if whole else "") for label, whole in flushes.items()]
    order = [0 if told and told != "all keys" else 1 if told else 2 for told in covers]
    return rows.assign(covers=covers).iloc[pd.Series(order).argsort(kind="stable")]


def key_names(view: View, record: str) -> set[str]:
    """What the record's key is called, as far as it was seen or is stated."""
    names = view.keys_of(record)
    template = view.stated.jobs.key if view.stated.jobs else None
    if record == "job" and not names and template and view.stated.jobs and not view.stated.jobs.task_field:
        names = {template.replace("{id}", view.task_id)}
    if record == "result" and not names:
        names = {f"{view.stated.key_prefix or ''}celery-task-meta-{view.task_id}"}
    return names


@rule("purge-code", rests_on="code that deletes keys of this name is what a cleanup runs; that it ran others must tell")
def purge_code(view: View) -> Iterator[Finding]:
    for record, causes in (("job", ("purged_by_cleanup",)), ("result", ("bulk_deleted", "deleted_by_client"))):
        if len(view.held(record)):
            continue
        found = places(view, record, "deletes", "purges")
        if not len(found):
            continue
        row = found.iloc[0]
        reached = str(row["reached"]) if pd.notna(row["reached"]) else ""
        where = f"{tree_of(view)}/{row['file']}:{row['line']}"
        by = f", reached by {reached}" if reached else ", which nothing in the code leads to"
        says = f"{row['function'] or row['file']} deletes {row['pattern']}{by}."
        if len(found) > 1:
            others = listed([f"{one.file}:{one.line}" for one in found.iloc[1:].itertuples()], most=3)
            says += f" So do {others}." if len(found) > 2 else f" So does {others}."
        ran = record == "job" and purge_of(view) is not None
        weight = SUPPORTIVE if reached and record == "job" and not ran else WEAK
        yield Finding("purge-code", record, where, says, dict.fromkeys(causes, weight))


@rule("flush-code", rests_on="cache.clear() of Django and Flask is FLUSHDB (django-redis, cachelib)")
def flush_code(view: View) -> Iterator[Finding]:
    flushes = view.cleanup.loc[view.cleanup["does"].eq("flushes")]
    if not len(flushes):
        return
    row = flushes.iloc[0]
    where = f"{tree_of(view)}/{row['file']}:{row['line']}"
    all_of_it = "flushall" in str(row["call"]).lower()
    for record in RECORDS:
        if not len(view.held(record)):
            says = (
                f"{row['function'] or row['file']} calls {row['call']}; on which database, and whether it ran, is open."
            )
            yield Finding("flush-code", record, where, says, {"server_flushed" if all_of_it else "db_flushed": WEAK})


def tree_of(view: View) -> str:
    """What the source tree is called among the evidence."""
    named = view.evidence.loc[view.evidence["kind"].eq("source code"), "path"]
    return str(named.iloc[0]).rstrip("/") if len(named) else "src"
