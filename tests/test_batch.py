"""A batch: a report of each task by kernels of their own, resumed where it ended, and an index that is true."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.batch.journal import Journal, alone_in
from analysis.batch.kernels import ForkedKernel
from analysis.batch.warm import possible
from analysis.findings.bulk import looks
from analysis.findings.lost import lost_tasks
from analysis.frames import frame
from analysis.report.index_page import write_index
from tests.findings.cases import at, event, result, snapshot

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "data" / "demo"
TASK = "c93afef4-105f-425c-af86-9ced40d30ee0"
OTHERS = ("6918dfa9-8805-4e80-a043-63f93f008e65", "e6869204-a290-431a-b890-2d08774139ab")
Rows = Sequence[dict[str, Any]]
NAMES = ("deletion_investigation.html", "deletion_investigation.ipynb", "verdict.json")

forked = pytest.mark.skipif(not possible(), reason="kernels can be forked on Linux only")


def batch(*arguments: object, given: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "analysis", "batch", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300, env=environment, cwd=ROOT)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def index(out: Path) -> dict[str, dict[str, object]]:
    return {row["task_id"]: row for row in json.loads((out / "index.json").read_text())["tasks"]}


def nothing_half_written(out: Path) -> bool:
    return not [path for path in out.rglob(".writing*")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of two tasks of the demo, one asked for by its beginning, by the usual engine."""
    out = tmp_path_factory.mktemp("made")
    done = batch(DEMO, "--tasks", "-", "--out", out, "--json", given=f"{TASK[:9]}\n\n# a remark\n{OTHERS[0]}\n{TASK}\n")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["task_id"] for one in said} == {TASK, OTHERS[0]}
    assert all(Path(one["report"]).is_file() for one in said)
    return out


def test_a_batch_leaves_what_investigate_leaves_whatever_the_engine(made: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analysis", "investigate", TASK[:9], str(DEMO), "--out", str(tmp_path / "one")]
    subprocess.run([*command, "--quiet"], check=True, capture_output=True, cwd=ROOT)
    batch(DEMO, "--tasks", "-", "--out", tmp_path / "plain", "--engine", "plain", "--jobs", "1", given=TASK)
    for other in (made, tmp_path / "plain"):
        mine = {path.relative_to(other / TASK) for path in (other / TASK).rglob("*")}
        assert mine == {path.relative_to(tmp_path / "one" / TASK) for path in (tmp_path / "one" / TASK).rglob("*")}
        one, two = (folder / TASK / "verdict.json" for folder in (other, tmp_path / "one"))
        assert one.read_bytes() == two.read_bytes()
        pages = [(folder / TASK / NAMES[0]).read_text() for folder in (other, tmp_path / "one")]
        # It was asked for by its beginning once, and by its whole ID in a batch.
        assert pages[0] == pages[1].replace(f" · asked as {TASK[:9]}, with which only this ID begins", "")
        assert 'class="chart"' in pages[0] and 'src="data:image/svg+xml;base64,' in pages[0]
        evidence = next((other / TASK).glob("task_deletion_evidence_*"))
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], check=True, cwd=evidence)
    assert nothing_half_written(made)


def test_each_report_is_of_its_own_task_and_the_index_leads_to_it(made: Path) -> None:
    rows = index(made)
    assert list(rows) == [TASK, OTHERS[0]]
    page = (made / "index.html").read_text()
    for task, row in rows.items():
        verdict = json.loads((made / task / "verdict.json").read_text())
        assert verdict["task_id"] == task and verdict["records"]["result"]["cause"] == row["cause"]
        assert f"<code>{task}</code></h1>" in (made / task / NAMES[0]).read_text()
        assert f'href="{task}/{NAMES[0]}"' in page and f"<code>{task}</code>" in page
    told = list(csv.DictReader((made / "index.csv").open()))
    assert [row["task_id"] for row in told] == list(rows)
    assert (made / "requeue.csv").read_text().splitlines() == ["task,task_id,queue,args,kwargs"]


def test_what_is_there_is_not_made_again_and_what_lacks_a_part_is(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(made, out, copy_function=shutil.copy2)
    (out / OTHERS[0] / "verdict.json").unlink()
    (out / OTHERS[0] / ".writing-half").mkdir()
    (out / ".writing-tasks-1").touch()
    before = (out / TASK / NAMES[0]).stat().st_mtime_ns
    done = batch(DEMO, "--tasks", "-", "--out", out, given=f"{TASK}\n{OTHERS[0]}")
    assert "2 tasks, 1 of them there already" in done.stderr
    assert (out / TASK / NAMES[0]).stat().st_mtime_ns == before
    assert (out / OTHERS[0] / "verdict.json").is_file() and set(index(out)) == {TASK, OTHERS[0]}
    assert nothing_half_written(out)
    # Other parameters make another report.
    done = batch(DEMO, "--tasks", "-", "--out", out, "--show-values", given=TASK)
    assert "there already" not in done.stderr and set(index(out)) == {TASK}
    assert "Values are shown as they are" in (out / TASK / NAMES[0]).read_text()


def test_ids_that_are_several_or_unknown_are_told_apart(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "case")
    with (tmp_path / "case" / "logs" / "celery-worker-1.log").open("a") as log:
        for end in "ab":
            log.write(f"[2025-07-24 01:00:00,000: INFO/MainProcess] Task app.tasks.x[same-begin-{end}] received\n")
    given = "same-begin\n=1+1\n../../etc/passwd\n"
    done = batch(tmp_path / "case", "--tasks", "-", "--out", tmp_path / "out", given=given, status=1)
    assert done.stderr.count("is the beginning of 2 known IDs") == 1
    rows = index(tmp_path / "out")
    assert rows["same-begin"]["error"] and rows["same-begin"]["report"] is None
    assert rows["../../etc/passwd"]["report"] == "..%252F..%252Fetc%252Fpasswd/deletion_investigation.html"
    told = (tmp_path / "out" / "index.csv").read_text()
    assert "'=1+1" in told and "\n=1+1" not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case", "out"]
    # A rerun takes only what failed.
    assert (
        "3 tasks, 2 of them there already"
        in batch(tmp_path / "case", "--tasks", "-", "--out", tmp_path / "out", given=given, status=1).stderr
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((DEMO,), "name the tasks by one of"),
        ((DEMO, "--all", "--lost"), "name the tasks by one of"),
        (("/nowhere", "--all"), "no such file or folder"),
        ((DEMO, "--tasks", "/nowhere"), "/nowhere: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(arguments: tuple[object, ...], says: str, tmp_path: Path) -> None:
    done = batch(*arguments, "--out", str(tmp_path / "out"), status=2)
    assert says in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_one_batch_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path / "out"):
        assert "another batch works" in batch(DEMO, "--all", "--out", str(tmp_path / "out"), status=2).stderr


def test_a_line_that_was_cut_costs_its_own_report_only(tmp_path: Path) -> None:
    for task in ("a", "b"):
        (tmp_path / task).mkdir()
        for name in NAMES:
            (tmp_path / task / name).touch()
    with Journal(tmp_path, "key") as journal:
        journal.add({"task_id": "a", "folder": "a"})
        journal.add({"task_id": "b", "folder": "b"})
    lines = tmp_path / ".batch.jsonl"
    lines.write_bytes(lines.read_bytes()[:-9])
    with Journal(tmp_path, "key") as journal:
        assert set(journal.made()) == {"a"}
        journal.add({"task_id": "b", "folder": "b"})
        assert set(journal.made()) == {"a", "b"}
    with Journal(tmp_path, "another") as journal:
        assert journal.made() == {}


@forked
def test_a_batch_that_is_stopped_leaves_whole_reports_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "analysis", "batch", str(DEMO), "--all", "--out", str(out), "--jobs", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 120
    while len(list(out.glob("*/verdict.json"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.splitlines()[-1] == "analysis: stopped"
    rows = index(out)
    assert 1 <= len(rows) < 4 and json.loads((out / "index.json").read_text())["asked"] == 4
    assert "were not reached" in (out / "index.html").read_text()
    assert nothing_half_written(out)
    assert [row for row in _processes() if str(out) in row] == []
    done = batch(DEMO, "--all", "--out", out)
    assert f"4 tasks, {len(rows)} of them there already" in done.stderr
    assert len(index(out)) == 4 and nothing_half_written(out)


def _processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


ALONE_HEAD = """
import json, os, subprocess, sys, threading
from pathlib import Path
from analysis.batch.warm import ADDRESS, ALONE, Refused, ask, warm_process
os.environ.update(ALONE)
from analysis.batch.work import Making, make_reports
from analysis.case import open_case, share
demo, out, *tasks = sys.argv[1:]
case, folder = open_case(demo), Path(out)
folder.mkdir()
share(case)
def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
"""


def alone(code: str, out: Path) -> Any:
    """What ``code`` prints last, as JSON: run in a process of its own, which has one thread as a forking one must."""
    command = [sys.executable, "-c", ALONE_HEAD + code, str(DEMO), str(out), TASK, OTHERS[0]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@forked
@pytest.mark.parametrize(("limits", "says"), [("timeout=0.3", "took longer than it may"), ("memory=2**16", "")])
def test_a_report_over_its_limit_costs_its_own_report_only(tmp_path: Path, limits: str, says: str) -> None:
    first, second = alone(
        f"""
with warm_process(folder):
    limited = dict(make_reports(tasks, Making(demo, folder / "o", "forked", {limits}), 1))
    print(json.dumps([limited, dict(make_reports(tasks[:1], Making(demo, folder / "o", "forked"), 1))]))
""",
        tmp_path / "out",
    )
    assert set(first) == {TASK, OTHERS[0]} and all(reason and says in reason for reason in first.values())
    assert second == {TASK: None}
    assert nothing_half_written(tmp_path)


@forked
def test_a_kernel_that_is_killed_costs_its_own_report_only(tmp_path: Path) -> None:
    reasons = alone(
        """
def killing():
    killer = subprocess.Popen([sys.executable, "-c", '''
import os, signal, sys, time
from pathlib import Path
def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
me = os.getpid()
while not (kernels := [kernel for one in children(int(sys.argv[1])) if one != me for kernel in children(one)]):
    time.sleep(0.005)
os.kill(kernels[0], signal.SIGKILL)
''', str(os.getpid())])
    yield tasks[0]
    killer.wait()
    yield from tasks[1:]

with warm_process(folder):
    print(json.dumps(dict(make_reports(killing(), Making(demo, folder / "o", "forked"), 1))))
""",
        tmp_path / "out",
    )
    assert "kernel died" in str(reasons[TASK]).lower() and reasons[OTHERS[0]] is None
    assert nothing_half_written(tmp_path)


@forked
def test_the_warm_process_is_alone_forks_kernels_only_and_ends_with_who_forked_it(tmp_path: Path) -> None:
    told = alone(
        """
with warm_process(folder):
    [warm] = children(os.getpid())
    threads = len(os.listdir(f"/proc/{warm}/task"))
    try:
        ask(os.environ[ADDRESS], {"command": ["sh", "-c", "true"], "cwd": "/", "environment": {}})
    except Refused as refused:
        said = str(refused)
waits = threading.Event()
threading.Thread(target=waits.wait, daemon=True).start()
try:
    with warm_process(folder):
        pass
except Refused as refused:
    crowd = str(refused)
print(json.dumps([threads, said, crowd, Path(f"/proc/{warm}").exists(), ADDRESS in os.environ]))
""",
        tmp_path / "out",
    )
    assert told == [
        1, "only a kernel of ipykernel can be forked", "this process has 2 threads and may not be forked", False, False
    ]  # fmt: skip


@forked
def test_a_process_of_others_is_waited_for(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    kernel = ForkedKernel(child.pid)
    assert kernel.poll() is None
    kernel.terminate()
    assert kernel.wait() == 1 == kernel.poll()
    child.wait()
    assert ForkedKernel(child.pid).poll() == 1


PAIR = (snapshot("a.rdb", 0), snapshot("b.rdb", 3600))


def _lost(
    tasks: Rows = (), events: Rows = (), jobs: Rows = (), evidence: Rows = PAIR, kept: int = 86400
) -> dict[str, str]:
    found = lost_tasks(
        frame("tasks", tasks), frame("jobs", jobs), frame("events", events), frame("commands"),
        looks(frame("evidence", evidence)), kept, None,
    )  # fmt: skip
    return dict(zip(found["task_id"], found["record"], strict=True))


def test_lost_is_what_was_there_is_not_due_and_is_not_there() -> None:
    rows = [result("a.rdb", task_id="gone"), result("a.rdb", task_id="stays"), result("b.rdb", task_id="stays")]
    rows += [result("a.rdb", task_id="due", expires=60)]
    assert _lost(rows) == {"gone": "result"}
    job = {"server": "", "db": 0, "offset": 1, "created_at": at(0)}
    jobs = [{**job, "snapshot": "a.rdb", "key": "job:x", "task_id": "x"}]
    assert _lost(rows, jobs=jobs) == {"gone": "result", "x": "job"}
    # What a later one that was cut lacks, may have stood behind the cut; and one without a time may be the last.
    cut = (*PAIR, snapshot("c.rdb", 7200, complete=False))
    assert _lost([result("b.rdb", task_id="behind"), result("a.rdb", task_id="gone")], evidence=cut) == {
        "gone": "result"
    }
    undated = (*PAIR, snapshot("d.rdb", None))
    assert _lost([*rows, result("d.rdb", task_id="gone")], evidence=undated) == {}
    # Without a snapshot nothing is known not to be there.
    assert _lost(rows, jobs=jobs, evidence=()) == {}


def test_a_task_that_was_logged_as_ended_is_lost_unless_its_name_stores_nothing() -> None:
    ended = [event("succeeded", number, task_id=f"t{number}", name=name) for number, name in enumerate("aab")]
    assert _lost([result("b.rdb", task_id="t0", name="a")], ended) == {"t1": "result"}
    # Where nothing is left of any name, none of them is known to store nothing.
    assert set(_lost([], ended)) == {"t0", "t1", "t2"}
    assert _lost([], ended, kept=60) == {}


def test_the_index_of_many_has_a_page_a_cause_and_says_what_the_lost_have_in_common(tmp_path: Path) -> None:
    rows = [
        {
            "task_id": f"=t{number:05}", "asked": "x", "name": "app.mail", "queue": "mail", "worker": None,
            "error": None,
            "at": f"2026-03-01T12:{number % 60:02}:00Z", "folder": f"%3Dt{number:05}", "args": ["@x", number],
            "verdict": {
                "unexpected_loss": number < 300, "headline": "<b>gone</b>",
                "records": {"result": {"status": "absent", "cause": "db_flushed" if number < 300 else "natural_expiry",
                                       "confidence": 0.97}},
            },
        }
        for number in range(700)
    ]  # fmt: skip
    rows.append({**rows[0], "task_id": "broken", "error": "its kernel died", "verdict": None})
    write_index(rows, 701, "many <script>", ["a.rdb: read in part"], tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "Of 701 tasks, 300 lost a record that nobody wanted to lose; 1 report could not be made." in page
    assert "300 of the task app.mail" in page and "300 of the queue mail" in page
    assert "12:00:00 and 12:59:00 UTC on 1 March 2026" in page
    assert page.index("Database flushed") < page.index("Expired as set") and "<script" not in page
    # A report that could not be made has decided nothing, and left nothing undecided.
    assert re.search(
        r"No report</bdi></td>\s*<td class=\"n\">1</td>\s*<td class=\"n\">0</td>\s*<td class=\"n\">0</td>", page
    )
    assert "its kernel died" in page and 'href="index-db_flushed.html"' in page
    assert (tmp_path / "index-db_flushed.html").read_text().count("<tr>") == 301
    assert 'href="%253Dt00000/deletion_investigation.html"' in page
    again = list(csv.DictReader((tmp_path / "requeue.csv").open()))
    assert len(again) == 300 and again[0]["task_id"] == "'=t00000" and again[0]["args"] == '["@x", 0]'
    write_index(rows[:1], 1, "few", [], tmp_path)
    assert not (tmp_path / "index-db_flushed.html").exists()
