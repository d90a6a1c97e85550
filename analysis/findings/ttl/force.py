"""The retention really in force, against the one that is stated: by family and by task, and who deviates from it.

In: ``held.when_stored``, and policies as ``stated_policies`` finds them. Out: small frames. A life is measured from
storing to expiry; what only shows its expiry is counted and not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.celery.families import TASK_META
from analysis.evidence.source.patterns import covers
from analysis.findings.ttl.retention import kept_for
from analysis.findings.words import duration, listed
from analysis.settings import Settings

# Clocks of worker and server differ by as much, and a result is stored some milliseconds after its own date_done.
SAME = 2.0
# Lives that all differ from what is stated by the same few minutes are what two clocks that differ would show.
_CLOCKS = 300.0
# A policy is what this share of a family's keys live, and so many of them.
_LEAST_SHARE, _LEAST_KEYS = 0.05, 3
_MOST_NAMES = 40
_MOST_POLICIES = 4
MOST_DEVIATIONS = 1_000

Lives = NDArray[np.float64]


@dataclass(frozen=True)
class Stated:
    """A retention that somebody stated: seconds (0 = kept until removed), and where."""

    seconds: float
    source: str


def stated_policies(settings: Settings, cleanup: pd.DataFrame, tree: str = "src") -> dict[str, tuple[Stated, ...]]:
    """By family, each retention that is stated: first ``case.toml``'s, then those that the source code sets.

    ``result_expires`` holds for results, saved groups and chords (facts/causes.md, 1.1). Of code only what has a time.
    """
    results, jobs = [], []
    if settings.result_expires is not None:
        results.append(Stated(settings.result_expires, "case.toml, [celery] result_expires"))
    if settings.jobs is not None and settings.jobs.expires is not None:
        jobs.append(Stated(settings.jobs.expires, "case.toml, [jobs] expires"))
    timed = cleanup.loc[cleanup["seconds"].notna()]
    for row in timed.itertuples():
        place = f"{tree}/{row.file}:{row.line}"
        named = str(row.settings).split(", ")[0] if isinstance(row.settings, str) else ""
        if row.does == "sets" and named == "result_expires":
            results.append(Stated(float(row.seconds), place))
        elif row.does == "expires" and isinstance(row.pattern, str) and _takes_jobs(row.pattern, settings):
            jobs.append(Stated(float(row.seconds), place))
    found = {family: tuple(results) for family in ("result", "group_result", "chord") if results}
    return found | ({"job": tuple(jobs)} if jobs else {})


def _takes_jobs(pattern: str, settings: Settings) -> bool:
    template = settings.jobs.key if settings.jobs else None
    return pattern != "*" and bool(template) and covers(pattern, str(template).replace("{id}", "0"))


def result_key(settings: Settings) -> str:
    """A result's key as code would have to name it."""
    return f"{settings.key_prefix or ''}{TASK_META}0"


@dataclass(frozen=True)
class Policy:
    """A life that many keys have in common: seconds, how many keys, and when the first and last of them was stored."""

    seconds: float
    keys: int
    first: pd.Timestamp
    last: pd.Timestamp
    # Between these two lie all but a hundredth at either end: a straggler hides no change.
    begun: pd.Timestamp
    ended: pd.Timestamp


def policies_of(stored: pd.DataFrame) -> list[Policy]:
    """The lives that keys have in common, the most frequent first: within ``SAME`` seconds of each other, and shared by
    a twentieth of the keys and by three, or by all where they are fewer.
    """
    known = stored.loc[stored["seconds"].gt(0)]
    if not len(known):
        return []
    seconds = known["seconds"].to_numpy(dtype=float)
    whole, frequency = np.unique(np.round(seconds), return_counts=True)
    least = max(_LEAST_KEYS, _LEAST_SHARE * len(known)) if len(known) > _LEAST_KEYS else len(known)
    found: list[Policy] = []
    free, left = frequency.astype(float), np.ones(len(seconds), bool)
    while len(found) < _MOST_POLICIES and free.max() > 0:
        peak = float(whole[int(np.argmax(free))])
        near = left & (np.abs(seconds - peak) <= SAME)
        left &= ~near
        free[np.abs(whole - peak) <= SAME] = 0
        if near.sum() < least:
            break
        at = known["stored_at"].to_numpy(dtype="datetime64[us]")[near]
        begun, ended = np.quantile(at.astype(np.int64), [0.01, 0.99]) if len(at) > 100 else (at.min(), at.max())
        middle = float(np.median(seconds[near]))
        found.append(Policy(middle, int(near.sum()), *(_moment(one) for one in (at.min(), at.max(), begun, ended))))
    return found


def _moment(value: float | np.datetime64) -> pd.Timestamp:
    return pd.Timestamp(np.datetime64(int(value), "us") if not isinstance(value, np.datetime64) else value, tz="UTC")


def changes_of(policies: list[Policy]) -> list[tuple[Policy, Policy]]:
    """Where one policy follows another: pairs, of which the second began when the first had ended. Policies that lie
    side by side changed at no time that can be told.
    """
    in_order = sorted(policies, key=lambda one: one.begun)
    pairs = list(zip(in_order, in_order[1:], strict=False))
    return pairs if all(one.ended < two.begun and min(one.keys, two.keys) >= _LEAST_KEYS for one, two in pairs) else []


FORCE = ["family", "name", "keys", "stated", "stated_from", "observed", "share", "lives", "outlive", "short", "says"]


def _families(stored: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The keys of each family whose life is measured, without the text of their keys: a million of those are large."""
    narrow = stored[["shown", "family", "name", "stored_at", "stored_from", "seconds"]]
    measured = stored["seconds"].notna().to_numpy(dtype=bool)
    narrow = narrow if measured.all() else narrow.loc[measured]
    yield from ((str(shown), group) for shown, group in narrow.groupby("shown", observed=True))


def in_force(stored: pd.DataFrame, stated: Mapping[str, tuple[Stated, ...]]) -> pd.DataFrame:
    """Retention stated and observed, a row for each family whose retention can be measured, and under it one for each
    task name where there are several: columns ``FORCE``.

    ``keys`` are those with a TTL whose life is measured; ``stated`` and ``observed`` seconds (missing = none, no life
    in common); ``share`` of the keys that live the observed one; ``lives`` all that many share, in words; ``outlive``
    and ``short`` those off the policy, which is the stated one, else the observed. The largest family comes first.
    """
    rows = []
    for shown, group in sorted(_families(stored), key=lambda one: -len(one[1])):
        policy = stated.get(str(group["family"].iloc[0]), ())
        rows.append({"family": str(shown), "name": None, **_row(group, policy)})
        names = group["name"].value_counts()
        if len(names[names > 0]) > 1:
            by_name = dict(list(group.groupby("name", observed=True)))
            for name in names.index[:_MOST_NAMES]:
                rows.append({"family": str(shown), "name": str(name), **_row(by_name[name], policy)})
    return pd.DataFrame(rows, columns=FORCE)


def _row(group: pd.DataFrame, stated: tuple[Stated, ...]) -> dict[str, object]:
    found = policies_of(group)
    lives = group["seconds"].to_numpy(dtype=float)
    common = found[0].seconds if found else None
    off = _off(lives, _measure(stated, found, len(lives)))
    return {
        "keys": len(group),
        "stated": stated[0].seconds if stated else None,
        "stated_from": stated[0].source if stated else None,
        "observed": common,
        "share": found[0].keys / len(group) if found else None,
        "outlive": int((off > SAME).sum()),
        "short": int((off < -SAME).sum()),
        "lives": _lives(found, lives),
        "says": "; ".join(_says(off, stated)),
    }


def _measure(stated: tuple[Stated, ...], found: list[Policy], keys: int) -> float | None:
    """The policy against which keys are judged: what is stated, else what half of them live."""
    if stated:
        return stated[0].seconds or float("inf")
    return found[0].seconds if found and found[0].keys * 2 >= keys else None


def _off(lives: Lives, policy: float | None) -> Lives:
    return np.zeros(len(lives)) if policy is None else lives - policy


def _lives(found: list[Policy], lives: Lives) -> str:
    if found:
        return listed([f"{lived(one.seconds)} ({one.keys:,})" for one in found])
    low, middle, high = np.quantile(lives, [0, 0.5, 1])
    return f"none in common: {lived(low)} to {lived(high)}, half of them up to {lived(middle)}"


def _says(off: Lives, stated: tuple[Stated, ...]) -> Iterator[str]:
    if stated and not stated[0].seconds:
        yield f"stated is {kept_for(0)}, and yet they have a TTL"
    elif stated and (median := float(np.median(off))) and SAME < abs(median) <= _CLOCKS:
        if (np.abs(off - median) <= SAME).mean() >= 0.9:
            more = "more" if median > 0 else "less"
            yield f"all alike {lived(abs(median))} {more} than stated: clocks that differ would show the same"
    others = [other for other in stated[1:] if abs(other.seconds - stated[0].seconds) > SAME]
    if others:
        places = [f"{kept_for(one.seconds)} in {one.source}" for one in (stated[0], *others)]
        yield f"not stated alike: {listed(places)}"


def measured(seconds: float) -> float:
    """A life as closely as clocks measure it: one within ``SAME`` of whole minutes is those minutes."""
    minutes = round(seconds / 60) * 60
    return minutes if minutes >= 120 and abs(seconds - minutes) <= SAME else round(seconds) or seconds


def lived(seconds: float) -> str:
    """A measured life in words."""
    return duration(measured(seconds))


CHANGES = ["family", "name", "from_seconds", "to_seconds", "last_before", "first_after", "keys_before", "keys_after"]


def changes_in_force(stored: pd.DataFrame) -> pd.DataFrame:
    """Where the TTL of a family, or else of one task in it, changed at a time: columns ``CHANGES``; only where one
    policy ended before the next began.

    ``last_before`` and ``first_after`` are the last key of the old policy and the first of the new one.
    """
    rows = []
    for shown, group in _families(stored):
        parts: list[tuple[str | None, pd.DataFrame]] = [(None, group)]
        if not changes_of(policies_of(group)):
            # Each task may have policies of its own, which lie side by side in the family.
            parts = [(str(name), part) for name, part in group.groupby("name", observed=True)]
        for name, part in parts:
            for one, two in changes_of(policies_of(part)):
                values = (one.seconds, two.seconds, one.last, two.first, one.keys, two.keys)
                rows.append(dict(zip(CHANGES, (str(shown), name, *values), strict=True)))
    return pd.DataFrame(rows, columns=CHANGES)


DEVIATIONS = ["family", "name", "db", "key", "stored_at", "stored_from", "expires_at", "seconds", "policy", "off",
              "says"]  # fmt: skip


RENEWED = "counted from its creation: a later write may have renewed it"


def deviations(stored: pd.DataFrame, stated: Mapping[str, tuple[Stated, ...]]) -> pd.DataFrame:
    """Keys that outlive the policy or fall short of it, the farthest off first, at most ``MOST_DEVIATIONS`` of each
    family (``in_force`` counts them all): columns ``DEVIATIONS``; ``policy`` and ``off`` (life less policy) in seconds.

    Of families whose policy is not stated, only where half of the keys share one. Stated as kept until removed
    (``policy`` missing), every key with a TTL falls short.
    """
    parts = []
    for _, group in _families(stored):
        lives = group["seconds"].to_numpy(dtype=float)
        policy = _measure(stated.get(str(group["family"].iloc[0]), ()), policies_of(group), len(group))
        off = _off(lives, policy)
        far = np.flatnonzero(np.abs(off) > SAME)
        far = far[np.argsort(-np.abs(off[far]), kind="stable")][:MOST_DEVIATIONS]
        words = np.where(off[far] > 0, "outlives it", "falls short of it")
        renewed = group["stored_from"].to_numpy(dtype=object)[far] == "created_at"
        words = np.where(renewed & (off[far] > 0), f"outlives it, {RENEWED}",
                         words)  # fmt: skip
        known = policy is not None and np.isfinite(policy)
        parts.append(
            stored.loc[group.index[far]].assign(
                family=str(group["shown"].iloc[0]) if len(group) else "",
                policy=policy if known else np.nan,
                off=off[far] if known else np.nan,
                says=words,
            )[DEVIATIONS]
        )
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=DEVIATIONS)
