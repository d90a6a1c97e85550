"""Charts of TTLs: what is drawn is what is held, whatever the number of keys; what is not known is a sentence."""

from __future__ import annotations

from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.findings.ttl.force import in_force, stated_policies
from analysis.findings.ttl.forecast import expiry_forecast
from analysis.findings.ttl.held import COLUMNS
from analysis.frames import frame
from analysis.report.charts import plot_expiry_forecast, plot_remaining_ttl, plot_stored_against_expiry, show
from analysis.report.figure import LARGEST_PICTURE, LOST, RUNNING, ShownAxes, picture
from analysis.settings import Settings

NOON = pd.Timestamp("2026-03-01T12:00:00Z")
DAY = 86_400.0


def stored(ages: object, lives: object, family: str = "result") -> pd.DataFrame:
    """As ``held.when_stored`` gives it: keys stored so many seconds before NOON, that live so long (nan = no TTL)."""
    at = pd.Series(NOON - pd.to_timedelta(np.asarray(ages, dtype=float), unit="s")).astype("datetime64[us, UTC]")
    seconds = pd.Series(np.broadcast_to(np.asarray(lives, dtype=float), len(at)))
    rows = pd.DataFrame({"stored_at": at, "seconds": seconds, "expires_at": at + pd.to_timedelta(seconds, unit="s")})
    rows = rows.assign(server="", snapshot="a.rdb", db=0, key="k", family=family, shown=family, name=None)
    return rows.assign(stored_from="date_done", taken_at=NOON)[COLUMNS]


def test_keys_on_the_policy_are_dots_and_those_off_it_crosses():
    rows = stored([100, 200, 300, 400, 500], [DAY, DAY, DAY, DAY, 3600])
    stated = stated_policies(Settings(result_expires=int(DAY)), frame("cleanup"))
    ax = plot_stored_against_expiry(rows, force=in_force(rows, stated))
    marks = {line.get_marker(): line for line in ax.lines if line.get_marker() in ("o", "x")}
    assert [np.size(marks[mark].get_xdata()) for mark in ("o", "x")] == [4, 1]
    assert (marks["o"].get_color(), marks["x"].get_color()) == (RUNNING, LOST)
    words = [text.get_text() for text in ax.texts]
    assert "stated and lived: 1 d" in words and any("1 off the policy" in word for word in words)
    assert "4 live 1 d" in str(ax.get_label()) and "stated 1 d" in str(ax.get_label())
    # The older a key is, the further left it stands, and the earlier it expires.
    x, y = marks["o"].get_xdata(), marks["o"].get_ydata()
    assert list(np.argsort(x)) == [3, 2, 1, 0] and list(np.argsort(-np.asarray(y))) == [3, 2, 1, 0]


def test_the_time_of_which_nothing_can_be_left_is_hatched():
    rows = stored([100, 200, 300, 2 * DAY], [3600, 3600, 3600, 7 * DAY])
    ax = plot_stored_against_expiry(rows)
    assert any(patch.get_hatch() for patch in ax.patches)
    ax = plot_stored_against_expiry(stored([100, 200, 300], 3600))
    assert not any(patch.get_hatch() for patch in ax.patches)


def test_keys_without_a_ttl_stand_in_a_strip_and_alone_are_a_sentence():
    ax = plot_stored_against_expiry(stored([100, 200, 300, 400], [DAY, DAY, DAY, np.nan]))
    assert "no TTL" in [text.get_text() for text in ax.texts]
    alone = plot_stored_against_expiry(stored([100, 200], np.nan))
    assert isinstance(alone, ShownAxes) and "Not observable" in alone.sentence


def test_a_million_keys_are_drawn_as_cells_in_a_small_picture():
    chance = np.random.default_rng(3)
    lives = np.where(chance.random(1_000_000) < 0.01, chance.uniform(60, DAY, 1_000_000), DAY)
    ax = plot_stored_against_expiry(stored(chance.uniform(0, DAY, 1_000_000), lives))
    assert len(ax.images) == 2
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    kind, data = picture(figure)
    assert (len(data) if kind == "image/svg+xml" else len(b64decode(data))) <= LARGEST_PICTURE
    assert any("darker is more keys" in text.get_text() for text in ax.texts)


def test_one_key_far_off_does_not_flatten_the_others():
    lives = np.full(1001, DAY)
    lives[0] = 1000 * DAY
    ax = plot_stored_against_expiry(stored(np.linspace(0, DAY - 60, 1001), lives))
    [dots] = [line for line in ax.lines if line.get_marker() == "o"]
    assert np.ptp(np.asarray(dots.get_ydata(), dtype=float)) > 100
    assert "1 beyond the scale" in str(ax.get_label())


def test_no_key_that_says_when_it_was_stored_is_a_sentence():
    for ax in (plot_stored_against_expiry(stored([], [])), plot_expiry_forecast(expiry_forecast(_held([])))):
        assert isinstance(ax, ShownAxes) and ax.sentence and "<img" not in repr(show(ax))


def _held(hours: list[float]) -> pd.DataFrame:
    """As ``held.held_keys`` gives it: keys that expire so many hours after NOON."""
    left = pd.Series(hours, dtype="float64") * 3600
    rows = pd.DataFrame({"remaining": left, "expires_at": NOON + pd.to_timedelta(left, unit="s")})
    rows = rows.assign(shown="result", bytes=10, taken_at=NOON).astype({"taken_at": "datetime64[us, UTC]"})
    return rows.astype({"expires_at": "datetime64[us, UTC]"})


def test_the_forecast_is_dashed_for_no_witness_has_seen_it():
    ax = plot_expiry_forecast(expiry_forecast(_held([0.5, 1.5, 1.6, 1.7])))
    [outline] = [patch for patch in ax.patches if not patch.get_fill()]
    assert outline.get_linestyle() not in ("-", "solid")
    assert "most: 3 in the hour from 13:00, 1 March" in str(ax.get_label())


@pytest.mark.parametrize("bins", [["past expiry", "1 – 6 h", "no TTL"], ["undated"]])
def test_bins_of_their_own_are_hatched_and_the_others_are_not(bins):
    rows = pd.DataFrame({"family": "result", "bin": bins, "keys": range(1, len(bins) + 1)})
    hatched = [bool(patch.get_hatch()) for patch in plot_remaining_ttl(rows).patches]
    assert hatched == [name != "1 – 6 h" for name in bins]


def test_a_life_is_drawn_as_long_as_keys_were_stored_so_and_what_no_snapshot_can_show_is_hatched_between_two():
    old = stored(np.linspace(4 * DAY, 4.4 * DAY, 50), DAY / 2).assign(taken_at=NOON - pd.Timedelta(days=4))
    both = pd.concat([stored(np.linspace(0, DAY - 60, 50), DAY), old], ignore_index=True)
    ax = plot_stored_against_expiry(both)
    dotted = [line for line in ax.lines if line.get_linestyle() == ":" and line.get_color() != LOST]
    spans = sorted(tuple(np.asarray(line.get_xdata(), dtype=float) / DAY) for line in dotted)
    # Since 4.4 days before NOON with the margin of the axis, and the last day, each a little further.
    assert len(spans) == 2 and spans[0][1] < 1 and spans[1][0] > 2.5
    assert sum(bool(patch.get_hatch()) for patch in ax.patches) == 1
