"""The command: exit status, one line for each refusal, and what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import jsonschema
import pytest

from analysis.findings.verdict import schema
from analysis.report.bundle import folder_name

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "data" / "demo"
TASK = "c93afef4-105f-425c-af86-9ced40d30ee0"


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "analysis", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that investigating the demo's task leaves."""
    out = tmp_path_factory.mktemp("reports")
    done = run("investigate", "c93afef4", DEMO, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["task_id"] == TASK and Path(said["report"]) == out / TASK / "deletion_investigation.html"
    return out / TASK


def test_an_investigation_leaves_what_the_contract_says(report):
    stamp = "20250724_023838"
    left = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    assert left == {
        "deletion_investigation.html",
        "deletion_investigation.ipynb",
        "verdict.json",
        f"task_detailed_analysis_{stamp}.json",
        *(
            f"task_deletion_evidence_{stamp}/{name}"
            for name in (
                "task_traces.json",
                "bulk_patterns.json",
                "all_task_ids.json",
                "redis_server_info.json",
                "summary.txt",
                "SHA256SUMS",
                "EVIDENCE.SHA256SUMS",
            )
        ),
    }
    verdict = json.loads((report / "verdict.json").read_text())
    jsonschema.validate(verdict, schema())
    assert verdict["as_of"] == "2025-07-24T02:38:38Z"
    assert verdict["records"]["result"]["where"] == [f"db2:celery-task-meta-{TASK}"]


def test_the_sums_are_right(report):
    evidence = report / "task_deletion_evidence_20250724_023838"
    for folder, name in ((evidence, "SHA256SUMS"), (DEMO, evidence / "EVIDENCE.SHA256SUMS")):
        checked = subprocess.run(["sha256sum", "-c", name], cwd=folder, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


def test_the_demo_says_what_the_seed_report_got_wrong(report):
    page = (report / "deletion_investigation.html").read_text()
    for text in (
        "78,977 s (~21.9 h)",
        "2025-07-24T00:34:55.853571Z",
        "271.88 s",
        "18,482",
        "evaluator_stop",
        "6.0.16",
        "11,550 s",
        "1 h 04 min before the task began",
        "too early to have cost it anything",
        "That is inferred from log and counters; the snapshot does not show it",
        "2025-07-24 02:38:38 UTC (2025-07-23 22:38:38 America/New_York)",
        "No unexpected loss",
    ):
        assert text in page, text
    verdict = json.loads((report / "verdict.json").read_text())
    assert verdict["headline"].startswith("The task was not deleted")
    assert verdict["records"]["job"]["cause"] == "purged_by_cleanup"


def test_a_rerun_replaces_and_leaves_nothing_beside(report):
    before = sorted(path.relative_to(report) for path in report.rglob("*"))
    assert run("investigate", TASK, DEMO, "--out", report.parent, "--quiet").returncode == 0
    assert sorted(path.relative_to(report) for path in report.rglob("*")) == before


def test_no_file_names_the_machine_it_was_made_on(report):
    page = (report / "deletion_investigation.html").read_text()
    for trace in (str(ROOT), str(report.parent), str(Path.home()), os.uname().nodename):
        if len(trace) > 3:
            assert trace not in page


@pytest.mark.parametrize("verb", ["overview", "ttl", "bulk"])
def test_a_report_on_the_whole_case_leaves_page_notebook_and_numbers(verb, tmp_path):
    name = {"overview": "overview", "ttl": "ttl_distributions", "bulk": "bulk_patterns"}[verb]
    done = run(verb, DEMO, "--out", tmp_path, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / f"{name}.html")
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.html", f"{name}.ipynb", f"{name}.json"}
    assert json.loads((tmp_path / f"{name}.json").read_text())["headline"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["investigate", TASK, "/no/such/place"], "/no/such/place"),
        (["investigate", TASK, "redis://:hunter2@127.0.0.1:1/0"], "redis://"),
        (["investigate", "", DEMO], "empty"),
        (["investigate", "e", DEMO], "beginning of 2 known IDs"),
        (["investigate", TASK], "task ID"),
        (["investigate"], "CASE"),
        (["tasks", DEMO, "--since", "soon"], "--since"),
        (["tasks", DEMO, "--since", "9999-12-31T23:59:59"], "--since"),
        (["investigate", "a\udcff", DEMO], "not UTF-8"),
        (["investigate", TASK, DEMO, "--quiet", "--cache", "/dev/null/x"], "/dev/null/x"),
        (["investigate", TASK, DEMO, "--quiet", "--out", "/dev/null/x"], "/dev/null/x"),
        (["nonsense"], "nonsense"),
        (["inspect", DEMO, "--nonsense"], "--nonsense"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(arguments, names, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and names in done.stderr
    assert "hunter2" not in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_case_toml_is_status_2_and_names_the_line(tmp_path):
    shutil.copytree(DEMO, tmp_path / "case")
    (tmp_path / "case" / "case.toml").write_text("[celery]\nresult_expires = 'long'\n")
    done = run("inspect", tmp_path / "case")
    assert (done.returncode, done.stdout) == (2, "")
    assert "case.toml, line 2" in done.stderr


def test_an_empty_case_is_status_2(tmp_path):
    for verb in (["inspect"], ["tasks"], ["ttl"], ["investigate", TASK]):
        assert run(*verb, tmp_path, "--out", tmp_path / "out").returncode == 2
    assert not (tmp_path / "out").exists()


def test_evidence_left_out_is_status_1_and_a_line_on_standard_error(tmp_path):
    shutil.copytree(DEMO, tmp_path / "case")
    (tmp_path / "case" / "second.rdb").write_bytes(b"REDIS0009 and then nothing")
    done = run("investigate", TASK, tmp_path / "case", "--out", tmp_path / "out", "--quiet")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "second.rdb" in line]
    assert (tmp_path / "out" / TASK / "verdict.json").is_file()


def test_inspect_prints_one_object_a_line():
    done = run("inspect", DEMO, "--json")
    assert done.returncode == 0
    [line] = done.stdout.splitlines()
    said = json.loads(line)
    assert set(said) == {"evidence", "ignored", "gaps"}
    assert set(said["evidence"][0]) == {"path", "kind", "sha256", "from", "to", "complete", "stopped_at", "reason"}


def test_tasks_can_be_chosen():
    def ids(*options: str) -> list[str]:
        done = run("tasks", DEMO, "--json", "--quiet", *options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["task_id"][:4] for line in done.stdout.splitlines()]

    assert ids() == ["6918", "c93a", "e686", "ed14"]
    assert ids("--text", "max_iterations") == ["e686"]
    assert ids("--since", "2025-07-23T21:00:00") == ["e686", "ed14"]
    assert ids("--until", "2025-07-24T00:00:00Z") == ["6918"]
    assert ids("--name", "app.tasks.*") == ids()
    assert ids("--name", "nothing.*") == []


ODD = [
    "1e10",
    "00123",
    "None",
    "True",
    "../../etc/passwd",
    "..",
    ".",
    "a/b",
    "a b",
    "ä\u202e",
    "x" * 10_000,
    "<b>",
    "%2E",
]


@pytest.mark.parametrize("task_id", ODD, ids=lambda task_id: task_id[:12])
def test_the_folder_of_an_odd_id_is_one_safe_name(task_id):
    name = folder_name(task_id)
    assert "/" not in name and name not in (".", "..") and 0 < len(name.encode()) <= 200
    if len(quote(task_id, safe="")) <= 200 and set(task_id) != {"."}:
        assert name == quote(task_id, safe="")
    assert folder_name("..") == "%2E%2E" and folder_name(".") == "%2E"


def test_odd_ids_are_investigated_as_they_are(tmp_path):
    odd = ["1e10", "00123", "None", "../../etc/passwd", "..", "x" * 10_000]
    done = run("investigate", *odd, DEMO, "--out", tmp_path / "out", "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["task_id"] for one in said] == odd
    assert {one["records"]["result"]["cause"] for one in said} <= {"unknown", "never_published"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(map(folder_name, odd))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_an_info_with_impossible_figures_costs_no_report(tmp_path):
    shutil.copytree(DEMO, tmp_path / "case")
    info = tmp_path / "case" / "info-20250724T023838Z.txt"
    text = info.read_text().replace("uptime_in_seconds:11550", "uptime_in_seconds:999999999999")
    info.write_text(text.replace("evicted_keys:0", "evicted_keys:-5"))
    done = run("investigate", TASK, tmp_path / "case", "--out", tmp_path / "out", "--quiet")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / TASK / "verdict.json").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_standard_output_that_is_full_is_one_line():
    command = [sys.executable, "-m", "analysis", "inspect", str(DEMO)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "No space left" in line] and "Traceback" not in done.stderr
