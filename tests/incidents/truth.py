"""What became of a record, and what a careful expert would make of the evidence that is left: a truth file.

In: accepted causes with bounds on the confidence. Out: JSON as ``score.py`` reads it. Knows nothing of how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# The contract's table "a loss nobody wanted?": yes. Of `unknown` neither is said.
UNWANTED = frozenset(
    "ttl_shortened evicted chord_state_expired queue_expired clock_jump deleted_by_client bulk_deleted overwritten "
    "db_flushed server_flushed db_swapped renamed_or_moved restart_data_loss stale_snapshot_restored "
    "replaced_by_resync failover_lost_writes result_never_stored worker_killed lost_in_pop queue_purged discarded "
    "unroutable never_published undecodable".split()
)


@dataclass(frozen=True)
class Accepted:
    """Causes and statuses an expert would accept of a record, and how sure he may be; ``causes[0]`` is the true one."""

    causes: Sequence[str]
    least: float = 0.0
    most: float = 1.0
    status: Sequence[str] = ("absent",)
    record: str | Sequence[str] = "result"

    def as_json(self) -> dict[str, Any]:
        return {
            "record": _one_or_list([self.record] if isinstance(self.record, str) else list(self.record)),
            "cause": _one_or_list(list(self.causes)),
            "status": _one_or_list(list(self.status)),
            "min_confidence": self.least,
            "max_confidence": self.most,
        }

    def unwitnessed(self) -> Accepted:
        """The same where nothing shows that the record is not there: it was missed, and perhaps it is not gone."""
        causes = tuple(dict.fromkeys((*self.causes, "unknown", "present")))
        return replace(
            self, causes=causes, least=0.0, status=tuple(sorted({*self.status, "unknown", "present", "absent"}))
        )

    def losses(self) -> list[bool | None]:
        """The values of ``unexpected_loss`` that go with the accepted causes."""
        wanted: list[bool | None] = []
        if any(cause in UNWANTED for cause in self.causes):
            wanted.append(True)
        if any(cause not in UNWANTED and cause != "unknown" for cause in self.causes):
            wanted.append(False)
        # Between causes of both sorts, or with much on `unknown`, neither sum may reach a half.
        if "unknown" in self.causes or len(wanted) > 1:
            wanted.append(None)
        return wanted


@dataclass(frozen=True)
class Truth:
    """The truth about one task; ``losses`` is derived from the accepted causes where it is not given."""

    task_id: str
    accepted: Accepted
    why: str
    also: Sequence[Accepted] = ()
    losses: Sequence[bool | None] | None = None
    made: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path, group: str) -> None:
        losses = list(self.accepted.losses() if self.losses is None else self.losses)
        told = {
            "task_id": self.task_id,
            **self.accepted.as_json(),
            "unexpected_loss": losses if len(losses) > 1 else losses[0],
            "why": self.why,
            "also": [one.as_json() for one in self.also],
            "group": group,
            "made": self.made,
        }
        path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _one_or_list(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
