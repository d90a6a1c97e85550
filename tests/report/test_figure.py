"""The look of charts: pictures stay small whatever they show, strips say who testifies."""

from __future__ import annotations

from base64 import b64decode

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.report.figure import LARGEST_PICTURE, new_axes, picture
from analysis.report.time_axis import MOST_STRIPS, strips_of, witness_strips


def figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def test_a_picture_of_noise_is_a_small_png():
    ax = new_axes(600)
    ax.imshow(np.random.default_rng(7).random((1200, 1800, 3)), aspect="auto")
    kind, data = picture(figure_of(ax))
    assert kind == "image/png"
    assert 10_000 < len(b64decode(data)) <= LARGEST_PICTURE


def test_a_small_picture_is_svg_and_the_same_each_time():
    def drawn() -> tuple[str, str]:
        ax = new_axes(40)
        ax.plot([0, 1], [0, 1])
        return picture(figure_of(ax))

    assert drawn()[0] == "image/svg+xml"
    assert drawn() == drawn()


def test_many_sources_share_a_strip_for_each_kind():
    day = pd.Timestamp("2026-11-23T00:00:00Z")
    rows = [(f"logs/w{n}.log", "worker log", "", day, day + pd.Timedelta(hours=n)) for n in range(MOST_STRIPS + 1)]
    seen = pd.DataFrame([*rows, ("dump.rdb", "snapshot", "", day, day)],
                        columns=["source", "kind", "server", "since", "until"])  # fmt: skip
    assert [name for name, _ in strips_of(seen)] == ["worker log, 6 files", "dump.rdb"]
    ax = new_axes(60)
    ax.set_xlim(0, 86400)
    assert witness_strips(ax, seen, day, day + pd.Timedelta(days=1), 20) == 50
    moment = ax.patches[-1]
    assert moment.get_extents().width > 0
