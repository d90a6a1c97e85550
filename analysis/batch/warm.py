"""The warm process: it has imported everything and read the case, and forks a kernel for each report.

In: a socket's path and a case, on the command line; requests, a JSON object a line. Out: kernels, which are ipykernel's
own, share what was read, and nothing else with each other. It must be alone when it forks: a thread that another
process inherits holds its locks for ever. So what it imports is kept from starting any (``ALONE``), and it counts its
threads before each fork and refuses where there is one more.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from analysis.errors import Unusable

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


class Refused(Exception):
    """The warm process cannot do what it was asked for; ``str()`` is one line."""


def possible() -> bool:
    """Whether kernels can be forked and waited for here: on Linux."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


def usual_engine() -> str:
    """Kernels are forked where they can be."""
    return FORKED if possible() else PLAIN


@contextmanager
def warm_process(folder: Path, case: str = "", tasks_file: Path | None = None) -> Iterator[dict[str, Any]]:
    """A warm process for as long as the block, with its socket in ``folder`` (private, of a short path) and its address
    in the environment. Gives what it told of the case.

    Raises Unusable where the case cannot be read.
    """
    address = os.fspath(folder / "warm")
    command = [sys.executable, "-m", "analysis.batch.warm", address, case, os.fspath(tasks_file or "")]
    package = os.fspath(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | ALONE | {"PYTHONPATH": paths}
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        before = os.environ.get(ADDRESS)
        try:
            said = json.loads(process.stdout.readline() or b'{"error": "the process that reads the case died"}')
            if "error" in said:
                raise Unusable(said["error"], file=said.get("file", ""))
            os.environ[ADDRESS] = address
            yield said
        finally:
            os.environ.pop(ADDRESS, None) if before is None else os.environ.__setitem__(ADDRESS, before)
            process.stdin.close()  # it ends, and its kernels with it
            process.stdout.close()
            process.wait()


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


def _line(connection: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\n") and len(found) < _LONGEST:
        part = connection.recv(2**16)
        if not part:
            break
        found += part
    return found


def main(address: str, case: str, tasks_file: str) -> NoReturn:
    """Read, say so in one line, and serve until standard input is closed."""
    # Ctrl-C is for who started it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = _read(case, Path(tasks_file) if tasks_file else None)
    if "error" in told:
        print(json.dumps(told), flush=True)
        sys.exit(2)
    _import_the_rest()
    gc.collect()
    # What is there now is never garbage: a collection in a kernel would copy all pages that it is on.
    gc.freeze()
    kernels: set[int] = set()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(address)
        listening.listen(64)
        print(json.dumps(told), flush=True)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [], 0.2)
            kernels -= _ended(kernels)
            if listening in ready:
                connection, _ = listening.accept()
                with connection:
                    answer = _answer(_line(connection), listening, connection)
                    kernels |= {answer["pid"]} if "pid" in answer else set()
                    try:
                        connection.sendall(json.dumps(answer).encode() + b"\n")
                    except OSError:
                        pass  # who asked is gone
            if sys.stdin in ready and not os.read(sys.stdin.fileno(), 1):
                break
    for pid in kernels:
        _kill(pid)
    os._exit(0)


def _read(case: str, tasks_file: Path | None) -> dict[str, Any]:
    """Read the case and what all its reports share; tell what is in it."""
    if not case:
        return {}
    from analysis.case import open_case, share
    from analysis.investigation import look_into
    from analysis.report.bundle import keep_tasks

    try:
        opened = open_case(case)
        if not len(opened.evidence):
            why = "; ".join(str(item) for item in opened.ignored[:3]) or "the folder is empty"
            raise Unusable(f"no readable evidence ({why})", file=case)
        share(opened)
        # One look finds what every look needs of the case as a whole.
        looked = look_into(opened, "no task has such an ID")
        assert looked.bulk and looked.retention is not None
        if tasks_file is not None:
            keep_tasks(opened, tasks_file)
    except Unusable as error:
        return {"error": error.reason, "file": error.file}
    except OSError as error:
        return {"error": f"cannot be written: {error.strerror}", "file": os.fspath(tasks_file or case)}
    rows = sorted(zip(opened.evidence["path"], opened.evidence["sha256"].astype(str), strict=True))
    stated = opened.path / "case.toml" if opened.path.is_dir() else None
    words = [f"{sha256}  {path}" for path, sha256 in rows]
    words += [stated.read_text(encoding="utf-8", errors="replace")] if stated and stated.is_file() else []
    return {
        "path": os.fspath(opened.path),
        "name": opened.name,
        "shortcomings": list(opened.shortcomings),
        "sha256": hashlib.sha256("\n".join(words).encode("utf-8", "backslashreplace")).hexdigest(),
    }


def _import_the_rest() -> None:
    """What a kernel and a report import. Not matplotlib_inline's backend: loaded before the kernel's shell, it turns
    every figure into text.
    """
    for name in (
        "ipykernel.ipkernel", "ipykernel.kernelapp", "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg", "scipy.stats", "analysis.report.charts", "analysis.report.page",
        "analysis.report.result",
    ):  # fmt: skip
        __import__(name)


def _answer(line: bytes, *own: socket.socket) -> dict[str, Any]:
    try:
        request = json.loads(line)
        if "list" in request:
            return _list(request)
        command, cwd, environment = request["command"], request["cwd"], request["environment"]
        place = command.index(_LAUNCHER)
    except (ValueError, KeyError, TypeError):
        return {"refused": "only a kernel of ipykernel can be forked"}
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        return {"refused": f"the warm process has {threads} threads and may not be forked"}
    pid = os.fork()
    if pid == 0:
        for connection in own:
            connection.close()
        _be_kernel(command[place + 1 :], cwd, environment)
    try:
        # In both, for whichever comes first: a signal to the kernel's group must never meet this process's.
        os.setpgid(pid, pid)
    except OSError:
        pass
    return {"pid": pid}


def _list(request: Mapping[str, str]) -> dict[str, Any]:
    """Write what is known of the tasks that are asked for to the file ``to``, a JSON object a line
    (``listing.of_tasks``).
    """
    from analysis.batch.listing import of_tasks
    from analysis.case import open_case
    from analysis.report.bundle import to_json

    try:
        case = open_case(request["case"])
        given = Path(request["ids"]).read_text(encoding="utf-8").splitlines() if request["list"] == "given" else None
        found = of_tasks(case, request["list"], [json.loads(line) for line in given or []])
        with open(request["to"], "w", encoding="utf-8") as file:
            file.writelines(to_json(row) + "\n" for row in found)
    except Unusable as error:
        return {"refused": str(error)}
    except OSError as error:
        return {"refused": f"{request.get('to')}: cannot be written: {error.strerror}"}
    return {"tasks": len(found)}


def _be_kernel(arguments: list[str], cwd: str, environment: dict[str, str]) -> NoReturn:
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
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


def _ended(kernels: set[int]) -> set[int]:
    return {pid for pid in kernels if os.waitpid(pid, os.WNOHANG)[0]}


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
