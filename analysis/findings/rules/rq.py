"""Evidence from RQ's own books: registries that keep a job's ID with the time until which the job is kept.

In: a ``View``. Out: findings for the job record of an RQ job (facts/causes.md F). A job's hash that is gone before its
registry's time did not expire; one that is gone after it did what it was to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from analysis.findings.rules import DECISIVE, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.view import View
from analysis.findings.weigh import Finding
from analysis.findings.words import at


@rule("rq-registry", rests_on="rq:finished:<queue> scores each ID with the time its hash expires (rq/registry.py)")
def rq_registry(view: View) -> Iterator[Finding]:
    if len(view.held("job")):
        return
    for entry in view.registered:
        taken, source = view.taken_at(entry.snapshot), f"{entry.snapshot}, byte {entry.offset}"
        if entry.until is None:
            says = f"{entry.key} still lists the job, whose hash is gone."
            weights = {
                "natural_expiry": SUPPORTIVE,
                "deleted_by_client": WEAK,
                "evicted": WEAK,
                "never_published": -DECISIVE,
            }
        elif taken is None:
            continue
        elif taken < entry.until:
            says = f"{entry.key} keeps the job until {at(entry.until)}, and its hash was gone before that."
            weights = {"natural_expiry": -DECISIVE - STRONG, "never_published": -DECISIVE}
        else:
            says = f"{entry.key} kept the job until {at(entry.until)}, and its hash is gone since."
            weights = {"natural_expiry": DECISIVE, "never_published": -DECISIVE}
        yield Finding("rq-registry", "job", source, says, weights, event="rq registry")
