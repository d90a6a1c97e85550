"""A pool of processes that make reports, one at a time each; what befalls one of them befalls its own report only.

In: tasks, and how reports are to be made. Out: for each task, as it is done, a reason why it failed or none. The pool
starts no thread: its processes are forked from a process that has one alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from analysis.batch.kernels import MEMORY, UNTIL
from analysis.batch.warm import Refused, end_with_parent
from analysis.errors import Unusable
from analysis.report.bundle import folder_name
from analysis.report.run import Failed, run_notebook

NOTEBOOK = "deletion_investigation"
_GRACE = 30.0
_AT_ONCE = 5.0


@dataclass(frozen=True)
class Making:
    """How reports are made: of which ``case``, into which folder ``out``, by which ``engine`` (forked or plain);
    ``timeout`` in seconds and ``memory`` in bytes are each report's, None = as it takes.
    """

    case: str
    out: Path
    engine: str
    cache: Path | None = None
    timeout: float | None = None
    memory: int | None = None


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    task: str | None = None
    since: float = 0.0


def make_reports(tasks: Iterable[str], making: Making, jobs: int) -> Generator[tuple[str, str | None], None, None]:
    """Make a report of each task, up to ``jobs`` at once; gives each with None, or with one line that says why there is
    none. Closed early, it ends the processes and removes what is half written.
    """
    context: Any = get_context("fork" if sys.platform == "linux" else "spawn")
    left, workers = iter(tasks), list[_Worker]()

    def start() -> _Worker:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, making), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def give(worker: _Worker) -> bool:
        worker.task = next(left, None)
        worker.since = time.monotonic()
        if worker.task is not None:
            worker.connection.send(worker.task)
        return worker.task is not None

    try:
        for _ in range(jobs):
            worker = start()
            workers.append(worker)
            if not give(worker):
                break
        while any(worker.task is not None for worker in workers):
            busy = [worker for worker in workers if worker.task is not None]
            ready = wait([worker.connection for worker in busy], timeout=1.0)
            for worker in busy:
                assert worker.task is not None
                task = worker.task
                if worker.connection in ready:
                    try:
                        yield task, worker.connection.recv()
                    except (EOFError, OSError):
                        yield task, _ended(worker, making)
                        workers[workers.index(worker)] = worker = start()
                elif making.timeout and time.monotonic() - worker.since > making.timeout + _GRACE:
                    worker.process.kill()
                    yield task, _ended(worker, making)
                    workers[workers.index(worker)] = worker = start()
                else:
                    continue
                give(worker)
    finally:
        for worker in workers:
            # Its end of the pipe may be held by the others, which were forked from here.
            if worker.task is not None:
                worker.process.terminate()
                continue
            try:
                worker.connection.send(None)
            except OSError:
                pass  # it has ended already
        for worker in workers:
            worker.connection.close()
            worker.process.join(_AT_ONCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            if worker.task is not None:
                clear_up(making.out / folder_name(worker.task))


def _ended(worker: _Worker, making: Making) -> str:
    assert worker.task is not None
    worker.process.join()
    worker.connection.close()
    clear_up(making.out / folder_name(worker.task))
    code = worker.process.exitcode or 0
    return f"the process that made it was ended by {signal.Signals(-code).name if code < 0 else f'status {code}'}"


def clear_up(folder: Path) -> None:
    """Remove what a report that was ended in its midst left half written."""
    for path in folder.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _serve(connection: Connection, making: Making) -> None:
    """What a process of the pool does: a task comes, an answer goes, until there are no more."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        if task is None:
            return
        reason = _make(task, making)
        try:
            connection.send(reason)
        except OSError:
            return


def _make(task: str, making: Making) -> str | None:
    os.environ.pop(UNTIL, None)
    if making.timeout:
        os.environ[UNTIL] = str(time.monotonic() + making.timeout)
    if making.memory:
        os.environ[MEMORY] = str(making.memory)
    parameters = {"task_id": task, "case": making.case, "out": os.fspath(making.out)}
    folder = making.out / folder_name(task)
    try:
        try:
            run_notebook(NOTEBOOK, parameters, folder, cache=making.cache, engine=making.engine)
        except Refused:
            run_notebook(NOTEBOOK, parameters, folder, cache=making.cache, engine="plain")
    except (Failed, Unusable, Refused) as error:
        clear_up(folder)
        return " ".join(str(error).split())
    except Exception as error:  # one report's own misfortune, whatever it is
        clear_up(folder)
        return " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return None
