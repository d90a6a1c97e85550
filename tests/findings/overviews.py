"""Small overviews, built frame by frame, for tests of what they say and of how they look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.findings.overview import OverviewFindings, overview
from analysis.frames import frame
from analysis.settings import Settings
from tests.findings.cases import at

DECLARED = ["server", "snapshot", "db", "queue"]


def key(shot: str, name: str, *, family: str = "result", db: int = 2, expires: float | None = 100, **more: Any) -> Any:
    moment = None if expires is None else at(expires)
    row = {"server": "", "snapshot": shot, "db": db, "key": name, "type": "string", "family": family, "length": 10}
    return {**row, "expires_at": moment, "expired": False, "bytes": 10, **more}


def found(
    *,
    evidence: Iterable[Mapping[str, Any]] = (),
    infos: Iterable[Mapping[str, Any]] = (),
    config: Mapping[str, Mapping[str, str]] | None = None,
    declared: Iterable[tuple[Any, ...]] = (),
    stated: Settings | None = None,
    **frames: Iterable[Mapping[str, Any]],
) -> OverviewFindings:
    """The overview of the given rows; INFO answers are evidence of themselves."""
    answers = [{**one, "source": f"info{n}.txt"} for n, one in enumerate(infos)]
    counters = [
        {"server": one["server"], "source": one["source"], "at": one["at"], "counter": name, "value": value}
        for one in answers
        for name, value in one.pop("counters", {}).items()
    ]
    told = [{"server": one["server"], "path": one["source"], "kind": "info", "to": one["at"]} for one in answers]
    names = ("keys", "tasks", "messages", "events", "commands")
    given = {name: frame(name, frames.get(name, ())) for name in names}
    return overview(
        frame("evidence", [*evidence, *told]),
        **given,
        servers=frame("servers", answers),
        counters=frame("counters", counters),
        clients=frame("clients", frames.get("clients", ())),
        config=config or {},
        declared=pd.DataFrame(declared, columns=DECLARED),
        stated=stated or Settings(),
    )
