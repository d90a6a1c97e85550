"""The system of the report, working: its loop, its interface, and what the kit says of a job record that it purged."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import analysis
from analysis.findings.verdict import Evidence, Verdict
from analysis.settings import read_settings
from app.loop import Outcome, optimize
from app.model import ContextExceeded, SeededModel
from tests.reference_system.record import ASKED, QUICK, Recorded, job_id, record, traces_of_this_machine
from tests.reference_system.running import SOURCE, NotRunning, ReferenceSystem

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "demo-with-source"
PROMPT = "Find a slogan for a bicycle repair shop."


def work(prompt: str = PROMPT, *, threshold: float = 0.8, max_iterations: int = 5) -> Outcome:
    return optimize(prompt, SeededModel(prompt), threshold=threshold, max_iterations=max_iterations)


def test_loop_stops_when_the_evaluator_is_satisfied() -> None:
    outcome = work()
    assert (outcome.stop_reason, outcome.converged, outcome.iterations) == ("evaluator_stop", True, 2)
    assert outcome.final_score >= 0.8
    assert work(threshold=outcome.final_score).iterations == 2
    assert work(threshold=0).iterations == 1


def test_loop_stops_after_the_most_iterations() -> None:
    outcome = work(threshold=1, max_iterations=4)
    assert (outcome.stop_reason, outcome.converged, outcome.iterations) == ("max_iterations", False, 4)
    assert outcome.final_score < 1
    # The evaluator has the last word: satisfied in the last iteration is satisfied.
    assert work(max_iterations=2).stop_reason == "evaluator_stop"
    with pytest.raises(ValueError, match="at least 1"):
        work(max_iterations=0)


def test_loop_counts_every_iteration_and_its_tokens() -> None:
    told: list[tuple[int, int]] = []
    outcome = optimize(
        PROMPT, SeededModel(PROMPT), threshold=1, max_iterations=3, progress=lambda *done: told.append(done)
    )
    assert [iterations for iterations, _ in told] == [1, 2, 3]
    tokens = [spent for _, spent in told]
    assert tokens[-1] == outcome.total_tokens and tokens == sorted(set(tokens)) and tokens[0] > 2_000


def test_the_same_job_gives_the_same_text_and_another_gives_another() -> None:
    assert work() == work()
    assert work().text != work(f"{PROMPT} Or two.").text
    # Fixed, and so the same in every process, which a hash of the prompt would not be.
    assert work().total_tokens == 13_832


def test_a_prompt_beyond_the_context_is_refused() -> None:
    with pytest.raises(ContextExceeded, match="takes 16 tokens, the context holds 15"):
        SeededModel("word " * 12, context=15)
    SeededModel("word " * 12, context=16)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceSystem]:
    with ReferenceSystem(tmp_path_factory.mktemp("system"), model_seconds=QUICK.call) as running:
        yield running


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recorded") / "case"


@pytest.fixture(scope="module")
def recorded(system: ReferenceSystem, case: Path) -> Recorded:
    """Six jobs worked, three of their records purged, and the evidence of it in ``case``."""
    return record(system, case)


@pytest.fixture(scope="module")
def verdict(recorded: Recorded, case: Path) -> Verdict:
    return analysis.investigate(analysis.open_case(case), recorded.task_id)


def of_the_purge(verdict: Verdict) -> tuple[Evidence, ...]:
    [purged] = [h for h in verdict.hypotheses if (h.record, h.cause) == ("job", "purged_by_cleanup")]
    return purged.evidence


needs_redis_7 = pytest.mark.redis7


@needs_redis_7
def test_purge_takes_the_records_and_leaves_the_results(system: ReferenceSystem, recorded: Recorded) -> None:
    jobs, results = system.redis.client(0), system.redis.client(2)
    for job in recorded.purged:
        assert system.read(job).status_code == 404
        assert not jobs.exists(f"job:{job}") and results.exists(f"celery-task-meta-{job}")
    listed = system.http.get("/api/jobs").json()
    assert {job["id"] for job in listed} == set(recorded.left)
    said = (system.logs / "app.log").read_text()
    assert "app.api.routers.jobs POST /api/jobs/purge 200 deleted=3 older_than=4 status=completed\n" in said


@needs_redis_7
def test_a_record_tells_how_its_job_ended(system: ReferenceSystem, recorded: Recorded) -> None:
    manual, slow, late = (system.read(job).json() for job in recorded.left)
    assert late["status"] == "completed" and late["stop_reason"] == late["result"]["stop_reason"] == "evaluator_stop"
    assert (late["iterations"], late["total_tokens"]) == (late["result"]["iterations"], late["result"]["total_tokens"])
    assert late["result"]["processing_time"] >= 2 * late["iterations"] * QUICK.call
    assert manual["status"] == "failed" and "the context holds" in manual["error"] and manual["finished_at"]
    assert slow["status"] == "running" and slow["iterations"] >= 1 and slow["finished_at"] is None


@needs_redis_7
def test_requests_that_ask_for_nonsense_are_refused(system: ReferenceSystem, recorded: Recorded) -> None:
    again = system.http.post("/api/jobs", json={"id": recorded.left[0], "prompt": "Again."})
    assert again.status_code == 409
    assert system.read(recorded.left[0]).json()["prompt"] != "Again."
    for asked in ("", "?older_than=-1", "?older_than=0&status=lost"):
        assert system.http.post(f"/api/jobs/purge{asked}").status_code == 422
    assert system.http.post("/api/jobs", json={"prompt": ""}).status_code == 422
    assert system.read("no-id").status_code == 422


@needs_redis_7
def test_what_has_not_finished_is_never_purged(system: ReferenceSystem, recorded: Recorded) -> None:
    assert system.purge(older_than=0, status=["queued", "running"]) == 0
    assert system.purge(older_than=3600) == 0
    assert system.read(recorded.left[1]).json()["status"] == "running"


@needs_redis_7
def test_a_job_that_cannot_be_queued_is_not_left_waiting(system: ReferenceSystem, recorded: Recorded) -> None:
    code = (
        "from fastapi.testclient import TestClient; from app.main import app\n"
        "with TestClient(app) as client:\n"
        f"    status = client.post('/api/jobs', json={{'id': '{job_id('unheard')}', 'prompt': 'Hello?'}}).status_code\n"
        "    print(status, client.get('/api/jobs').json()[0]['error'])"
    )
    nowhere = {"CELERY_BROKER_URL": "redis://127.0.0.1:1/1"}
    said = subprocess.run(
        [sys.executable, "-c", code], env=system.environment | nowhere, capture_output=True, text=True, timeout=60
    )
    assert said.stdout.strip() == "503 could not be queued", said.stderr
    system.redis.client(0).delete(f"job:{job_id('unheard')}")


# The last that asks the running system: it takes a record that the tests before look at.
@needs_redis_7
def test_scripts_purge_and_verify(system: ReferenceSystem, recorded: Recorded, tmp_path: Path) -> None:
    manual, *_ = recorded.left
    ids = tmp_path / "ids.txt"
    ids.write_text(f"{manual}\n{recorded.purged[0]}\n")
    purge = ["purge_jobs", "--older-than", "0", "--status", "failed"]
    rehearsed, before = system.script(*purge, "--dry-run"), system.script("verify_purge", str(ids))
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert before.returncode == 1 and f"{manual} remains result" in before.stdout
    assert system.script(*purge).returncode == 0
    after = system.script("verify_purge", str(ids))
    assert after.returncode == 0 and f"{manual} gone result" in after.stdout
    said = (system.logs / "app.log").read_text()
    assert "purge_jobs would delete=1 older_than=0 status=failed" in said
    assert "purge_jobs deleted=1 older_than=0 status=failed" in said


@needs_redis_7
def test_kit_says_that_the_result_is_there_and_its_record_was_purged(verdict: Verdict) -> None:
    result, job = verdict.records["result"], verdict.records["job"]
    assert (result.status, result.cause) == ("present", "present") and result.confidence > 0.9
    assert (job.status, job.cause) == ("absent", "purged_by_cleanup") and job.confidence > 0.5
    assert verdict.unexpected_loss is False


@needs_redis_7
def test_kit_names_the_line_of_the_log_that_counts_the_purge(verdict: Verdict, case: Path) -> None:
    sources = [piece.source for piece in of_the_purge(verdict)]
    lines = [source.removeprefix("logs/app.log:") for source in sources if source.startswith("logs/app.log:")]
    assert lines, sources
    said = (case / "logs" / "app.log").read_text().splitlines()[int(lines[0]) - 1]
    assert "POST /api/jobs/purge 200 deleted=3 older_than=4 status=completed" in said


@needs_redis_7
def test_kit_names_the_counter_of_deletions(verdict: Verdict) -> None:
    counted = [piece for piece in of_the_purge(verdict) if piece.source.startswith("info-")]
    assert any(
        re.search(r"\bDEL\b.* \d+ times?|cmdstat_(?:del|unlink)", f"{piece.says} {piece.source}") for piece in counted
    )


@needs_redis_7
def test_kit_names_the_code_that_purges(verdict: Verdict) -> None:
    code = [piece for piece in of_the_purge(verdict) if piece.id == "purge-code"]
    assert code and all(piece.source.startswith("src/") for piece in code)
    # The line that deletes, or the route that leads to it.
    places = [re.match(r"src/(app/(?:records|api/routers/jobs)\.py):(\d+)", piece.source) for piece in code]
    lines = [(SOURCE / place[1]).read_text().splitlines()[int(place[2]) - 1] for place in places if place]
    assert any("delete" in line or "purge" in line for line in lines), code


@needs_redis_7
def test_kit_does_not_call_purged_what_the_purge_left(recorded: Recorded, case: Path) -> None:
    opened = analysis.open_case(case)
    for job in recorded.left:
        record = analysis.investigate(opened, job).records["job"]
        assert (record.status, record.cause) == ("present", "present")


def test_shipped_case_is_what_the_recorder_makes() -> None:
    found = {path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*") if path.is_file()}
    source = set(SOURCE.rglob("*.py"))
    assert {re.sub(r"\d{8}T\d{6}Z", "*", name) for name in found if not name.startswith("src/")} == {
        "after.rdb",
        "appendonlydir/appendonly.aof.1.base.rdb",
        "appendonlydir/appendonly.aof.1.incr.aof",
        "appendonlydir/appendonly.aof.manifest",
        "before.rdb",
        "case.toml",
        "clients.txt",
        "config.json",
        "info-*.txt",
        "logs/access.log",
        "logs/app.log",
        "logs/celery-worker-1.log",
        "logs/redis-server.log",
        "slowlog.json",
    }
    assert len([name for name in found if name.startswith("info-")]) == 2
    assert sum((SHIPPED / name).stat().st_size for name in found) < 400_000
    # Where the application changes, the case is recorded anew, so that its lines are those that ran.
    assert {name.removeprefix("src/") for name in found if name.startswith("src/")} == {
        path.relative_to(SOURCE).as_posix() for path in source
    }
    for path in source:
        assert (SHIPPED / "src" / path.relative_to(SOURCE)).read_bytes() == path.read_bytes(), path


def test_shipped_case_says_which_task_to_ask_about() -> None:
    settings = read_settings(SHIPPED / "case.toml")
    assert str(job_id(ASKED)) in settings.name
    assert settings.databases == {"main": 0, "broker": 1, "results": 2} and settings.result_expires == 86_400
    assert settings.jobs and (settings.jobs.key, settings.jobs.expires) == ("job:{id}", 0)
    verdict = analysis.investigate(analysis.open_case(SHIPPED), str(job_id(ASKED)))
    assert verdict.records["result"].cause == "present" and verdict.records["job"].cause == "purged_by_cleanup"


def test_recorder_sees_where_a_case_names_the_machine(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "dump.rdb").write_bytes(b"\xff" + str(Path.cwd() / "elsewhere").encode())
    (tmp_path / "logs" / "app.log").write_text(f"{SOURCE}/app/main.py\nstudio\n")
    found = traces_of_this_machine(tmp_path, Path.cwd() / "elsewhere")
    assert [line.partition(":")[0] for line in found if "elsewhere" in line] == ["dump.rdb"]
    assert any(line.startswith("logs/app.log: ") for line in found)


def test_shipped_case_names_no_machine_and_holds_no_secret() -> None:
    foreign = re.compile(rb"/(?:home|Users|tmp|work)/|site-packages|redis://:[^*]|BEGIN [A-Z ]*KEY")
    for path in SHIPPED.rglob("*"):
        assert not path.is_file() or not foreign.search(path.read_bytes()), path


def test_without_redis_7_the_system_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.reference_system.running.find_redis", lambda: None)
    with pytest.raises(NotRunning, match="redis-server of version 7.0"), ReferenceSystem(tmp_path):
        pass
