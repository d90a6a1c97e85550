"""Kernels that are forked from the warm process, and those that start anew, each within its limits.

In: jupyter_client's calls, and the environment (``warm.ADDRESS``, ``MEMORY``). Out: kernels. Everything but the start
of one is jupyter_client's own.
"""

from __future__ import annotations

import os
import select
import signal
import uuid
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from analysis.batch.warm import ADDRESS, ask

MEMORY, UNTIL = "ANALYSIS_KERNEL_MEMORY", "ANALYSIS_KERNEL_UNTIL"
"""Names in the environment: the most bytes that a kernel may take beyond what it begins with; and the moment, by the
clock that only runs forward, at which a report must be done.
"""


class ForkedKernel:
    """A process that another one forked, as ``subprocess.Popen`` shows one that is one's own."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = -1

    def poll(self) -> int | None:
        """None while it runs; with what status it ended only its parent knows."""
        if self._descriptor >= 0 and not select.select([self._descriptor], [], [], 0)[0]:
            return None
        self._close()
        return 1

    def wait(self) -> int:
        if self._descriptor >= 0:
            select.select([self._descriptor], [], [])
        self._close()
        return 1

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class LimitedProvisioner(LocalProvisioner):
    """Starts a kernel as usual, with the memory that ``MEMORY`` says."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        found = await super().launch_kernel(cmd, **kwargs)
        if self.pid is not None:
            _limit(self.pid)
        return found


class ForkedProvisioner(LocalProvisioner):
    """Has the warm process fork a kernel."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        self.cwd = os.fspath(kwargs.get("cwd") or Path.cwd())
        environment = dict(kwargs.get("env") or os.environ)
        answer = ask(os.environ[ADDRESS], {"command": cmd, "cwd": self.cwd, "environment": environment})
        self.process = ForkedKernel(answer["pid"])  # type: ignore[assignment]
        self.pid = self.pgid = answer["pid"]
        _limit(answer["pid"])
        return self.connection_info


def _limit(pid: int) -> None:
    """So much memory may it take, beyond what it has: what it maps of files does not count (RLIMIT_DATA)."""
    given = os.environ.get(MEMORY)
    if not given or not hasattr(os, "pidfd_open"):
        return
    import resource

    try:
        status = Path(f"/proc/{pid}/status").read_text()
        has = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
        resource.prlimit(pid, resource.RLIMIT_DATA, (has + int(given), has + int(given)))
    except (OSError, StopIteration, ValueError):
        return  # it is gone already


class PlainManager(AsyncKernelManager):
    """Of kernels that are started as usual."""

    provisioner_class: type[LocalProvisioner] = LimitedProvisioner

    async def _async_pre_start_kernel(self, **kw: Any) -> Any:
        self.kernel_id = self.kernel_id or kw.pop("kernel_id", str(uuid.uuid4()))
        if self.provisioner is None:
            self.provisioner = self.provisioner_class(
                kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self
            )
        return await super()._async_pre_start_kernel(**kw)


class ForkedManager(PlainManager):
    """Of kernels that are forked."""

    provisioner_class = ForkedProvisioner
