"""Evidence that a message was never written: streams without it, what the sender's log says, routing tables gone.

In: a ``View``. Out: findings for never_published and unroutable, for the message and the result that never came to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from analysis.findings.deeds import STREAMS, first_keys, place_of, when_of
from analysis.findings.rules import DECISIVE, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.rules.handled import came_to_be, concerned
from analysis.findings.view import View
from analysis.findings.weigh import Finding
from analysis.findings.words import at, count
from analysis.frames import words_in

_BINDING = "_kombu.binding."
_MOST = 5_000
# What senders write of a message that they did not send, and of one that they did, beside its ID.
_UNSENT = re.compile(
    r"roll(?:ed|ing)?[ -]?back|\bnot (?:be )?(?:sent|published|queued|enqueued|dispatched)|\babort(?:ed|ing)"
    r"|(?:fail\w*|unable|could not|couldn't) (?:to )?(?:send|publish|queue|enqueue|dispatch)"
    r"|(?:sending|publishing|publish|enqueue|dispatch)\w* failed",
    re.IGNORECASE,
)
_SENT = re.compile(r"\b(?:sent|published|queued|enqueued|dispatched|scheduled|delayed|apply_async)\b", re.IGNORECASE)


def _nowhere(view: View) -> bool:
    """Whether no queue, worker or stream shows that the message ever was."""
    called = len(view.calling)  # it was to be sent by a worker, not by the application
    return not (view.journeys or came_to_be(view) or view.taken is not None or len(view.waiting) or called)


@rule(
    "never-in-stream",
    rests_on="an append-only file holds each LPUSH; to an exchange without a binding nothing is written (kombu 5.2+)",
)
def never_in_stream(view: View) -> Iterator[Finding]:
    """No stream shows the message, though one covers the time in which it was said to be sent."""
    if not _nowhere(view):
        return
    told = view.log.loc[view.log["at"].notna()]
    sent = told["at"].min() if len(told) else view.stated.noticed_at
    streams = view.evidence.loc[view.evidence["kind"].eq("append-only file") & view.evidence["complete"].fillna(False)]
    pushes = view.commands.loc[words_in(view.commands["verb"], ("LPUSH", "RPUSH"))]
    pushes = pushes.loc[pushes["task_id"].notna() & pushes["witness"].isin(STREAMS)]
    if not len(pushes) or sent is None:
        return
    for path in streams["path"]:
        begin = _begin(view, path, pushes)
        since = f" from {at(begin)} on" if begin is not None else ""
        says = f"{path} holds {count(len(pushes), 'message')} that were sent{since}, and not this one"
        if len(told):
            says += f", although {told.iloc[0]['source']}:{told.iloc[0]['line']} names it at {at(sent)}"
        covers = begin is not None and begin <= sent
        weight = DECISIVE if covers and len(told) else STRONG if covers else WEAK
        for record in concerned(view):
            weights = {"never_published": weight, "unroutable": weight}
            weights |= dict.fromkeys(("consumed", "lost_in_pop", "queue_purged", "revoked", "discarded"), -STRONG)
            yield Finding("never-in-stream", record, f"{path}, LPUSH", f"{says}.", weights, event="sent")


def _begin(view: View, path: str, pushes: pd.DataFrame) -> pd.Timestamp | None:
    """From when a stream testifies: by its own times, else by the first of its messages that a worker's log dates."""
    begin = view.evidence.loc[view.evidence["path"].eq(path), "from"].iloc[0]
    dated = view.events.loc[view.events["kind"].eq("received") & view.events["task_id"].isin(pushes["task_id"]), "at"]
    known = [one for one in (begin, dated.min()) if pd.notna(one)]
    return min(known, default=None)


@rule(
    "sender-says",
    rests_on="apply_async returns the ID once the message is written (celery/app/base.py)",
)
def sender_says(view: View) -> Iterator[Finding]:
    if not _nowhere(view):
        return
    lines = view.log.loc[view.log["kind"].isin(("mentioned", "not_done"))]
    unsent = lines.loc[[bool(_UNSENT.search(text)) for text in lines["text"].fillna("")]]
    sent = lines.loc[[bool(_SENT.search(text)) for text in lines["text"].fillna("")]]
    rows, id, weights = unsent, "sender-says-unsent", {"never_published": DECISIVE + 5, "unroutable": -STRONG}
    if not len(rows):
        rows, id, weights = sent, "sender-says-sent", {"never_published": -SUPPORTIVE, "unroutable": WEAK}
    if not len(rows):
        return
    line = rows.iloc[-1]
    says = f"The sender's log says: {str(line['text'])[:160]}"
    for record in concerned(view):
        yield Finding(id, record, f"{line['source']}:{line['line']}", f"{says}.", weights)


@rule(
    "unbound",
    rests_on="what is sent to an exchange without a routing table goes nowhere (kombu 5.2+; C20)",
)
def unbound(view: View) -> Iterator[Finding]:
    if not _nowhere(view):
        return
    takes = view.commands.loc[words_in(view.commands["verb"], ("DEL", "UNLINK", "SREM", "RENAME"))].tail(_MOST)
    takes = takes.loc[[_BINDING in key for key in first_keys(takes)]]
    if len(takes):
        row, source = takes.iloc[-1], place_of(takes.iloc[-1])
        says = f"{row['verb']} took the routing table {first_keys(takes)[-1]}{when_of(row)}"
        # Without a word of the sender's it may as well not have been sent.
        weights = {"unroutable": DECISIVE + SUPPORTIVE, "never_published": -STRONG if len(view.log) else 0.0}
    else:
        tables = view.changes["key"].str.contains(_BINDING, regex=False).fillna(False).astype(bool)
        gone = view.changes.loc[view.changes["change"].eq("gone") & tables]
        if not len(gone):
            return
        row, source = gone.iloc[-1], f"{gone.iloc[-1]['before']}, byte {gone.iloc[-1]['offset_before']}"
        says = f"The routing table {row['key']} is in {row['before']} and not in {row['after']}"
        weights = {"unroutable": STRONG, "never_published": -WEAK}
    says += ": what is sent to its exchange then reaches no queue."
    for record in concerned(view):
        yield Finding("unbound", record, source, says, weights)
