"""Do keys live as long as they should? The share gone between two snapshots, and the share removed by age.

In: the frames of a case, and its recordings of commands. Out: small frames and sentences. What cannot be had is said,
with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.findings.incidence import EXPIRED, FEWEST, REMOVED, WATCHED, Incidence, incidence, incidence_within
from analysis.findings.lives import Lives, Recording, lives_between, lives_recorded
from analysis.findings.scope.extents import kind
from analysis.findings.share_gone import (
    DUE,
    DUE_HELD,
    GONE,
    MOVED,
    RENEWED,
    REWRITTEN,
    exact_interval,
    fates_between,
    measured_storing,
    not_compared,
    share_gone,
    sound_pairs,
)
from analysis.findings.words import count, duration, listed, stamp
from analysis.showing import ShowsItself

# Where nine in ten moments are known no better than to this part of the time watched, ages say little.
_WIDEST = 0.1
SNAPSHOTS = "snapshots"
_CURVE = ["server", "source", "family", "age", "removed", "low", "high", "expired", "at_risk"]
_ENDS = "server source family lives late removed expired watched since until share low high share_expired".split()


@dataclass(frozen=True)
class _Curve:
    server: str
    source: str
    family: str
    lives: pd.DataFrame
    found: Incidence | None


@dataclass(frozen=True, repr=False)
class SurvivalFindings(ShowsItself):
    """What is known of keys that went before their expiry: ``headline`` of snapshots, ``by_age`` of lives watched.

    ``shares`` and ``bands``: ``share_gone.share_gone`` of each pair of snapshots, by family, and by family and age,
    with columns server, before, after, since, until in front. ``curves``: ``Incidence.points`` with server, source and
    family in front; ``ends``: a row for each family of which any life was watched: how they ended, and the ages and
    shares between which and at whose end a curve could be had. ``notes`` are
    of the pairs, ``grounds`` of the curves: what they rest on, or why there are none.
    """

    headline: str
    by_age: str
    shares: pd.DataFrame
    bands: pd.DataFrame
    notes: tuple[str, ...]
    curves: pd.DataFrame
    ends: pd.DataFrame
    grounds: tuple[str, ...]

    @property
    def numbers(self) -> dict[str, pd.DataFrame]:
        """The frames behind the charts, by the names they have in the notebook's JSON."""
        return {
            "share_gone": self.shares,
            "share_gone_by_age": self.bands,
            "removed_by_age": self.curves,
            "lives_ended": self.ends,
        }


def survival_findings(
    keys: pd.DataFrame,
    tasks: pd.DataFrame,
    jobs: pd.DataFrame,
    shots: pd.DataFrame,
    changes: pd.DataFrame,
    recordings: Sequence[Recording] = (),
    reasons: Sequence[str] = (),
) -> SurvivalFindings:
    """The losses of a case before expiry; ``reasons``: why other sources of commands cannot serve.

    Curves come from commands; of a server without a recording from three or more snapshots, each against the next.
    """
    stored = measured_storing(tasks, jobs)
    shares, bands = [], []
    sighted: dict[str, list[pd.DataFrame]] = {}
    widest: dict[str, float] = {}
    for pair in sound_pairs(shots):
        found = fates_between(keys, changes, shots, stored, pair)
        shares.append(_of_pair(pair, share_gone(found, bands=False)))
        bands.append(_of_pair(pair, share_gone(found, bands=True)))
        seconds = (pair.until - pair.since).total_seconds()
        sighted.setdefault(pair.server, []).append(lives_between(found, seconds))
        widest[pair.server] = max(widest.get(pair.server, 0.0), seconds)
    curves: list[_Curve] = []
    grounds: list[str] = []
    for one in recordings:
        lives = lives_recorded(one, keys.loc[keys["server"].eq(one.server).to_numpy(dtype=bool)])
        loose = lives.width > _WIDEST * (one.until - one.since).total_seconds()
        own = [] if loose else _curves(one.server, one.name, lives.rows)
        grounds += _loose(one, lives) if loose else _recorded(one, lives) if own else []
        grounds += _too_few(own)
        curves += own
    done = {curve.server for curve in curves if curve.found is not None}
    for server, parts in sighted.items():
        if server not in done and len(parts) > 1:
            own = _curves(server, SNAPSHOTS, pd.concat(parts, ignore_index=True))
            curves += own
            grounds += [_sighted(server, len(parts) + 1, widest[server])] if own else []
            grounds += _too_few(own)
    table = pd.concat(shares, ignore_index=True) if shares else pd.DataFrame(columns=[*_PAIR, "family"])
    points = [
        one.found.points.assign(server=one.server, source=one.source, family=one.family)[_CURVE]
        for one in curves
        if one.found is not None
    ]
    ends = pd.DataFrame([_end(one) for one in curves], columns=_ENDS).astype({EXPIRED: "Int64"})
    return SurvivalFindings(
        _shares_told(table),
        _ends_told(ends),
        table,
        pd.concat(bands, ignore_index=True) if bands else pd.DataFrame(columns=[*_PAIR, "family"]),
        (*([_UNSEEN, _ALONE] if len(table) else []), *not_compared(shots)),
        pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=_CURVE),
        ends,
        (*grounds, *reasons, *([_NO_CURVE] if len(ends) and not points else [])),
    )


def share_words(share: float) -> str:
    """``3.2 %``, ``0.25 %``: a counted share, in three digits at most; 0 % and 100 % only of none and of all."""
    said = f"{share * 100:.3g}"
    if said == "100" and share < 1:
        return "> 99.9 %"
    return "< 0.001 %" if 0 < share < 1e-5 else f"{said} %"


def most_gone(shares: pd.DataFrame) -> pd.DataFrame:
    """The rows (of ``shares`` or ``bands``) of the pair of snapshots between which most keys went; of equal ones the
    last.
    """
    if not len(shares):
        return shares
    gone = shares.groupby(_PAIR, sort=False)[GONE].sum().iloc[::-1]
    server, before, after, _, _ = gone.index[int(gone.to_numpy().argmax())]
    mine = shares["server"].eq(server) & shares["before"].eq(before) & shares["after"].eq(after)
    return shares.loc[mine].reset_index(drop=True)


def _of_pair(pair: Any, counted: pd.DataFrame) -> pd.DataFrame:
    for place, name in enumerate(_PAIR):
        counted.insert(place, name, getattr(pair, name))
    return counted


def _curves(server: str, source: str, lives: pd.DataFrame) -> list[_Curve]:
    estimate = incidence_within if source == SNAPSHOTS else incidence
    families = lives.groupby("family", sort=True)
    return [_Curve(server, source, str(family), rows, estimate(rows)) for family, rows in families]


def _end(one: _Curve) -> dict[str, Any]:
    ends = one.lives["end"].value_counts()
    told: dict[str, Any] = {
        "server": one.server,
        "source": one.source,
        "family": one.family,
        "lives": len(one.lives),
        "late": int(one.lives["entry"].gt(0).sum()),
        **{name: int(ends.get(name, 0)) for name in (REMOVED, EXPIRED, WATCHED)},
    }
    if one.source == SNAPSHOTS:
        told[EXPIRED] = None  # what was due is not among these lives
    if one.found is None:
        return told
    last = one.found.points.iloc[-1]
    shares = {"share": last["removed"], "low": last["low"], "high": last["high"], "share_expired": last["expired"]}
    return {**told, "since": one.found.since, "until": one.found.until, **shares}


def _shares_told(shares: pd.DataFrame) -> str:
    said = []
    if len(shares):
        rows = most_gone(shares)
        said.append(_pair_told(rows))
        if (pairs := len(shares.drop_duplicates(_PAIR))) > 1:
            most = "between no others did more go" if rows[GONE].sum() else "nor did any between the others"
            said.append(f"Of {count(pairs, 'pair')} of snapshots, {most}.")
    else:
        said.append(_NO_PAIR)
    return " ".join(said)


def _ends_told(ends: pd.DataFrame) -> str:
    if not len(ends):
        return _NO_CURVE
    watched, cut = count(int(ends["lives"].sum()), "life", "lives"), int(ends[REMOVED].sum())
    if not cut:
        return f"Of {watched} under watch, none was cut short by a removal before its expiry."
    removed = ends.loc[ends[REMOVED].gt(0)].sort_values(REMOVED, ascending=False)
    of_each = [f"{row.removed:,} of {kind(row.family, row.lives)}" for row in removed.itertuples(index=False)]
    said = [f"Of {watched} under watch, {cut:,} {'was' if cut == 1 else 'were'} cut short by a removal before "
            f"{'its' if cut == 1 else 'their'} expiry: {listed(of_each)}."]  # fmt: skip
    if len(drawn := ends.loc[ends["share"].gt(0)]):
        worst = drawn.sort_values("share").iloc[-1]
        share = f"{share_words(worst['share'])} (95 % interval {_between(worst['low'], worst['high'])})"
        what, age = kind(worst["family"], 2, counted=False), duration(worst["until"])
        what += f" older than {duration(worst['since'])}" if worst["since"] else ""
        so_long = ", if their TTL lets them live so long" if worst["source"] == SNAPSHOTS else ""
        said.append(f"So {share} of {what} are removed early by the age of {age}{so_long}.")
    return " ".join(said)


def _between(low: float, high: float) -> str:
    return f"{share_words(low)} to {share_words(high)}"


def _pair_told(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    where = f"On {first['server']}, between" if first["server"] else "Between"
    watched, gone = int(rows["watched"].sum()), int(rows[GONE].sum())
    head = f"{where} {stamp(first['since'])} and {stamp(first['until'])}"
    if watched:
        share = f"{share_words(gone / watched)}, 95 % interval {_between(*exact_interval(gone, watched))}"
        said = f"{head}, {gone:,} of {count(watched, 'key')} that were not yet due went ({share})."
    else:
        said = f"{head}, there was no key that was not yet due, so none can have gone early."
    apart = [f"{int(rows[name].sum()):,} {words}" for name, words in _APART.items() if rows[name].sum()]
    return f"{said} Counted apart: {listed(apart, most=9)}." if apart else said


def _loose(one: Recording, lives: Lives) -> list[str]:
    whole = (one.until - one.since).total_seconds()
    return [
        f"{one.name} tells the times of its commands only to within {_within(lives.width)}, of {duration(whole)} in "
        "all: no ages are made of that."
    ]


def _within(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else "a second"


def _recorded(one: Recording, lives: Lives) -> list[str]:
    late = "Keys that were there before it count from the age that they had then. " if one.base is not None else ""
    said = [
        f"{one.name} has every write and removal from {stamp(one.since)} to {stamp(one.until)}. {late}A key that its "
        "own expiry took can no longer be removed, and is no loss. Keys whose last element a command may take (lists, "
        f"sets) are left out. Times of commands are known to within {_within(lives.width)}.",
    ]
    if lives.unknown:
        said.append(f"Left out, of unknown age: {count(lives.unknown, 'key')} that had been there before.")
    if lives.rewritten:
        said.append(f"{count(lives.rewritten, 'life', 'lives')} ended with the key written anew, which begins another.")
    if lives.untold:
        said.append(f"{count(lives.untold, 'removal')} may be an expiry or not: the key counts until then, as no loss.")
    return [*said, _ALONE]


def _sighted(server: str, snapshots: int, widest: float) -> str:
    where = f" of {server}" if server else ""
    return (
        f"From {snapshots} snapshots{where}, of keys whose time of storing is measured. Between each two of them a key "
        "is one life, and counts only if it was not yet due at the second: the curve is of keys that their TTL lets "
        f"live so long. One that is gone went somewhere within up to {duration(widest)}: the curve takes the middle of "
        "that, its interval reaches to both ends, and of younger keys it tells nothing. What was written and removed "
        f"between two snapshots was never seen. {_ALONE}"
    )


def _too_few(own: list[_Curve]) -> list[str]:
    few = listed([kind(one.family, len(one.lives)) for one in own if one.found is None], most=6)
    return [f"Too few at one age for a curve, or watched for too short a time: {few}."] if few else []


_PAIR = ["server", "before", "after", "since", "until"]
_APART = {
    DUE: "due by then and gone",
    DUE_HELD: "due by then and still in the file",
    REWRITTEN: "rewritten",
    RENEWED: "given another expiry",
    MOVED: "now in another database",
}
_NO_PAIR = "There are no two snapshots of one server that can be compared: what share of keys is gone is not told."
_UNSEEN = (
    "A key that went may have been given an earlier expiry between the two snapshots, and gone by that; what was "
    "written and removed between them was never seen."
)
_ALONE = "The intervals hold for keys that go one by one: of other times, many removed at once tell less than they say."
_NO_CURVE = (
    "No curve can be had of how long keys live: that takes an append-only file, a backlog or a MONITOR log with every "
    f"write and removal, or three snapshots of one server, and {FEWEST} keys of a family under watch at one age."
)
