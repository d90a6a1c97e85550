"""Ctrl-C while a large snapshot is read or the readers are compiled: an end at once, one line, nothing half left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from analysis.kernels import COMPILED_FROM
from tests.benchmarks.celery_file import make
from tests.conftest import INSTALL_REDIS
from tests.evidence import rdb_writer as w
from tests.servers import find_redis

ROOT = Path(__file__).resolve().parents[1]
AT_ONCE = 1.0
TEARDOWN = 0.4
"""Seconds in which the interpreter lets go of pandas and its like; nothing of the kit runs there."""
COMPILING = "compiling the readers for large files"


@dataclass(frozen=True)
class Ended:
    """A run: its exit status, what it said (lines that are not empty), and how long it took from the signal on."""

    status: int
    out: str
    err: list[str]
    seconds: float


def start(case: Path, cache: Path, *options: str, kernels: str = "") -> subprocess.Popen[str]:
    """``analysis inspect`` in a session of its own, as a terminal starts it; the build by size unless it is named."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANALYSIS_")}
    environment |= {"PYTHONPATH": str(ROOT), **({"ANALYSIS_KERNELS": kernels} if kernels else {})}
    return subprocess.Popen(
        [sys.executable, "-m", "analysis", "inspect", case, "--cache", cache, *options],
        env=environment,
        cwd=case.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 120) -> Ended:
    begin = time.monotonic()
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"it did not end within {seconds} s")
    took = time.monotonic() - begin
    # click ends the line in which a terminal shows ^C.
    return Ended(process.returncode, out, [line for line in err.splitlines() if line], took)


def stop(process: subprocess.Popen[str], reached: Callable[[], bool], *, group: bool = False) -> Ended:
    """Interrupt a run as soon as it has ``reached`` something: only it, or as a terminal does, its children too."""
    deadline = time.monotonic() + 60
    while not reached():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it never came so far: {process.communicate()}")
        time.sleep(0.005)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    return ended(process)


def assert_stopped(run: Ended, *said_before: str) -> None:
    assert run.err[-1:] == ["analysis: stopped"], run.err
    assert len(run.err) == 1 + len(said_before), run.err
    assert all(text in line for text, line in zip(said_before, run.err, strict=False)), run.err
    assert (run.status, run.out) == (130, "")
    assert run.seconds <= AT_ONCE + TEARDOWN


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def snapshots_of(cache: Path) -> list[str]:
    """What is in the folder of entries: they, and what is being written."""
    return sorted(path.name for path in cache.glob("kept/snapshots/*")) + [
        path.name for path in cache.rglob(".writing-*")
    ]


def processes_naming(cache: Path) -> list[str]:
    """Command lines with the cache's folder in them; only Linux shows them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(cache) in line:
            found.append(line)
    return found


def assert_no_process_is_left(cache: Path) -> None:
    # A moment: what was killed is there until the system has cleared it away.
    deadline = time.monotonic() + 0.5
    while (left := processes_naming(cache)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case of one large snapshot."""
    folder = tmp_path_factory.mktemp("case")
    binary = find_redis() or pytest.fail(INSTALL_REDIS, pytrace=False)
    dump = make(binary, tmp_path_factory.mktemp("redis"), 60_000, folder / "dump.rdb")
    assert dump.stat().st_size > COMPILED_FROM
    return folder


@pytest.fixture(scope="module")
def huge_value(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case whose snapshot is one value of a gigabyte, all zeros: its key is found at once, and its sums take long."""
    folder = tmp_path_factory.mktemp("huge")
    head = bytes(w.Rdb(11).raw(b"\x00", w.string("k"), w.length(2**30)))
    with (folder / "dump.rdb").open("wb") as file:
        file.write(head)
        file.seek(len(head) + 2**30)  # a hole, which takes no room on disk
        file.write(b"\xff" + bytes(8))
    return folder


def code_of(cache: Path) -> list[Path]:
    return [path for path in cache.glob("kept/kernels-*/**/*") if path.is_file()]


@pytest.fixture(scope="module")
def half_compiled(case: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A cache, and the first run on it, quiet, which was interrupted when a part of the readers was compiled."""
    cache = tmp_path_factory.mktemp("half") / "cache"
    return cache, stop(start(case, cache, "--quiet"), lambda: bool(code_of(cache)))


@pytest.fixture(scope="module")
def compiled(case: Path, half_compiled: tuple[Path, Ended]) -> tuple[Path, Ended]:
    """The same cache, and the second run on it, which ended by itself."""
    cache, _ = half_compiled
    return cache, ended(start(case, cache))


def begun(cache: Path) -> bool:
    return any(cache.rglob(".writing-*"))


def written(cache: Path) -> bool:
    """Whether at least a block of rows is in files."""
    return any(path.stat().st_size > 2**16 for path in cache.rglob(".writing-*/offset.npy"))


@pytest.mark.parametrize("reached", [begun, written])
def test_interrupted_reading_ends_at_once_and_leaves_nothing(
    case: Path, tmp_path: Path, reached: Callable[[Path], bool]
) -> None:
    cache = tmp_path / "cache"
    # As plain Python it reads for seconds, so that the signal always comes while it does.
    run = stop(start(case, cache, kernels="plain"), lambda: reached(cache))
    assert_stopped(run)
    assert snapshots_of(cache) == [] and files_of(cache) == []
    assert_no_process_is_left(cache)


def test_interrupted_sums_end_at_once_and_leave_nothing(huge_value: Path, compiled: tuple[Path, Ended]) -> None:
    cache, _ = compiled
    before, code = snapshots_of(cache), code_of(cache)
    # The rows are there at once; what is interrupted are the threads that go through the bytes of the value.
    run = stop(start(huge_value, cache), lambda: any(cache.rglob(".writing-*/offset.npy")))
    assert_stopped(run)
    assert snapshots_of(cache) == before and code_of(cache) == code
    assert_no_process_is_left(cache)


def test_interrupted_compiling_ends_at_once_and_leaves_no_process(half_compiled: tuple[Path, Ended]) -> None:
    cache, run = half_compiled
    # Quiet: not a word of compiling.
    assert_stopped(run)
    assert_no_process_is_left(cache)


def test_ctrl_c_at_a_terminal_ends_compiling_too(case: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run = stop(start(case, cache, kernels="compiled"), lambda: bool(code_of(cache)), group=True)
    assert_stopped(run, COMPILING)
    assert_no_process_is_left(cache)
    assert snapshots_of(cache) == []
    # Parts of the code that are whole may stay, for the next run to go on from; but nothing says that all are there.
    assert {path.suffix for path in code_of(cache)} <= {".nbi", ".nbc"}


def test_interrupted_compiling_is_made_up_for_by_the_next_run(compiled: tuple[Path, Ended]) -> None:
    cache, run = compiled
    assert (run.status, run.err) == (0, run.err[:1]) and COMPILING in run.err[0]
    assert "60,000" in run.out
    assert len(snapshots_of(cache)) == 1 and not begun(cache)


def test_compiling_is_said_only_when_it_is_done(case: Path, compiled: tuple[Path, Ended]) -> None:
    cache, first = compiled
    again = ended(start(case, cache))
    assert (again.status, again.err, again.out) == (0, [], first.out)


def test_small_case_compiles_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run = ended(start(ROOT / "data" / "demo", cache))
    assert (run.status, run.err) == (0, [])
    assert files_of(cache) == []
