"""The parts of the report on bulk removal: each pattern with its figures, and each chart's numbers.

In: ``findings.bulk``. Out: parts of a page. Decides what is shown and in which words, never what is true.
"""

from __future__ import annotations

import pandas as pd

from analysis.findings.bulk import BulkFindings, looks
from analysis.findings.bursts import LEAST_SHARE, MANY, MANY_TIMES
from analysis.findings.cleanups import FEW_OTHER, YOUNG
from analysis.findings.finished import LEAST_MISSING, MOST_ELSEWHERE
from analysis.findings.gaps import LEAST_EXPECTED
from analysis.findings.pairs import SCATTERED
from analysis.findings.rhythm import LARGEST_MORE, SURPRISE, TIMES_MORE
from analysis.findings.scope.extents import FEW
from analysis.findings.scope.naming import LARGE, PATTERNS
from analysis.findings.told import STRENGTHS, WITNESSES, titled
from analysis.findings.words import count, duration, listed, percent, stamp
from analysis.report.closing import taken
from analysis.report.html import Html, listing, said, sentence, table, together

_MOST_CELLS = 60


def patterns(found: BulkFindings) -> Html:
    """Each pattern by its name: one sentence, then its figures."""
    rows = found.patterns
    if not len(rows):
        return sentence("No evidence tells of removals.", "quiet")
    told = [f"{_name(row)}, by {row.witness}: {said(row.says, 900)}" for row in rows.itertuples()]
    figures = rows.loc[rows["pattern"].ne("nothing")]
    shown = pd.DataFrame(
        {
            "pattern": [_name(row) for row in figures.itertuples()],
            "witness": [f"{row.witness}, {row.strength}" for row in figures.itertuples()],
            "where": [_where(row) for row in figures.itertuples()],
            "when": [_when(row.since, row.until) for row in figures.itertuples()],
            "gone": figures["gone"].to_numpy(),
            "of": figures["of"].to_numpy(),
            "share": [_share(share) for share in figures["share"]],
            "usual": [f"{usual:.3g}" for usual in figures["expected"]],
        },
        dtype=object,
    )
    columns = {
        "pattern": "Pattern", "witness": "By", "where": "Of", "when": "When", "gone": "Gone", "of": "Could have gone",
        "share": "Share", "usual": "Usual then",
    }  # fmt: skip
    empty = "No pattern was found, so there are no figures of one."
    return together(listing(told), table(shown, label="Patterns in figures", columns=columns, empty=empty, folds=False))


def _name(row: tuple) -> str:  # type: ignore[type-arg]
    name = titled(str(row.pattern))  # type: ignore[attr-defined]
    if row.removal:  # type: ignore[attr-defined]
        return f"{name} (removed before due)"
    return "Nothing stands out" if name == "Nothing" else name


def _where(row: tuple) -> str:  # type: ignore[type-arg]
    db = f", DB {row.db}" if pd.notna(row.db) else ""  # type: ignore[attr-defined]
    server = f", {said(row.server, 60)}" if row.server else ""  # type: ignore[attr-defined]
    return f"{said(row.families, 80) or 'keys'}{db}{server}"  # type: ignore[attr-defined]


def _when(since: pd.Timestamp, until: pd.Timestamp) -> str | None:
    if pd.isna(since) or pd.isna(until):
        return None if pd.isna(since) and pd.isna(until) else stamp(until if pd.isna(since) else since)
    return stamp(since) if until - since < pd.Timedelta(seconds=1) else f"{since:%Y-%m-%d %H:%M:%S} to {stamp(until)}"


def _share(share: float) -> str | None:
    """A share that was counted, not inferred: all is all."""
    return None if pd.isna(share) else "all" if share == 1 else "none" if share == 0 else percent(share)


def shares(found: BulkFindings) -> Html | None:
    """The numbers of the heat map: the times in which most of what could have gone went."""
    rows = found.looked.shares
    gone = rows.loc[rows["gone"] > 0].sort_values(["share", "gone"], ascending=False, kind="stable")
    shown = gone.head(_MOST_CELLS).assign(share=[_share(share) for share in gone["share"].head(_MOST_CELLS)])
    columns = {
        "witness": "By", "family": "Family", "since": "From", "until": "To", "gone": "Gone before due",
        "of": "Could have gone", "share": "Share",
    }  # fmt: skip
    if not len(rows):
        return None  # the chart says why
    empty = "In no time of which a witness speaks did a key go before it was due."
    more = len(gone) - len(shown)
    parts = [table(shown, label="Shares gone before they were due", columns=columns, empty=empty)]
    if more > 0:
        parts.append(sentence(f"{count(more, 'time')} with a smaller share {'is' if more == 1 else 'are'} left out."))
    return together(*parts)


def removers(found: BulkFindings) -> Html | None:
    """Who removed what, and when most."""
    columns = {
        "family": "Family", "verb": "Command", "by": "Who", "client": "Client", "keys": "Keys",
        "busiest": "Busiest hour", "most": "Keys in it", "when": "From, to",
    }  # fmt: skip
    rows = found.looked.removers
    if not len(rows):
        return None  # the chart says why
    rows = rows.assign(when=[_when(row.first, row.last) for row in rows.itertuples()])
    return table(rows, label="Removals by family, command and client", columns=columns)


def gone(found: BulkFindings) -> Html:
    """What went between two snapshots, by family."""
    columns = {
        "before": "From", "after": "To", "db": "Database", "family": "Family", "held": "Held", "gone": "Gone",
        "due": "Due", "early": "Before expiry",
    }  # fmt: skip
    empty = (
        "No key went between two snapshots." if found.pairs else "There are no two snapshots of one server to compare."
    )
    rows = found.gone.assign(db=["DB " + str(db) for db in found.gone["db"]])
    return table(rows, label="Keys gone between two snapshots", columns=columns, empty=empty)


def families(found: BulkFindings) -> Html:
    """Keys and serialized bytes by family."""
    columns = {"db": "Database", "family": "Family", "keys": "Keys", "bytes": "Bytes in the file"}
    rows = found.by_family.assign(db=["DB " + str(db) for db in found.by_family["db"]])
    return table(rows, label="Keys by family", columns=columns, empty="There is no key in the evidence.")


def held_in(evidence: pd.DataFrame) -> Html:
    """From which snapshots the numbers on what is held are."""
    return taken(looks(evidence))


def finished(found: BulkFindings) -> Html | None:
    """The hours in which tasks ended whose result is missing."""
    hours = found.looked.finished
    columns = {"hour": "Hour", "present": "With a result", "missing": "Without one", "due": "Without one, and due"}
    missing = hours.loc[hours["missing"] > 0]
    empty = "Of every task that should have a result still, it is there."
    if not len(hours):
        return None  # the chart says why
    shown = table(missing, label="Hours in which tasks ended that lack their result", columns=columns, empty=empty)
    logs = dict.fromkeys(found.seen.loc[found.seen["kind"].eq("worker log"), "source"])
    return together(shown, sentence(f"Ended, by {listed(map(said, logs), most=8)}.", "quiet"))


def method() -> Html:
    """What is looked for, by which measures, and what the words mean."""
    measures = [
        f"A pattern is at least {FEW} keys, {TIMES_MORE:g} times what the case's own rhythm has at such a time (the "
        f"same hour of other days, the same minute of other hours) and {LARGEST_MORE:g} times the most at any other "
        "time.",
        f"The rhythm itself would make it in {SURPRISE:g} of all cases at most, over all times that were looked at. "
        "The numbers of work vary more than chance has it, as much as this case's own hours do (negative binomial).",
        f"Of its kind it is {percent(LEAST_SHARE)} at least, or {MANY} keys and {MANY_TIMES:g} times the rhythm; "
        f"scattered over one kind between two snapshots "
        f"{percent(SCATTERED)}; {percent(LARGE)} and more of a kind are a prefix delete. Keys that are nothing to "
        f"Celery must be {FEW_OTHER} and nearly all of what begins alike.",
        f"A key that is removed within {duration(YOUNG)} of its writing was removed by whoever waited for it, and is "
        "not counted; nor are queues, chords and locks, and what a clean-up by age takes from the oldest.",
        f"Of tasks that ended, {percent(LEAST_MISSING)} must lack their result in one range of time, and no more than "
        f"{percent(MOST_ELSEWHERE)} outside of it. Names that store nothing, or remove what they have read, are left "
        "out.",
        f"A gap in one snapshot is told where {LEAST_EXPECTED:g} results are usual, and is a hint at most.",
    ]
    words = [f"{name}: {means}." for name, means in PATTERNS.items()]
    sure = [f"{name}: {means}." for name, means in STRENGTHS.items()]
    by = [f"{name}: {means}." for name, means in WITNESSES.items()]
    return together(
        listing(measures), sentence("Patterns:"), listing(words), sentence("How sure:"), listing(sure),
        sentence("Witnesses:"), listing(by),
    )  # fmt: skip
