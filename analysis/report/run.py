"""Runs a notebook of the kit through papermill and turns it into one HTML file.

In: the notebook's name, its parameters, a folder. Out: ``<name>.ipynb`` and ``<name>.html`` there, each whole or not
there. Knows nothing of what the notebooks say.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from analysis.case import shipped
from analysis.errors import Unusable
from analysis.progress import QUIET_SWITCH
from analysis.report.bundle import write_whole
from analysis.report.exporter import InvestigationExporter

EXECUTION_TIMEOUT = 3600


class Failed(Exception):
    """A notebook stopped; ``str()`` is one line that names the notebook and what it said."""


def run_notebook(
    name: str, parameters: Mapping[str, str], folder: Path, *, cache: Path | None = None, engine: str | None = None
) -> Path:
    """Execute ``notebooks/<name>.ipynb`` and write it and its HTML into ``folder``; returns the path of the HTML.
    ``engine``: papermill's name of the one that executes it.

    The kernel works in a private empty folder, so nothing beside the case or the caller can be imported by accident.
    Raises Failed where the notebook stops, Unusable where ``folder`` cannot be written.
    """
    source = shipped("notebooks") / f"{name}.ipynb"
    try:
        with tempfile.TemporaryDirectory(prefix="analysis-") as scratch, _surroundings(Path(scratch), cache):
            folder.mkdir(parents=True, exist_ok=True)
            notebook = _execute(source, parameters, Path(scratch), engine)
        _forget_machine(notebook)
        body, _ = _exporter().from_notebook_node(notebook, resources={"metadata": {"name": name}})
        write_whole(folder / f"{name}.ipynb", nbformat.writes(notebook).encode("utf-8", "backslashreplace"))
        write_whole(folder / f"{name}.html", body.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror}", file=os.fspath(folder)) from None
    return folder / f"{name}.html"


@cache
def _exporter() -> InvestigationExporter:
    # Its templates are compiled once.
    return InvestigationExporter()


def _execute(source: Path, parameters: Mapping[str, str], scratch: Path, engine: str | None) -> nbformat.NotebookNode:
    target = scratch / source.name
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters=dict(parameters),
            engine_name=engine,
            kernel_name="python3",
            cwd=str(scratch),
            progress_bar=False,
            request_save_on_cell_execute=False,
            execution_timeout=EXECUTION_TIMEOUT,
            # ipc needs no port, so parallel runs do not race for one, and ipykernel has nothing to warn about.
            config=Config({"KernelManager": {"transport": "ipc" if os.name == "posix" else "tcp"}}),
            shutdown_kernel="immediate",
        )
    except PapermillExecutionError as error:
        said = " ".join(f"{error.ename}: {error.evalue}".split())
        raise Failed(f"{source.name} stopped in its cell {error.exec_count}: {said[:500]}") from None
    except DeadKernelError:
        raise Failed(f"{source.name} stopped: its kernel died") from None
    except CellTimeoutError:
        raise Failed(f"{source.name} stopped: it took longer than it may") from None
    except RuntimeError as error:
        raise Failed(f"{source.name} stopped: {' '.join(str(error).split())[:300]}") from None
    return nbformat.read(target, as_version=4)


@contextmanager
def _surroundings(scratch: Path, cache: Path | None) -> Iterator[None]:
    """Environment of the kernel: its sockets in the scratch folder; matplotlib's font list in ``cache``, if one is
    given; nothing said on standard error, which would stand in the page.
    """
    changed = {"JUPYTER_RUNTIME_DIR": str(scratch / "run"), QUIET_SWITCH: "1"}
    if cache is not None:
        changed["MPLCONFIGDIR"] = str(cache / "matplotlib")
        try:
            (cache / "matplotlib").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unusable(f"cannot be written: {error.strerror}", file=os.fspath(cache)) from None
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _forget_machine(notebook: nbformat.NotebookNode) -> None:
    """Take out what papermill noted of this machine: paths of input and output, and its own progress."""
    noted = notebook.metadata.get("papermill", {})
    for name in ("input_path", "output_path", "environment_variables"):
        noted.pop(name, None)
