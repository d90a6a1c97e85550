"""How long the results and job records of a large snapshot take to be kept, and in how much memory:
``python tests/benchmarks/archive.py``.

A real server writes a million keys (``celery_file``). Then a process opens them and keeps them, another finds nothing
new, and a third reads the archive as a case. Each prints its processor time and its peak of memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]

import analysis  # noqa: E402 - found once the path is set
from analysis.archive import keep  # noqa: E402
from tests.benchmarks.celery_file import make  # noqa: E402
from tests.servers import find_redis  # noqa: E402


def measure(folder: Path, what: str) -> None:
    """One step, in this process."""
    opened = analysis.open_case(folder / ("archive" if what == "read" else "case"))
    begun, said = time.process_time(), f"{len(opened.tasks):,} results, {len(opened.jobs):,} job records"
    if what == "keep":
        said = " ".join(keep(opened, folder / "archive").lines())
    seconds = time.process_time() - (0 if what == "read" else begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{what}: {seconds:.1f} s of processor time, peak {peak:,} MiB. {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--step", nargs=2, metavar=("FOLDER", "WHAT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        measure(Path(given.step[0]), given.step[1])
        return
    binary = find_redis()
    if binary is None:
        sys.exit("no redis-server on PATH")
    with tempfile.TemporaryDirectory(prefix="archive-bench-") as scratch:
        folder = Path(scratch)
        (folder / "case").mkdir()
        made = make(binary, folder / "server", given.keys, folder / "case" / "dump.rdb")
        print(f"snapshot: {made.stat().st_size / 1e6:,.0f} MB", flush=True)
        for what in ("keep", "keep", "read"):
            subprocess.run([sys.executable, __file__, "--step", scratch, what], check=True)
        kept = sum(path.stat().st_size for path in (folder / "archive").iterdir())
        print(f"archive: {kept / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
