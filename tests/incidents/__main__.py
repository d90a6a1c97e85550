"""``python -m tests.incidents OUT [--seed N] [--each 10] [--only CAUSE …] [--jobs 2]``: make incidents.

In: arguments. Out: case folders with their truths under OUT; a line for each on standard output.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.incidents.bench import redis_binaries
from tests.incidents.catalogue import group_of, incidents, make


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.incidents", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=10, help="incidents of each cause (default 10)")
    parser.add_argument("--only", nargs="*", default=[], metavar="CAUSE[-NN]", help="these causes, or single incidents")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="list the causes and stop")
    arguments = parser.parse_args()
    known = incidents()
    if arguments.list:
        print("\n".join(f"{cause:24} {entry.family}" for cause, entry in known.items()))
        return 0
    if not redis_binaries():
        print("no redis-server", file=sys.stderr)
        return 2
    chosen = _chosen(arguments.only, list(known), arguments.each)
    if chosen is None:
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    return _make_all(arguments.out, chosen, arguments.seed, arguments.jobs)


def _chosen(only: list[str], known: list[str], each: int) -> list[tuple[str, int]] | None:
    """Causes and numbers to make, numbers first, so that a run that is stopped has some of every cause."""
    if not only:
        return [(cause, number) for number in range(1, each + 1) for cause in known]
    made = []
    for name in only:
        cause, _, number = name.rpartition("-") if name.rpartition("-")[2].isdigit() else (name, "", "")
        if cause not in known:
            print(f"unknown cause {cause}; --list names them", file=sys.stderr)
            return None
        made += [(cause, int(number))] if number else [(cause, one) for one in range(1, each + 1)]
    return made


def _make_all(out: Path, chosen: list[tuple[str, int]], seed: int, jobs: int) -> int:
    began, failed = time.monotonic(), 0
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(make, out, cause, number, seed): (cause, number) for cause, number in chosen}
        for done in as_completed(waiting):
            cause, number = waiting[done]
            try:
                print(f"{cause}-{number:02}  {group_of(number):7} {done.result():5.1f} s", flush=True)
            except Exception:
                failed += 1
                print(f"{cause}-{number:02}  FAILED\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    print(f"{len(chosen) - failed} incidents in {time.monotonic() - began:.0f} s, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
