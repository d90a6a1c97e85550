"""Evidence from the storing of a result: whether anything was to be stored, was stored, failed, or was written over.

In: a ``View``. Out: findings for result_ignored, rpc_backend, result_never_stored, undecodable and overwritten, and
against what can only happen to a result that was stored.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.celery.families import TASK_META
from analysis.findings.deeds import (
    RECORDERS,
    WHOLE,
    first_keys,
    place_of,
    reaches,
    rows_of_stream,
    stream_named,
    when_of,
)
from analysis.findings.rules import DECISIVE, SHOWN, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.rules.coded import tree_of
from analysis.findings.rules.handled import came_to_be
from analysis.findings.view import View
from analysis.findings.weigh import Finding
from analysis.findings.words import at, count, spot
from analysis.frames import words_in

# What can only befall a result that is, or was, in Redis.
AFTER_STORING = (
    "present natural_expiry ttl_shortened evicted expired_on_load clock_jump deleted_by_client bulk_deleted "
    "overwritten forgotten db_flushed server_flushed db_swapped renamed_or_moved restart_data_loss "
    "stale_snapshot_restored replaced_by_resync failover_lost_writes wrong_database wrong_prefix undecodable"
).split()
_NOT_STORED = ("result_not_stored", "write_refused", "backend_lost")
# Errors of redis-py and kombu that a worker stores in place of a result that it could not store (facts/causes.md, C19).
_OF_BACKEND = frozenset(
    "ConnectionError TimeoutError OutOfMemoryError ReadOnlyError BusyLoadingError ResponseError OperationalError "
    "RedisError MasterNotFoundError AuthenticationError BackendStoreError ClusterDownError".split()
)
_REFUSALS = ("errorstat_OOM", "errorstat_MISCONF", "errorstat_READONLY", "errorstat_NOREPLICAS")
_STORES = ("cmdstat_setex.rejected_calls", "cmdstat_set.rejected_calls")
_NEAR = pd.Timedelta(seconds=30)
_FEW = 3


@rule("ignored", rests_on="Ignore, ignore_result and a disabled backend store no result (celery/app/trace.py, base.py)")
def ignored(view: View) -> Iterator[Finding]:
    if len(view.results) or len(view.written):
        return
    lines = view.log.loc[view.log["kind"].eq("ignored")]
    if len(lines):
        line = lines.iloc[-1]
        says = "The worker logged that the task asked to be ignored: no result is stored."
        yield Finding("ignored-logged", "result", _line(line), says, {"result_ignored": SHOWN})
    messages = view.own_messages
    headers = messages.loc[messages["ignore_result"].fillna(False).astype(bool)]
    if len(headers):
        row = headers.iloc[-1]
        says = "Its message says ignore_result: true, so no result was to be stored."
        yield Finding(
            "ignore-header", "result", f"{row['snapshot']}, byte {row['offset']}", says, {"result_ignored": SHOWN}
        )
    elif messages["ignore_result"].notna().any():
        row = messages.loc[messages["ignore_result"].notna()].iloc[-1]
        says = "Its message says ignore_result: false."
        # The task, or the app, may ignore it all the same.
        yield Finding(
            "ignore-header", "result", f"{row['snapshot']}, byte {row['offset']}", says, {"result_ignored": -SUPPORTIVE}
        )
    yield from _ignored_by_code(view)
    yield from _ignored_by_banner(view)
    yield from _none_of_its_name(view)


def _ignored_by_code(view: View) -> Iterator[Finding]:
    sets = view.cleanup.loc[view.cleanup["does"].eq("sets")]
    told = sets["settings"].fillna("").str.split(", ").str[0]
    short = view.name.rpartition(".")[2]
    of_task = (
        sets.loc[told.eq("ignore_result") & sets["function"].fillna("").str.split(".").str[-1].eq(short)]
        if short
        else sets.iloc[:0]
    )
    of_app = sets.loc[told.isin(("task_ignore_result", "task_always_eager"))]
    of_none = STRONG if view.tasks["kind"].eq("task").any() else DECISIVE
    for rows, weight in ((of_task, DECISIVE), (of_app, of_none)):
        if len(rows):
            row = rows.iloc[0]
            says = f"The code sets {row['settings']} ({row['call']}): no result is stored."
            source = f"{tree_of(view)}/{row['file']}:{row['line']}"
            yield Finding("ignore-code", "result", source, says, {"result_ignored": weight}, event="ignored by code")
            return


def _ignored_by_banner(view: View) -> Iterator[Finding]:
    for line in _banners(view):
        text = str(line["text"])
        if "disabled://" in text:
            says = "The worker's banner says that the result backend is disabled."
            yield Finding("backend-disabled", "result", _line(line), says, {"result_ignored": DECISIVE + STRONG})
            return


def _none_of_its_name(view: View) -> Iterator[Finding]:
    """Others of its name that ended within the retention have no result either, and tasks of other names have one."""
    sound = view.shots.loc[view.shots["complete"] & view.shots["latest"] & view.shots["taken_at"].notna()]
    if not view.name or len(sound) != 1:
        return
    shot = sound.iloc[0]
    begin = shot["taken_at"] - pd.Timedelta(seconds=view.retention.seconds or 86_400)
    ended = view.events.loc[view.events["kind"].eq("succeeded") & view.events["at"].between(begin, shot["taken_at"])]
    ended = ended.loc[ended["task_id"].notna() & ended["task_id"].ne(view.task_id)]
    held = set(view.tasks.loc[view.tasks["snapshot"].eq(shot["snapshot"]), "task_id"])
    mine, others = (set(ended.loc[ended["name"].eq(view.name) == own, "task_id"]) for own in (True, False))
    if len(mine) < _FEW or mine & held or len(others & held) < _FEW or 2 * len(others & held) < len(others):
        return
    says = (
        f"None of the {len(mine)} others of its name that succeeded within the retention has a result in "
        f"{shot['snapshot']}; of {len(others)} tasks of other names {len(others & held)} have."
    )
    yield Finding(
        "none-of-its-name", "result", shot["snapshot"], says, {"result_ignored": STRONG, "bulk_deleted": WEAK}
    )


@rule("rpc", rests_on="rpc:// sends results to a list named by the caller's UUID (celery/backends/rpc.py)")
def rpc(view: View) -> Iterator[Finding]:
    if len(view.results) or len(view.written):
        return
    for line in _banners(view):
        if "rpc://" in str(line["text"]):
            says = "The worker's banner says that results go to rpc://, which keeps none under a key of its own."
            yield Finding("rpc-banner", "result", _line(line), says, {"rpc_backend": SHOWN}, event="rpc")
            break
    replies = set(view.sent["reply_to"].dropna())
    pushed = view.deeds.loc[words_in(view.deeds["verb"], ("LPUSH", "RPUSH"))]
    answered = [
        row for _, row in pushed.iterrows() if isinstance(row["keys"], list) and replies.intersection(row["keys"])
    ]
    if answered:
        row = answered[-1]
        says = f"{row['verb']} put its result in {row['keys'][0]}, the reply list that its message names."
        yield Finding("rpc-reply", "result", place_of(row), says, {"rpc_backend": SHOWN}, event="rpc")


@rule(
    "never-written",
    rests_on="an append-only file holds the SET of every result, in order (celery/backends/redis.py, Redis aof.c)",
)
def never_written(view: View) -> Iterator[Finding]:
    """The stream that shows the message delivered shows other results written afterwards, and not this one."""
    if len(view.results) or len(view.written):
        return
    for way in (way for way in view.journeys if way.in_stream):
        if way.state not in ("acked", "reserved", "popped") or not view.is_whole_stream(way.last["source"]):
            continue
        rows = rows_of_stream(view.commands, stream_named(str(way.last["source"])))
        stores = rows.loc[words_in(rows["verb"], ("SET", "SETEX", "PSETEX"))]
        stores = stores.loc[[TASK_META in key for key in first_keys(stores)]]
        said = f"{way.last['source']} shows the message{when_of(way.first)}, and no command that stores its result"
        if len(stores):
            says = f"{said}, among {count(len(stores), 'result')} that it stores."
            weight = DECISIVE + STRONG
        else:
            says = f"{said}; it stores no result of any task."
            weight = STRONG
        weights = dict.fromkeys(AFTER_STORING, -weight)
        if view.ended is not None:
            # The line on its success follows the storing.
            weights |= {
                "result_ignored": DECISIVE + SUPPORTIVE if len(stores) else STRONG,
                "worker_killed": -DECISIVE,
                "running": -DECISIVE,
            }
        yield Finding("never-written", "result", way.source, says, weights)


@rule(
    "no-store-recorded",
    rests_on="MONITOR shows every SETEX, and notifications every set, while they run (facts/signals.md, 7)",
)
def no_store_recorded(view: View) -> Iterator[Finding]:
    """A recorder ran when the task ended, and saw others' results stored, and not this one."""
    if view.ended is None or len(view.results) or len(view.written):
        return
    rows = view.evidence.loc[view.evidence["kind"].isin(RECORDERS) & view.evidence["complete"].fillna(False)]
    for path, begin, end in zip(rows["path"], rows["from"], rows["to"], strict=True):
        if pd.isna(begin) or pd.isna(end) or not begin <= view.ended.at <= end:
            continue
        seen = view.commands.loc[view.commands["source"].eq(path) & words_in(view.commands["verb"], ("SET", "SETEX"))]
        others = sum(TASK_META in key for key in first_keys(seen))
        says = f"{path} ran when the task ended, and shows no store of its result"
        says += f", among {count(others, 'result')} of others." if others else "; nor of any other."
        weights = dict.fromkeys(AFTER_STORING, -STRONG if others else -SUPPORTIVE)
        weights["result_ignored"] = STRONG if others else SUPPORTIVE
        yield Finding("no-store-recorded", "result", f"{path}, {'SETEX' if others else 'set'}", says, weights)
        return


@rule(
    "not-stored",
    rests_on="a server that is full, down or read-only refuses the store; the worker logs it (facts/causes.md, C19)",
)
def not_stored(view: View) -> Iterator[Finding]:
    yield from _error_in_its_place(view)
    if came_to_be(view):
        if view.ended is not None and not len(view.results) and view.log["kind"].eq("succeeded").any():
            says = "The worker logged its success, which it does once the result is stored."
            yield Finding("success-logged", "result", view.ended.source, says, {"result_never_stored": -STRONG})
        return
    begun = view.taken
    if begun is None:
        return
    lines = view.events.loc[view.events["kind"].isin(_NOT_STORED) & view.events["at"].notna()]
    lines = lines.loc[lines["at"].ge(begun.at - pd.Timedelta(seconds=1))]
    mine = lines.loc[lines["text"].str.contains(view.task_id, regex=False).fillna(False)]
    near = lines.loc[lines["source"].isin(view.log["source"]) & lines["at"].le(begun.at + _NEAR)]
    for rows, weight in ((mine, DECISIVE + STRONG), (near, DECISIVE + SUPPORTIVE), (lines, SUPPORTIVE)):
        if len(rows):
            line = rows.iloc[0]
            says = f"After it began, at {at(line['at'])}, the log says: {str(line['text'])[:160]}"
            weights = {"result_never_stored": weight, "worker_killed": -SUPPORTIVE, "running": -SUPPORTIVE}
            yield Finding("store-failed", "result", _line(line), says + ".", weights, event="store failed")
            break
    stores = view.counters.loc[view.counters["counter"].isin(_STORES) & view.counters["value"].gt(0)]
    if len(stores):
        row = stores.iloc[-1]
        verb = row["counter"].removeprefix("cmdstat_").partition(".")[0].upper()
        says = f"The server refused {verb}, by which results are stored, {count(int(row['value']), 'time')}."
        weights = {"result_never_stored": DECISIVE}
        yield Finding(
            "stores-refused", "result", f"{row['source']}, {row['counter']}", says, weights, event="writes refused"
        )
    for counter in _REFUSALS:
        figures = view.counters.loc[view.counters["counter"].eq(counter) & view.counters["value"].gt(0)]
        if len(figures):
            row = figures.iloc[-1]
            grew = view.counters.loc[view.counters["counter"].eq(counter), "delta"].gt(0).any()
            says = (
                f"The server refused {count(int(row['value']), 'command')} with {counter.removeprefix('errorstat_')}."
            )
            weights = {"result_never_stored": DECISIVE if grew else SUPPORTIVE}
            yield Finding(
                "writes-refused", "result", f"{row['source']}, {counter}", says, weights, event="writes refused"
            )


def _error_in_its_place(view: View) -> Iterator[Finding]:
    failure = view.meta.get("result")
    if view.meta.get("status") != "FAILURE" or not isinstance(failure, dict) or not len(view.held("result")):
        return
    module = str(failure.get("exc_module") or "")
    if failure.get("exc_type") not in _OF_BACKEND or not module.startswith(("redis", "kombu", "celery.exceptions")):
        return
    if view.meta.get("traceback"):
        return  # raised by the task's own code, which may use Redis too
    row = view.main("result")
    says = (
        f"What is stored is {module}.{failure['exc_type']}, without a traceback: an error of the backend, in its place."
    )
    weights = {"result_never_stored": SHOWN + DECISIVE}
    yield Finding("backend-error-stored", "result", f"{row['snapshot']}, byte {row['offset']}", says, weights)


# What ends a task, or leaves it waiting, without a result: refuted where one had been stored. A failure may stand there
# in place of a result, of a backend's error or of a task that no worker knows: these a success alone refutes.
_WITHOUT_RESULT = (
    "queued", "reserved", "running", "worker_killed", "result_ignored", "rpc_backend", "queue_purged", "queue_expired",
    "lost_in_pop", "unroutable", "chord_state_expired", "never_published",
)  # fmt: skip
_FAILED = ("result_never_stored", "discarded")


@rule(
    "had-been-stored",
    rests_on="a SUCCESS or FAILURE is stored when a task has ended, and only then (celery/backends/base.py)",
)
def had_been_stored(view: View) -> Iterator[Finding]:
    rows = view.results.loc[view.results["status"].isin(("SUCCESS", "FAILURE")) & view.results["problem"].isna()]
    if len(rows):
        row = rows.iloc[-1]
        status, source = str(row["status"]), spot(row["snapshot"], row["offset"])
    else:
        writes = [label for label, meta in view.contents.items() if meta.get("status") in ("SUCCESS", "FAILURE")]
        if not writes:
            return
        status, source = str(view.contents[writes[-1]]["status"]), place_of(view.written.loc[writes[-1]])
    refuted = _WITHOUT_RESULT if status == "FAILURE" else (*_WITHOUT_RESULT, *_FAILED)
    says = f"A {status} of this task had been stored, so it had run to its end and its result had come to be."
    yield Finding("had-been-stored", "result", source, says, dict.fromkeys(refuted, -DECISIVE))


@rule(
    "another-value",
    rests_on="Celery stores a JSON object with status and task_id, and never over a SUCCESS (celery/backends/base.py)",
)
def another_value(view: View) -> Iterator[Finding]:
    """The key is there, and what it holds is no result of this task."""
    yield from _written_over(view)
    row, why, source = _unlike(view)
    if row is None:
        return
    was = view.results.loc[view.results["problem"].isna() & view.results["date_done"].notna()]
    writes = len(view.written) > 1
    stored = view.ended is not None or len(was) or writes
    says = f"{row['key']} of DB {row['db']} holds {why}"
    says += ", where a result had been stored before." if stored else "."
    weights = {"overwritten": SHOWN + (DECISIVE if stored else 0), "present": -DECISIVE}
    yield Finding("another-value", "result", source, says, weights)


def _written_over(view: View) -> Iterator[Finding]:
    """A value behind a SUCCESS: in the commands, else from one snapshot to the next."""
    weights = {"overwritten": SHOWN + DECISIVE + SUPPORTIVE}
    done: int | None = None
    for label, meta in view.contents.items():
        row = view.written.loc[label]
        if done is not None and _untouched(view, done, label) and meta != view.contents[done]:
            what = f"a {meta['status']}" if meta.get("status") else "what is no result"
            says = f"{row['verb']} wrote {what} over the stored SUCCESS{when_of(row)}, which Celery never does."
            yield Finding("written-over", "result", place_of(row), says, weights, event="written over")
            return
        done = label if meta.get("status") == "SUCCESS" else done
    rows = view.results.drop_duplicates(["snapshot", "db", "key"])
    for (_, one), (_, two) in zip(list(rows.iterrows())[:-1], list(rows.iterrows())[1:], strict=True):
        if (one["server"], one["db"], one["key"]) != (two["server"], two["db"], two["key"]):
            continue
        taken = [view.taken_at(str(row["snapshot"])) for row in (one, two)]
        same = one["size"] == two["size"] and (one["date_done"] == two["date_done"] or pd.isna(one["date_done"]))
        if one["status"] != "SUCCESS" or same or None in taken or taken[0] == taken[1]:
            continue
        says = f"{one['snapshot']} holds a SUCCESS here and {two['snapshot']} another value: Celery never does that."
        source = spot(two["snapshot"], two["offset"])
        yield Finding("written-over", "result", source, says, weights, event="written over")
        return


def _untouched(view: View, first: int, second: int) -> bool:
    """Whether two writes are of one key in one stream, and nothing took it away between them."""
    one, two = view.written.loc[first], view.written.loc[second]
    if any(one[name] != two[name] for name in ("server", "db", "source")) or one["keys"] != two["keys"]:
        return False
    between = view.deeds.loc[(view.deeds.index > first) & (view.deeds.index < second)]
    whole = view.commands.loc[first:second]
    whole = whole.loc[words_in(whole["verb"], WHOLE)]
    db = None if pd.isna(one["db"]) else int(one["db"])
    return not between["removed_by"].notna().any() and not any(reaches(row, db) for _, row in whole.iterrows())


def _unlike(view: View) -> tuple[pd.Series | None, str, str]:
    named = view.keys.loc[view.keys["key"].str.endswith(f"{TASK_META}{view.task_id}").fillna(False).astype(bool)]
    latest = named.loc[named["snapshot"].isin(view.shots.loc[view.shots["latest"], "snapshot"])]
    other = latest.loc[latest["type"].notna() & latest["type"].ne("string")]
    if len(other):
        row = other.iloc[-1]
        return row, f"a {row['type']}", f"{row['snapshot']}, byte {row['offset']}"
    held = view.held("result")
    odd = held.loc[held["problem"].notna() & held["serializer"].isin(("json", "unknown"))]
    if not len(odd) or len(odd) < len(held):
        return None, "", ""
    row = odd.iloc[-1]
    return row, f"no result of Celery's ({row['problem']})", f"{row['snapshot']}, byte {row['offset']}"


@rule(
    "another-serializer",
    rests_on="a reader decodes with result_serializer alone: other content is refused (kombu/serialization.py)",
)
def another_serializer(view: View) -> Iterator[Finding]:
    held = view.held("result")
    if not len(held):
        return
    row = view.main("result")
    mine = str(row["serializer"])
    if pd.isna(row["serializer"]) or mine == "unknown":
        return
    expected, why = _expected(view, row)
    if not expected or expected == mine:
        return
    says = f"It is stored as {mine}, and {why} {expected}."
    source = f"{row['snapshot']}, byte {row['offset']}"
    yield Finding("another-serializer", "result", source, says, {"undecodable": SHOWN + DECISIVE + STRONG})


def _expected(view: View, row: pd.Series) -> tuple[str, str]:
    if view.stated.result_serializer:
        return view.stated.result_serializer, "case.toml states"
    siblings = view.tasks.loc[
        view.tasks["snapshot"].eq(row["snapshot"]) & view.tasks["kind"].eq("task") & view.tasks["db"].eq(row["db"])
    ]
    others = siblings.loc[siblings["task_id"].ne(view.task_id), "serializer"].dropna().astype("str")
    others = others.loc[others.ne("unknown")]
    if len(others) >= _FEW and others.value_counts(normalize=True).iloc[0] >= 0.9:
        return str(others.mode().iloc[0]), f"{count(len(others), 'sibling')} beside it are nearly all"
    return "", ""


def _banners(view: View) -> list[pd.Series]:
    """The worker's banners that tell of its backend; of the log that had the task, where one had it."""
    lines = view.events.loc[view.events["kind"].eq("worker_results")]
    own = lines.loc[lines["source"].isin(view.own_log["source"])]
    return [row for _, row in (own if len(own) else lines).iterrows()]


def _line(line: pd.Series) -> str:
    return f"{line['source']}:{line['line']}"
