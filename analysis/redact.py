"""Keeps credentials out of everything the kit shows.

In: names, text and JSON-like values from evidence. Out: the same with secrets replaced by ``[redacted]``.
Knows nothing of Redis files, Celery or reports; every reader and every report passes its text through here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "[redacted]"
DEEPEST = 40
_LONGEST_NAME = 200

_PLAIN_NAME = re.compile(r"[\w.\- ]{1,100}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# A word of a name that means a secret whatever stands beside it.
_STRONG = frozenset(
    "password passwords passwd passcode passphrase pwd secret secrets credential credentials creds apikey apikeys "
    "authorization bearer jwt requirepass masterauth primaryauth masterpass".split()
)
# A word that means a secret unless the name measures or dates it: token_count, session_timeout.
_WEAK = frozenset("token auth session cookie cookies".split())
_MEASURES = frozenset(
    "total max min count counts number num limit limits usage used budget length len size rate price cost per ttl age "
    "expires expiry expiration expired timeout duration seconds ms at created updated changed type method mode enabled "
    "denied failed failures attempts error errors status state required valid policy start end".split()
)
_COUNTS = frozenset("count counts length len size".split())
# Two words that mean a secret together, and a plural that does beside its owner: access_tokens, but not max_tokens.
_KEYS = frozenset("api private access secret encryption signing auth account shared master ssh license".split())
_OWNERS = frozenset("access auth api refresh bearer session csrf id oauth device reset user".split())
_RUN_TOGETHER = (
    "password",
    "passwd",
    "token",
    "secret",
    "apikey",
    "privatekey",
    "accesskey",
    "authkey",
    "sessionid",
    "sessid",
)


@lru_cache(maxsize=4096)
def secret_name(name: str) -> bool:
    """Whether a value under this name is a secret: ``api_key``, ``X-Auth-Token``, ``dbPassword``,
    ``tls-key-file-pass``.

    Goes by the words of snake, kebab and camel case, so ``author``, ``total_tokens``, ``token_count``,
    ``routing_key`` and ``bypass`` are none.
    """
    words = [word.lower() for word in _WORD.findall(name[-_LONGEST_NAME:])]
    if not words:
        return False
    named = set(words)
    pairs = set(zip(words, words[1:], strict=False))
    if (
        named & _STRONG
        or words[-1] == "pass"
        or any(first in _KEYS and second in ("key", "keys") for first, second in pairs)
        or any(word.endswith(_RUN_TOGETHER) for word in named - _WEAK)
        or "".join(words).endswith("apikey")
    ):
        return words[-1] not in _COUNTS
    if any(first in _OWNERS and second == "tokens" for first, second in pairs) or named & _WEAK:
        return not named & _MEASURES
    return False


def redact_value(value: Any, *, depth: int = DEEPEST) -> Any:
    """JSON-like data without its secrets: members of secret name, pairs that begin with such a name, secrets in text.

    Flags, missing and empty values under a secret name stay: they tell that there is none. Bytes come back as text.
    What is nested deeper than ``depth`` is masked whole, so no nesting gets through, however deep or circular.
    """
    if isinstance(value, str | bytes | bytearray):
        return redact_text(_text(value))
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth <= 0:
        return MASK
    if isinstance(value, Mapping):
        return {
            redact_text(_text(name)) if isinstance(name, str | bytes) else name: (
                _masked(member) if secret_name(_text(name)) else redact_value(member, depth=depth - 1)
            )
            for name, member in value.items()
        }
    members: list[Any]
    if len(value) == 2 and _PLAIN_NAME.fullmatch(str(_text(value[0]))) and secret_name(_text(value[0])):
        members = [_text(value[0]), _masked(value[1])]
    else:
        members = [redact_value(member, depth=depth - 1) for member in value]
    return tuple(members) if isinstance(value, tuple) else members


def _masked(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) or value in ("", b"", [], {}, ()) else MASK


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "backslashreplace") if isinstance(value, bytes | bytearray) else str(value)


def shorten(text: str, limit: int = 200) -> str:
    """The first ``limit`` characters, and how many were left out; a text that is no longer than that stays as it is."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


# Possessive quantifiers keep every pattern linear: what was taken once is not tried again in a shorter form.
_URL = re.compile(
    r""":\\?/\\?/(?P<rest>(?:(?![a-z][a-z0-9+]{1,15}:\\?/)(?:[^\s"'`<>]|["'`](?![\s,}\]):;]|$)))++)""", re.IGNORECASE
)
_WEB = ("http", "https", "ws", "wss", "ftp", "file")
_HOST_AND_PORT = re.compile(r"(?:[^@/?#:\[\]]*+|\[[0-9a-fA-F:.%]++\])(?::\d{1,5})?(?:[\\/?#]|$)")
_PEM = re.compile(
    r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(?=-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)
_CLI = re.compile(r"(\bredis-cli\b[^\n]{0,200}?\s-a\s++)\S++")
_BEARER = re.compile(r"(\bbearer\s++)(?=[^\s,;\"']{16}|[^\s,;\"'\d]*+\d)[^\s,;\"']{8,}+", re.IGNORECASE)

# A part of every secret name; most log lines hold none, and nothing else is looked at.
_STEMS = ("pass", "pwd", "secret", "token", "auth", "key", "cred", "cookie", "sess", "bearer", "jwt")
_STEM = re.compile("|".join(_STEMS), re.IGNORECASE)
_REST_OF_NAME = re.compile(r"[\w.\-]*+")
_SEPARATOR = re.compile(
    r"""(?P<quote>\\*+["'])?+(?:\s*+(?P<mark>:=|=>|==?|:(?!\\?/\\?/)|,(?=\s*+\\*+["']))\s*+|\s++)""",
)
_OPEN = re.compile(r"""[bu]?(?P<open>\\*+["'])""", re.IGNORECASE)
_BARE = re.compile(r"""(?:[^\s,;&|"']|[,;&|"'](?![\w.\-]{1,64}\s?[=:]|\s|["'}\])]|$))++""")
_SCHEME = re.compile(r"(?P<scheme>bearer|basic|token|negotiate|apikey|digest|aws4-hmac-sha256)\s++", re.IGNORECASE)
_NEXT = re.compile(r"""\\*+["'],?\s*+(?=\\*+["'])""")
_BRACKET_OR_QUOTE = re.compile(r"""[\[\](){}"']""")
# Settings and commands whose value stands after a mere blank, and names that a colon follows in a sentence as well.
_SPACED = ("requirepass", "masterauth", "primaryauth", "auth")
_PROSE = ("auth", "session")
_TELLS_NOTHING = frozenset(("none", "null", "nil", "true", "false", "undefined"))

MAY_HOLD_SECRETS = r"(?i)" + "|".join((*_STEMS, "redis-cli", r":\\*/", r"\\u"))
"""A pattern (RE2's, too) that is in every JSON text from which something would be left out here."""


def redact_text(text: str) -> str:
    """Text without its secrets: passwords in URLs, ``name=value``, ``"name": "value"``, headers, options, private keys.

    Applied twice it changes nothing more. Time is linear in the length of the text, whatever that holds.
    """
    if "/" in text and (":/" in text or ":\\/" in text):
        text = _URL.sub(_without_password, text)
    if "redis-cli" in text:
        text = _CLI.sub(rf"\1{MASK}", text)
    low = text.lower()
    for stem in _STEMS:
        if stem in low:
            break
    else:
        return text
    if "PRIVATE KEY-----" in text:
        text = _PEM.sub(rf"\1{MASK}", text)
    return _without_named(_BEARER.sub(rf"\1{MASK}", text))


def _without_password(found: re.Match[str]) -> str:
    """``://user:[redacted]@…``. A password may hold anything, also ``@``, ``/`` and ``#``: it ends at the last
    ``@``.
    """
    rest = found["rest"]
    at, colon = rest.rfind("@"), rest.find(":")
    slashes = found[0][: -len(rest)]
    if at < 0:
        return f"{slashes}:{MASK}" if colon == 0 and len(rest) > 1 else found[0]
    # https://host:8080/?mail=a@b.c names no password; before an @ in a broker's URL what looks like a port is one.
    web = found.string[max(0, found.start() - 5) : found.start()].lower().endswith(_WEB)
    if not 0 <= colon < at or (web and _HOST_AND_PORT.match(rest)):
        return found[0]
    return f"{slashes}{rest[:colon]}:{MASK}{rest[at:]}"


def _without_named(text: str) -> str:
    parts: list[str] = []
    done = position = 0
    while stem := _STEM.search(text, position):
        begin, position = _name_at(text, stem, done)
        name = text[begin:position]
        separator = _SEPARATOR.match(text, position)
        if not separator or not secret_name(name) or not _introduces(name, separator, text):
            continue
        position = separator.end()
        # AUTH takes a password, or a user and a password.
        for _ in range(2 if name.upper().startswith("AUTH") and separator["mark"] in (None, ",") else 1):
            start, end = _value(text, position)
            if end > start and text[start:end].lower() not in _TELLS_NOTHING:
                parts += (text[done:start], MASK)
                done = end
            position = max(position, end)
            if not (another := _NEXT.match(text, position)):
                break
            position = another.end()
    return "".join([*parts, text[done:]]) if parts else text


def _name_at(text: str, stem: re.Match[str], floor: int) -> tuple[int, int]:
    """Where the name around a stem begins and ends; ``api key`` is one name."""
    begin = stem.start()
    floor = max(floor, begin - _LONGEST_NAME)
    while begin > floor and (text[begin - 1].isalnum() or text[begin - 1] in "_.-"):
        begin -= 1
    end = _REST_OF_NAME.match(text, stem.end()).end()  # type: ignore[union-attr]
    if text[begin:end].lower() == "key":
        owner = text[max(floor, begin - 12) : begin].rstrip().rpartition(" ")[2]
        if owner.lower() in _KEYS:
            begin = text.rindex(owner, 0, begin)
    return begin, end


def _introduces(name: str, separator: re.Match[str], text: str) -> bool:
    """Whether what follows the name of a secret is its value, and not the rest of a sentence."""
    mark, quoted, bare = separator["mark"], bool(separator["quote"]), name.strip("-").lower()
    if mark is None:
        if name == "AUTH" and not quoted:
            return not re.match(r"[a-z]+\s", text[separator.end() : separator.end() + 40])
        option = name.startswith("--") or bare.endswith("-pass") or (bare in _SPACED and bare != "auth")
        return option or (quoted and bool(_OPEN.match(text, separator.end())))
    if mark == ",":
        return quoted and (bare in _SPACED or bare.endswith("-pass"))
    return mark != ":" or quoted or bare.rpartition(".")[2] not in _PROSE


def _value(text: str, at: int) -> tuple[int, int]:
    """Where the value that begins at ``at`` stands, without its quotes."""
    if opened := _OPEN.match(text, at):
        return opened.end(), _closing(text, opened.end(), opened["open"])
    if at < len(text) and text[at] in "{[(":
        return at, _balanced(text, at)
    begin = at
    if scheme := _SCHEME.match(text, at):
        if scheme["scheme"].lower() in ("digest", "aws4-hmac-sha256"):
            return at, len(text)
        begin = scheme.end()
    bare = _BARE.match(text, begin)
    if not bare:
        return at, at
    return at, begin + len(bare[0].rstrip(",;)]}>\"'"))


def _closing(text: str, start: int, opening: str) -> int:
    """Where a quoted value ends. JSON within JSON escapes its quotes: one within the value has more backslashes."""
    escapes = len(opening) - 1
    at = text.find(opening[-1], start)
    while at >= 0:
        before = at
        while before > start and text[before - 1] == "\\":
            before -= 1
        if (at - before) % (2 * escapes + 2) == escapes or at - before < escapes:
            return at - min(escapes, at - before)
        at = text.find(opening[-1], at + 1)
    return len(text)


def _balanced(text: str, at: int) -> int:
    """Where a bracketed value ends."""
    depth, position = 0, at
    while found := _BRACKET_OR_QUOTE.search(text, position):
        position = found.end()
        if found[0] in "\"'":
            position = _closing(text, position, found[0]) + 1
        else:
            depth += 1 if found[0] in "[({" else -1
            if depth == 0:
                return position
    return len(text)
