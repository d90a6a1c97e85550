"""Evidence from what clients were seen to do: searches by pattern, last commands, the marks of an attack.

In: a ``View``. Out: findings for bulk_deleted, forgotten, deleted_by_client and the flushes. What took a key itself is
told in ``written``; here is what goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from analysis.evidence.source.patterns import covers
from analysis.findings.causes import RECORDS
from analysis.findings.deeds import place_of, when_of
from analysis.findings.moment import SLACK
from analysis.findings.rules import STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.rules.coded import key_names
from analysis.findings.view import View
from analysis.findings.weigh import Finding
from analysis.findings.words import at
from analysis.frames import words_in

_MOST = 2_000
# Keys that attacks on open servers leave behind (facts/causes.md, C13).
_PLANTED = re.compile(r"(?:crackit|backup[1-4]|weapsize|trojan\d?)")
_FEW = 2


@rule("searched-for", rests_on="KEYS and SCAN with a pattern come before a deletion by pattern (facts/causes.md, C10)")
def searched_for(view: View) -> Iterator[Finding]:
    seen = view.commands.loc[words_in(view.commands["verb"], ("KEYS", "SCAN"))].tail(_MOST)
    if not len(seen):
        return
    for record in ("result", "job"):
        born, missed = view.born(record), view.missed_by(record) or view.as_of
        names = key_names(view, record)
        if len(view.held(record)) or born is None or not names:
            continue
        for _, row in seen.iloc[::-1].iterrows():
            pattern = row["keys"][0] if isinstance(row["keys"], list) and row["keys"] else ""
            if pattern in ("", "*") or not any(covers(pattern, name) for name in names):
                continue
            if row["not_after"] < born or (missed is not None and row["not_before"] > missed + SLACK):
                continue
            who = f" by {row['client']}" if pd.notna(row["client"]) else ""
            says = f"{row['verb']} {pattern}, which matches it, was seen{when_of(row)}{who}, after it was written."
            weights = {"bulk_deleted": SUPPORTIVE, "deleted_by_client": -WEAK, "forgotten": -WEAK}
            if record == "job":
                weights = {"bulk_deleted": WEAK, "purged_by_cleanup": WEAK}
            yield Finding("searched-for", record, place_of(row), says, weights)
            break


# Last command of a connection → what it may have done to the record.
_LAST = {
    "flushdb": "db_flushed",
    "flushall": "server_flushed",
    "swapdb": "db_swapped",
    "rename": "renamed_or_moved",
    "move": "renamed_or_moved",
    "migrate": "renamed_or_moved",
}


@rule(
    "last-commands",
    rests_on="CLIENT LIST has each connection's last command, and from 7.2 on its library (Redis networking.c)",
)
def last_commands(view: View) -> Iterator[Finding]:
    if not len(view.clients) or len(view.held("result")):
        return
    for row in view.clients.drop_duplicates(["source", "cmd", "lib"]).itertuples():
        last = str(row.cmd).lower().partition("|")[0]
        source = f"{row.source}, {row.addr}"
        name = f" ({row.name})" if isinstance(row.name, str) and row.name else ""
        if cause := _LAST.get(last):
            says = f"A client was connected whose last command was {last.upper()}{name}; of what is not told."
            for record in RECORDS:
                if not len(view.held(record)):
                    yield Finding("last-command", record, source, says, {cause: SUPPORTIVE}, event=last.upper())
        elif last in ("del", "unlink") and "celery" in str(row.lib).lower():
            says = f"A connection of Celery's own result backend ({row.lib}) had {last.upper()} as its last command."
            yield Finding("last-command", "result", source, says, {"forgotten": STRONG if last == "del" else WEAK})


@rule(
    "planted-keys", rests_on="attacks on open servers flush them and leave keys of known names (facts/causes.md, C13)"
)
def planted_keys(view: View) -> Iterator[Finding]:
    planted = view.keys.loc[view.keys["key"].str.fullmatch(_PLANTED).fillna(False).astype(bool)]
    attacks = view.events.loc[view.events["kind"].eq("attack")]
    if len(planted) < _FEW and not len(attacks):
        return
    if len(planted) >= _FEW:
        row = planted.iloc[0]
        source, says = f"{row['snapshot']}, byte {row['offset']}", f"Keys such as {row['key']} are left by attacks"
    else:
        line = attacks.iloc[-1]
        source, when = f"{line['source']}:{line['line']}", f" at {at(line['at'])}" if pd.notna(line["at"]) else ""
        says = f"The server took a client for an attacker{when}"
    for record in RECORDS:
        if not len(view.held(record)):
            yield Finding("planted-keys", record, source, f"{says}, which flush all.", {"server_flushed": SUPPORTIVE})
