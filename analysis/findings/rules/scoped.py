"""Evidence from what else vanished: one key, one kind, one age, one database, all, or the idlest of everything.

In: a ``View``. Out: findings for every cause whose reach is known: a flush spares nothing of its database, a DEL takes
what it names, eviction the longest idle of whatever there is (facts/causes.md 8: the cheapest strong discriminator).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log10

from analysis.findings.causes import RECORDS
from analysis.findings.rules import DECISIVE, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.rules.counted import removed_by_name
from analysis.findings.scope.extents import Scope
from analysis.findings.tally import tally
from analysis.findings.view import View
from analysis.findings.weigh import Finding
from analysis.findings.words import count

# Between weak and supportive: a choice that eviction would make, and others may.
_HALF = 5.0
_ALL = ("server_flushed", "restart_data_loss", "replaced_by_resync")
_HAND = ("deleted_by_client", "forgotten")


def _each(causes: tuple[str, ...], weight: float) -> dict[str, float]:
    return dict.fromkeys(causes, weight)


# Extent → what it says of each cause, in decibans.
WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "one key": {
        **_each(_HAND, SUPPORTIVE),
        "ttl_shortened": WEAK,
        "evicted": -WEAK,
        **_each(("bulk_deleted", "clock_jump", "stale_snapshot_restored"), -STRONG),
        **_each((*_ALL, "db_flushed", "db_swapped"), -DECISIVE),
    },
    "a few keys": {
        **_each(_HAND, WEAK),
        "bulk_deleted": -WEAK,
        **_each((*_ALL, "db_flushed", "db_swapped"), -DECISIVE),
    },
    "one prefix": {
        "bulk_deleted": STRONG,
        **_each(("deleted_by_client", "evicted"), -SUPPORTIVE),
        "forgotten": -WEAK,
        "db_flushed": -STRONG,
        **_each((*_ALL, "stale_snapshot_restored"), -DECISIVE),
    },
    "one database": {
        "db_flushed": STRONG,
        "db_swapped": SUPPORTIVE,
        "bulk_deleted": WEAK,
        **_each((*_HAND, "evicted", "stale_snapshot_restored", *_ALL), -STRONG),
    },
    "the only database": {
        **_each((*_ALL, "db_flushed"), STRONG),
        "bulk_deleted": -WEAK,
        **_each((*_HAND, "evicted", "ttl_shortened"), -STRONG),
    },
    "all databases": {
        **_each(_ALL, STRONG),
        "bulk_deleted": -SUPPORTIVE,
        **_each((*_HAND, "evicted", "ttl_shortened", "db_flushed", "db_swapped"), -STRONG),
    },
    "two databases": {"db_swapped": DECISIVE, **_each((*_HAND, "evicted", "bulk_deleted"), -STRONG)},
    "all results": {
        **_each((*_ALL, "db_flushed", "bulk_deleted"), SUPPORTIVE),
        "result_ignored": WEAK,
        **_each((*_HAND, "evicted", "ttl_shortened"), -SUPPORTIVE),
    },
    "one task name": {"result_ignored": SUPPORTIVE, "bulk_deleted": WEAK, **_each((*_ALL, "db_flushed"), -STRONG)},
    "one worker": {"result_never_stored": WEAK, **_each((*_ALL, "db_flushed"), -STRONG)},
    "scattered": {
        "evicted": _HALF,
        **_each((*_HAND, "bulk_deleted"), -WEAK),
        "stale_snapshot_restored": -SUPPORTIVE,
        **_each((*_ALL, "db_flushed", "db_swapped"), -DECISIVE),
    },
}
# Of one age: which of them went. What is newer than an event outlives it, what is older outlives a snapshot of before.
AGES: Mapping[str, Mapping[str, float]] = {
    "newest": {
        "stale_snapshot_restored": STRONG,
        **_each(("failover_lost_writes", "restart_data_loss"), SUPPORTIVE),
        **_each((*_HAND, "evicted"), -SUPPORTIVE),
    },
    "age": {
        **_each((*_ALL, "db_flushed", "bulk_deleted"), SUPPORTIVE),
        "stale_snapshot_restored": -SUPPORTIVE,
        **_each(_HAND, -STRONG),
        "evicted": -WEAK,
    },
}
# That little went tells something only where as much could have gone.
_LEAST_LEFT = 5
# Whom Redis evicts: the longest idle, or under volatile-ttl those nearest their expiry (Redis evict.c).
_EVICTS_BY = ("idle", "ttl")


@rule("vanished-with-it", rests_on="each way to remove keys has a reach of its own (facts/causes.md 4 and 8)")
def vanished_with_it(view: View) -> Iterator[Finding]:
    for record in RECORDS:
        if len(view.held(record)) or view.followed(record):
            continue
        for one in view.scopes(record):
            if one.witness == "commands" or not one.own:
                continue
            weights = _weights(one)
            if one.witness == "logs":
                # Of results alone, and by the clocks of workers: what speaks against a cause does so less.
                weights = {cause: max(weight, -SUPPORTIVE) for cause, weight in weights.items()}
            if weights:
                # The name that the report on bulk removal gives it.
                says = one.says if one.pattern == "nothing" else f"{one.says} As a pattern: {one.pattern}."
                yield Finding(f"scope-{one.witness}", record, f"{one.source}, keys", says, weights, event="scope")


def _weights(one: Scope) -> dict[str, float]:
    if one.extent in ("one key", "a few keys") and one.left < _LEAST_LEFT:
        return {}
    weights = dict(AGES.get(one.order, {}) if one.extent == "one age" else WEIGHTS.get(one.extent, {}))
    if one.extent in ("scattered", "one age") and one.order in _EVICTS_BY:
        weights["evicted"] = STRONG
    return weights


@rule(
    "evictions-account",
    rests_on="evicted_keys counts keys: what went early is accounted for, or is not (Redis evict.c)",
)
def evictions_account(view: View) -> Iterator[Finding]:
    for record in RECORDS:
        counted = tally(view, record, "evicted_keys")
        if counted is None or counted.grew == 0 or view.followed(record):
            continue
        for one in view.scopes(record):
            if one.witness != "snapshots" or not one.gone or not one.own:
                continue
            evicted = int(counted.grew)
            says = f"{count(one.gone, 'key')} went before their expiry, and {count(evicted, 'was', 'were')} evicted"
            enough = evicted * 5 >= one.gone * 4
            says += ": that accounts for them." if enough else ": that accounts for a part of them."
            weight = _HALF if enough else max(10 * log10(evicted / one.gone), -STRONG)
            if enough and removed_by_name(view, record) >= 0.7:
                says += " Others were removed by name."
                weight = WEAK
            yield Finding("evictions-account", record, counted.source, says, {"evicted": weight})
