"""The verdict: each first cause where its evidence is there, and none of them where it is not."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from analysis.celery.jobs import JobsSettings
from analysis.findings.conclude import conclude
from analysis.findings.verdict import Verdict, schema
from analysis.settings import Settings
from tests.findings.cases import TASK, at, event, info, message, result, snapshot, view

OTHER = "9a1b2c3d-0000-4000-8000-1234567890ab"


def concluded(**parts) -> Verdict:
    verdict = conclude(view(**parts), "a case")
    jsonschema.validate(verdict.to_dict(), schema())
    return verdict


def led(verdict: Verdict, record: str = "result") -> tuple[str, str]:
    return verdict.records[record].cause, verdict.records[record].status


def share(verdict: Verdict, cause: str, record: str = "result") -> float:
    return sum(h.probability for h in verdict.of(record) if h.cause == cause)


def test_no_evidence_is_unknown_and_no_loss_is_claimed():
    verdict = concluded()
    assert led(verdict) == ("unknown", "unknown")
    assert verdict.unexpected_loss is None
    assert verdict.as_of is None
    assert "job" not in verdict.records


def test_a_result_in_the_last_snapshot_is_present():
    verdict = concluded(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb")])
    assert led(verdict) == ("present", "present")
    assert verdict.records["result"].confidence > 0.99
    assert verdict.records["result"].where == (f"db2:celery-task-meta-{TASK}",)
    assert led(verdict, "message") == ("consumed", "absent")
    assert verdict.unexpected_loss is False
    assert verdict.headline.startswith("The task was not deleted: at 12:01 UTC on 1 March 2026 its result was in DB 2")


def test_a_result_past_its_expiry_at_the_end_of_the_case_has_expired_though_it_is_in_the_file():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", expires=60)], stated=Settings(result_expires=60)
    )
    assert led(verdict) == ("natural_expiry", "absent")
    assert verdict.records["result"].where == ()
    assert verdict.unexpected_loss is False


def test_an_expiry_earlier_than_the_policy_is_no_natural_one():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", expires=60)], stated=Settings(result_expires=3600)
    )
    assert led(verdict) == ("ttl_shortened", "absent")
    assert verdict.unexpected_loss is True


def test_a_result_whose_retention_has_passed_has_expired():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 7200)],
        events=[event("received", 0), event("succeeded", 5, seconds=4.9)],
        stated=Settings(result_expires=3600),
    )
    assert led(verdict) == ("natural_expiry", "absent")
    assert verdict.records["result"].confidence > 0.7


def test_a_result_gone_before_its_retention_has_not_expired():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 600)],
        events=[event("received", 0), event("succeeded", 5, seconds=4.9)],
        stated=Settings(result_expires=3600),
    )
    assert led(verdict) == ("unknown", "absent")
    assert share(verdict, "natural_expiry") < 0.01
    assert share(verdict, "present") < 0.01


def test_sightings_stand_in_the_order_of_their_times_not_of_their_names():
    parts: dict[str, Any] = {
        "evidence": [snapshot("z.rdb", 100), snapshot("b.rdb", 200), snapshot("a.rdb", 9000)],
        "tasks": [result("z.rdb", expires=86_400), result("b.rdb", expires=600)],
    }
    seen = view(**parts)
    assert seen.results["snapshot"].tolist() == ["z.rdb", "b.rdb"]
    assert seen.expires is not None and seen.expires.at == at(600)
    assert led(concluded(**parts)) == ("natural_expiry", "absent")


def test_a_snapshot_older_than_the_result_does_not_show_that_it_is_missing():
    verdict = concluded(
        evidence=[snapshot("a.rdb", -600)], events=[event("succeeded", 5)], stated=Settings(result_expires=3600)
    )
    assert not any(e.id == "not-in-snapshot" for h in verdict.of("result") for e in h.evidence)
    assert verdict.records["result"].status == "unknown"


def test_a_part_of_a_snapshot_does_not_show_that_anything_is_missing():
    verdict = concluded(evidence=[snapshot("a.rdb", 600, complete=False)], events=[event("succeeded", 5)])
    assert not any(e.id == "not-in-snapshot" for h in verdict.of("result") for e in h.evidence)


def test_a_result_reported_missing_long_after_its_last_snapshot_is_not_called_present():
    held = {"evidence": [snapshot("a.rdb", 60)], "tasks": [result("a.rdb")]}
    later = concluded(**held, stated=Settings(noticed_at=at(40000)))
    assert share(later, "present") < 0.5
    soon = concluded(**held, stated=Settings(noticed_at=at(61)))
    assert led(soon) == ("present", "present")


def test_another_database_than_stated_is_the_wrong_one():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", db=3)], stated=Settings(databases={"results": 2})
    )
    assert led(verdict) == ("wrong_database", "present")
    assert verdict.records["result"].where == (f"db3:celery-task-meta-{TASK}",)
    nothing_stated = concluded(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", db=3)])
    assert led(nothing_stated) == ("present", "present")


@pytest.mark.parametrize(
    ("stated", "cause"), [("", "wrong_prefix"), ("app1", "present"), ("app1_", "present"), (None, "present")]
)
def test_another_prefix_than_stated_is_the_wrong_one(stated, cause):
    key = f"app1_celery-task-meta-{TASK}"
    verdict = concluded(
        evidence=[snapshot("a.rdb", 100)],
        tasks=[result("a.rdb", key=key)],
        keys=[
            {"server": "", "snapshot": "a.rdb", "db": 2, "key": key, "prefix": "app1_", "task_id": TASK, "offset": 100}
        ],
        stated=Settings(key_prefix=stated),
    )
    assert led(verdict) == (cause, "present")


def test_another_server_than_the_environment_is_the_wrong_one():
    shots = [
        snapshot("servers/staging/a.rdb", 100, server="staging"),
        snapshot("servers/production/a.rdb", 100, server="production"),
    ]
    verdict = concluded(
        evidence=shots,
        tasks=[result("servers/staging/a.rdb", server="staging")],
        stated=Settings(environment="production"),
    )
    assert led(verdict) == ("wrong_node", "present")
    assert verdict.records["result"].where[0].startswith("staging/db2:")


@pytest.mark.parametrize(("state", "key"), [("queued", "celery\x06\x166"), ("unacked", "unacked")])
def test_a_message_that_waits_or_is_held_says_so_for_the_result_too(state, key):
    cause = {"queued": "queued", "unacked": "reserved"}[state]
    verdict = concluded(evidence=[snapshot("a.rdb", 100)], messages=[message("a.rdb", state=state, key=key)])
    assert led(verdict, "message") == (cause, "in_flight")
    assert led(verdict) == (cause, "in_flight")
    assert verdict.records["result"].where == (f"db1:{key}",)
    assert verdict.unexpected_loss is False


def test_a_groups_id_is_no_task_id():
    verdict = concluded(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", task_id=OTHER, group_id=TASK)])
    for record in ("result", "message"):
        assert led(verdict, record) == ("wrong_id", "absent")


def test_a_parents_id_is_a_task_and_may_have_lost_its_result():
    verdict = concluded(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", task_id=OTHER, parent_id=TASK)])
    assert share(verdict, "wrong_id") < 0.5


def test_a_slip_in_the_id_names_the_one_that_was_meant():
    meant = TASK[:-1] + "f"
    verdict = concluded(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", task_id=meant)])
    assert led(verdict) == ("wrong_id", "absent")
    assert any(meant in e.says for h in verdict.of("result") for e in h.evidence)


def test_an_id_that_nobody_knows_is_not_called_never_sent_without_a_witness_of_all_sends():
    verdict = concluded(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", task_id=OTHER)])
    assert verdict.records["result"].cause == "unknown"


def test_an_id_for_which_no_push_is_left_over_was_never_sent():
    parts = {"evidence": [snapshot("a.rdb", 100)], "tasks": [result("a.rdb", task_id=OTHER)]}
    missed = Settings(noticed_at=at(90))
    known = concluded(**parts, stated=missed, infos=[info(100, uptime=9000, counters={"cmdstat_lpush": 1})])
    assert led(known) == ("never_published", "absent")
    assert known.unexpected_loss is True
    blind: dict[str, Any] = {
        "one push more": {"stated": missed, "infos": [info(100, uptime=9000, counters={"cmdstat_lpush": 2})]},
        "not said when": {"infos": [info(100, uptime=9000, counters={"cmdstat_lpush": 1})]},
        "started since": {"stated": missed, "infos": [info(100, uptime=5, counters={"cmdstat_lpush": 0})]},
        "asked before": {"stated": Settings(noticed_at=at(9000)), "infos": [info(100, uptime=9000)]},
        "reset unknown": {"stated": missed, "infos": [info(100, uptime=9000, counters_reset=None)]},
        "other IDs": {
            "stated": missed,
            "infos": [info(100, uptime=9000, counters={"cmdstat_lpush": 2})],
            "events": [
                event("mentioned", 10, task_id=f"{number:08d}-0000-4000-8000-000000000000") for number in range(9)
            ],
        },
    }
    for name, more in blind.items():
        assert concluded(**parts, **more).records["result"].cause == "unknown", name


JOBS = Settings(jobs=JobsSettings("job:{id}", None, None), databases={"main": 0})


def purged(**more):
    return concluded(
        evidence=[snapshot("a.rdb", 1000)],
        tasks=[result("a.rdb", stored=60)],
        events=[
            event("received", 0),
            event("succeeded", 60, seconds=59.0),
            event("purge", 500, task_id=None, count=1, source="app.log"),
        ],
        stated=JOBS,
        **more,
    )


def test_a_logged_purge_is_the_likely_cause_and_never_certain():
    verdict = purged()
    assert led(verdict, "job") == ("purged_by_cleanup", "absent")
    assert 0.5 < verdict.records["job"].confidence < 0.99
    assert verdict.unexpected_loss is False
    assert "inferred" in verdict.summary


def test_a_purge_before_the_task_began_explains_nothing():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 1000)],
        tasks=[result("a.rdb", stored=60)],
        events=[event("received", 0), event("purge", -500, task_id=None, count=1)],
        stated=JOBS,
    )
    assert verdict.records["job"].cause == "unknown"


def test_a_purge_contradicted_by_counters_is_not_believed():
    verdict = purged(infos=[info(1000, uptime=5000, counters={"cmdstat_set": 3})])
    assert verdict.records["job"].cause == "unknown"


def test_counters_that_stood_still_rule_their_causes_out_for_the_time_they_cover():
    parts: dict[str, Any] = {
        "evidence": [snapshot("a.rdb", 1000)],
        "events": [event("succeeded", 0)],
        "stated": Settings(result_expires=86400),
    }
    blind, seen = concluded(**parts), concluded(**parts, infos=[info(1000, uptime=5000)])
    for cause in ("evicted", "db_flushed", "server_flushed", "deleted_by_client", "restart_data_loss"):
        assert share(seen, cause) < share(blind, cause) / 50, cause
    early = concluded(**parts, infos=[info(10, uptime=5000)])
    for cause in ("evicted", "db_flushed", "server_flushed", "deleted_by_client"):
        assert share(early, cause) > share(blind, cause) / 2, cause


def test_a_counter_that_is_not_reported_is_no_zero():
    missing = info(1000, uptime=5000, evicted_keys=None)
    missing["counters"] = {}
    verdict = concluded(evidence=[snapshot("a.rdb", 1000)], events=[event("succeeded", 0)], infos=[missing])
    found = {e.id for h in verdict.of("result") for e in h.evidence}
    assert not found & {"no-eviction", "no-flush", "no-removal"}


def test_a_restart_before_the_task_is_said_to_have_cost_it_nothing():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 1000)],
        tasks=[result("a.rdb", stored=60)],
        events=[event("received", 0), event("succeeded", 60)],
        infos=[info(1000, uptime=1000 + 3600)],
    )
    assert "1 h 00 min before the task began" in verdict.summary
    assert "too early to have cost it anything" in verdict.summary


def test_the_first_action_never_writes_to_the_server():
    for parts in ({}, {"evidence": [snapshot("a.rdb", 1000)], "tasks": [result("a.rdb")]}):
        first = concluded(**parts).actions[0].lower()
        assert first.startswith(("copy", "leave"))
        assert "config set" not in first


def test_a_result_gone_before_its_recorded_expiry_has_not_expired_however_late_the_case_ends():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 60), snapshot("b.rdb", 600)],
        tasks=[result("a.rdb", expires=3600)],
        events=[event("succeeded", 0), event("worker_ready", 90000, task_id=None)],
        stated=Settings(result_expires=3600),
    )
    assert share(verdict, "natural_expiry") < 0.01
    assert verdict.records["result"].status == "absent"


def test_an_answer_from_before_the_result_says_nothing_about_its_loss():
    parts: dict[str, Any] = {
        "evidence": [snapshot("a.rdb", 1000)],
        "events": [event("succeeded", 500)],
        "stated": Settings(result_expires=86400),
    }
    blind, before = concluded(**parts), concluded(**parts, infos=[info(100, uptime=5000)])
    for cause in ("evicted", "db_flushed", "deleted_by_client"):
        assert share(before, cause) == pytest.approx(share(blind, cause), rel=0.05), cause


def test_a_cut_snapshot_does_not_date_the_loss():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 60), snapshot("b.rdb", 600, complete=False)],
        tasks=[result("a.rdb", expires=3600)],
        stated=Settings(result_expires=3600),
    )
    assert not any(e.id == "gone-early" for h in verdict.of("result") for e in h.evidence)


def test_results_stored_before_rule_out_a_flush_and_later_ones_do_not():
    def concluded_with(stored: float) -> Verdict:
        return concluded(
            evidence=[snapshot("a.rdb", 1000)],
            tasks=[result("a.rdb", task_id=OTHER, stored=stored)],
            events=[event("succeeded", 500)],
            stated=Settings(result_expires=86400, databases={"results": 2}),
        )

    for cause in ("db_flushed", "server_flushed"):
        assert share(concluded_with(400), cause) < share(concluded_with(600), cause) / 15, cause


@pytest.mark.parametrize(("policy", "possible"), [("volatile-lru", False), ("allkeys-lru", True)])
def test_a_queue_is_not_evicted_by_a_policy_that_takes_only_keys_with_a_ttl(policy, possible):
    verdict = concluded(
        evidence=[snapshot("a.rdb", 1000)],
        infos=[info(1000, uptime=5000, evicted_keys=7, maxmemory_policy=policy)],
        stated=Settings(noticed_at=at(900)),
    )
    assert (share(verdict, "evicted", "message") > 0.01) is possible


def test_a_verdict_shows_itself_as_html_and_as_text():
    hostile = "<b>" + TASK
    verdict = concluded(task_id=hostile, evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", task_id=hostile)])
    assert "The task was not deleted" in repr(verdict) and "The task was not deleted" in verdict._repr_html_()
    assert "<b>" in repr(verdict) and "<b>" not in verdict._repr_html_()


def test_an_expiry_that_was_moved_later_is_not_the_one_that_counts():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 10), snapshot("b.rdb", 20), snapshot("c.rdb", 100)],
        tasks=[result("a.rdb", expires=30), result("b.rdb", stored=15, expires=90_000)],
        stated=Settings(result_expires=30),
    )
    assert share(verdict, "natural_expiry") < 0.01
    assert verdict.unexpected_loss is not False
    assert "it expired" not in verdict.headline


def test_another_servers_snapshot_shows_nothing_of_the_one_it_was_looked_for_on():
    production = {"server": "production", "path": "servers/production/info.txt", "kind": "info", "complete": True}
    verdict = concluded(
        evidence=[production, snapshot("servers/staging/a.rdb", 600, server="staging")],
        events=[event("succeeded", 5)],
        stated=Settings(environment="production", result_expires=3600),
    )
    found = {e.id for h in verdict.of("result") for e in h.evidence}
    assert not found & {"not-in-snapshot", "gone-early"}
    assert verdict.records["result"].status == "unknown"


def test_a_replica_does_not_know_what_its_master_evicted_or_flushed():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 1000)],
        events=[event("succeeded", 0)],
        infos=[info(1000, uptime=5000, role="slave")],
        stated=Settings(result_expires=86400),
    )
    found = {e.id for h in verdict.of("result") for e in h.evidence}
    assert not found & {"no-eviction", "no-flush", "no-removal", "none-expired"}


def test_of_two_places_the_one_where_it_was_looked_for_is_told():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 100)],
        tasks=[result("a.rdb", db=0, expires=500, offset=1), result("a.rdb", db=2, offset=2)],
        stated=Settings(databases={"results": 2}),
    )
    assert led(verdict) == ("present", "present")
    assert "in DB 2" in verdict.headline and "-n 2" in verdict.actions[0]
    assert [where[:3] for where in verdict.records["result"].where] == ["db2", "db0"]


@pytest.mark.parametrize("status", ["STARTED", "RETRY", "REVOKED"])
def test_a_record_that_is_no_result_is_not_called_one(status):
    verdict = concluded(evidence=[snapshot("a.rdb", 100)], tasks=[result("a.rdb", status=status)])
    assert f"its record was in DB 2 and said {status}" in verdict.headline


def test_a_restart_that_only_the_log_of_the_server_tells_is_weighed():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 1000)],
        events=[event("succeeded", 0), event("server_started", 500, task_id=None, source="redis.log")],
        infos=[info(100, uptime=5000)],
        config={"save": "", "appendonly": "no"},
        stated=Settings(result_expires=86400),
    )
    assert led(verdict) == ("restart_data_loss", "absent")
    assert "restarted on" in verdict.summary and "after the task had begun" in verdict.summary


def test_a_task_that_was_run_again_is_told_by_its_last_run():
    verdict = concluded(
        evidence=[snapshot("a.rdb", 1000)],
        tasks=[result("a.rdb", stored=900)],
        events=[event("received", 0), event("failed", 10), event("received", 800), event("succeeded", 900)],
    )
    assert "finished normally" in verdict.summary


def test_results_that_none_of_its_siblings_has_did_not_expire():
    siblings = [
        event(
            "succeeded", 90_000 + number, name="shop.mail", task_id=f"{number:08d}-0000-4000-8000-00000000000{number}"
        )
        for number in range(3)
    ]
    parts = {"evidence": [snapshot("a.rdb", 100_000)], "stated": Settings(result_expires=86400)}
    alone = concluded(**parts, events=[event("succeeded", 0, name="shop.mail")])
    among = concluded(**parts, events=[event("succeeded", 0, name="shop.mail"), *siblings])
    assert alone.records["result"].cause == "natural_expiry"
    assert among.records["result"].cause == "unknown"


def test_a_purge_that_names_the_task_is_stronger_and_one_that_names_another_says_nothing():
    def purged_by(**named: Any) -> Verdict:
        line = event("purge", 500, count=1, source="app.log", **named)
        parts = {"evidence": [snapshot("a.rdb", 1000)], "tasks": [result("a.rdb", stored=60)], "stated": JOBS}
        return concluded(**parts, events=[event("received", 0), event("succeeded", 60), line])

    nobody, this, other = purged_by(task_id=None), purged_by(), purged_by(task_id=OTHER)
    assert this.records["job"].confidence > nobody.records["job"].confidence
    assert "names this one" in this.summary and "does not name them" in nobody.summary
    assert other.records["job"].cause == "unknown"
