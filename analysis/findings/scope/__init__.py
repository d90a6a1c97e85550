"""What else vanished, and with it when: of one record, and of a whole case, in one sentence.

In: a ``View``, or the frames of a case. Out: ``Scope``s, from the best witness to the least, and the sentence that the
report, the bulk notebook and the index of a batch have in common.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from analysis.findings.scope.between import comparable, early, scope_between, storing_times
from analysis.findings.scope.cohort import cohort
from analysis.findings.scope.extents import EXTENTS, ORDERS, Scope
from analysis.findings.scope.sweeps import evictions, swept, worst
from analysis.findings.words import count
from analysis.frames import frame

if TYPE_CHECKING:  # view imports bulk, which imports this
    from analysis.findings.view import View

__all__ = [
    "EXTENTS", "ORDERS", "Scope", "cohort", "scope", "scope_between", "scope_sentence", "scopes_of_case", "swept",
]  # fmt: skip

_NO_WITNESS = "There is no witness of what else vanished, so bulk removal is neither shown nor ruled out."
_FAMILY_OF = {"result": "result", "job": "job", "message": "queue"}


def scope(view: View, record: str) -> tuple[Scope, ...]:
    """What vanished together with one record (``result``, ``job`` or ``message``): by the commands that took it, by the
    pair of snapshots between which it went, and for a result by the tasks that workers logged. Empty for a record that
    is held and was taken from nowhere: nothing vanished with it. Where the commands only make an eviction likely, the
    snapshots come first.

    Where no pair of snapshots shows the record itself go, the pair in which most went while it can have gone is taken,
    and it says that the record is not one of them.
    """
    went = _went(view, record)
    held = {(row.server, row.db, row.key) for row in view.held(record).itertuples()}
    taken = [fate for fate in view.fates(record) if (fate.row["server"], fate.db, fate.key) not in held]
    if held and not len(went) and not taken:
        return ()
    scopes = (swept(view.commands, fate, _FAMILY_OF[record]) for fate in taken)
    by_command = next((replace(one, own=True) for one in scopes if one is not None), None)
    found = [by_command, _by_snapshots(view, record, went)]
    if any(fate.by == "eviction" for fate in taken[:1]):
        found.reverse()  # that it was evicted is inferred from the stream; that it went is not
    if record == "result":
        servers = view.servers_of(record)
        found.append(cohort(view.tasks, view.events, view.shots, view.retention.seconds, servers, view.task_id))
    return tuple(one for one in found if one is not None)


def _went(view: View, record: str) -> pd.DataFrame:
    """The rows of ``changes`` that show the record's own key go before its expiry, of the servers where it was."""
    names = view.keys_of(record) or set(view.rows(record)["key"].dropna())
    own = view.changes.loc[view.changes["key"].isin(names) & view.changes["server"].isin(view.servers_of(record))]
    return own.loc[early(own, view.shots)]


def _by_snapshots(view: View, record: str, own: pd.DataFrame) -> Scope | None:
    servers = view.servers_of(record)
    shots = view.shots.loc[view.shots["server"].isin(servers)]
    pairs = comparable(shots)
    if len(own):
        row = own.iloc[-1]
        return scope_between(
            view.keys, view.changes, view.shots, str(row["server"]), str(row["before"]), str(row["after"]),
            str(row["key"]), int(row["db"]), storing_times(view.tasks, view.jobs),
        )  # fmt: skip
    born, missed = view.born(record), view.missed_by(record)
    if born is not None:
        pairs = pairs.loc[pairs["until"] > born]
    if missed is not None:
        pairs = pairs.loc[pairs["since"] < missed]
    if not len(pairs) and len(comparable(shots)):
        says = "No two snapshots lie on either side of the time in which it can have gone."
        return Scope("snapshots", "not told", "", 0, 0, (), (), None, None, ", ".join(shots["snapshot"]), says)
    if not len(pairs):
        return _untold(view.keys, shots)
    pair = _most(pairs, view.changes, shots)
    key = next(iter(sorted(view.keys_of(record))), view.task_id)
    stored = storing_times(view.tasks, view.jobs)
    return scope_between(
        view.keys, view.changes, view.shots, pair["server"], pair["before"], pair["after"], key, None, stored
    )


def scopes_of_case(
    keys: pd.DataFrame,
    tasks: pd.DataFrame,
    shots: pd.DataFrame,
    changes: pd.DataFrame,
    *,
    jobs: pd.DataFrame | None = None,
    commands: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
    retention_seconds: int | None = None,
) -> tuple[Scope, ...]:
    """The same for a whole case, without any regard to one record: the removal by which most keys went, the pair of
    snapshots between which most went before their expiry, evictions as the commands have them, and all tasks that
    workers logged.
    """
    seen = commands if commands is not None else frame("commands")
    found: list[Scope | None] = [worst(seen)]
    pairs = comparable(shots)
    if len(pairs):
        pair = _most(pairs, changes, shots)
        stored = storing_times(tasks, jobs) if jobs is not None else None
        found.append(scope_between(keys, changes, shots, pair["server"], pair["before"], pair["after"], stored=stored))
    else:
        found.append(_untold(keys, shots))
    found.append(evictions(seen))
    if events is not None and retention_seconds is not None:
        found.append(cohort(tasks, events, shots, retention_seconds))
    return tuple(one for one in found if one is not None)


def scope_sentence(scopes: Iterable[Scope]) -> str:
    """What else vanished, in the words of the best witness that tells it; where a better one exists and cannot tell,
    that is said first.
    """
    said: list[str] = []
    for one in scopes:
        said.append(one.says)
        if one.extent != "not told":
            break
    return " ".join(said) or _NO_WITNESS


def _most(pairs: pd.DataFrame, changes: pd.DataFrame, shots: pd.DataFrame) -> pd.Series:
    """The pair between which most keys went before their expiry; the last one where none went."""
    gone = changes.loc[early(changes, shots)].groupby(["server", "before", "after"], observed=True).size()
    numbers = pairs[["server", "before", "after"]].apply(lambda row: gone.get(tuple(row), 0), axis=1)
    return pairs.assign(gone=numbers).sort_values(["sound", "gone", "until"], kind="stable").iloc[-1]


def _untold(keys: pd.DataFrame, shots: pd.DataFrame) -> Scope | None:
    """That without two snapshots of one server nothing is shown, and nothing ruled out."""
    if not len(shots):
        return None
    held = int(keys["snapshot"].isin(shots.loc[shots["latest"], "snapshot"]).sum())
    what = "One snapshot shows" if len(shots) == 1 else "Snapshots that cannot be set beside another show"
    says = (
        f"{what} what was left ({count(held, 'key')}), not what was removed: bulk removal can be neither shown nor "
        f"ruled out from {'it' if len(shots) == 1 else 'them'} alone."
    )
    source = ", ".join(shots.loc[shots["latest"], "snapshot"].astype("str"))
    return Scope("snapshots", "not told", "", 0, held, (), (), None, None, source, says)
