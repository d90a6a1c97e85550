"""Forensic notebooks for Celery on Redis: when a task, its result or its job record is missing, what happened to it."""
