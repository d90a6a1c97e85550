"""What would tell next time: each recorder with what it changes and costs, and whether it is on already.

In: a ``View``. Out: the ends of sentences. Which recorders would tell of which cause stands in ``remedies``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analysis.findings.telling.servers import has, setting, version_of
from analysis.findings.view import View

Advice = str | Callable[[View, str], str]


def advice_of(advice: Advice, view: View, record: str) -> str:
    """The sentence of a piece of advice."""
    return advice if isinstance(advice, str) else advice(view, record)


@dataclass(frozen=True)
class Recorder:
    """What would tell next time: ``text`` with what it changes and costs; ``there`` whether the case shows that it is
    on already.
    """

    text: Advice
    there: Callable[[View], bool] = lambda view: False


def _stream(view: View, record: str) -> str:
    version = version_of(view)
    if (0,) < version < (7,):
        return (
            "turn on the append-only file (a change of configuration; it costs disk and some write speed; times in it "
            "need Redis 7.0)"
        )
    if setting(view, "appendonly") == "yes":
        return (
            "set aof-timestamp-enabled yes, so that the append-only file dates its commands (a change of "
            "configuration; one line more for each second with writes)"
        )
    since = "" if version >= (7,) else ", if the server is 7.0 or later"
    return (
        f"turn on the append-only file with aof-timestamp-enabled yes{since} (a change of configuration; it costs disk "
        "and some write speed)"
    )


RECORDERS: dict[str, Recorder] = {
    "stream": Recorder(
        _stream,
        lambda view: setting(view, "appendonly") == "yes" and setting(view, "aof-timestamp-enabled") == "yes",
    ),
    "events": Recorder(
        "set notify-keyspace-events Egxe and keep what redis-cli PSUBSCRIBE '__keyevent@*__:*' prints (a change of "
        "configuration; it costs little, names no client, shows no flush, and misses what comes while nobody listens)",
        lambda view: has(view, "keyspace log"),
    ),
    "users": Recorder(
        "give each application a user or at least a name of its own (ACL, CLIENT SETNAME), so that a command can be "
        "laid to one (a change of every client's URL)"
    ),
    "slowlog": Recorder(
        "lower slowlog-log-slower-than to 1000 (1 ms) and raise slowlog-max-len to 1024 (a change of configuration; it "
        "costs some memory)",
    ),
    "info": Recorder("save the answer of INFO every few minutes (it only reads)"),
    "backup": Recorder("keep dated copies of dump.rdb (they cost disk)"),
    "redis log": Recorder(
        "keep the Redis server's log as long as results (logfile, and its rotation)",
        lambda view: has(view, "redis log"),
    ),
    "worker log": Recorder("keep the workers' logs at INFO as long as results (they cost disk)"),
    "application log": Recorder(
        "let the application log what it deletes, with the IDs, and keep that as long as results (it costs disk)"
    ),
    "sender": Recorder("let the sender log the ID that apply_async gives it (one line for each task)"),
    "started": Recorder("set task_track_started=True (one more write for each task)"),
    "extended": Recorder(
        "set result_extended=True, so that each result names its task, worker and queue (some bytes each)",
        lambda view: bool(view.tasks["worker"].notna().any()),
    ),
}
