"""case.toml: what is read, and that each refusal names its line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.errors import Unusable
from analysis.settings import read_settings


def settings_of(tmp_path: Path, text: str | bytes):
    path = tmp_path / "case.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_settings(path)


def refusal(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(Unusable) as caught:
        settings_of(tmp_path, text)
    line = str(caught.value)
    assert "\n" not in line
    return line


FULL = """
name = "Vanished result"
environment = "production"
timezone = "America/New_York"
noticed_at = 2025-07-24T02:30:00Z
source = "../app"
[timezones]
"logs/redis-*.log" = "UTC"
[snapshots]
"old.rdb" = 2025-07-01T00:00:00Z
[databases]
main = 0
broker = 1
results = 2
[celery]
result_expires = 0
key_prefix = "app1"
result_serializer = "json"
[jobs]
key = "job:{id}"
task_field = "celery_id"
expires = 3600
"""


def test_every_key_of_the_contract_is_read(tmp_path):
    stated = settings_of(tmp_path, FULL)
    assert stated.name == "Vanished result"
    assert stated.noticed_at == pd.Timestamp("2025-07-24T02:30:00Z")
    assert stated.zone_of("logs/redis-1.log").key == "UTC"
    assert stated.zone_of("logs/worker.log").key == "America/New_York"
    assert stated.snapshots["old.rdb"] == pd.Timestamp("2025-07-01T00:00:00Z")
    assert stated.databases == {"main": 0, "broker": 1, "results": 2}
    assert (stated.result_expires, stated.key_prefix, stated.result_serializer) == (0, "app1", "json")
    assert (stated.jobs.key, stated.jobs.task_field, stated.jobs.expires) == ("job:{id}", "celery_id", 3600)


def test_nothing_stated_is_not_zero(tmp_path):
    stated = settings_of(tmp_path, "")
    assert stated.result_expires is None
    assert stated.key_prefix is None
    assert stated.jobs is None
    assert stated.databases == {}


def test_a_time_without_an_offset_is_in_the_zone_of_the_case(tmp_path):
    stated = settings_of(tmp_path, 'timezone = "America/New_York"\nnoticed_at = 2025-07-23T22:30:00\n')
    assert stated.noticed_at == pd.Timestamp("2025-07-24T02:30:00Z")


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ('name = "x"\ncolour = "red"\n', 2, "colour"),
        ('[celery]\nresult_expires = "a day"\n', 2, "result_expires"),
        ("[celery]\nresult_expires = true\n", 2, "result_expires"),
        ("[celery]\nresult_expires = -1\n", 2, "result_expires"),
        ("[databases]\nmain = 0\ncache = 3\n", 3, "cache"),
        ('\ntimezone = "Mars/Olympus"\n', 2, "timezone"),
        ('timezone = "../../etc/passwd"\n', 1, "timezone"),
        ('noticed_at = "2025-07-24"\n', 1, "noticed_at"),
        ("[[celery]]\n", None, "celery"),
        ('[jobs]\nkey = "job"\n', 2, "{id}"),
        ('celery = "json"\n', 1, "celery"),
        ("noticed_at = 9999-12-31T23:59:59-10:00\n", 1, "noticed_at"),
        ("noticed_at = 0001-01-01T00:00:00+14:00\n", 1, "noticed_at"),
        ("[jobs]\nexpires = 9007199254740991\n", 2, "expires"),
        ("name = = 3\n", 1, "TOML"),
        ('a = "\n', 1, "TOML"),
    ],
)
def test_a_wrong_key_or_type_names_its_line(tmp_path, text, line, word):
    said = refusal(tmp_path, text)
    assert said.startswith("case.toml")
    assert word in said
    if line:
        assert f"line {line}" in said


def test_bytes_that_are_not_utf8_are_refused_with_their_place(tmp_path):
    assert "byte 8" in refusal(tmp_path, b'name = "\xff"\n')
