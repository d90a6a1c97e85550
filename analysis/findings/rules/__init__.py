"""The register of evidence: every rule is a small named function from a ``View`` to the ``Finding``s it makes.

A rule names the fact about Redis or Celery on which it rests; the report prints both. Adding a piece of evidence is
adding one function with ``@rule`` in a module that ``investigate`` imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from analysis.findings.view import View
from analysis.findings.weigh import Finding

# Decibans by strength (2-5): a likelihood ratio of about 2, 5, 20 and 100. SHOWN is for what was seen with one's own
# eyes.
WEAK, SUPPORTIVE, STRONG, DECISIVE, SHOWN = 3.0, 7.0, 13.0, 20.0, 45.0
# What a witness of every write shows: read off the order of commands, not off a key that is there.
SEEN = SHOWN - 5


@dataclass(frozen=True)
class Rule:
    """One piece of evidence: what it is called, the fact it rests on, and the function that looks for it."""

    id: str
    rests_on: str
    find: Callable[[View], Iterator[Finding]]


RULES: dict[str, Rule] = {}


def rule(
    id: str, *, rests_on: str
) -> Callable[[Callable[[View], Iterator[Finding]]], Callable[[View], Iterator[Finding]]]:
    """Enter a function in the register under ``id``."""

    def enter(find: Callable[[View], Iterator[Finding]]) -> Callable[[View], Iterator[Finding]]:
        RULES[id] = Rule(id, rests_on, find)
        return find

    return enter


def look(view: View) -> list[Finding]:
    """What every rule finds, in the order of the register."""
    return [finding for entry in RULES.values() for finding in entry.find(view)]
