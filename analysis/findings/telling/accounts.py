"""How each cause is told: one row a cause, with the sentence that answers "was it deleted, by what, when?".

In: a ``View``, a record's name and what was concluded of it. Out: a sentence that is as sure as the conclusion. Adding
a cause is adding a row to ``ACCOUNTS``; what is to be done about it stands in ``remedies``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from analysis.findings.rules.sighted import NOUN
from analysis.findings.telling.particulars import OPEN, SLOTS
from analysis.findings.verdict import Record
from analysis.findings.view import View
from analysis.findings.words import lower_first, on, percent

YES, NO, NEVER, LOST = "yes", "no", "never", "lost"


@dataclass(frozen=True)
class Account:
    """How one cause is told.

    ``told`` is the sentence for any record, ``result`` another one for a result, ``there`` for one that is present all
    the same; their slots are those of ``particulars.SLOTS``. ``deleted`` answers whether it was deleted: yes, no, never
    (it never came to be) or lost (it went with its server's memory, or its worker). ``normal`` answers whether that is
    normal; empty = it is not.
    """

    deleted: str
    told: str
    result: str = ""
    there: str = ""
    normal: str = ""


ACCOUNTS: dict[str, Account] = {
    "present": Account(
        NO, "The {noun} was {sure}not deleted: {seen}it was {place}.", normal="Nothing is lost: the record is there."
    ),
    "natural_expiry": Account(
        NO,
        "The {noun} was {sure}not deleted early: it expired{due}{kept}.",
        normal="That is normal: Redis removes a record when the time ends for which it was to be kept.",
    ),
    "ttl_shortened": Account(NO, "The {noun} {sure}expired too early{when}: its time to live had been cut short{cut}."),
    "evicted": Account(
        YES, "The {noun} was {sure}evicted{when}: Redis removed it to stay under its memory limit (maxmemory)."
    ),
    "expired_on_load": Account(
        NO,
        "The {noun} was {sure}left out as expired when the server loaded its file{when}: its time to live had run out.",
        normal="That is normal: its time had run out before the server was back.",
    ),
    "chord_state_expired": Account(
        NEVER,
        "The {noun} was {sure}never sent: its chord's bookkeeping expired before the chord's last part had ended.",
        "The task {sure}never ran: the bookkeeping of its chord expired before the chord's last part had ended.",
    ),
    "queue_expired": Account(
        LOST,
        "The {noun} was {sure}lost{when} with its queue, which had a time to live that ran out.",
        "The task {sure}never ran: its queue had a time to live, which ran out{when} with its message in it.",
    ),
    "clock_jump": Account(NO, "The {noun} {sure}expired too early{when}, because the server's clock had jumped."),
    "deleted_by_client": Account(YES, "The {noun} was {sure}deleted by a client{when}: {verb} named its key{early}."),
    "bulk_deleted": Account(YES, "The {noun} was {sure}deleted in bulk{when}{family}{early}."),
    "overwritten": Account(YES, "The {noun} was {sure}overwritten{when}: another value was written under its key."),
    "forgotten": Account(
        YES,
        "The {noun} was {sure}removed by Celery's own forget(){when}, which only an application calls.",
        normal="That is normal where the application forgets results on purpose; its code must say so.",
    ),
    "purged_by_cleanup": Account(
        YES,
        "The {noun} was {sure}removed by the application's own cleanup{when}.",
        normal="That is normal: the application tidies up its own records.",
    ),
    "db_flushed": Account(YES, "The {noun} was {sure}deleted{when} with everything else in {db}, by FLUSHDB."),
    "server_flushed": Account(
        YES, "The {noun} was {sure}deleted{when} with everything else on its server, by FLUSHALL."
    ),
    "db_swapped": Account(
        NO,
        "The {noun} {sure}left its database with everything else in it{when}: SWAPDB exchanged it with another.",
        there="The {noun} was {sure}not deleted: SWAPDB exchanged its database with another{when}, and it was {place}.",
    ),
    "renamed_or_moved": Account(
        NO,
        "The {noun} was {sure}taken away from its key{when}, by {move}.",
        there="The {noun} was {sure}not deleted but moved by {move}{when}: it was {place}.",
    ),
    "restart_data_loss": Account(
        LOST, "The {noun} was {sure}lost when its server restarted{when}: the server came back without it."
    ),
    "stale_snapshot_restored": Account(
        LOST, "The {noun} was {sure}lost when its server came back{when} with a snapshot from before it was written."
    ),
    "replaced_by_resync": Account(
        LOST, "The {noun} was {sure}lost when its server took over another master's data{when}, in a full resync."
    ),
    "failover_lost_writes": Account(
        LOST, "The {noun} was {sure}lost in a failover{when}: the replica that was promoted had not received it."
    ),
    "result_never_stored": Account(
        NEVER,
        "The {noun} was {sure}never stored: writing it failed{when}.",
        "The task ran, but its result was {sure}never stored: writing it to Redis failed{when}.",
        "The task's own result was {sure}never stored: an error of the result backend stands in its place, {place}.",
    ),
    "worker_killed": Account(
        NEVER,
        "The {noun} was {sure}lost with the worker that had taken it.",
        "The task {sure}never ended, so it left no result: it began{began}, and its worker died while it ran.",
    ),
    "lost_in_pop": Account(
        LOST,
        "The {noun} was {sure}taken off its queue by a worker that died before it had reserved it{when}.",
        "The task {sure}never ran: its message was taken off the queue by a worker that died before reserving it.",
    ),
    "queue_purged": Account(
        YES,
        "The {noun} was {sure}removed when its queue was purged{when}.",
        "The task {sure}never ran, so it left no result: its queue was purged{when} with its message in it.",
    ),
    "revoked": Account(
        NEVER,
        "The {noun} was {sure}thrown away{when} because the task was revoked, or had passed its own deadline.",
        "The task {sure}did not run, so it left no result: it was revoked{when}, or had passed its own deadline.",
        normal="That is normal where somebody revoked the task, or sent it with a deadline (expires).",
    ),
    "discarded": Account(
        YES,
        "The {noun} was {sure}thrown away by a worker{when}{why}.",
        "The task {sure}never ran, so it left no result: a worker threw its message away{when}{why}.",
    ),
    "unroutable": Account(
        NEVER,
        "The {noun} {sure}never reached a queue: none was bound to the exchange to which it was sent.",
        "The task {sure}never ran: it was sent to an exchange to which no queue was bound, so its message was dropped.",
    ),
    "never_published": Account(
        NEVER,
        "The {noun} was {sure}never sent: a witness of that time shows no trace of it.",
        "The task was {sure}never sent: a witness of that time shows no trace of it.",
    ),
    "result_ignored": Account(
        NEVER,
        "No {noun} was {sure}to be stored{ignored}.",
        "The task {sure}left no result because none was to be stored{ignored}.",
        normal="That is normal: the task is set so.",
    ),
    "rpc_backend": Account(
        NEVER,
        "No {noun} was {sure}to be stored under a key: results here go back to their caller (rpc://).",
        normal="That is normal with this result backend: only the caller can read the result, once.",
    ),
    "wrong_database": Account(
        NO,
        "The {noun} was {sure}not deleted, but looked for in the wrong place: {seen}it was {place}{looked}.",
        "The task was {sure}not deleted, but looked for in the wrong place: {seen}its {held} was {place}{looked}.",
        normal="Nothing is lost: the record is elsewhere than it was looked for.",
    ),
    "wrong_id": Account(
        NO,
        "No {noun} can be expected: this ID is {sure}no task's own.",
        "This ID is {sure}not a task's own{role}.",
        normal="Nothing is lost: there is no task of this ID.",
    ),
    "undecodable": Account(
        NO, "The {noun} was not deleted, but {sure}cannot be read: {seen}it was {place}, {serialized}."
    ),
    "queued": Account(
        NO,
        "The {noun} was {sure}not deleted: {seen}it was waiting {place}.",
        "The task was {sure}not deleted and had not run: {seen}its message was waiting {place}.",
        normal="Nothing is lost: the task has still to run.",
    ),
    "reserved": Account(
        NO,
        "The {noun} was {sure}not deleted: {seen}a worker held it, {place}.",
        "The task was {sure}not deleted and had not ended: {seen}a worker held its message, {place}.",
        normal="Nothing is lost: a worker holds the message, and Celery gives it back if that worker is gone.",
    ),
    "running": Account(
        NO,
        "The {noun} was {sure}not lost: a worker had taken it{began}, and was at work on it.",
        "The task was {sure}not deleted and had not ended: a worker began it{began}, and nothing shows its end.",
        normal="Nothing is lost: a task stores its result when it ends.",
    ),
    "consumed": Account(
        NO,
        "The {noun} was {sure}not lost: a worker took and acknowledged it.",
        normal="That is normal: a message is gone once a worker has acknowledged it.",
    ),
}
ACCOUNTS["wrong_prefix"] = ACCOUNTS["wrong_node"] = ACCOUNTS["wrong_database"]

_SLOT = re.compile(r"\{(\w+)\}")


def told(view: View, record: str, found: Record) -> str:
    """The sentence about one record whose leading cause is a known one. Under one half it names the likeliest only."""
    sentence = _sentence(view, record, found)
    if found.confidence >= OPEN:
        return sentence
    return f"What became of the {NOUN[record]} is not decided. {likeliest(view, record, found)}"


def likeliest(view: View, record: str, found: Record) -> str:
    """The same of a cause that is likelier than any other, and not likely."""
    return f"The likeliest ({percent(found.confidence)}) is that {lower_first(_sentence(view, record, found))}"


def _sentence(view: View, record: str, found: Record) -> str:
    account = ACCOUNTS[found.cause]
    text = account.told
    if record == "result":
        text = account.result or text
    if found.status == "present":
        text = account.there or text
    if found.cause == "present" and record == "result" and len(view.held("result")):
        text = _present(view)
    sentence = _SLOT.sub(lambda slot: SLOTS[slot[1]](view, record, found), text)
    return sentence.replace(" more likely than not not ", ", more likely than not, not ")


def _present(view: View) -> str:
    """The result is there: where, in which state, until when, and as of when that was seen."""
    row = view.main("result")
    taken = view.taken_at(row["snapshot"])
    until = f", and expires on {on(row['expires_at'])}" if pd.notna(row["expires_at"]) else ", and has no expiry"
    if taken is not None and view.as_of is not None and (view.as_of - taken).total_seconds() > 60:
        until += "; nothing later shows it gone"
    if row["kind"] == "group":
        return f"The group was {{sure}}not deleted: {{seen}}its saved result was in DB {row['db']}{until}."
    if row["status"] in ("SUCCESS", "FAILURE"):
        return f"The task was {{sure}}not deleted: {{seen}}its result was in DB {row['db']}{until}."
    said = row["status"] if pd.notna(row["status"]) else "nothing that could be read"
    return f"The task was {{sure}}not deleted: {{seen}}its record was in DB {row['db']} and said {said}{until}."
