"""Engines for papermill, found by their entry points: ``papermill --engine forked``, and ``plain``.

In: papermill's calls, and the environment (``warm.ADDRESS``, ``kernels.UNTIL``). Out: executed notebooks. papermill
loads this module while it is loaded itself, so nobody else may import it first.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from papermill.engines import NBClientEngine

from analysis.batch.kernels import UNTIL, ForkedManager, PlainManager
from analysis.batch.warm import ADDRESS, Refused, warm_process


def _left(_: Any = None) -> float | None:
    """Seconds that a cell may take, which are those that the report has left; None = as long as it takes."""
    until = os.environ.get(UNTIL)
    return max(0.05, float(until) - time.monotonic()) if until else None


class PlainEngine(NBClientEngine):
    """papermill's own engine, within the limits of a batch."""

    manager: type[PlainManager] = PlainManager

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        return super().execute_managed_notebook(
            nb_man, kernel_name, kernel_manager_class=cls.manager, timeout_func=_left, **kwargs
        )


class ForkedEngine(PlainEngine):
    """As ``PlainEngine``, with kernels from the warm process whose address the environment names; else from one that is
    forked for this run. Where none can be, kernels are started as usual.
    """

    manager = ForkedManager

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        if os.environ.get(ADDRESS):
            return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)
        try:
            with tempfile.TemporaryDirectory(prefix="analysis-") as folder, warm_process(Path(folder)):
                return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)
        except Refused:
            return PlainEngine.execute_managed_notebook(nb_man, kernel_name, **kwargs)
