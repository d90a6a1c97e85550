"""Whatever bytes are stored under whatever key: frames come out, each value costs at most its own rows."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.celery.families import FAMILIES, name_families
from analysis.celery.jobs import JobsSettings, jobs_frame
from analysis.celery.messages import message_body, messages_frame, replies
from analysis.celery.results import body_of, tasks_frame
from tests.celery.conftest import keys_of
from tests.celery.test_messages import message

KEYS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        ["celery-task-meta-", "p_celery-taskset-meta-", "chord-unlock-", "rq:job:", "job:", "_kombu.binding."]
    ).flatmap(lambda start: st.binary(max_size=12).map(lambda end: start.encode() + end)),
    st.sampled_from([b"unacked", b"xunacked_index", b"unacked_mutex", b"celery", b"celery\x06\x163", b"job:1:x"]),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("\ud800"))
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "status result children date_done task_id retries name worker queue parent_id group_id traceback stamped_headers"
    " body properties headers content-type created_at state"
).split()
FIELDS = st.dictionaries(st.sampled_from(NAMES), DATA, max_size=6)


def mangled(parts: dict[str, Any]) -> dict[str, Any]:
    """A good message of which some headers and properties are anything."""
    whole = message()
    whole["headers"] = {**whole["headers"], **parts.get("headers", {})}
    whole["properties"] = {**whole["properties"], **parts.get("properties", {})}
    return whole | {name: parts[name] for name in ("body", "content-type") if name in parts}


HEADERS = st.dictionaries(st.sampled_from(list(message()["headers"])), DATA, max_size=4)
PROPERTIES = st.dictionaries(st.sampled_from(list(message()["properties"])), DATA, max_size=4)
MESSAGES = st.fixed_dictionaries(
    {}, optional={"headers": HEADERS, "properties": PROPERTIES, "body": DATA, "content-type": DATA}
).map(mangled)
BYTES = st.one_of(
    st.binary(max_size=60),
    st.one_of(DATA, FIELDS, MESSAGES, MESSAGES.map(lambda whole: [whole, "", "celery"])).map(
        lambda data: json.dumps(data).encode()
    ),
)
VALUES = st.one_of(
    BYTES,
    st.lists(BYTES, min_size=1, max_size=3),
    st.lists(st.tuples(st.binary(max_size=6), BYTES), min_size=1, max_size=3),
    st.lists(st.tuples(st.binary(max_size=6), st.floats()), min_size=1, max_size=3),
    st.sets(st.binary(max_size=30), min_size=1, max_size=3),
    st.just(ValueError("cut")),
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.tuples(st.integers(0, 2), KEYS), VALUES, max_size=6), st.sampled_from([None, "job:{id}"]))
def test_frames_come_of_anything(values: dict[Any, Any], template: str | None) -> None:
    keys, value_of = keys_of(values)
    stated = JobsSettings(key=template, task_field="state")
    named = name_families(keys, value_of, stated)
    assert set(named["family"]) <= set(FAMILIES) and len(named) == len(values)
    frames = [
        tasks_frame(named, value_of),
        messages_frame(named, value_of),
        jobs_frame(named, value_of, stated),
    ]
    for frame in (named, *frames):
        for column in frame.select_dtypes("str"):
            frame[column].str.encode("utf-8")
    assert len(frames[0]) == named["family"].isin(("result", "group_result")).sum()
    assert len(frames[2]) == named["family"].isin(("job", "rq_job")).sum()
    assert frames[1]["queue"].notna().where(frames[1]["state"] == "queued", True).all()
    for reply in replies(named, value_of):
        str(reply.task_id).encode()


@settings(max_examples=200, deadline=None)
@given(BYTES)
def test_contents_come_of_any_bytes(raw: bytes) -> None:
    for content in (body_of(raw), message_body(raw)):
        repr(content).encode()
    json.dumps(dict(body_of(raw).meta), ensure_ascii=False).encode()
    done = body_of(raw).date_done
    assert done is None or isinstance(done, pd.Timestamp)
