"""Secrets stay out, figures and names stay in, and hostile text costs no more time than any other."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.redact import MASK, MAY_HOLD_SECRETS, redact_text, redact_value, secret_name, shorten

SECRET_NAMES = """
password passwd pwd db_password dbPassword PGPASSWORD user-password secret client_secret SECRET_KEY token access_token
authToken X-Auth-Token csrf_token access_tokens api_key apikey api-key apiKey APIKey x-api-key authorization
Authorization auth http_auth credential credentials private_key ssh-private-key access_key AWS_SECRET_ACCESS_KEY
session session_id JSESSIONID cookie Set-Cookie requirepass masterauth primaryauth tls-key-file-pass
redis_pass passphrase
""".split()
HARMLESS_NAMES = """
total_tokens max_tokens token_count tokens prompt_tokens completion_tokens total_token_count author authored authority
authenticated user key task_id routing_key primary_key cache_key bypass compass passport pass_rate session_count
session_timeout tls-key-file tokenizer secretary monkey acl_access_denied_auth token_expires_at keyspace_hits
""".split()


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_name_of_a_secret_is_known_in_every_spelling(name: str) -> None:
    assert secret_name(name)


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_name_that_only_resembles_a_secret_is_not_taken_for_one(name: str) -> None:
    assert not secret_name(name)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("redis://:pw@h:6379/0", f"redis://:{MASK}@h:6379/0"),
        ("rediss://user:p%40ss@h/0", f"rediss://user:{MASK}@h/0"),
        ("redis://:p@ss:w/rd#1?x@h:6379/0", f"redis://:{MASK}@h:6379/0"),
        ("redis://:12/34@h", f"redis://:{MASK}@h"),
        ("redis://u:12/34@h", f"redis://u:{MASK}@h"),
        ("amqp://guest:guest@h//", f"amqp://guest:{MASK}@h//"),
        ("sentinel://:a@h1:1;sentinel://:b@h2:2", f"sentinel://:{MASK}@h1:1;sentinel://:{MASK}@h2:2"),
        (r'"redis:\/\/:pw@h\/0"', rf'"redis:\/\/:{MASK}@h\/0"'),
        ("https://u:pw@h/x?mail=a", f"https://u:{MASK}@h/x?mail=a"),
        ("http://h:8080/p?mail=a@b.c", "http://h:8080/p?mail=a@b.c"),
        ("http://h/p@x redis://h:6379/1", "http://h/p@x redis://h:6379/1"),
        ("Connected to redis://:**@127.0.0.1:1/1", f"Connected to redis://:{MASK}@127.0.0.1:1/1"),
        ("'redis://:p\"w@h/0', 'a@b'", f"'redis://:{MASK}@h/0', 'a@b'"),
    ],
)
def test_password_in_a_url_is_masked_and_the_rest_stays(url: str, safe: str) -> None:
    assert redact_text(url) == safe


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("login password=s3cret, user=bob", f"login password={MASK}, user=bob"),
        ("GET /x?api_key=s3cret&y=1 HTTP/1.1", f"GET /x?api_key={MASK}&y=1 HTTP/1.1"),
        ('{"token": "s3\\"cret", "id": 7}', f'{{"token": "{MASK}", "id": 7}}'),
        ("{'api_key': 's3cret', 'total_tokens': 18482}", f"{{'api_key': '{MASK}', 'total_tokens': 18482}}"),
        (
            '{"a": "{\\"password\\": \\"s3cret\\", \\"b\\": 1}"}',
            f'{{"a": "{{\\"password\\": \\"{MASK}\\", \\"b\\": 1}}"}}',
        ),
        ("Authorization: Bearer s3cret status=200", f"Authorization: {MASK} status=200"),
        ("{'Authorization': 'Bearer s3cret'}", f"{{'Authorization': '{MASK}'}}"),
        ("redis-server --requirepass s3cret --port 1", f"redis-server --requirepass {MASK} --port 1"),
        ("requirepass s3cret", f"requirepass {MASK}"),
        ("redis-cli -h x -a s3cret -n 3", f"redis-cli -h x -a {MASK} -n 3"),
        ('[0 127.0.0.1:1] "AUTH" "bob" "s3cret"', f'[0 127.0.0.1:1] "AUTH" "{MASK}" "{MASK}"'),
        ('"CONFIG" "SET" "requirepass" "s3cret"', f'"CONFIG" "SET" "requirepass" "{MASK}"'),
        ("['AUTH', 's3cret']", f"['AUTH', '{MASK}']"),
        ("Settings(password='s3cret', port=1)", f"Settings(password='{MASK}', port=1)"),
        ("kwargs={b'password': b's3cret'}", f"kwargs={{b'password': b'{MASK}'}}"),
        ('"credentials": {"user": "s3cret", "x": ["s3}cret"]}, "z": 1', f'"credentials": {MASK}, "z": 1'),
        ("api key: s3cret", f"api key: {MASK}"),
        ("host:6380,password=s3cret=,ssl=True", f"host:6380,password={MASK},ssl=True"),
        ("got bearer eyJhbGciOi.J9xs3cret back", f"got bearer {MASK} back"),
        ("password='s3cret never closed", f"password='{MASK}"),
    ],
)
def test_secret_in_a_line_is_masked_and_the_rest_stays(text: str, safe: str) -> None:
    assert redact_text(text) == safe


@pytest.mark.parametrize(
    "text",
    [
        "Invalid username-password pair or user is disabled",
        "AUTH failed for user bob",
        "INFO app.auth: deleted 4 records",
        "password=None token=null secret=''",
        "app.session[0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0]: done",
        "{'total_tokens': 9240, 'author': 'me', 'converged': True}",
        "NOAUTH Authentication required.",
    ],
)
def test_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_private_key_is_masked_to_its_end() -> None:
    text = "x -----BEGIN RSA PRIVATE KEY-----\nMIIE\nAB\n-----END RSA PRIVATE KEY----- y"
    assert "MIIE" not in redact_text(text)
    assert redact_text(text).endswith("-----END RSA PRIVATE KEY----- y")


WORDS = st.sampled_from(
    [
        "password",
        "token",
        "=",
        ": ",
        '"',
        "'",
        "\\",
        "redis://",
        ":",
        "@",
        "/",
        ",",
        " ",
        "{",
        "}",
        "(",
        "[redacted]",
        "AUTH",
    ]
    + ["--", "Bearer ", "a1b2", "\n", "api key", "&", "-----BEGIN PRIVATE KEY-----", "redis-cli -a ", "ü"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=14).map("".join))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


HOSTILE = [
    *("a", "password", "password=", "password ", "password={", "token='", "token=(", "key ", "bearer ", ",a", " "),
    *("://", "://:", "://@:", "redis://:", ":/", "x:@", '"', "\\", 'auth "', '"auth" "', "redis-cli ", "redis-cli -a"),
    "-----BEGIN PRIVATE KEY-----",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_line_of_a_megabyte_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = "password=" + unit * (size // len(unit))
        began = time.process_time()
        redact_text(text)
        return time.process_time() - began

    seconds(10_000)
    # Quadratic time would be 16 times as long, and minutes for a megabyte.
    assert seconds(1_000_000) < max(0.5, 10 * seconds(250_000))


def test_value_is_redacted_by_names_at_every_depth() -> None:
    value = {
        "user": {"password": "s3cret", "total_tokens": 18482, "auth": True, "token": None, "secret": ""},
        "urls": ["redis://:s3cret@h/0", 7, 1.5],
        "headers": [("Authorization", "s3cret"), [b"api_key", b"s3cret"]],
        b"raw": b"password=s3cret",
        "session": {"id": "s3cret"},
        3: "x",
    }
    assert redact_value(value) == {
        "user": {"password": MASK, "total_tokens": 18482, "auth": True, "token": None, "secret": ""},
        "urls": [f"redis://:{MASK}@h/0", 7, 1.5],
        "headers": [("Authorization", MASK), ["api_key", MASK]],
        "raw": f"password={MASK}",
        "session": MASK,
        3: "x",
    }


def test_endless_nesting_is_cut() -> None:
    circle: list[Any] = ["password=s3cret"]
    circle.append(circle)
    assert "s3cret" not in repr(redact_value(circle))


def test_shortened_text_keeps_its_start_and_says_what_is_missing() -> None:
    assert shorten("x" * 200) == "x" * 200
    assert shorten("ab" * 600, 1000) == "ab" * 500 + "… (200 more characters)"


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize("form", ["{0}", "\\u0078_{0}", "{0}=x1", "--{0} x1"])
def test_what_may_hold_a_secret_is_told_from_the_json_text(name: str, form: str) -> None:
    raw = json.dumps({form.format(name): "x1"}).replace("\\\\u", "\\u")
    assert redact_value(json.loads(raw)) == json.loads(raw) or re.search(MAY_HOLD_SECRETS, raw)
    raw = json.dumps([f"{form.format(name)}: x1", "amqp://me:x1@host", "redis-cli -a x1"])
    for text in json.loads(raw):
        assert redact_text(text) == text or re.search(MAY_HOLD_SECRETS, json.dumps(text))
