"""What to do about each cause: one row a cause, with how its content may be had back, how it is prevented, and which
recorders would tell next time.

In: a ``View`` and a record's name. Out: sentences, each with what it changes and what that costs; empty where there is
nothing to say. Adding a cause is adding a row to ``REMEDIES``. How all this is put in order stands in ``advice``.
"""

from __future__ import annotations

from dataclasses import dataclass

from analysis.findings.rules.sighted import NOUN
from analysis.findings.telling.particulars import code_of, kept_for, set_at
from analysis.findings.telling.recorders import Advice
from analysis.findings.telling.servers import has, quoted, saves_nothing, setting, version_of, where_to_set
from analysis.findings.view import View


@dataclass(frozen=True)
class Remedy:
    """Advice on one cause: ``back``, how what is lost may be had again beyond what is in ``recovered/``; ``prevent``;
    and ``recorders``, the names in ``RECORDERS`` of what would tell next time, the most telling first.
    """

    back: Advice = ""
    prevent: Advice = ""
    recorders: tuple[str, ...] = ("stream", "worker log")


def _at(view: View, record: str, *does: str) -> str:
    """`` (app/records.py:77)``: the place in the code, if it is known."""
    found = code_of(view, record, *does)
    return f" ({found})" if found else ""


def _read_where_it_is(view: View, record: str) -> str:
    """Of a message; that a result is to be copied from where it is stands first of all anyway."""
    if len(view.held(record)) or not len(view.held("message")):
        return ""
    row = view.main("message")
    server = f" on {row['server']}" if row["server"] else ""
    return f"Look at it where it is{server}: {quoted('TYPE', row['db'], str(row['key']))}. That only reads."


def _one_url(view: View, record: str) -> str:
    setting = "result_backend" if record == "result" and len(view.held("result")) else "broker_url"
    url = "the application's own URL" if record == "job" else f"the same {setting} and prefix"
    return f"Give whoever reads and whoever writes {url}; it changes where new records go, and moves none."


def _longer(view: View, record: str) -> str:
    kept = kept_for(view, record)
    if record == "job":
        return (
            f"If job records are needed for longer than {kept or 'they are kept'}, raise the expiry that the "
            f"application sets{_at(view, record, 'expires')}: each record then takes memory for longer."
        )
    if not kept:
        return ""
    place = set_at(view, "result_expires")
    now = f"now {view.retention.seconds:,} s{f', set at {place}' if place else ''}"
    return (
        f"If results are needed for longer than {kept}, raise result_expires ({now}), which costs memory for "
        "every result, or keep them elsewhere: analysis archive CASE does, from a snapshot of before they expire."
    )


def _own_redis(view: View, record: str) -> str:
    limit, policy = setting(view, "maxmemory"), setting(view, "maxmemory-policy")
    now = f" (now {policy}{f', limit {int(limit):,} bytes' if limit.isdigit() else ''})" if policy else ""
    return (
        f"Give Celery a Redis of its own with maxmemory-policy noeviction{now}, {where_to_set(view)}: writes are then "
        "refused when memory is full, so it needs room and an alarm. Leave maxmemory as it is until then: lowering it "
        "evicts at once."
    )


def _rights(view: View, commands: str) -> str:
    """Which users may send these commands; ACL came with 6.0."""
    if (0,) < version_of(view) < (6,):
        return f"rename {commands} in the server's configuration (rename-command), which needs a restart"
    denied = " ".join(f"-{command.lower()}" for command in commands.replace(",", " ").replace(" and ", " ").split())
    return (
        f"take {commands} from every user that does not need it (ACL SETUSER NAME {denied}, {where_to_set(view)}; a "
        "change of rights, which breaks what does use it)"
    )


def _against_deletion(view: View, record: str) -> str:
    place = code_of(view, record, "deletes")
    first = f"Look at {place}, which deletes keys of this name; that it ran is not shown by that. " if place else ""
    return (
        f"{first}Give each application a user of its own that may write only its own keys (ACL SETUSER, 6.0 and "
        "later): every client's URL changes, and what deletes on purpose must be allowed to."
    )


def _narrower(view: View, record: str) -> str:
    place = code_of(view, record, "deletes", "purges")
    return (
        f"Make the clean-up{f' at {place}' if place else ''} match only its own prefix: what it took so far beyond "
        "that then stays, and takes memory. Give Celery's keys a prefix of their own (global_keyprefix): results "
        "under the old names are then not found."
    )


def _no_flush(view: View, record: str) -> str:
    place = code_of(view, record, "flushes")
    who = f"Look at {place}, which flushes" if place else "Find who flushes (cache.clear() and test suites do)"
    return (
        f"{who}, and let it clear by prefix, or give it another server: its clears become slower, or it costs a second "
        f"Redis. Then {_rights(view, 'FLUSHDB and FLUSHALL')}."
    )


def _nobody_flushed(view: View, record: str) -> str:
    return (
        f"{_no_flush(view, record)} If nobody of yours flushed it, treat the host as broken into: look for unknown "
        "keys, addresses and users first, and change passwords from elsewhere."
    )


def _on_disk(view: View, record: str) -> str:
    off = setting(view, "appendonly") == "no"
    how = (
        "Turn the append-only file on with CONFIG SET appendonly yes on the running server, a change that costs disk "
        "and some write speed, and then in its file: a restart alone would load an empty one."
        if off
        else "Keep an append-only file (appendonly yes, appendfsync everysec): it costs disk and some write speed."
    )
    return f"{how} Keep it on a volume that outlives the container; up to a second of writes can still be lost."


def _of_replication(view: View, record: str) -> str:
    return (
        "Let masters keep their data on disk, and do not restart an empty one by itself: its replicas would empty "
        f"themselves too. Then {_rights(view, 'REPLICAOF and SLAVEOF')}."
    )


def _purge_list(view: View, record: str) -> str:
    place = _at(view, record, "deletes", "purges")
    return (
        f"Write down how long {NOUN[record]}s are kept, keep what is needed for audits elsewhere before the purge, and "
        f"let the purge{place} log the IDs that it deletes: it costs log lines."
    )


def _forget(view: View, record: str) -> str:
    place = code_of(view, record, "forgets")
    return (
        f"If the result is needed, do not call forget() on it{f' ({place})' if place else ''}: it then stays until its "
        "expiry, and takes memory."
    )


def _store(view: View, record: str) -> str:
    place = set_at(view, "ignore_result")
    return (
        f"If its result is needed, set ignore_result=False for the task{f' ({place})' if place else ''}: each run then "
        "costs one more write, and memory until it expires."
    )


def _again(what: str) -> Advice:
    def advice(view: View, record: str) -> str:
        return f"Send the task again if {what} and running it twice does no harm: that publishes a new message."

    return advice


def _snapshot_back(view: View, record: str) -> str:
    if saves_nothing(view) and not has(view, "snapshot"):
        return ""
    return (
        "To have back what else was lost, load a snapshot from before into another Redis, from a copy of the file, and "
        "take from there what is missing: in place of the running server's file it would replace what that holds now."
    )


_SEND_AGAIN = _again("it is still wanted")
_TIDY = ("stream", "application log", "users")
_BY_CLIENT = ("stream", "users", "events", "slowlog")
_OF_SERVER = ("redis log", "info", "backup")

REMEDIES: dict[str, Remedy] = {
    "present": Remedy(prevent=_longer, recorders=()),
    "natural_expiry": Remedy(prevent=_longer, recorders=("stream", "events", "extended")),
    "ttl_shortened": Remedy(
        prevent="Let every worker and tool use one result_expires: a worker started with another one, or an EXPIRE by "
        "a tool, cuts lives short; new results then all live equally long.",
        recorders=_BY_CLIENT,
    ),
    "evicted": Remedy(_snapshot_back, _own_redis, ("events", "info", "stream")),
    "expired_on_load": Remedy(
        "The file from which the server loaded may still hold it, until the next save: the copy of it is read as it "
        "is.",
        _longer,
        _OF_SERVER,
    ),
    "chord_state_expired": Remedy(
        "Call the chord's body by hand with the results of its parts, while those are there: that publishes a new "
        "message.",
        "Set result_expires (or result_chord_expires, Celery 5.7) longer than the slowest chord takes: it costs memory "
        "for every result.",
        ("stream", "worker log"),
    ),
    "queue_expired": Remedy(
        _SEND_AGAIN,
        "Take x-expires from the queue's declaration, or make it longer than the longest wait: an unused queue then "
        "stays.",
        ("stream", "events"),
    ),
    "clock_jump": Remedy(
        _snapshot_back,
        "Let the clock of the server's host be slewed, not stepped (chrony, ntpd): after a fault it then takes longer "
        "to be right.",
        ("redis log", "info", "stream"),
    ),
    "deleted_by_client": Remedy(prevent=_against_deletion, recorders=_BY_CLIENT),
    "bulk_deleted": Remedy(_snapshot_back, _narrower, _BY_CLIENT),
    "overwritten": Remedy(
        prevent="Give each application its own database or prefix, so that no two write the same key: records under "
        "the old names are then not found.",
        recorders=_BY_CLIENT,
    ),
    "forgotten": Remedy(prevent=_forget, recorders=("stream", "application log")),
    "purged_by_cleanup": Remedy(prevent=_purge_list, recorders=_TIDY),
    "db_flushed": Remedy(_snapshot_back, _no_flush, ("stream", "users", "slowlog", "info")),
    "server_flushed": Remedy(_snapshot_back, _nobody_flushed, ("stream", "users", "slowlog", "info")),
    "db_swapped": Remedy(
        "The same SWAPDB once more exchanges the two databases back: it is a write that moves every key of both, so "
        "stop their clients first.",
        lambda view, record: f"Find who swaps databases, and {_rights(view, 'SWAPDB')}.",
        ("stream", "users", "info"),
    ),
    "renamed_or_moved": Remedy(
        _read_where_it_is,
        lambda view, record: f"Find who renames or moves keys, and {_rights(view, 'RENAME, MOVE and MIGRATE')}.",
        _BY_CLIENT,
    ),
    "restart_data_loss": Remedy(_snapshot_back, _on_disk, _OF_SERVER),
    "stale_snapshot_restored": Remedy(
        "Look for a newer dump.rdb or append-only file on the server's disk and in backups, and copy it before the "
        "next save overwrites it.",
        "Start a server only with its newest file: with an append-only file on, Redis loads that and not dump.rdb.",
        _OF_SERVER,
    ),
    "replaced_by_resync": Remedy(
        "Copy dump.rdb and the append-only file of this server and of its former master before anything saves again: "
        "they may be the last to hold it.",
        _of_replication,
        _OF_SERVER,
    ),
    "failover_lost_writes": Remedy(
        "Copy the files of the former master before it comes back as a replica: the resync then overwrites them.",
        "Set min-replicas-to-write 1 and min-replicas-max-lag 10 on the master: writes are then refused while no "
        "replica keeps up.",
        _OF_SERVER,
    ),
    "result_never_stored": Remedy(
        _again("its outcome is needed"),
        "Set result_backend_always_retry=True, and have an alarm on memory, disk and role of the Redis server: workers "
        "then wait for it instead of giving a result up.",
        ("worker log", "info", "redis log"),
    ),
    "worker_killed": Remedy(
        _again("its work is not done"),
        "For tasks that may run twice set acks_late=True and reject_on_worker_lost=True, and give workers time and "
        "memory to end: a killed task is then run again.",
        ("started", "worker log", "stream"),
    ),
    "lost_in_pop": Remedy(
        _SEND_AGAIN,
        "Stop workers in good order and let them end (worker_soft_shutdown_timeout, Celery 5.5): stops take longer; "
        "a table of what was sent, with a job that sends again, covers the rest.",
        ("stream", "sender", "worker log"),
    ),
    "queue_purged": Remedy(
        _SEND_AGAIN,
        "Keep celery purge and worker --purge out of production's scripts: what waits then stays until it is run.",
        ("stream", "users", "worker log"),
    ),
    "revoked": Remedy(
        _SEND_AGAIN,
        "If nobody wanted that, look for who revokes, or which expires the sender gives: without one, late tasks run.",
        ("worker log", "sender"),
    ),
    "discarded": Remedy(
        _SEND_AGAIN,
        "Bring the task to every worker of its queue before it is sent, and give no queue to two applications: it "
        "needs a deployment in that order.",
        ("worker log", "stream"),
    ),
    "unroutable": Remedy(
        "Start a worker of the queue, which binds it again, and then send the task again: both are writes to the "
        "broker.",
        "Declare the queue on the sending side too (task_queues), or send to the queue by its name: neither costs "
        "anything at run time.",
        ("sender", "stream"),
    ),
    "never_published": Remedy(
        "Look in the sender's log for the moment of sending: a transaction rolled back, or an error there; then send "
        "it again, which publishes a new message.",
        "Send after the transaction is committed (transaction.on_commit, or an outbox): tasks then start a little "
        "later.",
        ("sender", "stream"),
    ),
    "result_ignored": Remedy(prevent=_store, recorders=()),
    "rpc_backend": Remedy(
        prevent="If others than the caller are to read results, set result_backend to a redis:// URL: each result then "
        "takes memory until it expires.",
        recorders=(),
    ),
    "wrong_database": Remedy(_read_where_it_is, _one_url, ()),
    "wrong_prefix": Remedy(_read_where_it_is, _one_url, ()),
    "wrong_node": Remedy(_read_where_it_is, _one_url, ()),
    "wrong_id": Remedy(
        "Look the task up by its own ID, which the sender got from apply_async and workers write to their logs.",
        recorders=("sender",),
    ),
    "undecodable": Remedy(
        "Read it with the serializer in which it was written; if that is pickle, only where nobody else can write to "
        "this Redis, for opening it runs what is in it.",
        "Set one result_serializer and accept_content for workers and readers: results that were written before stay "
        "unreadable to those who changed.",
        ("worker log",),
    ),
    "queued": Remedy(
        prevent="Check that a worker consumes exactly this list (celery -A APP inspect active_queues only reads; "
        "priority lists have names of their own).",
        recorders=(),
    ),
    "reserved": Remedy(
        prevent="Wait for the visibility timeout (3,600 s unless set) to pass: then Celery gives the message back, if "
        "a worker of this queue runs; a task that is still running is then run twice.",
        recorders=(),
    ),
    "running": Remedy(
        prevent="Ask the workers what they are at: celery -A APP inspect active only reads. A limit (task_time_limit) "
        "would end a task that hangs, and lose its work.",
        recorders=("started", "worker log"),
    ),
    "consumed": Remedy(recorders=()),
    "unknown": Remedy(recorders=("stream", "worker log", "extended")),
}
