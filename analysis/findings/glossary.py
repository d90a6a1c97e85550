"""The words a reader of a report may not know, each defined once.

In: nothing. Out: words and what they mean here, in the order of the alphabet. Causes are in ``causes``, words of
confidence in ``words``.
"""

from __future__ import annotations

TERMS: dict[str, str] = {
    "Append-only file": "the server's own record of every command that writes, kept on disk where it is switched on",
    "As of": "the latest moment of which the evidence speaks; what came after it is not known",
    "Backlog": "the last writes of a server, which it keeps in memory for its replicas",
    "Broker": "where messages wait for workers; here a Redis database",
    "Case": "the folder with all evidence about one incident",
    "DB": "one of the numbered databases of a Redis server; a key is in one of them",
    "Deciban": "a measure of how strongly evidence speaks: +10 is ten times as likely, −10 a tenth",
    "Eviction": "a key removed by the server to make room, because its memory limit was reached",
    "Evidence": "what was collected: snapshots, answers of the server, logs, source code",
    "Expiry": "the moment at which a key ends by itself, and the removal of the key at or after it",
    "Family": "keys that are the same thing to Celery or to the application, such as results or queues",
    "Flush": "the command that empties one database (FLUSHDB) or all of them (FLUSHALL)",
    "INFO": "the server's own figures: since when it runs, how many keys expired or were evicted, how often each "
    "command was called",
    "Job record": "the application's own note about a task, beside what Celery stores",
    "Key": "the name under which something is stored in Redis",
    "Message": "the order to run a task, which waits in a queue until a worker takes it",
    "Prior": "how common a cause is, before any evidence of this case is looked at",
    "Purge": "a clean-up that removes old records on purpose, as an application or its operators set it up",
    "Queue": "a list of messages that wait for workers",
    "Result": "what Celery stores when a task ends: its state and what it returned",
    "Retention": "how long something is kept",
    "Serialized size": "how many bytes a value takes in the snapshot file; in memory it takes more",
    "SHA-256": "a fingerprint of a file: the same file has the same one, a changed file another",
    "Snapshot": "a file with everything a server held at one moment (RDB)",
    "Task": "a piece of work that an application hands to Celery, known by its ID",
    "TTL": "time to live: how long a key still lives before it expires",
    "UTC": "the time in which everything is given here; the case's own zone stands beside it",
    "Witness": "a piece of evidence that would show an event, for the time of which it speaks",
    "Worker": "the process that runs tasks",
}
