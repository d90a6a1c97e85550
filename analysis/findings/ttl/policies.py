"""Retention, written down: for each family of keys its TTL as stated and as it is, who deletes it, how far back one
can look.

In: what the other rooms found, the frame ``cleanup``, and the servers' settings. Out: a table, and the same as Markdown
for a team's documentation. What is not known is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.celery.families import FAMILIES
from analysis.evidence.source.patterns import covers
from analysis.findings.ttl.force import Stated, changes_of, lived, measured, policies_of
from analysis.findings.ttl.retention import kept_for
from analysis.findings.words import count, duration, listed, stamp

COLUMNS = ["family", "what", "keys", "stated", "observed", "deleted_by", "look_back", "deviating"]
HEADINGS = {
    "family": "Key family",
    "what": "What it is",
    "keys": "Keys held",
    "stated": "TTL stated",
    "observed": "TTL observed",
    "deleted_by": "Who deletes it, and how",
    "look_back": "How far back one can look",
    "deviating": "Outlive it, fall short",
}
# Who removes keys of a family other than by their TTL (facts/causes.md, 1.1 and 1.2; RQ's documentation, "Results").
_REMOVERS = {
    "result": "AsyncResult.forget() (DEL); celery.backend_cleanup does nothing on Redis",
    "group_result": "GroupResult.delete() (DEL)",
    "chord": "Celery, when the last part has ended (DEL)",
    "queue": "a worker that takes the last message; celery purge",
    "unacked": "the worker that acknowledges, or gives back, the last message",
    "unacked_index": "the worker that acknowledges, or gives back, the last message",
    "unacked_mutex": "the worker that holds it, when it has given messages back",
    "binding": "nobody: it stays until somebody deletes the queue",
    "reply": "the client, when it takes its last reply",
    "control": "the client, when it takes the last answer",
    "rq_job": "RQ: result_ttl and failure_ttl once the job has ended; until then none",
    "rq_results": "RQ, with its job",
    "rq_registry": "RQ's workers, entry by entry when its time has come",
    "rq": "RQ",
}
_DELETING = ("deletes", "expires", "purges", "flushes", "forgets")
_SAMPLE = 50
_MOST_PLACES = 3


@dataclass(frozen=True)
class ServerPolicy:
    """What a server says of eviction: its ``maxmemory`` in bytes and ``maxmemory-policy``, missing = not known."""

    maxmemory: float | None
    policy: str


def server_policies(servers: pd.DataFrame, config: Mapping[str, Mapping[str, str]]) -> dict[str, ServerPolicy]:
    """By server, what its last INFO says, else its CONFIG."""
    found = {}
    for server in {*servers["server"].dropna(), *config}:
        last = servers.loc[servers["server"].eq(server)]
        policies, limits = last["maxmemory_policy"].dropna(), last["maxmemory"].dropna()
        settings = config.get(server, {})
        limit = settings.get("maxmemory", "")
        told = float(limits.iloc[-1]) if len(limits) else float(limit) if limit.isdigit() else None
        policy = str(policies.iloc[-1]) if len(policies) else settings.get("maxmemory-policy", "")
        found[str(server)] = ServerPolicy(told, policy)
    return found


def policy_table(
    held: pd.DataFrame,
    stored: pd.DataFrame,
    history: pd.DataFrame,
    force: pd.DataFrame,
    stated: Mapping[str, tuple[Stated, ...]],
    cleanup: pd.DataFrame,
    servers: Mapping[str, ServerPolicy],
    tree: str = "src",
) -> pd.DataFrame:
    """A row for each family that is held or of which a policy is stated, in the order of ``FAMILIES``: ``COLUMNS``."""
    narrow = held[["server", "family", "shown", "expires_at", "remaining", "taken_at"]]
    groups = {str(shown): group for shown, group in narrow.groupby("shown", observed=True)}
    lives = stored[["shown", "stored_at", "seconds"]]
    measured = {str(shown): group for shown, group in lives.groupby("shown", observed=True)}
    since = history.groupby("shown", observed=True)["stored_at"].min() if len(history) > len(stored) else pd.Series()
    there = {str(group["family"].iloc[0]) for group in groups.values()}
    named = [(shown, str(group["family"].iloc[0]), group) for shown, group in groups.items()]
    # A saved group or a chord may never have been: only results and job records are missed where none is held.
    named += [
        (family, family, held.iloc[:0]) for family in ("result", "job") if family in stated and family not in there
    ]
    order = {family: place for place, family in enumerate(FAMILIES)}
    whole = force.loc[force["name"].isna()].set_index("family") if len(force) else pd.DataFrame()
    rows = []
    for shown, family, group in sorted(named, key=lambda one: (order.get(one[1], len(order)), one[0])):
        policy = stated.get(family, ())
        own = measured.get(shown, lives.iloc[:0])
        sample = held["key"].loc[group.index[:: max(1, len(group) // _SAMPLE)][:_SAMPLE]]
        judged = whole.loc[shown] if shown in whole.index else None
        rows.append(
            {
                "family": shown,
                "what": FAMILIES[family].meaning if family in FAMILIES else "",
                "keys": len(group),
                "stated": _stated(policy),
                "observed": _observed(group, own),
                "deleted_by": "; ".join(_deleted_by(family, group, _places(sample, cleanup), servers, tree)),
                "look_back": _look_back(group, own, policy) + _archived(since.get(shown), own),
                "deviating": _deviating(judged),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _stated(policy: tuple[Stated, ...]) -> str:
    if not policy:
        return "not stated"
    return "; ".join(f"{_life(one.seconds)}, {one.source}" for one in policy[:_MOST_PLACES])


def _life(seconds: float) -> str:
    return duration(seconds) if seconds else kept_for(0)


def _observed(group: pd.DataFrame, stored: pd.DataFrame) -> str:
    if not len(group):
        return "not observable: no key is held"
    endless, lives = int(group["expires_at"].isna().sum()), stored["seconds"].dropna()
    none = f"{endless:,} of {len(group):,} keys have none" if endless else ""
    if endless == len(group):
        return "none: no key has a TTL"
    if not len(lives):
        left = group["remaining"].loc[group["remaining"].gt(0)]
        bound = f"; at least the {duration(left.max())} that one had left" if len(left) else ""
        told = f"not observable: nothing says when they were stored{bound}"
    elif found := policies_of(stored):
        told = listed([f"{lived(one.seconds)} ({one.keys:,} of {len(lives):,})" for one in found])
    else:
        told = f"no TTL in common: {lived(lives.min())} to {lived(lives.max())}"
    return "; ".join(part for part in (told, none) if part)


def _deleted_by(
    family: str, group: pd.DataFrame, places: list[Any], servers: Mapping[str, ServerPolicy], tree: str
) -> Iterator[str]:
    if group["expires_at"].notna().any():
        yield "the server, when the TTL has run out"
    if family in _REMOVERS:
        yield _REMOVERS[family]
    for row in places[:_MOST_PLACES]:
        by = f" ({row.reached})" if isinstance(row.reached, str) else " (nothing in the code leads to it)"
        what = {"expires": "gives it a TTL", "flushes": "flushes"}.get(str(row.does), "deletes it")
        yield f"{tree}/{row.file}:{row.line} {what}{by}"
    if len(places) > _MOST_PLACES:
        yield f"{count(len(places) - _MOST_PLACES, 'more place')} in the code"
    yield _eviction(group, servers)


def _places(keys: pd.Series, cleanup: pd.DataFrame) -> list[Any]:
    """Places in the code that take such keys by a literal pattern, or take all."""
    found = []
    for row in cleanup.loc[cleanup["does"].isin(_DELETING)].itertuples():
        if not isinstance(row.pattern, str):
            takes = row.does == "flushes"
        else:
            takes = row.pattern != "*" and any(covers(row.pattern, str(key)) for key in keys)
        if takes:
            found.append(row)
    return found


def _eviction(group: pd.DataFrame, servers: Mapping[str, ServerPolicy]) -> str:
    names = [str(name) for name in group["server"].astype(object).unique()] or list(servers)
    known = [servers[name] for name in names if name in servers and (servers[name].policy or servers[name].maxmemory)]
    known += [servers[name] for name in names if name in servers and servers[name].maxmemory == 0]
    if not known:
        return "whether eviction may take it is not known: neither INFO nor CONFIG tells"
    one = known[0]
    if one.maxmemory == 0:
        return "not eviction: no maxmemory is set"
    if one.policy == "noeviction":
        return "not eviction: the policy is noeviction"
    if one.policy.startswith("volatile") and len(group) and group["expires_at"].isna().all():
        return f"not eviction: {one.policy} takes only keys with a TTL"
    return f"eviction under maxmemory, by {one.policy}" if one.policy else "eviction, by a policy that is not known"


def _look_back(group: pd.DataFrame, stored: pd.DataFrame, policy: tuple[Stated, ...]) -> str:
    oldest = stored["stored_at"].min() if len(stored) else pd.NaT
    held = f"the oldest held is of {stamp(oldest)}" if pd.notna(oldest) else "nothing held says when it was stored"
    common = policies_of(stored)
    changed = changes_of(common)
    now = changed[-1][1] if changed else common[0] if common else None
    seconds = measured(now.seconds) if now else policy[0].seconds if policy else None
    if len(group) and group["expires_at"].isna().all():
        return f"until it is removed; {held}"
    if not seconds:
        return held if seconds is None else f"until it is removed; {held}"
    taken = group["taken_at"].max() if len(group) else pd.NaT
    since = f", so from {stamp(taken - pd.Timedelta(seconds=seconds))} at that snapshot" if pd.notna(taken) else ""
    of_late = f" since {stamp(now.first)}" if changed and now else since
    return f"{duration(seconds)} after it was stored{of_late}; {held}"


def _archived(first: pd.Timestamp | None, stored: pd.DataFrame) -> str:
    if first is None or (len(stored) and stored["stored_at"].min() <= first):
        return ""
    return f"; the archive has some from {stamp(first)} on"


def _deviating(judged: pd.Series | None) -> str:
    if judged is None:
        return "not measured"
    over, under = int(judged["outlive"]), int(judged["short"])
    return f"{over:,} and {under:,} of {int(judged['keys']):,}"


def as_markdown(policies: pd.DataFrame, deviations: pd.DataFrame, as_of: str, most: int = 20) -> str:
    """The table as Markdown, to be pasted into a team's documentation, with the keys that deviate below it."""
    lines = [
        f"Retention of keys in Redis, as observed {as_of}. All times are UTC.",
        "",
        "| " + " | ".join(HEADINGS.values()) + " |",
        "|" + " --- |" * len(HEADINGS),
    ]
    for row in policies[list(HEADINGS)].itertuples(index=False, name=None):
        lines.append("| " + " | ".join(_in_cell(value) for value in row) + " |")
    if not len(policies):
        lines.append("| no key is held and no policy is stated |" + " |" * (len(HEADINGS) - 1))
    if len(deviations):
        lines += ["", "Keys that outlive their policy or fall short of it:", ""]
        for row in deviations.head(most).itertuples():
            told = f"lives {lived(row.seconds)}"
            meant = f" instead of {duration(row.policy)}" if pd.notna(row.policy) else " instead of until it is removed"
            lines.append(f"- {_in_cell(row.key)} (DB {row.db}, {_in_cell(row.family)}): {told}{meant}")
        if len(deviations) > most:
            lines.append(f"- and {len(deviations) - most:,} more that are listed in the report")
    return "\n".join(lines) + "\n"


_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#~"})


def _in_cell(value: object) -> str:
    """Text that Markdown shows as it is: no mark in it works, and it stays in its cell."""
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return " ".join(text.split()).translate(_MARKS)
