"""The charts and tables of what went before its expiry: labelled, small, and a sentence where there is nothing."""

from __future__ import annotations

from base64 import b64decode

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.findings.bulk import looks
from analysis.findings.survival import SurvivalFindings, survival_findings
from analysis.frames import frame
from analysis.report import survival_charts, survival_page
from analysis.report.figure import LARGEST_PICTURE, Chart, ShownAxes, show
from analysis.report.html import Html
from tests.findings.lifetimes import living, recorded, seen_at

DAY = 86400.0


@pytest.fixture(scope="module")
def planted() -> SurvivalFindings:
    truth = living(np.random.default_rng(31), 1500, span=8 * DAY, loss=0.05 / DAY, ttl=7 * DAY)
    seen = seen_at(truth, [6 * DAY, 7 * DAY, 8 * DAY])
    recording = recorded(truth, 6 * DAY, 8 * DAY)
    return survival_findings(seen.keys, seen.tasks, frame("jobs"), seen.shots, seen.changes, [recording])


@pytest.fixture(scope="module")
def nothing() -> SurvivalFindings:
    empty = looks(frame("evidence"))
    return survival_findings(frame("keys"), frame("tasks"), frame("jobs"), empty, frame("changes"))


def test_the_charts_say_their_numbers_and_are_small(planted):
    gone, removed = survival_charts.plot_share_gone(planted.bands), survival_charts.plot_removed_by_age(planted.curves)
    for ax in (gone, removed):
        chart = show(ax)
        assert isinstance(chart, Chart)
        size = len(chart.data) if chart.kind == "image/svg+xml" else len(b64decode(chart.data))
        assert size < LARGEST_PICTURE
    row = planted.bands.loc[planted.bands["gone"].gt(0)].iloc[0]
    assert f"{row['gone']:,} of {row['watched']:,}" in str(gone.get_label())
    assert "by the age of" in str(removed.get_label())
    assert any(text.get_text().startswith("result, by age") for text in gone.texts)


def test_without_numbers_there_is_a_sentence(nothing):
    for ax in (
        survival_charts.plot_share_gone(nothing.bands),
        survival_charts.plot_removed_by_age(nothing.curves),
    ):
        assert isinstance(ax, ShownAxes) and ax.sentence
        assert isinstance(show(ax), Html)
    assert "two dated snapshots of one server" in survival_page.share_gone(nothing).text
    assert "No curve can be had" in nothing.by_age
    assert survival_page.removed_by_age(nothing).text == "The evidence has none of these."


def test_the_tables_hold_every_number_of_the_charts(planted):
    text = survival_page.share_gone(planted).text
    for row in planted.bands.loc[planted.bands["watched"].gt(0)].tail(3).itertuples():
        assert row.band in text
    ends = survival_page.removed_by_age(planted).text
    assert f"{planted.ends['removed'].iloc[0]:,}" in ends and "0 s to 7 d" in ends


def test_many_families_and_hostile_names_are_drawn_in_few_rows(planted):
    several = [planted.bands.assign(family=f"<b>$x$ {number}\u202e") for number in range(60)]
    ax = survival_charts.plot_share_gone(pd.concat(several, ignore_index=True))
    assert "smaller groups are in the table alone" in " ".join(text.get_text() for text in ax.texts)
    curves = pd.concat([planted.curves.assign(family=f"f{n}") for n in range(12)], ignore_index=True)
    ax = survival_charts.plot_removed_by_age(curves)
    assert "4 more curves are in the table alone" in " ".join(text.get_text() for text in ax.texts)
    assert isinstance(show(ax), Chart)


def test_the_demo_with_source_shows_the_purge_of_job_records():
    found = analysis.find_survival(analysis.open_case("data/demo-with-source"))
    shares = found.shares.set_index("family")
    assert (shares.loc["job", "gone"], shares.loc["job", "rewritten"]) == (3, 1)
    ends = found.ends.set_index("family")
    assert ends.loc["job", ["lives", "removed"]].to_list() == [6, 3]
    assert (ends.loc["result", "removed"], ends.loc["result", "lives"]) == (0, 11)
