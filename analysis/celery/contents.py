"""What a stored value holds, as it is to be kept: a digest of all of it, and its content as JSON, as far as it is that.

In: a value of a string or a hash. Out: ``Content``. What would have to be unpickled is not opened. Does not know where
values come from, nor where they go.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.celery.decode import MAX_VALUE, load_json
from analysis.celery.serializers import COMPRESSED, unpack
from analysis.evidence.texts import decoded
from analysis.redact import MAY_HOLD_SECRETS, redact_value


class Content(NamedTuple):
    """A value's digest, its content as JSON, as far as both can be had, and its ``size`` in bytes; ``opaque``: what is
    no text in it was left out.
    """

    digest: str | None
    body: str | None
    size: int
    opaque: bool = False


def content_of(value: Any, *, whole: bool) -> Content:
    """The content of a value: bytes of a string, or (field, value) of a hash; of anything else nothing.

    ``digest`` is the SHA-256 of the bytes; of a hash that of its fields and values in order, each behind its length (8
    bytes, little-endian). ``body`` is missing where the value is no JSON, or larger than 64 MiB; it still holds its
    secrets (``without_secrets``). Fields that are no text are left out unless it is to be ``whole``.
    """
    if isinstance(value, bytes):
        return Content(hashlib.sha256(value).hexdigest(), _json_of(value), len(value))
    if not all(isinstance(item, tuple) and isinstance(item[1], bytes) for item in value):
        return Content(None, None, 0)
    # A hash has no order of its own: the server may write it in another one the next time.
    digest, size = hashlib.sha256(), 0
    for octets in (part for pair in sorted(value) for part in pair):
        digest.update(len(octets).to_bytes(8, "little") + octets)
        size += len(octets)
    if size > MAX_VALUE:
        return Content(digest.hexdigest(), None, size)
    fields = {decoded(name): _shown(octets, whole) for name, octets in value}
    opaque = not whole and any(_text(octets) is None for _, octets in value)
    return Content(digest.hexdigest(), json.dumps(fields, ensure_ascii=False), size, opaque)


def _shown(octets: bytes, whole: bool) -> str:
    """A field's value. What is no text may be compressed, or pickled, and hold what nothing here can look for."""
    if whole:
        return decoded(octets)
    found = _text(octets)
    return f"[{len(octets):,} bytes, not text]" if found is None else found


def _text(octets: bytes) -> str | None:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _json_of(value: bytes) -> str | None:
    """The content of a value as JSON; None where it is none, or is too large to be looked at."""
    if value.startswith(COMPRESSED):
        data, text = unpack(value).data, None
    elif len(value) > MAX_VALUE:
        return None
    else:
        (data, _), text = load_json(value), _text(value)
    try:
        return None if data is None else text or json.dumps(data, ensure_ascii=False)
    except (RecursionError, ValueError):
        return None


def without_secrets(bodies: list[str | None]) -> tuple[list[str | None], list[bool]]:
    """Bodies without their secrets, and which of them had any."""
    shown, left_out = list(bodies), [False] * len(bodies)
    suspect = pc.match_substring_regex(pa.array(bodies, pa.large_string()), MAY_HOLD_SECRETS)
    for row in np.flatnonzero(pc.fill_null(suspect, False).to_numpy(zero_copy_only=False)).tolist():
        data, _ = load_json(str(bodies[row]).encode("utf-8", "surrogatepass"))
        redacted = redact_value(data)
        if redacted != data:
            shown[row], left_out[row] = json.dumps(redacted, ensure_ascii=False), True
    return shown, left_out
