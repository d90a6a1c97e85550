"""What a log line says of a task, of a worker, of the server or of a cleanup.

In: the message of a line. Out: ``Said``, with a kind out of ``KINDS``. Rests on the wording of Celery 4.0 to 5.7, kombu, billiard,
Redis 6.0 to 8 and Valkey; of applications it knows task IDs and the words for deleting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Every kind of event, and what it means. ``[id]``: the event names a task (or group).
KINDS: dict[str, str] = {
    # Celery: a task
    "received": "[id] a worker took it off the queue",
    "started": "[id] a worker's child accepted it (only at DEBUG)",
    "succeeded": "[id] it returned; logged after the result was stored; the text holds the value's repr",
    "failed": "[id] it raised",
    "retried": "[id] it asked to be run again",
    "ignored": "[id] it raised Ignore: no result is stored",
    "rejected": "[id] it raised Reject",
    "revoked": "[id] its message was discarded: revoked, or past its expires",
    "revoke_requested": "[id] a worker was told to revoke it",
    "terminated": "[id] its process was told to stop, or was stopped",
    "soft_time_limit": "[id] it ran into its soft time limit",
    "hard_time_limit": "[id] it ran into its hard time limit",
    "unregistered": "[id] its message was discarded: no such task in this worker",
    "invalid_message": "[id] its message was discarded: malformed",
    "unknown_message": "[id] a message was discarded: not a task",
    "undecodable": "[id] a message was discarded: it could not be decoded",
    "sent": "beat published a task",
    # Celery: a worker
    "worker_started": "a worker's banner",
    "worker_transport": "the banner's broker",
    "worker_results": "the banner's result backend",
    "worker_ready": "a worker began to consume",
    "worker_stopping": "a worker was told to shut down",
    "worker_crashed": "a worker met an error it cannot recover from",
    "child_exited": "a worker's child died",
    "worker_lost": "a task's process was gone before the task ended",
    "handler_error": "a task ended by an error outside its own code",
    "restoring": "a worker set out to give back messages (it may have restored nothing)",
    "restore_failed": "messages could not be given back",
    "ack_failed": "a message could not be acknowledged or rejected",
    "broker_connected": "connected to the broker",
    "broker_lost": "the connection to the broker broke",
    "broker_unreachable": "no connection to the broker could be made",
    "backend_lost": "the connection to the result backend broke, or an operation on it is tried again",
    "result_not_stored": "an error after the task's own code, while its outcome was stored or reported",
    "chord_failed": "[id] a chord's body could not be called",
    "group_gone": "[id] a group's saved result no longer exists",
    "queue_purged": "all messages were removed from queues; count = how many",
    "heartbeat_missed": "another worker fell silent",
    "clock_drift": "another worker's clock differs; seconds = by how much",
    "write_refused": "Redis refused to write: OOM, MISCONF, READONLY or NOREPLICAS",
    # Redis server
    "server_started": "a Redis server's process started",
    "server_ready": "it accepts connections; its data is loaded",
    "data_loaded": "it loaded its file; seconds = how long that took",
    "rdb_loaded": "it loaded a snapshot; count = keys loaded",
    "expired_on_load": "it dropped expired keys while loading a snapshot; count = keys",
    "rdb_age": "how old the snapshot was that it loaded; seconds",
    "load_failed": "it could not read its file",
    "saved_by_server": "the server itself wrote a snapshot: SAVE, FLUSHALL, or on shutdown",
    "saved_by_child": "a child wrote a snapshot: BGSAVE, save points, or for a replica",
    "save_failed": "a snapshot or a rewrite failed",
    "shutdown_requested": "SHUTDOWN, or a signal acted upon",
    "shutdown_signal": "SIGTERM or SIGINT arrived",
    "final_save": "it saves before it exits",
    "server_stopped": "it exits in good order",
    "server_crashed": "it crashed",
    "became_replica": "it was made a replica of another server",
    "became_master": "it was made a master",
    "resync_flush": "a replica dropped its data for the master's",
    "resync_full": "a replica began a full resync",
    "resync_done": "a replica ended a resync",
    "replid_changed": "a promoted replica keeps its old replication ID up to an offset",
    "master_lost": "a replica lost its master",
    "replica_attached": "a replica asked for synchronization",
    "failover": "another server was made master",
    "aof_truncated": "it cut the end of its append-only file off",
    "aof_rewritten": "it rewrote its append-only file: older history is gone",
    "db_size": "keys in a database (only at verbose); count = keys",
    "attack": "it took a client for an attacker",
    # Applications
    "flush": "a database, cache or queue was emptied",
    "purge": "a purge or cleanup ran; count = what it says it removed",
    "delete": "something was deleted or removed; count = how much",
    "not_done": "such an action was refused, failed, skipped, or only rehearsed",
    "mentioned": "[id] a line names the task",
}


class Said(NamedTuple):
    """One thing that a line says."""

    kind: str
    task_id: str | None = None
    name: str | None = None
    count: int | None = None
    seconds: float | None = None


# Where in a message the words of a form are looked for; what follows is the task's own. And how far its parts may reach.
_HEAD = 400
_REACH = 4096
_MOST_IDS = 50

# celery/app/trace.py and worker/request.py. IDs may be any text: they end at the first "] " that a verb follows.
_TASK = re.compile(
    rb"Task (?P<name>[^\[\]]{1,300})\[(?P<id>.{1,512}?)\] (?P<verb>received|succeeded before|succeeded in (?P<s>[\d.e+-]{1,30})s:"
    rb"|raised \w+:|INTERNAL ERROR:|ignored|reject|retry:|cannot be acknowledged)"
)
_TASK_KINDS = {b"r": "received", b"s": "succeeded", b"I": "failed", b"i": "ignored", b"c": "ack_failed"}
_RECEIVED = re.compile(
    rb"Received task: (?P<name>[^\[\]]{1,300})\[(?P<id>.{1,512}?)\](?: {1,3}ETA:\[[^\]]*\])?(?: {1,3}expires:\[[^\]]*\])?\s*$"
)
_NAMED = rb"(?P<name>[^\[\]]{1,300})\[(?P<id>[^\]]{1,512})\]"
_NUMBER = rb"(?P<n>\d{1,18})"



class _Form(NamedTuple):
    """A form of message: ``word`` is what it is found by, ``pattern`` what else must match and may tell more.

    ``printed``: the line has no time. Of all else untimed, such words are part of a traceback or of a message's body.
    """

    word: bytes
    kind: str
    pattern: re.Pattern[bytes]
    printed: bool = False


def _form(word: str, kind: str, pattern: bytes, *, printed: bool = False) -> _Form:
    return _Form(word.encode(), kind, re.compile(pattern), printed)


_WORKER = (
    _form("Received", "received", _RECEIVED.pattern),
    _form("accepted:", "started", rb"Task accepted: " + _NAMED + rb" pid:"),
    _form("Discarding", "revoked", rb"Discarding revoked task: " + _NAMED),
    _form("flagged", "revoke_requested", rb"Tasks flagged as revoked: (?P<ids>.*)"),
    _form("Terminating", "terminated", rb"Terminating (?P<id>\S{1,512}) \("),
    _form("limit", "", rb"(?P<limit>Soft|Hard) time limit \((?P<s>[\d.]{1,20})s\) exceeded for " + _NAMED),
    _form("unregistered", "unregistered", rb"Received unregistered task of type ['\"]?(?P<name>[^'\"\s]{1,300}?)['\"]?\.?(?:\s|$)"),
    _form("invalid", "invalid_message", rb"Received invalid task message"),
    _form("unknown", "unknown_message", rb"Received and deleted unknown message"),
    _form("decode", "undecodable", rb"Can't decode message body"),
    _form("handler", "", rb"Task handler raised error: (?P<error><?[\w.]{1,80})"),
    _form("exited", "child_exited", rb"Process \S{1,80} pid:\d+ exited with "),
    _form("exited", "worker_lost", rb"Worker exited prematurely"),
    _form("unacknowledged", "restoring", rb"Restoring " + _NUMBER + rb" unacknowledged message", printed=True),
    _form("UNABLE", "restore_failed", rb"UNABLE TO RESTORE " + _NUMBER, printed=True),
    _form("restore", "restore_failed", rb"Could not restore message"),
    _form("lost.", "broker_lost", rb"Connection to broker lost\."),
    _form("connect", "broker_unreachable", rb"Cannot connect to \w+://"),
    _form("Connected", "broker_connected", rb"Connected to \w+://"),
    _form("Couldn't", "ack_failed", rb"Couldn't (?:ack|reject) "),
    _form("outside", "result_not_stored", rb"Exception raised outside body"),
    _form("callback", "result_not_stored", rb"Pool callback raised exception"),
    _form("operation", "backend_lost", rb"Failed operation \w+\.\s+Retrying "),
    _form("lost:", "backend_lost", rb"Connection to Redis lost: Retry"),
    _form("reconnect", "backend_lost", rb"Retry limit exceeded while trying to reconnect"),
    _form("Chord", "chord_failed", rb"Chord (?:callback (?:for )?)?'?(?P<id>[^'\s]{1,512})'? raised"),
    _form("GroupResult", "group_gone", rb"GroupResult (?P<id>\S{1,512}) no longer exists"),
    _form("Purged", "queue_purged", rb"Purged " + _NUMBER + rb" messages? from", printed=True),
    _form("Erased", "queue_purged", rb"purge: Erased " + _NUMBER + rb" messages? from", printed=True),
    _form("purged", "queue_purged", rb"(?P<none>No messages) purged from", printed=True),
    _form("ready.", "worker_ready", rb"(?:^|\s)\S{1,200}@\S{1,200} ready\.\s*$"),
    _form("shutdown", "worker_stopping", rb"worker: \w+ shutdown \(", printed=True),
    _form("shutdown", "worker_stopping", rb"Got shutdown from remote"),
    _form("Unrecoverable", "worker_crashed", rb"Unrecoverable error: "),
    _form("Sending", "sent", rb"Sending due task .{1,300}? \((?P<name>[^()]{1,300})\)"),
    _form("heartbeat", "heartbeat_missed", rb"missed heartbeat from "),
    _form("drift", "clock_drift", rb"Substantial drift from .{0,300}drift is (?P<s>-?[\d.]{1,20}) second"),
    _form(".>", "worker_transport", rb"\.> transport:", printed=True),
    _form(".>", "worker_results", rb"\.> results:", printed=True),
    _form("OOM", "write_refused", rb"OOM command not allowed"),
    _form("MISCONF", "write_refused", rb"MISCONF (?:Redis|Valkey|Errors)"),
    _form("READONLY", "write_refused", rb"READONLY You can't write"),
    _form("NOREPLICAS", "write_refused", rb"NOREPLICAS Not enough"),
)
_HANDLER_ERRORS = {b"WorkerLostError": "worker_lost", b"Terminated": "terminated", b"TimeLimitExceeded": "hard_time_limit"}
_DISCARDED = frozenset(("invalid_message", "unknown_message", "undecodable"))
_AGAIN = re.compile(rb"in (?P<s>[\d.]{1,20})s")

_SERVER = (
    _form("oO0OoO0OoO0Oo", "server_started", rb"is starting"),
    _form("accept", "server_ready", rb"eady to accept connections"),
    _form("loaded", "data_loaded", rb"DB loaded from .{0,300}: (?P<s>[\d.]{1,20}) seconds"),
    _form("loaded:", "rdb_loaded", rb"Done loading RDB, keys loaded: " + _NUMBER + rb"(?:, keys expired: (?P<expired>\d{1,18}))?"),
    _form("age", "rdb_age", rb"RDB age (?P<s>-?\d{1,18}) seconds"),
    _form("saved", "saved_by_server", rb"DB saved on disk"),
    _form("requested", "shutdown_requested", rb"User requested shutdown"),
    _form("scheduling", "shutdown_signal", rb"Received SIG(?:TERM|INT)|Received shutdown signal"),
    _form("signal", "shutdown_signal", rb"Received shutdown signal"),
    _form("snapshot", "final_save", rb"Saving the final RDB"),
    _form("exit,", "server_stopped", rb"is now ready to exit"),
    _form("MODE", "became_master", rb"(?:MASTER|PRIMARY) MODE enabled \("),
    _form("enabled", "became_replica", rb"(?:REPLICAOF|SLAVE OF|REPLICA OF) .{0,300} enabled \("),
    _form("Flushing", "resync_flush", rb"Flushing old data"),
    _form("Swapping", "resync_flush", rb"Swapping active DB with loaded DB"),
    _form("resync", "resync_full", rb"Full resync from "),
    _form("Finished", "resync_done", rb"sync: Finished with success"),
    _form("secondary", "replid_changed", rb"Setting secondary replication ID"),
    _form("lost.", "master_lost", rb"Connection with (?:master|primary) lost"),
    _form("asks", "replica_attached", rb"asks for synchronization"),
    _form("+switch-master", "failover", rb"\+switch-master"),
    _form("election", "failover", rb"Failover election won"),
    _form("AOF", "aof_truncated", rb"runcating the AOF|loaded anyway because aof-load-truncated"),
    _form("rewrite", "aof_rewritten", rb"Background AOF rewrite finished successfully"),
    _form("rewrite", "save_failed", rb"Background AOF rewrite terminated (?:with error|by signal)"),
    _form("saving", "save_failed", rb"Background saving (?:error|terminated by signal)|Write error saving DB on disk"),
    _form("save", "save_failed", rb"Error trying to save the DB|Can't save in background"),
    _form("Failed", "save_failed", rb"Failed opening the (?:temp )?RDB file"),
    _form("Fatal", "load_failed", rb"Fatal error loading the DB"),
    _form("Bad", "load_failed", rb"Bad file format reading the append only file"),
    _form("Short", "load_failed", rb"Short read or OOM loading DB"),
    _form("BUG", "server_crashed", rb"BUG REPORT START"),
    _form("crashed", "server_crashed", rb"crashed by signal"),
    _form("Memory", "server_crashed", rb"Out Of Memory allocating"),
    _form("volatile)", "db_size", rb"DB \d+: " + _NUMBER + rb" keys "),
    _form("SECURITY", "attack", rb"Possible SECURITY ATTACK"),
)
_WORKER_WORDS = frozenset(form.word for form in _WORKER)
_SERVER_WORDS = frozenset(form.word for form in _SERVER)
# Marks that may cling to a word.
_BLANK = bytes.maketrans(b"\"'=(", b"    ")

_UUID = re.compile(rb"(?<![0-9a-fA-F])[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9a-fA-F])")
_OF_TASK = re.compile(rb"""['"]task['"]: ?['"](?P<name>[^'"]{1,300})['"]""")
_OWN_ID = re.compile(rb"""['"]id['"]: ?['"](?P<id>[^'"]{1,512})['"]""")
_TASK_LOGGER = re.compile(rb"(?P<name>[\w.]{1,300})\[(?P<id>[^\]\s]{1,512})\]: ")
_STEMS = (b"purg", b"flush", b"clean", b"delet", b"remov", b"prun", b"clear", b"wip", b"eras", b"unlink")
_ACTION = re.compile(
    rb"(?<![a-z])(?:(?P<flush>flush_?(?:all|db)(?![a-z])|(?:flush(?:ed|ing)?|clear(?:ed|ing)?|wip(?:ed?|ing))(?![a-z])"
    rb"(?=.{0,60}(?:redis|cache|database|\bdb|keys|queue))|cache[._ ]?clear(?:ed)?(?![a-z]))"
    rb"|(?P<purge>purg(?:e|ed|es|ing)|clean(?:ed|ing|s)?[ _-]?up|prun(?:e|ed|ing))(?![a-z])"
    rb"|(?P<delete>(?:delet|remov|eras|unlink)(?:e|ed|es|ing|ion|al)?)(?![a-z]))"
)
_DONE = rb"(?:deleted|removed|purged|flushed|cleaned|cleaned[ _]up|erased|pruned|cleared|unlinked)"
_UNIT = rb"(?! ?(?:[kmg]i?b|bytes?|ms|s|sec(?:onds?)?|min(?:utes?)?|hours?|days?|weeks?|%)(?![a-z]))"
_COUNTS = (
    re.compile(_DONE + rb"(?:[_ .](?:count|total|keys|rows|records|jobs|tasks|items|number))?[\"']?\s{0,2}[=:]\s{0,2}[\"']?(\d{1,12})(?![\d.-])" + _UNIT),
    re.compile(rb"(?:count|total|num|number|n)_?(?:of_)?" + _DONE + rb"[\"']?\s{0,2}[=:]\s{0,2}[\"']?(\d{1,12})(?![\d.-])"),
    re.compile(
        rb"(?:" + _DONE + rb"|deleting|removing|purging|flushing|pruning)"
        rb"(?: (?:all|a total of|total|about|exactly|old|the))? (\d{1,12})(?![\d:.\-/])" + _UNIT
    ),
    re.compile(rb"(?<![a-z_])(?:count|total|n)[\"']?\s{0,2}[=:]\s{0,2}(\d{1,12})(?![\d.-])"),
    re.compile(rb"(?<![\d.:\-/])(\d{1,12})" + _UNIT + rb" (?:[\w:*-]{1,40} ){0,4}?(?:(?:were|was|have been|has been) )?" + _DONE),
)
_NONE = re.compile(rb"\bno (?:\w+ ){1,3}(?:to (?:delete|purge|remove|clean)|(?:were |was )?(?:deleted|purged|removed))|nothing to (?:delete|purge|remove|clean)")
_NOT_DONE = re.compile(
    rb"dry[-_ ]?run|would (?:be |have )?(?:delet|remov|purg|flush|prun)|skipp(?:ed|ing)|(?:failed|unable|refus\w+|not allowed) to "
    rb"|(?:could|can|did|will|do) ?n[o']t |error (?:while |when )?(?:delet|remov|purg|flush|clean)|permission denied|(?:purge|cleanup|delete)\w* (?:is )?disabled"
)
_REQUEST = re.compile(rb"\b(?P<method>GET|HEAD|OPTIONS|POST|PUT|PATCH|DELETE) \S{1,2000}(?: HTTP/[\d.]{1,3})?\"?[ :]{1,3}(?:status=|-> ?)?(?P<status>\d{3})\b")


def told_by_worker(message: bytes, *, printed: bool = False) -> Iterator[Said]:
    """What Celery says in a message. ``printed``: the line has no time, so only what workers print counts."""
    if not printed and b"Task " in message[:_HEAD] and (found := _TASK.search(message, 0, _HEAD + 900)):
        yield _of_task(found)
        return
    for form, told in _told(_WORKER, _WORKER_WORDS, message):
        if printed and not form.printed:
            continue
        kind = form.kind
        if ids := told.get("ids"):
            yield from (Said(kind, _text(task_id.strip())) for task_id in ids.split(b", ")[:_MOST_IDS])
            return
        if kind in _DISCARDED:
            told = told | names_itself(message[:_REACH])
        elif limit := told.get("limit"):
            kind = f"{limit.lower().decode()}_time_limit"
        elif error := told.get("error"):
            kind = _HANDLER_ERRORS.get(error.strip(b"<").rpartition(b".")[2], "handler_error")
        yield _said(kind, told)
        return


def told_by_server(message: bytes, role: str) -> Iterator[Said]:
    """What a Redis or Valkey server says in a message; ``role`` is its letter: M, S, C (a child) or X (Sentinel)."""
    for form, told in _told(_SERVER, _SERVER_WORDS, message):
        yield _said("saved_by_child" if form.kind == "saved_by_server" and role == "C" else form.kind, told)
        if (expired := told.get("expired")) and int(expired):
            yield Said("expired_on_load", count=int(expired))
        return


def _told(forms: tuple[_Form, ...], words: frozenset[bytes], message: bytes) -> Iterator[tuple[_Form, dict[str, bytes]]]:
    """The forms that a message has, in their order, and what it tells. A word is looked for first, because that is cheap."""
    named = words.intersection(message[:_HEAD].translate(_BLANK).split())
    if named:
        message = message[:_REACH]
        for form in forms:
            if form.word in named and (found := form.pattern.search(message)):
                yield form, found.groupdict()


def told_by_application(message: bytes) -> Iterator[Said]:
    """What any other line says: that something is deleted, and which tasks it names.

    The tasks are what was deleted unless the line counts something else (``deleted 12 jobs, request 0f1e…``), or names one as
    the writer, as Celery's task loggers do (``app.cleanup[0f1e…]: deleted 12 jobs``): then they are only mentioned.
    """
    if writer := _TASK_LOGGER.match(message):
        yield Said("mentioned", _text(writer["id"]), _text(writer["name"]))
        message = message[writer.end() :]
    low = message[:_REACH].lower()
    kind, count = _action(message[:_REACH], low)
    ids = list(dict.fromkeys(_UUID.findall(message)))[:_MOST_IDS] if message.count(b"-") >= 4 else []
    deleted = bool(kind) and count in (None, len(ids))
    if kind and not (ids and deleted):
        yield Said(kind, count=count)
    for task_id in ids:
        yield Said(kind, _text(task_id), count=count) if deleted else Said("mentioned", _text(task_id))


def names_itself(line: bytes) -> dict[str, bytes]:
    """ID and name of a task in the headers that Celery logs of a message which it discards."""
    task, own = _OF_TASK.search(line), _OWN_ID.search(line)
    return {"name": task["name"], "id": own["id"]} if task and own else {}


def _of_task(found: re.Match[bytes]) -> Said:
    verb = found["verb"]
    if verb[:2] == b"re":
        kind = "received" if verb[:3] == b"rec" else "rejected" if verb[:3] == b"rej" else "retried"
    else:
        kind = "failed" if verb[:2] == b"ra" else _TASK_KINDS[verb[:1]]
    seconds = found["s"]
    if kind == "retried" and (again := _AGAIN.search(found.string, found.end(), found.end() + 80)):
        seconds = again["s"]
    return Said(kind, _text(found["id"]), _text(found["name"]), None, _real(seconds))


def _said(kind: str, told: dict[str, bytes]) -> Said:
    task_id, name, number = told.get("id"), told.get("name"), b"0" if told.get("none") else told.get("n")
    return Said(
        kind,
        _text(task_id) if task_id else None,
        _text(name) if name else None,
        int(number) if number else None,
        _real(told.get("s")),
    )


def _action(message: bytes, low: bytes) -> tuple[str, int | None]:
    for stem in _STEMS:
        if stem in low:
            break
    else:
        return "", None
    found = {group for match in _ACTION.finditer(low) if (group := match.lastgroup)}
    kind = next((kind for kind in ("flush", "purge", "delete") if kind in found), "")
    if not kind:
        return "", None
    number = next((match[1] for pattern in _COUNTS if (match := pattern.search(low))), None)
    count = int(number) if number else 0 if _NONE.search(low) else None
    request = _REQUEST.search(message)
    if request and request["method"] in (b"GET", b"HEAD", b"OPTIONS") and count is None:
        return "", None
    if (request and int(request["status"]) >= 400) or _NOT_DONE.search(low):
        return "not_done", count
    return kind, count


def _real(text: bytes | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
