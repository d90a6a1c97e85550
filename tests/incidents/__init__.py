"""Incidents made on real Redis servers and real Celery workers: case folders, each with the truth about one task.

In: a seed. Out: what ``/work/shared/incidents`` is like, in any number. Knows nothing of ``analysis`` (but ``judge``).
"""
