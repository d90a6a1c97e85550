"""The vocabulary of events: what a log line can say.

In: nothing. Out: ``KINDS``, each kind of event with its meaning, and ``Said``, one thing that a line says.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that a line says."""

    kind: str
    task_id: str | None = None
    name: str | None = None
    count: int | None = None
    seconds: float | None = None
