"""What every key is to Celery, kombu, RQ or the application: its family, its global prefix, the task it belongs to.

In: the `keys` frame and a way to values. Out: the same frame with family, prefix and task_id filled.
Does not decode results, messages or records further than telling what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.celery.brokers import Broker
from analysis.celery.claims import IS_UUID, UNCLAIMED, Claims, Marked
from analysis.celery.decode import ValueOf
from analysis.celery.discovery import discovered_jobs
from analysis.celery.jobs import JobsSettings, job_record
from analysis.celery.routing import BINDING, BINDING_DEADLINES, BINDING_PERMANENT, routings
from analysis.celery.serializers import unpack


@dataclass(frozen=True)
class Family:
    """A kind of key: what it means, who writes it, and the Redis type and name it has."""

    name: str
    meaning: str
    writer: str
    form: str


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("result", "state and result of one task", "Celery's result backend", "string celery-task-meta-<task>"),
        Family(
            "group_result",
            "a saved group: the IDs of its parts",
            "Celery: GroupResult.save() and nested chords",
            "string celery-taskset-meta-<group>",
        ),
        Family(
            "chord",
            "bookkeeping of a chord: what has ended of it, and how many there are",
            "Celery's result backend",
            "celery-taskset-meta-<group>.j .t .s .d .c, string chord-unlock-<group>",
        ),
        Family(
            "queue",
            "messages that wait for a worker",
            "kombu, when a task is published or given back",
            "list <queue> or <queue><sep><priority>",
        ),
        Family(
            "unacked",
            "messages that workers have taken and not acknowledged",
            "kombu in the worker",
            "hash of [message, exchange, routing key]",
        ),
        Family(
            "unacked_index",
            "when each unacknowledged message was taken",
            "kombu in the worker",
            "zset of delivery tags",
        ),
        Family(
            "unacked_mutex",
            "lock of the worker that gives back messages held too long",
            "kombu in the worker",
            "string unacked_mutex",
        ),
        Family(
            "binding",
            "routing table: the queues an exchange leads to",
            "kombu, when a queue is declared",
            "set or zset _kombu.binding…",
        ),
        Family(
            "reply",
            "results for one client that has not taken them yet (rpc:// backend)",
            "Celery's rpc backend",
            "list named by the client's UUID",
        ),
        Family(
            "control",
            "events, or answers to remote control, that nobody took",
            "Celery's workers",
            "list celeryev.<uuid>, <uuid>.reply.celery.pidbox",
        ),
        Family("job", "the application's own record of a task", "the application", "hash, or string of a JSON object"),
        Family("rq_job", "an RQ job: its state, and its call pickled", "RQ", "hash rq:job:<job>"),
        Family("rq_results", "results of an RQ job", "RQ", "stream rq:results:<job>"),
        Family(
            "rq_registry",
            "RQ jobs in one state, scored with the time until which it holds",
            "RQ",
            "zset rq:finished:<queue>, rq:failed:<queue>, …",
        ),
        Family("rq", "another key of RQ: queues, workers, dependents", "RQ", "rq:…"),
        Family(
            UNCLAIMED,
            "nothing of Celery, kombu or RQ, and no record of a task",
            "unknown",
            "anything else; a known name with a wrong type too",
        ),
    )
}
"""The closed list of families, in the order in which a reader wants them."""

TASK_META = "celery-task-meta-"
GROUP_META = "celery-taskset-meta-"
CHORD_UNLOCK = "chord-unlock-"

_CHORD_TYPES = {".j": ("zset", "list"), ".t": ("string",), ".s": ("string",), ".d": ("set",), ".c": ("string",)}
_CHORD_STRING = re.compile(rb"-?\d{1,19}|[0-9a-f]{32}|done")
_RQ_REGISTRIES = ("finished", "failed", "started", "wip", "deferred", "scheduled", "canceled")
_ANY_TYPE = ("string", "list", "set", "zset", "hash", "stream")
_MAX_PREFIXES = 100
_LOOKS = 5


def name_families(keys: pd.DataFrame, value_of: ValueOf, jobs: JobsSettings | None = None) -> pd.DataFrame:
    """The `keys` frame with ``family`` (a name in FAMILIES), ``prefix`` (empty where there is none) and ``task_id``
    filled.

    Names decide first, together with the Redis type; then content: of prefixed results a few values, of lists and of
    hashes named ``…unacked`` some elements. Other names of ``unacked_key`` are found by content among hashes that are
    few of their kind. What is left are job records: by ``jobs.key`` where that is stated, else as
    ``discovery.discovered_jobs`` finds them. The index is reset.
    """
    claims = Claims(keys, value_of)
    _claim_results(claims)
    _claim_groups(claims)
    _claim_rq(claims)
    _claim_bindings(claims)
    bound = claims.of_family("binding")
    tables = claims.keys.take(bound).assign(prefix=[claims.prefix(position) for position in bound.tolist()])
    broker = Broker(claims, routings(tables, value_of))
    broker.claim_unacked()
    broker.claim_lists()
    broker.claim_renamed_unacked()
    if jobs and jobs.around:
        _claim_stated_jobs(claims, jobs, *jobs.around)
    else:
        _claim_discovered_jobs(claims, broker.message_ids)
    return claims.frame()


def name_results(keys: pd.DataFrame, value_of: ValueOf) -> pd.DataFrame:
    """As ``name_families``, but only results are told from the rest, which is quick and looks at few values."""
    claims = Claims(keys, value_of)
    _claim_results(claims)
    return claims.frame()


def _claim_results(claims: Claims) -> None:
    claims.claim_marked(_marked(claims, TASK_META, "string"), "result")


def _claim_groups(claims: Claims) -> None:
    found = _marked(claims, GROUP_META, "string", "zset", "list", "set", counter=True)
    rows = zip(found.positions.tolist(), found.codes.tolist(), found.behind.to_pylist(), strict=True)
    for position, code, name in rows:
        prefix = found.prefixes[code]
        group, kind = name[:-2], claims.type(position)
        of_chord = group and kind in _CHORD_TYPES.get(name[-2:], ())
        if of_chord and (kind != "string" or _is_chord_counter(claims, position)):
            claims.claim(position, "chord", prefix, group)
        elif kind == "string":
            claims.claim(position, "group_result", prefix, name)
    claims.claim_marked(_marked(claims, CHORD_UNLOCK, "string", counter=True), "chord")


def _marked(claims: Claims, marker: str, *types: str, counter: bool = False) -> Marked:
    """Keys whose name holds ``marker`` and something behind it.

    Strings behind a prefix count only where one of five with that prefix holds what Celery could have stored:
    neither ``lock:celery-task-meta-…`` nor a cached page about results is a result.
    """
    found = claims.marked(marker, *types)
    keep = np.ones(len(found.positions), bool)
    for code in range(1, min(len(found.prefixes), _MAX_PREFIXES + 1)):
        here = found.codes == code
        positions = found.positions[here]
        strings = positions[claims.are(positions, "string")]
        some = strings[:: max(1, len(strings) // _LOOKS)][:_LOOKS].tolist()
        if some and not any(_is_celerys(claims, position, counter) for position in some):
            keep &= ~here
    return found.where(keep)


def _is_celerys(claims: Claims, position: int, counter: bool) -> bool:
    """Whether a string could be metadata or, where ``counter``, a chord's count or claim; what is not read could be."""
    if claims.length(position) > 2**20 or not isinstance(value := claims.read(position), bytes):
        return True
    if counter and _CHORD_STRING.fullmatch(value):
        return True
    stored = unpack(value)
    if stored.serializer == "json":
        # JSON that is damaged has no data, and is still metadata
        return stored.data is None or isinstance(stored.data, dict) and not {"status", "result"}.isdisjoint(stored.data)
    return stored.serializer != "unknown" or bool(stored.compression)


def _is_chord_counter(claims: Claims, position: int) -> bool:
    """Tells a chord's counter or claim from a saved group whose own ID ends like one."""
    if claims.length(position) > 32:
        return False
    value = claims.read(position)
    return not isinstance(value, bytes) or bool(_CHORD_STRING.fullmatch(value))


def _claim_rq(claims: Claims) -> None:
    for position, name in claims.named(claims.starting("rq:", *_ANY_TYPE)):
        kind, _, rest = name[3:].partition(":")
        of_type = claims.type(position)
        if kind == "job" and rest and of_type == "hash":
            claims.claim(position, "rq_job", task_id=rest)
        elif kind == "results" and rest and of_type == "stream":
            claims.claim(position, "rq_results", task_id=rest)
        elif kind in _RQ_REGISTRIES and rest and of_type == "zset":
            claims.claim(position, "rq_registry")
        else:
            claims.claim(position, "rq")


def _claim_bindings(claims: Claims) -> None:
    for marker, kind in ((BINDING, "set"), (BINDING_PERMANENT, "set"), (BINDING_DEADLINES, "zset")):
        for position, name in claims.named(claims.holding(marker, kind)):
            claims.claim(position, "binding", name.partition(marker)[0])


def _claim_stated_jobs(claims: Claims, settings: JobsSettings, before: str, after: str) -> None:
    ids = {
        position: name[len(before) : len(name) - len(after)]
        for position, name in claims.named(claims.starting(before, "hash", "string", end=after))
        if len(name) > len(before) + len(after)
    }
    taken = set(ids.values())
    for position, job_id in ids.items():
        # job:<id>:logs is no record of a task named <id>:logs, and job:next no record of a task named next
        if taken.isdisjoint(_owners(job_id)) and not _is_counter(claims, position):
            claims.claim(position, "job", task_id=_stated_task(claims, position, settings.task_field) or job_id)


def _stated_task(claims: Claims, position: int, field: str | None) -> str | None:
    value = claims.read(position) if field else None
    return job_record(value).task_id(field) if field and value is not None else None


def _is_counter(claims: Claims, position: int) -> bool:
    if claims.type(position) != "string" or claims.length(position) > 20:
        return False
    value = claims.read(position)
    return isinstance(value, bytes) and bool(re.fullmatch(rb"-?\d+", value))


def _owners(job_id: str) -> Iterator[str]:
    if (found := IS_UUID.match(job_id)) and found.end() < len(job_id):
        yield found[0]
    parts = job_id.split(":")
    yield from (":".join(parts[:count]) for count in range(1, min(len(parts), 5)))


def _claim_discovered_jobs(claims: Claims, message_ids: Iterable[str]) -> None:
    free = claims.free("hash", "string")
    if not len(free):
        return
    known = set(message_ids).union(claims.ids(claims.of_family("result", "rq_job")))
    found = discovered_jobs(claims.keys.take(free), claims.value_of, known)
    if found:
        claims.claim(free[list(found)], "job", task_id=pa.array(found.values(), pa.large_string()))
