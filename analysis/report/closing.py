"""How every report ends: its evidence, its method, its words and its limits.

In: the evidence of a case, a verdict. Out: parts of a page. Every file that is listed can be linked to, by a name made
from its path.
"""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version

import pandas as pd

import analysis.findings.conclude  # noqa: F401 - enters every rule in the register
from analysis.files import Ignored
from analysis.findings.causes import CAUSES
from analysis.findings.glossary import TERMS
from analysis.findings.rules import RULES
from analysis.findings.verdict import Verdict
from analysis.findings.words import CONFIDENCE, QUALITY, listed, stamp
from analysis.report.html import Html, block, folded, listing, render, said, sentence, table, together

# How a line of the timeline is known.
CERTAINTY = {
    "shown": "the evidence says it, with its time",
    "derived": "calculated from what the evidence says, as a start is from an uptime",
    "inferred": "concluded from several pieces of evidence, none of which says it; dashed in charts",
    "stated": "somebody said so, in case.toml; testimony may be mistaken",
}
LIMITS = (
    "A report knows what its evidence shows, and nothing after it. What no witness covers is left open: it is neither "
    "“none” nor “lost”. Weights and shares are of this case, not rates measured elsewhere."
)
COLLECTED = (
    "Every file was read as it is, and none was changed. Times come from the server and its logs; a clock that was "
    "wrong makes them wrong, and where that shows, it is said."
)


def kit() -> str:
    """With what a report was made; for its first screen."""
    return f"Made with analysis {version('analysis')}."


def evidence_list(evidence: pd.DataFrame, ignored: tuple[Ignored, ...]) -> Html:
    """Every file that was read, with its hash, and every file that was not, with the reason."""
    whole = evidence["complete"].fillna(False).astype(bool)
    read = [
        ("whole" if sound else "in part") + (f": {reason}" if isinstance(reason, str) else "")
        for sound, reason in zip(whole, evidence["reason"], strict=True)
    ]
    columns = {"path": "File", "kind": "Is", "from": "From", "to": "To", "read": "Read", "size": "Size"}
    files = table(
        evidence.assign(read=read),
        label="Files of evidence",
        columns=columns,
        empty="No file could be read as evidence.",
        schema="evidence",
        ids=[_name_of(path) for path in evidence["path"]],
    )
    anchor = render("evidence.html.j2")
    unused = sentence("Every file of the case was used.")
    if ignored:
        left = listing([said(item) for item in ignored])
        unused = together(sentence("Not used:"), left) if len(ignored) <= 8 else folded("Not used", left)
    if not len(evidence):
        return together(anchor, files, unused)
    sums = block([f"{row.sha256}  {said(row.path)}" for row in evidence.itertuples()], "SHA-256 of each file")
    return together(anchor, files, unused, folded("SHA-256 of each file, as it was read", sums))


def taken(shots: pd.DataFrame) -> Html:
    """From which snapshots numbers on the present state are (``bulk.looks``): the last of each server."""
    last = shots.loc[shots["latest"]]
    if not len(last):
        return sentence("There is no snapshot in the evidence.", "quiet")
    told = [
        f"{'the end of ' if row.kind == 'append-only file' else ''}{said(row.snapshot)} "
        f"({stamp(row.taken_at) if pd.notna(row.taken_at) else 'without a time'})"
        for row in last.itertuples()
    ]
    each = ", the last of each server" if len(told) > 1 else ""
    return sentence(f"From {listed(told, most=8)}{each}.", "quiet")


def _name_of(path: str) -> str:
    """A file's name for links: never the path itself, in which anything may stand."""
    return f"file-{hashlib.sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def appendix(verdict: Verdict) -> Html:
    """How the answer was found, what its words mean, and what it cannot do."""
    method = (
        "Every cause that could take the record starts with a prior, in decibans. Each piece of evidence adds or takes "
        "some, by how much likelier it is under that cause than under the others. The sums become probabilities. Two "
        "witnesses of one event count once. Weights and priors are judgement, resting on the facts named below, not "
        "measured rates; causes that are not in the tables above are part of “not decided”."
    )
    weighed = dict.fromkeys(h.cause for h in verdict.considered)
    causes = [(CAUSES[cause].title, CAUSES[cause].means) for cause in weighed if cause in CAUSES]
    return together(
        sentence(method),
        sentence(LIMITS),
        _words("Words of confidence", _confidence()),
        _words("Quality of evidence", list(QUALITY.items())),
        _words("How a line of the timeline is known", list(CERTAINTY.items())),
        _words("Causes", causes),
        _words("Other words", list(TERMS.items())),
        folded(
            "What was looked for, and the fact it rests on",
            listing([f"{rule.id}: {rule.rests_on}." for rule in RULES.values()]),
        ),
        _made(),
    )


def about(*methods: str) -> Html:
    """The appendix of a report on a whole case: how it was made (sentences of its own), its words and its limits."""
    return together(
        *(sentence(method) for method in methods),
        sentence(COLLECTED),
        sentence(LIMITS),
        _words("Words", list(TERMS.items())),
        _made(),
    )


def _confidence() -> list[tuple[str, str]]:
    return [
        (word, f"a probability of at least {least * 100:g} %" if least else "no cause has half the probability")
        for least, word in CONFIDENCE
    ]


def _made() -> Html:
    return sentence(f"{kit()[:-1]}, pandas {pd.__version__}, Python {platform.python_version()}.")


def _words(heading: str, words: list[tuple[str, str]]) -> Html:
    return render("words.html.j2", title=heading, words=words)
