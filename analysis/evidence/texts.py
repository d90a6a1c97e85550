"""Columns of text, of which many rows are chosen, cut or compared at once, without taking memory for it.

In: Arrow's texts. Out: the same, in mapped files where they are large. Does not know what the texts are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.columns import scratch
from analysis.evidence.texts_kernel import hash_texts, split_texts, take_texts
from analysis.frames import with_missing
from analysis.kernels import Kernels, kernels_for

Rows = NDArray[np.int64]


def take(texts: pa.Array, rows: Rows) -> pa.Array:
    """The texts at ``rows``, none of which is missing; at -1, a missing one."""
    kernels, octets, bounds = _parts(texts)
    gone = rows < 0
    if not kernels.compiled:
        return texts.take(pa.array(rows, mask=gone))
    chosen = kernels.given(rows)
    out, ends = _room(bounds, chosen)
    made = kernels(take_texts)(octets, bounds, chosen, out, ends)
    return with_missing(_text(out[:made], ends), gone)


def split(texts: pa.Array, rows: Rows, marker: str) -> tuple[Rows, pa.Array]:
    """Of the texts at ``rows``: how many bytes stand before the first ``marker`` (-1 = it is not there), and what
    stands behind it (nothing where it is not there).
    """
    kernels, octets, bounds = _parts(texts)
    if not kernels.compiled:
        return _split_by_arrow(texts.take(pa.array(rows)), marker)
    chosen = kernels.given(rows)
    out, ends = _room(bounds, chosen)
    begins = np.empty(len(rows), np.int64)
    made = kernels(split_texts)(octets, bounds, chosen, np.frombuffer(marker.encode(), np.uint8), out, ends, begins)
    return begins, _text(out[:made], ends)


def hashes(texts: pa.Array, seeds: Any, kernels: Kernels | None = None) -> NDArray[np.uint64]:
    """32 bits for each text with its seed; equal ones with equal seeds have the same, in every run. ``kernels``: of
    what the texts are a part of; else their own size tells.
    """
    kernels, octets, bounds = _parts(texts, kernels)
    out = kernels.numbers(len(texts))
    kernels(hash_texts)(octets, bounds, kernels.given(seeds), out)
    return np.frombuffer(out, np.int64).astype(np.uint64)


def decoded(raw: bytes) -> str:
    """Bytes as text, as everywhere in the kit: those that are not UTF-8 as ``\\xNN``."""
    return raw.decode("utf-8", "backslashreplace")


def decoded_texts(ends: Rows, octets: bytes) -> pa.Array:
    """The texts in ``octets``, each from where the one before ends, the first from 0: ``ends`` begins with 0."""
    found = pa.Array.from_buffers(pa.large_binary(), len(ends) - 1, [None, pa.py_buffer(ends), pa.py_buffer(octets)])
    try:
        return found.cast(pa.large_string())
    except pa.ArrowInvalid:
        return pa.array([decoded(one) for one in found.to_pylist()], pa.large_string())


def _parts(texts: pa.Array, kernels: Kernels | None = None) -> tuple[Kernels, Any, Any]:
    _, bounds, octets = texts.buffers()
    places = np.frombuffer(bounds, np.int64, len(texts) + 1, 8 * texts.offset)
    kernels = kernels or kernels_for(int(places[-1] - places[0]))
    source = kernels.source(memoryview(octets if octets is not None else b""))
    return kernels, source, places if kernels.compiled else places.tolist()


def _room(bounds: Rows, rows: Rows) -> tuple[NDArray[np.uint8], Rows]:
    size = int((bounds[rows[rows >= 0] + 1] - bounds[rows[rows >= 0]]).sum())
    return scratch(size, np.uint8), scratch(len(rows) + 1, np.int64)


def _text(octets: NDArray[np.uint8], ends: Rows) -> pa.Array:
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(octets)]
    return pa.Array.from_buffers(pa.large_string(), len(ends) - 1, buffers)


def _split_by_arrow(texts: pa.Array, marker: str) -> tuple[Rows, pa.Array]:
    begins = pc.find_substring(texts, marker).to_numpy(zero_copy_only=False).astype(np.int64)
    octets, size = texts.cast(pa.large_binary()), len(marker.encode())
    behind = pa.nulls(len(texts), pa.large_binary())
    # Few different places, mostly one: each is cut out of all that have it there at once.
    for begin in np.unique(begins[begins >= 0]).tolist():
        # Without an end, pyarrow 26 overflows on large_binary.
        some = pc.binary_slice(octets, begin + size, pc.max(pc.binary_length(octets)).as_py())
        behind = pc.if_else(pa.array(begins == begin), some, behind)
    return begins, pc.fill_null(behind, b"").cast(pa.large_string())
