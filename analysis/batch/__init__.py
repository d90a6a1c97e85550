"""Many reports on one case: the evidence is read once, and each report comes from a kernel of its own.

In: a case and task IDs. Out: a folder for each task, and the index of all. What a report says is ``report``'s matter.
"""
