"""Whether the report on TTLs finds what was planted in a large file, at what cost; and how its estimate of what is
written does: ``python tests/benchmarks/ttl.py [keys]``.

In: a Redis server, which makes the file. Out: a table on standard output. Some minutes for a million keys.
"""

from __future__ import annotations

import ast
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Run as a script, it is not found as a package.
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - found once the path is set
import pandas as pd  # noqa: E402

from analysis.findings.ttl.written import written_shares  # noqa: E402
from tests.findings.test_ttl import simulated  # noqa: E402
from tests.servers import RedisServer, find_redis  # noqa: E402

DAY, HOUR = 86_400, 3_600
CASE = '[celery]\nresult_expires = 86400\n[jobs]\nkey = "job:{id}"\nexpires = 604800\n'
NAMES = ("app.tasks.mail", "app.tasks.report", "app.tasks.index")


def plant(folder: Path, keys: int) -> dict[str, Any]:
    """A day of results and job records, and what is wrong with some: a TTL cut to six hours three hours ago, two hours
    lost, some that all expire together, some without a TTL. Returns what was planted.
    """
    binary, chance, now = find_redis(), random.Random(5), datetime.now(UTC)
    assert binary is not None, "no redis-server"
    server = RedisServer(binary, folder, {})
    server.start()
    truth: dict[str, Any] = {"changed_at": now - timedelta(hours=3), "off": 0, "without": 0, "results": 0}
    try:
        pipe = server.client(db=2).pipeline(transaction=False)
        for number in range(keys * 9 // 10):
            age = chance.random() * DAY
            if 8 * HOUR < age < 10 * HOUR:
                continue
            done, task = now - timedelta(seconds=age), str(uuid.UUID(int=chance.getrandbits(128)))
            short = age < 3 * HOUR
            expires = done + (timedelta(hours=6) if short else timedelta(days=1)) + timedelta(milliseconds=9)
            if stampede := chance.random() < 0.02:
                expires = now + timedelta(hours=5)
            meta = {"status": "SUCCESS", "result": chance.randint(0, 10**9), "traceback": None, "children": []}
            meta |= {"date_done": done.isoformat(), "task_id": task, "name": chance.choice(NAMES)}
            endless = chance.random() < 0.001
            until = None if endless else int(expires.timestamp() * 1000)
            if endless or expires > now + timedelta(minutes=5):
                pipe.set(f"celery-task-meta-{task}", json.dumps(meta), pxat=until)
                truth["results"] += 1
                truth["without"] += endless
                truth["off"] += not endless and (short or stampede)
            if number % 9 == 0:
                pipe.hset(f"job:{task}", mapping={"status": "completed", "created_at": done.isoformat()})
                pipe.expireat(f"job:{task}", int((done + timedelta(days=7)).timestamp()))
            if number % 5000 == 0:
                pipe.execute()
        pipe.execute()
        server.client(socket_timeout=600).save()
    finally:
        server.kill()
    (folder / "case.toml").write_text(CASE)
    return truth


def run_notebook(case: str) -> dict[str, Any]:
    """The cells of the notebook, each shown, in this process: seconds, megabytes, and what it found."""
    from IPython.core.formatters import DisplayFormatter

    begun, show = time.perf_counter(), DisplayFormatter()
    names: dict[str, Any] = {}
    for cell in json.loads((ROOT / "notebooks" / "ttl_distributions.ipynb").read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            names["case"] = case
        if isinstance(last, ast.Expr):
            show.format(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    used, found = resource.getrusage(resource.RUSAGE_SELF), names["found"]
    whole = found.force.loc[found.force["name"].isna() & found.force["family"].eq("result")].iloc[0]
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "megabytes": round(used.ru_maxrss / 1024),
        "off": int(whole["outlive"] + whole["short"]),
        "without": int(found.endless_counts.loc[found.endless_counts["family"].eq("result"), "keys"].sum()),
        "changed": [str(found.changes["last_before"].iloc[0]), str(found.changes["first_after"].iloc[0])],
        "headline": found.headline,
    }


def written(times: int) -> None:
    """Of keys written evenly, ten in eleven live ten minutes: what the held say of it, and what the estimate says."""
    held, estimated, inside, denied = [], [], 0, 0
    for seed in range(times):
        both = pd.concat([simulated(1, 600, 3 * DAY, seed), simulated(0.1, DAY, 3 * DAY, 10_000 + seed)])
        rows = written_shares(both).set_index("name")
        short = rows.loc["app.live_600"]
        held.append(short["share_held"])
        estimated.append(short["share_written"])
        inside += int(short["low"] <= HOUR <= short["high"])
        denied += int(rows["says"].str.startswith("does not hold").any())
    print(f"share of keys written: truth {10 / 11:.3f}; of keys held {np.mean(held):.3f}, estimated "
          f"{np.mean(estimated):.3f}; 95 % interval holds the truth in {inside / times:.1%}; even writing denied in "
          f"{denied / times:.1%} of {times}")  # fmt: skip
    for part in (0.9, 0.7, 0.5, 0.2):
        late = [written_shares(simulated(0.1, DAY, 3 * DAY, seed, since=3 * DAY - part * DAY)) for seed in range(50)]
        said = np.mean([rows["says"].iloc[0].startswith("does not hold") for rows in late])
        short = np.mean([rows["per_hour"].iloc[0] for rows in late]) / 360
        print(f"written for {part:.0%} of a lifetime only: estimate {short:.2f} of the truth, denied in {said:.0%}")


def main(keys: int) -> None:
    written(200)
    with tempfile.TemporaryDirectory(prefix="analysis-bench-") as name:
        truth = plant(Path(name), keys)
        print(f"planted: {truth}")
        for _ in range(2):
            print(subprocess.run([sys.executable, __file__, "--run", name], check=True, text=True,
                                 capture_output=True).stdout.strip())  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        print(json.dumps(run_notebook(sys.argv[2])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
