"""Settings of Celery that decide whether a result is kept, and for how long, under all their names.

In: a name as written. Out: the setting's name of today. Knows no language.
"""

from __future__ import annotations

RESULT_KEYS = "celery-task-meta-*"
GROUP_KEYS = "celery-taskset-meta-*"

# Celery's documentation, "Configuration and defaults": the lower-case names of Celery 4 and later. To each, whether it
# is a time in seconds, and which keys it decides on (missing: not keys by name).
_SETTINGS: dict[str, tuple[bool, str | None]] = {
    "result_expires": (True, RESULT_KEYS),
    "task_ignore_result": (False, RESULT_KEYS),
    "task_store_errors_even_if_ignored": (False, RESULT_KEYS),
    "task_store_eager_result": (False, RESULT_KEYS),
    "task_always_eager": (False, RESULT_KEYS),
    "result_serializer": (False, RESULT_KEYS),
    "result_compression": (False, RESULT_KEYS),
    "result_persistent": (False, RESULT_KEYS),
    "result_chord_join_timeout": (True, RESULT_KEYS),
    "task_acks_late": (False, None),
    "task_acks_on_failure_or_timeout": (False, None),
    "task_reject_on_worker_lost": (False, None),
    "task_default_queue": (False, None),
    "event_queue_expires": (True, None),
    "event_queue_ttl": (True, None),
    "control_queue_expires": (True, None),
    "control_queue_ttl": (True, None),
    # Of broker_transport_options and result_backend_transport_options.
    "visibility_timeout": (True, None),
    "global_keyprefix": (False, None),
    # Of a task or of one call of it.
    "ignore_result": (False, RESULT_KEYS),
    "store_errors_even_if_ignored": (False, RESULT_KEYS),
    "acks_late": (False, None),
    "reject_on_worker_lost": (False, None),
}
OF_A_TASK = frozenset(("ignore_result", "store_errors_even_if_ignored", "acks_late", "reject_on_worker_lost"))
OF_A_TRANSPORT = frozenset(("visibility_timeout", "global_keyprefix"))
# Names before Celery 4 that are not CELERY_ and the name of today ("New lowercase settings").
_OLD = {
    "CELERY_TASK_RESULT_EXPIRES": "result_expires",
    "CELERY_IGNORE_RESULT": "task_ignore_result",
    "CELERY_STORE_ERRORS_EVEN_IF_IGNORED": "task_store_errors_even_if_ignored",
    "CELERY_ALWAYS_EAGER": "task_always_eager",
    "CELERY_ACKS_LATE": "task_acks_late",
    "CELERY_DEFAULT_QUEUE": "task_default_queue",
    "CELERY_REJECT_ON_WORKER_LOST": "task_reject_on_worker_lost",
    "CELERY_EVENT_QUEUE_EXPIRES": "event_queue_expires",
    "CELERY_EVENT_QUEUE_TTL": "event_queue_ttl",
}
_OF_THE_APP = tuple(name for name in _SETTINGS if name not in OF_A_TASK | OF_A_TRANSPORT)
NAMES: dict[str, str] = (
    {name: name for name in _OF_THE_APP}
    # app.config_from_object("django.conf:settings", namespace="CELERY")
    | {f"CELERY_{name.upper()}": name for name in _OF_THE_APP}
    | _OLD
)
"""Every name of a setting of the app, as written -> as it is called today."""


def is_time(setting: str) -> bool:
    """Whether a setting, by its name of today, is a number of seconds."""
    return _SETTINGS.get(setting, (False, None))[0]


def keys_of_setting(setting: str) -> str | None:
    """The keys that a setting decides on: those of results; None where it decides on no keys by name."""
    return _SETTINGS.get(setting, (False, None))[1]


# Arguments of RQ that write a TTL: on the job's hash, and on a result (RQ's documentation, "Results").
RQ_TIMES = frozenset(("result_ttl", "failure_ttl", "ttl", "default_result_ttl", "default_failure_ttl"))
RQ_JOB_KEYS = "rq:job:*"
