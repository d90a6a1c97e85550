"""What Celery's workers and Redis' servers say in their logs, by their own wording.

In: the message of a line. Out: ``Said``, with a kind out of ``log_kinds.KINDS``. Rests on the sources of Celery 4.0
to 5.7, kombu, billiard, Redis 6.0 to 8 and Valkey; knows no application.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from analysis.evidence.log_kinds import Said

# Where in a message the words of a form are looked for; what follows is the task's own. And how far its parts may
# reach.
_HEAD = 400
_REACH = 4096
_MOST_IDS = 50

# celery/app/trace.py and worker/request.py. IDs may be any text: they end at the first "] " that a verb follows.
_TASK = re.compile(
    rb"Task (?P<name>[^\[\]]{1,300})\[(?P<id>.{1,512}?)\] "
    rb"(?P<verb>received|succeeded before|succeeded in (?P<s>[\d.e+-]{1,30})s:"
    rb"|raised \w+:|INTERNAL ERROR:|ignored|reject|retry:|cannot be acknowledged)"
)
_VERBS = {
    b"received": "received",
    b"succeeded": "succeeded",
    b"raised": "failed",
    b"INTERNAL": "failed",
    b"ignored": "ignored",
    b"reject": "rejected",
    b"retry": "retried",
    b"cannot": "ack_failed",
}
_SUCCEEDED = re.compile(r"(?:.{0,300}?[\s:|-])??Task [^\[\]]{1,300}\[.{1,512}?\] succeeded in [\d.e+-]{1,30}s: ")
_FIELD = re.compile(r" [\w.@-]{1,79}=")
_TOKEN = re.compile(r"""\\.|'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|[\[({<\])}>]|\s""", re.DOTALL)
_RECEIVED = re.compile(
    rb"Received task: (?P<name>[^\[\]]{1,300})\[(?P<id>.{1,512}?)\]"
    rb"(?: {1,3}ETA:\[[^\]]*\])?(?: {1,3}expires:\[[^\]]*\])?\s*$"
)
_NAMED = rb"(?P<name>[^\[\]]{1,300})\[(?P<id>[^\]]{1,512})\]"
_NUMBER = rb"(?P<n>\d{1,18})"


@dataclass(frozen=True, slots=True)
class _Form:
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
    _form(
        "unregistered",
        "unregistered",
        rb"Received unregistered task of type ['\"]?(?P<name>[^'\"\s]{1,300}?)['\"]?\.?(?:\s|$)",
    ),
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
    _form("ack", "ack_failed", rb"Couldn't ack "),
    _form("reject", "ack_failed", rb"Couldn't reject "),
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
_HANDLER_ERRORS = {
    b"WorkerLostError": "worker_lost",
    b"Terminated": "terminated",
    b"TimeLimitExceeded": "hard_time_limit",
}
_DISCARDED = frozenset(("invalid_message", "unknown_message", "undecodable"))
_AGAIN = re.compile(rb"in (?P<s>[\d.]{1,20})s")

_SERVER = (
    _form("oO0OoO0OoO0Oo", "server_started", rb"is starting"),
    _form("accept", "server_ready", rb"eady to accept connections"),
    _form("loaded", "data_loaded", rb"DB loaded from .{0,300}: (?P<s>[\d.]{1,20}) seconds"),
    _form(
        "loaded:",
        "rdb_loaded",
        rb"Done loading RDB, keys loaded: " + _NUMBER + rb"(?:, keys expired: (?P<expired>\d{1,18}))?",
    ),
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
WORKER_WORDS = frozenset(form.word for form in _WORKER)
_SERVER_WORDS = frozenset(form.word for form in _SERVER)
# Marks that may cling to a word.
_BLANK = bytes.maketrans(b"\"'=(", b"    ")

_OF_TASK = re.compile(rb"""['"]task['"]: ?['"](?P<name>[^'"]{1,300})['"]""")
_OWN_ID = re.compile(rb"""['"]id['"]: ?['"](?P<id>[^'"]{1,512})['"]""")


def told_by_worker(message: bytes, *, printed: bool = False) -> Iterator[Said]:
    """What Celery says in a message. ``printed``: the line has no time, so only what workers print counts."""
    if not printed and b"Task " in message[:_HEAD] and (found := _TASK.search(message, 0, _HEAD + 900)):
        yield _of_task(found)
        return
    for form, told in _told(_WORKER, WORKER_WORDS, message):
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


def succeeded_value(text: str) -> str | None:
    """The repr of the value that a task returned, out of the ``text`` of its event ``succeeded``; None in any other.

    celery/app/trace.py logs ``saferepr(value, resultrepr_maxsize)``, 1,024 characters by default: of a longer value
    Celery wrote ``...`` for what it left out. Where the kit shortened the text, its note of that is the end of what is
    given here. Secrets are masked as they are in the text.
    """
    if not (found := _SUCCEEDED.match(text)):
        return None
    begin = found.end()
    end = _value_end(text, begin)
    # After a value come the other fields of a JSON line, or lines that the event was given. Else a blank is its own.
    if end < len(text) and text[end] != "\n" and not _FIELD.match(text, end):
        end = text.find("\n", end)
    return text[begin:] if end < 0 else text[begin:end]


def _value_end(text: str, begin: int) -> int:
    """Where the first blank is that stands in no brackets and in no quotes."""
    # What is printed as <Order 7> ends with its own bracket; elsewhere that is a mere sign.
    opening, closing = ("([{<", ")]}>") if text.startswith("<", begin) else ("([{", ")]}")
    depth = 0
    for token in _TOKEN.finditer(text, begin):
        if token[0] in opening:
            depth += 1
        elif token[0] in closing:
            depth -= 1
        elif depth <= 0 and token[0].isspace():
            return token.start()
    return len(text)


def told_by_server(message: bytes, role: str) -> Iterator[Said]:
    """What a Redis or Valkey server says in a message; ``role`` is its letter: M, S, C (a child) or X (Sentinel)."""
    for form, told in _told(_SERVER, _SERVER_WORDS, message):
        yield _said("saved_by_child" if form.kind == "saved_by_server" and role == "C" else form.kind, told)
        if (expired := told.get("expired")) and int(expired):
            yield Said("expired_on_load", count=int(expired))
        return


def _told(
    forms: tuple[_Form, ...], words: frozenset[bytes], message: bytes
) -> Iterator[tuple[_Form, dict[str, bytes]]]:
    """The forms that a message has, in their order, and what it tells."""
    # Looking for words is far cheaper than trying every pattern.
    named = words.intersection(message[:_HEAD].translate(_BLANK).split())
    if named:
        message = message[:_REACH]
        for form in forms:
            if form.word in named and (found := form.pattern.search(message)):
                yield form, found.groupdict()


def names_itself(line: bytes) -> dict[str, bytes]:
    """ID and name of a task in the headers that Celery logs of a message which it discards."""
    task, own = _OF_TASK.search(line), _OWN_ID.search(line)
    return {"name": task["name"], "id": own["id"]} if task and own else {}


def _of_task(found: re.Match[bytes]) -> Said:
    kind = _VERBS[found["verb"].rstrip(b":").split()[0]]
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


def _real(text: bytes | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
