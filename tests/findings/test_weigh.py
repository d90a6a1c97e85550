"""Weighing: probabilities obey the contract's numbers, and one event counts once."""

from __future__ import annotations

import math

import pytest

from analysis.findings.causes import CAUSES, PRIORS
from analysis.findings.verdict import schema
from analysis.findings.weigh import Finding, fold, unexpected_loss, weigh


def found(weights, record="result", event="", id="a"):
    return Finding(id, record, "file", "says", weights, event)


@pytest.mark.parametrize("record", list(PRIORS))
@pytest.mark.parametrize("weights", [{}, {"present": 45.0}, {"unknown": -300.0, "present": 300.0}])
def test_probabilities_follow_the_decibans_and_add_up_to_one(record, weights):
    mine = {cause: weight for cause, weight in weights.items() if cause in PRIORS[record]}
    folded = fold(weigh(record, [found(mine, record)]))
    assert sum(h.probability for h in folded) == pytest.approx(1)
    top = folded[0]
    for h in folded:
        assert h.probability == pytest.approx(top.probability * 10 ** ((h.decibans - top.decibans) / 10))
        assert h.decibans == pytest.approx(h.prior + sum(e.weight for e in h.evidence))
    assert "unknown" in {h.cause for h in folded}
    assert all(h.probability >= 0.001 for h in folded if h.cause not in ("unknown", "other"))


def test_without_evidence_nothing_but_unknown_leads():
    for record in PRIORS:
        lead = weigh(record, [])[0]
        assert lead.cause == "unknown"
        assert lead.probability > 0.5


def test_two_witnesses_of_one_event_count_once():
    one = weigh("job", [found({"purged_by_cleanup": 13.0}, "job", "purge")])
    two = weigh(
        "job",
        [found({"purged_by_cleanup": 13.0}, "job", "purge"), found({"purged_by_cleanup": 3.0}, "job", "purge", "b")],
    )
    apart = weigh(
        "job", [found({"purged_by_cleanup": 13.0}, "job", "x"), found({"purged_by_cleanup": 3.0}, "job", "y", "b")]
    )
    assert one[0].decibans == two[0].decibans == apart[0].decibans - 3
    assert [e.weight for e in two[0].evidence] == [13.0, 0.0]


def test_evidence_stands_strongest_first():
    weighed = weigh("result", [found({"present": 3.0}), found({"present": -20.0}, id="b")])
    present = next(h for h in weighed if h.cause == "present")
    assert [e.weight for e in present.evidence] == [-20.0, 3.0]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"result": {"present": 60.0}}, False),
        ({"result": {"evicted": 60.0}}, True),
        ({"result": {}}, None),
        ({"result": {"present": 60.0}, "job": {"deleted_by_client": 60.0}}, True),
        ({"result": {"present": 60.0}, "job": {}}, False),
        ({"result": {"natural_expiry": 14.0, "evicted": 20.0}}, None),
    ],
)
def test_unexpected_loss_follows_the_contract(weights, expected):
    weighed = {record: weigh(record, [found(w, record)]) for record, w in weights.items()}
    assert unexpected_loss(weighed) is expected


def test_every_cause_with_a_prior_is_in_the_tables_and_in_the_schema():
    allowed = set(schema()["$defs"]["cause"]["enum"])
    for record, priors in PRIORS.items():
        assert set(priors) <= set(CAUSES), record
        assert set(priors) <= allowed, record
        assert "unknown" in priors
        assert all(math.isfinite(prior.decibans) and prior.reason for prior in priors.values())
