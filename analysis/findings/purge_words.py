"""What ``verify-purge`` says: a headline, notes on what the snapshots cannot tell, and lists that end.

In: ``PurgeFindings``. Out: plain text, line by line, and the parts of a JSON object. Escaping is left to whoever shows
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from analysis.findings.purge import PurgeFindings
from analysis.findings.words import count, listed, stamp

MOST = 10
"""Examples in each list of what is printed for people; ``--json`` lists all."""

_NOUNS = {
    "result": ("result", "results"),
    "group_result": ("saved group", "saved groups"),
    "chord": ("key of a chord", "keys of chords"),
    "queue": ("queue", "queues"),
    "unacked": ("hash of unacknowledged messages", "hashes of unacknowledged messages"),
    "unacked_index": ("index of unacknowledged messages", "indexes of unacknowledged messages"),
    "binding": ("binding", "bindings"),
    "job": ("job record", "job records"),
    "rq_job": ("RQ job", "RQ jobs"),
    "rq_results": ("stream of RQ results", "streams of RQ results"),
    "other": ("key of no known family", "keys of no known family"),
}

Say = Callable[[object], str]


def purge_headline(found: PurgeFindings, say: Say = str) -> str:
    """One sentence: how many of the given records are gone, how many remain, what went with them."""
    return "; ".join([_counted(found), *_went_along(found, say)]) + "."


def _counted(found: PurgeFindings) -> str:
    every, gone = found.ids, int(found.gone["seen_before"].sum())
    absent, remain, unsure = len(found.gone) - gone, len(found.remaining), len(found.undecided)
    one, records = every == 1, "The given job record" if every == 1 else f"All {every:,} given job records"
    if gone == every:
        return f"{records} {'is' if one else 'are'} gone"
    if remain == every:
        return f"{records} {_remain(remain)}"
    if absent == every:
        there = f"{records} is not there" if one else f"None of {every:,} given job records is there"
        return f"{there}, but no snapshot shows that {'it ever was' if one else 'they ever were'}"
    if unsure == every:
        return f"Whether {'the given job record is' if one else f'{every:,} given job records are'} gone cannot be told"
    parts = [f"{f'{gone:,}' if gone else 'None'} of {every:,} given job records {_are(gone)} gone"]
    if absent:
        parts.append(f"{absent:,} {_are(absent)} in no snapshot")
    if remain:
        parts.append(f"{remain:,} {_remain(remain)}")
    if unsure:
        parts.append(f"of {unsure:,} it cannot be told")
    return ", ".join(parts if gone or not absent else [f"Of {every:,} given job records {parts[1]}", *parts[2:]])


def _remain(number: int) -> str:
    return "remains" if number == 1 else "remain"


def _are(number: int) -> str:
    return "is" if number <= 1 else "are"


def _went_along(found: PurgeFindings, say: Say) -> Iterator[str]:
    """What the headline says of other keys, in a few words."""
    also = found.also_gone
    if not len(found.windows):
        return
    theirs = also.loc[also["relation"].eq("of_given"), "family"]
    gone = bool(found.gone["seen_before"].sum())
    told = [f"{_nouns(theirs)} of theirs"] if len(theirs) else []
    if others := int(also["relation"].eq("other_job").sum()):
        told.append(f"{count(others, 'job record')} not asked for")
    if rest := int(also["relation"].eq("other").sum()):
        told.append(count(rest, "other key"))
    if len(found.emptied):
        yield f"but {_databases(found, say)}, so this looks like a flush or a restart without data, not like a purge"
    elif told:
        yield f"{listed(told)} {'went with them' if gone else 'disappeared'}"
    elif gone:
        yield "nothing else went with them" if not len(found.expired_meanwhile) else "else only what was due to expire"


def _databases(found: PurgeFindings, say: Say) -> str:
    names = (say(f"{row.server}/db{row.db}" if row.server else f"db{row.db}") for row in found.emptied.itertuples())
    return f"nothing is left of what {listed(names)} held"


def _nouns(families: pd.Series) -> str:
    return listed(_noun(family, number) for family, number in families.value_counts().items())


def _noun(family: Any, number: int) -> str:
    return count(number, *_NOUNS.get(str(family), (f"key of family {family}", f"keys of family {family}")))


def purge_notes(found: PurgeFindings, say: Say = str) -> list[str]:
    """What has to be known to read the answer rightly, a sentence each; ``say`` is for the names in them."""
    return [*_of_the_snapshots(found, say), *_of_the_records(found), *_of_the_rest(found)]


def _of_the_snapshots(found: PurgeFindings, say: Say) -> Iterator[str]:
    for server, of_server in found.shots.groupby("server"):
        where = f"of server {say(server)} " if server else ""
        newest = of_server.loc[of_server["newest"]]
        names = listed(map(say, newest["snapshot"]))
        if len(newest) > 1:
            yield (
                f"Which of {names} {where}is the last is not known: they are of the same "
                "second, or have no time (case.toml can state a snapshot's under [snapshots]), or are an append-only "
                "file, which goes on for an unknown time after the last it tells; given alone as the case, it shows "
                "what remains at its end. A record counts where all of them agree; what else is gone is not told."
            )
        elif not newest["complete"].all():
            yield f"{names} was read in part: that a key is not in what was read proves nothing."
        elif len(of_server) == 1:
            yield (
                f"There is only one snapshot {where}({names}): it shows what remains, not what "
                "was there before, nor what else disappeared."
            )
    for server in sorted(set(found.without_snapshot)):
        yield f"There is no snapshot of server {say(server)}: what it holds is not known."


def _of_the_records(found: PurgeFindings) -> Iterator[str]:
    never = int((~found.gone["seen_before"].astype(bool)).sum())
    if never:
        yield (
            f"{count(never, 'ID names', 'IDs name')} no record in any snapshot: absent, but none shows that "
            f"{'it was' if never == 1 else 'they were'} ever there. IDs are compared exactly, and are no prefixes."
        )
    if found.by_name:
        yield (
            "No key is known for a job record and case.toml states no [jobs] key: keys of no known family whose names "
            "hold an ID were taken for its record."
        )
    if lapsed := int(found.gone["still_in_file"].sum()):
        yield (
            f"{count(lapsed, 'record')} counted as gone had expired and still stood in the snapshot: no client of a "
            "master can read such a record, but Redis had not deleted it yet, and the file holds its content."
        )
    due = int((found.gone["due"].astype(bool) & ~found.gone["still_in_file"].astype(bool)).sum())
    if due:
        was = "record that is gone was" if due == 1 else "records that are gone were"
        yield f"{due:,} {was} due to expire by then: whether the purge took them first is not told."
    if left := found.results_left:
        has = "given task still has its result" if left == 1 else "given tasks still have their results"
        yield f"{left:,} {has} in the last snapshot."


def _of_the_rest(found: PurgeFindings) -> Iterator[str]:
    relations = found.also_gone["relation"]
    if len(found.windows) and not found.gone["seen_before"].any():
        yield (
            "No given record is known to have disappeared, so what else disappeared is told of the last interval "
            "between snapshots."
        )
    if len(found.windows):
        yield "That keys disappeared in the same interval does not show that the same hand, or command, removed them."
    if (found.also_gone["family"].isin(("queue", "unacked", "unacked_index")) & relations.ne("message")).any():
        yield "A list, set or hash that becomes empty is no key any more: a queue that is gone may only be empty."
    if relations.eq("message").any():
        yield "A message that waits no more was delivered, or purged: snapshots do not tell which."


def purge_lines(found: PurgeFindings, say: Say) -> Iterator[str]:
    """The whole answer for people: ``say`` makes text from the evidence safe to print."""
    yield purge_headline(found, say)
    for window in found.windows.itertuples():
        yield f"Compared: {_shot(found, window.before, say)} with {_shot(found, window.after, say)}"
    if not len(found.windows):
        for snapshot in found.shots.loc[found.shots["newest"], "snapshot"]:
            yield f"Looked in: {_shot(found, snapshot, say)}"
    yield from _list("Remaining", found.remaining, lambda row: _remaining(row, say))
    yield from _list("Undecided", found.undecided, lambda row: _open(row, say))
    seen = found.gone["seen_before"].astype(bool)
    yield from _list("Gone", found.gone.loc[seen], lambda row: _gone(row, say))
    yield from _list("In no snapshot", found.gone.loc[~seen], lambda row: say(row.id))
    yield from _also(found, say)
    for row in found.emptied.itertuples():
        where = say(f"{row.server}/db{row.db}" if row.server else f"db{row.db}")
        yield (
            f"Emptied: none of the {count(row.held, 'key')} that {where} held in {say(row.before)} is in "
            f"{say(row.after)}: as after FLUSHDB, FLUSHALL or a restart without its data"
        )
    if len(found.expired_meanwhile):
        by_family = found.expired_meanwhile.groupby("family")["keys"].sum().sort_values(ascending=False)
        told = listed(_noun(family, number) for family, number in by_family.items())
        yield f"Not counted, as due to expire by then: {say(told)}"
    yield from (f"Note: {note}" for note in purge_notes(found, say))


def _shot(found: PurgeFindings, snapshot: str, say: Say) -> str:
    row = found.shots.set_index("snapshot").loc[snapshot]
    return f"{say(snapshot)} ({_moment(row['taken_at'])}{'' if row['complete'] else ', read in part'})"


def _moment(moment: Any) -> str:
    return "undated" if pd.isna(moment) else stamp(moment)


def _list(title: str, rows: pd.DataFrame, line: Callable[[Any], str]) -> Iterator[str]:
    if len(rows):
        yield f"{title}: {len(rows):,}"
        yield from (f"  {line(row)}" for row in rows.head(MOST).itertuples())
        if len(rows) > MOST:
            yield f"  … and {len(rows) - MOST:,} more (--json lists all)"


def _remaining(row: Any, say: Say) -> str:
    status = f"status {say(row.status)}" if isinstance(row.status, str) else "no status"
    expiry = "no expiry" if pd.isna(row.expires_at) else f"expires {stamp(row.expires_at)}"
    gone = [f"gone from {say(listed(row.gone_from))}"] if row.gone_from else []
    return "  ".join([say(row.id), say(listed(row.where)), status, expiry, f"at {_moment(row.taken_at)}", *gone])


def _open(row: Any, say: Say) -> str:
    return "  ".join([say(row.id), *([say(listed(row.where))] if row.where else []), row.reason])


def _gone(row: Any, say: Say) -> str:
    if row.still_in_file:
        end = "expired, still in the file"
    else:
        end = f"not at {_moment(row.absent_at)}" + (", due to expire by then" if row.due else "")
    return "  ".join([say(row.id), say(listed(row.where)), f"last seen {_moment(row.last_seen_at)}", end])


_TITLES = {
    "other_job": "Gone in the same interval, and not asked for",
    "of_given": "Gone in the same interval, of the given tasks",
    "message": "Waiting no more, of the given tasks",
    "other": "Gone in the same interval, other keys",
}


def _also(found: PurgeFindings, say: Say) -> Iterator[str]:
    for relation, title in _TITLES.items():
        rows = found.also_gone.loc[found.also_gone["relation"].eq(relation)]
        if not len(rows):
            continue
        yield f"{title}: {len(rows):,}"
        groups = rows.groupby("family", dropna=False)
        for family, number in rows["family"].value_counts().head(MOST).items():
            some = [_place(row) for row in groups.get_group(family).head(3).itertuples()]
            more = ", …" if number > len(some) else ""
            what = count(number, "message") if relation == "message" else _noun(family, number)
            yield f"  {say(what)}: {', '.join(say(text) for text in some)}{more}"


def _place(row: Any) -> str:
    where = f"{row.server}/db{row.db}:{row.key}" if row.server else f"db{row.db}:{row.key}"
    return f"{row.task_id} in {where}" if row.relation == "message" else where
