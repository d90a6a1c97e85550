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
        Cause("deleted_by_client", "Deleted by a client", "one or a few keys were removed by name", YES),
        Cause("bulk_deleted", "Deleted in bulk", "keys were removed because they match a pattern, many at once", YES),
        Cause("forgotten", "Forgotten by Celery", "Celery's own forget() removed it", NO),
        Cause("purged_by_cleanup", "Purged by cleanup", "the application's own cleanup removed it", NO),
        Cause("db_flushed", "Database flushed", "FLUSHDB emptied its database", YES),
        Cause("server_flushed", "Server flushed", "FLUSHALL emptied all databases", YES),
        Cause("db_swapped", "Databases swapped", "SWAPDB exchanged its database with another", YES),
        Cause("renamed_or_moved", "Renamed or moved", "RENAME, MOVE or MIGRATE took it elsewhere", YES),
        Cause("restart_data_loss", "Lost in a restart", "the server came back without its data", YES),
        Cause(
            "never_published", "Never sent", "no trace that it was ever sent, although a witness covers that time", YES
        ),
        Cause("wrong_database", "In another database", "it exists, in another database than it was looked for", NO),
        Cause("wrong_prefix", "Under another prefix", "it exists, under another key prefix than it was looked for", NO),
        Cause("wrong_node", "On another server", "it exists, on another server than it was looked for", NO),
        Cause(
            "wrong_id",
            "Not a task's ID",
            "the ID is a group's, a root's or a parent's, or nearly that of a known task",
            NO,
        ),
        Cause("queued", "Waiting in a queue", "its message was still waiting in a queue", NO),
        Cause(
            "reserved",
            "Taken by a worker",
            "its message was held in `unacked`: a worker had taken and not acknowledged it",
            NO,
        ),
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

PRIORS: dict[str, dict[str, Prior]] = {
    "result": {
        "unknown": Prior(
            13, "without evidence nothing else may lead: there are more ways to vanish than those listed here"
        ),
        "natural_expiry": Prior(3, _REACHED),
        "present": Prior(0, "many a missing record is there, and was read wrongly"),
        "restart_data_loss": Prior(-3, "common where nothing is written to disk"),
        "evicted": Prior(-3, "common where Redis is a cache as well"),
        "queued": Prior(-3, "a task that waits looks like one that is lost"),
        "wrong_database": Prior(-3, "a common slip in a URL"),
        "wrong_prefix": Prior(-6, "a slip only where prefixes are used"),
        "wrong_node": Prior(-6, "a slip only where there are several servers"),
        "reserved": Prior(-6, "as queued, and shorter"),
        "never_published": Prior(-6, "transactions rolled back, producers that died"),
        "wrong_id": Prior(-6, "group and chain IDs are passed around like task IDs"),
        "deleted_by_client": Prior(-6, "results are seldom deleted by hand"),
        "forgotten": Prior(-6, "some applications forget a result once they have read it"),
        "bulk_deleted": Prior(-6, "clean-ups by pattern take more than they should"),
        "db_flushed": Prior(-6, "a cache clear in the wrong database"),
        "ttl_shortened": Prior(-10, _RARE),
        "server_flushed": Prior(-10, _RARE),
        "db_swapped": Prior(-13, _SELDOM),
        "renamed_or_moved": Prior(-13, _SELDOM),
    },
    "job": {
        "unknown": Prior(10, "the application's own records follow rules that only its code knows"),
        "purged_by_cleanup": Prior(3, "applications tidy up their own records"),
        "natural_expiry": Prior(0, "records with a TTL run out"),
        "present": Prior(0, "many a missing record is there, and was read wrongly"),
        "wrong_database": Prior(-3, "a common slip in a URL"),
        "wrong_node": Prior(-6, "a slip only where there are several servers"),
        "deleted_by_client": Prior(-3, "seldom by hand"),
        "bulk_deleted": Prior(-6, "clean-ups by pattern take more than they should"),
        "ttl_shortened": Prior(-10, _RARE),
        "db_swapped": Prior(-13, _SELDOM),
        "renamed_or_moved": Prior(-13, _SELDOM),
        "evicted": Prior(-3, "common where Redis is a cache as well"),
        "restart_data_loss": Prior(-3, "common where nothing is written to disk"),
        "never_published": Prior(-6, "the request may have failed before the record was written"),
        "wrong_id": Prior(-6, "group and chain IDs are passed around like task IDs"),
        "db_flushed": Prior(-6, "a cache clear in the wrong database"),
        "server_flushed": Prior(-10, _RARE),
    },
    "message": {
        "unknown": Prior(10, "a message leaves no trace of its own once it is gone"),
        "consumed": Prior(3, "what a message is for"),
        "queued": Prior(0, "a task that waits looks like one that is lost"),
        "reserved": Prior(-3, "as queued, and shorter"),
        "wrong_database": Prior(-3, "a common slip in a URL"),
        "wrong_node": Prior(-6, "a slip only where there are several servers"),
        "never_published": Prior(-6, "transactions rolled back, producers that died"),
        "wrong_id": Prior(-6, "group and chain IDs are passed around like task IDs"),
        "evicted": Prior(-6, "a queue is one key; only an allkeys policy takes it"),
        "restart_data_loss": Prior(-3, "common where nothing is written to disk"),
        "db_flushed": Prior(-6, "a cache clear in the wrong database"),
        "server_flushed": Prior(-10, _RARE),
    },
}


def losses() -> dict[str, str]:
    """Cause → yes, no or neither: is it a loss nobody wanted?"""
    return {code: cause.loss for code, cause in CAUSES.items()}


def title(code: str) -> str:
    """A cause's name for people."""
    return CAUSES[code].title if code in CAUSES else code.replace("_", " ")
