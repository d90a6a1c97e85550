"""The warm process: a copy of this one, with what it has imported and read, that forks a kernel for each report.

In: requests over a socket, a JSON object a line. Out: kernels, which are ipykernel's own, share what was read, and
nothing else with each other. Who forks must be alone: a thread that another process inherits holds its locks for ever.
So what is imported is kept from starting any (``ALONE``, in the environment before pyarrow and numpy are imported), and
threads are counted before each fork, which is refused where there is one more.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ALONE = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Arrow's copy of jemalloc clears up in a thread, which starts when pyarrow is imported.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
ADDRESS = "ANALYSIS_WARM"
"""Name in the environment of the socket's path."""

FORKED, PLAIN = "forked", "plain"
"""How kernels are started: from the warm process, or each anew."""

_LONGEST = 2**20
_LAUNCHER = "ipykernel_launcher"
_PR_SET_PDEATHSIG = 1


class Refused(Exception):
    """No kernel can be forked; ``str()`` is one line."""


def possible() -> bool:
    """Whether kernels can be forked and waited for here: on Linux."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


def usual_engine() -> str:
    """Kernels are forked where they can be."""
    return FORKED if possible() else PLAIN


@contextmanager
def warm_process(folder: Path) -> Iterator[None]:
    """A warm process for as long as the block, with its socket in ``folder`` (private, of a short path) and its address
    in the environment. It ends with this one, however that ends.

    Raises Refused where this process is not alone, or kernels cannot be forked here.
    """
    if not possible():
        raise Refused("kernels can be forked on Linux only")
    _must_be_alone()
    address = os.fspath(folder / "warm")
    sys.stdout.flush()
    sys.stderr.flush()
    (stay, end), (is_ready, say_ready) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        os.close(is_ready)
        _serve(address, stay, say_ready)
    os.close(stay)
    os.close(say_ready)
    before = os.environ.get(ADDRESS)
    try:
        if not os.read(is_ready, 1):
            raise Refused("the process from which kernels are forked died")
        os.environ[ADDRESS] = address
        yield
    finally:
        os.environ.pop(ADDRESS, None) if before is None else os.environ.__setitem__(ADDRESS, before)
        os.write(end, b".")  # its kernels end with it
        os.waitpid(pid, 0)
        for descriptor in (end, is_ready):
            os.close(descriptor)


def ask(address: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The warm process's answer. Raises Refused."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(address)
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(_line(connection))
    except (OSError, ValueError) as error:
        raise Refused(f"the warm process does not answer: {error}") from None
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer


def end_with_parent() -> None:
    """Have this process end when the one that forked it does, also where that is killed (prctl(2); Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _must_be_alone() -> None:
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise Refused(f"this process has {threads} threads and may not be forked")


def _line(connection: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\n") and len(found) < _LONGEST:
        part = connection.recv(2**16)
        if not part:
            break
        found += part
    return found


def _serve(address: str, stay: int, say_ready: int) -> NoReturn:
    """Fork kernels until ``stay`` can be read: then whoever wanted them is done."""
    kernels: set[int] = set()
    try:
        end_with_parent()
        # Ctrl-C is for who forked this.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _import_the_rest()
        gc.collect()
        # What is there now is never garbage: a collection in a kernel would copy all pages that it is on.
        gc.freeze()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(address)
            listening.listen(64)
            os.write(say_ready, b".")
            os.close(say_ready)
            while True:
                ready, _, _ = select.select([listening.fileno(), stay], [], [], 0.2)
                kernels -= {pid for pid in kernels if os.waitpid(pid, os.WNOHANG)[0]}
                if stay in ready:
                    break
                if listening.fileno() in ready:
                    connection, _ = listening.accept()
                    with connection:
                        answer = _answer(_line(connection), (listening.fileno(), connection.fileno(), stay))
                        kernels |= {answer["pid"]} if "pid" in answer else set()
                        try:
                            connection.sendall(json.dumps(answer).encode() + b"\n")
                        except OSError:
                            pass  # who asked is gone
    finally:
        for pid in kernels:
            _kill(pid)
        os._exit(0)


def _import_the_rest() -> None:
    """What a kernel and a report import. Not matplotlib_inline's backend: loaded before the kernel's shell, it turns
    every figure into text.
    """
    for name in (
        "ipykernel.ipkernel", "ipykernel.kernelapp", "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg", "scipy.stats", "analysis.report.charts", "analysis.report.page",
        "analysis.report.result", "analysis.report.ttl_page", "analysis.report.survival_page",
        "analysis.report.survival_charts", "analysis.report.overview_page", "analysis.report.overview_charts",
    ):  # fmt: skip
        __import__(name)


def _answer(line: bytes, own: tuple[int, ...]) -> dict[str, Any]:
    try:
        request = json.loads(line)
        command, cwd, environment = request["command"], request["cwd"], request["environment"]
        place = command.index(_LAUNCHER)
        _must_be_alone()
    except (ValueError, KeyError, TypeError):
        return {"refused": "only a kernel of ipykernel can be forked"}
    except Refused as refused:
        return {"refused": str(refused)}
    pid = os.fork()
    if pid == 0:
        for descriptor in own:
            os.close(descriptor)
        _be_kernel(command[place + 1 :], cwd, environment)
    try:
        # In both, for whichever comes first: a signal to the kernel's group must never meet this process's.
        os.setpgid(pid, pid)
    except OSError:
        pass
    return {"pid": pid}


def _be_kernel(arguments: list[str], cwd: str, environment: dict[str, str]) -> NoReturn:
    try:
        end_with_parent()
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        _reseed()
        sys.argv = [_LAUNCHER, *arguments]
        from ipykernel.kernelapp import IPKernelApp

        app = IPKernelApp.instance()
        app.initialize([*arguments, "--HistoryManager.enabled=False"])
        app.start()
    finally:
        os._exit(0)


def _reseed() -> None:
    import numpy as np

    random.seed()
    np.random.seed()


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
