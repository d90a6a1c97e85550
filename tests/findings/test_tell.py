"""What is said of every cause: headline, summary, facts and answers, as sure as the conclusion and no surer."""

from __future__ import annotations

import pytest

from analysis.findings.causes import CAUSES, PRIORS
from analysis.findings.telling import tell
from analysis.findings.telling.accounts import ACCOUNTS, told
from analysis.findings.telling.answers import answers
from analysis.findings.telling.particulars import hedge
from analysis.findings.verdict import Record
from analysis.settings import Settings
from tests.findings.cases import TASK, at, snapshot, view
from tests.findings.telling import (
    CONSUMED,
    KNOWN,
    command,
    found,
    gone,
    records,
    seen_as,
    streamed,
    there,
    weighed,
    well_formed,
)  # fmt: skip

SPAN = "between 12:01:00 and 12:10:00 UTC on 1 March 2026"
UNDER = "Redis removed it to stay under its memory limit (maxmemory)."
SHOWN = (gone(), streamed(), view())


def test_every_cause_is_told():
    assert set(ACCOUNTS) == set(KNOWN)


@pytest.mark.parametrize("confidence", [0.4, 0.8, 0.995])
@pytest.mark.parametrize("cause", KNOWN)
def test_every_cause_has_a_headline_a_summary_facts_and_answers(cause, confidence):
    met = records(cause, confidence)
    for shown in (seen_as(cause), *SHOWN):
        well_formed(tell.headline(shown, met))
        for line in tell.summary(shown, met, weighed(met)).splitlines():
            well_formed(line)
        for fact in tell.facts(shown, met, weighed(met)):
            assert fact.answer and not fact.answer.endswith(".")
        questions = answers(shown, met, weighed(met))
        assert len(questions) == 6
        for _, answer in questions:
            well_formed(answer)


@pytest.mark.parametrize("record", ["job", "message"])
def test_every_cause_of_the_other_records_is_told_with_their_own_name(record):
    for cause in PRIORS[record]:
        if cause != "unknown":
            noun = {"job": "job record", "message": "message"}[record]
            text = told(SHOWN[0], record, Record("absent", cause, 0.95))
            well_formed(text)
            assert noun in text and "very likely" in text


@pytest.mark.parametrize(
    ("confidence", "headline"),
    [
        (0.995, f"The result was evicted {SPAN}: {UNDER}"),
        (0.95, f"The result was very likely evicted {SPAN}: {UNDER}"),
        (0.8, f"The result was likely evicted {SPAN}: {UNDER}"),
        (0.55, f"The result was more likely than not evicted {SPAN}: {UNDER}"),
        (0.4, "The result was there at 12:01 UTC on 1 March 2026, and gone by 12:10 UTC on 1 March 2026, 23 h 49 min "
         "before it was due to expire; what took it is not decided by this evidence. The likeliest (40 %) is that the "
         f"result was evicted {SPAN}: {UNDER}"),
    ],
)  # fmt: skip
def test_a_headline_is_worded_as_sure_as_it_is(confidence, headline):
    assert tell.headline(gone(), records("evicted", confidence)) == headline


@pytest.mark.parametrize("cause", [cause for cause in KNOWN if cause != "undecodable"])
def test_under_certainty_every_headline_says_how_sure(cause):
    for confidence in (0.55, 0.8, 0.95):
        text = tell.headline(seen_as(cause), records(cause, confidence))
        assert hedge(confidence).strip() in text, text


def test_a_deletion_names_command_time_and_how_early():
    lead = records("deleted_by_client")
    by = {"client": "10.0.0.5:51234", "client_name": "shell", "user": "ops"}
    shown = streamed(command("DEL", 300, removed_by="client", **by))
    assert tell.headline(shown, lead) == (
        "The result was deleted by a client on 1 March 2026 at 12:05:00 UTC: DEL named its key, 23 h 55 min before it "
        "was due to expire."
    )
    assert tell.by_whom(shown, lead) == "The command was sent by 10.0.0.5:51234, named shell, user ops."
    assert (
        tell.by_whom(streamed(command("DEL", 300, removed_by="client")), lead)
        == "Which client sent the command is not recorded."
    )


def test_a_witness_of_another_end_only_bounds_the_time():
    text = tell.headline(streamed(command("DEL", 300, removed_by="client")), records("evicted"))
    assert "between 12:00:05 and 12:05:00 UTC" in text


def test_a_result_that_never_came_to_be_is_not_called_gone():
    for cause in (
        "worker_killed",
        "queue_purged",
        "revoked",
        "lost_in_pop",
        "discarded",
        "unroutable",
        "result_ignored",
    ):
        text = tell.headline(view(), {"result": found(cause), "message": Record("absent", cause, 0.999)})
        assert "gone" not in text and "The result was deleted" not in text
        assert text.startswith("The task ")


def test_what_is_there_in_another_form_has_words_of_its_own():
    where = (f"db5:celery-task-meta-{TASK}",)
    headlines = {
        cause: tell.headline(there(), {"result": Record("present", cause, 0.999, where), "message": CONSUMED})
        for cause in ("result_never_stored", "undecodable", "renamed_or_moved", "db_swapped")
    }
    assert headlines["result_never_stored"] == (
        "The task's own result was never stored: an error of the result backend stands in its place, in DB 2."
    )
    assert headlines["undecodable"].startswith(
        "The result was not deleted, but cannot be read: at 12:01 UTC on 1 March 2026"
    )
    assert "not deleted but moved by RENAME, MOVE or the like" in headlines["renamed_or_moved"]
    assert "SWAPDB exchanged its database with another" in headlines["db_swapped"]
    assert tell.answer("result", Record("present", "result_never_stored", 0.9)) == "An error in its place"


def test_a_job_record_that_was_lost_is_in_the_headline_of_a_result_that_was_not():
    met = records("present", job=Record("absent", "db_flushed", 0.95))
    text = tell.headline(there(), met)
    assert text.startswith("The task was not deleted: ")
    assert text.endswith(
        "The job record was very likely deleted between 12:00:00 and 12:01:40 UTC on 1 March 2026 with everything else "
        "in its database, by FLUSHDB."
    )
    assert tell.also_lost(met) == ["job"]


def test_unknown_says_what_is_known_and_what_is_not():
    lead = {"result": Record("absent", "unknown", 0.6), "message": CONSUMED}
    assert tell.headline(gone(), lead) == (
        "The result was there at 12:01 UTC on 1 March 2026, and gone by 12:10 UTC on 1 March 2026, 23 h 49 min before "
        "it was due to expire; what took it is not decided by this evidence."
    )
    assert tell.headline(view(), lead) == "There is no evidence, so nothing can be said about this task."


def test_whether_it_is_normal_is_said_with_a_reserve_where_the_cause_is():
    assert tell.normal(found("natural_expiry", 0.995)).startswith("That is normal: ")
    assert tell.normal(found("evicted", 0.95)) == "That is not part of normal operation."
    assert tell.normal(found("evicted", 0.8)) == "If so, that is not part of normal operation."
    assert all(ACCOUNTS[cause].normal for cause in KNOWN if CAUSES[cause].loss == "no")
    assert not any(ACCOUNTS[cause].normal for cause in KNOWN if CAUSES[cause].loss == "yes")


def test_the_six_questions_of_a_flush():
    shown, met = streamed(command("FLUSHDB", 300, keys=[], removed_by="client")), records("db_flushed", 0.95)
    said = dict(answers(shown, met, weighed(met)))
    assert said["Was it deleted?"] == "Very likely, yes."
    assert said["By what?"] == "FLUSHDB emptied its database. Which client sent the command is not recorded."
    assert said["When?"] == "On 1 March 2026 at 12:05:00 UTC."
    assert said["Is it normal?"] == "That is not part of normal operation."
    assert said["How sure is that?"] == "Very likely (95 %): Something was seen."


def test_a_result_whose_message_was_evicted_never_came_to_be():
    shown = view(evidence=[snapshot("a.rdb", 600)], stated=Settings(noticed_at=at(700)))
    met = {"result": found("evicted", 0.95), "message": Record("absent", "evicted", 0.95)}
    assert tell.headline(shown, met).startswith(
        "There is no result of this task, for its message was very likely evicted"
    )
    assert tell.facts(shown, met, weighed(met))[0].answer == "Never came to be: evicted"
    assert answers(shown, met, weighed(met))[0][1] == "Very likely not: there never was one."
    assert tell.headline(gone(), met).startswith("The result was very likely evicted")


def test_two_negatives_are_not_run_together():
    text = tell.headline(there(), records("present", 0.55))
    assert text.startswith("The task was, more likely than not, not deleted: ")
    met = records("present", 0.55)
    assert answers(there(), met, weighed(met))[0][1] == "More likely than not, no."
