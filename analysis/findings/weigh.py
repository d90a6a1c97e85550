"""Weighing: pieces of evidence and priors become decibans, and decibans become probabilities.

In: ``Finding``s of the rules in ``evidence``. Out: the hypotheses of ``verdict``. Knows no Redis, no Celery and no
sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import log10

from analysis.findings.causes import PRIORS, losses
from analysis.findings.verdict import Evidence, Hypothesis

SMALLEST = 0.001


@dataclass(frozen=True)
class Finding:
    """What one rule found: the decibans it adds to (or takes from) each cause it bears on, for one record.

    ``event`` names the occurrence it testifies of. Two findings with the same event are two witnesses of one thing: for
    each cause only the heaviest of those that agree counts, the others are shown with a weight of 0.
    """

    id: str
    record: str
    source: str
    says: str
    weights: Mapping[str, float] = field(default_factory=dict)
    event: str = ""


def weigh(record: str, findings: Iterable[Finding]) -> tuple[Hypothesis, ...]:
    """Every cause of one record, most probable first; ``probability`` ∝ 10^(decibans/10) and adds up to 1.

    A rule may weigh causes that do not compete for this record, or find something that weighs nothing: both are left
    out.
    """
    mine = _counted_once([f for f in findings if f.record == record and any(f.weights.values())])
    raw: list[Hypothesis] = []
    for cause, prior in PRIORS[record].items():
        pieces = [Evidence(f.id, f.source, float(f.weights[cause]), f.says) for f in mine if cause in f.weights]
        pieces.sort(key=lambda piece: -abs(piece.weight))
        decibans = prior.decibans + sum(piece.weight for piece in pieces)
        raw.append(Hypothesis(record, cause, prior.decibans, decibans, 0.0, tuple(pieces)))
    total = _sum(h.decibans for h in raw)
    weighed = [replace(h, probability=10 ** ((h.decibans - total) / 10)) for h in raw]
    return tuple(sorted(weighed, key=lambda h: (-h.probability, h.cause)))


def fold(hypotheses: Iterable[Hypothesis]) -> tuple[Hypothesis, ...]:
    """The same with the causes under 0.001 added up in ``other``; ``unknown`` always stays."""
    weighed = list(hypotheses)
    small = [h for h in weighed if h.probability < SMALLEST and h.cause != "unknown"]
    if not small:
        return tuple(weighed)
    decibans = _sum(h.decibans for h in small)
    other = Hypothesis(small[0].record, "other", decibans, decibans, sum(h.probability for h in small))
    return (*(h for h in weighed if h not in small), other)


def _sum(decibans: Iterable[float]) -> float:
    """Odds added up, in decibans."""
    listed = list(decibans)
    top = max(listed)
    return top + 10 * log10(sum(10 ** ((value - top) / 10) for value in listed))


def _counted_once(findings: list[Finding]) -> list[Finding]:
    """Two witnesses of one event count once: for each cause the heaviest keeps its weight, the others show 0."""
    heaviest: dict[tuple[str, str, bool], Finding] = {}
    for finding in findings:
        for cause, weight in finding.weights.items():
            key = (finding.event, cause, weight > 0)
            if finding.event and (key not in heaviest or abs(weight) > abs(heaviest[key].weights[cause])):
                heaviest[key] = finding
    return [
        replace(
            finding,
            weights={
                cause: weight if not finding.event or heaviest[finding.event, cause, weight > 0] is finding else 0.0
                for cause, weight in finding.weights.items()
            },
        )
        for finding in findings
    ]


def unexpected_loss(hypotheses: Mapping[str, tuple[Hypothesis, ...]]) -> bool | None:
    """The contract's rule: true where a record's loss causes are together above 0.5; else undecided where the result's
    harmless causes are not above 0.5; else false."""
    loss = losses()

    def share(record: str, answer: str) -> float:
        return sum(h.probability for h in hypotheses.get(record, ()) if loss.get(h.cause) == answer)

    if any(share(record, "yes") > 0.5 for record in hypotheses):
        return True
    return False if share("result", "no") > 0.5 else None
