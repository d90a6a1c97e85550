"""The charts: every one ``plot_x(frame, *, ax=None) -> Axes``, which a notebook shows as they are.

In: frames of the findings. Out: axes, labelled in place, no legend. They stand in rooms of their own and are called
from here; ``figure`` has the look.
"""

from __future__ import annotations

from analysis.report.bulk_charts import plot_finished_tasks, plot_keys_by_hour, plot_removals, plot_shares
from analysis.report.expiry_chart import plot_stored_against_expiry
from analysis.report.figure import Chart, show
from analysis.report.timeline_chart import plot_timeline
from analysis.report.ttl_charts import plot_expiry_forecast, plot_remaining_ttl

__all__ = [
    "Chart", "plot_expiry_forecast", "plot_finished_tasks", "plot_keys_by_hour", "plot_remaining_ttl",
    "plot_removals", "plot_shares", "plot_stored_against_expiry", "plot_timeline", "show",
]  # fmt: skip
