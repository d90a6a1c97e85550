"""Bursts in the commands: what stands out from a kind's own rhythm, what it is called, and what is as usual."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import nbinom

from analysis.findings.rhythm import DAY as ONE_DAY
from analysis.findings.rhythm import Bins, binned, dispersion, expected, surprise
from analysis.frames import frame
from tests.findings.cases import at, snapshot
from tests.findings.streams import AOF, DAY, HOUR, commands, found_in, key_of, results, told, took, wrote

JOB = "job:"


def jobs(begin: float, end: float, each: float, *, keep: float, cleaned: float, minute: float = 0.0, first: int = 0
         ) -> list[dict[str, Any]]:  # fmt: skip
    """Records without a TTL, which a clean-up removes every ``cleaned`` seconds when they are older than ``keep``."""
    rows = []
    for number, when in enumerate(np.arange(begin, end, each), start=first):
        rows.append(wrote(float(when), key_of(number, JOB), lives=None, db=0))
        goes = np.ceil((when + keep - minute) / cleaned) * cleaned + minute
        if goes < end:
            rows.append(took(float(goes) + number % 7 / 10, key_of(number, JOB), db=0))
    return rows


def record(number: int, made: float, taken: str = "a.rdb", **more: Any) -> dict[str, Any]:
    """A row of ``jobs``, which is one of ``keys`` too."""
    row = {"server": "", "snapshot": taken, "db": 0, "key": key_of(number, JOB), "task_id": str(number)}
    return {**row, "created_at": at(made), "offset": number, **more}


def in_keys(rows: list[dict[str, Any]]) -> Any:
    return frame("keys", [{**{k: v for k, v in row.items() if k != "created_at"}, "family": "job"} for row in rows])


def test_nothing_stands_out_of_steady_work_and_it_is_said_what_would_have():
    found = found_in(results(0, 2 * DAY, 60))
    assert told(found) == []
    row = found.patterns.iloc[0]
    assert (row["pattern"], row["witness"], row["removal"]) == ("nothing", "commands", False)
    assert "1,440 keys by their own expiry" in row["says"] and "would have shown" in row["says"]
    assert found.headline.startswith("No removal stands out from the case's own rhythm.")


def test_keys_that_a_client_or_their_expiry_took_are_said_to_be_either_and_leave_nothing_shown():
    rows = results(0, 2 * DAY, 60)
    rows += [took(1.2 * DAY + i, key_of(i + 900), or_by="expiry") for i in range(40)]
    found = found_in(rows)
    row = found.patterns.iloc[0]
    assert (row["pattern"], row["strength"]) == ("nothing", "hint")
    assert "40 keys by either, which is not told apart" in row["says"]
    assert not found.headline.startswith("No removal stands out")


def noticed(when: float, event: str, key: str) -> dict[str, Any]:
    """A keyspace notification, as a row of ``commands``."""
    row = {"server": "", "source": "keyspace.log", "witness": "keyspace log", "verb": event, "keys": [key], "db": 2}
    return {**row, "not_before": at(when), "not_after": at(when)} | (
        {"removed_by": "expiry"} if event == "expired" else {}
    )


def expiring_together(*, value_too: bool, set_seen: bool) -> list[dict[str, Any]]:
    """Notifications of ten hours: of SETEX every minute, and of 200 keys that were given a minute at once."""
    rows = []
    for i in range(600):
        rows += [noticed(i * 60, "set", key_of(i))] * set_seen + [noticed(i * 60 + 0.001, "expire", key_of(i))]
    for i in range(1000, 1200):
        when = 7 * HOUR + i / 1000
        rows += [noticed(when, "set", key_of(i))] * (value_too and set_seen)
        rows += [noticed(when + 0.0002, "expire", key_of(i)), noticed(when + 60, "expired", key_of(i))]
    return rows


@pytest.mark.parametrize(
    ("value_too", "set_seen", "name", "strength", "words"),
    [
        (True, True, "stampede", "shown", "written together"),
        (False, True, "expiry wave", "likely", "how long they had had until then, notifications do not tell"),
        (False, False, "stampede", "hint", "written, or given another expiry, together"),
    ],
)
def test_notifications_tell_that_keys_were_given_an_expiry_together_and_whether_they_were_written(
    value_too, set_seen, name, strength, words
):
    found = found_in(expiring_together(value_too=value_too, set_seen=set_seen))
    assert told(found) == [(name, False)]
    row = found.patterns.iloc[0]
    assert (row["gone"], row["strength"]) == (200, strength) and words in row["says"]
    assert "60 s before" in row["says"]


def test_keys_that_are_found_expired_together_and_had_been_written_over_days_are_no_wave():
    """A server that was away finds them all when it is back."""
    rows = [noticed(i * 60, "expire", key_of(i)) for i in range(600)]
    rows += [noticed(11 * HOUR + i / 100, "expired", key_of(i)) for i in range(600)]
    assert told(found_in([*rows, noticed(20 * HOUR, "set", key_of(7000))])) == []


def test_a_recording_of_minutes_says_that_no_wave_of_expiries_would_stand_out():
    rows = [took(i * 3, key_of(i), by="expiry") for i in range(200)]
    assert "So short a recording has no rhythm" in found_in(rows).patterns.iloc[0]["says"]
    assert "So short a recording" not in found_in(results(0, 2 * DAY, 60)).patterns.iloc[0]["says"]


@pytest.mark.parametrize(("number", "name"), [(50, "deletion burst"), (500, "prefix delete")])
def test_many_keys_removed_by_name_in_a_quiet_hour_are_a_burst_or_of_a_large_part_a_prefix_delete(number, name):
    rows = results(0, 2 * DAY, 60)
    taken = [key_of(i) for i in np.random.default_rng(1).choice(np.arange(1200, 2590), number, replace=False)]
    rows += [took(1.8 * DAY + i / 100, key) for i, key in enumerate(taken)]
    found = found_in([row for row in rows if not (row.get("due_at") and row["keys"][0] in taken)])
    assert told(found) == [(name, True)]
    row = found.patterns.iloc[0]
    assert (row["gone"], row["strength"], row["families"], row["db"]) == (number, "shown", "result", 2)
    # Written within the day before, and not yet at their expiry.
    assert row["of"] == pytest.approx(1440, abs=3) and row["share"] == pytest.approx(number / row["of"])
    assert "at other times none are removed so" in row["says"]
    assert found.headline.startswith(name.capitalize())


def test_four_keys_are_a_few():
    rows = [*results(0, DAY, 60), *(took(0.8 * DAY + i, key_of(i)) for i in range(4))]
    assert told(found_in(rows)) == []


def test_a_burst_below_one_in_a_hundred_of_its_kind_is_a_hint_at_most():
    rows = [*results(0, DAY, 60), *(took(0.9 * DAY + i / 10, key_of(i)) for i in range(6))]
    assert not found_in(rows).patterns["removal"].any()


def test_removals_right_after_the_writing_are_forgets_however_many_there_are_at_once():
    rows = []
    for hour in range(30):
        for i in range(60 if hour == 17 else 6):
            rows += [wrote(hour * HOUR + i, key_of(hour * 100 + i)), took(hour * HOUR + i + 30, key_of(hour * 100 + i))]
    assert told(found_in(rows)) == []


def test_who_forgets_as_a_habit_catches_up_after_a_pause():
    rows = [wrote(i * 60, key_of(i)) for i in range(2000)]
    # Every other one is forgotten at once, but for two hours of a pause, after which those are.
    for i in range(0, 2000, 2):
        paused = 1000 <= i < 1120
        rows.append(took(1120 * 60 + i / 100 if paused else i * 60 + 5, key_of(i)))
    assert told(found_in(rows)) == []
    # Three times as many as that is more than a habit.
    more = [took(1120 * 60 + 20 + i / 100, key_of(i * 9)) for i in range(1, 101, 2)]
    assert [name for name, removal in told(found_in([*rows, *more])) if removal] == ["deletion burst"]


def test_removals_spread_over_all_of_a_short_recording_are_no_burst():
    rows = [wrote(i * 10, key_of(i)) for i in range(180)] + [took(200 + i * 80, key_of(900 + i)) for i in range(20)]
    assert told(found_in(rows)) == []


def test_a_clean_up_every_hour_is_the_rhythm_and_one_that_takes_much_more_is_not():
    usual = jobs(0, DAY, 60, keep=6 * HOUR, cleaned=HOUR, minute=600)
    assert told(found_in(usual)) == []
    done = {row["keys"][0] for row in usual if row["verb"] == "DEL"}
    young = [key_of(i, JOB) for i in range(1100, 1400) if key_of(i, JOB) not in done]
    found = found_in([*usual, *(took(0.98 * DAY + i / 100, key, db=0) for i, key in enumerate(young))])
    assert [removal for _, removal in told(found)] == [True]
    assert "so it was no clean-up by age" in found.patterns.iloc[0]["says"]


def test_a_nightly_clean_up_seen_once_takes_the_oldest_and_is_no_alarm():
    rows = jobs(0, 2 * DAY, 120, keep=DAY, cleaned=DAY, minute=3 * HOUR)
    assert told(found_in(rows)) == [("purge", False)]


def test_a_clean_up_that_took_records_far_younger_than_a_snapshot_held_is_an_alarm():
    held = [record(i, -i * HOUR) for i in range(24 * 9)]
    rows = [wrote(i * 300, key_of(1000 + i, JOB), lives=None, db=0) for i in range(100)]
    gone = [took(30_000 + i / 10, key_of(i, JOB), db=0) for i in range(24 * 8)]
    case = {"jobs": frame("jobs", held), "keys": in_keys(held), "evidence": [snapshot("a.rdb", 0)]}
    assert told(found_in([*rows, *gone], **case)) == [("purge", True)]
    # Those older than the day between two clean-ups are what such a one takes.
    usual = [took(30_000 + i / 10, key_of(i, JOB), db=0) for i in range(24 * 8, 24 * 9)]
    case = {"jobs": frame("jobs", held), "keys": in_keys(held), "evidence": [snapshot("a.rdb", 0)]}
    assert told(found_in([*rows, *usual], **case)) == [("purge", False)]


def test_the_stated_retention_of_records_is_when_they_are_due():
    rows = [wrote(i * 300, key_of(i, JOB), lives=None, db=0) for i in range(400)]
    gone = [took(100_000 + i / 10, key_of(i, JOB), db=0) for i in range(300)]
    assert told(found_in([*rows, *gone])) == [("purge", False)]
    found = found_in([*rows, *gone], jobs_expire=7 * DAY)
    assert told(found) == [("purge", True)]
    assert "younger than the 7 d to which they are kept" in found.patterns.iloc[0]["says"]


def test_a_clean_up_takes_no_four_fifths_of_what_is_kept_for_days():
    held = [record(i, -(i % 240) * HOUR) for i in range(600)]
    rows = [wrote(i * 300, key_of(1000 + i, JOB), lives=None, db=0) for i in range(100)]
    for number, alarm in ((580, True), (60, False)):
        gone = [took(30_000 + i / 100, key_of(5000 + i, JOB), db=0) for i in range(number)]
        case = {"jobs": frame("jobs", held), "keys": in_keys(held), "evidence": [snapshot("a.rdb", 0)]}
        found = found_in([*rows, *gone], **case)
        assert found.patterns["removal"].any() == alarm


def test_notifications_that_show_no_writing_may_be_of_forgets():
    rows = [took(i * 10, "job:x", db=0) for i in range(3)] + [took(DAY / 2 + i, key_of(i)) for i in range(40)]
    rows += [took(DAY, "job:x", db=0)]
    heard = [{**row, "source": "keyspace.log", "witness": "keyspace log", "verb": "del"} for row in rows]
    assert not found_in(heard).patterns["removal"].any()
    assert found_in(rows).patterns["removal"].any()


def test_fifty_keys_of_a_large_kind_in_a_quiet_hour_are_a_burst_though_they_are_few_of_it():
    rows = [*results(0, DAY, 10), *(took(0.9 * DAY + i / 10, key_of(500 + i * 17)) for i in range(50))]
    row = found_in(rows).patterns.iloc[0]
    assert (row["pattern"], row["removal"]) == ("deletion burst", True) and row["share"] < 0.01


def test_a_recording_that_begins_with_a_removal_shows_it_though_it_shows_no_writing_of_those():
    rows = [took(i / 1000, key_of(i)) for i in range(300)] + [wrote(20 + i * 10, key_of(900 + i)) for i in range(40)]
    assert told(found_in(rows)) == [("prefix delete", True)]
    few = [took(i, key_of(i)) for i in range(12)] + [wrote(20 + i * 10, key_of(900 + i)) for i in range(40)]
    assert told(found_in(few)) == []


def test_keys_that_are_nothing_to_celery_are_cleared_by_everybody():
    rows = [wrote(i * 60, f"cache:{i}", lives=None, db=3) for i in range(600)]
    some = [took(40_000 + i / 10, f"cache:{i}", db=3) for i in range(60)]
    assert [removal for _, removal in told(found_in([*rows, *some]))] == [False]
    everything = [took(40_000 + i / 10, f"cache:{i}", db=3) for i in range(600)]
    assert told(found_in([*rows, *everything])) == [("prefix delete", True)]


def test_lists_chords_and_what_a_client_may_have_found_expired_are_not_counted():
    rows = results(0, DAY, 60)
    rows += [{**wrote(i, "celery"), "verb": "LPUSH"} for i in range(50)]
    rows += [took(0.7 * DAY + i / 10, "celery") for i in range(30)]
    rows += [took(0.7 * DAY + i / 10, f"celery-taskset-meta-{i}.j") for i in range(30)]
    rows += [took(0.7 * DAY + i / 10, key_of(i), or_by="expiry") for i in range(30)]
    assert told(found_in(rows)) == []


def test_one_command_with_many_results_is_a_removal_however_young_they_are():
    rows = [*(wrote(i / 10, key_of(i)) for i in range(40)), took(5, *(key_of(i * 7 % 40) for i in range(38)))]
    assert told(found_in(rows)) == [("prefix delete", True)]


def test_a_flush_is_one_and_so_are_evictions():
    rows = results(0, 10 * HOUR, 60)
    flush = {**took(9 * HOUR, by="client"), "verb": "FLUSHDB", "keys": []}
    row = found_in([*rows, flush]).patterns.iloc[0]
    assert (row["pattern"], row["removal"], row["gone"], row["families"]) == ("flush", True, 541, "result")
    evicted = [took(8 * HOUR + i, key_of(i), by="eviction", or_by="client") for i in range(40)]
    row = found_in([*rows, *evicted]).patterns.iloc[0]
    assert (row["pattern"], row["removal"], row["gone"], row["strength"]) == ("eviction", True, 40, "likely")


def test_a_second_witness_of_the_same_burst_is_not_a_second_burst():
    taken = [took(0.8 * DAY + i / 10, key_of(i * 17)) for i in range(60)]
    other = {"source": "monitor.log", "witness": "MONITOR log"}
    again = [{**row, **other} for row in (took(0, "lock"), *taken)]
    assert told(found_in([*results(0, DAY, 60), *taken, *again])) == [("deletion burst", True)]


def test_keys_written_together_expire_together_and_that_is_a_stampede():
    rows = results(0, 2 * DAY, 300)
    for i in range(200):
        rows += [wrote(30_000 + i / 10, key_of(9000 + i)), took(30_000 + DAY + i / 10, key_of(9000 + i), by="expiry")]
    found = found_in(rows)
    assert told(found) == [("stampede", False)]
    assert "Stampede: " in found.headline and "No removal stands out" in found.headline


def test_keys_written_over_hours_that_expire_at_one_time_are_an_expiry_wave():
    rows = results(0, 2 * DAY, 300)
    for i in range(200):
        rows += [wrote(i * 100, key_of(9000 + i)), took(DAY + i / 10, key_of(9000 + i), by="expiry", due_at=at(DAY))]
    assert told(found_in(rows)) == [("expiry wave", False)]


def test_keys_that_were_given_less_time_are_that_and_no_stampede():
    rows = [wrote(i * 60, key_of(i)) for i in range(1000)]
    cut = 70_000.0
    for i in range(200, 800):
        expire = {**wrote(cut + i / 1000, key_of(i), lives=60), "verb": "PEXPIREAT", "due_at": at(i * 60 + DAY)}
        rows += [expire, took(cut + 60 + i / 1000, key_of(i), by="expiry")]
    found = found_in(rows)
    assert told(found) == [("shortened TTL", True)]
    assert found.patterns.iloc[0]["gone"] == 600 and "less than half" in found.patterns.iloc[0]["says"]
    # More time is a renewal.
    longer = [{**wrote(cut + i / 1000, key_of(i), lives=2 * DAY), "verb": "PEXPIREAT", "due_at": at(i * 60 + DAY)}
              for i in range(200, 800)]  # fmt: skip
    assert told(found_in([*(wrote(i * 60, key_of(i)) for i in range(1000)), *longer])) == []


def test_a_stream_without_times_shows_a_burst_only_where_its_rows_stand_together():
    rows = results(0, 10 * HOUR, 10)
    spread = [took(5 * HOUR + i * 100, key_of(i)) for i in range(100)]
    run = [took(5 * HOUR + i / 100, key_of(i)) for i in range(100)]

    def untimed(rows: list[dict[str, Any]]) -> Any:
        ends = {"not_before": at(0), "not_after": at(10 * HOUR)}
        return frame("commands", [{**row, **ends} for row in sorted(rows, key=lambda row: row["not_before"])])

    assert not found_in(untimed([*rows, *spread])).patterns["removal"].any()
    row = found_in(untimed([*rows, *run])).patterns.iloc[0]
    assert (row["removal"], row["gone"], row["strength"]) == (True, 100, "likely")


def test_what_was_refused_did_not_run():
    denied = [
        {**took(0.8 * DAY + i / 10, key_of(i)), "witness": "ACL LOG", "source": "acl-log.json"} for i in range(60)
    ]
    assert told(found_in([*results(0, DAY, 60), *denied])) == []


def test_the_rhythm_is_what_the_same_hour_of_other_days_and_the_same_minute_of_other_hours_had():
    nightly = np.concatenate([day * ONE_DAY + 3 * 3600 + np.arange(40) for day in range(4)]).astype(float)
    bins = binned(nightly, 60, 4 * ONE_DAY)
    rhythm, largest = expected(bins, bins.places)
    assert (rhythm == 40).all() and (largest == 40).all()
    alone = binned(nightly[:40], 60, 4 * ONE_DAY)
    assert list(expected(alone, alone.places)[0]) == [0.0]
    hourly = np.concatenate([hour * 3600 + 600 + np.arange(20) for hour in range(12)]).astype(float)
    bins = binned(hourly, 60, 43_200)
    assert (expected(bins, bins.places)[0] == 20).all()


def test_surprise_is_the_negative_binomials_and_never_poissons():
    assert surprise(50, 10, 0.5, 7) == pytest.approx(7 * nbinom.sf(49, 2, 2 / 12))
    even = Bins(np.arange(100), np.full(100, 10), 60, 100)
    assert dispersion(even, 50) == 0.3
    uneven = Bins(np.arange(100), np.tile([1, 39], 50), 60, 100)
    assert dispersion(uneven, 50) == pytest.approx((19**2 - 20) / 400, rel=0.05)


def test_shares_are_of_what_the_stream_shows_to_be_there():
    rows = [wrote(i, key_of(i)) for i in range(100)] + [took(2 * HOUR + i, key_of(i)) for i in range(25)]
    rows += [took(2 * HOUR + 200, key_of(500 + i)) for i in range(5)]
    flush = {**took(4 * HOUR, by="client"), "verb": "FLUSHDB", "keys": []}
    shares = found_in([*rows, flush, wrote(6 * HOUR, key_of(900))]).looked.shares
    mine = shares.loc[shares["witness"].eq("commands") & shares["family"].eq("result")]
    assert list(zip(mine["gone"], mine["of"], strict=True)) == [
        (0, 105),
        (0, 105),
        (30, 105),
        (0, 75),
        (75, 75),
        (0, 1),
    ]
    # The hour after the flush has nothing that could go.
    assert mine["since"].dt.hour.tolist() == [12, 13, 14, 15, 16, 18]


def test_who_removed_what_is_counted_by_family_command_and_client():
    rows = [wrote(i, key_of(i)) for i in range(30)]
    rows += [took(HOUR + i, key_of(i), client="10.0.0.1:1") for i in range(20)]
    rows += [took(3 * HOUR + i, key_of(20 + i), by="expiry") for i in range(10)]
    table = found_in(rows).looked.removers
    assert list(table["keys"]) == [20, 10] and list(table["by"]) == ["client", "expiry"]
    assert table.iloc[0]["client"] == "10.0.0.1:1" and table.iloc[0]["most"] == 20
    assert table.iloc[0]["busiest"] == at(HOUR).floor("h")
    assert AOF in set(commands(rows)["source"])
