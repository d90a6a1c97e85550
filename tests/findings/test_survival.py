"""What went before its expiry: figures equal to the libraries', to hand and to planted truth; doubts that are said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.duration.survfunc import CumIncidenceRight, SurvfuncRight

from analysis.findings.bulk import looks
from analysis.findings.incidence import EXPIRED, REMOVED, WATCHED, incidence, incidence_within
from analysis.findings.lives import Recording, lives_between, lives_recorded
from analysis.findings.share_gone import (
    AGE,
    AGE_UNKNOWN,
    LEFT,
    exact_interval,
    fates_between,
    measured_storing,
    share_gone,
    sound_pairs,
)
from analysis.findings.survival import SurvivalFindings, most_gone, share_words, survival_findings
from analysis.frames import frame
from tests.findings.cases import at, result, snapshot
from tests.findings.lifetimes import Seen, Truth, living, recorded, seen_at

DAY = 86400.0
UNMEASURED = measured_storing(frame("tasks"), frame("jobs"))


def lives(*rows: tuple[float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["entry", "age", "end"]).assign(family="result")


def found_in(seen: Seen, *recordings: Recording) -> SurvivalFindings:
    return survival_findings(seen.keys, seen.tasks, frame("jobs"), seen.shots, seen.changes, recordings)


# --- the share gone between two snapshots ---------------------------------------------------------------------------


def key(shot: str, name: str, offset: int, expires: float | None = 5000, **more: Any) -> dict[str, Any]:
    moment = None if expires is None else at(expires)
    row = {"server": "", "snapshot": shot, "db": 2, "key": name, "family": "result", "offset": offset}
    return {**row, "expires_at": moment, **more}


def change(kind: str, name: str, offset: int | None, expires: float | None = 5000, **more: Any) -> dict[str, Any]:
    moment = None if expires is None else at(expires)
    row = {"server": "", "before": "a.rdb", "after": "b.rdb", "db": 2, "key": name, "family": "result", "change": kind}
    return {**row, "expires_before": moment, "offset_before": offset, **more}


def pair(*, until: float | None = 100, complete: bool = True) -> pd.DataFrame:
    return looks(frame("evidence", [snapshot("a.rdb", 0), snapshot("b.rdb", until, complete=complete)]))


def fates(keys: list[dict[str, Any]], changes: list[dict[str, Any]], stored: pd.DataFrame | None = None) -> Any:
    known = UNMEASURED if stored is None else stored
    [only] = sound_pairs(pair())
    return fates_between(frame("keys", keys), frame("changes", changes), pair(), known, only)


def test_what_was_due_rewritten_renewed_or_moved_is_neither_gone_nor_kept():
    keys = [
        key("a.rdb", "kept", 0),
        key("a.rdb", "endless", 1, None),
        key("a.rdb", "gone", 2),
        key("a.rdb", "due in the later snapshot's second", 3, 100.9),
        key("a.rdb", "due, still in the file", 4, 50),
        key("a.rdb", "rewritten", 5, 50),
        key("a.rdb", "renewed", 6, 50),
        key("a.rdb", "moved", 7),
        key("a.rdb", "celery", 8, None, family="queue"),
        key("a.rdb", "_kombu.binding.celery", 9, None, family="binding"),
        key("a.rdb", "due in that second, still in the file", 10, 100.5),
        key("b.rdb", "kept", 2),
    ]
    changes = [
        change("gone", "gone", 2),
        change("gone", "due in the later snapshot's second", 3, 100.9),
        change("value", "rewritten", 5, 50),
        change("ttl", "renewed", 6, 50),
        change("gone", "moved", 7),
        change("appeared", "moved", None, db=3),
        change("gone", "celery", 8, None, family="queue"),
        change("gone", "_kombu.binding.celery", 9, None, family="binding"),
    ]
    told = fates(keys, changes)
    assert list(told["fate"]) == [
        "kept", "kept", "gone", "due", "due, still held", "rewritten", "renewed", "moved",
        "due, still held",
    ]  # fmt: skip
    counted = share_gone(told, bands=False).iloc[0]
    assert (counted["held"], counted["watched"], counted["gone"]) == (9, 3, 1)
    interval = binomtest(1, 3).proportion_ci(0.95, method="exact")
    assert (counted["low"], counted["high"]) == (interval.low, interval.high)


def test_the_interval_is_the_exact_one_by_hand_too():
    # Clopper and Pearson: of none among n the upper end solves (1 - p)^n = 0.025.
    assert exact_interval(0, 20) == pytest.approx((0, 1 - 0.025 ** (1 / 20)))
    assert exact_interval(20, 20) == pytest.approx((0.025 ** (1 / 20), 1))
    assert all(np.isnan(exact_interval(0, 0)))


def test_ages_come_from_measured_times_alone_and_the_time_left_stands_in_where_there_are_none():
    keys = [key("a.rdb", str(number), number) for number in range(4)]
    tasks = [result("a.rdb", task_id=str(number), offset=number, stored=-30.0 - 4000 * number) for number in range(3)]
    stored = measured_storing(frame("tasks", tasks), frame("jobs"))
    aged = share_gone(fates(keys, [], stored), bands=True)
    assert list(zip(aged["by"], aged["band"], strict=True)) == [
        (AGE, "under 1 min"), (AGE, "1 h to 6 h"), (AGE, AGE_UNKNOWN),
    ]  # fmt: skip
    assert list(aged["held"]) == [1, 2, 1]
    derived = frame("tasks", [{**task, "stored_from": "expiry"} for task in tasks])
    told = share_gone(fates(keys, [], measured_storing(derived, frame("jobs"))), bands=True)
    assert list(zip(told["by"], told["band"], strict=True)) == [(LEFT, "1 h to 6 h")]


@pytest.mark.parametrize(
    ("until", "complete", "says"),
    [
        (None, True, "b.rdb carries no time"),
        (0, True, "are of the same second"),
        (100, False, "b.rdb was read in part, so what it lacks is not told"),
    ],
)
def test_snapshots_that_cannot_be_compared_give_a_sentence_and_no_figure(until, complete, says):
    shots = pair(until=until, complete=complete)
    keys = frame("keys", [key("a.rdb", "x", 0)])
    found = survival_findings(keys, frame("tasks"), frame("jobs"), shots, frame("changes"))
    assert len(found.shares) == len(found.bands) == len(found.curves) == 0
    assert any(says in note for note in found.notes)
    assert "no two snapshots of one server that can be compared" in found.headline


def test_no_evidence_at_all_gives_sentences():
    shots = looks(frame("evidence"))
    found = survival_findings(frame("keys"), frame("tasks"), frame("jobs"), shots, frame("changes"))
    assert "is not told" in found.headline
    assert "No curve can be had" in found.by_age


def test_pairs_of_two_servers_are_not_mixed():
    rows = [snapshot(f"{name}{number}.rdb", number * 100, server=name) for name in "xy" for number in (0, 1)]
    shots = looks(frame("evidence", rows))
    keys = [key(f"{name}0.rdb", "k", 5, server=name) for name in "xy"]
    went = [change("gone", "k", 5, server="x", before="x0.rdb", after="x1.rdb")]
    found = survival_findings(frame("keys", keys), frame("tasks"), frame("jobs"), shots, frame("changes", went))
    assert found.shares.set_index("server")["gone"].to_dict() == {"x": 1, "y": 0}
    assert found.headline.startswith("On x, between")
    assert set(most_gone(found.bands)["server"]) == {"x"}


def test_a_share_is_never_rounded_to_none_or_all():
    assert [share_words(share) for share in (0, 1e-9, 0.0025, 0.99999, 1)] == [
        "0 %", "< 0.001 %", "0.25 %", "> 99.9 %", "100 %",
    ]  # fmt: skip


# --- curves ---------------------------------------------------------------------------------------------------------


def drawn(rng: np.random.Generator, number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    time = np.round(rng.exponential(100, number)) + 1
    end = rng.integers(0, 3, number)
    end[time == time.max()] = 0  # the library divides by zero where the last one ends
    return time, end


def test_without_delayed_entry_incidence_and_its_interval_are_the_librarys():
    time, end = drawn(np.random.default_rng(11), 400)
    names = np.array([WATCHED, REMOVED, EXPIRED])
    curve = incidence(pd.DataFrame({"entry": 0.0, "age": time, "end": names[end]}))
    library = CumIncidenceRight(time, end)
    assert curve is not None
    points = curve.points.loc[curve.points["removed"].gt(0)]
    place = np.searchsorted(library.times, points["age"], side="right") - 1
    np.testing.assert_allclose(points["removed"], library.cinc[0][place], rtol=1e-12)
    np.testing.assert_allclose(points["expired"], library.cinc[1][place], rtol=1e-12)
    left = 1 - library.cinc[0][place]
    half = 1.959963984540054 * library.cinc_se[0][place] / (left * np.abs(np.log(left)))
    np.testing.assert_allclose(points["low"], 1 - left ** np.exp(-half), rtol=1e-9)
    np.testing.assert_allclose(points["high"], 1 - left ** np.exp(half), rtol=1e-9)


def test_with_delayed_entry_and_one_kind_of_end_incidence_is_the_librarys_survival():
    rng = np.random.default_rng(12)
    age = rng.exponential(100, 300) + 20
    entry = rng.uniform(0, 1, 300) * np.minimum(age, 60) * (rng.random(300) < 0.5)
    end = np.where(rng.random(300) < 0.7, REMOVED, WATCHED)
    curve = incidence(pd.DataFrame({"entry": entry, "age": age, "end": end}))
    assert curve is not None and curve.since == 0
    library = SurvfuncRight(age, (end == REMOVED).astype(int), entry=entry)
    points = curve.points.loc[curve.points["removed"].gt(0)]
    place = np.searchsorted(library.surv_times, points["age"], side="right") - 1
    np.testing.assert_allclose(1 - points["removed"], library.surv_prob[place], rtol=1e-9)
    left, error = library.surv_prob[place], library.surv_prob_se[place]
    half = 1.959963984540054 * error / (left * np.abs(np.log(left)))
    np.testing.assert_allclose(points["high"], 1 - left ** np.exp(half), rtol=1e-6)


def test_a_hand_made_table_of_ten_lives_and_two_that_come_late():
    # Twelve lives. At age 2: ten at risk, one removed. At 3: nine, two expired. At 5: seven and the two that came at
    # 4, one removed; survival before it is 9/10 · 7/9 = 7/10.
    rows = [(0.0, 2.0, REMOVED), (0.0, 3.0, EXPIRED), (0.0, 3.0, EXPIRED), (0.0, 5.0, REMOVED)]
    rows += [(0.0, 9.0, WATCHED)] * 6 + [(4.0, 9.0, WATCHED)] * 2
    curve = incidence(lives(*rows), window=(0.0, 9.0))
    assert curve is not None
    told = curve.points.set_index("age")
    assert told.loc[2.0, "removed"] == pytest.approx(1 / 10)
    assert told.loc[5.0, "removed"] == pytest.approx(1 / 10 + 7 / 10 * 1 / 9)
    assert told.loc[5.0, "expired"] == pytest.approx(9 / 10 * 2 / 9)
    assert told.loc[5.0, "at_risk"] == 9


def test_where_nothing_was_removed_the_upper_end_is_the_exact_one_of_the_fewest_under_watch():
    curve = incidence(lives(*[(0.0, 10.0, WATCHED)] * 40, *[(0.0, 20.0, WATCHED)] * 12))
    assert curve is not None and curve.until == 20
    told = curve.points.set_index("age")
    assert (told["removed"] == 0).all() and (told["low"] == 0).all()
    assert told.loc[10.0, "high"] == pytest.approx(exact_interval(0, 52)[1])
    assert told.loc[20.0, "high"] == pytest.approx(exact_interval(0, 12)[1])


def test_a_curve_stands_only_on_ages_at_which_ten_keys_were_under_watch():
    few = lives(*[(0.0, 5.0, REMOVED)] * 9)
    assert incidence(few) is None and incidence_within(few) is None
    assert incidence(lives()) is None
    # Three come early, twelve late: what is told is of keys that had reached the age of the twelve.
    curve = incidence(lives(*[(0.0, 3.0, REMOVED)] * 3, *[(50.0, 80.0, WATCHED)] * 12, (50.0, 60.0, REMOVED)))
    assert curve is not None and (curve.since, curve.until) == (50, 80)
    assert curve.points["removed"].iloc[-1] == pytest.approx(1 / 13)


# --- lives from commands --------------------------------------------------------------------------------------------


def command(when: float, verb: str, *keys: str, by: str | None = None, until: float | None = None, **more: Any) -> Any:
    row = {"server": "", "source": "aof", "witness": "append-only file", "db": 2, "verb": verb, "keys": list(keys)}
    return {**row, "not_before": at(when), "not_after": at(until or when), "removed_by": by, **more}


def watched(
    *rows: Any, base: list[dict[str, Any]] | None = None, until: float = 1000, known: pd.DataFrame | None = None
) -> Any:
    was = pd.DataFrame(base or [], columns=["db", "key", "family", "expires_at", "at"])
    was = was.astype({"expires_at": "datetime64[us, UTC]", "at": "datetime64[us, UTC]"})
    recording = Recording("", "aof", frame("commands", rows), at(0), at(until), was if base is not None else None)
    return lives_recorded(recording, frame("keys") if known is None else known)


def told(found: Any) -> list[tuple[str, float, float, str]]:
    rows = found.rows.itertuples(index=False)
    return sorted((row.family, round(row.entry, 3), round(row.age, 3), row.end) for row in rows)


META = "celery-task-meta-"


def test_a_life_goes_from_its_write_to_its_removal_its_expiry_or_the_end_of_watching():
    found = watched(
        command(10, "SET", META + "a", expires_at=at(500)),
        command(20, "SET", META + "b", expires_at=at(500)),
        command(30, "SETEX", META + "c", ttl=600_000),
        command(40, "SET", META + "d", expires_at=at(5000)),
        command(50, "DEL", META + "a", by="client"),
        command(520, "DEL", META + "b", by="expiry", due_at=at(500)),
        base=[],
    )
    assert told(found) == [
        ("result", 0, 40, REMOVED),
        ("result", 0, 480, EXPIRED),  # at its expiry, not when the server got round to it
        ("result", 0, 600, EXPIRED),  # though nobody has removed it yet
        ("result", 0, 960, WATCHED),
    ]


def test_an_eviction_and_a_script_remove_and_an_untold_hand_does_not():
    rows = [command(number, "SET", META + by) for number, by in enumerate(("eviction", "script", "unknown"), start=1)]
    rows += [command(100 + n, "DEL", META + by, by=by) for n, by in enumerate(("eviction", "script", "unknown"))]
    found = watched(*rows, base=[])
    assert told(found) == [("result", 0, 99, REMOVED), ("result", 0, 99, REMOVED), ("result", 0, 99, WATCHED)]
    assert found.untold == 1


def test_writing_the_whole_key_again_begins_another_life_and_a_part_does_not():
    found = watched(
        command(10, "SET", META + "a", expires_at=at(5000)),
        command(60, "SET", META + "a", expires_at=at(5000)),
        command(20, "HSET", "job:1"),
        command(80, "HSET", "job:1"),
        command(90, "EXPIRE", "job:1", ttl=100_000),
        base=[],
        until=400,
        known=frame("keys", [key("a.rdb", "job:9", 1, family="job")]),
    )
    assert told(found) == [("job", 0, 170, EXPIRED), ("result", 0, 50, WATCHED), ("result", 0, 340, WATCHED)]
    assert found.rewritten == 1


def test_a_key_made_again_after_it_was_taken_has_two_lives():
    found = watched(
        command(10, "HSET", "job:1"),
        command(30, "UNLINK", "job:1", by="client"),
        command(40, "HSET", "job:1"),
        base=[],
        until=100,
    )
    assert told(found) == [("other", 0, 20, REMOVED), ("other", 0, 60, WATCHED)]


def test_a_flush_takes_what_was_written_before_it_in_its_own_database():
    found = watched(
        command(10, "SET", META + "a"),
        command(10, "SET", META + "b", db=3),
        command(50, "FLUSHDB", by="client"),
        command(60, "SET", META + "a"),
        command(70, "FLUSHALL", by="client", db=0),
        base=[],
        until=100,
    )
    assert told(found) == [("result", 0, 10, REMOVED), ("result", 0, 40, REMOVED), ("result", 0, 60, REMOVED)]


def test_a_part_written_after_a_flush_is_a_key_made_anew():
    rows = [command(10, "HSET", "job:1"), command(50, "FLUSHDB", by="client"), command(60, "HSET", "job:1")]
    assert told(watched(*rows, base=[], until=100)) == [("other", 0, 40, REMOVED), ("other", 0, 40, WATCHED)]


def test_where_the_age_at_removal_is_not_known_the_interval_holds_those_of_both_ends():
    rng = np.random.default_rng(13)
    entry = rng.uniform(0, 200, 900)
    rows = pd.DataFrame({"entry": entry, "age": entry + 50, "end": np.where(rng.random(900) < 0.1, REMOVED, WATCHED)})
    curve = incidence_within(rows)
    assert curve is not None
    window = (curve.since, curve.until)
    # Younger than a gap between snapshots, or older than the last that came under watch, they were seen only in part.
    assert window[0] == pytest.approx(50, abs=3) and window[1] == entry.max()
    early = incidence(rows.assign(age=np.where(rows["end"].eq(REMOVED), entry + 1e-6, entry + 50)), window)
    late = incidence(rows, window)
    assert early is not None and late is not None
    for row in curve.points.iloc[1::20].itertuples():
        ends = [one.points.loc[one.points["age"].le(row.age)].iloc[-1] for one in (early, late)]
        assert row.high >= max(end["high"] for end in ends) * 0.999
        assert row.low <= min(end["low"] for end in ends) * 1.001
    assert incidence_within(rows.assign(age=entry + 250)) is None


def test_keys_of_the_base_count_from_the_age_they_had_and_those_of_unknown_age_do_not():
    base = [
        {"db": 2, "key": META + "old", "family": "result", "expires_at": at(500), "at": at(-300)},
        {"db": 2, "key": META + "taken", "family": "result", "expires_at": at(500), "at": at(-100)},
        {"db": 2, "key": "cache", "family": "other", "expires_at": pd.NaT, "at": pd.NaT},
        {"db": 2, "key": META + "dead", "family": "result", "expires_at": at(-5), "at": at(-90)},
        {"db": 1, "key": "celery", "family": "queue", "expires_at": pd.NaT, "at": at(-90)},
    ]
    found = watched(command(50, "DEL", META + "taken", by="client"), base=base)
    assert told(found) == [("result", 100, 150, REMOVED), ("result", 300, 800, EXPIRED)]
    assert found.unknown == 1


def test_without_the_keys_that_were_there_a_part_that_is_written_begins_no_life():
    rows = [command(10, "HSET", "job:1"), command(20, "SET", META + "a"), command(30, "DEL", META + "z", by="client")]
    found = watched(*rows, until=100)
    assert told(found) == [("result", 0, 80, WATCHED)]
    assert found.unknown == 2


def test_keys_that_may_empty_without_a_word_or_pass_with_the_work_are_left_out():
    found = watched(
        command(1, "LPUSH", "celery"),
        command(2, "HSET", "bag"),
        command(3, "HDEL", "bag"),
        command(4, "SET", "unacked_mutex"),
        command(5, "SADD", "_kombu.binding.celery"),
        command(6, "SET", META + "a", db=None),
        command(7, "SET", "celery-taskset-meta-g.t"),
        command(8, "RENAME", "from", "to"),
        command(9, "SET", META + "b"),
        base=[],
        until=100,
    )
    assert told(found) == [("result", 0, 91, WATCHED)]


def test_a_command_within_an_interval_counts_in_its_middle_and_the_width_is_told():
    rows = [command(10, "SET", META + "a", until=20), command(100, "DEL", META + "a", by="client", until=110)]
    found = watched(*rows, base=[])
    assert told(found) == [("result", 0, 90, REMOVED)]
    assert found.width == 10


def test_commands_whose_times_are_too_loose_give_no_ages():
    rows = [command(10, "SET", META + str(number), until=900) for number in range(30)]
    recording = Recording("", "aof", frame("commands", rows), at(0), at(1000))
    found = found_in(seen_at(Truth(*np.zeros((3, 0))), []), recording)
    assert len(found.curves) == 0
    assert "only to within 14 min 50 s, of 16 min 40 s in all" in found.grounds[0]


def test_families_too_small_for_a_curve_are_counted_and_their_losses_told():
    rows = [command(1, "SET", META + str(number)) for number in range(4)]
    rows += [command(5, "DEL", META + str(number), by="client") for number in range(3)]
    recording = Recording("", "aof", frame("commands", rows), at(0), at(100))
    found = found_in(seen_at(Truth(*np.zeros((3, 0))), []), recording)
    assert found.ends.set_index("family").loc["result", ["lives", "removed"]].to_list() == [4, 3]
    assert "3 were cut short by a removal before their expiry: 3 of 4 results" in found.by_age
    assert any("Too few at one age" in ground for ground in found.grounds)


# --- planted truth --------------------------------------------------------------------------------------------------


def test_counting_keys_that_were_due_as_lost_is_biased_and_ours_is_not():
    # One key in ten is removed within the day between the snapshots; TTLs are of one and of seven days.
    rng, naive, ours, held = np.random.default_rng(21), 0, 0, 0
    loss = -np.log(0.9) / DAY
    for _ in range(4):
        ttl = np.where(rng.random(6000) < 0.7, DAY, 7 * DAY)
        seen = seen_at(living(rng, 6000, span=10 * DAY, loss=loss, ttl=ttl), [8 * DAY, 9 * DAY])
        counted = found_in(seen).shares.iloc[0]
        naive += counted["gone"] + counted["due"]
        held += counted["held"]
        ours += counted["share"] / 4
    assert naive / held > 0.35
    assert ours == pytest.approx(0.1, abs=0.015)


def test_the_interval_of_the_share_holds_the_truth_about_as_often_as_it_says():
    rng, held = np.random.default_rng(22), 0
    loss = -np.log(0.9) / DAY
    for _ in range(60):
        seen = seen_at(living(rng, 300, span=8 * DAY, loss=loss, ttl=6 * DAY), [7 * DAY, 8 * DAY])
        [only] = sound_pairs(seen.shots)
        counted = share_gone(fates_between(seen.keys, seen.changes, seen.shots, UNMEASURED, only), bands=False)
        held += counted["low"].item() <= 0.1 <= counted["high"].item()
    assert held >= 0.9 * 60


def removed_by(truth: Truth, days: float) -> float:
    """The share of keys that are removed before they expire, up to an age: from the lives themselves."""
    return float(((truth.removed < truth.expires) & (truth.removed <= days * DAY)).mean())


def test_ignoring_that_keys_come_under_watch_late_is_biased_and_ours_is_not():
    # Many keys are removed young: those that were there when watching began had got past that.
    rng = np.random.default_rng(23)
    born = np.sort(rng.uniform(0, 10 * DAY, 8000))
    removed = np.where(rng.random(8000) < 0.5, rng.exponential(0.3 * DAY, 8000), np.inf)
    truth = Truth(born, removed, np.full(8000, 8 * DAY))
    rows = lives_recorded(recorded(truth, 8 * DAY, 10 * DAY), frame("keys")).rows
    ours, naive = incidence(rows), incidence(rows.assign(entry=0.0))
    assert ours is not None and naive is not None and (rows["entry"] > 0).sum() > 2000
    real = removed_by(truth, 1.5)
    at_age = [curve.points.loc[curve.points["age"].le(1.5 * DAY), "removed"].iloc[-1] for curve in (ours, naive)]
    assert at_age[0] == pytest.approx(real, abs=0.03)
    assert at_age[1] < real - 0.15


def test_taking_an_expiry_for_a_loss_is_wrong_and_ours_does_not():
    rng = np.random.default_rng(24)
    ttl = np.where(rng.random(5000) < 0.6, DAY, 5 * DAY)
    truth = living(rng, 5000, span=6 * DAY, loss=0.08 / DAY, ttl=ttl)
    rows = lives_recorded(recorded(truth, 0, 6 * DAY), frame("keys")).rows
    ours = incidence(rows)
    as_losses = incidence(rows.assign(end=rows["end"].replace({EXPIRED: REMOVED})))
    ignored = incidence(rows.assign(end=rows["end"].replace({EXPIRED: WATCHED})))
    assert ours is not None and as_losses is not None and ignored is not None
    real = removed_by(truth, 4)
    ours_at, losses_at, ignored_at = (
        curve.points.loc[curve.points["age"].le(4 * DAY)].iloc[-1] for curve in (ours, as_losses, ignored)
    )
    assert ours_at["low"] <= real <= ours_at["high"]
    assert losses_at["removed"] > 0.6  # that so many are gone is their own TTL's doing
    assert ignored_at["removed"] > ours_at["high"]  # nor do keys that expired wait to be removed


def test_three_snapshots_give_a_curve_whose_interval_holds_the_truth():
    rng = np.random.default_rng(25)
    truth = living(rng, 6000, span=9 * DAY, loss=0.05 / DAY, ttl=7 * DAY)
    found = found_in(seen_at(truth, [6 * DAY, 7 * DAY, 8 * DAY, 9 * DAY]))
    assert set(found.curves["source"]) == {"snapshots"}
    for days in (2, 4, 6):
        row = found.curves.loc[found.curves["age"].le(days * DAY)].iloc[-1]
        # Of keys as old as the snapshots are apart.
        real = 1 - np.exp(-0.05 * (days - found.ends["since"].item() / DAY))
        assert row["low"] <= real <= row["high"]
        assert row["removed"] == pytest.approx(real, abs=0.04)
    assert "results older than 1 d" in found.by_age
    assert found.ends["expired"].isna().all() and found.curves["expired"].isna().all()
    assert "4 snapshots" in found.grounds[0] and "within up to 1 d" in found.grounds[0]


def test_two_snapshots_give_no_curve_nor_do_keys_of_unmeasured_age():
    truth = living(np.random.default_rng(26), 500, span=9 * DAY, loss=0.05 / DAY, ttl=7 * DAY)
    two = found_in(seen_at(truth, [7 * DAY, 8 * DAY]))
    assert len(two.curves) == 0 and "No curve can be had" in two.by_age
    assert (two.bands["by"] == AGE).all()
    unmeasured = found_in(seen_at(truth, [6 * DAY, 7 * DAY, 8 * DAY], measured=False))
    assert len(unmeasured.curves) == 0 and "No curve can be had" in unmeasured.by_age
    assert (unmeasured.bands["by"] == LEFT).all() and (unmeasured.shares["share"] > 0).all()


def test_a_recording_is_preferred_and_an_early_loss_is_found_in_it():
    truth = living(np.random.default_rng(27), 3000, span=8 * DAY, loss=0.05 / DAY, ttl=7 * DAY)
    seen = seen_at(truth, [6 * DAY, 7 * DAY, 8 * DAY])
    found = found_in(seen, recorded(truth, 6 * DAY, 8 * DAY))
    assert set(found.curves["source"]) == {"aof"}
    for days in (2, 4, 6):
        row = found.curves.loc[found.curves["age"].le(days * DAY)].iloc[-1]
        assert row["low"] <= 1 - np.exp(-0.05 * days) <= row["high"]


def test_lives_between_snapshots_are_those_not_yet_due():
    found = pd.DataFrame(
        {"family": "result", "fate": ["kept", "gone", "due", "renewed", "kept"], "age": [5.0, 7, 9, 11, np.nan]}
    )
    rows = lives_between(found, 100)
    assert list(zip(rows["entry"], rows["age"], rows["end"], strict=True)) == [(5, 105, WATCHED), (7, 107, REMOVED)]


def test_where_all_were_removed_the_lower_end_is_exact_and_nothing_overflows():
    with np.errstate(all="raise"):
        curve = incidence(lives(*[(0.0, 5.0, REMOVED)] * 12))
    assert curve is not None
    last = curve.points.iloc[-1]
    assert (last["removed"], last["high"]) == (pytest.approx(1), 1)
    assert last["low"] == pytest.approx(exact_interval(12, 12)[0])
