"""The two builds of the kernels: plain Python for small files, numba's machine code for large ones.

In: how many bytes there are to read, and a folder for compiled code. Out: ``Kernels``, the same functions in either
build. Compiling takes some ten seconds, once: a process of its own does it and leaves the code in the folder, so that
it can be stopped at once and its memory is not ours. Without numba, or where that fails, all runs as plain Python,
slower.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from analysis.cache import open_cache
from analysis.errors import Unusable
from analysis.progress import Progress

# Every function in these modules is a kernel and calls only kernels; each module imports only from those before it.
# They are named, not imported: they stand on several floors, and the build knows nothing of what they do.
MODULES = (
    "analysis.evidence.packed",
    "analysis.evidence.crc64_kernel",
    "analysis.evidence.rdb_layout",
    "analysis.evidence.rdb_kernel",
    "analysis.evidence.rdb_text",
    "analysis.evidence.rdb_compare",
    "analysis.evidence.texts_kernel",
    "analysis.evidence.resp_kernel",
    "analysis.celery.slicer",
)
# What is called from Python, with the kinds of its arguments; all else is compiled into these.
ENTRIES = {
    "rdb_kernel.walk": "source number numbers numbers room",
    "rdb_text.gather_names": "source numbers number room numbers",
    "crc64_kernel.crc64_on": "source number number word words",
    "crc64_kernel.crc64_of_two": "source number number word words",
    "texts_kernel.take_texts": "source bounds numbers room numbers",
    "texts_kernel.split_texts": "source bounds numbers source room numbers numbers",
    "texts_kernel.hash_texts": "source bounds numbers numbers",
    "resp_kernel.walk_commands": "source number numbers numbers numbers numbers",
    "resp_kernel.gather": "source numbers number room numbers",
    "rdb_compare.same_values": "source number source number numbers numbers numbers numbers numbers",
    "slicer.slice_results": "source number numbers numbers number number room numbers room numbers room",
}
COMPILED_FROM = 16 * 2**20
"""Bytes of a snapshot from which on machine code is used. Measured (``tests/benchmarks/rdb.py --change``), its start
included: with the results decoded it is the faster one from some 6 MB on, without them from some 50 MB on. In between
stands what a person waits for anyway, less the first compile.
"""

SWITCH = "ANALYSIS_KERNELS"
_COMPLETE = "complete"
_MOST_FOLDERS = 4

Kernel = Callable[..., Any]


class Kernels:
    """One build: ``kernels(function)`` is that function in it. ``compiled`` tells which build it is."""

    def __init__(self, built: dict[Kernel, Kernel] | None = None) -> None:
        self.compiled, self._built = built is not None, built or {}

    def __call__(self, kernel: Kernel) -> Kernel:
        return self._built.get(kernel, kernel)

    def source(self, buffer: Any) -> Any:
        """A buffer, as this build's kernels read it."""
        return np.frombuffer(buffer, np.uint8) if self.compiled else buffer

    def numbers(self, count: int) -> Any:
        """Room for 64-bit numbers, all 0, which numpy can look at too."""
        return np.zeros(count, np.int64) if self.compiled else array("q", bytes(8 * count))

    def given(self, column: Any) -> Any:
        """A column of whole numbers as this build's kernels read it."""
        numbers = np.asarray(column, np.int64)
        return np.require(numbers, requirements=("C", "W")) if self.compiled else numbers.tolist()

    def room(self, size: int) -> Any:
        """Room for bytes, whatever they are."""
        return np.empty(size, np.uint8) if self.compiled else memoryview(bytearray(size))


PLAIN = Kernels()


def kernels_for(size: int, place: Path | None = None, progress: Progress | None = None) -> Kernels:
    """The build with which ``size`` bytes are read soonest; its code is kept in ``place``, or in the user's cache.

    ``ANALYSIS_KERNELS`` in the environment, "plain" or "compiled", decides in place of the size.
    """
    wanted = os.environ.get(SWITCH) or ("compiled" if size >= COMPILED_FROM else "plain")
    return compiled(place, progress or Progress()) or PLAIN if wanted == "compiled" else PLAIN


def compiled(place: Path | None, progress: Progress) -> Kernels | None:
    """The compiled build, made or found wanting once a process; None where numba is missing or cannot compile here."""
    if not _made:
        _made.append(_make(place, progress) if importlib.util.find_spec("numba") else None)
    return _made[0]


_made: list[Kernels | None] = []


def _make(place: Path | None, progress: Progress) -> Kernels | None:
    for folder in _folders(place):
        try:
            if not (folder / _COMPLETE).exists():
                _compile_apart(folder, progress)
            return Kernels(_build(folder))
        except OSError as error:
            progress.say(f"compiled code cannot be kept in {folder.parent}: {error.strerror}")
        except RuntimeError as error:
            progress.say(f"the readers cannot be compiled here, so that large files are read slowly: {error}")
            break
    return None


def _folders(place: Path | None) -> Iterator[Path]:
    """Where compiled code may be, named by everything that it depends on; where none can be kept, for once."""
    try:
        yield (place or open_cache().folder) / f"kernels-{_fingerprint()}"
    except Unusable:
        pass
    yield Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="analysis-kernels-")


def _fingerprint() -> str:
    from llvmlite.binding import get_host_cpu_name

    # numba looks at the time of a function's own file only, not at those of what it calls; and it would compile anew,
    # but here, for another processor.
    parts = [sys.version, importlib.metadata.version("numba"), np.__version__, get_host_cpu_name()]
    for module in (sys.modules[__name__], *_modules()):
        path = Path(str(module.__file__))
        parts += [str(path.stat().st_mtime_ns), path.read_text(encoding="utf-8")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _modules() -> list[ModuleType]:
    return [import_module(name) for name in MODULES]


def _compile_apart(folder: Path, progress: Progress) -> None:
    """Compile into ``folder`` in another process. RuntimeError with what that said where it fails."""
    progress.say("compiling the readers for large files; this takes about 20 s, once")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_old(folder)
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import leave_compiled; leave_compiled({os.fspath(folder)!r})"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1][:200])


def _forget_old(folder: Path) -> None:
    """Of compiled code of other versions, keep the few that were made last."""
    others = sorted(folder.parent.glob("kernels-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in [other for other in others if other != folder][_MOST_FOLDERS - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def leave_compiled(folder: str) -> None:
    """Compile every entry and leave the code in ``folder``, for ``compiled`` to find."""
    import numba

    octets, longs, words = numba.types.uint8, numba.types.int64, numba.types.uint64
    kinds = {
        "source": numba.types.Array(octets, 1, "C", readonly=True),
        "room": numba.types.Array(octets, 1, "C"),
        "numbers": numba.types.Array(longs, 1, "C"),
        "bounds": numba.types.Array(longs, 1, "C", readonly=True),
        "words": numba.types.Array(words, 1, "C"),
        "number": longs,
        "word": words,
    }
    built = {
        f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}": made
        for kernel, made in _build(Path(folder)).items()
    }
    for name, arguments in ENTRIES.items():
        built[name].compile(tuple(kinds[kind] for kind in arguments.split()))
    Path(folder, _COMPLETE).touch()


def _build(folder: Path) -> dict[Kernel, Any]:
    """Each kernel as numba will call it: what was compiled before is taken from ``folder``.

    Kernels take no memory, so numba need not count who holds an array (``_nrt``): that would cost more than the calls.
    """
    import numba

    settings: Any = numba.config
    njit: Any = numba.njit
    before, settings.CACHE_DIR = settings.CACHE_DIR, os.fspath(folder)
    built: dict[Kernel, Any] = {}
    try:
        packed, *_ = modules = _modules()
        names: dict[str, Any] = {"uint64": numba.uint64, **_words(numba)}
        own: Any
        for own in (_place, _copy, _word_at, _same, _first_byte, _copy_over, _lzf_expand):
            name = own.__name__.removeprefix("_")
            how = {"cache": True} if own is _lzf_expand else {"inline": "always"}
            names[name] = njit(nogil=True, _nrt=False, **how)(_with_names(own, names))
            if name in vars(packed):
                built[vars(packed)[name]] = names[name]
        for module in modules:
            own_kernels = [value for value in vars(module).values() if _is_kernel(value, module)]
            names = {
                name: built.get(value, value) if callable(value) else value for name, value in vars(module).items()
            }
            for kernel in own_kernels:
                if kernel not in built:
                    built[kernel] = njit(nogil=True, boundscheck=True, _nrt=False, cache=True)(
                        _with_names(kernel, names)
                    )
                names[kernel.__name__] = built[kernel]
    finally:
        settings.CACHE_DIR = before
    return built


def _is_kernel(value: Any, module: ModuleType) -> bool:
    return isinstance(value, FunctionType) and value.__module__ == module.__name__


def _with_names(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    """A function that finds what it calls among ``names``."""
    moved = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    moved.__module__, moved.__qualname__ = function.__module__, function.__qualname__
    return moved


def _words(numba: Any) -> dict[str, Any]:
    """Functions for compiled code: eight bytes of an array at once, wherever they begin; the lowest bit of a word."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.cgutils import pointer_add
    from numba.np.arrayobj import make_array

    word = ir.IntType(64)

    def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
        return pointer_add(builder, make_array(kind)(context, builder, array).data, index, word.as_pointer())

    def load_word(typing: Any, array: Any, index: Any) -> Any:
        def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            return builder.load(pointer(context, builder, signature.args[0], given[0], given[1]), align=1)

        return types.uint64(array, types.int64), made

    def store_word(typing: Any, array: Any, index: Any, value: Any) -> Any:
        def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            builder.store(given[2], pointer(context, builder, signature.args[0], given[0], given[1]), align=1)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.uint64), made

    def zeros_below(typing: Any, value: Any) -> Any:
        def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            return builder.cttz(given[0], ir.Constant(ir.IntType(1), 0))

        return types.int64(types.uint64), made

    made = (load_word, store_word, zeros_below)
    return {function.__name__: numba.extending.intrinsic(function) for function in made}


# What stands in place of the first functions of ``packed`` in the compiled build, where ``uint64`` is numba's. Each
# looks at its bounds once.
def _place(number):  # type: ignore[no-untyped-def]
    return uint64(number)  # type: ignore[name-defined]  # noqa: F821


def _copy(target, to, source, at, size):  # type: ignore[no-untyped-def]
    if size < 0 or to < 0 or at < 0 or size > len(target) - to or size > len(source) - at:
        raise IndexError
    for step in range(size):
        target[place(to + step)] = source[place(at + step)]  # type: ignore[name-defined]  # noqa: F821


def _word_at(source, at):  # type: ignore[no-untyped-def]
    if at < 0 or len(source) - at < 8:
        raise IndexError
    return load_word(source, at)  # type: ignore[name-defined]  # noqa: F821


def _same(one, at, two, to, size):  # type: ignore[no-untyped-def]
    if size < 0 or at < 0 or to < 0 or size > len(one) - at or size > len(two) - to:
        raise IndexError
    step = 0
    while size - step >= 8:
        if load_word(one, at + step) != load_word(two, to + step):  # type: ignore[name-defined]  # noqa: F821
            return False
        step += 8
    while step < size:
        if one[place(at + step)] != two[place(to + step)]:  # type: ignore[name-defined]  # noqa: F821
            return False
        step += 1
    return True


def _first_byte(word):  # type: ignore[no-untyped-def]
    return zeros_below(word) >> 3  # type: ignore[name-defined]  # noqa: F821


def _copy_over(target, to, source, at, size):  # type: ignore[no-untyped-def]
    if size > len(target) - to - 8 or size > len(source) - at - 8:
        copy(target, to, source, at, size)  # type: ignore[name-defined]  # noqa: F821
        return
    if size < 0 or to < 0 or at < 0:
        raise IndexError
    for step in range(0, size, 8):
        store_word(target, to + step, load_word(source, at + step))  # type: ignore[name-defined]  # noqa: F821


def _lzf_expand(source, at, end, target, limit):  # type: ignore[no-untyped-def]
    if at < 0 or end > len(source) or limit > len(target):
        raise IndexError
    made = 0
    while at < end and made < limit:
        control = 0 + source[place(at)]  # type: ignore[name-defined]  # noqa: F821
        at += 1
        if control < 32:
            run = control + 1
            if run > end - at:
                return -1, at
            size = run if run <= limit - made else limit - made
            if size <= len(target) - made - 8 and size <= len(source) - at - 8:
                for step in range(0, size, 8):
                    store_word(target, made + step, load_word(source, at + step))  # type: ignore[name-defined]  # noqa: F821
            else:
                for step in range(size):
                    target[place(made + step)] = source[place(at + step)]  # type: ignore[name-defined]  # noqa: F821
            at += run
            made += run
            continue
        run = control >> 5
        if run == 7:
            if at >= end:
                return -1, at
            run += source[place(at)]  # type: ignore[name-defined]  # noqa: F821
            at += 1
        run += 2
        if at >= end:
            return -1, at
        back = (control & 31) * 256 + source[place(at)] + 1  # type: ignore[name-defined]  # noqa: F821
        at += 1
        if back > made:
            return -1, at
        size = run if run <= limit - made else limit - made
        if back >= 8 and size <= len(target) - made - 8:
            for step in range(0, size, 8):
                store_word(target, made + step, load_word(target, made + step - back))  # type: ignore[name-defined]  # noqa: F821
        else:
            for step in range(size):
                target[place(made + step)] = target[place(made + step - back)]  # type: ignore[name-defined]  # noqa: F821
        made += run
    return made, at
