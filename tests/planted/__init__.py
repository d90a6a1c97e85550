"""Simulated Celery systems with known losses, or none: what the findings on bulk removal are measured by.

``system`` draws a system, ``work`` lets it work (tasks, and the lives of all keys), ``plant`` takes keys away in a
known manner; ``snapshots``, ``streams`` and ``papers`` write what each witness tells of it, and ``draw`` puts all
together by a seed. The kit reads the folder as it would any other, so every frame is the readers' own. Nothing here
knows how bulk removal is found.
"""
