"""What only a person knows of an incident: ``case.toml``, as far as the plan lets somebody say it.

In: a stage. Out: the file, or none where nobody said anything. Knows nothing of what is true.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.incidents.bench import Stage

_NAMES = ("Result is gone", "Customer asks for an answer that vanished", "PENDING for ever", "Missing since tonight")


def write_case(stage: Stage) -> None:
    """Write ``case.toml``; ``stage.stated`` goes before what the application does."""
    lines = []
    if stage.random.random() < 0.3:
        lines.append(f'name = "{stage.random.choice(_NAMES)}"')
    if stage.environment:
        lines.append(f'environment = "{stage.environment}"')
    if stage.plan.has("noticed") and stage.noticed_at:
        lines.append(f"noticed_at = {stage.noticed_at:%Y-%m-%dT%H:%M:%SZ}")
    if stage.zone and stage.plan.has("worker_log"):
        lines += ["[timezones]", f'"worker*.log" = "{stage.zone}"']
    if stage.plan.has("databases"):
        databases = {"main": stage.main, "broker": stage.broker, "results": stage.results}
        databases |= stage.stated.get("databases", {})
        lines += ["[databases]", *(f"{name} = {number}" for name, number in databases.items())]
    celery = dict(stage.stated.get("celery", {}))
    if stage.plan.has("expires"):
        celery.setdefault("result_expires", stage.settings.get("result_expires", 86400))
    if stage.prefix and stage.plan.has("databases"):
        celery.setdefault("key_prefix", stage.prefix)
    if celery:
        lines += ["[celery]", *(f"{name} = {json.dumps(value)}" for name, value in celery.items())]
    if stage.jobs_key and (stage.random.random() < 0.7 or "jobs" in stage.stated):
        lines += ["[jobs]", f'key = "{stage.jobs_key}{{id}}"']
    if lines:
        (stage.case / "case.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
