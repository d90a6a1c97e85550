"""What to do next, in the order in which one would do it: collect, have it back, prevent, be able to tell.

In: a ``View`` and what was concluded. Out: sentences that fit the server's version and role. The first never writes to
the server, and each says what it changes. What is missing stands in ``missing``, what each cause asks for in
``remedies``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

import pandas as pd

from analysis.findings.causes import CAUSES, YES
from analysis.findings.rules.sighted import NOUN
from analysis.findings.telling.missing import DECIDES as DECIDES
from analysis.findings.telling.missing import gaps as gaps
from analysis.findings.telling.missing import keeps_backlog
from analysis.findings.telling.recorders import RECORDERS, advice_of
from analysis.findings.telling.remedies import REMEDIES
from analysis.findings.telling.servers import (
    flavor_of,
    has,
    info_command,
    on_replica,
    quoted,
    reading,
    saves_nothing,
    setting,
    version_of,
)
from analysis.findings.verdict import Record
from analysis.findings.view import View
from analysis.findings.words import listed, on
from analysis.frames import words_in

CERTAIN = 0.99
_MOST_RECORDERS = 2
_KEEP = (
    "Keep this case folder and its sums (EVIDENCE.SHA256SUMS) as they are, where nobody writes to them: what they hold "
    "cannot be had again."
)


def actions(view: View, records: Mapping[str, Record], loss: bool | None) -> tuple[str, ...]:
    """What to do: what to collect before it is lost, how to have the content back, how to prevent it, and how to be
    able to tell next time.
    """
    collect, found = list(_collect(view, records)), list(_recovered(view, records))
    if not collect and not (found and all(_settled(record) for record in records.values())):
        collect = [_KEEP]  # what stands first must write nothing
    rest = (*_back(view, records), *_prevent(view, records), *_next_time(view, records, loss))
    return tuple(dict.fromkeys((*collect, *found, *rest)))


def _collect(view: View, records: Mapping[str, Record]) -> Iterator[str]:
    result = records["result"]
    if result.status == "present":
        yield from _copy_result(view)
    elif result.status == "in_flight":
        yield _leave_message(view)
    open_ones = [one for one in records.values() if one.status in ("absent", "unknown") and not _settled(one)]
    if open_ones:
        yield from (*_backlog(view), *_files(view), *_answers(view), *_logs(view))


def _settled(record: Record) -> bool:
    """Whether more evidence would change nothing: what is no loss and all but certain."""
    return record.confidence >= 0.9 and CAUSES[record.cause].loss not in (YES, "neither")


def _copy_result(view: View) -> Iterator[str]:
    if not len(view.held("result")):
        return
    row = view.main("result")
    until = f"before it expires on {on(row['expires_at'])}" if pd.notna(row["expires_at"]) else "if it is to be kept"
    yield f"Copy the result {until}: {quoted('GET', row['db'], str(row['key']))}. {reading(view)}"


def _leave_message(view: View) -> str:
    rows = view.held("message")
    expires = view.main("message")["expires"] if len(rows) else pd.NaT
    if pd.notna(expires) and view.as_of is not None and expires <= view.as_of:
        return (
            f"Leave the message where it is: a worker that meets it discards it, for its time ended on {on(expires)}. "
            "If the task is still wanted, send it again, which publishes a new message."
        )
    return (
        "Leave the message where it is and look at the workers of its queue (celery -A APP inspect active reserved "
        "only reads): a worker that comes up will take it."
    )


def _backlog(view: View) -> Iterator[str]:
    if keeps_backlog(view) and not has(view, "replication backlog"):
        yield (
            "Have the server's replication backlog read first, for each write pushes older commands out of it: a "
            "partial resync reads it and writes nothing. Leave repl-backlog-size as it is until then: changing it can "
            "empty it."
        )


def _files(view: View) -> Iterator[str]:
    """The server's own files, where the case has none of that kind and the server is not known to keep none."""
    many = version_of(view) >= (7,) or flavor_of(view) == "valkey"
    named = {
        "aof": setting(view, "appenddirname") or "appendonlydir"
        if many
        else setting(view, "appendfilename") or "appendonly.aof",
        "rdb": setting(view, "dbfilename") or "dump.rdb",
    }
    wanted = []
    if not (has(view, "append-only file") or has(view, "append-only commands") or setting(view, "appendonly") == "no"):
        wanted.append(named["aof"])
    keeps_nothing = saves_nothing(view) and setting(view, "appendonly") == "no"
    if not (has(view, "snapshot") or has(view, "append-only file") or keeps_nothing):
        wanted.append(named["rdb"])
    if not wanted:
        return
    folder = setting(view, "dir")
    paths = " ".join(shlex.quote(f"{folder.rstrip('/')}/{name}" if folder else name) for name in wanted)
    where = "" if folder else ", in the folder that redis-cli CONFIG GET dir names"
    yield (
        f"Copy {listed(wanted)} from the server's disk before it is written anew: cp -a {paths} CASE/{where}. Copying "
        "changes nothing on the server."
    )
    if named["aof"] in wanted:
        yield (
            "Start no rewrite, save or restart until that is copied, for a rewrite of the append-only file destroys "
            "what was in it. To hold rewrites off, CONFIG SET auto-aof-rewrite-percentage 0 is a change of the "
            "server's configuration; set it back afterwards."
        )


def _answers(view: View) -> Iterator[str]:
    """What the server knows only in memory, where the case lacks it."""
    commands = {
        "info": f"{info_command(view)} > info-$t.txt",
        "slowlog": "redis-cli --json SLOWLOG GET -1 > slowlog-$t.json",
        "clients": "redis-cli CLIENT LIST > clients-$t.txt",
        "config": "redis-cli --json CONFIG GET '*' > config.json",
    }
    wanted = [command for kind, command in commands.items() if not has(view, kind)]
    if not wanted:
        return
    lines = "; ".join(("t=$(date -u +%Y%m%dT%H%M%SZ)", *wanted))
    secret = "" if has(view, "config") else " config.json holds the server's passwords: keep it where the rest is kept."
    yield f"Save what the server knows only until it restarts: {lines}. These read no key.{secret}"
    if on_replica(view):
        yield (
            "Save the same answers of its master: this server is a replica, which does not count what its master "
            "expires, evicts or flushes; they read no key there either."
        )


def _logs(view: View) -> Iterator[str]:
    wanted = []
    if not has(view, "worker log"):
        wanted.append("the logs of every Celery worker")
    if not has(view, "redis log"):
        path = setting(view, "logfile")
        wanted.append(f"the Redis server's log{f' ({shlex.quote(path)})' if path else ''}")
    if wanted:
        yield f"Copy {listed(wanted)} into logs/ before rotation deletes what is old: copying changes nothing."


def _recovered(view: View, records: Mapping[str, Record]) -> Iterator[str]:
    """Where the content of what is gone was found."""
    for name, record in records.items():
        if record.status != "absent" or record.cause == "consumed":
            continue
        if kept := copies_of(view, name):
            only_log = kept == ["a worker's log"]
            cut = " (as it was logged, cut where it is long)" if only_log else ""
            yield (
                f"The {NOUN[name]}'s content is still in {listed(kept)}{cut}: it is in recovered/{name}.json beside "
                "this report, with its source. Nothing on the server is changed by reading it."
            )
        elif name == "result" and (closed := _closed(view)):
            yield closed


def _back(view: View, records: Mapping[str, Record]) -> Iterator[str]:
    """What else would bring it back, or the work that was to be done."""
    result = records["result"]
    told = [result.cause]
    if text := advice_of(REMEDIES[result.cause].back, view, "result"):
        yield text
    for name in ("job", "message"):
        other = records.get(name)
        if other is not None and other.cause not in told and _matters(other):
            told.append(other.cause)
            if text := advice_of(REMEDIES[other.cause].back, view, name):
                yield text


def copies_of(view: View, record: str) -> list[str]:
    """Where content of a record that is gone still stands, for ``recovery`` to take it from."""
    if record == "job":
        places = {"a snapshot": len(view.looked_at(view.records)), "an archive": len(view.records)}
        return [next(place for place, has_it in places.items() if has_it)] if len(view.records) else []
    payload = view.deeds["payload_at"].notna()
    if record == "message":
        pushed = words_in(view.deeds["verb"], ("LPUSH", "RPUSH", "HSET")) & view.deeds["task_id"].notna()
        return ["the commands that sent it"] if bool((payload & pushed).any()) else []
    carried = payload & (
        words_in(view.deeds["verb"], ("PUBLISH",))
        | pd.Series(view.deeds.index.isin(view.written.index), view.deeds.index)
    )
    kept = view.results.loc[view.results["snapshot"].isin(view.archives)]
    places = {
        "a snapshot": bool(view.looked_at(view.results)["serializer"].eq("json").any()),
        "the commands that wrote it": bool(carried.any()),
        "an archive": bool(kept["serializer"].eq("json").any()),
        "a worker's log": bool(view.log["kind"].eq("succeeded").any()),
    }
    return [place for place, has_it in places.items() if has_it]


def _closed(view: View) -> str:
    """Of a result that is there as bytes which the kit does not open."""
    rows = view.looked_at(view.results)
    rows = rows.loc[~rows["serializer"].isin(("json", "unknown")) & rows["serializer"].notna()]
    if not len(rows):
        return ""
    row = rows.iloc[-1]
    return (
        f"Its bytes are still in {row['snapshot']} (byte {row['offset']}), written as {row['serializer']}: they are "
        "not opened here, for opening them can run what is in them."
    )


def _matters(record: Record) -> bool:
    """Whether there is something to be done about a record beside the result."""
    return CAUSES[record.cause].loss == YES or record.cause in ("purged_by_cleanup", "natural_expiry")


def _prevent(view: View, records: Mapping[str, Record]) -> Iterator[str]:
    result = records["result"]
    told = [result.cause] if result.cause in REMEDIES else []
    if told and (text := advice_of(REMEDIES[result.cause].prevent, view, "result")):
        yield _if_so(text, result)
    for name in ("job", "message"):
        record = records.get(name)
        if record is None or record.cause in told or not _matters(record):
            continue
        told.append(record.cause)
        if text := advice_of(REMEDIES[record.cause].prevent, view, name):
            yield _if_so(text, record)


def _if_so(text: str, record: Record) -> str:
    """Advice on a cause that is only the likeliest is given with that reserve."""
    return text if record.confidence >= 0.5 else f"If it was “{CAUSES[record.cause].title}”: {text}"


def _next_time(view: View, records: Mapping[str, Record], loss: bool | None) -> Iterator[str]:
    if all(record.confidence >= CERTAIN for record in records.values()) and loss is False:
        return
    names = [name for record in _by_doubt(records) for name in REMEDIES[record.cause].recorders]
    wanted = [name for name in dict.fromkeys(names) if not RECORDERS[name].there(view)][:_MOST_RECORDERS]
    if wanted:
        first, *others = (advice_of(RECORDERS[name].text, view, "result") for name in wanted)
        also = "".join(f" Also {text}." for text in others)
        yield f"To be able to tell next time, {first}.{also}"


def _by_doubt(records: Mapping[str, Record]) -> list[Record]:
    """The result first, unless it is settled and another record is not."""
    known = [record for name, record in records.items() if name != "message" or not _settled(record)]
    return sorted(known, key=lambda record: _settled(record))
