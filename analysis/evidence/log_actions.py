"""What an application says of deleting, and which tasks it names, in words that are not known beforehand.

In: the message of a line. Out: ``Said``, with a kind out of ``log_kinds.KINDS``. Knows the words for deleting, not
who uses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from analysis.evidence.log_kinds import Said

_REACH = 4096
_MOST_IDS = 50
_UUID = re.compile(rb"(?<![0-9a-fA-F])[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9a-fA-F])")
_LEVEL = rb"\[?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\]?[\s:|-]{1,4}"
_TASK_LOGGER = re.compile(rb"(?:" + _LEVEL + rb")?(?P<name>[\w.]{1,300})\[(?P<id>[^\]\s]{1,512})\]: ")
STEMS = (b"purg", b"flush", b"clean", b"delet", b"remov", b"prun", b"clear", b"wip", b"eras", b"unlink")
_ACTION = re.compile(
    rb"(?<![a-z.])(?:(?P<flush>flush_?(?:all|db)(?![a-z])|(?:flush(?:ed|ing)?|clear(?:ed|ing)?|wip(?:ed?|ing))(?![a-z])"
    rb"(?=.{0,60}(?:redis|cache|database|\bdb|keys|queue))|cache[._ ]?clear(?:ed)?(?![a-z]))"
    rb"|(?P<purge>purg(?:e|ed|es|ing)|clean(?:ed|ing|s)?[ _-]?up|prun(?:e|ed|ing))(?![a-z])"
    rb"|(?P<delete>(?:delet|remov|eras|unlink)(?:e|ed|es|ing|ion|al)?)(?![a-z]))"
)
_CLEANER = re.compile(rb"purge|clean_?up|prune")
_DONE = rb"(?:deleted|removed|purged|flushed|cleaned|cleaned[ _]up|erased|pruned|cleared|unlinked)"
_UNIT = rb"(?! ?(?:[kmg]i?b|bytes?|ms|s|sec(?:onds?)?|min(?:utes?)?|hours?|days?|weeks?|%)(?![a-z]))"
_IS = rb"[\"']?\s{0,2}[=:]\s{0,2}[\"']?(\d{1,12})(?![\d.-])"
_COUNTS = (
    re.compile(_DONE + rb"(?:[_ .](?:count|total|keys|rows|records|jobs|tasks|items|number))?" + _IS + _UNIT),
    re.compile(rb"(?:count|total|num|number|n)_?(?:of_)?" + _DONE + _IS),
    re.compile(
        rb"(?:" + _DONE + rb"|(?:delet|remov|purg|prun)(?:e|ing)|flushing)"
        rb"(?: (?:all|a total of|total|about|exactly|old|the))? (\d{1,12})(?![\d:.\-/])" + _UNIT
    ),
    re.compile(rb"(?<![a-z_])(?:count|total|n)" + _IS),
    re.compile(
        rb"(?<![\d.:\-/])(\d{1,12})" + _UNIT + rb" (?:[\w:*-]{1,40} ){0,4}?"
        rb"(?:(?:were|was|have been|has been) )?" + _DONE
    ),
)
_NONE = re.compile(
    rb"\bno (?:\w+ ){1,3}(?:to (?:delete|purge|remove|clean)|(?:were |was )?(?:deleted|purged|removed))"
    rb"|nothing to (?:delete|purge|remove|clean)"
)
_REHEARSED = re.compile(
    rb"dry[-_ ]?run(?![\"']?\s?[=:]\s?[\"']?(?:false|no|0|off))"
    rb"|would (?:be |have )?(?:delet|remov|purg|flush|prun)"
)
_NOT_DONE = re.compile(
    rb"skipp(?:ed|ing)|(?:failed|unable|refus\w+|not allowed) to |(?:could|can|did|will|do) ?n[o']t |permission denied"
    rb"|error (?:while |when )?(?:delet|remov|purg|flush|clean)"
    rb"|(?:purge|cleanup|clean up|delet\w+|flush\w*) (?:\w+ )?(?:failed|disabled)"
)
_METHODS = rb"GET|HEAD|OPTIONS|POST|PUT|PATCH|DELETE"
_REQUEST = re.compile(
    rb"\b(?P<method>" + _METHODS + rb") \S{1,2000}(?: HTTP/[\d.]{1,3})?\"?"
    rb"[ :]{1,3}(?:status=|-> ?)?(?P<status>\d{3})\b"
)
# A request whose parts are fields, in any order.
_METHOD = re.compile(rb"\b(?:method|request)[\"']?\s?[=:]\s?[\"']?(?P<method>" + _METHODS + rb")\b")
_STATUS = re.compile(rb"\bstatus(?:_?code)?[\"']?\s?[=:]\s?[\"']?(?P<status>\d{3})\b")


def told_by_application(message: bytes) -> Iterator[Said]:
    """What any other line says: that something is deleted, and which tasks it names.

    The tasks are what was deleted unless the line counts something else (``deleted 12 jobs, request 0f1e…``), or
    names one as the writer, as Celery's task loggers do (``app.cleanup[0f1e…]: deleted 12 jobs``): then they are only
    mentioned.
    """
    cleaner = False
    if writer := _TASK_LOGGER.match(message):
        yield Said("mentioned", _text(writer["id"]), _text(writer["name"]))
        message, cleaner = message[writer.end() :], bool(_CLEANER.search(writer["name"].lower()))
    low = message[:_REACH].lower()
    kind, count = _action(message[:_REACH], low)
    if cleaner and kind == "delete":
        kind = "purge"
    ids = list(dict.fromkeys(_UUID.findall(message)))[:_MOST_IDS] if message.count(b"-") >= 4 else []
    deleted = bool(kind) and count in (None, len(ids))
    if kind and not (ids and deleted):
        yield Said(kind, count=count)
    for task_id in ids:
        yield Said(kind, _text(task_id), count=count) if deleted else Said("mentioned", _text(task_id))


def _action(message: bytes, low: bytes) -> tuple[str, int | None]:
    for stem in STEMS:
        if stem in low:
            break
    else:
        return "", None
    found = {group for match in _ACTION.finditer(low) if (group := match.lastgroup)}
    kind = next((kind for kind in ("flush", "purge", "delete") if kind in found), "")
    if not kind:
        return "", None
    method, status, rest = _request(message, low)
    number = next((match[1] for pattern in _COUNTS if (match := pattern.search(rest))), None)
    count = int(number) if number else 0 if _NONE.search(low) else None
    if method in (b"GET", b"HEAD", b"OPTIONS") and count is None:
        return "", None
    if (method and status >= 300) or _REHEARSED.search(low) or (not count and _NOT_DONE.search(low)):
        return "not_done", count
    return kind, count


def _request(message: bytes, low: bytes) -> tuple[bytes, int, bytes]:
    """Method and status of the request that a line tells of, 0 where it has none; and what else it says."""
    if found := _REQUEST.search(message):
        return found["method"], int(found["status"]), low[: found.start()] + low[found.end() :]
    method, told = _METHOD.search(message), _STATUS.search(message)
    return method["method"] if method else b"", int(told["status"]) if told else 0, low


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
