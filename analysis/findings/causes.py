"""The causes a record can meet, and how likely each is before any evidence.

One table of causes (code, title, meaning, whether it is a loss nobody wanted) and one of priors, with their reasons.
A cause competes for a record when it has a prior there; adding one is adding a row here and the evidence that bears
on it.
"""

from __future__ import annotations

from dataclasses import dataclass

RECORDS = ("result", "job", "message")

YES, NO, NEITHER = "yes", "no", "neither"


@dataclass(frozen=True)
class Cause:
    """A cause of the contract: ``title`` for column heads, ``means`` for the glossary, ``loss`` yes, no or neither."""

    code: str
    title: str
    means: str
    loss: str


CAUSES: dict[str, Cause] = {
    cause.code: cause
    for cause in (
        Cause("present", "Present", "the record is there", NO),
        Cause("natural_expiry", "Expired as set", "its own TTL ran out, as the policy says", NO),
        Cause("ttl_shortened", "TTL shortened", "somebody wrote a shorter TTL than the policy", YES),
        Cause("evicted", "Evicted", "Redis removed it to stay under maxmemory", YES),
        Cause(
            "expired_on_load",
            "Expired on load",
            "its TTL had run out when the server loaded its file, so it was left out",
            NO,
        ),
        Cause(
            "chord_state_expired",
            "Chord state expired",
            "the bookkeeping of its chord expired before the last part ended, so it never ran",
            YES,
        ),
        Cause("queue_expired", "Queue expired", "the whole queue had a TTL, and it ran out", YES),
        Cause("clock_jump", "Clock jumped", "the server's clock moved, and keys expired early", YES),
        Cause("deleted_by_client", "Deleted by a client", "one or a few keys were removed by name", YES),
        Cause("bulk_deleted", "Deleted in bulk", "keys were removed because they match a pattern, many at once", YES),
        Cause("overwritten", "Overwritten", "another value was written over it", YES),
        Cause("forgotten", "Forgotten by Celery", "Celery's own forget() removed it", NO),
        Cause("purged_by_cleanup", "Purged by cleanup", "the application's own cleanup removed it", NO),
        Cause("db_flushed", "Database flushed", "FLUSHDB emptied its database", YES),
        Cause("server_flushed", "Server flushed", "FLUSHALL emptied all databases", YES),
        Cause("db_swapped", "Databases swapped", "SWAPDB exchanged its database with another", YES),
        Cause("renamed_or_moved", "Renamed or moved", "RENAME, MOVE or MIGRATE took it elsewhere", YES),
        Cause("restart_data_loss", "Lost in a restart", "the server came back without its data", YES),
        Cause(
            "stale_snapshot_restored",
            "Older snapshot restored",
            "the server came back with a snapshot older than the record",
            YES,
        ),
        Cause(
            "replaced_by_resync", "Replaced by a resync", "a full resync from another master overwrote the data", YES
        ),
        Cause("failover_lost_writes", "Lost in a failover", "a replica was promoted without the last writes", YES),
        Cause("result_never_stored", "Never stored", "the task ran, and storing its result failed", YES),
        Cause("worker_killed", "Worker died", "its worker died while it ran, and nothing was stored", YES),
        Cause(
            "lost_in_pop",
            "Lost on the way",
            "it was taken off the queue, and its worker died before it was reserved",
            YES,
        ),
        Cause("queue_purged", "Queue purged", "its queue was purged before it ran", YES),
        Cause("revoked", "Revoked", "it was revoked, or its `expires` had passed before it ran", NO),
        Cause("discarded", "Discarded", "the worker could not or would not run it, and threw it away", YES),
        Cause("unroutable", "No queue bound", "it was sent to an exchange to which no queue was bound", YES),
        Cause(
            "never_published", "Never sent", "no trace that it was ever sent, although a witness covers that time", YES
        ),
        Cause("result_ignored", "Not to be stored", "nothing was to be stored: results of this task are ignored", NO),
        Cause("rpc_backend", "Sent to its caller", "results go to a reply list of the caller, not to a key", NO),
        Cause("wrong_database", "In another database", "it exists, in another database than it was looked for", NO),
        Cause("wrong_prefix", "Under another prefix", "it exists, under another key prefix than it was looked for", NO),
        Cause("wrong_node", "On another server", "it exists, on another server than it was looked for", NO),
        Cause(
            "wrong_id",
            "Not a task's ID",
            "the ID is a group's, a root's or a parent's, or nearly that of a known task",
            NO,
        ),
        Cause("undecodable", "Not readable", "it is there, but not in the serializer with which it is read", YES),
        Cause("queued", "Waiting in a queue", "its message was still waiting in a queue", NO),
        Cause(
            "reserved",
            "Taken by a worker",
            "its message was held in `unacked`: a worker had taken and not acknowledged it",
            NO,
        ),
        Cause("running", "Running", "a worker had taken it and not ended it", NO),
        Cause("consumed", "Delivered", "its message was delivered and acknowledged", NO),
        Cause("unknown", "Not decided", "the evidence does not decide", NEITHER),
        Cause("other", "Other causes", "causes under 0.1 % each, together", NEITHER),
    )
}


@dataclass(frozen=True)
class Prior:
    """Decibans before any evidence, relative to the record's other causes, and the reason."""

    decibans: float
    reason: str


_REACHED = "results outlive their readers' patience more often than anything else takes them"
_RARE = "rare, and noticed by many at once"
_SELDOM = "a command that applications with Celery seldom use"
_THERE = "many a missing record is there, and was read wrongly"

# What takes keys from a server, whatever they are to Celery: the same for every record.
_OF_SERVERS: dict[str, Prior] = {
    "evicted": Prior(-3, "common where Redis is a cache as well"),
    "restart_data_loss": Prior(-3, "common where nothing is written to disk"),
    "wrong_database": Prior(-3, "a common slip in a URL"),
    "deleted_by_client": Prior(-6, "records are seldom deleted by hand"),
    "bulk_deleted": Prior(-6, "clean-ups by pattern take more than they should"),
    "db_flushed": Prior(-6, "a cache clear in the wrong database"),
    "wrong_node": Prior(-6, "a slip only where there are several servers"),
    "wrong_id": Prior(-6, "group and chain IDs are passed around like task IDs"),
    "never_published": Prior(-6, "transactions rolled back, producers that died"),
    "server_flushed": Prior(-10, _RARE),
    "stale_snapshot_restored": Prior(-10, "a backup put back, or the save before last"),
    "replaced_by_resync": Prior(-10, _RARE),
    "failover_lost_writes": Prior(-10, "only where there are replicas, and then a moment's writes"),
    "db_swapped": Prior(-13, _SELDOM),
    "renamed_or_moved": Prior(-13, _SELDOM),
    "clock_jump": Prior(-13, "clocks are kept by NTP nearly everywhere"),
}
# What becomes of a message before it has run, and so of the result that never came to be.
_OF_MESSAGES: dict[str, Prior] = {
    "queued": Prior(-3, "a task that waits looks like one that is lost"),
    "running": Prior(-3, "a long task looks like one that is lost"),
    "reserved": Prior(-6, "as queued, and shorter"),
    "revoked": Prior(-6, "tasks are revoked, or given an expiry, on purpose"),
    "discarded": Prior(-6, "deployments leave workers without some task"),
    "queue_purged": Prior(-6, "a command for development that reaches production"),
    "lost_in_pop": Prior(-10, "a window of milliseconds at a worker's death"),
    "unroutable": Prior(-13, "only with exchanges of one's own"),
    "queue_expired": Prior(-13, "only queues declared with x-expires, by recent kombu"),
    "chord_state_expired": Prior(-13, "only bodies of chords that outlast their own bookkeeping"),
}

PRIORS: dict[str, dict[str, Prior]] = {
    "result": {
        "unknown": Prior(11, "without evidence nothing else may lead: many causes leave the same absence"),
        "natural_expiry": Prior(3, _REACHED),
        "present": Prior(0, _THERE),
        "result_ignored": Prior(-3, "the most common harmless reason for a task without a result"),
        "worker_killed": Prior(-3, "deployments and the OOM killer end workers in mid-task"),
        "wrong_prefix": Prior(-6, "a slip only where prefixes are used"),
        "forgotten": Prior(-6, "some applications forget a result once they have read it"),
        "result_never_stored": Prior(-6, "a server that is full, down or read-only when a task ends"),
        "rpc_backend": Prior(-6, "an old default that few still use"),
        "ttl_shortened": Prior(-10, _RARE),
        "expired_on_load": Prior(-10, "needs a restart just after the expiry"),
        "overwritten": Prior(-10, "Celery itself never overwrites a success"),
        "undecodable": Prior(-10, "only where serializers were changed or mixed"),
        **_OF_SERVERS,
        **_OF_MESSAGES,
    },
    "job": {
        "unknown": Prior(10, "the application's own records follow rules that only its code knows"),
        "purged_by_cleanup": Prior(3, "applications tidy up their own records"),
        "natural_expiry": Prior(0, "records with a TTL run out"),
        "present": Prior(0, _THERE),
        "ttl_shortened": Prior(-10, _RARE),
        "expired_on_load": Prior(-10, "needs a restart just after the expiry"),
        "overwritten": Prior(-10, "an application seldom writes over its own record"),
        **_OF_SERVERS,
    },
    "message": {
        "unknown": Prior(11, "a message leaves no trace of its own once it is gone"),
        "consumed": Prior(3, "what a message is for"),
        **_OF_SERVERS,
        **_OF_MESSAGES,
        "evicted": Prior(-6, "a queue is one key; only an allkeys policy takes it"),
    },
}


def losses() -> dict[str, str]:
    """Cause → yes, no or neither: is it a loss nobody wanted?"""
    return {code: cause.loss for code, cause in CAUSES.items()}


def title(code: str) -> str:
    """A cause's name for people."""
    return CAUSES[code].title if code in CAUSES else code.replace("_", " ")
