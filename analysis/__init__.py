"""Forensic notebooks for Celery on Redis: when a task, its result or its job record is missing, what happened to it.

``open_case(path)`` reads the evidence into frames, ``investigate(case, task_id)`` weighs it.
"""

from analysis.case import Case, open_case
from analysis.errors import Unusable
from analysis.investigation import Investigation, find_bulk, find_ttl, investigate, look_into

__all__ = [
    "Case",
    "Investigation",
    "Unusable",
    "find_bulk",
    "find_ttl",
    "investigate",
    "look_into",
    "open_case",
]
